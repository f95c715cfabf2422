"""Schemes: each file stores what its scheme says, asks for the operator versions that it needs, and runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Operator
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.maker import CONVERTER, QUANTIZER
from edgeproof.core.model import save_model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export
from edgeproof.core.store import Store
from edgeproof.core.target import parse_runtime
from edgeproof.core.variant import HALF, SCHEMES, Variant
from edgeproof.export import dense_as_conv, export, quantizer
from edgeproof.export.ranges import METHODS
from edgeproof.report.palette import scheme_colour
from edgeproof.tflite import objects
from edgeproof.tflite.operator_versions import needed_version
from edgeproof.tflite.storage import storage
from edgeproof.tflite.writer import write
from edgeproof.workflows import runtime_fallbacks, steps
from edgeproof.workflows.tensorflow_process import TensorFlowProcess

from ..support.scheme_files import LITERT, OLD, ONNX, Files, classify, frozen, make, raw_dynamic, shared, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return shared(tmp_path_factory)


def test_the_model_of_these_tests_tells_pictures_apart(files: Files) -> None:
    classes = files.answers(files("tflite:float32"), LITERT).argmax(axis=1)
    assert len(set(classes)) >= 8 and np.bincount(classes).max() < 30


@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic", "int8", "int8-int8io", "int8-uint8io"])
def test_the_table_of_versions_is_the_converters(files: Files, scheme: str) -> None:
    content = files.content(f"tflite:{scheme}", CONVERTER)
    model = objects.read(content)
    needs: dict[int, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = objects.operator_name(model, operator)
            version = needed_version(name, objects._signature(graph, operator))
            needs[operator.opcodeIndex] = max(version, needs.get(operator.opcodeIndex, 0))
    assert needs == {index: model.operatorCodes[index].version for index in needs}
    assert write(model) == content


@pytest.mark.parametrize(
    ("operator", "signature", "version"),
    [
        ("CONV_2D", {"inputs": ("int16", "int8", "int64"), "outputs": ("int16",)}, 1),
        ("CONV_2D", {"inputs": ("int8", "int4", "int32"), "outputs": ("int8",)}, 7),
        ("FULLY_CONNECTED", {"inputs": ("float32", "int8"), "outputs": ("float32",), "arity": 2}, 6),
        ("FULLY_CONNECTED", {"inputs": ("int16", "int4", "int64"), "outputs": ("int16",)}, 13),
        ("DEQUANTIZE", {"inputs": ("int8",), "outputs": ("float32",), "per_channel": True}, 5),
        ("QUANTIZE", {"inputs": ("float32",), "outputs": ("int16",)}, 2),
        ("MUL", {"inputs": ("int8", "int8"), "outputs": ("int8",), "rescale": 1.5}, 3),
        ("ADD", {"inputs": ("int16", "int16"), "outputs": ("int16",), "scaled": True,
                 "options": {"potScaleInt16": False}}, 3),
        ("EMBEDDING_LOOKUP", {"inputs": ("int32", "int4"), "outputs": ("float32",)}, 4),
        ("SOMETHING_NEW", {"inputs": ("int8",), "outputs": ("int8",)}, 1),
    ],
)  # fmt: skip
def test_versions_that_these_files_do_not_show(operator: str, signature: dict[str, Any], version: int) -> None:
    plain = {"arity": 3, "per_channel": False, "scaled": False, "rescale": 0.0, "options": {}}
    assert needed_version(operator, plain | signature) == version


def test_int8_per_tensor_has_one_scale_a_layer(files: Files) -> None:
    storage = files.storage("tflite:int8-per-tensor")
    assert storage["scales"] == {"per-tensor": 6} and not storage["float_operators"]
    assert files.storage("tflite:int8", CONVERTER)["scales"] == {"per-channel": 6}
    assert files.agreement(files("tflite:int8-per-tensor")) > 0.6


def test_a_scheme_is_its_row_whatever_it_is_called(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new row is all that a scheme of known settings takes; nothing is inherited from how its name begins."""
    row = replace(
        SCHEMES["tflite"]["float16"], name="int8-pretended", colour="int4", fallbacks=("int4",),
        as_fallback="pretended",
    )  # fmt: skip
    monkeypatch.setitem(SCHEMES["tflite"], row.name, row)
    artifact = make(files.model, "tflite:int8-pretended", tmp_path)
    assert artifact.status == "ok", artifact.reason
    assert artifact.path is not None
    assert storage(objects.read(artifact.path.read_bytes()))["weights"].keys() == {"float16"}
    assert artifact.variant.scheme.arithmetic is HALF
    assert scheme_colour(row.name).name == "scheme-int4"
    old = replace(artifact, path=None, ops=(Operator("CONV_2D", 99, 1),))
    runtime = parse_runtime("tflite-runtime==2.14")
    assert list(map(str, runtime_fallbacks.fallback_variants(old, runtime))) == ["tflite:int4"]


