"""Names and paths that a file from elsewhere gives: plain or refused, and nothing happens outside a given root."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.cli.main import edgeproof
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file, to_json, write_json
from edgeproof.core.errors import InputError
from edgeproof.core.files import below, copy, move, open_log, remove, same
from edgeproof.core.progress import Silent
from edgeproof.core.results import SCHEMA
from edgeproof.core.sanitize import MAX_NAME_BYTES, checked_name, checked_path, slug
from edgeproof.core.store import copy_out
from edgeproof.export import copy_tokenizer
from edgeproof.export import sidecar as sidecar_path
from edgeproof.tflite.writer import conform
from edgeproof.workflows.bundle import bundle_file
from edgeproof.workflows.model_files import open_artifact
from edgeproof.workflows.run_folder import FOLDERS, check_parts

from ..support.bundle_models import mean_colour_model

NO_NAMES = [
    "", ".", "..", "../x", "a/../b", "a/b", "/etc/passwd", "//x", "a\\b", "..\\x", "C:\\x", "C:x", "a\0b", "a\nb",
    "\x1b[2J", "a" * 300, "é" * 150, "\u202ename", "\ud800", "con", "NUL", "Aux.txt", "com1", "lpt9.json", "CON .x",
    "CONIN$", "a.", "a ", "a*", "a?", "a|b", '"a"', "<a>", "~/../x",
]  # fmt: skip
NAMES = [
    "a", "m--tflite-int8", "m.tokenizer", "Modell", "ключ", "模型", "a b", "-rf", "console", "com", "nulls",
    "a" * MAX_NAME_BYTES,
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_plain_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a plain file name") as caught:
        checked_name(name, "the id")
    assert caught.value.message.isprintable() and len(caught.value.message) < 300


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_name_is_kept(name: str) -> None:
    assert checked_name(name, "the id") == name


@given(st.text() | st.text("./\\:~ aC", max_size=6) | st.sampled_from([*NO_NAMES, *NAMES]))
def test_a_checked_name_is_one_part_of_a_path_on_every_system(name: str) -> None:
    try:
        checked_name(name, "it")
    except InputError:
        return
    joined = Path(os.path.normpath(f"/root/folder/{name}"))
    assert joined.parent == Path("/root/folder") and joined.name == name
    assert name.isprintable() and not {"/", "\\", ":", "\0"} & set(name) and len(name.encode()) <= MAX_NAME_BYTES


@given(st.text() | st.sampled_from(NO_NAMES))
def test_a_slug_is_always_a_plain_name(name: str) -> None:
    assert checked_name(slug(name), "it") == slug(name)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b c", "con", "x" * 201]), max_size=5).map("/".join))
def test_a_checked_path_stays_below_its_folder(path: str) -> None:
    try:
        checked = checked_path(path, "it")
    except InputError:
        return
    assert not path.startswith("/") and ".." not in path.split("/")
    assert os.path.normpath(Path("/root") / checked).startswith("/root")


# Files and folders


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """``root/`` with ``file``, ``folder/inside`` and a link to what must not be touched, which lies beside it."""
    for name in ("root/file", "root/folder/inside", "outside/precious"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root" / "circle")
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Everything below a folder: files with their text, links with where they lead."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text("latin1")
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


OUTSIDE = (
    "root", "root/.", "root/..", "root/../outside", "root/../outside/precious", "root/link/precious", "root/link/new",
    "root/folder/../..", "root/folder/../link/precious", "outside", "outside/precious", "/", "/etc/new",
)  # fmt: skip


@pytest.mark.parametrize("where", OUTSIDE)
def test_nothing_is_removed_replaced_or_copied_outside_the_root(tree: Path, where: str) -> None:
    before, root = contents(tree), tree / "root"
    for act in (
        lambda path: remove(path, root=root),
        lambda path: move(root / "file", path, root=root),
        lambda path: copy(root / "folder", path, root=root),
        lambda path: copy(root / "file", path, root=root),
        lambda path: below(root, path, follow=True),
    ):
        with pytest.raises(InputError, match="leads out of"):
            act(tree / where)
        assert contents(tree) == before


def test_a_link_is_removed_or_replaced_and_never_followed(tree: Path) -> None:
    root = tree / "root"
    below(root, root / "link")
    with pytest.raises(InputError, match="leads out of"):
        below(root, root / "link", follow=True)
    copy(root / "folder", root / "link", root=root)
    assert contents(root / "link") == {"inside": "root/folder/inside"} and not (root / "link").is_symlink()
    remove(root / "circle", root=root)
    remove(root / "never.there", root=root)
    assert (tree / "outside" / "precious").read_text() == "outside/precious"
    assert sorted(path.name for path in root.iterdir()) == ["file", "folder", "link"]


def test_the_root_itself_may_be_reached_through_a_link(tree: Path) -> None:
    (tree / "elsewhere").symlink_to(tree / "root")
    remove(tree / "elsewhere" / "folder", root=tree / "elsewhere")
    assert not (tree / "root" / "folder").exists()


@pytest.mark.parametrize("where", ["folder", "folder/copy", "folder/deep/copy", "folder/../folder/copy"])
def test_a_folder_is_never_copied_into_itself(tree: Path, where: str) -> None:
    before, root = contents(tree), tree / "root"
    (tree / "root" / "again").symlink_to(tree / "root" / "folder")
    for source in (root / "folder", root / "again"):
        with pytest.raises(InputError, match="into itself"):
            copy(source, root / where, root=root)
    (tree / "root" / "again").unlink()
    assert contents(tree) == before


def test_links_pipes_and_devices_stay_behind_when_a_folder_is_copied(tree: Path) -> None:
    root = tree / "root"
    (root / "folder" / "secret").symlink_to(tree / "outside" / "precious")
    (root / "folder" / "secrets").symlink_to(tree / "outside")
    os.mkfifo(root / "folder" / "pipe")
    copy(root / "folder", root / "copy", root=root)
    assert contents(root / "copy") == {"inside": "root/folder/inside"}
    assert [path.name for path in (root / "copy").iterdir()] == ["inside"]


def test_a_folder_does_not_give_way_to_a_file_nor_a_file_to_a_folder(tree: Path) -> None:
    before, root = contents(tree), tree / "root"
    for source, target in (("file", "folder"), ("folder", "file")):
        with pytest.raises(OSError, match="directory"):
            copy(root / source, root / target, root=root)
        assert contents(tree) == before


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_the_same_is_the_same_bytes_whatever_size_and_time_say(tmp_path_factory: Any, a: bytes, b: bytes) -> None:
    folder = tmp_path_factory.mktemp("same")
    for name, content in (("a", a), ("b", b)):
        (folder / name).mkdir()
        (folder / name / "f").write_bytes(content)
        os.utime(folder / name / "f", ns=(1, 1))
    assert same(folder / "a", folder / "b") == same(folder / "a" / "f", folder / "b" / "f") == (a == b)
    (folder / "b" / "more").write_bytes(b"")
    assert not same(folder / "a", folder / "b")


def test_a_log_is_not_written_through_a_link_or_into_a_pipe(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "log").symlink_to(tree / "outside" / "precious")
    for path in (tree / "log", tree / "pipe"):
        with pytest.raises(InputError, match="a link, a pipe or a device"):
            open_log(path)
    assert (tree / "outside" / "precious").read_text() == "outside/precious"
    with open_log(tree / "plain") as stream:
        stream.write(b"a")
    with open_log(tree / "plain") as stream:
        stream.write(b"b")
    assert (tree / "plain").read_bytes() == b"ab"


# Files from elsewhere


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A float .tflite with a sidecar in ``a/dl/``; ``a/keys``, ``a/dl/keys`` and ``b/mine`` are no business of it."""
    for name in ("a/keys", "a/dl/keys/id", "b/mine"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    file = tmp_path / "a" / "dl" / "m.tflite"
    file.write_bytes(mean_colour_model())
    describe(file)
    return file


def describe(file: Path, **fields: Any) -> None:
    """Write the sidecar of a file, with `fields` in it as it is."""
    sidecar = sidecar_path(file)
    sidecar.unlink(missing_ok=True)
    sidecar.write_text(json.dumps(to_json(replace(open_artifact(file), path=Path(file.name))) | fields))


@pytest.mark.parametrize("field", ["id", "model", "path", "tokenizer"])
def test_a_sidecars_names_are_names_or_it_is_refused(strange: Path, field: str) -> None:
    for name in (*NO_NAMES, "../..", str(strange.parent / "keys"), "../keys"):
        describe(strange, **{field: name})
        with pytest.raises(InputError, match=r"m\.json"):
            open_artifact(strange)


@pytest.mark.parametrize("name", ["..", "../..", "a/../b", "../../b/mine", "/etc"])
def test_no_command_touches_what_a_sidecar_names_elsewhere(strange: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "b" / "out"
    for field in ("id", "tokenizer"):
        describe(strange, **{field: name})
        before = contents(tmp_path)
        for command in (
            ["export", strange, "--to", "tflite:float32", "--out", out],
            ["evaluate", strange, "--data", "builtin:fashion-mnist-mini", "--on", "local/litert", "--out", out],
            ["diagnose", strange, "--float", strange, "--data", "builtin:fashion-mnist-mini", "--out", out],
            ["bundle", strange, "--out", out],
        ):
            error = CliRunner().invoke(edgeproof, list(map(str, command))).exception
            assert isinstance(error, InputError) and "m.json" in error.message, (command, error)
            shutil.rmtree(out, ignore_errors=True)
        assert contents(tmp_path) == before


def test_a_tokenizer_is_copied_without_what_else_lies_in_its_folder(strange: Path, tmp_path: Path) -> None:
    """Not even where the folder that is named is somebody's own, or the copy goes to where the file lies."""
    folder, out = strange.parent / "keys", tmp_path / "b" / "out"
    describe(strange, tokenizer="keys")
    with pytest.raises(InputError, match=r"tokenizer\.json does not exist"):
        copy_tokenizer(folder, out / "keys", root=out)
    write_json(folder / "tokenizer.json", {"version": 1, "kind": "words", "file": "../../keys"})
    with pytest.raises(InputError, match=r"file '\.\./\.\./keys' is not a plain file name"):
        copy_tokenizer(folder, out / "keys", root=out)
    write_json(folder / "tokenizer.json", {"version": 1, "kind": "words", "file": "vocab.txt"})
    (folder / "vocab.txt").write_text("a\n")
    copy_tokenizer(folder, out / "keys", root=out)
    assert {path.name for path in (out / "keys").iterdir()} == {"tokenizer.json", "vocab.txt", "tokenizer.py"}
    assert (folder / "id").read_text() == "a/dl/keys/id" and list(out.iterdir()) == [out / "keys"]


@pytest.mark.parametrize("out", ["b/out", "a/dl", "a/dl/their.tokenizer"])
def test_export_puts_the_tokenizer_beside_its_files_wherever_that_is(strange: Path, tmp_path: Path, out: str) -> None:
    """Also where the file lies, and inside the tokenizer itself: nothing of the user's is changed."""
    theirs = strange.parent / "their.tokenizer"
    theirs.mkdir()
    write_json(theirs / "tokenizer.json", {"version": 1, "kind": "words", "file": "vocab.txt"})
    (theirs / "vocab.txt").write_text("a\n")
    (theirs / "id").write_text("mine")
    describe(strange, tokenizer="their.tokenizer")
    before = contents(tmp_path)
    command = ["export", str(strange), "--to", "tflite:float32", "--out", str(tmp_path / out)]
    done = CliRunner().invoke(edgeproof, command)
    assert done.exit_code == 0, (done.output, done.exception)
    assert contents(tmp_path).items() >= before.items()
    (placed,) = set((tmp_path / out).glob("*.tokenizer")) - {theirs}
    assert {path.name for path in placed.iterdir()} == {"tokenizer.json", "vocab.txt", "tokenizer.py"}


@pytest.mark.parametrize("there", ["empty", "mine", "link", "tokenizer"])
def test_a_folder_is_only_replaced_by_its_like(strange: Path, tmp_path: Path, there: str) -> None:
    theirs, out = strange.parent / "theirs", tmp_path / "b"
    for folder, word in ((theirs, "new"), (tmp_path / "like", "old")):
        folder.mkdir()
        write_json(folder / "tokenizer.json", {"version": 1, "kind": "words", "file": "vocab.txt"})
        (folder / "vocab.txt").write_text(word)
    target = out / "m.tokenizer"
    if there == "link":
        target.symlink_to(strange.parent)
    elif there == "tokenizer":
        shutil.copytree(tmp_path / "like", target)
    else:
        target.mkdir()
    if there == "mine":
        (target / "file").write_text("mine")
    before = contents(tmp_path)
    if there in ("mine", "link"):
        with pytest.raises(InputError, match="is in the way: it was not made by this program"):
            copy_tokenizer(theirs, target, root=out)
        with pytest.raises(InputError, match="is in the way: it was not made by this program"):
            copy_out(theirs, target, root=out, mark="model.json")
        assert contents(tmp_path) == before
    else:
        copy_tokenizer(theirs, target, root=out)
        copy_tokenizer(target, target, root=out)
        assert (target / "vocab.txt").read_text() == "new"


def test_a_tokenizer_or_a_sibling_behind_a_link_is_refused(strange: Path, tmp_path: Path) -> None:
    (strange.parent / "m.tokenizer").symlink_to(tmp_path / "b")
    describe(strange, tokenizer="m.tokenizer")
    with pytest.raises(InputError, match="leads out of"):
        open_artifact(strange)


def test_a_part_of_a_run_that_is_a_link_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "precious").mkdir()
    check_parts(tmp_path / "run")
    for name in FOLDERS:
        (tmp_path / "run" / name).symlink_to(tmp_path / "precious")
        with pytest.raises(InputError, match=f"{name} leads out of"):
            check_parts(tmp_path / "run")
        (tmp_path / "run" / name).unlink()


def test_no_command_writes_through_a_folders_links(strange: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "log.jsonl").write_text("mine")
    out = tmp_path / "b"
    for link, leads in (("diagnosis", precious), ("raw", precious), ("log.jsonl", precious / "log.jsonl")):
        (out / link).symlink_to(leads)
        before = contents(precious)
        for command in (
            ["evaluate", strange, "--data", "builtin:fashion-mnist-mini", "--on", "local/litert", "--out", out],
            ["diagnose", strange, "--float", strange, "--data", "builtin:fashion-mnist-mini", "--out", out],
        ):
            if (command[0], link) == ("diagnose", "log.jsonl"):
                continue  # its log lies in diagnosis/
            error = CliRunner().invoke(edgeproof, list(map(str, command))).exception
            assert isinstance(error, InputError) and link in error.message, (command, error)
        assert contents(precious) == before
        for name in (link, "log.jsonl"):
            (out / name).unlink(missing_ok=True)


def test_a_runs_results_bundle_no_file_from_outside_the_run(strange: Path, tmp_path: Path) -> None:
    """Evaluated files lie anywhere: there the hash in the results says that the file is meant."""
    run = tmp_path / "run"
    artifact = open_artifact(strange)
    secret = tmp_path / "secret.tflite"
    secret.write_bytes(mean_colour_model())
    (run / "artifacts").mkdir(parents=True)
    (run / "artifacts" / "m.tflite").symlink_to(secret)

    def recommends(path: str, **fields: Any) -> Path:
        document = {
            "schema": SCHEMA, "run": {}, "environment": {}, "models": [], "measurements": [],
            "artifacts": [to_json(artifact) | {"path": path} | fields], "recommendation": {"artifact": artifact.id},
        }  # fmt: skip
        write_json(run / "results.json", document)
        return run

    for path in ("../secret.tflite", "artifacts/m.tflite", "artifacts/../../secret.tflite"):
        with pytest.raises(InputError, match="leads out of"):
            bundle_file(recommends(path), out=tmp_path / "o", source=None, samples=1, listener=Silent())
    for path, sha256 in ((str(secret), ""), (str(secret), "0" * 64)):
        with pytest.raises(InputError, match="is not the file that was measured"):
            bundle_file(recommends(path, sha256=sha256), out=tmp_path / "o", source=None, samples=1, listener=Silent())
    assert not (tmp_path / "o").exists()
    bundle = bundle_file(
        recommends(str(secret), sha256=sha256_file(secret)),
        out=tmp_path / "o",
        source=None,
        samples=1,
        listener=Silent(),
    )
    aligned = conform(secret.read_bytes())  # the same values, each at a multiple of 16 bytes
    assert bundle.manifest["file"]["sha256"] == hashlib.sha256(aligned).hexdigest()


def test_a_bundle_replaces_no_folder_and_no_archive_of_somebody_elses(strange: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"

    def bundle() -> Path:
        return bundle_file(strange, out=out, source=None, samples=1, listener=Silent()).archive

    assert bundle() == bundle(), "its own it replaces"
    shutil.rmtree(out / "m")
    assert bundle() == out / "m.zip"
    shutil.rmtree(out / "m")
    for there in (b"mine", b"PK\x05\x06" + bytes(18)):  # no archive; an empty one
        (out / "m.zip").write_bytes(there)
        with pytest.raises(InputError, match=r"m\.zip exists and is no bundle"):
            bundle()
        assert (out / "m.zip").read_bytes() == there


def test_an_artifact_cannot_even_be_made_with_an_id_that_is_no_name() -> None:
    artifact = Artifact("m--tflite-int8", "m", "tflite", "int8", None)
    for name in NO_NAMES:
        with pytest.raises(InputError, match="is not a plain file name"):
            replace(artifact, id=name)
