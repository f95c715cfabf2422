"""The agent as one program: what is sent to another device, where nothing of Edgeproof is installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

AGENT = Path(__file__).with_name("agent")

# It holds the sources of the modules, and imports them from there.
_PROGRAM = """\
import sys
from importlib.machinery import ModuleSpec

SOURCES = {sources!r}


class Sources:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=name == "{package}") if name in SOURCES else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)


sys.meta_path.insert(0, Sources())
from {package}.main import main

main()
"""
_PACKAGE = "edgeproof_agent"


@cache
def program() -> bytes:
    """Return the agent as the source of one Python program, which reads its job as the folder does."""
    sources = {}
    for path in sorted(AGENT.glob("*.py")):
        if path.stem != "__main__":
            name = _PACKAGE if path.stem == "__init__" else f"{_PACKAGE}.{path.stem}"
            sources[name] = path.read_text("utf-8")
    return _PROGRAM.format(sources=sources, package=_PACKAGE).encode()
