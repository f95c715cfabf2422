"""Exports of a run's figures to trackers of experiments: MLflow and TensorBoard."""
