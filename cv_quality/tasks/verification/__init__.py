"""Verification: is this the person whose reference is claimed? One modality after the other in `modalities`."""
