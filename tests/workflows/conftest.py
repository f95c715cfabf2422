"""What tests of workflows share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeproof.cli.main import status as _status


@pytest.fixture
def edgeproof(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command in this process, and returns what it printed."""

    def run(*arguments: object, status: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["edgeproof", *map(str, arguments)])
        outcome = _status()
        out, err = capfd.readouterr()
        assert outcome == status, out + err
        return " ".join((out + err).split())

    return run
