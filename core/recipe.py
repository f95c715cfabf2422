"""The recipe: one TOML file that says everything a run does. Unknown keys are errors with a "did you mean"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from .codec import sha256_of
from .errors import InputError
from .target import Target, every_target, parse_runtime
from .variant import Variant

Share = Annotated[float, Field(gt=0, lt=1)]


class _Table(BaseModel):
    # TOML knows inf and nan; JSON, which results are written in, does not.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        values = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, bool) for one in values) and kind is not bool and bool not in get_args(kind):
            raise ValueError("true and false are no values of this key")
        return value


class Data(_Table):
    """Where the labelled samples are, and how they are split.

    A source that brings its own splits keeps them; otherwise `test` and `validation` are cut off, stratified by
    label and seeded by the recipe's `seed`. `validation` is always a share of what is left for training.
    """

    source: str
    test_source: str = ""
    validation: Share = 0.1
    test: Share = 0.2
    limit_train: int | None = Field(None, ge=2)
    limit_test: int | None = Field(None, ge=1)
    root: str = ""
    max_pixels: int = Field(64_000_000, ge=1)
    max_characters: int = Field(100_000, ge=1)
    text_column: str = Field("text", min_length=1)
    label_column: str = Field("label", min_length=1)
    encoding: str = "utf-8"
    on_unreadable: Literal["drop", "stop"] = "drop"


class Augment(_Table):
    """Random changes to training images. All zero: none.

    `rotate` and `shift` are shares (of a full turn, of a side), `zoom`, `brightness` and `contrast` are relative.
    `views` is how many versions of each image phase one sees: features of a frozen base are computed once per view.
    """

    flip: bool = False
    rotate: float = Field(0.0, ge=0, le=0.5)
    shift: float = Field(0.0, ge=0, le=0.5)
    zoom: float = Field(0.0, ge=0, lt=1)
    brightness: float = Field(0.0, ge=0, le=1)
    contrast: float = Field(0.0, ge=0, le=1)
    views: int = Field(4, ge=1, le=64)

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return self.flip or any((self.rotate, self.shift, self.zoom, self.brightness, self.contrast))


class Head(_Table):
    """What stands between backbone and answer: `hidden` dense layers of so many units, each with `activation` and then
    `dropout`. `pooling` makes a vector of a backbone's map of activations (``train.dropout`` comes right after it)."""

    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field((), max_length=8)
    activation: Literal["relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "tanh", "sigmoid", "linear"] = (
        "relu"
    )
    dropout: float = Field(0.0, ge=0, lt=1)
    pooling: Literal["avg", "max"] = "avg"


class Schedule(_Table):
    """How the learning rate changes while a phase runs. Keras' own schedules and callback do it.

    ``cosine`` falls to the share `final` of the start; ``exponential`` multiplies by `decay` over each epoch;
    ``plateau`` multiplies by `factor` after `patience` epochs without a better validation loss, down to `minimum`.
    """

    kind: Literal["constant", "cosine", "exponential", "plateau"] = "constant"
    final: float = Field(0.0, ge=0, le=1)
    decay: float = Field(0.9, gt=0, le=1)
    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(2, ge=1)
    minimum: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _keys_of_this_kind(self) -> Schedule:
        fields = type(self).model_fields
        for key, kind in SCHEDULE_KEYS.items():
            if kind != self.kind and getattr(self, key) != fields[key].default:
                raise ValueError(f"{key} says how kind = {kind!r} falls, but kind is {self.kind!r}")
        return self


SCHEDULE_KEYS = {
    "final": "cosine", "decay": "exponential", "factor": "plateau", "patience": "plateau", "minimum": "plateau",
}  # fmt: skip
MOMENTUM = ("sgd", "rmsprop")  # the optimizers that have one of their own
Metric = Literal["accuracy", "top_3_accuracy", "top_5_accuracy", "precision", "recall", "f1", "auc"]


class FineTune(_Table):
    """Phase two: the top `layers` of the backbone learn too, batch norm frozen. Zero layers: no phase two."""

    layers: int = Field(0, ge=0)
    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(1e-5, gt=0)


