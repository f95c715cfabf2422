"""The fuzz suite in CI: over 2,000 inputs, the same ones every time. `python -m tests.fuzz` tries others."""

from __future__ import annotations

from pathlib import Path

import pytest

from .areas import AREAS
from .suite import run_area
from .watch import judged, run


@pytest.mark.parametrize("name", AREAS)
def test_every_input_ends_with_a_status_and_a_message_and_writes_only_where_it_may(name: str, tmp_path: Path) -> None:
    area = AREAS[name]
    tally = run_area(area, area.inputs, seed=1, folder=tmp_path)
    assert tally.inputs == area.inputs
    assert not tally.wrong, "\n".join(tally.wrong[:20])
    assert len(tally.answers) > 2, "all inputs end at the same place: what lies behind it is not tried"


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    box = tmp_path / "box"
    (box / "out").mkdir(parents=True)
    outside = run(["init", "elsewhere.toml"], box, box / "out")
    assert outside.code == 0
    assert any("elsewhere.toml" in what and what.startswith("wrote") for what in outside.wrong)
    assert any("elsewhere.toml" in what and what.startswith("changed") for what in outside.wrong)
    assert not run(["init", "out/inside.toml"], box, box / "out").wrong
    assert list(judged(-11, "", "", as_json=False)) == ["exit status -11", "no message"]
    assert list(judged(2, "", "error: this is a bug in edgeproof", as_json=False))
    assert list(judged(0, '{"a": NaN}', "", as_json=True))
    assert list(judged(2, "", "error: \x1b[31m", as_json=False))
    assert not list(judged(2, "", "error: é\n  → do", as_json=False))


def test_the_suite_has_at_least_2000_inputs() -> None:
    assert sum(area.inputs for area in AREAS.values()) >= 2000
