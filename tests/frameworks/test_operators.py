"""What a SavedModel from outside may do: operators that only compute, and files that are its own assets."""

from __future__ import annotations

import inspect
import json
import operator
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import InputError
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.export.export import save
from edgeproof.frameworks import operators
from edgeproof.frameworks.saved_model import read
from edgeproof.frameworks.security import check_security, dangerous
from edgeproof.frameworks.tensorflow import load
from edgeproof.train.external.code import find_code
from edgeproof.workflows.model_files import open_artifact

from ..core.test_bounded_reading import tflite


def names(text: str) -> list[str]:
    return text.split()


# Names of arguments that may hold the name of a file, a folder, an address or code.
FILE_LIKE = re.compile(
    r"file|path|vocab|pattern|dir|prefix|address|host|port|ur[il]|server|module|source|target|device|region|stream|"
    r"debug|method|command"
)

# What it finds among allowed operators, each looked at: patterns of texts, ways to compute, names in the graph.
HARMLESS = names(
    """
    AnonymousMultiDeviceIterator.devices AnonymousMultiDeviceIteratorV3.devices CropAndResize.method
    CropAndResizeGradBoxes.method CropAndResizeGradImage.method CudnnRNN.direction CudnnRNNBackprop.direction
    CudnnRNNBackpropV2.direction CudnnRNNBackpropV3.direction CudnnRNNCanonicalToParams.direction
    CudnnRNNCanonicalToParamsV2.direction CudnnRNNParamsSize.direction CudnnRNNParamsToCanonical.direction
    CudnnRNNParamsToCanonicalV2.direction CudnnRNNV2.direction CudnnRNNV3.direction DecodeAndCropJpeg.dct_method
    DecodeJpeg.dct_method DeviceIndex.device_names Fingerprint.method MultiDeviceIterator.devices
    ParseSequenceExample.debug_name ParseSequenceExampleV2.debug_name ParseSingleSequenceExample.debug_name
    RegexFullMatch.pattern RegexReplace.pattern RegexSplitWithOffsets.delim_regex_pattern
    RegexSplitWithOffsets.keep_delim_regex_pattern RiscSort.direction StaticRegexFullMatch.pattern
    StaticRegexReplace.pattern TPUReplicateMetadata.host_compute_core TensorArrayGrad.source TensorArrayGradV2.source
    TensorArrayGradV3.source TensorArrayGradWithShape.source VarHandleOp.allowed_devices VarHandleOp.debug_name
    """
)


def registry() -> list[Any]:
    """Every operator of TensorFlow and tensorflow_text that is installed here."""
    load()
    import tensorflow.lite.python.convert  # noqa: F401 - it registers some of its own
    import tensorflow_text  # noqa: F401
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    registered = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return list(registered.op)


def test_every_operator_that_is_installed_is_allowed_or_refused_by_name() -> None:
    installed = registry()
    assert len(installed) > 1500
    unknown = [op.name for op in installed if not operators.is_known(op.name)]
    assert not unknown, "decide in frameworks/operators.py whether these only compute"
    assert not operators.COMPUTING & operators.REFUSED.keys()


def test_operators_with_arguments_like_files_are_allowed_one_by_one() -> None:
    from tensorflow.core.framework.types_pb2 import DT_STRING

    arguments = {
        f"{op.name}.{name}"
        for op in registry()
        if op.name in operators.COMPUTING
        for name in (
            *(arg.name for arg in op.input_arg if arg.type == DT_STRING),
            *(attr.name for attr in op.attr if attr.type in ("string", "list(string)")),
        )
    }
    assert {name for name in arguments if FILE_LIKE.search(name.split(".")[1])} <= set(HARMLESS)


@pytest.mark.parametrize("prefix", ["", "compat.v1."])
def test_no_function_that_a_keras_file_may_name_reads_a_file(prefix: str) -> None:
    """A Keras 2 file calls functions of tf.nn, tf.image and so on by name, with arguments of its own."""
    tf, _ = load()
    # classes and fields of records that are computed with, ways to compute, and sizes
    harmless = {"recall_target", "targets", "top_paths", "method", "dct_method", "pattern", "source"}
    sizes = {"target_height", "target_width"}
    for module in ("math", "nn", "linalg", "image", "bitwise", "signal", "strings", "quantization"):
        functions = vars(operator.attrgetter(prefix + module)(tf))
        for name, function in functions.items():
            if name.startswith("_") or not callable(function):
                continue
            parameters = {name for name in inspect.signature(function).parameters if FILE_LIKE.search(name)}
            symbol = f"{prefix}{module}.{name}"
            layer = {"class_name": "TFOpLambda", "config": {"name": "call", "function": symbol}}
            assert bool(find_code(layer)) == bool(parameters - harmless - sizes), symbol
    (finding,) = find_code({"class_name": "TFOpLambda", "config": {"function": "nn.fixed_unigram_candidate_sampler"}})
    assert finding.endswith("reads files")


