"""The bundle: everything that an app needs of one artifact, in one folder. Light to import."""

from . import closeness as closeness
from .bundle import Bundle, Offer, bundle, shipped
from .escape import shell
from .golden_vectors import Golden, stored_inputs
from .images import CONSUMERS, picture_consumers, refusal
from .micro import MicroCode, micro_code

__all__ = [
    "CONSUMERS", "Bundle", "Golden", "MicroCode", "Offer", "bundle", "micro_code", "picture_consumers", "refusal",
    "shell", "shipped", "stored_inputs",
]  # fmt: skip