class Train(_Table):
    """How the head, and then perhaps the top of the backbone, is trained. `patience` 0 turns early stopping off.

    `optimizer` is one of Keras' with its own settings; `weight_decay` (decoupled; AdamW's own is 0.004) and `momentum`
    change those. `metrics` are measured beside the loss after every epoch. `callbacks` are Keras callbacks of the
    user's own, ``FILE.py:NAME`` or ``MODULE:NAME``: code that runs. `csv_log` writes a table of the epochs.
    With several `seeds` each model is trained once with each, on the same splits; the first one's is exported.
    """

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    dropout: float = Field(0.2, ge=0, lt=1)
    patience: int = Field(3, ge=0)
    class_weights: bool = False
    mixed_precision: bool = False
    tensorboard: bool = False
    csv_log: bool = False
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "adamax", "adagrad", "adadelta", "lion"] = "adam"
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float | None = Field(None, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    metrics: tuple[Metric, ...] = ("accuracy",)
    callbacks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    head: Head = Head()
    schedule: Schedule = Schedule()
    augment: Augment = Augment()
    fine_tune: FineTune = FineTune()

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds) or any(not 0 <= seed < 2**31 for seed in seeds):
            raise ValueError("seeds must be different whole numbers from 0 to 2147483647")
        return seeds

    @field_validator("metrics")
    @classmethod
    def _accuracy_is_among_them(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(metrics)) != len(metrics):
            raise ValueError("a metric stands there twice")
        return metrics if "accuracy" in metrics else ("accuracy", *metrics)

    @field_validator("callbacks")
    @classmethod
    def _named(cls, callbacks: tuple[str, ...]) -> tuple[str, ...]:
        for text in callbacks:
            place, _, name = text.rpartition(":")
            if not place or not name.isidentifier():
                raise ValueError(f"{text!r} is not of the form FILE.py:NAME or MODULE:NAME, e.g. my_callbacks.py:make")
        return callbacks

    @model_validator(mode="after")
    def _momentum_has_an_optimizer(self) -> Train:
        if self.momentum and self.optimizer not in MOMENTUM:
            those = " or ".join(map(repr, MOMENTUM))
            raise ValueError(f"momentum is for optimizer = {those}; {self.optimizer!r} has moments of its own")
        return self