# --- nodes and where their paths come from ----------------------------------------------------------------------------


class Graph:
    """A SavedModel in the making, as bytes that no TensorFlow wrote: anything can be put together."""

    def __init__(self) -> None:
        load()
        from tensorflow.core.protobuf import saved_model_pb2

        self.model = saved_model_pb2.SavedModel()
        self.meta = self.model.meta_graphs.add()
        self.meta.meta_info_def.tags.append("serve")

    def node(self, op: str, *inputs: str, name: str = "", into: Any = None, **attributes: Any) -> str:
        """Add a node to the main graph or a function; text attributes and the function ``f`` are set."""
        nodes = self.meta.graph_def.node if into is None else into.node_def
        node = nodes.add(name=name or f"n{len(nodes)}", op=op, input=inputs)
        for key, value in attributes.items():
            if key == "f":
                node.attr[key].func.name = value
            elif isinstance(value, list):
                node.attr[key].list.s.extend(text.encode() for text in value)
            else:
                node.attr[key].s = value.encode()
        return str(node.name)

    def const(self, text: str) -> str:
        name = self.node("Const")
        self.meta.graph_def.node[-1].attr["value"].tensor.string_val.append(text.encode())
        return name

    def function(self, name: str, *arguments: str, bound: list[str] | None = None) -> Any:
        """Add a function; `bound` says of each of its last arguments what the objects bind to it."""
        from tensorflow.core.framework.types_pb2 import DT_STRING

        function = self.meta.graph_def.library.function.add()
        function.signature.name = name
        for argument in arguments:
            function.signature.input_arg.add(name=argument, type=DT_STRING)
        if bound is not None:
            objects = self.meta.object_graph_def
            if not objects.nodes:
                objects.nodes.add().user_object.identifier = "root"
            for kind in bound:
                objects.concrete_functions[name].bound_inputs.append(len(objects.nodes))
                node = objects.nodes.add()
                if kind == "asset":
                    node.asset.asset_file_def_index = 0
                else:
                    node.constant.operation = kind
            objects.concrete_functions[name].SetInParent()
        return function

    def asset(self, node: str, file: str) -> None:
        asset = self.meta.asset_file_def.add(filename=file)
        asset.tensor_info.name = f"{node}:0"

    def answer(self, node: str, signature: str = "serving_default") -> None:
        self.meta.signature_def[signature].outputs["y"].name = f"{node}:0"

    def save(self, folder: Path, *files: str) -> Path:
        (folder / "assets").mkdir(parents=True)
        for file in files:
            (folder / "assets" / file).write_text("a")
        (folder / "saved_model.pb").write_bytes(self.model.SerializeToString())
        return folder


ATTRIBUTES = [
    ("FixedUnigramCandidateSampler", "vocab_file", "", "/etc/passwd"),
    ("EncodeProto", "descriptor_source", "local://", "/etc/passwd"),
    ("DecodeProtoV2", "descriptor_source", "bytes://abc\n", "local:///etc/passwd"),
    ("PrintV2", "output_stream", "stderr", "file:///tmp/x"),
    ("PrintV2", "output_stream", "log(info)", "FILE:///tmp/x"),
    ("XlaCallModule", "module", "ML\xefR stablehlo.add", "custom_call @xla_python_cpu_callback"),
]


@pytest.mark.parametrize("place", ["graph", "function", "pipeline"])
def test_every_operator_that_is_refused_by_name_is_refused_wherever_it_stands(place: str, tmp_path: Path) -> None:
    graph = Graph()
    names = [name for name in operators.REFUSED if ">" not in name]
    assert len(names) > 200
    into = None if place == "graph" else graph.function("body")
    if place == "pipeline":
        graph.node("MapDataset", f="body")
    for number, name in enumerate(names):
        graph.node(name, into=into, name=f"node{number}")
    folder = graph.save(tmp_path / "m")
    (meta,) = read(folder).graphs
    refused = set()
    while nodes := dangerous(folder):  # five at a time
        refused |= {text.split(" (")[0] for text in nodes}
        others = [n for n in (meta.nodes if into is None else meta.functions["body"].nodes) if n.op not in refused]
        shorter = Graph()
        body = None if place == "graph" else shorter.function("body")
        for node in others:
            shorter.node(node.op, into=body, name=node.name)
        shutil.rmtree(folder)
        shorter.save(folder)
    assert refused == set(names)


