"""Accuracy, latency, comparison, selection, report. Is handed runners; never imports devices."""
