"""Segmentation: a class for each pixel, by an LR-ASPP head on a backbone of Keras layers."""