def test_a_stored_file_is_made_anew_where_an_option_of_its_kernels_changed(files: Files, tmp_path: Path) -> None:
    model = replace(frozen(classify, tmp_path / "saved_model"), name="m")
    save_model(model, tmp_path)
    sums = []
    with TensorFlowProcess(tmp_path / "log.txt", Silent()) as process:
        for options in (Export(), Export(dense_per_channel=False)):
            artifact = steps.make_file(
                model, Variant.parse("tflite:dynamic-conv"), options, None, maker=CONVERTER,
                store=Store(tmp_path / "store"), tf=process,
            )  # fmt: skip
            assert artifact.status == "ok", artifact.reason
            sums.append(artifact.sha256)
    assert sums[0] != sums[1]


def test_int8_is_strict_and_fallback_counts_its_islands(files: Files, tmp_path: Path) -> None:
    """The converter, asked for integer kernels alone, leaves in float what has none, and says nothing."""
    assert files.storage("tflite:int8-fallback")["float_islands"] == 0
    import tensorflow as tf

    def serve(image: Any) -> Any:
        mixed = tf.cumsum(tf.nn.conv2d(image, weights(3, 3, 3, 8), 1, "SAME"), axis=1)
        pooled = tf.reduce_mean(tf.nn.conv2d(mixed, weights(3, 3, 8, 10), 2, "SAME"), (1, 2))
        return {"probabilities": tf.nn.softmax(pooled)}

    model = frozen(serve, tmp_path / "sum")
    for scheme in ("int8", "int8-int8io", "int16x8"):
        strict = make(model, f"tflite:{scheme}", tmp_path, files.samples, CONVERTER)
        assert strict.status == "failed" and "CUMSUM" in strict.reason, scheme
        assert "no integer kernel" in strict.reason
        assert "int8-fallback" in strict.remedy
    tool = make(model, "tflite:int8", tmp_path, files.samples, QUANTIZER)
    assert tool.status == "failed" and "CUMSUM" in tool.reason
    loose = make(model, "tflite:int8-fallback", tmp_path, files.samples)
    assert loose.storage["fallen_back"] == {"CUMSUM": 1} and loose.storage["float_islands"] == 1
    assert loose.storage["integer_operators"] >= 3 and loose.inputs[0].dtype == "float32"


def fake_quantized(image: Any) -> Any:
    """A convolution and a dense layer with the fake quantization that training leaves in a graph."""
    import tensorflow as tf

    def fake(values: Any, low: float, high: float) -> Any:
        return tf.quantization.fake_quant_with_min_max_vars(values, low, high)

    def kernel(*shape: int) -> Any:
        values = weights(*shape)
        high = np.abs(values).max(axis=tuple(range(values.ndim - 1)))
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(values, -high, high, narrow_range=True)

    here = fake(tf.nn.relu(tf.nn.conv2d(fake(image, 0.0, 255.0), kernel(3, 3, 3, 8), 2, "SAME")), 0.0, 400.0)
    # What TFMOT gives a mean, and a dense layer's answer before its softmax.
    pooled = fake(tf.reduce_mean(here, (1, 2)), 0.0, 400.0)
    return {"probabilities": tf.nn.softmax(fake(tf.matmul(pooled, fake(weights(8, 10), -1.5, 1.5)), -300.0, 300.0))}


