"""Iris encoders: segmentation, normalisation, log-Gabor codes, figures of quality, and the reasons for no template."""
