"""The coverage matrix: which models can be trained, frozen and exported to files that run and agree with the model.

``python -m benchmarks coverage`` runs the product's own functions on each row's model, and each file on its runtime.
The results are written row by row to ``docs/coverage.json`` and shown in ``docs/coverage.md``.
"""
