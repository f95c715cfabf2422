"""Finished modules of waveforms as backbones: a new head on their features, which the mean of their frames is."""
