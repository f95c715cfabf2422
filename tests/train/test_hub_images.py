"""Hub image modules: real SavedModels, made here, through `hub.KerasLayer`, from early checks to frozen models."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core import extras
from edgeproof.core.codec import sha256_file
from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, FineTune, ModelSpec, Train
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks.freeze import constant_function
from edgeproof.frameworks.saved_model import read
from edgeproof.frameworks.security import dangerous
from edgeproof.frameworks.tensorflow import fresh, load
from edgeproof.train import feature_pass
from edgeproof.train import fit as fitting
from edgeproof.train.backbones import build_base, check_backbone, identity
from edgeproof.train.fit import fit
from edgeproof.train.hub.module import Module, kind_of
from edgeproof.train.hub.pixel_ranges import pixels_of
from edgeproof.train.source import ImageRequest

SIZE = 32
CLASSES = 5
LABELS = ("a", "b", "c")
FAST = Train(epochs=2, batch_size=16, learning_rate=1e-2, fine_tune=FineTune(epochs=2, learning_rate=1e-2))
LONG = Train(epochs=150, batch_size=16, learning_rate=0.1, patience=0)


class Heard(Silent):
    def __init__(self):
        self.notes, self.tasks = [], []

    def note(self, level, message, **facts):
        self.notes.append(message)

    def progress(self, task, done, total, note=""):
        self.tasks.append(task)


def spec(folder, **others):
    return ModelSpec.model_validate({"name": "m", "backbone": f"hub:{folder}", "image_size": SIZE, **others})


def pixels(count=6, size=SIZE):
    return np.random.default_rng(size).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


# --- modules, made as publishers make them -------------------------------------------------------------------------


def tf2_module(folder, gives="features", *, side=None, extra=None, trainable=True, batch=None):
    """A reusable SavedModel: two convolutions, batch norm in between; the second picture's value range is 0–1.

    `gives`: features (N, 8), maps (N, h, w, 8), logits, probabilities or sigmoid (N, 5), several (a dict) or pair.
    `extra` adds a call argument ``gain`` that multiplies the features.
    """
    tf, _ = fresh(7)
    rng = np.random.default_rng(7)
    first = tf.Variable(rng.normal(size=(3, 3, 3, 6)).astype(np.float32) * 0.4, name="first")
    second = tf.Variable(rng.normal(size=(3, 3, 6, 8)).astype(np.float32) * 0.3, name="second")
    dense = tf.Variable(rng.normal(size=(8, CLASSES)).astype(np.float32), name="dense")
    gamma, beta = tf.Variable(tf.ones(6), name="gamma"), tf.Variable(tf.zeros(6), name="beta")
    mean = tf.Variable(tf.fill([6], 0.3), trainable=False, name="mean")
    variance = tf.Variable(tf.fill([6], 0.7), trainable=False, name="variance")

    def network(images, training, gain):
        x = tf.nn.conv2d(images, first, 2, "SAME")
        if training:
            x, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta)
            mean.assign(0.9 * mean + 0.1 * batch_mean)
            variance.assign(0.9 * variance + 0.1 * batch_variance)
        else:
            x, _, _ = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)
        maps = tf.nn.relu(tf.nn.conv2d(tf.nn.relu(x), second, 2, "SAME")) * gain
        features = tf.reduce_mean(maps, [1, 2])
        logits = features @ dense
        return {
            "features": features,
            "maps": maps,
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "sigmoid": tf.nn.sigmoid(logits),
            "several": {"embedding": features, "logits": logits},
            "pair": (features, logits),
            "tokens": tf.reshape(features, [-1, 4, 2]),
        }[gives]

    images = tf.TensorSpec([batch, side, side, 3], tf.float32, name="inputs")
    if extra:

        @tf.function
        def call(inputs, training=False, gain=1.0):
            return network(inputs, training, gain)

        for training in (False, True):
            call.get_concrete_function(images, training, tf.TensorSpec([], tf.float32, name="gain"))
    else:

        @tf.function
        def call(inputs, training=False):
            return network(inputs, training, 1.0)

        for training in (False, True):
            call.get_concrete_function(images, training)
    root = tf.train.Checkpoint()
    root.__call__ = call
    root.variables = [first, second, dense, gamma, beta, mean, variance]
    if trainable:
        root.trainable_variables = [first, second, gamma, beta]
        root.regularization_losses = [tf.function(lambda: 0.5 * tf.nn.l2_loss(first), input_signature=[])]
    tf.saved_model.save(root, str(folder))
    return folder


def tf1_module(folder, *, side=SIZE, references=False):
    """The TF1 Hub format: a graph per set of tags, signatures, and ``tfhub_module.pb`` that says so.

    With `references` its variables are those that TensorFlow 2 cannot freeze.
    """
    tf, _ = load()
    v1 = tf.compat.v1
    rng = np.random.default_rng(3)
    weights = {"kernel": rng.normal(size=(3, 3, 3, 8)), "dense": rng.normal(size=(8, CLASSES))}
    builder = v1.saved_model.Builder(str(folder))
    for tags in (set(), {"train"}):
        with tf.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, [None, side, side, 3], name="images")
            momentum = v1.placeholder_with_default(tf.constant(1.0), [], name="gain")
            kernel, dense = (
                v1.get_variable(name, initializer=value.astype(np.float32), use_resource=not references)
                for name, value in weights.items()
            )
            features = momentum * tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME")), [1, 2])
            utils = v1.saved_model.utils
            inputs = {"images": utils.build_tensor_info(images)}
            built = {}
            for name, extra, outputs in (
                ("default", {}, {"default": features}),
                ("image_classification", {}, {"default": tf.matmul(features, dense), "hidden": features}),
                ("with_gain", {"gain": utils.build_tensor_info(momentum)}, {"default": features}),
            ):
                tensors = {key: utils.build_tensor_info(value) for key, value in outputs.items()}
                built[name] = v1.saved_model.build_signature_def({**inputs, **extra}, tensors)
            session.run(v1.global_variables_initializer())
            if tags:
                builder.add_meta_graph(list(tags), signature_def_map=built)
            else:
                builder.add_meta_graph_and_variables(session, [], signature_def_map=built)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # ModuleDef.format: FORMAT_V3
    return folder


def program(folder, build, **signatures):
    """A SavedModel around the function that `build` makes of TensorFlow."""
    tf, _ = load()
    root = tf.train.Checkpoint()
    root.__call__ = tf.function(build(tf), input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
    tf.saved_model.save(root, str(folder))
    return folder


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """Each kind of module, made when it is first asked for."""
    folder, paths = tmp_path_factory.mktemp("modules"), {}

    def get(name, maker=tf2_module, **options):
        if name not in paths:
            paths[name] = maker(folder / name, **options)
        return paths[name]

    return get


def called(folder, images, **arguments):
    """What the SavedModel itself answers, called as its documentation would say."""
    tf, _ = load()
    return tf.saved_model.load(str(folder))(tf.constant(images, tf.float32), **arguments)


# --- what a module is and gives -------------------------------------------------------------------------------------


def test_features_are_the_modules_own_on_pixels_in_its_range(modules):
    folder = modules("features")
    base = build_base(spec(folder), ImageRequest(Path(), samples=pixels()))
    expected = called(folder, pixels() / 255.0)
    np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5)
    assert base.model.output_shape == (None, 8) and not base.model.trainable_weights
    assert not base.answers and base.facts == {"gives": "values", "pixels": "[0, 1]"}


@pytest.mark.parametrize(
    ("chosen", "low", "high"),
    [({"value_range": (-1.0, 1.0)}, -1, 1), ({"preprocessing": "tf"}, -1, 1), ({"preprocessing": "inside"}, 0, 255)],
)
def test_the_recipe_says_what_pixels_the_module_wants(modules, chosen, low, high):
    folder = modules("features")
    base = build_base(spec(folder, **chosen), ImageRequest(Path(), samples=pixels()))
    expected = called(folder, low + (high - low) * (pixels() / 255.0)).numpy()
    np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5 * expected.max())


def test_known_publishers_have_their_range_and_unknown_ones_a_note(modules):
    for handle, name in {
        "https://tfhub.dev/google/imagenet/mobilenet_v3_large_100_224/feature_vector/5": "[0, 1]",
        "https://www.kaggle.com/models/google/bit/TensorFlow2/m-r50x1/1": "[0, 1]",
        "https://tfhub.dev/sayakpaul/vit_b16_fe/1": "[-1, 1]",
        "https://tfhub.dev/sayakpaul/convnext_tiny_1k_224_fe/1": "torch",
        "https://tfhub.dev/adityakane2001/regnety200mf_feature_extractor/1": "[0, 255]",
        "https://www.kaggle.com/models/rishit-dagli/xcit/TensorFlow2/nano-12-p16-224/1": "[-1, 1]",
    }.items():
        pixel_range = pixels_of(spec("x"), handle)
        assert pixel_range.name == name and pixel_range.why
    assert pixels_of(spec("x", value_range=(0, 2)), "https://tfhub.dev/sayakpaul/vit_b16_fe/1").name == "[0, 2]"
    for unknown in ("https://example.org/google/x/1", "../google/x", "https://tfhub.dev/somebody/x/1"):
        assert pixels_of(spec("x"), unknown).name == "[0, 1]" and not pixels_of(spec("x"), unknown).why
    heard = Heard()
    build_base(spec(modules("features")), ImageRequest(Path(), listener=heard))
    assert any("is not known" in note and "value_range" in note for note in heard.notes)


def test_maps_are_pooled_and_dictionaries_and_pairs_give_what_is_chosen(modules):
    expected = called(modules("features"), pixels() / 255.0)
    for name, output in (("maps", ""), ("several", "embedding"), ("pair", "0")):
        base = build_base(spec(modules(name, gives=name), output=output), ImageRequest(Path(), samples=pixels()))
        np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5)
    with pytest.raises(InputError, match="2 outputs") as caught:
        build_base(spec(modules("several", gives="several")), ImageRequest(Path()))
    assert "'embedding', 'logits'" in caught.value.remedy
    with pytest.raises(InputError, match="no output 'embeding'"):
        build_base(spec(modules("several"), output="embeding"), ImageRequest(Path()))
    with pytest.raises(InputError, match=r"\(4, 4, 2\)"):
        build_base(spec(modules("tokens", gives="tokens")), ImageRequest(Path()))


def test_extra_arguments_reach_the_call(modules):
    folder = modules("extra", extra=True)
    expected = called(folder, pixels() / 255.0, training=False, gain=2.0)
    base = build_base(spec(folder, arguments={"gain": 2.0}), ImageRequest(Path(), samples=pixels()))
    np.testing.assert_allclose(base.model(pixels().astype(np.float32)), expected, atol=1e-5)
    with pytest.raises(InputError, match=r"cannot be called .* arguments \['gian'\]"):
        build_base(spec(folder, arguments={"gian": 2.0}), ImageRequest(Path()))


def test_a_fixed_size_is_told_with_the_size(modules):
    folder = modules("fixed", side=48)
    with pytest.raises(InputError, match="48×48 pixels only, but image_size = 32") as caught:
        build_base(spec(folder), ImageRequest(Path()))
    assert caught.value.remedy == "set image_size = 48"
    assert build_base(spec(folder, image_size=48), ImageRequest(Path())).features == 8
    with pytest.raises(InputError, match=r"1 image\(s\) at a time"):
        build_base(spec(modules("single", batch=1)), ImageRequest(Path()))


def test_what_a_module_gives_is_found_out_not_assumed():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20, 6)) * 5
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert kind_of(logits) == "values" and kind_of(softmax) == "probabilities"
    assert kind_of(softmax.astype(np.float16).astype(np.float32)) == "probabilities"
    assert kind_of(1 / (1 + np.exp(-logits))) == "scores"
    assert kind_of(np.maximum(logits, 0)) == "values" and kind_of(np.maximum(logits, 0) / 100) == "values"
    assert kind_of(np.ones((5, 1))) == "values" and kind_of(np.full((3, 2), np.nan)) == "values"


def test_probabilities_become_logarithms_for_a_new_head(modules):
    logits = called(modules("logits", gives="logits"), pixels() / 255.0).numpy()
    base = build_base(spec(modules("probabilities", gives="probabilities")), ImageRequest(Path(), samples=pixels()))
    features = base.model(pixels().astype(np.float32)).numpy()
    assert base.facts["gives"] == "probabilities"
    shift = features - logits
    np.testing.assert_allclose(shift - shift.mean(1, keepdims=True), 0, atol=1e-4)


@pytest.mark.parametrize("gives", ["logits", "probabilities", "sigmoid"])
def test_its_own_head_answers_in_probabilities(modules, gives):
    heard = Heard()
    own = spec(modules(gives, gives=gives), head="own")
    base = build_base(own, ImageRequest(Path(), samples=pixels(), classes=CLASSES, listener=heard))
    answers = base.model(pixels().astype(np.float32)).numpy()
    expected = called(modules(gives), pixels() / 255.0).numpy()
    if gives == "logits":
        expected = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(answers, expected / expected.sum(1, keepdims=True), atol=1e-5)
    assert base.answers and any("class number i" in note for note in heard.notes)
    with pytest.raises(InputError, match="5 classes of its own, the data have 3"):
        build_base(own, ImageRequest(Path(), samples=pixels(), classes=3))
    with pytest.raises(InputError, match="background class at index 0"):
        build_base(own, ImageRequest(Path(), samples=pixels(), classes=4))


def test_the_tf1_hub_format_works_through_its_signatures(modules):
    folder = modules("tf1", tf1_module)
    assert read(folder).hub_v1 and sorted(read(folder).signatures) == ["default", "image_classification", "with_gain"]
    tf, _ = load()
    signatures = tf.saved_model.load(str(folder), tags=[]).signatures
    images = tf.constant(pixels() / 255.0, tf.float32)
    features = {}
    for signature, output in (("", ""), ("image_classification", ""), ("image_classification", "hidden")):
        base = build_base(spec(folder, signature=signature, output=output), ImageRequest(Path(), samples=pixels()))
        expected = signatures[signature or "default"](images)[output or "default"]
        features[signature, output] = base.model(pixels().astype(np.float32)).numpy()
        np.testing.assert_allclose(features[signature, output], expected, atol=1e-4)
    double = build_base(
        spec(folder, signature="with_gain", arguments={"gain": 2}), ImageRequest(Path(), samples=pixels())
    )
    np.testing.assert_allclose(double.model(pixels().astype(np.float32)), 2 * features["", ""], atol=1e-4)
    with pytest.raises(InputError, match="takes no argument 'rate'"):
        build_base(spec(folder, signature="with_gain", arguments={"rate": 2}), ImageRequest(Path()))


# --- told early, without TensorFlow -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "others", "message"),
    [
        ("tf1", {"trainable": True}, "TF1 Hub format, which TensorFlow 2 cannot fine-tune"),
        ("tf1", {"signature": "defualt"}, "no signature 'defualt'"),
        ("tf1", {"image_size": 64}, "32×32 pixels only, but image_size = 64"),
        ("tf1", {"output": "nothing"}, "no output 'nothing'"),
        ("frozen", {"trainable": True}, "no variables to fine-tune"),
        ("features", {"signature": "serving_default"}, "no signature"),
        ("features", {"trainable": True, "head": "own"}, "nothing is trained"),
        ("features", {"value_range": (0, 1), "preprocessing": "tf"}, "exclude each other"),
        ("features", {"alpha": 0.5}, "alpha has no effect for hub:"),
        ("features", {"weights": "none"}, "weights has no effect for hub:"),
        ("features", {"max_tokens": 32}, "max_tokens has no effect for hub:"),
        ("features", {"sha256": "0" * 64}, "not the one that the recipe pins"),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(modules, module, others, message):
    folder = {
        "tf1": lambda: modules("tf1", tf1_module),
        "frozen": lambda: modules("frozen", trainable=False),
        "features": lambda: modules("features"),
    }[module]()
    with pytest.raises(InputError, match=message) as caught:
        check_backbone(spec(folder, **others), folder=Path())
    assert caught.value.remedy


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


# --- training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(4)
    counts = {"train": 60, "validation": 24, "test": 24}
    tints = np.array([[1.3, 0.1, 0.1], [0.1, 1.3, 0.1], [0.1, 0.1, 1.3]])
    for split, count in counts.items():
        labels = np.sort(np.arange(count) % 3)
        images = rng.uniform(0, 160, (count, SIZE, SIZE, 3)) * tints[labels][:, None, None] + 40
        np.save(folder / f"{split}.npy", images.astype(np.uint8))
        np.save(folder / f"{split}-labels.npy", labels.astype(np.int64))
    return PreparedData(folder, "made up", LABELS, SIZE, SIZE, "stretch", counts, "d" * 64)


def trained(spec_, data, workspace, how=FAST, **others):
    listener = others.pop("listener", Silent())
    return fit(spec_, how, seed=3, data=data, folder=Path(), workspace=workspace, listener=listener, **others)


@pytest.fixture(scope="module")
def learned(modules, data, tmp_path_factory):
    """A module with a head that has learnt, trained when it is first asked for."""
    models = {}

    def get(name, maker=tf2_module, **options):
        if name not in models:
            chosen = spec(modules(name, maker, **options))
            models[name] = trained(chosen, data, tmp_path_factory.mktemp(name), how=LONG)
        return models[name]

    return get


def answers(model, images):
    tf, _ = load()
    serve = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return np.concatenate([serve(tf.constant(i[None], tf.float32))["probabilities"].numpy() for i in images])


@pytest.mark.slow
def test_a_frozen_module_gets_a_head_and_the_same_seed_the_same_model(learned, modules, data, tmp_path):
    model = learned("features")
    assert model.metrics["val_accuracy"] > 0.9 and len(model.history) == LONG.epochs
    assert model.provenance["module"]["gives"] == "values" and model.provenance["features_engine"] == "keras"
    images, labels = np.load(data.images("validation")), np.load(data.targets("validation"))
    assert (answers(model, images).argmax(1) == labels).mean() == pytest.approx(model.metrics["val_accuracy"])
    assert trained(spec(modules("features")), data, tmp_path / "b", how=LONG).sha256 == model.sha256
    assert learned("probabilities", gives="probabilities").sha256 != model.sha256


@pytest.mark.slow
def test_a_saved_model_of_ones_own_is_trained_on_like_a_hub_module(learned, modules, data, tmp_path):
    """``file:`` with the range that ``hub:`` assumes: the same network, trained the same way."""
    own = spec(modules("features"), backbone=f"file:{modules('features')}", value_range=(0.0, 1.0))
    check_backbone(own, folder=Path())
    model = trained(own, data, tmp_path / "w", how=LONG)
    images = np.load(data.images("test"))
    np.testing.assert_allclose(answers(model, images), answers(learned("features"), images), atol=1e-5)


@pytest.mark.slow
def test_trainable_moves_the_modules_variables_and_its_regularization_counts(modules, data, tmp_path, monkeypatch):
    folder, seen = modules("features"), {}
    real = fitting.fine_tune_phase

    def watched(base, *arguments, **named):
        phase = real(base, *arguments, **named)
        seen["base"], seen["start"] = base, [v.numpy().copy() for v in phase.model.weights]
        seen["names"], seen["phase"] = [v.name for v in phase.model.weights], phase
        return phase

    monkeypatch.setattr(fitting, "fine_tune_phase", watched)
    how = replace_train(FAST, learning_rate=0.05)
    model = trained(spec(folder, trainable=True), data, tmp_path / "a", how=how)
    assert [row["phase"] for row in model.history] == [1, 1, 2, 2]
    layer = seen["base"].whole_layers[0]
    assert {v.name for v in layer.trainable_weights} == {"first:0", "second:0", "gamma:0", "beta:0"}
    (loss,) = layer.losses
    kernel = next(v for v in layer.trainable_weights if v.name == "first:0").numpy()
    assert float(loss) == pytest.approx(0.25 * (kernel**2).sum(), rel=1e-4)
    assert {"mean:0", "variance:0"} <= set(seen["names"]), "running statistics belong into the checkpoint"
    moved = {
        n: np.abs(v.numpy() - s).max()
        for n, v, s in zip(seen["names"], seen["phase"].model.weights, seen["start"], strict=True)
    }
    if model.history[-1]["val_loss"] == model.metrics["val_loss"]:
        assert all(moved[name] > 0 for name in ("first:0", "second:0", "mean:0"))
    frozen = answers(model, np.load(data.images("test")))
    assert np.isfinite(frozen).all()


def replace_train(train, *, learning_rate):
    return train.model_copy(update={"fine_tune": FineTune(epochs=2, learning_rate=learning_rate)})


@pytest.mark.slow
def test_regularization_alone_shrinks_what_it_regularizes(modules, data):
    """With no weight on any sample, what moves is what the module's own losses ask for."""
    from edgeproof.train.finetune import fine_tune_phase
    from edgeproof.train.head import new_head

    fresh(1)
    base = build_base(spec(modules("features"), trainable=True), ImageRequest(Path()))
    images, labels = np.load(data.images("train")), np.load(data.targets("train"))
    how = replace_train(FAST, learning_rate=1e-3)
    head = new_head(base.features, 3, how, 1)
    phase = fine_tune_phase(
        base, head, (images, images[:0]), (labels, labels[:0]), how, np.zeros(3, np.float32), seed=1, mixed=False,
    )  # fmt: skip
    before = {v.name: v.numpy().copy() for v in phase.model.weights}
    phase.model.fit(phase.batches(1), verbose=0)
    after = {v.name: v.numpy() for v in phase.model.weights}
    assert np.abs(after["first:0"]).sum() < np.abs(before["first:0"]).sum()
    np.testing.assert_array_equal(after["second:0"], before["second:0"])
    assert np.abs(after["mean:0"] - before["mean:0"]).max() > 0, "in training mode, batch norm keeps its statistics"


