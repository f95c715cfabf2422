"""TensorBoard: a run for each file on each target, with scalars, and hyperparameters for its table of all runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ...core.errors import explain_disk_errors
from ...core.extras import EXTRAS
from ...core.results import Results
from ...core.sanitize import slug
from .cells import ExportedCell, exported_cells


def export_to_tensorboard(results: Results, logs: Path) -> Path:
    """Write a run below `logs`, the folder that ``tensorboard --logdir`` is given; return the run's own folder there.

    Each file on each target is a run with a scalar for each figure (at step 0), its parameters as hyperparameters and
    its status. Exporting again adds to what is there. Raises NotInstalledError without TensorBoard, and StageError when
    the disk refuses.
    """
    EXTRAS["tensorboard"].require("exporting to TensorBoard needs", "tensorboard")
    folder = logs / slug(str(results.run.get("name") or "run"))
    cells = list(exported_cells(results))
    with explain_disk_errors(folder), _without_tensorflow():
        _write(folder, [_experiment(cells)])
        for cell in cells:
            _write(folder / slug(cell.name, 120), [*_scalars(cell), _session(cell), *_words(cell)])
    return folder


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Let TensorBoard write through its own small copy of TensorFlow's files: it would import all of it, for seconds.

    ``tensorboard.compat.notf`` is the name by which TensorBoard itself asks whether to do so.
    """
    name = "tensorboard.compat.notf"
    needed = "tensorflow" not in sys.modules and name not in sys.modules
    if needed:
        sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        if needed:
            del sys.modules[name]


def _write(folder: Path, values: Sequence[Any]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder))
    try:
        writer.add_event(Event(wall_time=time.time(), step=0, summary=Summary(value=values)))
    finally:
        writer.close()


def _scalars(cell: ExportedCell) -> Iterator[Any]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    for key, value in cell.figures.items():
        yield Summary.Value(tag=key, simple_value=value)


def _words(cell: ExportedCell) -> Iterator[Any]:
    """Yield the status, and why a file does not run, as texts. TensorBoard shows Markdown: code is shown as it is."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    for key, words in cell.words.items():
        plain = "`" + words.replace("`", "'") + "`"
        text = TensorProto(dtype=DT_STRING, string_val=[plain.encode("utf-8", "replace")])
        yield Summary.Value(tag=key, metadata=create_summary_metadata(key, ""), tensor=text)


def _experiment(cells: Sequence[ExportedCell]) -> Any:
    """Return which hyperparameters and which figures the runs have."""
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

    parameters = dict.fromkeys(key for cell in cells for key in cell.parameters)
    figures = dict.fromkeys(key for cell in cells for key in cell.figures)
    experiment = api_pb2.Experiment(
        hparam_infos=[api_pb2.HParamInfo(name=key, type=api_pb2.DATA_TYPE_STRING) for key in parameters],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=key)) for key in figures],
    )
    return _hparams("EXPERIMENT_TAG", plugin_data_pb2.HParamsPluginData(experiment=experiment))


def _session(cell: ExportedCell) -> Any:
    from tensorboard.plugins.hparams import plugin_data_pb2

    session = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    _fill(session.hparams, cell.parameters)
    return _hparams("SESSION_START_INFO_TAG", plugin_data_pb2.HParamsPluginData(session_start_info=session))


def _fill(hparams: Any, parameters: Mapping[str, str]) -> None:
    for key, value in parameters.items():
        hparams[key].string_value = value


def _hparams(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    return Summary.Value(
        tag=getattr(metadata, tag), metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
