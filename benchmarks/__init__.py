"""Edgeproof against the code people write today: the same work both ways, side by side, on this machine, in one run.

``python -m benchmarks`` from the repository's root. Every benchmark is one file with the code by hand at its top.
"""
