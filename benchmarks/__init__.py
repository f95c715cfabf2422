"""Compares Edgeproof with hand-written code: the same work in both ways, on the same machine, in one run.

Run ``python -m benchmarks`` from the repository's root. Every benchmark is one file; the hand-written code is at its
top.
"""
