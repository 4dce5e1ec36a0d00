"""Liveness: presentations of people and of artefacts to a detector, as devices recorded them."""
