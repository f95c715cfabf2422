"""Damage on disk: what is finished is checked when it is taken, a damaged part is made anew, and that is said."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeproof.cli.main import edgeproof
from edgeproof.core import checksums, files
from edgeproof.core.codec import sha256_file, to_json, write_atomic, write_json
from edgeproof.core.dataset import PreparedData, save_prepared
from edgeproof.core.errors import InputError
from edgeproof.core.model import InputContract, Model, save_model
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.core.store import Store, copy_out
from edgeproof.export import sidecar
from edgeproof.export.bundle.bundle import shipped
from edgeproof.train.hub.fetch import cache, resolve
from edgeproof.workflows import run_folder
from edgeproof.workflows.bundle import bundle_file
from edgeproof.workflows.model_files import open_artifact

from ..cli.test_user_mistakes import Heard
from ..support.bundle_models import mean_colour_model
from ..train.test_archives import PACKED, UNPACKED

KEY = "stage/key"
CONTENT = {"array.npy": b"\x93NUMPY" + bytes(range(256)) * 20, "sub/weights": b"w" * 5000, "empty": b""}


def finished(root: Path, heard: Heard | None = None) -> Store:
    """A store with one finished entry."""
    store = Store(root, heard)
    with store.write(KEY) as folder:
        for name, content in CONTENT.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    return store


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": lambda entry: flip(entry / "array.npy"),
    "a bit below": lambda entry: flip(entry / "sub" / "weights"),
    "zeroed": lambda entry: (entry / "array.npy").write_bytes(bytes(len(CONTENT["array.npy"]))),
    "cut": lambda entry: (entry / "sub" / "weights").write_bytes(b""),
    "longer": lambda entry: (entry / "empty").write_bytes(b"x"),
    "lost": lambda entry: (entry / "empty").unlink(),
    "lost folder": lambda entry: shutil.rmtree(entry / "sub"),
    "extra": lambda entry: (entry / "sub" / "extra").write_bytes(b""),
    "link": lambda entry: ((entry / "empty").unlink(), (entry / "empty").symlink_to("/dev/null")),
    "folder": lambda entry: ((entry / "empty").unlink(), (entry / "empty").mkdir()),
    "all": lambda entry: [shutil.rmtree(entry), entry.mkdir()],
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_entry_is_not_given_out_and_is_made_anew(tmp_path: Path, what: str) -> None:
    heard = Heard()
    store = finished(tmp_path, heard)
    assert store.get(KEY) == tmp_path / KEY and not heard.notes
    DAMAGE[what](tmp_path / KEY)
    assert store.problem(KEY)
    assert store.get(KEY) is None
    (note,) = heard.notes
    assert "is damaged, so it is made again" in note and str(tmp_path / KEY) in note
    assert store.get(KEY) is None and len(heard.notes) == 1, "said once"
    assert finished(tmp_path).get(KEY, shipped=True), "and whole again"


@pytest.mark.parametrize("name", ["array.npy", "sub/weights"])
def test_of_what_ships_every_byte_is_looked_at(tmp_path: Path, name: str) -> None:
    """A disk that loses a bit changes neither size nor time."""
    finished(tmp_path)
    path = tmp_path / KEY / name
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Store(tmp_path).get(KEY) is not None, "this is the price of not reading everything each time"
    assert "the content of" in Store(tmp_path).problem(KEY, thorough=True)
    assert Store(tmp_path).get(KEY, shipped=True) is None


def test_one_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    store, chosen = finished(tmp_path), random.Random(1)
    for _ in range(60):
        path = tmp_path / KEY / chosen.choice(["array.npy", "sub/weights"])
        intact = path.read_bytes()
        content = bytearray(intact)
        content[chosen.randrange(len(content))] ^= chosen.randrange(1, 256)
        path.write_bytes(content)
        assert f"the content of {path.relative_to(tmp_path / KEY)} has changed" in store.problem(KEY)
        path.write_bytes(intact)
        assert not store.problem(KEY)


def test_what_was_only_copied_or_touched_is_whole_and_then_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    store = Store(tmp_path / "b")
    assert store.get(KEY)
    monkeypatch.setattr(checksums, "sha256_file", lambda path: pytest.fail(f"{path} is read again"))
    assert store.get(KEY)


def test_an_entry_whose_checksums_are_lost_or_damaged_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "sums" / f"{KEY}.json"
    for damage in (path.unlink, lambda: path.write_bytes(b""), lambda: path.write_text('{"files": 3}')):
        store = finished(tmp_path)
        damage()
        assert store.get(KEY) is None
    finished(tmp_path)
    path.unlink()
    assert Store(tmp_path).get(KEY, old=True), "unless an earlier version may have made it"
    flip(tmp_path / KEY / "array.npy")
    assert Store(tmp_path).get(KEY, old=True) is None, "and from then on it has some"


def test_a_kill_at_any_moment_leaves_an_entry_that_is_whole_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps of finishing are stopped one after the other, as a kill would."""

    class KilledError(BaseException):
        pass

    real = {name: getattr(owner, name) for owner, name in ((checksums, "save"), (files, "move"), (files, "remove"))}
    for old in (False, True):
        for stop in range(4):
            root = tmp_path / f"{old}-{stop}"
            if old:
                finished(root)
            left = [stop]

            def counted(name: str, left: list[int] = left) -> Callable[..., object]:
                def step(*given: object, **more: object) -> object:
                    if left[0] == 0:
                        raise KilledError
                    left[0] -= 1
                    return real[name](*given, **more)

                return step

            with monkeypatch.context() as patched:
                patched.setattr(checksums, "save", counted("save"))
                patched.setattr(files, "move", counted("move"))
                patched.setattr(files, "remove", counted("remove"))
                try:
                    finished(root)
                except KilledError:
                    assert stop < 3
            entry = Store(root).get(KEY, shipped=True)
            if entry is not None:
                assert {n: (entry / n).read_bytes() for n in CONTENT} == CONTENT
            assert finished(root).get(KEY, shipped=True), "the next run finishes it"


