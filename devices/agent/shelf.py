"""The folder on another device that holds what was put there."""

import errno
import os
import re
import shutil
import sys
import tempfile
from glob import glob
from typing import Any, Dict

from .errors import Busy


class Shelf:
    """The folder on a device that holds what was put there: files by their SHA-256, and folders made of them.

    Names come from the other side of the connection. Each is a SHA-256 in hexadecimal, perhaps with a suffix that a
    runtime knows files by; in a folder, a relative path of plain names.
    """

    NAME = re.compile(r"[0-9a-f]{64}(\.[a-z]{1,8})?")
    PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")

    def __init__(self, job: Dict[str, Any]) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.folder = os.path.abspath(os.path.expanduser(job["shelf"] or os.path.join(cache, "edgeproof")))
        self.files = os.path.join(self.folder, "files")
        self.venv = os.path.join(self.folder, "venv")

    def place(self, name: str) -> str:
        """Return the path of a file or folder on the shelf."""
        if not self.NAME.fullmatch(name):
            raise ValueError("{!r} names nothing here".format(name[:80]))
        return os.path.join(self.files, name)

    def have(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: return which of some files are there and whole; damaged ones are removed."""
        there = []
        for name in job["names"]:
            path = self.place(name)
            if os.path.isfile(path) and digest(path) == name[:64]:
                there.append(name)
            elif os.path.isfile(path):
                os.remove(path)
        return {"there": there}

    def put(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: write the bytes that follow the job as a file; it is there only if its SHA-256 is its name."""
        import hashlib

        path, left = self.place(job["name"]), job["bytes"]
        os.makedirs(self.files, exist_ok=True)
        if shutil.disk_usage(self.files).free < left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = "{}.{}.part".format(path, os.getpid())
        sha256 = hashlib.sha256()
        try:
            with open(part, "wb") as stream:
                while left:
                    chunk = sys.stdin.buffer.read(min(left, 1 << 20))
                    if not chunk:
                        raise ValueError("the connection ended {} bytes before the end of the file".format(left))
                    sha256.update(chunk)
                    stream.write(chunk)
                    left -= len(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            if sha256.hexdigest() != job["name"][:64]:
                raise ValueError("the file was damaged on its way")
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.remove(part)
        return {}

    def tree(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: make a folder of files that are there, anew: job["paths"] maps relative paths to names."""
        path = self.place(job["name"])
        part = "{}.{}.part".format(path, os.getpid())
        for inner, name in job["paths"].items():
            parts = inner.split("/")
            if not all(self.PART.fullmatch(one) for one in parts):
                raise ValueError("{!r} is no path below a folder".format(inner[:80]))
            target = os.path.join(part, *parts)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(self.place(name), target)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(part, path)
        return {}

    def clean(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: remove the files, and nothing that is not of this program."""
        count = size = 0
        for name in os.listdir(self.files) if os.path.isdir(self.files) else []:
            if not self.NAME.fullmatch(name.split(".")[0]):
                continue
            path = os.path.join(self.files, name)
            for folder, _, files in os.walk(path):
                size += sum(os.path.getsize(os.path.join(folder, file)) for file in files)
            count += 1
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                size += os.path.getsize(path)
                os.remove(path)
        return {"files": count, "bytes": size}

    def make_venv(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: make an environment for Python packages, anew."""
        import venv

        shutil.rmtree(self.venv, ignore_errors=True)
        venv.EnvBuilder(with_pip=False, symlinks=True).create(self.venv)
        return {}

    def unpack(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: unpack wheels, which are there, into the environment. A wheel is an archive of what is installed."""
        import zipfile

        site = glob(os.path.join(self.venv, "lib", "python*", "site-packages"))[0]
        for name in job["names"]:
            with zipfile.ZipFile(self.place(name)) as wheel:
                wheel.extractall(site)
            os.remove(self.place(name))
        return {}

    def claim(self, owner: Dict[str, str]) -> Any:
        """Return a file that is locked while this process times files. Raises Busy while those of another owner do."""
        import fcntl

        users = os.path.join(self.folder, "users")
        os.makedirs(users, exist_ok=True)
        with open(os.path.join(self.folder, "users.lock"), "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            for name in os.listdir(users):
                if name.startswith(owner["token"] + "."):
                    continue
                path = os.path.join(users, name)
                with open(path) as other:
                    try:
                        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        raise Busy(other.read(200))
                os.remove(path)  # its process has ended
            name = "{}.{}".format(owner["token"], os.getpid())
            own = open(os.path.join(users, name), "w")  # noqa: SIM115 (closed when the process ends)
            own.write(owner["host"])
            own.flush()
            fcntl.flock(own, fcntl.LOCK_EX)
        return own


def digest(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    import hashlib

    sha256 = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            sha256.update(chunk)
    return sha256.hexdigest()


def placed_on_shelf(job: Dict[str, Any]) -> Dict[str, Any]:
    """Return a job with the paths of the files that it names by their places on the shelf."""
    shelf = Shelf(job)
    job = dict(job, artifact=shelf.place(job["artifact"]), inputs=shelf.place(job["inputs"]))
    needed = [job["artifact"], job["inputs"]]
    feed = job.get("feed") or {}
    if "tokenizer" in feed:
        job["feed"] = dict(feed, tokenizer=shelf.place(feed["tokenizer"]), code=shelf.place(feed["code"]))
        needed += [job["feed"]["tokenizer"], job["feed"]["code"]]
    job["gone"] = not all(os.path.exists(path) for path in needed)
    if not os.environ.get("TMPDIR"):
        try:
            tempfile.gettempdir()
        except OSError:
            tempfile.tempdir = shelf.folder
    return job
