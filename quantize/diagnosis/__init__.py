"""Compares a quantized file with its float model, tensor by tensor, and finds the probable causes of its loss."""

from .causes import in_graph_order, short_name
from .diagnose import PACKAGES, VERSION, diagnose
from .explorer import node_data
from .groups import Group, ranked_groups

__all__ = [
    "PACKAGES",
    "VERSION",
    "Group",
    "diagnose",
    "in_graph_order",
    "node_data",
    "ranked_groups",
    "short_name",
]
