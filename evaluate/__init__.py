"""Accuracy, latency, comparison, selection. Is handed runners; never imports devices."""
