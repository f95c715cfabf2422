"""The coverage matrix: which models go through training, freezing and export into files that run and agree.

``python -m benchmarks coverage`` takes each row's model through the product's own functions and runs each file on its
runtime. What came out is kept row by row in ``docs/coverage.json`` and shown in ``docs/coverage.md``.
"""
