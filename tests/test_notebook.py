"""docs/quickstart.ipynb runs from its first cell to its last, and shows what it says."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


def cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shown(cell: str) -> str:
    """Return a cell that shows its last expression as a notebook does: as HTML where it can."""
    tree = ast.parse(cell)
    if isinstance(tree.body[-1], ast.Expr) and not cell.splitlines()[-1].startswith("print("):
        last = tree.body.pop()
        return f"{ast.unparse(tree)}\n_show({ast.unparse(last)})"
    return cell


def test_it_has_ten_cells_without_outputs() -> None:
    """Outputs would be figures of some machine, and go stale."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert len(notebook["cells"]) == 10 and notebook["nbformat"] == 4
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])


@pytest.mark.slow
def test_it_trains_exports_evaluates_and_shows_the_report(tmp_path: Path) -> None:
    """In a process of its own, as a kernel is; its temporary folder is ours."""
    show = "def _show(value):\n    print(value._repr_html_() if hasattr(value, '_repr_html_') else repr(value))\n"
    program = show + "\n".join(map(shown, cells()))
    done = subprocess.run(
        [sys.executable, "-c", f"import tempfile\ntempfile.tempdir = {str(tmp_path)!r}\n{program}"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("<table") >= 3, "the run, the files and the proof"
    *_, verdict, why, report = done.stdout.strip().splitlines()
    assert verdict == "met" and "local/litert" in why
    assert Path(report).is_relative_to(tmp_path) and Path(report).stat().st_size > 0
