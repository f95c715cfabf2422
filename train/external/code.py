"""Finds code in a Keras model's configuration by reading the JSON: nothing in it is run or imported.

Keras builds a model by calling the names in its configuration. Its own safe mode has been bypassed several times
(CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and does not cover HDF5 files in every version. So this
is an allow list of harmless names; everything else counts as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ...core.sanitize import shorten


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Layers of Keras 2 and 3 that only compute on their inputs; a test compares the list with the installed Keras packages.
LAYERS = _names(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
    BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
    Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D
    Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D
    GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup
    LSTM LSTMCell LayerNormalization LeakyReLU LocallyConnected1D LocallyConnected2D Masking MaxNumBoundingBoxes
    MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp
    MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip
    RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom ReLU
    RepeatVector Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D
    SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract TextVectorization
    ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D
    ZeroPadding2D ZeroPadding3D
    """
)

# Models, older names of layers, and layers of tf.keras.applications that are not in keras.layers.
_MODELS = _names(
    "Model Functional Sequential CuDNNGRU CuDNNLSTM BatchNormalizationV1 BatchNormalizationV2 LayerScale "
    "StochasticDepth"
)

# Initializers, regularizers, constraints, dtype policies, and how plain values are written.
_PARTS = _names(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform Ones
    Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT STFTInitializer TruncatedNormal VarianceScaling
    Zeros L1 L1L2 L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm Policy DTypePolicy
    DTypePolicyMap FloatDTypePolicy TensorShape TypeSpec CompositeTensor
    __tensor__ __keras_tensor__ __numpy__ __bytes__ __tuple__ __ellipsis__ __slice__ __wrapped__
    """
)

# Names that are refused, and why.
_DANGEROUS = {
    "Lambda": "carries Python code",
    "__lambda__": "carries Python code",
    "TFSMLayer": "loads another file",
    "TorchModuleWrapper": "carries a pickle",
    "JaxLayer": "carries Python code",
    "FlaxLayer": "carries Python code",
    "__typespec__": "names a Python class to import",
}

_KERAS_MODULE = re.compile(r"^(tf_keras|keras)(\.\w+)*$")
_OPERATION_MODULE = re.compile(r"^keras\.(src\.)?ops\.(numpy|nn|math|core|image|linalg|operation)$")
_CLASS_NAME = re.compile(r"^[A-Z]\w*$")

# Keras 2 writes a call of TensorFlow's own API as a layer with the symbol's name.
_SYMBOL_LAYERS = frozenset({"TFOpLambda", "SlicingOpLambda"})
_SYMBOLS = re.compile(
    r"^(__operators__|math|nn|linalg|image|bitwise|signal|strings|quantization)\.\w+$|"
    r"^keras\.backend\.(abs|batch_dot|cast|clip|concatenate|dot|equal|exp|expand_dims|greater|l2_normalize|less|log|"
    r"max|maximum|mean|min|minimum|permute_dimensions|pow|prod|relu|reshape|sigmoid|softmax|sqrt|square|squeeze|stack|"
    r"std|sum|tanh|transpose|var)$"
)
# Of these, functions that read a file given by an argument; a test checks the arguments in the installed TensorFlow.
_READS_FILES = frozenset({"nn.fixed_unigram_candidate_sampler"})
_ROOT_SYMBOLS = _names(
    """
    abs add add_n argmax argmin argsort boolean_mask broadcast_to cast clip_by_value clip_by_norm concat
    constant convert_to_tensor cumsum divide einsum equal exp expand_dims eye fill floor gather gather_nd
    greater greater_equal identity less less_equal linspace logical_and logical_not logical_or matmul maximum
    meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow range rank realdiv repeat
    reshape reverse roll round scalar_mul sequence_mask shape sigmoid sign size slice sort split sqrt square
    squeeze stack stop_gradient strided_slice subtract tanh tensordot tile transpose truediv reduce_all
    reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum unstack where zeros
    zeros_like
    """
)


def find_code(config: Any) -> list[str]:
    """Return the parts of a model's configuration that are or may be code: one sentence each, with the layer's name.

    `config` is the parsed JSON of ``config.json`` (Keras archive) or ``model_config`` (HDF5), `uncompiled`.
    """
    return list(dict.fromkeys(_walk(config)))


def uncompiled(config: Any) -> Any:
    """Return a configuration without the optimizers, losses and metrics of its models.

    Keras leaves out those of the outermost model when it is told to load it uncompiled. It would load those of the
    models inside, with the code in them.
    """
    if isinstance(config, list):
        return [uncompiled(value) for value in config]
    if not isinstance(config, dict):
        return config
    compiled = "class_name" in config and "config" in config
    return {key: uncompiled(value) for key, value in config.items() if not (compiled and key == "compile_config")}


def hub_handles(config: Any) -> list[str]:
    """Return the handles of the Hub modules that a configuration's layers load, each once."""
    handles = (entry["config"]["handle"] for entry in _entries(config) if _is_hub_layer(entry))
    return list(dict.fromkeys(handles))


def _is_hub_layer(entry: dict[str, Any]) -> bool:
    """Whether an entry is a `hub.KerasLayer`: harmless if the module that it loads is."""
    config = entry.get("config")
    return (
        entry.get("class_name") == "KerasLayer"
        and entry.get("module") in (None, "tensorflow_hub.keras_layer")
        and entry.get("registered_name") in (None, "KerasLayer")
        and isinstance(config, dict)
        and isinstance(config.get("handle"), str)
    )


def defined_elsewhere(config: Any) -> list[tuple[str, str]]:
    """Return (class, registered name) of names in a configuration that neither Keras nor the file defines."""
    external = []
    for entry in _entries(config):
        name = entry.get("class_name")
        if not isinstance(name, str) or name in _DANGEROUS or name in _SYMBOL_LAYERS or not _judge(entry):
            continue
        if name == "function":
            name = entry.get("config")
        if isinstance(name, str):
            external.append((name, str(entry.get("registered_name") or name)))
    return list(dict.fromkeys(external))


def custom_objects(config: Any) -> list[tuple[str, str, str]]:
    """Return (module, class or function, registered name) of a configuration's objects from other packages."""
    objects = []
    for entry in _entries(config):
        module, name = entry.get("module"), entry.get("class_name")
        if name == "function":
            name = entry.get("config")
        if (
            isinstance(module, str)
            and isinstance(name, str)
            and module != "builtins"
            and not _KERAS_MODULE.match(module)
            and not _is_hub_layer(entry)
        ):
            objects.append((module, name, str(entry.get("registered_name") or name)))
    return list(dict.fromkeys(objects))


def layers(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (class name, its configuration) of every layer, in the order they are written, nested ones included."""
    for entry in _entries(config):
        inner = entry.get("config")
        if isinstance(inner, dict):
            yield str(entry["class_name"]), inner


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    stack = [config]
    while stack:  # a file may nest deeper than Python's recursion goes
        here = stack.pop()
        if isinstance(here, dict):
            if "class_name" in here:
                yield here
            stack.extend(reversed(list(here.values())))
        elif isinstance(here, list):
            stack.extend(reversed(here))


def _walk(config: Any) -> Iterator[str]:
    for entry in _entries(config):
        if problem := _judge(entry):
            yield problem
        inner = entry.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str) and inner["vocabulary"]:
            yield f"{_title(entry)} reads the file {shorten(inner['vocabulary'])!r} of the machine that loads it"


def _judge(entry: dict[str, Any]) -> str:
    """Return why an object of the configuration is not harmless; empty if it is."""
    name, module, registered = (entry.get(key) for key in ("class_name", "module", "registered_name"))
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        return f"an object with the unreadable class name {shorten(str(name))!r}"
    if name in _DANGEROUS:
        return f"{_title(entry)} {_DANGEROUS[name]}"
    if name == "function":
        return _judge_function(entry)
    if _is_hub_layer(entry):
        return ""
    if module is not None and _OPERATION_MODULE.match(module):
        return "" if _CLASS_NAME.match(name) and registered in (None, name) else _custom(entry)
    if module is not None and not _KERAS_MODULE.match(module) and module != "builtins":
        return _custom(entry)
    if registered not in (None, name, f"Keras>{name}"):
        return _custom(entry)
    if name in _SYMBOL_LAYERS:
        return _judge_symbol(entry)
    if name in LAYERS or name in _MODELS or name in _PARTS:
        return ""
    return _custom(entry)


def _judge_function(entry: dict[str, Any]) -> str:
    """A function is harmless if Keras looks up its name among its own activations."""
    module, name = entry.get("module"), entry.get("config")
    plain_name = isinstance(name, str) and re.fullmatch(r"[a-z_][a-z0-9_]*", name)
    if plain_name and module in ("builtins", "keras.activations", "tf_keras.activations"):
        return ""
    return f"the function {shorten(f'{module}.{name}')!r} is Python code outside the file"


def _judge_symbol(entry: dict[str, Any]) -> str:
    config = entry.get("config")
    symbol = config.get("function") if isinstance(config, dict) else None
    if isinstance(symbol, str):
        plain = symbol.removeprefix("compat.v1.")
        if plain in _READS_FILES:
            return f"{_title(entry)} calls tf.{plain}, which reads files"
        if plain in _ROOT_SYMBOLS or _SYMBOLS.match(plain):
            return ""
    return f"{_title(entry)} calls tf.{shorten(str(symbol))}, which is not known to be harmless"


def _custom(entry: dict[str, Any]) -> str:
    module = entry.get("module")
    class_name = (
        f"{module}.{entry['class_name']}" if module else str(entry.get("registered_name") or entry["class_name"])
    )
    return f"{_title(entry)} is of the class {shorten(class_name)!r}, which is not a layer of Keras"


def _title(entry: dict[str, Any]) -> str:
    config = entry.get("config")
    name = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    kind = shorten(str(entry["class_name"]), 40)
    return f"the {kind} layer {shorten(str(name), 40)!r}" if name else f"a {kind}"
