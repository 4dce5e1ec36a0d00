"""Checks of a fitted tail: they pass what is Pareto, and catch what is not."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.metrics.extremes import fit_tail
from cv_quality.metrics.tail_checks import goodness_of_fit, judge, quantiles, stability

Floats = NDArray[np.float64]
N = 1_000_000


def highest(seed: int, *, listed: int = 2_001) -> Floats:
    rng = np.random.default_rng(seed)
    scores: Floats = stats.genpareto.isf(np.cumsum(rng.exponential(size=listed)) / N, -0.1)
    return scores


def bent(seed: int) -> Floats:
    """Highest scores whose upper third belongs to another population with a much longer tail."""
    rng = np.random.default_rng(seed)
    scores: Floats = np.concatenate([rng.uniform(0, 1, 1_400), 1 + rng.exponential(3.0, 600)])
    return scores


def test_most_pareto_tails_are_called_stable_and_a_bent_one_never_is() -> None:
    counts = [100, 200, 400, 800, 1_500]
    stable = bent_stable = 0
    for seed in range(30):
        scores = highest(seed)
        points = stability(scores, trials=N, fmr=1e-7, counts=counts)
        stable += judge(fit_tail(scores, trials=N, exceedances=1_500), points).is_stable is True
        points = stability(bent(seed), trials=N, fmr=1e-7, counts=counts)
        bent_stable += judge(fit_tail(bent(seed), trials=N, exceedances=1_500), points).is_stable is True
    assert stable >= 24
    assert bent_stable == 0


def test_goodness_of_fit_keeps_its_own_distribution_and_rejects_a_bent_one() -> None:
    own = [goodness_of_fit(fit_tail(highest(seed), trials=N, exceedances=500), seed=seed) for seed in range(40)]
    p_values = [fit.p_value for fit in own if fit.p_value is not None]
    assert len(p_values) == 40
    assert np.mean(np.array(p_values) < 0.1) < 0.25
    assert 0.3 < np.mean(p_values) < 0.7
    wrong = goodness_of_fit(fit_tail(bent(1), trials=N, exceedances=1_500))
    assert wrong.p_value is not None
    assert wrong.p_value < 0.02


def test_anderson_darling_statistic_is_the_weighted_distance_that_defines_it() -> None:
    tail = fit_tail(highest(3), trials=N, exceedances=150)
    assert tail.shape is not None
    assert tail.scale is not None
    at = np.linspace(0, 1, 2_000_001)[1:-1]
    observed = np.searchsorted(np.sort(stats.genpareto.cdf(tail.excesses, tail.shape, scale=tail.scale)), at) / 150
    distance = 150 * np.mean((observed - at) ** 2 / (at * (1 - at)))
    assert goodness_of_fit(tail).statistic == pytest.approx(distance, rel=1e-2)


def test_an_unstable_fit_says_where_it_bends() -> None:
    scores = bent(4)
    tail = fit_tail(scores, trials=N, exceedances=1_500)
    judgement = judge(tail, stability(scores, trials=N, fmr=1e-7), goodness=goodness_of_fit(tail))
    assert judgement.is_stable is False
    assert any(reason.startswith("over ") for reason in judgement.reasons)
    assert judgement.reasons[-1].startswith("the excesses do not fit")


def test_too_few_higher_thresholds_and_no_fit_cannot_be_judged() -> None:
    scores = highest(5)
    tail = fit_tail(scores, trials=N, exceedances=500)
    assert judge(tail, stability(scores, trials=N, fmr=1e-7, counts=[200, 1_000])).is_stable is None
    nothing = fit_tail(scores[:50], trials=N)
    assert judge(nothing, ()).is_stable is None
    assert goodness_of_fit(nothing).reason == nothing.reason
    assert quantiles(nothing) == ()


def test_stability_points_are_the_fits_themselves() -> None:
    scores = highest(6)
    points = stability(scores, trials=N, fmr=1e-7, counts=[400, 50, 150])
    assert [point.exceedances for point in points] == [50, 150, 400]
    assert points[0].reason == "insufficient: 50 exceedances, 100 needed"
    for point in points[1:]:
        tail = fit_tail(scores, trials=N, exceedances=point.exceedances)
        assert (point.shape, point.extrapolated) == (tail.shape, tail.threshold_at(1e-7))
        assert tail.scale is not None
        assert tail.shape is not None
        assert point.modified_scale == tail.scale - tail.shape * tail.threshold
    assert len(stability(scores, trials=N, fmr=1e-7)) == 10
    with pytest.raises(MetricError, match="above 0"):
        stability(scores, trials=N, fmr=1e-7, counts=[0])


def test_quantiles_of_a_good_fit_lie_near_the_scores() -> None:
    tail = fit_tail(highest(7), trials=N, exceedances=500)
    rows = quantiles(tail)
    observed, fitted = np.array([row.observed for row in rows]), np.array([row.fitted for row in rows])
    assert rows[0].observed == tail.threshold + tail.excesses[-1]
    assert np.all(np.diff(observed) <= 0)
    assert np.all(np.diff(fitted) < 0)
    assert np.abs(observed - fitted)[5:].max() < 0.1 * np.ptp(observed)