def test_qat_takes_the_ranges_from_the_graph(files: Files, tmp_path: Path) -> None:
    trained = frozen(fake_quantized, tmp_path / "trained", kind="qat", of="float", head_only=False)
    for variant, edge in (("tflite:qat-int8", "float32"), ("tflite:qat-int8-int8io", "int8")):
        exported = make(trained, variant, tmp_path, files.samples)
        assert exported.status == "ok", exported.reason
        assert not exported.storage["float_operators"] and exported.calibration == {}
        assert exported.inputs[0].dtype == exported.outputs[0].dtype == edge
        assert exported.parent_sha256 == "float" and exported.training["kind"] == "qat"
    assert exported.inputs[0].scale == pytest.approx(1.0)  # the range that was in the graph: 0 to 255
    wrong = make(replace(trained, tuning={}), "tflite:qat-int8", tmp_path)
    assert wrong.status == "failed" and "no further training" in wrong.reason


def test_qat_in_parts_is_calibrated_for_the_rest(files: Files, tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(image: Any) -> Any:
        return {
            "probabilities": tf.nn.softmax(tf.reduce_mean(tf.nn.conv2d(image, weights(3, 3, 3, 10), 2, "SAME"), (1, 2)))
        }

    head = frozen(serve, tmp_path / "head", kind="qat", of="float", head_only=True)
    exported = make(head, "tflite:qat-int8", tmp_path, files.samples)
    assert exported.status == "ok" and not exported.storage["float_operators"]
    assert exported.calibration["samples"] == 60
    entire = replace(head, tuning={**head.tuning, "head_only": False})
    refused = make(entire, "tflite:qat-int8", tmp_path, files.samples)
    assert refused.status == "failed" and "left operators in float" in refused.reason


def test_trained_further_files_are_made_as_their_plain_ones(files: Files, tmp_path: Path) -> None:
    pruned = replace(files.model, tuning={"kind": "pruned", "of": "float"})
    for variant, same in (("tflite:pruned-dynamic", "tflite:dynamic"), ("tflite:pruned-int8", "tflite:int8")):
        exported = make(pruned, variant, tmp_path, files.samples)
        assert exported.sha256 == files(same, CONVERTER).sha256 and exported.parent_sha256 == "float"
    assert make(pruned, "tflite:clustered-float32", tmp_path).status == "failed"


def test_dense_layers_as_convolutions_run_where_version_12_does_not(files: Files, tmp_path: Path) -> None:
    plain, conv, single = (files(f"tflite:dynamic{which}", CONVERTER) for which in ("", "-conv", "-per-tensor"))
    assert {o.name: o.version for o in plain.ops}["FULLY_CONNECTED"] == 12
    assert "FULLY_CONNECTED" not in {o.name for o in conv.ops}
    assert {o.name: o.version for o in single.ops}["FULLY_CONNECTED"] < 12
    assert files.storage("tflite:dynamic-conv")["scales"] == files.storage("tflite:dynamic", CONVERTER)["scales"]
    expected = files.answers(plain, LITERT)
    np.testing.assert_allclose(files.answers(conv, LITERT), expected, atol=1e-3)
    assert files.answers(plain, OLD).status == "unsupported"
    for artifact in (conv, single):
        np.testing.assert_allclose(files.answers(artifact, OLD), expected, atol=0.1)
        assert files.agreement(artifact, OLD) > 0.9


def test_dense_as_convolution_shapes(tmp_path: Path) -> None:
    """Rows, no bias, a fused activation, and weights that two layers share."""
    import tensorflow as tf

    shared = weights(64, 64)

    def serve(image: Any) -> Any:
        first = tf.nn.relu(tf.matmul(image, shared) + np.ones(64, np.float32))
        return {"probabilities": tf.matmul(tf.matmul(first, shared), weights(64, 32))}

    model = frozen(serve, tmp_path / "dense", (5, 64))
    plain, conv = (make(model, f"tflite:dynamic{which}", tmp_path) for which in ("", "-conv"))
    assert "FULLY_CONNECTED" in {o.name for o in plain.ops} and "FULLY_CONNECTED" not in {o.name for o in conv.ops}
    sample = weights(5, 64)
    answers = []
    for artifact in (plain, conv):
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(artifact.path)).get_signature_runner("serving_default")
        answers.append(runner(image=sample)["probabilities"])
    np.testing.assert_allclose(answers[1], answers[0], atol=0.05 * np.abs(answers[0]).max())
    assert plain.path is not None
    untouched = make(model, "tflite:float32", tmp_path).path
    assert untouched is not None and dense_as_conv.dense_as_conv(untouched.read_bytes()) == untouched.read_bytes()


