"""Hub image modules that are refused: early, without TensorFlow, and those that do more than compute."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.core import extras
from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import InputError, StageError
from edgeproof.frameworks.freeze import constant_function
from edgeproof.frameworks.saved_model import read
from edgeproof.frameworks.security import dangerous
from edgeproof.frameworks.tensorflow import fresh, load
from edgeproof.train.backbones import build_base, check_backbone, identity
from edgeproof.train.source import ImageRequest

from ..support.hub_modules import (
    SIZE,
    pixels,
    program,
    spec,
    tf1_module,
    tf2_module,
)


@pytest.mark.parametrize(
    ("backbone", "others", "message"),
    [
        ("keras:MobileNetV2", {"trainable": True}, "trainable has no effect"),
        ("keras:MobileNetV2", {"head": "own"}, "head has no effect"),
        ("keras:MobileNetV2", {"signature": "x"}, "signature has no effect"),
        ("package:mobilenet_v2", {"value_range": (0, 1)}, "value_range has no effect"),
        ("package:efficientnet_lite0", {"output": "x"}, "no output 'x'"),
        ("package:efficientnet_lite0", {"image_size": 16}, "too small"),
        ("scratch:average-embedding", {}, "is for texts"),
        ("https://tfhub.dev/google/x/1", {}, "unknown scheme"),
        ("hub:", {}, "names no model"),
    ],
)
def test_keys_that_mean_nothing_are_told(backbone, others, message):
    with pytest.raises(InputError, match=message):
        check_backbone(spec("x", backbone=backbone, **others), folder=Path())


def test_the_early_check_of_a_hub_module_imports_no_framework(modules):
    code = (
        "import sys; from pathlib import Path; from edgeproof.core.recipe import ModelSpec\n"
        "from edgeproof.train.backbones import check_backbone, identity\n"
        "spec = ModelSpec(name='m', backbone='hub:' + sys.argv[1], image_size=32)\n"
        "check_backbone(spec, folder=Path()); identity(spec, folder=Path())\n"
        "print(sorted({'tensorflow', 'tf_keras', 'tensorflow_hub', 'google.protobuf'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(modules("features"))], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_a_missing_extra_is_told_with_its_remedy(modules, monkeypatch):

    real = extras.find_spec
    for missing, message in (("tensorflow_hub", "tensorflow_hub"), ("pkg_resources", "setuptools")):
        monkeypatch.setattr(extras, "find_spec", lambda name, gone=missing: None if name == gone else real(name))
        with pytest.raises(InputError, match=message) as caught:
            check_backbone(spec(modules("features")), folder=Path())
        assert "pip install 'edgeproof[hub]'" in caught.value.remedy


def test_identity_follows_content_and_choices(modules):
    first = spec(modules("features"))
    assert identity(first, folder=Path())["weights"] == {"sha256": sha256_file(modules("features"))}
    others = (spec(modules("logits", gives="logits")), spec(modules("features"), value_range=(0, 2)))
    assert all(identity(other, folder=Path()) != identity(first, folder=Path()) for other in others)


# --- programs that do more than computing -----------------------------------------------------------------------------

PROGRAMS = {
    "WriteFile": lambda tf: lambda x: _after(tf, tf.io.write_file("/nowhere/x", "x"), x),
    "ReadFile": lambda tf: (
        lambda x: x[:, 0, 0] + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)
    ),
    "EagerPyFunc": lambda tf: lambda x: tf.ensure_shape(tf.py_function(lambda v: v, [x], tf.float32), x.shape)[:, 0, 0],
    "PyFunc": lambda tf: lambda x: tf.reshape(tf.numpy_function(lambda v: v, [x], tf.float32), [-1, 3]),
    "MatchingFiles": lambda tf: lambda x: x[:, 0, 0] + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32),
    "PrintV2": lambda tf: lambda x: _after(tf, tf.raw_ops.PrintV2(input="x", output_stream="file:///nowhere/x"), x),
    "SaveV2": lambda tf: (
        lambda x: _after(
            tf,
            tf.raw_ops.SaveV2(
                prefix="/nowhere/x", tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
            ),
            x,
        )
    ),
    "RestoreV2": lambda tf: (
        lambda x: (
            x[:, 0, 0]
            + tf.raw_ops.RestoreV2(prefix="/nowhere/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[
                0
            ]
        )
    ),
}


def _after(tf, operation, x):
    with tf.control_dependencies([operation]):
        return tf.identity(x[:, 0, 0])


@pytest.mark.parametrize("operator", PROGRAMS)
def test_a_module_that_touches_files_or_python_is_refused_unless_trusted(tmp_path, operator):
    program(tmp_path / "m", PROGRAMS[operator])
    with pytest.raises(InputError, match=f"more than computing: {operator}") as caught:
        check_backbone(spec(tmp_path / "m"), folder=Path())
    assert "trust = true" in caught.value.remedy
    check_backbone(spec(tmp_path / "m", trust=True), folder=Path())


def test_a_call_hidden_in_a_branch_or_behind_another_function_is_found(tmp_path):
    def build(tf):
        inner = tf.function(lambda x: _after(tf, tf.io.write_file("/nowhere/x", "x"), x))
        return lambda x: tf.cond(tf.reduce_sum(x) > 1e9, lambda: inner(x), lambda: x[:, 0, 0])

    assert dangerous(program(tmp_path / "m", build))[0].startswith("WriteFile")


def test_savers_vocabularies_and_printing_are_normal(modules, tmp_path):
    for name, maker, options in (("features", tf2_module, {}), ("tf1", tf1_module, {})):
        assert dangerous(modules(name, maker, **options)) == []
    tf, keras = load()
    (tmp_path / "words.txt").write_text("a\nb\n")
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words = tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, line, tf.int64, number)
    root = tf.train.Checkpoint()
    root.table = tf.lookup.StaticVocabularyTable(words, 1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def call(words):
        tf.print("hello")
        return tf.one_hot(root.table.lookup(words), 3)

    root.__call__ = call
    tf.saved_model.save(root, str(tmp_path / "words"))
    assert dangerous(tmp_path / "words") == []
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.save(tmp_path / "keras", save_format="tf")
    assert dangerous(tmp_path / "keras") == []
    check_backbone(spec(tmp_path / "keras", trainable=True), folder=Path())
    assert build_base(spec(tmp_path / "keras"), ImageRequest(Path())).features == 2


def test_the_light_reader_sees_every_operator_that_tensorflow_sees(modules):
    load()
    from tensorflow.core.protobuf import saved_model_pb2

    for folder in (modules("features"), modules("tf1", tf1_module)):
        parsed = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        for theirs, ours in zip(parsed.meta_graphs, read(folder).graphs, strict=True):
            assert [(n.name, n.op, tuple(n.input)) for n in theirs.graph_def.node] == [
                (n.name, n.op, n.inputs) for n in ours.nodes
            ]
            functions = {f.signature.name: [n.op for n in f.node_def] for f in theirs.graph_def.library.function}
            assert functions == {name: [n.op for n in f.nodes] for name, f in ours.functions.items()}
            assert set(theirs.meta_info_def.tags) == ours.tags and theirs.saver_def.restore_op_name == ours.restore
            assert set(theirs.object_graph_def.concrete_functions) == ours.callables
            for name, signature in theirs.signature_def.items():
                shapes = {k: tuple(d.size for d in v.tensor_shape.dim) for k, v in signature.inputs.items()}
                assert shapes == {k: t.shape for k, t in ours.signatures[name].inputs.items()}


@pytest.mark.parametrize("content", [b"", b"hello, this is no protobuf", b"\x12\xff\xff\xff\xff\x0f", b"\x0b" * 40])
def test_a_damaged_graph_is_told(tmp_path, content):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(InputError, match="damaged, or not a SavedModel"):
        check_backbone(spec(tmp_path), folder=Path())


def test_a_model_whose_variables_are_gone_is_told(tmp_path):
    tf2_module(tmp_path / "m")
    for path in (tmp_path / "m" / "variables").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="cannot load the SavedModel"):
        build_base(spec(tmp_path / "m"), ImageRequest(Path()))


def test_a_module_that_draws_random_numbers_while_it_infers_is_told_before_it_is_trained_on(tmp_path):
    """What Keras' `export` makes of a model with augmentation layers: they stay switched on."""
    _, keras = fresh(1)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), layers.RandomFlip(), layers.Conv2D(4, 3, 2), layers.Flatten(), layers.Dense(6)]
    )
    model.export(str(tmp_path / "m"))
    check_backbone(spec(tmp_path / "m"), folder=Path())
    with pytest.raises(InputError, match="answers differently each time") as caught:
        build_base(spec(tmp_path / "m"), ImageRequest(Path(), samples=pixels()))
    assert "RandomFlip" in caught.value.remedy
    image = keras.Input((SIZE, SIZE, 3))
    flipped = keras.Model(image, layers.GlobalAveragePooling2D()(layers.RandomFlip()(image, training=True)))
    with pytest.raises(StageError, match=r"draws random numbers .*Rng") as caught:
        constant_function(flipped, 1)
    assert caught.value.remedy
