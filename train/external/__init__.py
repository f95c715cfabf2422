"""Models that somebody else made: Keras files and SavedModels, checked before anything runs, frozen, or fine-tuned."""

from .identify import Found, examine
from .import_model import PACKAGES, adopt, adoption_key
from .samples import Input, model_inputs, tensor_data

__all__ = ["PACKAGES", "Found", "Input", "adopt", "adoption_key", "examine", "model_inputs", "tensor_data"]
