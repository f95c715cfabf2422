"""External models: Keras files and SavedModels, checked before anything runs, then frozen or fine-tuned."""

from .identify import ModelFile, identify
from .import_model import PACKAGES, import_key, import_model
from .options import ImportOptions
from .samples import Input, model_inputs, model_outputs, tensor_data

__all__ = [
    "PACKAGES",
    "ImportOptions",
    "Input",
    "ModelFile",
    "identify",
    "import_key",
    "import_model",
    "model_inputs",
    "model_outputs",
    "tensor_data",
]