@pytest.mark.parametrize(("op", "attribute", "harmless", "harmful"), ATTRIBUTES)
def test_an_operator_whose_danger_is_an_attribute_is_refused_when_it_is_set(
    op: str, attribute: str, harmless: str, harmful: str, tmp_path: Path
) -> None:
    for value, refused in ((harmless, False), (harmful, True)):
        graph = Graph()
        graph.node(op, into=graph.function("f"), **{attribute: value})
        assert bool(dangerous(graph.save(tmp_path / str(refused)))) == refused
    graph = Graph()
    graph.node(op)  # at its default
    assert dangerous(graph.save(tmp_path / "default")) == []


def test_an_operator_that_nobody_knows_is_a_clear_failure_of_its_own(tmp_path: Path) -> None:
    graph = Graph()
    graph.node("MyCompany>Solve", name="here")
    folder = graph.save(tmp_path / "m")
    with pytest.raises(InputError, match=r"only compute: MyCompany>Solve \(here\)") as caught:
        check_security(folder, trust=False, where="m")
    assert "trust" in caught.value.remedy
    check_security(folder, trust=True, where="m")
    graph.node("PyFunc")
    with pytest.raises(InputError, match=r"more than computing: PyFunc \(n1\) runs Python"):
        check_security(graph.save(tmp_path / "python"), trust=False, where="m")


@pytest.mark.parametrize(("op", "inputs"), [("ReadFile", ("path",)), ("InitializeTableFromTextFileV2", ("t", "path"))])
@pytest.mark.parametrize(
    ("bound", "calls", "harmless"),
    [
        (["asset"], "", True),
        (["asset"], "PartitionedCall", True),  # and the main graph, which is not run
        (["text"], "", False),  # a text that the file holds
        ([], "", True),  # an input that whoever calls the function fills
        (None, "function:asset", True),
        (None, "function:constant", False),
        (None, "function:If", False),
        (["asset"], "gradient", False),
    ],
)
def test_a_path_that_a_function_reads_must_come_from_an_asset(
    op: str, inputs: tuple[str, ...], bound: list[str] | None, calls: str, harmless: bool, tmp_path: Path
) -> None:
    graph = Graph()
    reader = graph.function("reader", "path", bound=bound)
    graph.node("Identity", "path", into=reader, name="same")
    graph.node(op, *(name.replace("path", "same:output:0") for name in inputs), into=reader)
    path = graph.const("/etc/passwd")
    graph.asset(graph.const("words"), "words.txt")
    if calls == "PartitionedCall":
        graph.answer(graph.node("PartitionedCall", path, f="reader"))
    elif calls == "gradient":
        graph.meta.graph_def.library.gradient.add(function_name="other", gradient_func="reader")
    elif calls:
        outer = graph.function("outer", "given", bound=["asset"])
        source = "given" if calls.endswith("asset") else graph.node("Const", into=outer) + ":output:0"
        kind = "If" if calls.endswith("If") else "StatefulPartitionedCall"
        graph.node(kind, "given" if kind == "If" else source, into=outer, f="reader")
    findings = dangerous(graph.save(tmp_path / "m", "words.txt"))
    assert (findings == []) == harmless, findings


@pytest.mark.parametrize(
    ("source", "signature", "harmless"),
    [
        ("asset", "__saved_model_init_op", True),
        ("asset", "serving_default", False),  # there the path is not given, and the file's own text counts
        ("constant", "__saved_model_init_op", False),
        ("input", "serving_default", True),
        ("default", "serving_default", False),
        ("join", "serving_default", False),
        ("argument", "serving_default", False),
    ],
)
def test_a_path_that_a_graph_of_tensorflow_1_reads_must_come_from_an_asset(
    source: str, signature: str, harmless: bool, tmp_path: Path
) -> None:
    graph = Graph()
    constant, asset = graph.const("/etc/passwd"), graph.const("/home/maker/words.txt")
    graph.asset(asset, "words.txt")
    given = graph.node("Placeholder")
    joined = graph.node("StringJoin", constant, asset)
    sources = {"asset": asset, "constant": constant, "input": given, "join": joined}
    if source == "argument":
        graph.node("ReadFile", "path", into=graph.function("reader", "path"))
        graph.answer(graph.node("StatefulPartitionedCall", constant, f="reader"), signature)
    else:
        if source == "default":
            graph.meta.signature_def[signature].defaults["path"].string_val.append(b"/etc/passwd")
        graph.answer(graph.node("ReadFile", sources.get(source, given)), signature)
    findings = dangerous(graph.save(tmp_path / "m", "words.txt"))
    assert (findings == []) == harmless, findings


