"""From a frozen model and a variant to an artifact. Light to import: converters load when a file is made."""

from .export import PACKAGES, export, load, reference, save, sidecar
from .inspect import Contents, inspect
from .tokenizer import place_tokenizer

__all__ = ["PACKAGES", "Contents", "export", "inspect", "load", "place_tokenizer", "reference", "save", "sidecar"]
