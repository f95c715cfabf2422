"""Prepares data, or takes them from the store, in the same way for ``run``, ``export`` and ``evaluate``."""

from __future__ import annotations

import re
import tempfile
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import data as train_data
from ..core.codec import sha256_of, write_atomic
from ..core.dataset import PreparedData, load_prepared, save_prepared
from ..core.environment import usable_cores
from ..core.errors import InputError, explain_disk_errors
from ..core.helpers import Helpers
from ..core.model import InputContract
from ..core.picture_size import is_picture, sides
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.store import STORE, Store
from ..train import external
from .array_files import with_arrays
from .input_spec import InputSpec
from .samples import Samples
from .tensorflow_process import TensorFlowProcess

Use = Literal["all", "train", "test"]


def prepared(
    data: Data | Samples,
    input_spec: InputSpec,
    *,
    seed: int,
    folder: Path,
    store: Store,
    listener: Listener,
    tf: TensorFlowProcess | None = None,
    use: Use = "all",
    fingerprint: dict[str, Any] | None = None,
    beside: Path | None = None,
    helpers: Helpers | None = None,
    task: str = "",
) -> PreparedData:
    """Return the data set of `data` for a model that takes `input_spec`, prepared now or taken from the store.

    Relative paths are relative to `folder`. `fingerprint` saves reading the source a second time; `tf` is a running
    process that reads catalogues with TensorFlow. The list of samples that could not be read is put beside the store,
    or into `beside` if the store is temporary. `helpers` decode images, too. `task` is the recipe's, which trains on
    the data.
    """
    data = with_arrays(data, input_spec, folder, use=use, targets=False, listener=listener)
    if isinstance(data, Samples):
        return _from_memory(data, input_spec, seed=seed, store=store, listener=listener, use=use)
    if input_spec.kind == "tensor":
        return _arrays(data.source, input_spec, folder=folder, store=store, use=use)
    if data.source.startswith("npy:"):
        raise InputError(
            f"{data.source} holds arrays, and the model takes {input_spec.kind}s", "give a source of those"
        )
    scheme, _, rest = data.source.partition(":")
    missing = scheme == "csv" and not (folder / Path(rest).expanduser()).is_file()  # its reader reports that
    if not missing and (held := train_data.kind_of(data, folder)) != input_spec.kind:
        table_of_texts = input_spec.kind == "text" and data.source.startswith("csv:")
        raise InputError(
            f"{data.source} holds {held}s, and the model takes {input_spec.kind}s"
            + (f": there is no column {data.text_column!r}" if table_of_texts else ""),
            "say which column holds the texts, with --text-column" if table_of_texts else "give a source of those",
        )
    table = dict(data.model_dump(mode="json"))
    source = fingerprint or train_data.fingerprint(data, seed=seed, folder=folder, use=use)
    settings = {"kind": input_spec.kind, "image_size": input_spec.size, "resize": input_spec.resize}
    key = store.key("data", {"source": source, "data": table, "use": use, **settings})
    # The same images in another place (a folder that was moved) have the same key, and their files are not found.
    fresh = store.get(key) is None or bool(load_prepared(store.root / key).missing())
    if fresh:
        with store.write(key) as workspace:
            if scheme in ("keras", "tfds"):  # TensorFlow reads these, in a process of its own
                own = TensorFlowProcess(store.root / "tensorflow.log", listener) if tf is None else nullcontext(tf)
                with own as process:
                    process.call(
                        "prepare",
                        data=table,
                        seed=seed,
                        image_size=input_spec.size,
                        resize=input_spec.resize,
                        folder=str(folder.absolute()),
                        workspace=str(workspace.absolute()),
                        workers=usable_cores(),
                        use=use,
                    )
            else:
                _decode(
                    data, input_spec, seed=seed, folder=folder, workspace=workspace, listener=listener, use=use,
                    helpers=helpers, task=task,
                )  # fmt: skip
    place = store.root.parent if store.root.name == STORE else beside
    if place is not None:
        _list_unreadable(store.root / key, place, listener if fresh else None)
    return load_prepared(store.root / key)


def _decode(
    data: Data,
    input_spec: InputSpec,
    *,
    seed: int,
    folder: Path,
    workspace: Path,
    listener: Listener,
    use: Use,
    helpers: Helpers | None = None,
    task: str = "",
) -> PreparedData:
    """Read, check and split images or texts into `workspace`."""
    if input_spec.kind == "text":
        return train_data.prepare_texts(
            data, seed=seed, folder=folder, workspace=workspace, listener=listener, use=use, task=task
        )  # fmt: skip
    return train_data.prepare(
        data, seed=seed, image_size=input_spec.size, resize=input_spec.resize, folder=folder, workspace=workspace,
        listener=listener, workers=usable_cores(), use=use, helpers=helpers,
    )  # fmt: skip


