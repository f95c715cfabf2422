"""Prepared data, found in the store or made now: the same way for ``run``, ``export`` and ``evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .. import data as train_data
from ..core.codec import write_atomic
from ..core.dataset import Kind, PreparedData, load_prepared
from ..core.environment import usable_cores
from ..core.errors import InputError, explain_disk_errors
from ..core.model import InputContract
from ..core.progress import Listener
from ..core.recipe import Data
from ..core.store import STORE, Store
from ..train import external
from .tensorflow_process import TensorFlowProcess


@dataclass(frozen=True)
class Wanted:
    """What a model takes: texts, pictures of `size` × `size` pixels made so by `resize`, or arrays of `inputs`."""

    kind: Kind
    size: int = 0
    resize: str = ""
    inputs: tuple[external.Input, ...] = ()

    @classmethod
    def by(cls, contract: InputContract, inputs: Sequence[external.Input] = ()) -> Wanted:
        """Return what an input contract asks for; `inputs` are all of a model that takes arrays."""
        if contract.kind == "image":
            return cls("image", contract.height, contract.resize)
        return cls(contract.kind, inputs=tuple(inputs) if contract.kind == "tensor" else ())


def prepared(
    data: Data,
    wanted: Wanted,
    *,
    seed: int,
    folder: Path,
    store: Store,
    listener: Listener,
    tf: TensorFlowProcess | None = None,
    use: Literal["all", "train", "test"] = "all",
    fingerprint: dict[str, Any] | None = None,
    beside: Path | None = None,
) -> PreparedData:
    """Return the data set of `data` for a model that takes `wanted`, from the store or made now.

    `folder` is where relative paths are meant from. `fingerprint` saves looking at the source a second time; `tf`
    is the process that reads catalogues with TensorFlow, where one runs. The list of samples that could not be read is
    put into the folder of the store, or into `beside` where the store is one of the moment.
    """
    if wanted.kind == "tensor":
        return _arrays(data.source, wanted, folder=folder, store=store, use=use)
    if data.source.startswith("npy:"):
        raise InputError(f"{data.source} holds arrays, and the model takes {wanted.kind}s", "give a source of those")
    scheme, _, rest = data.source.partition(":")
    missing = scheme == "csv" and not (folder / Path(rest).expanduser()).is_file()  # what reads it will say so
    if not missing and (found := train_data.kind_of(data, folder)) != wanted.kind:
        table_of_texts = wanted.kind == "text" and data.source.startswith("csv:")
        raise InputError(
            f"{data.source} holds {found}s, and the model takes {wanted.kind}s"
            + (f": there is no column {data.text_column!r}" if table_of_texts else ""),
            "say which column holds the texts, with --text-column" if table_of_texts else "give a source of those",
        )
    table = dict(data.model_dump(mode="json"))
    source = fingerprint or train_data.fingerprint(data, seed=seed, folder=folder, use=use)
    settings = {"kind": wanted.kind, "image_size": wanted.size, "resize": wanted.resize}
    key = store.key("data", {"source": source, "data": table, "use": use, **settings})
    fresh = store.get(key) is None
    if fresh:
        with store.write(key) as workspace:
            if wanted.kind == "text":
                train_data.prepare_texts(
                    data, seed=seed, folder=folder, workspace=workspace, listener=listener, use=use
                )
            elif scheme in ("keras", "tfds"):  # TensorFlow reads these, in a process of its own
                own = TensorFlowProcess(store.root / "tensorflow.log", listener) if tf is None else nullcontext(tf)
                with own as process:
                    process.call(
                        "prepare",
                        data=table,
                        seed=seed,
                        image_size=wanted.size,
                        resize=wanted.resize,
                        folder=str(folder.absolute()),
                        workspace=str(workspace.absolute()),
                        workers=usable_cores(),
                        use=use,
                    )
            else:
                train_data.prepare(
                    data,
                    seed=seed,
                    image_size=wanted.size,
                    resize=wanted.resize,
                    folder=folder,
                    workspace=workspace,
                    listener=listener,
                    workers=usable_cores(),
                    use=use,
                )
    place = store.root.parent if store.root.name == STORE else beside
    if place is not None:
        _list_unreadable(store.root / key, place, listener if fresh else None)
    return load_prepared(store.root / key)


def _list_unreadable(entry: Path, folder: Path, listener: Listener | None) -> None:
    """Put the list of samples that could not be read into `folder`, beside the report or the bundle; say where it is.

    What was prepared long ago is not told again: `listener` is None then.
    """
    found = entry / train_data.UNREADABLE
    if not found.is_file():
        return
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / found.name, found.read_text(encoding="utf-8"))
    if listener is not None:
        listener.note("warning", f"all that could not be read, and why: {folder / found.name}")


def _arrays(
    source: str, wanted: Wanted, *, folder: Path, store: Store, use: Literal["all", "train", "test"]
) -> PreparedData:
    """Return the samples of ``npy:FILE``. They have no classes and no splits: all of them serve."""
    scheme, _, rest = source.partition(":")
    if scheme != "npy":
        hint = ""
        if len(wanted.inputs) == 1 and wanted.inputs[0].shape[-1:] == (3,) and len(wanted.inputs[0].shape) == 4:
            hint = "; if it takes pictures, say which range their values have when you export it: --value-range 0,1"
        raise InputError(
            f"{source}: the model takes arrays of its own shape",
            f"give them as npy:FILE (a .npy, or a .npz for several inputs){hint}",
        )
    path = folder / Path(rest).expanduser()
    split = "train" if use == "train" else "test"
    first = wanted.inputs[0]
    contract = InputContract(first.name, first.shape, first.dtype, kind="tensor")
    facts = {"source": str(path.resolve()), "split": split, "inputs": [asdict(i) for i in wanted.inputs]}
    key = store.key("arrays", facts)
    # Made anew each time: to see whether the file has changed costs as much.
    with store.write(key) as workspace:
        external.tensor_data(path, workspace, contract, inputs=wanted.inputs, split=split)
    return load_prepared(store.root / key)