def test_what_is_placed_is_compared_byte_by_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"right")
    copy_out(tmp_path / "a", tmp_path / "out" / "b", root=tmp_path / "out")
    before = (tmp_path / "out" / "b").stat()
    (tmp_path / "out" / "b").write_bytes(b"wrong")
    os.utime(tmp_path / "out" / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    copy_out(tmp_path / "a", tmp_path / "out" / "b", root=tmp_path / "out")
    assert (tmp_path / "out" / "b").read_bytes() == b"right"


def test_data_reach_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power failure leaves depends on this order alone."""
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        steps.append(f"name {Path(target).name}")
        return rename(path, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not say which file a descriptor is")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    finished(tmp_path)
    at = steps.index("name key")
    assert {"sync array.npy", "sync weights", "sync empty", "sync sub"} <= set(steps[:at])
    assert steps.index("name key.json") < at and steps[at + 1] == "sync stage"
    steps.clear()
    write_atomic(tmp_path / "note.json", "{}")
    assert [step.split(".")[0] for step in steps] == ["sync ", "name note", f"sync {tmp_path.name}"]


# A run's folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as a finished run leaves it, and beside its files some that are its user's."""
    for name in (
        "artifacts/m.tflite", "artifacts/m.json", "artifacts/m.tokenizer/vocab.txt", "models/m/saved_model/variables",
        "raw/m.json", "report.html", "results.json",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    run_folder.remember(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "artifacts" / "notes.txt").write_text("mine")
    return tmp_path


def test_a_finished_run_is_unchanged_until_one_of_its_files_is_not(run: Path) -> None:
    (run / "notes.txt").write_text("still mine")
    assert run_folder.problem(run) == ""
    for path in [path for path in files.plain_files(run) if ".store" not in path.parts and path.name != "notes.txt"]:
        content = path.read_bytes()
        for damage in (flip, truncate, Path.unlink):
            damage(path)
            assert path.name in run_folder.problem(run)
            path.write_bytes(content)
            assert run_folder.problem(run) == ""


def test_files_for_devices_are_read_whole_each_time(run: Path) -> None:
    shipped = ("artifacts/m.tflite", "artifacts/m.tokenizer/vocab.txt")
    for name in (*shipped, "report.html"):
        before = (run / name).stat()
        content = (run / name).read_bytes()
        flip(run / name)
        os.utime(run / name, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert bool(run_folder.problem(run)) == (name in shipped), name
        (run / name).write_bytes(content)


def test_damaged_samples_are_not_taken_for_golden_vectors(tmp_path: Path) -> None:
    """`bundle` and `diagnose` read a run's samples without making them anew."""
    store = Store(tmp_path / ".store")
    with store.write("data/key") as folder:
        np.save(folder / "test.npy", np.ones((3, 8, 8, 3), np.uint8))
        data = PreparedData(folder, "folder:x", ("a", "b"), 8, 8, "stretch", {"test": 3}, "0" * 64)
        save_prepared(data, folder)
    recipe = parse_recipe({"data": {"source": "folder:x"}, "model": [{"name": "m", "backbone": "keras:MobileNetV2"}]})
    model = Model("m", "keras:X", tmp_path, "ab", ("a", "b"), InputContract("image", (1, 8, 8, 3)), 1.0)
    origin = run_folder.SourceRun(tmp_path, recipe, model)
    assert origin.data().counts == {"test": 3}
    (store.root / "data/key/test.npy").write_bytes(bytes((store.root / "data/key/test.npy").stat().st_size))
    with pytest.raises(InputError, match=r"no longer holds the samples of m undamaged: the content of test\.npy"):
        origin.data()


# Files that a command is given


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_a_damaged_model_is_neither_measured_nor_exported(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """Its answers would be looked up by the hash of what it was."""
    folder = tmp_path / "m"
    for name in ("saved_model/saved_model.pb", "saved_model/variables/variables.index", "tokenizer/vocab.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    model = Model("m", "keras:X", folder, "ab", ("a", "b"), InputContract("image", (1, 8, 8, 3)), 1.0)
    save_model(model, folder)
    assert open_artifact(folder).sha256 == "ab"
    damage(folder / "saved_model" / "variables" / "variables.index")
    for command in (["evaluate", "--data", "builtin:fashion-mnist-mini"], ["export", "--to", "tflite:float32"]):
        error = CliRunner().invoke(edgeproof, [*command, str(folder), "--out", str(tmp_path / "out")]).exception
        assert isinstance(error, InputError) and "is damaged: saved_model/variables/variables.index" in error.message


def test_a_damaged_file_is_not_bundled(tmp_path: Path) -> None:
    file = tmp_path / "mean.tflite"
    file.write_bytes(mean_colour_model())
    artifact = open_artifact(file)
    write_json(sidecar(file), to_json(replace(artifact, path=Path(file.name))))
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"is not the file that mean\.json describes"):
        bundle_file(file, out=tmp_path / "b", source=None, samples=1, listener=Heard())
    with pytest.raises(InputError, match="its content has changed since it was made"):
        shipped(artifact, "edgeproof")
    assert not (tmp_path / "b").exists()


# The cache of Hub modules


def test_a_damaged_module_in_the_cache_is_unpacked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.tar.gz").write_bytes(PACKED)
    heard = Heard()

    def resolved() -> Path:
        return resolve("m.tar.gz", sha256="", folder=tmp_path, listener=heard)

    def held() -> dict[str, bytes]:
        return {path.relative_to(resolved()).as_posix(): path.read_bytes() for path in files.plain_files(resolved())}

    assert held() == UNPACKED and not heard.notes
    name = "variables/variables.data-00000-of-00001"
    for damage in (flip, truncate, Path.unlink):
        damage(resolved() / name)
        assert held() == UNPACKED
    assert len(heard.notes) == 3 and all("is damaged, so it is made again" in note for note in heard.notes)
    # One that an earlier version unpacked is taken as it is.
    key = f"models/{sha256_file(tmp_path / 'm.tar.gz')}"
    (cache().root / "sums" / f"{key}.json").unlink()
    assert held() == UNPACKED and len(heard.notes) == 3
