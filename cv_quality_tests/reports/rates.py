"""Rates for the tests of pages."""

from cv_quality.metrics.rates import Rate


def made_rate(value: float, *, half: float | None = 0.01, n: int = 1_000, reason: str | None = None) -> Rate:
    """A rate over `n` trials of 30 subjects; no interval without half of its width."""
    low, high = (None, None) if half is None else (max(0.0, value - half), value + half)
    return Rate(value, round(value * n), n, low, high, None, 30, reason, None)
