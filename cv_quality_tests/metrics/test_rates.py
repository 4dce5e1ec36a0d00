"""Intervals of attempt rates: coverage where a subject's attempts are alike, exact ones against scipy, the edges."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import BinomialMethod, Rate, Side, binomial_rate, clustered_rate

SUBJECTS = st.lists(
    st.integers(1, 20).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=30
)
METHODS: dict[BinomialMethod, str] = {"clopper-pearson": "exact", "wilson": "wilson"}
SIDES: dict[Side, str] = {"both": "two-sided", "upper": "less", "lower": "greater"}


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


def test_interval_is_clopper_and_pearsons_when_every_subject_tries_once() -> None:
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


def test_correlation_of_attempts_widens_the_interval() -> None:
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


def test_effective_trials_are_those_of_the_design_effect() -> None:
    alike = clustered_rate([10] * 20 + [0] * 80, [10] * 100)
    single = clustered_rate(np.repeat([1, 0], [40, 4_960]), np.ones(5_000))
    assert alike.n_effective == pytest.approx(100, rel=0.02)
    assert single.n_effective == pytest.approx(5_000, rel=1e-3)
    assert clustered_rate([], []).n_effective is None


@pytest.mark.parametrize("errors", [[-1.0], [math.nan], [0.5]])
def test_counts_that_are_no_counts_are_refused(errors: list[float]) -> None:
    with pytest.raises(MetricError, match=r"errors and trials|errors <= trials"):
        clustered_rate(errors, [2.0])


@given(trials=st.integers(1, 3_000), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.999]))
def test_binomial_bounds_are_those_of_scipy_on_both_sides_and_on_one(trials: int, share: float, level: float) -> None:
    errors = round(share * trials)
    for method, name in METHODS.items():
        for side, alternative in SIDES.items():
            expected = stats.binomtest(errors, trials, alternative=alternative).proportion_ci(level, method=name)
            rate = binomial_rate(errors, trials, level=level, method=method, side=side)
            assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
            assert (rate.value, rate.n_effective) == (errors / trials, trials)


def test_unknown_subjects_are_said_and_known_ones_counted() -> None:
    unknown, known = binomial_rate(9, 100), binomial_rate(9, 100, is_subject_known=True)
    assert unknown.method == "Clopper-Pearson, 95 %, subjects unknown: independence assumed"
    assert unknown.n_subjects is None
    assert known.method == "Clopper-Pearson, 95 %, independent trials"
    assert known.n_subjects == 100
    assert binomial_rate(4, 100).reason == "insufficient: 4 errors expected, 5 needed"
    assert binomial_rate(0, 0).reason == "no trial"


def test_a_one_sided_bound_says_so_and_reaches_to_the_end() -> None:
    upper, lower = binomial_rate(3, 60, side="upper"), binomial_rate(3, 60, side="lower")
    assert (upper.low, lower.high) == (0.0, 1.0)
    assert upper.method is not None
    assert "upper bound" in upper.method


@pytest.mark.parametrize("level", [0.0, 1.0, 80.0, math.nan])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(MetricError, match="between 0 and 1"):
        binomial_rate(1, 2, level=level)
    with pytest.raises(MetricError, match="between 0 and 1"):
        clustered_rate([1], [2], level=level)


def test_more_failures_than_trials_and_unknown_methods_are_refused() -> None:
    with pytest.raises(MetricError, match="0 <= errors <= trials"):
        binomial_rate(3, 2)
    with pytest.raises(MetricError, match="expected a method of clopper-pearson, wilson, wald"):
        binomial_rate(1, 2, method="bayes")  # type: ignore[arg-type]


def test_a_rate_is_written_as_plain_values() -> None:
    plain = binomial_rate(5, 174).to_dict()
    assert plain["numerator"] == 5
    assert set(plain) == {field.name for field in fields(Rate)}


def test_exact_bounds_of_rare_errors_are_the_published_ones() -> None:
    none, five = (binomial_rate(errors, 10_000) for errors in (0, 5))
    assert none.high == pytest.approx(0.000368820, abs=5e-10)
    assert (five.low, five.high) == pytest.approx((0.000162368, 0.001166444), abs=5e-10)
    assert binomial_rate(0, 2_995, side="upper").high == pytest.approx(0.0009997444, abs=5e-11)
