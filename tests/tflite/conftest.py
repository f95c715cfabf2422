"""An old runtime, installed beside this environment."""

from __future__ import annotations

import pytest

from edgeproof.core.errors import StageError
from edgeproof.core.target import Target, parse_runtime
from edgeproof.devices import install

from ..support.operator_files import OLD_LITERT


@pytest.fixture(scope="session")
def old_litert() -> Target:
    """ai-edge-litert 1.0.1, put beside this environment once; where it cannot be had, the tests are skipped."""
    target = parse_runtime(f"litert=={OLD_LITERT}")
    try:
        install(target)  # in the user's own cache: once, and not once a run
    except StageError as error:
        pytest.skip(f"litert {OLD_LITERT} cannot be installed here: {error.message}")
    return target
