"""Intervals of attempt rates: coverage under likeness of a subject's attempts, and the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import clustered_rate

SUBJECTS = st.lists(
    st.integers(1, 20).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=30
)


@given(subjects=SUBJECTS, seed=st.integers(0, 99))
def test_bounds_hold_the_rate_and_do_not_depend_on_the_order_of_subjects(
    subjects: list[tuple[int, int]], seed: int
) -> None:
    errors, trials = np.array(subjects).T
    rate = clustered_rate(errors, trials)
    assert rate.value is not None
    assert rate.low is not None
    assert rate.high is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    order = np.random.default_rng(seed).permutation(len(subjects))
    shuffled = clustered_rate(errors[order], trials[order])
    assert (shuffled.low, shuffled.high) == pytest.approx((rate.low, rate.high), abs=1e-9)


def test_the_interval_is_that_of_clopper_and_pearson_when_every_subject_tries_once() -> None:
    errors = np.repeat([1, 0], [40, 4_960])
    rate = clustered_rate(errors, np.ones(5_000))
    exact = stats.binomtest(40, 5_000).proportion_ci(method="exact")
    assert (rate.low, rate.high) == pytest.approx((exact.low, exact.high), rel=2e-3)


def test_coverage_holds_where_attempts_of_a_subject_are_alike() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        own = rng.beta(0.05 * 9, 0.95 * 9, 100)
        rate = clustered_rate(rng.binomial(10, own), np.full(100, 10))
        assert rate.low is not None
        assert rate.high is not None
        covered += rate.low <= 0.05 <= rate.high
    assert covered / 400 >= 0.93


def test_likeness_of_attempts_widens_the_interval() -> None:
    alike = clustered_rate([10] * 20 + [0] * 80, [10] * 100)
    spread = clustered_rate([2] * 100, [10] * 100)
    assert alike.value == spread.value == 0.2
    assert alike.high is not None
    assert spread.high is not None
    assert alike.high - 0.2 > 2.5 * (spread.high - 0.2)


def test_no_error_has_a_finite_upper_bound_that_falls_with_the_subjects() -> None:
    few, many = clustered_rate([0] * 20, [10] * 20), clustered_rate([0] * 200, [10] * 200)
    assert few.low == many.low == 0.0
    assert few.high is not None
    assert many.high is not None
    assert many.high < few.high < 0.1
    assert many.method is not None
    assert "ICC 0.1 assumed" in many.method


def test_a_small_cell_is_insufficient_and_an_empty_one_has_no_value() -> None:
    assert clustered_rate([1, 2], [50, 50]).reason == "insufficient: 3 errors expected, 5 needed"
    assert clustered_rate([9], [50]).reason == "insufficient: 1 subject, 2 needed"
    assert clustered_rate([9, 9], [50, 50]).reason is None
    empty = clustered_rate([0], [0])
    assert (empty.value, empty.low, empty.high, empty.reason) == (None, None, None, "no trial")


def test_more_errors_than_trials_are_refused() -> None:
    with pytest.raises(MetricError, match="0 <= errors <= trials"):
        clustered_rate([3], [2])
