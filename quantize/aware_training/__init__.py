"""Further training of a float model: quantization-aware training, pruning and clustering."""

from .train import PACKAGES, train_further

__all__ = ["PACKAGES", "train_further"]