KILLED = """
import json, os, signal, sys
from pathlib import Path
from edgeproof.core.dataset import PreparedData
from edgeproof.core.codec import from_json
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.train.fit import fit

data, workspace, spec, train = sys.argv[1:]
class Listener:
    def progress(self, name, done, total, note=""):
        if name == "fine-tune" and done >= 1:
            os.kill(os.getpid(), signal.SIGKILL)
    def note(self, level, message, **facts):
        pass
fit(ModelSpec(**json.loads(spec)), Train(**json.loads(train)), seed=3, data=from_json(PreparedData, json.loads(data)),
    folder=Path(), workspace=Path(workspace), listener=Listener())
"""


@pytest.mark.slow
def test_fine_tuning_that_was_killed_goes_on_to_the_same_model(modules, data, tmp_path):
    import json

    from edgeproof.core.codec import to_json

    chosen = spec(modules("features"), trainable=True)
    expected = trained(chosen, data, tmp_path / "a")

    arguments = [json.dumps(to_json(data)), str(tmp_path / "b"), chosen.model_dump_json(), FAST.model_dump_json()]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    heard = Heard()
    done = trained(chosen, data, tmp_path / "b", listener=heard)
    assert any("resuming after epoch 1" in note for note in heard.notes)
    assert done.history == expected.history and done.sha256 == expected.sha256