def _from_memory(
    samples: Samples, input_spec: InputSpec, *, seed: int, store: Store, listener: Listener, use: Use
) -> PreparedData:
    """Return samples in memory, prepared like those of a file; their classes keep their numbers."""
    inputs = [asdict(one) for one in input_spec.inputs]
    spec = {
        "sha256": samples.sha256,
        "kind": input_spec.kind,
        "size": input_spec.size,
        "resize": input_spec.resize,
        "use": use,
    }
    key = store.key("memory", {**spec, "inputs": inputs})
    if store.get(key) is None:
        with tempfile.TemporaryDirectory(prefix="edgeproof-samples-") as name, store.write(key) as workspace:
            channels = sides(input_spec.size)[2]
            data = samples.write(input_spec.kind, Path(name), channels=channels)
            try:
                if input_spec.kind == "tensor":
                    data_set = _checked_arrays(Path(data.source.partition(":")[2]), input_spec, workspace, use)
                else:
                    data_set = _decode(
                        data, input_spec, seed=seed, folder=Path(), workspace=workspace, listener=listener, use=use
                    )
            except InputError as error:  # the caller does not know the temporary folder
                called = "the data" if samples.source.endswith(" in memory") else samples.source
                message = re.sub(rf"{re.escape(name)}/[\w./]*", lambda _: called, error.message)
                raise InputError(message, error.remedy) from error
            save_prepared(_with_classes(data_set, samples, _split(use)), workspace)
    return replace(load_prepared(store.root / key), source=samples.source)


def _with_classes(data: PreparedData, samples: Samples, split: str) -> PreparedData:
    """Replace the classes of prepared samples by those in memory."""
    if samples.targets is not None:
        kept = samples.targets
        if data.kind != "tensor":  # each sample is a class of its own
            numbers = np.array([int(label) for label in data.labels], np.int64)
            kept = kept[numbers[np.load(data.targets(split), allow_pickle=False)]]
        np.save(data.targets(split), kept)
        sha256 = sha256_of([data.sha256, samples.task, samples.sha256])
        report = {name: value for name, value in data.report.items() if name != "classes"}
        return replace(
            data, source=samples.source, labels=samples.names, task=samples.task, sha256=sha256, report=report
        )
    if samples.classes is None:
        return replace(data, source=samples.source)
    classes = samples.classes
    if data.kind != "tensor":  # samples may have been left out; labels are class numbers
        numbers = np.array([int(label) for label in data.labels], np.int64)
        classes = numbers[np.load(data.targets(split), allow_pickle=False)]
    np.save(data.targets(split), classes)
    labels = samples.names or tuple(map(str, range(int(samples.classes.max()) + 1)))
    sha256 = sha256_of([data.sha256, labels, classes.tolist()])
    return replace(data, source=samples.source, labels=labels, sha256=sha256)


def _list_unreadable(entry: Path, folder: Path, listener: Listener | None) -> None:
    """Put the list of samples that could not be read into `folder`, beside the report or the bundle; report its path.

    For data prepared earlier nothing is reported: `listener` is None.
    """
    unreadable = entry / train_data.UNREADABLE
    if not unreadable.is_file():
        return
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / unreadable.name, unreadable.read_text(encoding="utf-8"))
    if listener is not None:
        listener.note("warning", f"all samples that could not be read, with reasons: {folder / unreadable.name}")


def _arrays(source: str, input_spec: InputSpec, *, folder: Path, store: Store, use: Use) -> PreparedData:
    """Return the samples of ``npy:FILE``. They have no classes and no splits: all are used."""
    scheme, _, rest = source.partition(":")
    if scheme != "npy":
        hint = ""
        if len(input_spec.inputs) == 1 and is_picture(input_spec.inputs[0].shape):
            hint = "; if it takes pictures, say which range their values have when you export it: --value-range 0,1"
        raise InputError(
            f"{source}: the model takes arrays of its own shape",
            "give them as npz:FILE (x, or one array for each input; y the targets), npy:FILE, or a table of numbers as "
            f"csv:FILE or parquet:FILE{hint}",
        )
    if "\0" in rest:
        raise InputError("data source: the name holds a zero byte", "write npy:FILE")
    path = folder / Path(rest).expanduser()
    facts = {"source": str(path.resolve()), "split": _split(use), "inputs": [asdict(i) for i in input_spec.inputs]}
    key = store.key("arrays", facts)
    # Made again each time: checking whether the file has changed costs as much.
    with store.write(key) as workspace:
        _checked_arrays(path, input_spec, workspace, use)
    return load_prepared(store.root / key)


def _checked_arrays(path: Path, input_spec: InputSpec, workspace: Path, use: Use) -> PreparedData:
    first = input_spec.inputs[0]
    contract = InputContract(first.name, first.shape, first.dtype, kind="tensor")
    return external.tensor_data(path, workspace, contract, inputs=input_spec.inputs, split=_split(use))


def _split(use: Use) -> str:
    return "train" if use == "train" else "test"
