"""Files that are made ahead: in order, once, and in the TensorFlow process one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.core.variant import Variant
from edgeproof.workflows.made_ahead import MadeAhead
from edgeproof.workflows.tensorflow_process import TensorFlowProcess

INT8, FLOAT = Variant("tflite", "int8"), Variant("tflite", "float32")


def maker_of(name: str, made: list[str]) -> Callable[[], Artifact]:
    def make() -> Artifact:
        made.append(name)
        return Artifact(name, "model", "tflite", "int8", None)

    return make


def test_files_are_made_once_in_the_order_of_their_announcement() -> None:
    made: list[str] = []
    with MadeAhead() as ahead:
        for name in ("first", "second", "first"):
            ahead.announce(INT8, name, maker_of(name, made))
        taken = [ahead.take(INT8, name) for name in ("second", "first", "second")]
    assert [one.id for one in taken if one] == ["second", "first", "second"]
    assert made == ["first", "second"]


def test_a_file_that_was_not_announced_is_left_to_the_caller() -> None:
    with MadeAhead() as ahead:
        ahead.announce(INT8, "converter", maker_of("one", []))
        assert ahead.take(INT8, "quantizer") is None and ahead.take(FLOAT, "converter") is None


def test_what_making_a_file_raises_is_raised_where_it_is_taken() -> None:
    def refuse() -> Artifact:
        raise InputError("no such maker", "choose another")

    with MadeAhead() as ahead:
        ahead.announce(INT8, "converter", refuse)
        with pytest.raises(InputError, match="no such maker"):
            ahead.take(INT8, "converter")


def test_after_an_error_no_further_file_is_begun() -> None:
    made: list[str] = []
    may_end, begun = threading.Event(), threading.Event()

    def slow() -> Artifact:
        begun.set()
        may_end.wait()
        return maker_of("slow", made)()

    with pytest.raises(RuntimeError), MadeAhead() as ahead:
        ahead.announce(INT8, "slow", slow)
        ahead.announce(INT8, "next", maker_of("next", made))
        begun.wait()
        raise RuntimeError
    may_end.set()
    assert ahead.take(INT8, "slow") is not None
    assert made == ["slow"]


def test_a_job_waits_until_the_machine_is_given_back(tmp_path: Path) -> None:
    ended: list[str] = []
    with TensorFlowProcess(tmp_path / "log.txt", Silent()) as process:

        def ask() -> None:
            with pytest.raises(StageError):
                process.call("no such job")
            ended.append("job")

        with process.idle():
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join(0.3)
            assert thread.is_alive()
            ended.append("measurement")
        thread.join()
    assert ended == ["measurement", "job"]


def test_no_process_is_started_after_the_end(tmp_path: Path) -> None:
    with TensorFlowProcess(tmp_path / "log.txt", Silent()) as process:
        pass
    with pytest.raises(StageError, match="has ended with its run"):
        process.call("export")
