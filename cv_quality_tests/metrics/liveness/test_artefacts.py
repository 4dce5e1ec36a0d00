"""Bounds by artefact against formulas and the properties that they promise."""

import numpy as np
import pytest
from scipy import special

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.artefacts import artefact_rate, artefacts_without_error, intraclass_correlation


def upper(errors: list[int], presentations: list[int]) -> float:
    high = artefact_rate(errors, presentations, side="upper").high
    assert high is not None
    return high


def test_no_error_of_150_presentations_of_10_artefacts_is_a_bound_of_26_percent() -> None:
    assert round(upper([0] * 10, [15] * 10), 3) == 0.259
    assert upper([0] * 10, [15] * 10) == pytest.approx(1 - 0.05 ** (1 / 10))
    assert upper([0] * 10, [10_000] * 10) == upper([0] * 10, [1] * 10)


def test_every_error_bounds_from_below_as_none_does_from_above() -> None:
    lower = artefact_rate([15] * 10, [15] * 10, side="lower")
    assert lower.low == pytest.approx(0.05 ** (1 / 10))
    assert artefact_rate([15] * 10, [15] * 10).high == 1


@pytest.mark.parametrize("artefacts", [5, 10, 30, 60])
def test_an_error_more_never_lowers_the_bound_while_few_artefacts_err(artefacts: int) -> None:
    shown = [15] * artefacts
    bounds = [upper([*([1] * n), *([0] * (artefacts - n))], shown) for n in range(min(10, artefacts + 1))]
    assert bounds == sorted(bounds)


def test_bound_of_independent_presentations_is_that_of_the_effective_number() -> None:
    errors, shown = [2, 1, 3, 2, 2, 1, 3, 2, 2, 2] * 4, [20] * 40
    rate = artefact_rate(errors, shown, side="upper")
    x, n = sum(errors), sum(shown)
    assert rate.n_effective == n
    assert rate.high == pytest.approx(special.betaincinv(x + 1, n - x, 0.95))


def test_bound_of_artefacts_that_are_all_or_none_is_wider_than_one_of_each_counted_once() -> None:
    errors, shown = [10] * 12 + [0] * 28, [10] * 40
    once = special.betaincinv(13, 28, 0.95)
    assert once < upper(errors, shown) < 0.6
    assert intraclass_correlation(errors, shown) == 1


def test_correlation_is_that_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(3)
    shown = rng.integers(5, 20, 400)
    errors = rng.binomial(shown, rng.beta(0.7 * 3, 0.3 * 3, 400))
    groups = [np.repeat([1.0, 0.0], [x, n - x]) for x, n in zip(errors, shown, strict=True)]
    mean, n = np.concatenate(groups).mean(), shown.sum()
    msb = sum(len(g) * (g.mean() - mean) ** 2 for g in groups) / 399
    msw = sum(((g - g.mean()) ** 2).sum() for g in groups) / (n - 400)
    size = (n - (shown**2).sum() / n) / 399
    assert intraclass_correlation(errors, shown) == pytest.approx((msb - msw) / (msb + (size - 1) * msw))
    assert intraclass_correlation(errors, shown) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(("errors", "shown"), [([0, 0], [5, 5]), ([5, 5], [5, 5]), ([1], [5]), ([1, 0], [1, 1])])
def test_correlation_that_cannot_be_told_is_none(errors: list[int], shown: list[int]) -> None:
    assert intraclass_correlation(errors, shown) is None


def test_fewer_than_five_artefacts_are_insufficient_however_often_shown() -> None:
    assert artefact_rate([0] * 4, [1_000] * 4).reason == "insufficient: 4 artefacts, 5 needed"
    assert artefact_rate([0] * 5, [1] * 5).reason is None
    assert artefact_rate([], []).reason == "no trial"


def test_artefacts_without_presentations_count_for_nothing() -> None:
    assert artefact_rate([1, 0, 0], [9, 0, 9]).n_subjects == 2


@pytest.mark.parametrize("limit", [0.05, 0.07, 0.15, 0.2])
def test_artefacts_without_error_are_the_fewest_whose_bound_holds_the_limit(limit: float) -> None:
    n = artefacts_without_error(limit)
    assert upper([0] * n, [10] * n) <= limit < upper([0] * (n - 1), [10] * (n - 1))


@pytest.mark.parametrize(("errors", "shown"), [([2], [1]), ([-1], [1]), ([0.5], [1]), ([1, 1], [1])])
def test_counts_that_are_none_are_refused(errors: list[float], shown: list[int]) -> None:
    with pytest.raises(MetricError):
        artefact_rate(errors, shown)


def test_bounds_of_ten_artefacts_cover_where_those_of_independent_trials_do_not() -> None:
    """At p .07 and an ICC of .1; every design is in `benchmarks/artefact_coverage.py`."""
    rng, artefacts, shown, p, icc = np.random.default_rng(0), 10, 15, 0.07, 0.1
    own = (1 - icc) / icc
    errors = rng.binomial(shown, rng.beta(p * own, (1 - p) * own, (600, artefacts)))
    found = np.array([upper(list(row), [shown] * artefacts) for row in errors])
    total = errors.sum(axis=1)
    clopper_pearson = special.betaincinv(total + 1, artefacts * shown - total, 0.95)
    assert np.mean(found >= p) >= 0.94 > 0.9 > np.mean(clopper_pearson >= p)