QUANTIZED = {
    "dynamic": "int8", "int8": "int8", "int16x8": "int8", "weight-int8": "int8", "weight-int4": "int4", "int4": "int4"
}  # fmt: skip


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_the_quantizers_files_are_what_they_say_and_run(files: Files, tmp_path: Path, scheme: str) -> None:
    file = files(f"tflite:{scheme}", QUANTIZER)
    assert file.status == "ok", file.reason
    assert "ai-edge-quantizer" in file.made_by and file.inputs[0].dtype == file.outputs[0].dtype == "float32"
    assert file.storage["weights"][QUANTIZED[scheme]] > 0.9 * sum(file.storage["weights"].values())
    assert bool(file.storage["integer_operators"]) == SCHEMES["tflite"][scheme].calibrated
    assert file.bytes < files("tflite:float32").bytes / 3 and 0 < file.compressed_bytes < file.bytes
    assert files.agreement(file) > (0.6 if QUANTIZED[scheme] == "int8" else 0.3)
    # No claim of the float file about the oldest runtime, and no weights behind the flatbuffer.
    model = objects.read(files.content(f"tflite:{scheme}", QUANTIZER))
    assert b"min_runtime_version" not in [entry.name for entry in model.metadata or ()]
    assert write(model) == files.content(f"tflite:{scheme}", QUANTIZER)
    again = make(files.model, f"tflite:{scheme}", tmp_path, files.samples, QUANTIZER)
    assert again.sha256 == file.sha256


def test_an_old_runtime_refuses_what_it_would_answer_wrongly(files: Files, tmp_path: Path) -> None:
    """The tool's own dynamic file loads on tflite-runtime 2.14 and is wrong there; with its versions it is refused."""
    ours = files("tflite:dynamic", QUANTIZER)
    assert files.agreement(raw_dynamic(files, tmp_path), OLD) < 0.5
    assert files.answers(ours, OLD).status == "unsupported"
    assert {o.name: o.version for o in ours.ops}["FULLY_CONNECTED"] == 12


def test_blocks_are_for_dense_layers(files: Files, tmp_path: Path) -> None:
    import tensorflow as tf

    def convolve(image: Any) -> Any:
        here = tf.nn.conv2d(image, weights(3, 3, 3, 64), 2, "SAME")
        return {
            "probabilities": tf.nn.softmax(tf.reduce_mean(tf.nn.conv2d(here, weights(3, 3, 64, 10), 2, "SAME"), (1, 2)))
        }

    refused = make(frozen(convolve, tmp_path / "conv"), "tflite:int4-block32", tmp_path)
    assert refused.status == "failed" and "dense and embedding-lookup layers" in refused.reason
    assert "tflite:int4" in refused.remedy

    def serve(image: Any) -> Any:
        hidden = tf.nn.relu(tf.matmul(image, weights(128, 96)))
        return {"probabilities": tf.nn.softmax(tf.matmul(hidden, weights(96, 8)))}

    exported = make(frozen(serve, tmp_path / "dense", (1, 128)), "tflite:int4-block32", tmp_path)
    assert exported.status == "ok", exported.reason
    assert exported.storage["scales"] == {"blockwise": 2} and set(exported.storage["weights"]) == {"int4"}

    def uneven(image: Any) -> Any:
        hidden = tf.nn.relu(tf.matmul(image, weights(128, 100)))
        return {"probabilities": tf.nn.softmax(tf.matmul(hidden, weights(100, 8)))}

    exported = make(frozen(uneven, tmp_path / "uneven", (1, 128)), "tflite:int4-block32", tmp_path)
    assert exported.status == "ok" and exported.storage["weights"] == {"int4": 12800, "float32": 800}


def test_what_the_quantizer_cannot_take_is_told(files: Files) -> None:
    for variant, message in (("tflite:int8", "quantized already"), ("tflite:float16", "float16")):
        with pytest.raises(InputError, match=message):
            quantizer.quantize(files.content(variant, CONVERTER), SCHEMES["tflite"]["weight-int8"])
    for change, message in ((_open, "leaves shapes open"), (_two_signatures, "2 signatures")):
        model = objects.read(files.content("tflite:float32"))
        change(model)
        with pytest.raises(InputError, match=message):
            quantizer.check_float(write(model))
    with pytest.raises(InputError, match="TFLite"):
        quantizer.check_float(b"nothing of the kind")


