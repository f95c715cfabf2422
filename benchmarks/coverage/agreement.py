"""Compares a file's answers with the float model's, and says which agreement earns a ✓."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof.core.variant import Variant

# Largest difference, relative to the float model's largest answer. Deep networks with random weights amplify rounding
# more than trained ones; a wrong operator, padding or constant changes them by more than a tenth.
TOLERANCE = {"float32": 1e-3, "float16": 5e-2}
# Least cosine similarity of quantized answers and the float model's, each minus the float model's mean over the
# samples: answers that are the same for every sample have a similarity of 0.
SIMILARITY = 0.9


@dataclass(frozen=True)
class Agreement:
    """`difference` and `similarity` as above. `top`: share of samples with the float model's top class, if any."""

    difference: float
    similarity: float
    top: float | None
    samples: int

    def problem(self, variant: Variant) -> str:
        """Return why a file of `variant` does not agree with its float model; empty if it does."""
        limit = TOLERANCE.get(variant.scheme.weights)
        if limit is not None and not self.difference <= limit:
            return f"answers differ from the float model's by {self.difference:.2g} of the largest (at most {limit:g})"
        if limit is None and not self.similarity >= SIMILARITY:
            return f"answers are unlike the float model's: similarity {self.similarity:.2f} (at least {SIMILARITY:g})"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Return the figures, rounded."""
        return {
            key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in asdict(self).items()
        }


def agreement(expected: NDArray[Any], answers: NDArray[Any]) -> Agreement:
    """Compare answers (samples, values) with the expected ones. The difference of non-finite answers is infinite."""
    expected, answers = (np.asarray(values, np.float64).reshape(len(values), -1) for values in (expected, answers))
    if expected.shape != answers.shape:
        raise ValueError(f"answers of shape {answers.shape}, expected {expected.shape}")
    if not (np.isfinite(expected).all() and np.isfinite(answers).all()):
        return Agreement(float("inf"), 0.0, None, len(expected))
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0
    mean = expected.mean(axis=0)
    left, right = expected - mean, answers - mean
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    similarity = float((left * right).sum() / lengths) if lengths else float(np.allclose(left, right))
    several = expected.shape[1] > 1
    top = float((expected.argmax(axis=1) == answers.argmax(axis=1)).mean()) if several else None
    return Agreement(float(np.abs(expected - answers).max(initial=0.0)) / largest, similarity, top, len(expected))
