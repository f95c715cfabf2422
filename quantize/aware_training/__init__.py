"""Further training of a model whose quantization, pruning or clustering is to cost no accuracy."""

from .train import tune

__all__ = ["tune"]
