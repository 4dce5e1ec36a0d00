"""Rates for the tests of pages."""

import math

from cv_quality.metrics.rates import Rate
from cv_quality.reports.rates import Change, RatePair


def made_rate(value: float, *, half: float | None = 0.01, n: int = 1_000, reason: str | None = None) -> Rate:
    """A rate over `n` trials of 30 subjects; no interval without half of its width."""
    low, high = (None, None) if half is None else (max(0.0, value - half), value + half)
    return Rate(value, round(value * n), n, low, high, None, 30, reason, None)


def made_pair(build: Rate, baseline: Rate | None, *, is_ranked: bool = True) -> RatePair:
    """A pair whose change has the bounds of independent rates."""
    change = None
    if baseline is not None and build.value is not None and baseline.value is not None:
        change = Change(
            *change_bounds((build.value, build.low, build.high), (baseline.value, baseline.low, baseline.high))
        )
    return RatePair(build, baseline, is_ranked, change)


def change_bounds(
    build: tuple[float, float | None, float | None], baseline: tuple[float, float | None, float | None]
) -> tuple[float | None, float | None]:
    """Bounds of the difference of two independent rates (MOVER); none where one has none."""
    (p, low, high), (q, below, above) = build, baseline
    if low is None or high is None or below is None or above is None:
        return None, None
    return p - q - math.hypot(p - low, above - q), p - q + math.hypot(high - p, q - below)
