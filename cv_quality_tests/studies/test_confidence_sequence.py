"""Confidence sequences: the published values, and coverage at every look at once."""

import math

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.studies.confidence_sequence import (
    LEAST_SAMPLES,
    asymptotic_sequence,
    best_rho,
    normal_mixture_bound,
)


def test_the_mixture_and_its_bound_are_the_published_ones() -> None:
    rho = best_rho(100, alpha=0.05)
    assert round(rho, 5) == 12.60056
    assert round(float(normal_mixture_bound(100, alpha=0.05, rho=rho)), 5) == 30.35209


def test_the_bound_is_about_narrowest_where_it_is_tuned() -> None:
    widths = [float(normal_mixture_bound(100, alpha=0.05, rho=best_rho(v, alpha=0.05))) for v in range(20, 400)]
    assert min(widths) == pytest.approx(30.35209, rel=1e-3)


def test_an_asymptotic_sequence_covers_at_all_looks_at_once() -> None:
    rng, missed = np.random.default_rng(6), 0
    for _ in range(600):
        values = rng.binomial(10, rng.beta(2, 20, size=600)) / 10
        low, high = asymptotic_sequence(values, alpha=0.1, best_at=300)
        missed += bool(((low > 2 / 22) | (high < 2 / 22)).any())
    assert missed / 600 < 0.1 + 2 * math.sqrt(0.09 / 600)


def test_a_sequence_begins_late_and_never_widens() -> None:
    low, high = asymptotic_sequence(np.tile([0.0, 1.0], 200), alpha=0.05, best_at=200)
    assert np.isinf(high[: LEAST_SAMPLES - 1]).all()
    assert (np.diff(high[LEAST_SAMPLES:]) <= 0).all()
    assert (np.diff(low[LEAST_SAMPLES:]) >= 0).all()
    assert low[-1] < 0.5 < high[-1]


def test_sequences_of_no_sense_are_refused() -> None:
    with pytest.raises(MetricError, match="variance above 0"):
        best_rho(0, alpha=0.05)
    with pytest.raises(MetricError, match="0 < alpha < 1"):
        normal_mixture_bound(1, alpha=1.0, rho=1)
    with pytest.raises(MetricError, match="finite values"):
        asymptotic_sequence([1.0, math.nan], alpha=0.05, best_at=10)
