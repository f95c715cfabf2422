"""From a frozen model and a variant to an artifact. Light to import: converters load when a file is made."""

from .export import export, export_file, load, packages_of, reference, save, sidecar
from .inspect import Contents, inspect
from .open_shapes import chosen_shapes, fix_shapes
from .quantizer import POSSIBLE, check_float
from .tokenizer import copy_tokenizer, place_tokenizer, tokenizer_folder

__all__ = [
    "POSSIBLE",
    "Contents",
    "check_float",
    "chosen_shapes",
    "copy_tokenizer",
    "export",
    "export_file",
    "fix_shapes",
    "inspect",
    "load",
    "packages_of",
    "place_tokenizer",
    "reference",
    "save",
    "sidecar",
    "tokenizer_folder",
]