class ModelSpec(_Table):
    """A backbone to fine-tune, at a fixed input size.

    For ``hub:`` and ``file:`` backbones: `tags`, `signature` and `output` choose what of the file is used, `arguments`
    are passed to its call, `value_range` is what its pixels must lie in, `preprocessing` a mode of `preprocess_input`
    instead, `sha256` pins a download, `preprocessor` is the second half of a text encoder, `trainable` fine-tunes all
    of it, `head` keeps the classes it has, `trust` lets it bring code, and `custom_objects` are modules (or ``.py``
    files) that define what a Keras file needs. For text: `max_tokens` is the fixed length of token ids; `tokenizer`,
    `vocabulary` and `embedding` shape a model that is trained from scratch.
    """

    name: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    backbone: str
    weights: str = "imagenet"
    image_size: int = Field(224, ge=16, le=2048)
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    alpha: float | None = Field(None, gt=0)
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    tags: str = ""
    signature: str = ""
    output: str = ""
    arguments: dict[str, bool | int | float | str] = {}
    value_range: tuple[float, float] | None = None
    preprocessing: Literal["", "tf", "caffe", "torch", "inside"] = ""
    preprocessor: str = ""
    trainable: bool = False
    head: Literal["new", "own"] = "new"
    trust: bool = False
    custom_objects: tuple[str, ...] = ()
    max_tokens: int = Field(64, ge=4, le=4096)
    tokenizer: Literal["wordpiece", "whitespace"] = "wordpiece"
    vocabulary: int = Field(8000, ge=32, le=1_000_000)
    embedding: int = Field(32, ge=1, le=4096)

    @field_validator("value_range")
    @classmethod
    def _low_below_high(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError("the first number must be below the second, e.g. [0.0, 1.0]")
        return value

    @field_validator("name")
    @classmethod
    def _no_double_dash(cls, name: str) -> str:
        if "--" in name:
            raise ValueError("a model's name must not contain '--' (it separates model and variant in file names)")
        return name


class Calibration(_Table):
    """Samples of the training data, stratified by label, from which quantized schemes take their ranges."""

    samples: int = Field(200, ge=1)


class Export(_Table):
    """Which files are made from each model.

    `dense_per_channel` false lets old runtimes load dynamic-range files. Where two tools make the same scheme, `maker`
    ``best`` makes both and takes the one that measures better on `trial_samples` of the validation split, filled up
    with training samples.
    """

    variants: tuple[str, ...] = ("tflite:float32", "tflite:int8")
    dense_per_channel: bool = True
    maker: Literal["best", "converter", "ai-edge-quantizer"] = "best"
    trial_samples: int = Field(2000, ge=1)
    onnx_opset: int = Field(17, ge=13, le=21)
    timeout_seconds: float = Field(900, gt=0)
    calibration: Calibration = Calibration()

    @field_validator("variants")
    @classmethod
    def _known(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        if any(variant.startswith("savedmodel:") for variant in variants):
            raise ValueError("the SavedModel is always made; list only tflite: and onnx: variants")
        return _checked(variants, Variant.parse, "variant")


class Qat(_Table):
    """Quantization-aware training: `epochs` with batch norm learning, then `frozen_epochs` with it frozen.

    It starts from the float model with calibrated ranges and stops early on the converted file's accuracy
    (`patience`, 0 is off). An epoch sees `samples` training samples (0: all). `distill` is how much of the loss is the
    distance from the float model's answers; the rest is that from the labels. With 1 the file answers as the float
    model does, wherever it can; with less it also learns what the float model does not know, and is another model.
    """

    epochs: int = Field(1, ge=0)
    frozen_epochs: int = Field(2, ge=0)
    learning_rate: float = Field(5e-6, gt=0)
    batch_size: int = Field(32, ge=1)
    samples: int = Field(4000, ge=0)
    patience: int = Field(2, ge=0)
    distill: float = Field(1.0, ge=0, le=1)


class Prune(_Table):
    """Magnitude pruning: while it trains for `epochs`, the share `sparsity` of each layer's weights becomes zero.

    `samples` and `distill` are as in quantization-aware training.
    """

    sparsity: Share = 0.5
    epochs: int = Field(2, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    samples: int = Field(4000, ge=0)
    distill: float = Field(0.5, ge=0, le=1)


class Cluster(_Table):
    """Weight clustering: each layer's weights take `clusters` values, which train for `epochs`.

    `samples` and `distill` are as in quantization-aware training.
    """

    clusters: int = Field(16, ge=2, le=256)
    epochs: int = Field(1, ge=0)
    learning_rate: float = Field(1e-5, gt=0)
    batch_size: int = Field(32, ge=1)
    samples: int = Field(4000, ge=0)
    distill: float = Field(0.5, ge=0, le=1)


class Mixed(_Table):
    """``tflite:int8-mixed``: what the worst layers are kept in, and how many groups of them at most."""

    keep: Literal["float32", "int16"] = "float32"
    max_steps: int = Field(8, ge=1, le=64)


class Quantize(_Table):
    """What schemes that train or search need to know."""

    qat: Qat = Qat()
    prune: Prune = Prune()
    cluster: Cluster = Cluster()
    mixed: Mixed = Mixed()


class LatencyTable(_Table):
    """How latency is measured: fresh processes in interleaved order. Six give an exact 96.9 % interval."""

    processes: int = Field(6, ge=1, le=100)
    warmup_seconds: float = Field(0.2, ge=0)
    run_seconds: float = Field(0.5, gt=0)
    min_runs: int = Field(5, ge=1)
    threads: int = Field(1, ge=1)


class Evaluate(_Table):
    """On which targets each file is proved.

    `diagnose`: which quantized files are compared with float tensor by tensor; ``auto``: those whose loss of accuracy
    is more than the budget's, or cannot be shown to be less.
    """

    targets: tuple[str, ...] = every_target()
    latency: LatencyTable = LatencyTable()
    timeout_seconds: float = Field(600, gt=0)
    diagnose: Literal["auto", "all", "none"] = "auto"

    @field_validator("targets")
    @classmethod
    def _known(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(targets, Target.parse, "target")


class Budget(_Table):
    """What a file must keep to be recommended. What is not said is not asked, but for the accuracy drop.

    `max_accuracy_drop` is in shares (0.01 is one point) against the float model on the same samples. By ``interval``
    the whole 95 % interval of the paired difference must be inside; by ``estimate`` the estimate alone.
    `max_latency_ms` is of the 95th percentile. `runtime` is the oldest runtime that the file must load and run on,
    e.g. ``tflite-runtime==2.14``. `target` says that only that target counts.
    """

    max_accuracy_drop: float = Field(0.01, ge=0, le=1)
    drop_by: Literal["interval", "estimate"] = "interval"
    min_accuracy: float | None = Field(None, ge=0, le=1)
    max_latency_ms: float | None = Field(None, gt=0)
    max_bytes: int | None = Field(None, gt=0)
    max_memory_bytes: int | None = Field(None, gt=0)
    runtime: str = ""
    target: str = ""

    @field_validator("target")
    @classmethod
    def _known(cls, target: str) -> str:
        return _checked((target,), Target.parse, "target")[0] if target else ""

    @field_validator("runtime")
    @classmethod
    def _known_runtime(cls, runtime: str) -> str:
        return _checked((runtime,), parse_runtime, "runtime")[0] if runtime else ""


class Recipe(_Table):
    """Everything a run does. `folder` is where the recipe stood: relative paths in it are meant from there.

    `runtime`, e.g. ``tflite-runtime==2.14``, is what the files must run on: they are made so that they load there, and
    proved there.
    """

    name: str = Field("run", min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(1, ge=0, lt=2**31)
    runtime: str = ""
    data: Data
    model: tuple[ModelSpec, ...] = Field(min_length=1)
    train: Train = Train()
    export: Export = Export()
    quantize: Quantize = Quantize()
    evaluate: Evaluate = Evaluate()
    budget: Budget = Budget()
    folder: Path = Field(Path(), exclude=True)

    @field_validator("runtime")
    @classmethod
    def _known_runtime(cls, runtime: str) -> str:
        return _checked((runtime,), parse_runtime, "runtime")[0] if runtime else ""

    @model_validator(mode="after")
    def _names_differ(self) -> Recipe:
        names = [model.name for model in self.model]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two models are called {twice[0]!r}; each needs a name of its own")
        return self

    @model_validator(mode="after")
    def _budget_is_of_a_target(self) -> Recipe:
        wanted = self.budget.target
        of_runtime = (f"local/{self.runtime}", f"local/{self.runtime.partition('==')[0]}")
        if wanted and wanted not in (*self.evaluate.targets, *of_runtime):
            measured = ", ".join(self.evaluate.targets)
            raise ValueError(
                f"budget.target {wanted!r} is none of evaluate.targets ({measured}), so no file would be measured "
                "there: add it to them, or leave it out of the budget"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved recipe, defaults included, as TOML can hold it (no nulls).

        A budget that is not stated stays so: no budget is another question than one of all defaults.
        """
        dumped = dict(self.model_dump(mode="json", exclude_none=True))
        if "budget" not in self.model_fields_set:
            del dumped["budget"]
        return dumped

    def to_toml(self) -> str:
        """Return the resolved recipe as TOML text; reading it gives an equal recipe."""
        return tomli_w.dumps(self.to_dict())

    @property
    def sha256(self) -> str:
        """Hash of the resolved recipe."""
        return sha256_of(self.to_dict())


def _checked(values: Sequence[str], parse: Any, kind: str) -> tuple[str, ...]:
    """Parse each value, turning our own errors into the validator's, and refuse doubles."""
    for value in values:
        try:
            parse(value)
        except InputError as error:
            raise ValueError(f"{error.message}. {error.remedy}") from None
    if len(set(values)) != len(values):
        raise ValueError(f"a {kind} stands there twice")
    return tuple(values)
