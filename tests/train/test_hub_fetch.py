"""Handles to local SavedModels: a local server plays tfhub.dev, and archives are as hostile as they come."""

import errno
import gzip
import hashlib
import io
import multiprocessing
import tarfile
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.train.hub import archive as archives
from edgeproof.train.hub import download
from edgeproof.train.hub.archive import unpack
from edgeproof.train.hub.fetch import already_here, identify, resolve
from edgeproof.train.hub.handles import cache_folder, check_handle, compressed_url

GRAPH = b"\x12\x02ab"  # bytes, to the fetcher


class Heard(Silent):
    def __init__(self):
        self.notes, self.tasks = [], []

    def note(self, level, message, **facts):
        self.notes.append(message)

    def progress(self, task, done, total, note=""):
        self.tasks.append((task, done, total))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 5)


def packed(*members, top=""):
    """A .tar.gz of (name, content) pairs and of ready TarInfos."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(top + member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return stream.getvalue()


MODEL = packed(("./saved_model.pb", GRAPH), ("./variables/variables.index", b"i" * 5000))
SHA = hashlib.sha256(MODEL).hexdigest()


@contextmanager
def served(answer):
    """Serve on loopback; `answer(handler, path, query)` does the answering. Gives the URL and the requests heard."""
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            heard.append((url.path, parse_qs(url.query), dict(self.headers)))
            answer(self, url.path, parse_qs(url.query))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler, body, status=200, **headers):
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def hub(handler, path, query):
    """Like tfhub.dev: the handle redirects to the storage, if asked for the compressed form."""
    if path == "/storage/model.tar.gz":
        send(handler, MODEL)
    elif query.get("tf-hub-format") == ["compressed"]:
        send(handler, b"", 302, Location="/storage/model.tar.gz")
    else:
        send(handler, b"<html>the model's page</html>")


def left_over():
    """What lies in the cache beside whole models, notes and locks."""
    root = cache_folder()
    return [p for p in root.rglob("*") if p.name.startswith(".")] if root.exists() else []


# --- downloads ---------------------------------------------------------------------------------------------------


def test_a_url_is_asked_for_the_compressed_form_followed_and_kept(tmp_path):
    heard = Heard()
    with served(hub) as (url, requests):
        handle = f"{url}/google/model/1"
        module = resolve(handle, sha256="", folder=tmp_path, listener=heard)
        assert (module / "saved_model.pb").read_bytes() == GRAPH
        assert (module / "variables" / "variables.index").stat().st_size == 5000
        assert [path for path, _, _ in requests] == ["/google/model/1", "/storage/model.tar.gz"]
        assert resolve(handle, sha256="", folder=tmp_path, listener=heard) == module
        assert len(requests) == 2, "the second time there is nothing to ask"
    assert resolve(handle, sha256=SHA, folder=tmp_path, listener=heard) == module, "nor a network to ask"
    assert any(SHA in note and "pin it" in note for note in heard.notes)
    assert heard.tasks[-1][1:] == (len(MODEL), len(MODEL))
    assert already_here(handle, "", tmp_path) == module
    assert not left_over()


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(tmp_path, monkeypatch, part):
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(download, "SLOWEST_BYTES", 1 << 20)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    given_up = threading.Event()

    def drip(handler, path, query):
        if part == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nName: ")
        with suppress(OSError):
            while not given_up.wait(0.05):
                handler.wfile.write(b"x")
                handler.wfile.flush()

    with served(drip) as (url, _):
        try:
            with pytest.raises(StageError, match="too slowly" if part == "body" else "did not answer"):
                resolve(f"{url}/google/model/1", sha256="", folder=tmp_path, listener=Heard())
        finally:
            given_up.set()
    assert not left_over()


def test_what_arrives_under_another_hash_is_not_unpacked(tmp_path):
    wrong = "0" * 64
    with served(hub) as (url, _), pytest.raises(InputError, match=f"{SHA}.*{wrong}"):
        resolve(f"{url}/google/model/1", sha256=wrong, folder=tmp_path, listener=Silent())
    assert not list((cache_folder()).rglob("saved_model.pb")) and not left_over()


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_model_that_is_not_there_is_told_at_once(tmp_path, status):
    with served(lambda handler, *_: send(handler, b"", status)) as (url, requests):
        with pytest.raises(StageError, match=f"answered {status}") as caught:
            resolve(f"{url}/google/model/9", sha256="", folder=tmp_path, listener=Silent())
        assert len(requests) == 1
    for way in ("?tf-hub-format=compressed", "hub:PATH", str(cache_folder()), "package:"):
        assert way in caught.value.remedy
    assert not left_over()


def test_no_network_is_told_with_the_ways_that_need_none(tmp_path):
    with pytest.raises(StageError, match="could not be fetched") as caught:
        resolve("http://127.0.0.1:9/google/model/1", sha256="", folder=tmp_path, listener=Silent())
    assert "hub:PATH" in caught.value.remedy and not left_over()


def broken_after(half, *, tag, ranges):
    """A server whose first answer breaks off in the middle."""
    state = {"first": True}

    def answer(handler, _path, _query):
        wanted = handler.headers.get("Range", "")
        headers = {"ETag": tag} if tag else {}
        if state.pop("first", False):
            handler.send_response(200)
            for name, value in {"Content-Length": str(len(MODEL)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(MODEL[:half])
        elif ranges and wanted and handler.headers.get("If-Range") == tag:
            send(handler, MODEL[int(wanted[6:-1]) :], 206, **headers)
        else:
            send(handler, MODEL, **headers)

    return answer


@pytest.mark.parametrize(("tag", "ranges"), [('"v1"', True), ('"v1"', False), ("", False)])
def test_a_download_that_breaks_goes_on_or_begins_anew(tmp_path, tag, ranges):
    with served(broken_after(40, tag=tag, ranges=ranges)) as (url, requests):
        module = resolve(f"{url}/google/model/1", sha256=SHA, folder=tmp_path, listener=Silent())
    assert (module / "saved_model.pb").read_bytes() == GRAPH and len(requests) == 2
    assert ("Range" in requests[1][2]) == bool(tag)
    assert not left_over()


def test_a_download_that_always_breaks_leaves_nothing_half_done(tmp_path):
    def answer(handler, *_):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(MODEL)))
        handler.end_headers()
        handler.wfile.write(MODEL[:50])

    with served(answer) as (url, requests), pytest.raises(StageError, match="connection broke"):
        resolve(f"{url}/google/model/1", sha256="", folder=tmp_path, listener=Silent())
    assert len(requests) == download.ATTEMPTS
    assert not left_over() and not list(cache_folder().rglob("saved_model.pb"))


def test_a_page_instead_of_a_model_is_told(tmp_path):
    with (
        served(lambda handler, *_: send(handler, b"<html>log in</html>")) as (url, _),
        pytest.raises(StageError, match=r"not a \.tar\.gz"),
    ):
        resolve(f"{url}/google/model/1", sha256="", folder=tmp_path, listener=Silent())
    assert not left_over()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x.tar.gz"])
def test_redirects_lead_nowhere_but_the_web(tmp_path, target):
    with (
        served(lambda handler, *_: send(handler, b"", 302, Location=target)) as (url, _),
        pytest.raises(StageError, match="could not be fetched"),
    ):
        resolve(f"{url}/google/model/1", sha256="", folder=tmp_path, listener=Silent())


def _resolve(handle, folder, queue):
    queue.put(str(resolve(handle, sha256="", folder=folder, listener=Silent())))


def test_processes_that_want_the_same_model_fetch_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    with served(hub) as (url, requests):
        queue = context.Queue()
        arguments = (f"{url}/google/model/1", tmp_path, queue)
        several = [context.Process(target=_resolve, args=arguments) for _ in range(4)]
        for process in several:
            process.start()
        folders = {queue.get(timeout=30) for _ in several}
        for process in several:
            process.join()
    assert len(folders) == 1 and len(requests) == 2


def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with served(hub) as (url, _):
        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(StageError, match="disk is full") as caught:
            resolve(f"{url}/google/model/1", sha256="", folder=tmp_path, listener=Silent())
    assert "EDGEPROOF_CACHE" in caught.value.remedy


def test_the_compressed_form_of_a_url():
    assert compressed_url("https://tfhub.dev/g/m/1") == "https://tfhub.dev/g/m/1?tf-hub-format=compressed"
    assert compressed_url("https://x.org/m?a=b").endswith("/m?a=b&tf-hub-format=compressed")
    assert compressed_url("https://x.org/m.tar.gz?signature=1") == "https://x.org/m.tar.gz?signature=1"


# --- local models ------------------------------------------------------------------------------------------------


def test_a_folder_is_taken_as_it_is_and_a_tar_gz_is_unpacked_once(tmp_path):
    (tmp_path / "m" / "variables").mkdir(parents=True)
    (tmp_path / "m" / "saved_model.pb").write_bytes(GRAPH)
    assert resolve("m", sha256="", folder=tmp_path, listener=Silent()) == tmp_path / "m"
    pin = sha256_file(tmp_path / "m")
    check_handle("m", pin, tmp_path)
    with pytest.raises(InputError, match=pin):
        resolve("m", sha256="1" * 64, folder=tmp_path, listener=Silent())
    (tmp_path / "m.tar.gz").write_bytes(packed(("saved_model.pb", GRAPH), ("variables/v", b"1"), top="some/model/"))
    module = resolve("m.tar.gz", sha256="", folder=tmp_path, listener=Silent())
    assert module.name == "model" and (module / "saved_model.pb").read_bytes() == GRAPH
    changed = (module / "saved_model.pb").stat().st_mtime_ns
    assert resolve("m.tar.gz", sha256=sha256_file(tmp_path / "m.tar.gz"), folder=tmp_path, listener=Silent()) == module
    assert (module / "saved_model.pb").stat().st_mtime_ns == changed


def test_identity_is_by_content_and_the_same_before_and_after_a_download(tmp_path):
    for name in ("a.tar.gz", "b.tgz"):
        (tmp_path / name).write_bytes(MODEL)
    assert identify("a.tar.gz", "", tmp_path) == identify("b.tgz", "", tmp_path)
    with served(hub) as (url, _):
        before = identify(f"{url}/g/m/1", "", tmp_path)
        resolve(f"{url}/g/m/1", sha256="", folder=tmp_path, listener=Silent())
        assert identify(f"{url}/g/m/1", "", tmp_path) == before != identify(f"{url}/g/m/2", "", tmp_path)


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        ("", "names no model"),
        ("nowhere", "does not exist"),
        ("model.zip", "neither a folder nor"),
        ("text.tar.gz", "not gzip inside"),
        ("outer", "no saved_model.pb"),
        ("pbtxt", "in text form"),
        ("gs://bucket/model", "kind gs:"),
        ("file:///etc", "kind file:"),
        ("http://example.org/model/1", "not encrypted"),
        ("https:///model", "not a plain URL"),
        ("https://user:secret@example.org/m", "not a plain URL"),
        ("https://exa mple.org/m", "not a plain URL"),
        ("https://example.org:port/m", "not a URL"),
        ("https://tfhub.dev/", "names no model"),
        ("https://www.kaggle.com/models/google/mobilenet-v2", "does not name one model file"),
        ("https://www.kaggle.com/datasets/a/b/c/d", "does not name one model file"),
        ("https://www.kaggle.com/models/google/mobilenet-v2/tfLite/x/1", "for tfLite, not a SavedModel"),
        ("https://www.kaggle.com/models/google/x/frameworks/PyTorch/variations/v/versions/1", "for PyTorch"),
    ],
)
def test_a_bad_handle_is_told_early(tmp_path, handle, message):
    (tmp_path / "model.zip").write_bytes(b"PK")
    (tmp_path / "text.tar.gz").write_text("hello")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "inner" / "saved_model.pb").write_bytes(GRAPH)
    (tmp_path / "pbtxt").mkdir()
    (tmp_path / "pbtxt" / "saved_model.pbtxt").write_text("")
    with pytest.raises(InputError, match=message) as caught:
        check_handle(handle, "", tmp_path)
    assert caught.value.remedy
    if handle == "outer":
        assert "'inner'" in caught.value.remedy


@pytest.mark.parametrize(
    ("handle", "pin"),
    [
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5", ""),
        ("https://www.kaggle.com/models/google/mobilenet-v2/TensorFlow2/100-224-feature-vector/2", ""),
        ("https://kaggle.com/models/google/x/frameworks/TensorFlow2/variations/v/versions/1", ""),
        ("http://example.org/model/1", "0" * 64),
    ],
)
def test_good_urls_pass_without_a_network(tmp_path, handle, pin):
    check_handle(handle, pin, tmp_path)


# --- hostile archives --------------------------------------------------------------------------------------------


def entry(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


ESCAPES = {
    "absolute": (packed(("/escaped", b"x")), "leads out"),
    "parent": (packed(("saved_model.pb", GRAPH), ("../escaped", b"x")), "leads out"),
    "deep parent": (packed(("a/b/../../../escaped", b"x")), "leads out"),
    "symlink": (packed(entry("variables", tarfile.SYMTYPE, ".."), ("variables/escaped", b"x")), "a link or a device"),
    "hard link": (packed(entry("passwd", tarfile.LNKTYPE, "/etc/passwd")), "a link or a device"),
    "device": (packed(entry("null", tarfile.CHRTYPE)), "a link or a device"),
    "fifo": (packed(entry("pipe", tarfile.FIFOTYPE)), "a link or a device"),
    "sparse": (packed(entry("hollow", tarfile.GNUTYPE_SPARSE)), "a link or a device"),
    "twice": (packed(("saved_model.pb", GRAPH), ("saved_model.pb", b"y")), "in it twice"),
    "file as folder": (packed(("a", b"x"), ("a/b", b"y")), "in it twice"),
    "bomb": (packed(("zeros", bytes(70 << 20))), "more than"),
    "cut": (MODEL[:-30], "damaged"),
    "no tar": (gzip.compress(b"hello" * 500), "damaged|holds no"),
    "bits": (MODEL[:60] + b"\x00\xff" * 20 + MODEL[100:], "damaged|ends in|malformed"),
    "empty": (packed(), "holds no SavedModel"),
    "no model": (packed(("readme", b"x")), "holds no SavedModel"),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(tmp_path, name):
    content, message = ESCAPES[name]
    (tmp_path / "m.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        resolve("m.tar.gz", sha256="", folder=tmp_path, listener=Silent())
    assert not Path("/escaped").exists() and not list(tmp_path.rglob("escaped"))
    assert not left_over() and not list((cache_folder() / "models").glob("*"))


def test_many_members_and_a_header_that_claims_gigabytes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBERS", 10)
    (tmp_path / "many.tar.gz").write_bytes(packed(*((f"f{n}", b"") for n in range(11))))
    with pytest.raises(InputError, match="more than"):
        unpack(tmp_path / "many.tar.gz", tmp_path / "many")
    header = entry("x", tarfile.XHDTYPE)
    header.size = 1 << 33
    (tmp_path / "pax.tar.gz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16)))
    with pytest.raises(InputError, match="damaged"):
        unpack(tmp_path / "pax.tar.gz", tmp_path / "pax")


def test_a_file_shorter_than_its_header_says_is_refused(tmp_path):
    info = entry("saved_model.pb")
    info.size = 5000
    (tmp_path / "m.tar.gz").write_bytes(gzip.compress(info.tobuf() + b"only this"))
    with pytest.raises(InputError, match=r"ends in the middle|damaged"):
        unpack(tmp_path / "m.tar.gz", tmp_path / "m")


@given(noise=st.binary(min_size=1, max_size=300), at=st.integers(0, 2000))
def test_noise_in_an_archive_is_told_and_never_escapes(tmp_path_factory, noise, at):
    folder = tmp_path_factory.mktemp("noise")
    plain = gzip.decompress(MODEL)
    at %= len(plain)
    (folder / "m.tar.gz").write_bytes(gzip.compress(plain[:at] + noise + plain[at + len(noise) :], 1))
    inside = folder / "inside"
    with suppress(InputError):
        unpack(folder / "m.tar.gz", inside)
    assert {p.name for p in folder.iterdir()} <= {"m.tar.gz", "inside"}
    assert not any(p.is_symlink() for p in folder.rglob("*"))