def _open(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = np.array([-1, 32, 32, 3], np.int32)


def _two_signatures(model: Any) -> None:
    model.signatureDefs = [*model.signatureDefs, model.signatureDefs[0]]


def test_a_file_without_a_signature_gets_one(files: Files) -> None:
    model = objects.read(files.content("tflite:float32"))
    model.signatureDefs = None
    name = quantizer.input_name(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]])
    pictures = np.load(files.samples)
    content, _ = quantizer.quantize(
        write(model),
        SCHEMES["tflite"]["int8"],
        lambda: ({name: picture[None].astype(np.float32)} for picture in pictures),
    )
    (signature,) = objects.read(content).signatureDefs
    assert [entry.name.decode() for entry in signature.inputs] == [name] == ["image"]
    with pytest.raises(InputError, match="calibration"):
        quantizer.quantize(files.content("tflite:float32"), SCHEMES["tflite"]["int8"])


def test_a_file_in_its_scheme_by_name_only_is_refused(files: Files) -> None:
    with pytest.raises(StageError, match="weights became int8"):
        quantizer._check(objects.read(files.content("tflite:float32")), SCHEMES["tflite"]["weight-int8"])


def test_calibration_is_recorded_with_its_size_and_method(files: Files) -> None:
    by_converter, by_tool = (files("tflite:int8", maker).calibration for maker in (CONVERTER, QUANTIZER))
    record = {"sha256": "known", "samples": 60, "shape": [32, 32, 3], "bytes": 60 * 32 * 32 * 3, "method": "min-max"}
    assert {key: by_converter[key] for key in record} == record
    assert by_converter["float_agreement"]["agreement"] > 0.6 and by_converter["float_agreement"]["samples"] == 48
    tried = {row["method"]: row["error"] for row in by_tool["methods"]}
    assert tried.keys() == METHODS.keys() and tried[by_tool["method"]] * 0.9 <= min(tried.values())
    assert files("tflite:dynamic", QUANTIZER).calibration == {}
    with pytest.raises(InputError, match="does not make"):
        make(files.model, "tflite:weight-int8", files.folder, maker=CONVERTER)
    with pytest.raises(InputError, match="needs calibration samples"):
        make(files.model, "onnx:int8", files.folder)


@pytest.mark.parametrize("scheme", ["float16", "dynamic", "int8"])
def test_onnx_in_fewer_bits(files: Files, tmp_path: Path, scheme: str) -> None:
    import onnx
    import onnxruntime

    artifact, plain = files(f"onnx:{scheme}"), files("onnx:float32")
    assert artifact.status == "ok", artifact.reason
    assert artifact.bytes < plain.bytes / (1.8 if scheme == "float16" else 2)
    assert (artifact.inputs, artifact.outputs) == (plain.inputs, plain.outputs)
    assert files.agreement(plain, ONNX) == 1
    assert files.agreement(artifact, ONNX) > (0.95 if scheme == "float16" else 0.6)
    again = export(files.model, Variant("onnx", scheme), options=Export(), folder=tmp_path, calibration=files.samples)
    assert again.sha256 == artifact.sha256
    # What the engine makes of it: integer convolutions, not float ones between conversions.
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    onnxruntime.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
    run = [node.op_type for node in onnx.load(str(tmp_path / "run.onnx")).graph.node]
    if scheme == "int8":
        assert run.count("QLinearConv") == 4 and not {"Conv", "FusedConv", "Gemm", "MatMul", "FusedGemm"} & set(run)
        tried = {row["method"]: row["error"] for row in artifact.calibration["methods"]}
        assert len(tried) == 2 and tried[artifact.calibration["method"]] * 0.9 <= min(tried.values())
    if scheme == "dynamic":
        assert run.count("ConvInteger") == 2 and not {"Gemm", "MatMul"} & set(run)


def test_onnx_nodes_are_sorted_by_what_they_need() -> None:
    from onnx import TensorProto, helper

    from edgeproof.export.onnx_schemes import _sort

    nodes = [helper.make_node("Relu", ["b"], ["c"]), helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ac"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    _sort(graph)
    assert [node.op_type for node in graph.node] == ["Cast", "Relu"]


def test_tools_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, files: Files, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    exported = make(files.model, "tflite:weight-int8", tmp_path)
    assert exported.status == "failed" and "ai_edge_quantizer is not installed" in exported.reason
    assert "edgeproof[quantize]" in exported.remedy
