"""Iris codes: packed templates, masked Hamming distances over rotations, counts of all pairs, two eyes together."""
