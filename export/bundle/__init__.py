"""The bundle: everything that an app needs of one artifact, in one folder. Light to import."""

from .bundle import Bundle, Offer, bundle, shipped
from .escape import shell
from .golden_vectors import Golden
from .images import CONSUMERS, picture_consumers, refusal

__all__ = ["CONSUMERS", "Bundle", "Golden", "Offer", "bundle", "picture_consumers", "refusal", "shell", "shipped"]
