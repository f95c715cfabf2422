"""From a frozen model and a variant to an artifact. Light to import: converters load when a file is made."""

from .export import PACKAGES, export, export_file, load, reference, save, sidecar
from .inspect import Contents, inspect
from .quantizer import POSSIBLE, check_float
from .tokenizer import place_tokenizer

__all__ = [
    "PACKAGES",
    "POSSIBLE",
    "Contents",
    "check_float",
    "export",
    "export_file",
    "inspect",
    "load",
    "place_tokenizer",
    "reference",
    "save",
    "sidecar",
]
