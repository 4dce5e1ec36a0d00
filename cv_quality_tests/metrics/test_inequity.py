"""Summary measures of rates of groups: their definitions, their ends, and where they are undefined."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.inequity import fairness_discrepancy, garbe, gini, max_over_min, worst_over_geometric_mean

RATES = st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=12)


@given(rates=RATES)
def test_ratios_are_at_least_one_and_the_wider_one_is_larger(rates: list[float]) -> None:
    narrow, wide = worst_over_geometric_mean(rates).value, max_over_min(rates).value
    assert narrow is not None
    assert wide is not None
    assert 1 - 1e-9 <= narrow <= wide + 1e-9
    assert narrow == pytest.approx(max(rates) / math.exp(sum(map(math.log, rates)) / len(rates)))


@given(rates=RATES, factor=st.floats(0.01, 1.0), seed=st.integers(0, 9))
def test_ratios_and_gini_ignore_the_order_of_groups_and_the_level_of_rates(
    rates: list[float], factor: float, seed: int
) -> None:
    moved = (np.random.default_rng(seed).permutation(rates) * factor).tolist()
    for measure in (worst_over_geometric_mean, max_over_min, gini):
        assert measure(moved).value == pytest.approx(measure(rates).value, abs=1e-9)


@given(rates=RATES)
def test_gini_is_the_area_between_the_lorenz_curve_and_equality(rates: list[float]) -> None:
    n = len(rates)
    lorenz = np.concatenate([[0.0], np.cumsum(np.sort(rates)) / np.sum(rates)])
    area = np.sum((lorenz[1:] + lorenz[:-1]) / 2) / n
    assert gini(rates).value == pytest.approx((1 - 2 * area) * n / (n - 1), abs=1e-9)


def test_gini_runs_from_equal_groups_to_one_group_with_all_errors() -> None:
    assert gini([0.2] * 7).value == 0.0
    assert gini([0.0] * 6 + [0.2]).value == pytest.approx(1.0)


@given(fmr=RATES, alpha=st.floats(0, 1))
def test_equal_groups_are_fair_by_every_measure(fmr: list[float], alpha: float) -> None:
    same = [fmr[0]] * len(fmr)
    assert garbe(same, same, alpha=alpha).value == pytest.approx(0.0, abs=1e-12)
    assert fairness_discrepancy(same, same, alpha=alpha).value == pytest.approx(1.0)


def test_alpha_weighs_false_matches() -> None:
    fmr, fnmr = [0.001, 0.004], [0.02, 0.02]
    assert garbe(fmr, fnmr, alpha=0.0).value == 0.0
    assert garbe(fmr, fnmr, alpha=1.0).value == gini(fmr).value == pytest.approx(0.6)
    assert fairness_discrepancy(fmr, fnmr, alpha=0.0).value == 1.0
    assert fairness_discrepancy(fmr, fnmr, alpha=1.0).value == pytest.approx(0.997)


def test_a_group_without_an_error_leaves_ratios_undefined_but_not_gini() -> None:
    rates = [0.01, 0.0, 0.02]
    assert worst_over_geometric_mean(rates).value is None
    assert max_over_min(rates).reason == "a group has no error: no ratio to it is defined"
    assert gini(rates).value == pytest.approx(2 / 3)
    assert gini([0.0, 0.0]).reason == "no group has an error"
    assert garbe([0.0, 0.0], [0.1, 0.2]).reason == "no group has an error"
    assert garbe([0.0, 0.0], [0.1, 0.2], alpha=0.0).value is not None


def test_fewer_than_two_groups_cannot_differ() -> None:
    for measure in (worst_over_geometric_mean, max_over_min, gini):
        assert measure([0.1]).reason == "1 groups with a rate, 2 needed"
    assert fairness_discrepancy([], []).value is None
    assert garbe([0.1], [0.1]).value is None


def test_malformed_rates_are_refused() -> None:
    for rates in ([0.1, -0.1], [0.1, 1.1], [0.1, math.nan]):
        with pytest.raises(MetricError, match="0 to 1"):
            gini(rates)
    with pytest.raises(MetricError, match="same groups"):
        garbe([0.1, 0.2], [0.1])
    with pytest.raises(MetricError, match="alpha"):
        fairness_discrepancy([0.1, 0.2], [0.1, 0.2], alpha=2.0)