@pytest.mark.slow
def test_its_own_head_is_measured_and_frozen_but_not_trained(modules, data, tmp_path):
    heard = Heard()
    five = replace(data, labels=("a", "b", "c", "d", "e"))
    own = spec(modules("logits", gives="logits"), head="own")
    model = trained(own, five, tmp_path / "w", listener=heard)
    assert model.history == [] and model.metrics["val_samples"] == 24 and model.metrics["epochs"] == 0
    images = np.load(data.images("validation"))
    logits = called(modules("logits"), images / 255.0).numpy()
    expected = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(answers(model, images), expected / expected.sum(1, keepdims=True), atol=1e-4)
    right = (logits.argmax(1) == np.load(data.targets("validation"))).mean()
    assert model.metrics["val_accuracy"] == pytest.approx(right) and "train head" not in heard.tasks
    with pytest.raises(InputError, match="5 classes of its own, the data have 3"):
        trained(own, data, tmp_path / "x")


@pytest.mark.slow
def test_features_are_computed_once_for_all_seeds(modules, data, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    computed, once = [], data.counts["train"] + data.counts["validation"]
    real = feature_pass.compute

    def counted(extract, *arguments, **named):
        def compute(pixels):
            computed.append(len(pixels))
            return extract.compute(pixels)

        return real(replace(extract, compute=compute), *arguments, **named)

    monkeypatch.setattr(feature_pass, "compute", counted)
    shared, alone = tmp_path / "shared", []
    for seed in (3, 4):
        model = fit(
            spec(modules("features")), FAST, seed=seed, data=data, folder=Path(), workspace=tmp_path / str(seed),
            listener=Silent(), shared=shared,
        )  # fmt: skip
        alone.append(model)
    assert sum(computed) == once and alone[0].sha256 != alone[1].sha256
    assert alone[1].provenance["features_engine"] == "keras"
    assert trained(spec(modules("features")), data, tmp_path / "plain").sha256 == alone[0].sha256
    trained(spec(modules("features"), value_range=(-1, 1)), data, tmp_path / "other", shared=shared)
    assert sum(computed) == 3 * once


@pytest.mark.slow
def test_layers_of_keras_models_do_not_concern_a_module(modules, data, tmp_path):
    heard = Heard()
    how = FAST.model_copy(update={"fine_tune": FineTune(layers=5), "mixed_precision": True})
    model = trained(spec(modules("features")), data, tmp_path / "w", how=how, listener=heard)
    assert {row["phase"] for row in model.history} == {1}
    assert any("trainable = true" in note for note in heard.notes)


# --- export ---------------------------------------------------------------------------------------------------------


def run_file(path, images):
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        return np.concatenate([session.run(None, {"image": i[None].astype(np.float32)})[0] for i in images])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for image in images:
        interpreter.set_tensor(source, image[None].astype(np.float32))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target))
    return np.concatenate(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "maker", "options"),
    [
        ("features", tf2_module, {}),
        ("probabilities", tf2_module, {"gives": "probabilities"}),
        ("tf1", tf1_module, {}),
        ("tf1-references", tf1_module, {"references": True}),
    ],
)
def test_every_kind_of_module_exports_and_answers_like_the_frozen_model(
    learned, data, tmp_path, module, maker, options
):
    model = learned(module, maker, **options)
    images = np.load(data.images("test"))
    expected = answers(model, images)
    np.save(tmp_path / "calibration.npy", np.load(data.images("train")))
    variants = [("tflite:float32", 1e-4), ("onnx:float32", 1e-4), ("tflite:int8", 0.15)]
    for variant, tolerance in variants[: 1 if module == "tf1-references" else 3]:
        artifact = export(
            model, Variant.parse(variant), options=Export(), folder=tmp_path,
            calibration=tmp_path / "calibration.npy",
        )  # fmt: skip
        assert artifact.status == "ok", f"{variant}: {artifact.reason}"
        outputs = run_file(artifact.path, images)
        assert np.abs(outputs - expected).max() < tolerance, variant
        assert (outputs.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_a_module_is_loaded_through_keras_layer(modules):
    import tensorflow_hub as hub

    assert isinstance(Module(spec(modules("features")), modules("features")).layer, hub.KerasLayer)
