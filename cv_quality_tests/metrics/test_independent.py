"""Bounds of the FNMR at a fixed FMR where subjects are unknown."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from cv_quality.errors import MetricError
from cv_quality.metrics.independent import fnmr_at_fmr_bounds


def test_the_bounds_cover_the_true_rate_about_as_often_as_they_say() -> None:
    truth, covered = norm.cdf(norm.isf(1e-2) - 4), 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = fnmr_at_fmr_bounds(rng.normal(4, 1, 800), rng.normal(0, 1, 20_000), fmr=1e-2, seed=seed)
        covered += found.low <= truth <= found.high
    assert binomtest(covered, 300, 0.95).pvalue > 0.01


def test_threshold_that_cannot_move_leaves_the_bounds_of_clopper_and_pearson() -> None:
    genuine = np.repeat([0.0, 1.0], [30, 970])
    found = fnmr_at_fmr_bounds(genuine, np.zeros(1000), fmr=1e-2)
    exact = binomtest(30, 1000).proportion_ci(0.95)
    assert found.low == pytest.approx(exact.low, abs=5e-4)
    assert found.high == pytest.approx(exact.high, abs=5e-4)
    assert found.threshold_low == found.threshold_high == 1.0


def test_the_bounds_hold_the_rate_and_its_threshold() -> None:
    rng = np.random.default_rng(5)
    genuine, impostor = rng.normal(3, 1, 500), rng.normal(0, 1, 5_000)
    found = fnmr_at_fmr_bounds(genuine, impostor, fmr=1e-2)
    threshold = np.sort(impostor)[-50]
    assert found.threshold_low <= threshold <= found.threshold_high
    assert found.low < np.mean(genuine < threshold) < found.high


def test_too_few_comparisons_are_refused_with_their_number() -> None:
    with pytest.raises(MetricError, match=r"needs >= 1,000,000 trials, has 700"):
        fnmr_at_fmr_bounds([1.0], np.zeros(700), fmr=1e-6)
