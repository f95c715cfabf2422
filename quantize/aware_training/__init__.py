"""Further training of a float model: quantization-aware training, pruning and clustering."""

from .train import train_further

__all__ = ["train_further"]
