"""TensorFlow's converter, without what its Python part loads and writes in vain.

That part reads a SavedModel four times before the compiler does, and writes the file twice, from objects, without
alignment. Here it is read once and written once; the file differs from TensorFlow's own only as `writer` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from .writer import conform, write


def saved_model_converter(folder: Path, signature: str) -> Any:
    """Return a ``TFLiteConverter`` of a signature of the SavedModel in `folder`, whose one graph is tagged ``serve``.

    Raises OSError when the SavedModel cannot be read.
    """
    from tensorflow.lite.python import lite

    kind = lite.conversion_metadata_fb.ModelType.TF_SAVED_MODEL
    lite.TFLiteConverterBase._set_original_model_type(kind)  # goes into the file's metadata
    return _converter_class()(str(folder), {"serve"}, [signature])


@cache
def _converter_class() -> Any:
    """Return TensorFlow's class (2.21), which reads the SavedModel once.

    The compiler reads the SavedModel by itself. The Python part needs only the names of operators: they show whether
    the model was trained for quantization.
    """
    import tensorflow as tf
    from tensorflow.lite.python import lite

    class Converter(lite.TFLiteSavedModelConverterV2):  # type: ignore[misc]
        def _parse_saved_model_args(self, always_enable_saved_model_import: bool = False) -> None:
            content, _ = lite._parse_saved_model_with_debug_info(self.saved_model_dir)
            self._saved_model_version = content.saved_model_schema_version
            graph = content.meta_graphs[0].graph_def
            bodies = [graph.node, *(function.node_def for function in graph.library.function)]
            self._operators = {node.op for body in bodies for node in body}

        @lite._export_metrics  # type: ignore[untyped-decorator]
        def convert(self) -> Any:
            graph = tf.compat.v1.GraphDef()
            for operator in sorted(self._operators):
                graph.node.add(name=operator, op=operator)
            return self._convert_from_saved_model(graph)

    return Converter


def convert(converter: Any) -> bytes:
    """Return the file that a configured ``TFLiteConverter`` makes. Raises whatever the converter raises."""
    with _our_writer() as used:
        content = bytes(converter.convert())
    return content if used else conform(content)


@contextmanager
def _our_writer() -> Iterator[list[bool]]:
    """Within this block the converter's Python part writes with `write`; the yielded list is empty until it does.

    It reads a file into objects three times, and writes it to share equal buffers, and again to add metadata. Here the
    objects of the file that was read or written last are given to the next step. Its builder grows by doubling, so
    TensorFlow's own needs five times the memory of the weights. Files of more than 2 GB skip it.
    """
    from tensorflow.lite.tools import flatbuffer_utils as module

    reads, writes = module.convert_bytearray_to_object, module.convert_object_to_bytearray
    used: list[bool] = []
    last: tuple[Any, Any] = (None, None)

    def read_once(content: Any) -> Any:
        nonlocal last
        if content is not last[0]:
            last = content, reads(content)
        return last[1]

    def ours(model: Any, extra_buffer: bytes = b"") -> bytes:
        nonlocal last
        used.append(True)
        content = write(model) + extra_buffer
        last = content, model
        return content

    module.convert_bytearray_to_object, module.convert_object_to_bytearray = read_once, ours
    try:
        yield used
    finally:
        module.convert_bytearray_to_object, module.convert_object_to_bytearray = reads, writes
