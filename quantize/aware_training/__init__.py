"""Further training of a model whose quantization, pruning or clustering is to cost no accuracy."""

from .train import train_further

__all__ = ["train_further"]
