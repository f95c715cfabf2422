"""A Cortex-M under qemu: a bundle's code for microcontrollers is built with the user's TFLM tree, and run.

TFLM, TensorFlow Lite for Microcontrollers, is read from a tree as its ``create_tflm_tree.py`` writes it. It is compiled
once for each tree, processor and compiler, into the user's cache. The image runs in qemu's emulation of Arm's MPS2
boards: answers and memory are those of a 32-bit chip, and there are no times, which an emulator does not know.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core import children
from ...core.chips import CHIPS
from ...core.codec import sha256_file, sha256_of
from ...core.environment import usable_cores
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.files import discard, move
from ...core.runner import Outcome
from ...core.sanitize import shorten

_OURS = Path(__file__).resolve().parent
_PREFIX = "arm-none-eabi-"
_INSTALL = "Debian: sudo apt install gcc-arm-none-eabi libstdc++-arm-none-eabi-newlib qemu-system-arm"
_TREE = (
    "make it in a checkout of tflite-micro: "
    "python3 tensorflow/lite/micro/tools/project_generation/create_tflm_tree.py FOLDER"
)
NOT_AS_IT_IS = "do not ship micro/ as it is"
_COMPILE_SECONDS, _LOAD_SECONDS = 600.0, 60.0
_FLAGS = (
    "-mthumb", "-O2", "-ffunction-sections", "-fdata-sections", "-fno-exceptions", "-DTF_LITE_STATIC_MEMORY",
    "-DNDEBUG", "-w",
)  # fmt: skip
_CXX = ("-std=c++17", "-fno-rtti", "-fno-threadsafe-statics", "-fno-use-cxa-atexit")
# What a tree holds beside the library.
_NOT_LIBRARY = re.compile(
    r"(?:_test|/test_helper\w*|/mock_micro_graph|/fake_micro_context|/kernel_runner)\.(?:cc|cpp)$"
)


@dataclass(frozen=True)
class Program:
    """A bundle's code, as `main.cc` calls it.

    `folder` holds ``model_data.cc`` and ``classifier_micro.cc``. `run` names the function that runs a sample, `value`
    the one that gives a value of its answer, and `count` the constant with the number of values.
    """

    folder: Path
    run: str
    value: str
    count: str


@dataclass(frozen=True)
class Answers:
    """What an image answered: (samples, values) float32; the arena that it used, and the image's size, in bytes."""

    values: NDArray[np.float32]
    arena_bytes: int
    code_bytes: int
    data_bytes: int


