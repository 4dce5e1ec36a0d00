"""Simulated video: scenes with exact ground truth, filmed, encoded, and processed on devices that get warm."""
