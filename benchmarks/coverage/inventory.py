"""The rows other than tf.keras.applications: modules in the formats of TensorFlow Hub, and users' files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .rows import RowSpec

IMAGE_SIZE = 32
_IMAGE = ("model", "tflite:float32", "tflite:dynamic", "tflite:int8", "onnx:float32", "tflite-runtime")
_TEXT = ("model", "tflite:float32", "tflite:dynamic", "onnx:float32", "tflite-runtime")
_FILE = ("model", "tflite:float32", "tflite:dynamic", "tflite:int8", "onnx:float32")
_FLOAT = ("model", "tflite:float32", "tflite:dynamic", "onnx:float32")
_PACKAGED = ("model", "tflite:float32", "tflite:float16", "tflite:dynamic", "tflite:int8", "onnx:float32", "onnx:int8")

# (id, title, builder with its options, keys of the recipe's [[model]])
_MODULES: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("features", "TF2 feature vector, open size", {"gives": "features"}, {}),
    ("features-fixed", "TF2 feature vector, fixed size", {"gives": "features", "side": IMAGE_SIZE}, {}),
    ("maps", "TF2 feature maps", {"gives": "maps"}, {}),
    ("logits", "TF2 classification (logits), new head", {"gives": "logits"}, {}),
    ("probabilities", "TF2 classification (probabilities), new head", {"gives": "probabilities"}, {}),
    ("own-logits", "TF2 classification (logits), its own head", {"gives": "logits"}, {"head": "own"}),
    (
        "own-probabilities",
        "TF2 classification (probabilities), its own head",
        {"gives": "probabilities"},
        {"head": "own"},
    ),
    ("several", "TF2 with several outputs", {"gives": "several"}, {"output": "embedding"}),
    ("rescaling", "TF2 from Keras, Rescaling inside", {"rescaling": True}, {"value_range": (0.0, 255.0)}),
    ("trainable", "TF2 feature vector, fine-tuned whole", {"gives": "features"}, {"trainable": True}),
    ("tf1", "TF1 Hub format, resource variables", {"tf1": True}, {}),
    ("tf1-references", "TF1 Hub format, reference variables", {"tf1": True, "references": True}, {}),
)

_PACKAGES = (
    ("efficientnet_lite0", "EfficientNet-Lite0 (packaged weights)"),
    ("mobilenet_v2", "MobileNetV2 (packaged)"),
)

# (id, title, builder in tests/support/text_models.py, or a backbone)
_TEXTS = (
    ("bert", "BERT pair: preprocessor and encoder", "bert"),
    ("words", "word embeddings summed (Swivel), TF2", "word_encoder"),
    ("words-tf1", "word embeddings summed, TF1 Hub format", "word_encoder_v1"),
    ("nnlm", "NNLM with normalization, hashed unknown words", "nnlm"),
    ("use", "Universal Sentence Encoder 4 (DAN)", "sentence_encoder"),
    ("use-multilingual", "Universal Sentence Encoder multilingual 3 (packaged)", "package:use_multilingual_v3"),
    ("average", "trained from scratch", "scratch:average-embedding"),
)

_TFLITE = ("model", "tflite:float32", "tflite:dynamic", "tflite:int8", "tflite:int16x8")

_INTS = {"high": 20}
_OWN = {"asked": {"custom_objects": ("tests/support/external_layers.py",)}}
_PIXELS = {"low": 0, "high": 255}
# (id, title, builder in user_files.py, version of Keras, suffix, cells, options of the samples and, as "asked", options
# of the import)
_FILES: tuple[tuple[str, str, str, str, str, tuple[str, ...], dict[str, Any]], ...] = (
    ("recurrent-2h5", "LSTM, GRU, SimpleRNN, Bidirectional, stacked; Keras 2 .h5", "recurrent", "2", ".h5", _FILE, {}),
    ("recurrent-3", "the same, Keras 3 .keras", "recurrent", "3", ".keras", _FILE, {}),
    ("recurrent-sm", "the same, SavedModel", "recurrent", "2", "", _FLOAT, {}),
    ("masked-2", "LSTM behind an Embedding with mask, Keras 2 .keras", "masked", "2", ".keras", _FLOAT, _INTS),
    ("masked-3", "the same, Keras 3 .keras", "masked", "3", ".keras", _FLOAT, _INTS),
    ("streaming-2", "GRU, its state an input and output, Keras 2 .keras", "streaming", "2", ".keras", _FLOAT, {}),
    ("streaming-3", "the same, Keras 3 .keras", "streaming", "3", ".keras", _FLOAT, {}),
    ("detector", "non_max_suppression_padded, SavedModel", "detector", "2", "", _FLOAT, {"asked": {"output": "y"}}),
    ("loop", "tf.while_loop and tf.cond, SavedModel", "loop", "2", "", _FLOAT, {}),
    ("swish-2h5", "swish, Keras 2 .h5", "swish", "2", ".h5", _FILE, {}),
    ("swish-2", "swish, Keras 2 .keras", "swish", "2", ".keras", _FILE, {}),
    ("swish-sm", "swish, SavedModel", "swish", "2", "", _FILE, {}),
    ("swish-3", "swish, Keras 3 .keras", "swish", "3", ".keras", _FILE, {}),
    ("random-3", "Random… layers, flat and nested, Keras 3 .keras", "augmented", "3", ".keras", _FILE, _PIXELS),
    ("random-2", "the same, Keras 2 .keras", "augmented", "2", ".keras", _FILE, _PIXELS),
    ("gelu-2", "ViT-like with exact GELU, Keras 2 .keras", "gelu", "2", ".keras", _FILE, {}),
    ("gelu-3", "the same, Keras 3 .keras", "gelu", "3", ".keras", _FILE, {}),
    ("grouped-3", "grouped convolution, Keras 3 .keras", "grouped", "3", ".keras", _FILE, {}),
    ("float16-2", "mixed_float16, Keras 2 .keras", "float16", "2", ".keras", _FILE, {}),
    ("float16-3", "mixed_float16, Keras 3 .keras", "float16", "3", ".keras", _FILE, {}),
    ("stateful-2", "stateful LSTM, Keras 2 .keras", "remembering", "2", ".keras", _FLOAT, {}),
    ("state", "tf.Module with state, SavedModel", "module_with_state", "2", "", _FLOAT, {}),
    ("several-graphs", "SavedModel of graphs [train], [eval], [serve]", "several_graphs", "2", "", _FLOAT, {}),
    ("no-signature", "SavedModel without signature, two functions", "without_signature", "2", "", _FLOAT,
     {"asked": {"signature": "from_values"}}),
    ("nested-2", "two outputs, a model in the model, Keras 2 .h5", "nested", "2", ".h5", _FILE, _PIXELS),
    ("integer-lookup-2", "IntegerLookup, Keras 2 .keras", "integer_lookup", "2", ".keras", _FLOAT, _INTS),
    ("integer-lookup-3", "IntegerLookup, Keras 3 .keras", "integer_lookup", "3", ".keras", _FLOAT, _INTS),
    ("text-vectorization-2", "TextVectorization, Keras 2 .keras", "texts", "2", ".keras", _FLOAT, {"texts": True}),
    ("text-vectorization-3", "TextVectorization, Keras 3 .keras", "texts", "3", ".keras", _FLOAT, {"texts": True}),
    ("hub-layer-2h5", "hub.KerasLayer, Keras 2 .h5", "hub_layer", "2", ".h5", _FILE, {"asked": {"trust": True}}),
    ("own-layers-2h5", "layers of a module of the user's, Keras 2 .h5", "own_layers", "2", ".h5", _FILE, _OWN),
    ("own-layers-3", "the same, Keras 3 .keras", "own_layers", "3", ".keras", _FILE, _OWN),
    ("beyond-float16", "a weight beyond float16's numbers, Keras 2 .keras", "beyond_float16", "2", ".keras",
     (*_FLOAT, "onnx:float16"), {}),
    ("tflite-sensors", "a few values a sample, .tflite as from_keras_model writes it", "sensors", "2", ".tflite",
     _TFLITE, {}),
    ("tflite-picture", "the same, pictures and swish", "swish", "2", ".tflite", _TFLITE, {}),
    ("tflite-windows", "the same, LSTM", "windows", "2", ".tflite", _TFLITE, {}),
    ("waveform-hub", "a Hub module as YAMNet: waveform of any length, no batch", "waveform_of_any_length", "2", "",
     _FLOAT, {"asked": {"output": "output_0", "shapes": {"": (16000,)}}}),
    ("waveform", "waveform → STFT → Resizing → convolutions, SavedModel", "waveform", "2", "", _FLOAT, {}),
    ("mfcc", "waveform → MFCC, SavedModel", "mfcc", "2", "", _FLOAT, {}),
)  # fmt: skip


def rows() -> tuple[RowSpec, ...]:
    """Return the rows in the order of the page."""
    from .rows import RowSpec

    images = [
        RowSpec(f"hub:{name}", "image", "SavedModels", _IMAGE, title, IMAGE_SIZE, {"build": build, "spec": spec})
        for name, title, build, spec in _MODULES
    ]
    packages = [
        RowSpec(f"package:{name}", "image", "packages", _PACKAGED, title, IMAGE_SIZE) for name, title in _PACKAGES
    ]
    texts = [
        RowSpec(f"text:{name}", "text", "encoders", _TEXT, title, options={"build": build})
        for name, title, build in _TEXTS
    ]
    files = [
        RowSpec(
            f"file:{name}", "file", "files", cells, title,
            options={"build": build, "keras": keras, "suffix": suffix, "samples": more},
        )
        for name, title, build, keras, suffix, cells, more in _FILES
    ]  # fmt: skip
    return (*images, *packages, *texts, *files)
