"""What gets installed: the wheel holds every module and data file once, and nothing that another package owns."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import edgeproof
from edgeproof.core import extras
from edgeproof.core.documents import parse_toml
from edgeproof.core.errors import InputError
from edgeproof.core.variant import Variant
from edgeproof.workflows import preflight

REPO = Path(__file__).parents[1]
STAGES = (
    "cli", "workflows", "report", "data", "train", "quantize", "export", "devices", "evaluate", "tflite", "tasks",
    "frameworks", "core",
)  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that the build leaves nothing in the checkout."""
    import shutil

    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        source, copy = REPO / name, folder / "source" / name
        if source.is_symlink() or source.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(folder / "source")],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_every_module_and_data_file_under_edgeproof(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"edgeproof", f"edgeproof-{edgeproof.__version__}.dist-info"}, "no top-level train or evaluate"
    expected = {
        f"edgeproof/{path.relative_to(REPO).as_posix()}"
        for stage in STAGES
        for path in (REPO / stage).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = [*(REPO / "docs").glob("*.md"), *(REPO / "recipes").glob("*.toml"), *(REPO / "recipes" / "data").iterdir()]
    packed += [*(REPO / "recipes").glob("*/*.py"), *(REPO / "recipes").glob("*/*.md")]
    expected |= {f"edgeproof/{path.relative_to(REPO).as_posix()}" for path in packed}
    assert expected <= names, expected - names
    assert {"edgeproof/__init__.py", "edgeproof/__main__.py", "edgeproof/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_wheel_works(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import edgeproof; from pathlib import Path; "
        "from edgeproof.data import fingerprint; from edgeproof.core.recipe import Data; "
        "assert str(Path(edgeproof.__file__)).startswith(sys.path[0]), edgeproof.__file__; "
        "print(bool(fingerprint(Data(source='builtin:fashion-mnist-mini'), seed=1, folder=Path())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == "True", done.stderr
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from edgeproof.cli.main import main; main()"
    for arguments in (["docs", "recipe"], ["init", "--from", "tutorial-sentence-encoder", "mine.toml"]):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.toml").is_file() and (tmp_path / "data" / "reviews.tsv").is_file()


def test_the_public_face_is_what_it_says() -> None:
    for name in edgeproof.__all__:
        assert getattr(edgeproof, name)
    with pytest.raises(AttributeError, match="nonsense"):
        edgeproof.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("variant", "module"),
    [
        ("onnx:float32", "tf2onnx"),
        ("tflite:float32", "ai_edge_litert"),
        ("tflite:qat-int8", "tensorflow_model_optimization"),
        ("tflite:int4", "ai_edge_quantizer"),
    ],
)
def test_a_missing_extra_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, variant: str, module: str) -> None:
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == module else real(name))
    (problem,) = preflight.check_makers([Variant.parse(variant)])
    assert isinstance(problem, InputError)
    assert module in problem.message and variant in problem.message
    assert "pip install 'edgeproof[" in problem.remedy


def test_one_of_two_tools_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "ai_edge_quantizer" else real(name))
    assert preflight.check_makers([Variant.parse("tflite:int8")]) == []


def test_constraints_name_no_index() -> None:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    assert len(lines) > 100
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_each_extra_is_declared_with_the_packages_that_its_messages_promise() -> None:
    project = parse_toml((REPO / "pyproject.toml").read_text(encoding="utf-8"), "pyproject.toml")["project"]
    declared = {
        name: {re.split(r"[<>=;\[ ]", requirement)[0] for requirement in requirements}
        for name, requirements in project["optional-dependencies"].items()
    }
    for name, extra in extras.EXTRAS.items():
        assert set(extra.packages.values()) <= declared[name], name
        assert extra.remedy == f"pip install 'edgeproof[{name}]'"
    assert declared.keys() - extras.EXTRAS.keys() == {"all", "dev"}


def test_no_other_place_says_what_to_install() -> None:
    """An extra's command stands in `core/extras.py` alone: nothing else writes it out."""
    places = [
        str(path.relative_to(REPO))
        for room in STAGES
        for path in (REPO / room).rglob("*.py")
        if re.search(r"pip install '?edgeproof\[", path.read_text(encoding="utf-8"))
    ]
    assert places == ["core/extras.py"]