def test_a_table_of_words_that_tensorflow_saved_reads_an_asset(tmp_path: Path) -> None:
    tf, _ = load()
    from tensorflow.core.protobuf import saved_model_pb2

    (tmp_path / "words.txt").write_text("a\nb\n")
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    root = tf.train.Checkpoint()
    root.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, line, tf.int64, number), -1
    )
    root.__call__ = tf.function(root.table.lookup, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(root, str(tmp_path / "m"))
    (graph,) = read(tmp_path / "m").graphs
    meta = saved_model_pb2.SavedModel.FromString((tmp_path / "m" / "saved_model.pb").read_bytes()).meta_graphs[0]
    functions = meta.object_graph_def.concrete_functions
    kinds = [node.WhichOneof("kind") == "asset" for node in meta.object_graph_def.nodes]
    assert {name: tuple(kinds[at] for at in f.bound_inputs) for name, f in functions.items()} == graph.bound
    assert any(any(bound) for bound in graph.bound.values())
    assert graph.assets == ((meta.asset_file_def[0].tensor_info.name[:-2], "words.txt"),)
    assert dangerous(tmp_path / "m") == []


@pytest.mark.parametrize(
    "name", ["../../secret", "/etc/passwd", "..", "", "gs://bucket/x", "a/../../../secret", "link"]
)
def test_the_name_of_an_asset_stays_below_the_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a")
    graph = Graph()
    graph.asset(graph.const("x"), name)
    folder = graph.save(tmp_path / "m", "words.txt")
    (folder / "assets" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads to a file that is no part of the model"):
        check_security(folder, trust=False, where="m")


def test_a_cache_that_links_all_files_of_a_model_is_fine(tmp_path: Path) -> None:
    graph = Graph()
    graph.asset(graph.const("x"), "words.txt")
    folder = graph.save(tmp_path / "m", "words.txt")
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate([folder / "saved_model.pb", folder / "assets" / "words.txt"]):
        path.rename(tmp_path / "blobs" / str(number))
        path.symlink_to(tmp_path / "blobs" / str(number))
    check_security(folder, trust=False, where="m")


def test_two_functions_of_one_name_hide_nothing(tmp_path: Path) -> None:
    graph = Graph()
    graph.node("WriteFile", into=graph.function("f"))
    graph.node("Identity", into=graph.function("f"))
    assert dangerous(graph.save(tmp_path / "m"))[0].startswith("WriteFile")


# --- the operators on strings that a tokenizer may bring --------------------------------------------------------------


def tokenizer_folder(folder: Path, op: str) -> Path:
    graph = Graph()
    graph.node(op, into=graph.function("f"), name="here")
    graph.save(folder / "string_part")
    settings = {"version": 1, "kind": "tensorflow", "length": 4, "pad": 0, "size": 9}
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("op", ["RecordInput", "Skipgram", "DatasetToTFRecord", "MyCompany>Solve"])
def test_a_tokenizer_beside_a_file_is_looked_at_before_it_runs(op: str, tmp_path: Path) -> None:
    content, path = tflite(), tmp_path / "m--tflite-float32.tflite"
    path.write_bytes(content)
    tokenizer = tokenizer_folder(tmp_path / "m.tokenizer", op)
    artifact = Artifact(
        id="m", model="m", format="tflite", scheme="float32", path=path,
        sha256=sha256_file(path),
        bytes=len(content), tokenizer=tokenizer,
    )  # fmt: skip
    save(artifact, tmp_path)
    with pytest.raises(InputError, match=rf"the tokenizer of m--tflite-float32\.tflite: .*: {op} \(here\)"):
        open_artifact(path)
    tokenizer_folder(tmp_path / "n.tokenizer", "StringLower")
    save(replace(artifact, tokenizer=tmp_path / "n.tokenizer"), tmp_path)
    assert open_artifact(path).tokenizer == tmp_path / "n.tokenizer"


@pytest.mark.slow
@pytest.mark.parametrize("op", ["RecordInput", "LoadAndRemapMatrix"])
def test_the_code_that_travels_with_a_tokenizer_refuses_operators_on_files(op: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"it does more than computing: {op}"):
        open_tokenizer(tokenizer_folder(tmp_path / "t", op))