class CortexM:
    """A processor with a TFLM tree.

    Raises InputError for a tree that is none, and if the compiler or qemu is missing.
    """

    def __init__(self, chip: str, tree: Path) -> None:
        if chip not in CHIPS:
            raise InputError(f"unknown chip {shorten(chip)!r}", f"write {', '.join(CHIPS)}")
        self.name, self._chip, self._tree = chip, CHIPS[chip], tree.resolve()
        if not (self._tree / "tensorflow" / "lite" / "micro" / "micro_interpreter.h").is_file():
            raise InputError(f"{shorten(str(tree), 200)} is no TFLM tree", _TREE)
        for program in (f"{_PREFIX}g++", f"{_PREFIX}gcc", f"{_PREFIX}ar", "qemu-system-arm"):
            if shutil.which(program) is None:
                raise InputError(f"{program} is not installed: it is needed for a {chip} image", _INSTALL)
        self.compiler = _first_line([f"{_PREFIX}g++", "--version"])
        self.emulator = _first_line(["qemu-system-arm", "--version"])

    @property
    def board(self) -> str:
        """The board that is emulated."""
        return self._chip.board

    @property
    def kernels(self) -> str:
        """The kernels that the tree has: ``cmsis-nn`` or ``reference``."""
        return "cmsis-nn" if self._optimized else "reference"

    @property
    def _optimized(self) -> bool:
        return (self._tree / "tensorflow" / "lite" / "micro" / "kernels" / "cmsis_nn").is_dir()

    def answers(
        self, program: Program, samples: NDArray[np.uint8], workspace: Path, *, seconds: float,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> Answers | Outcome:  # fmt: skip
        """Build the image of a program in `workspace` and run it on `samples`: (N, bytes of an input).

        `tell` hears of how many files are compiled. A sample may take `seconds`. Returns an Outcome for what fails.
        Raises StageError when the disk refuses.
        """
        built = self._image(program, workspace, tell)
        if isinstance(built, Outcome):
            return built
        samples.tofile(workspace / "inputs.bin")
        command = [
            "qemu-system-arm", "-M", self.board, "-display", "none", "-monitor", "none", "-serial", "none", "-nic",
            "none", "-semihosting-config", "enable=on,target=native", "-kernel", str(built),
        ]  # fmt: skip
        limit = _LOAD_SECONDS + seconds * len(samples)
        try:
            # Semihosting opens files by their names, below the current folder.
            ending = children.run(["env", "-C", str(workspace), *command], timeout=limit)
        except subprocess.TimeoutExpired:
            return Outcome("timeout", f"the image did not end within {limit:.0f} s", "take fewer --samples")
        said = shorten(ending.output.decode("utf-8", "replace").strip() or ending.last_error_line, 300)
        used = re.search(r"^arena_used_bytes (\d+)$", ending.output.decode("utf-8", "replace"), re.MULTILINE)
        if ending.status or used is None:
            return Outcome("crashed", f"the image {ending.how}; it said: {said or 'nothing'}", NOT_AS_IT_IS)
        values = np.fromfile(workspace / "outputs.bin", np.float32)
        if not len(samples) or values.size % len(samples):
            reason = f"the image wrote {values.size} values for {len(samples)} samples"
            return Outcome("failed", reason, NOT_AS_IT_IS)
        code, data = _sizes(built)
        return Answers(values.reshape(len(samples), -1), int(used[1]), code, data)

    def _image(self, program: Program, workspace: Path, tell: Callable[[int, int], None]) -> Path | Outcome:
        library = self._library(tell)
        if isinstance(library, Outcome):
            return library
        image = workspace / "image.elf"
        names = [f"-D{name}={text}" for name, text in
                 (("RUN", program.run), ("VALUE", program.value), ("COUNT", program.count))]  # fmt: skip
        ending = _run([
            f"{_PREFIX}g++", *self._flags(), *_CXX, *names, f"-I{program.folder}", str(_OURS / "main.cc"),
            str(_OURS / "startup.cc"), str(program.folder / "model_data.cc"), str(library), "-nostartfiles",
            "--specs=rdimon.specs", "-Wl,--gc-sections", f"-Wl,-T,{_OURS / 'image.ld'}", "-o", str(image),
        ])  # fmt: skip
        if ending.status:
            too_large = "overflowed" in ending.errors or "will not fit" in ending.errors
            words = "a board of 16 MB has no room for it" if too_large else f"the compiler {_complaint(ending)}"
            return Outcome("unsupported", f"the image cannot be built: {words}", "check the TFLM tree and its version")
        return image

    def _flags(self) -> list[str]:
        third = self._tree / "third_party"
        roots = [self._tree, *sorted(folder for folder in third.glob("*") if folder.is_dir())]
        inner = [third / "flatbuffers" / "include", third / "cmsis_nn" / "Include",
                 third / "cmsis" / "CMSIS" / "Core" / "Include"]  # fmt: skip
        folders = [folder for folder in (*roots, *inner) if folder.is_dir()]
        optimized = ["-DCMSIS_NN"] if self._optimized else []
        return [*self._chip.flags, *_FLAGS, *optimized, *(f"-I{folder}" for folder in folders)]

    def _sources(self) -> list[Path]:
        """Return the library's sources. Operators for signals are custom ones, which no exported file has."""
        found: Iterator[Path] = (
            path
            for folder in (self._tree / "tensorflow", self._tree / "third_party" / "cmsis_nn")
            for path in folder.rglob("*")
            if path.suffix in (".cc", ".cpp", ".c") and path.is_file()
        )
        return sorted(path for path in found if not _NOT_LIBRARY.search(path.as_posix()))

    def _library(self, tell: Callable[[int, int], None]) -> Path | Outcome:
        """Return the compiled library; it is compiled unless the cache has it."""
        sources, flags = self._sources(), self._flags()
        headers = [path for path in self._tree.rglob("*.h") if path.is_file()]
        content = {path.relative_to(self._tree).as_posix(): sha256_file(path) for path in sorted([*sources, *headers])}
        own = [flag for flag in flags if not flag.startswith("-I")]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeproof" / "tflm"
        library = cache / f"{self.name}-{sha256_of([content, own, self.compiler])[:16]}.a"
        if library.is_file():
            return library
        with explain_disk_errors(cache):
            cache.mkdir(parents=True, exist_ok=True)
            workspace = Path(tempfile.mkdtemp(dir=cache, prefix=".new-"))
            try:
                failed = self._compile(sources, flags, workspace, tell)
                if failed is None:
                    objects = sorted(str(path) for path in workspace.glob("*.o"))
                    (workspace / "objects").write_text("\n".join(objects), encoding="utf-8")
                    ending = _run([f"{_PREFIX}ar", "rcs", str(workspace / "library.a"), f"@{workspace / 'objects'}"])
                    if ending.status:
                        raise StageError(f"{_PREFIX}ar {_complaint(ending)}", _INSTALL)
                    move(workspace / "library.a", library, root=cache)
            finally:
                discard(workspace, root=cache)
        return failed or library

    def _compile(
        self, sources: Sequence[Path], flags: Sequence[str], workspace: Path, tell: Callable[[int, int], None]
    ) -> Outcome | None:
        """Compile sources on all cores; return what failed, or None."""

        def one(numbered: tuple[int, Path]) -> children.Ending:
            number, path = numbered
            language = [f"{_PREFIX}gcc"] if path.suffix == ".c" else [f"{_PREFIX}g++", *_CXX]
            return _run([*language, *flags, "-c", str(path), "-o", str(workspace / f"{number:04}-{path.stem}.o")])

        with ThreadPoolExecutor(usable_cores()) as pool:
            endings = pool.map(one, enumerate(sources))
            for done, (path, ending) in enumerate(zip(sources, endings, strict=True), start=1):
                if ending.status:
                    pool.shutdown(cancel_futures=True)
                    name = path.relative_to(self._tree)
                    return Outcome("unsupported", f"the tree's {name} cannot be compiled: {_complaint(ending)}", _TREE)
                tell(done, len(sources))
        return None


def _run(command: Sequence[str]) -> children.Ending:
    try:
        return children.run(command, timeout=_COMPILE_SECONDS)
    except subprocess.TimeoutExpired:
        return children.Ending(1, b"", f"error: it did not end within {_COMPILE_SECONDS:.0f} s")


def _complaint(ending: children.Ending) -> str:
    """Return what a compiler says: its first error, else how it ended."""
    errors = [line for line in ending.errors.splitlines() if "error:" in line or "undefined reference" in line]
    return f"says {shorten(errors[0].strip(), 200)}" if errors else ending.how


def _first_line(command: Sequence[str]) -> str:
    ending = children.run(command, timeout=_LOAD_SECONDS)
    return shorten(ending.output.decode("utf-8", "replace").splitlines()[0] if ending.output else "", 120)


def _sizes(image: Path) -> tuple[int, int]:
    """Return the bytes of an image's code and constants, and of its variables (the arena is one of them)."""
    ending = _run([f"{_PREFIX}size", str(image)])
    text, data, bss = (int(word) for word in ending.output.decode().splitlines()[-1].split()[:3])
    return text, data + bss
