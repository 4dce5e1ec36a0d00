"""Presentation attacks on simulated faces: prints, replays and masks as pixels, and drops of them."""
