"""The recipe: one TOML file with all settings of a run. Unknown keys are errors, with a "did you mean"."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from .codec import sha256_of
from .device_files import WithDevices, check_targets
from .maker import MakerChoice
from .opset import NEWEST, OLDEST
from .recipe_budget import Budget
from .recipe_data import Data
from .recipe_quantize import Quantize
from .recipe_table import Table, checked
from .recipe_training import Augment, Head, Schedule
from .target import Target, default_targets, parse_runtime, with_cpu
from .variant import Variant

MOMENTUM = ("sgd", "rmsprop")  # the optimizers that have one of their own
# Keys that came later are left out where they are not set, so that the hashes of older recipes stay.
_LATER = ("units", "kernel", "pool")
# What a run can train for, by the names of `tasks.TASKS`.
TrainedTask = Literal["", "classification", "multilabel", "regression", "segmentation"]
Metric = Literal["accuracy", "top_3_accuracy", "top_5_accuracy", "precision", "recall", "f1", "auc"]


class FineTune(Table):
    """Phase two: the top of the backbone is trained too, with batch norm frozen."""

    layers: int = Field(0, ge=0, description="number of layers at the backbone's top; `0`: no phase two")
    epochs: int = Field(5, ge=1, description="of phase two")
    learning_rate: float = Field(1e-5, gt=0, description="of phase two, at its start")


class Train(Table):
    """Training of the head and, if wanted, of the top of the backbone."""

    epochs: int = Field(10, ge=1, description="of phase one: the head, or all of a `scratch:` model")
    batch_size: int = Field(64, ge=1, description="samples per step")
    learning_rate: float = Field(1e-3, gt=0, description="of phase one, at its start")
    dropout: float = Field(0.2, ge=0, lt=1, description="of the features, before the head")
    patience: int = Field(
        3,
        ge=0,
        description="epochs without a better validation loss after which a phase ends (Keras' `EarlyStopping`); `0`: "
        "never. The best weights are kept in either case",
    )
    class_weights: bool = Field(False, description="weight classes in inverse proportion to their number of samples")
    mixed_precision: bool = Field(False, description="float16 arithmetic, on a GPU")
    tensorboard: bool = Field(
        False, description="logs of Keras' `TensorBoard` beside the model, one folder per phase (extra `tensorboard`)"
    )
    csv_log: bool = Field(
        False, description="`training-1.csv` and `training-2.csv` beside the model, by Keras' `CSVLogger`"
    )
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "adamax", "adagrad", "adadelta", "lion"] = Field(
        "adam", description="Keras' own, with its defaults"
    )
    momentum: float = Field(0.0, ge=0, lt=1, description='of `"sgd"` and `"rmsprop"`')
    weight_decay: float | None = Field(
        None,
        ge=0,
        description="decoupled from the gradient; not set: the optimizer's default, which is none except for "
        '`"adamw"` (`0.004`)',
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of each label that is spread over all classes; validation losses use smoothed labels too",
    )
    metrics: tuple[Metric, ...] = Field(
        ("accuracy",),
        description='measured after every epoch: `"accuracy"`, `"top_3_accuracy"`, `"top_5_accuracy"`, `"precision"`, '
        '`"recall"` (answers above one half), `"f1"` and `"auc"` (mean over classes)',
    )
    callbacks: tuple[str, ...] = Field((), description="your own Keras callbacks, see below")
    seeds: tuple[int, ...] = Field(
        (),
        description="train each model once with each of these seeds, on the same splits; the model of the first is "
        "exported, the report compares all",
    )
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
            raise ValueError("a metric is listed twice")
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


class ModelSpec(Table):
    """A backbone to fine-tune, at a fixed input size."""

    name: str = Field(
        min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names files and rows"
    )
    backbone: str = Field(description="what the model starts from: a kind and a name, as the table below lists them")
    weights: str = Field(
        "imagenet",
        description='for `keras:`: `"imagenet"` (downloaded once), `"none"`, or the path of a weights file',
    )
    image_size: int = Field(224, ge=16, le=2048, description="height and width of the model's input, pixels")
    resize: Literal["stretch", "crop", "pad"] = Field(
        "stretch", description='`"stretch"` both sides, `"crop"` the centre, or `"pad"` with black'
    )
    alpha: float | None = Field(
        None, gt=0, description="width multiplier of the MobileNet family; not set: the family's own"
    )
    sha256: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="of the archive or folder that a `hub:` handle must give; anything else is refused",
    )
    tags: str = Field(
        "",
        description='which of several graphs of a `hub:` or `file:` SavedModel is used, e.g. `"serve,gpu"`, or '
        '`"none"` for the one without tags; not set: the graph made to serve',
    )
    signature: str = Field("", description="which signature of a `hub:` or `file:` model is used; not set: its own")
    output: str = Field(
        "",
        description="which of several outputs of a `hub:` or `file:` model is used; `package:efficientnet_lite0` "
        'has the outputs `"feature_vector"` and `"classification"` (the logits of ImageNet\'s classes)',
    )
    arguments: dict[str, bool | int | float | str] = Field(
        {}, description="further arguments of a Hub module's call, e.g. `{batch_norm_momentum = 0.99}`"
    )
    value_range: tuple[float, float] | None = Field(
        None,
        description="what a `hub:` or `file:` model's pixels must lie in, e.g. `[-1.0, 1.0]`; not set: the family's "
        "own",
    )
    preprocessing: Literal["", "tf", "caffe", "torch", "inside"] = Field(
        "",
        description='instead of a range one of Keras\' modes: `"tf"`, `"caffe"`, `"torch"`, or `"inside"` (pixels '
        "as they are)",
    )
    preprocessor: str = Field(
        "", description="the other half of a text encoder, a `hub:` handle: it makes the token ids"
    )
    trainable: bool = Field(
        False, description="phase two fine-tunes the whole of a Hub module, its regularization losses included"
    )
    head: Literal["new", "own"] = Field(
        "new",
        description='`"new"` trains one; `"own"` keeps the classes that a `hub:` or `file:` model of images has: '
        "nothing is trained",
    )
    trust: bool = Field(
        False,
        description="lets a `hub:` or `file:` model bring code of its own, and a Keras file fetch the Hub modules "
        "that its layers name",
    )
    custom_objects: tuple[str, ...] = Field(
        (),
        description="modules, or `.py` files, that define the classes and functions that a `file:` Keras file "
        "needs; they are imported, which is as much as `trust`",
    )
    max_tokens: int = Field(64, ge=4, le=4096, description="text: the fixed number of token ids; longer texts are cut")
    tokenizer: Literal["wordpiece", "whitespace"] = Field(
        "wordpiece", description="of `scratch:` models; its vocabulary is learnt from the training texts"
    )
    vocabulary: int = Field(8000, ge=32, le=1_000_000, description="of `scratch:` models: entries of the vocabulary")
    embedding: int = Field(32, ge=1, le=4096, description="of `scratch:` models: length of a token's vector")
    units: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (),
        max_length=8,
        description="of `scratch:dense` the units of each layer (not set: `[32, 16]`), of `scratch:conv1d` the filters "
        "of each convolution (not set: `[16, 32]`)",
    )
    kernel: int = Field(5, ge=1, le=255, description="of `scratch:conv1d`: steps that a convolution sees")
    pool: int = Field(2, ge=1, le=64, description="of `scratch:conv1d`: steps that are one behind each convolution")

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

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {key for key in _LATER if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in dump(self).items() if key not in unset}


class Calibration(Table):
    """The samples that set the ranges of quantized schemes."""

    samples: int = Field(200, ge=1, description="of the training split, stratified by label, for calibrated schemes")


class Export(Table):
    """Which files are made from each model."""

    variants: tuple[str, ...] = Field(("tflite:float32", "tflite:int8"), description="any of the table below")
    dense_per_channel: bool = Field(
        True, description="`false`: `tflite:dynamic` is what `tflite:dynamic-per-tensor` is, which old runtimes load"
    )
    maker: MakerChoice = Field(
        "best",
        description='for schemes that two tools can make: `"best"` makes both files and takes the one that measures '
        'better; or `"converter"`, `"ai-edge-quantizer"`',
    )
    trial_samples: int = Field(
        2000,
        ge=1,
        description="samples on which files are compared before one is chosen: of the validation split, filled up from "
        "training; never of the test split",
    )
    onnx_opset: int = Field(17, ge=OLDEST, le=NEWEST, description="version of ONNX's operators")
    timeout_seconds: float = Field(900, gt=0, description="for one conversion")
    calibration: Calibration = Calibration()

    @field_validator("variants")
    @classmethod
    def _check_variants(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        if any(variant.startswith("savedmodel:") for variant in variants):
            raise ValueError("the SavedModel is always made; list only tflite: and onnx: variants")
        return checked(variants, Variant.parse, "variant")


# One number, or several.
Counts = int | tuple[int, ...]
_MOST = 65_536  # threads, or samples per inference: more is a slip, and would end in a lack of memory


class LatencyTable(Table):
    """Measurement of latency: bursts of all cells in turn, in blocks of fresh processes, until the order is certain."""

    processes: int = Field(
        6,
        ge=1,
        le=100,
        description="blocks before the first look at the data; each has a fresh process per cell (a file on a target). "
        "Where a recipe gives their number and no `max_seconds`, there are no more",
    )
    warmup_seconds: float = Field(0.2, ge=0, description="of each process, at least; until runs no longer get faster")
    run_seconds: float = Field(0.5, gt=0, description="for which each process runs its bursts")
    min_runs: int = Field(5, ge=1, description="minimum number of inferences that each process times")
    threads: Counts = Field(1, description="of the runtime; a list such as `[1, 2]` gives each target further rows")
    batch: Counts = Field(
        1, description="samples per inference, if the file takes several; a list (`[1, 8]`) makes further rows"
    )
    resolution: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="share of the latency: files tie unless one is shown to be slower by more",
    )
    max_seconds: float = Field(
        90.0,
        ge=0,
        description="after which no further block begins, once `processes` are done; 0 (the default where `processes` "
        "is given): no more than `processes` blocks",
    )
    sustained_minutes: float = Field(
        0.0, ge=0, le=240, description="for which the fastest file on each device then runs without a pause"
    )

    @model_validator(mode="before")
    @classmethod
    def _number_as_given(cls, values: Any) -> Any:
        if isinstance(values, dict) and "processes" in values and "max_seconds" not in values:
            return {**values, "max_seconds": 0}
        return values

    @field_validator("threads", "batch", mode="before")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        numbers = value if isinstance(value, list | tuple) else (value,)
        sound = all(type(number) is int and 1 <= number <= _MOST for number in numbers)
        if not numbers or not sound or len(set(numbers)) < len(numbers):
            raise ValueError(f"a whole number from 1 to {_MOST:,} is expected, or a list of such numbers, each once")
        return value

    @property
    def options(self) -> tuple[tuple[int, int], ...]:
        """Each number of threads with each batch; the first pair is that of the rows without a suffix."""
        threads, batches = (v if isinstance(v, tuple) else (v,) for v in (self.threads, self.batch))
        return tuple((number, batch) for batch in batches for number in threads)


class Evaluate(Table):
    """The targets on which each file is evaluated."""

    targets: tuple[str, ...] = Field(
        default_targets(),
        description="a device and a runtime each; `local/tensorflow` runs the float reference. An accelerator's CPU "
        "runtime is added, for comparison",
    )
    strict: bool = Field(
        False, description="an accelerator that leaves some of a file's operators to the CPU is a failed row"
    )
    latency: LatencyTable = LatencyTable()
    examples: int = Field(
        24,
        ge=0,
        le=24,
        description="test samples on which a file and its float model disagree, as pictures or texts in the report; "
        "`0`: none, where samples must not leave the data",
    )
    profile: bool = Field(
        False, description="also time each operator of every file that runs, apart from the latencies"
    )
    timeout_seconds: float = Field(600, gt=0, description="for one process")
    diagnose: Literal["auto", "all", "none"] = Field(
        "auto",
        description='which quantized files are compared with float tensor by tensor: `"auto"` those that lose more '
        'than the budget allows, or that lose beyond chance and may lose more, `"all"`, `"none"`',
    )

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if not targets:
            raise ValueError("at least one target is expected")
        return with_cpu(checked(targets, Target.parse, "target"))


class Recipe(WithDevices):
    """All settings of a run. `folder` is the recipe's folder, from which its relative paths start."""

    name: str = Field(
        "run",
        min_length=1,
        max_length=60,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="the run's name; its folder is `runs/NAME` unless `--out` says otherwise",
    )
    seed: int = Field(
        1,
        ge=0,
        lt=2**31,
        description="splits, initial weights, order of samples, augmentation, calibration draw, order of measurement",
    )
    runtime: str = Field(
        "",
        description='what the files must run on, e.g. `"tflite-runtime==2.14"`: see '
        "[below](#runtime-what-the-device-has)",
    )
    task: TrainedTask = Field(
        "",
        description='what a right answer is (see [tasks](tasks.md)): `"classification"`, `"multilabel"`, '
        '`"regression"` or `"segmentation"`; not set: what the targets show',
    )
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
    def _check_runtime(cls, runtime: str) -> str:
        return checked((runtime,), parse_runtime, "runtime")[0] if runtime else ""

    @model_validator(mode="after")
    def _targets_are_of_devices(self) -> Recipe:
        check_targets(self.evaluate.targets, self.devices, self.folder)
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Recipe:
        names = [model.name for model in self.model]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two models are called {repeated[0]!r}; each needs its own name")
        return self

    @model_validator(mode="after")
    def _budget_is_of_a_target(self) -> Recipe:
        target = self.budget.target
        of_runtime = (f"local/{self.runtime}", f"local/{self.runtime.partition('==')[0]}")
        if target and target not in (*self.evaluate.targets, *of_runtime):
            measured = ", ".join(self.evaluate.targets)
            raise ValueError(
                f"budget.target {target!r} is none of evaluate.targets ({measured}), so no file would be measured "
                "there: add it to them, or remove it from the budget"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved recipe, defaults included, without nulls, which TOML does not have.

        An absent budget stays absent: it differs from a budget of all defaults.
        """
        dumped = dict(self.model_dump(mode="json", exclude_none=True))
        if "budget" not in self.model_fields_set:
            del dumped["budget"]
        if not self.device:
            del dumped["device"]
        if not self.task:
            del dumped["task"]
        return dumped

    def to_toml(self) -> str:
        """Return the resolved recipe as TOML text; reading it gives an equal recipe."""
        return tomli_w.dumps(self.to_dict())

    @property
    def sha256(self) -> str:
        """Hash of the resolved recipe."""
        return sha256_of(self.to_dict())
