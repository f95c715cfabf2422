"""The benchmarks run and give a table with ratios. What the times are is never asserted."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def benchmarks(*arguments: str, module: str = "benchmarks", **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_quick_runs_give_tables_with_ratios(tmp_path: Path) -> None:
    names = ("startup", "head_training", "head_passes", "hub_model", "text_model", "conversion", "quantization",
             "accuracy", "streaming")  # fmt: skip
    out = tmp_path / "table.md"
    done = benchmarks(
        *names, "--quick", "--out", str(out), module="tests.support.quick_benchmarks", TMPDIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    written = out.read_text(encoding="utf-8")
    rows = [line for line in written.splitlines() if line.startswith("| ")][1:]
    assert len(re.findall(r"\| \d[\d.]* s \| \d[\d.]* s \| \d+\.\d× \|", written)) == 11
    assert all(row.endswith("| not judged |") for row in rows)
    assert "was measured" in written
    assert "figures mean nothing" in written
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]  # the working folder is gone


def test_wrong_options_are_refused_before_anything_runs() -> None:
    for arguments in (["--write", "--quick"], ["--write", "startup"], ["no-such"], ["--repeat", "0"]):
        done = benchmarks(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_the_table_replaces_what_stands_between_the_marks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.sides import BenchmarkError, Row

    from benchmarks import table

    rows = [
        Row("one | thing", (3.0, 1.0, 2.0), (0.5, 0.4, 0.6), "≥ 4×", True, "same answers"),
        Row("another", (), (120.4,), "≤ 3 s", False),
    ]
    written = table.markdown(rows, "Measured here.")
    assert "| one \\| thing | 2.00 s (1.00–3.00) | 0.500 s (0.400–0.600) | 4.0× | 3 | ≥ 4× | yes |" in written
    assert "| another | – | 120 s | – | 1 | ≤ 3 s | NO |" in written
    document = tmp_path / "README.md"
    document.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    for _ in range(2):  # doing it twice changes nothing more
        table.replace_table(document, written)
        assert document.read_text(encoding="utf-8") == f"before\n{table.BEGIN}\n{written}\n{table.END}\nafter\n"
    for broken in ("no marks", f"{table.END}{table.BEGIN}", f"{table.BEGIN}{table.END}" * 2):
        document.write_text(broken, encoding="utf-8")
        with pytest.raises(BenchmarkError, match=r"README\.md"):
            table.replace_table(document, written)


def test_a_head_that_is_faster_and_less_accurate_does_not_meet_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import heads

    ours = {"seconds": 1.0, "whole": 2.0, "steps": {"build": 0.4, "features": 0.6}, "engine": "litert"}

    def row(seconds: float, right: int, quick: bool = False) -> heads.Row:
        hand = [{"seconds": seconds, "right": 180}]
        return heads.row(
            "a head", hand, [{**ours, "right": right}], tests=200, noun="texts", claim=5, points=0.5, quick=quick
        )

    assert row(6.0, 181).met is True
    assert row(6.0, 178).met is False  # a point less
    assert row(4.0, 180).met is False
    assert row(6.0, 180, quick=True).met is None
    checked = row(6.0, 178).checked
    assert "by hand 90.00 %, Edgeproof 89.00 % (-1.00 points)" in checked and "features by litert" in checked


def test_each_benchmark_is_described_and_named_in_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.__main__ import BENCHMARKS, main

    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name in BENCHMARKS:
        assert f"| [`{name}`](../benchmarks/{name}.py) |" in page
        assert re.search(rf"one of[\w ,]*\b{name}\b", " ".join((main.help or "").split()))


def test_both_documents_have_a_place_for_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.__main__ import DOCUMENTS

    from benchmarks import table

    for document in DOCUMENTS:
        table.check_marks(document)


def test_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.sides import in_turns, seconds

    order: list[str] = []

    def side(name: str, number: int) -> dict[str, float]:
        order.append(name)
        return {"seconds": number}

    by_hand, ours = in_turns(3, lambda n: side("a", n), lambda n: side("b", n))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert seconds(by_hand) == seconds(ours) == (0, 1, 2)


def test_a_side_that_fails_is_told_with_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.sides import BenchmarkError, run_python

    with pytest.raises(BenchmarkError, match=r"exit status 1(.|\n)*no such thing"):
        run_python(["-c", "raise SystemExit('no such thing')"], tmp_path / "log")
