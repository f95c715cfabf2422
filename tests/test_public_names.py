"""The public face of the package: every name is documented, lazy, and stays what it is."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import edgeproof as ep


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in ep.__all__:
        value = getattr(ep, name)
        if inspect.isfunction(value):
            yield name, value


def test_every_public_name_is_documented_with_its_parameters() -> None:
    assert {name for name, _ in functions()} >= {
        "run", "export", "evaluate", "diagnose", "bundle", "inspect", "compare", "report", "devices", "doctor", "init",
    }  # fmt: skip
    for name in ep.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(ep, name)), name
    for name, function in functions():
        doc = inspect.getdoc(function) or ""
        parameters = () if name == "load_recipe" else inspect.signature(function).parameters
        assert not [p for p in parameters if f"\n    {p}: " not in doc], name


def test_a_function_keeps_its_name_when_the_room_of_that_name_is_imported() -> None:
    code = (
        "import edgeproof as ep, edgeproof.export, edgeproof.evaluate, edgeproof.report, edgeproof.devices\n"
        "from edgeproof.export import sidecar\n"
        "from edgeproof.evaluate.measure import measure\n"
        "from edgeproof import export, report\n"
        "import types; fs = (ep.export, ep.evaluate, ep.report, ep.devices, export, report)\n"
        "assert all(isinstance(f, types.FunctionType) for f in fs)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_edgeproof_imports_none_of_its_packages() -> None:
    code = "import sys, edgeproof; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "edgeproof" in loaded and not {"numpy", "pydantic", "click", "rich", "PIL"} & set(loaded)
