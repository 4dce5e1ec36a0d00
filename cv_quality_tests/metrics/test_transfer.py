"""Thresholds carried from one set to another, against a search over every threshold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.transfer import expected_performance_curve, transfer_at_fmr, transfer_eer
from cv_quality.metrics.verification import ScoreTail, eer, fnmr_at_fmr, rates_at

TIED = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=25)
SETS = st.tuples(TIED, TIED)
Sets = tuple[list[float], list[float]]


@given(development=SETS, test=SETS, fmr=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_a_threshold_at_an_fmr_is_chosen_on_development_alone(development: Sets, test: Sets, fmr: float) -> None:
    found, chosen = transfer_at_fmr(development, test, fmr=fmr), fnmr_at_fmr(*development, fmr=fmr)
    assert found.development == chosen.rates
    if chosen.rates is None:
        assert (found.test, found.half_total_error) == (None, None)
        assert found.reason == f"on the development set: {chosen.reason}"
        return
    assert found.test == rates_at(*test, threshold=chosen.rates.threshold)
    assert found.half_total_error == (found.test.fmr + found.test.fnmr) / 2


@given(development=SETS, test=SETS)
def test_a_threshold_at_the_eer_is_chosen_on_development_alone(development: Sets, test: Sets) -> None:
    found = transfer_eer(development, test)
    assert found.development == eer(*development).rates
    assert found.test == rates_at(*test, threshold=eer(*development).rates.threshold)


@given(development=SETS, test=SETS, alpha=st.floats(0, 1))
def test_the_expected_performance_is_that_of_the_best_threshold_of_all(
    development: Sets, test: Sets, alpha: float
) -> None:
    curve = expected_performance_curve(development, test, alphas=[alpha])
    everywhere = [rates_at(*development, threshold=t) for t in (*development[0], *development[1], -math.inf, math.inf)]
    least = min(alpha * rates.fmr + (1 - alpha) * rates.fnmr for rates in everywhere)
    assert alpha * curve.development.fmr[0] + (1 - alpha) * curve.development.fnmr[0] == pytest.approx(least, abs=1e-11)
    applied = rates_at(*test, threshold=float(curve.development.thresholds[0]))
    assert (curve.test.fmr[0], curve.test.fnmr[0]) == (applied.fmr, applied.fnmr)
    assert curve.weighted_error[0] == alpha * applied.fmr + (1 - alpha) * applied.fnmr


@given(scores=SETS)
def test_weight_on_the_fmr_never_raises_it_on_the_development_set(scores: Sets) -> None:
    curve = expected_performance_curve(scores, scores, alphas=33)
    assert np.all(np.diff(curve.test.fmr) <= 0)
    assert np.all(np.diff(curve.test.fnmr) >= 0)
    assert curve.alphas[[0, -1]].tolist() == [0.0, 1.0]
    assert (curve.test.fnmr[0], curve.weighted_error[-1]) == (0.0, curve.test.fmr[-1])


def test_threshold_of_equal_cost_with_the_fewest_false_matches_counts() -> None:
    scores = [1.0, 3.0, 4.0, 5.0], [0.0, 0.0, 0.0, 2.0]
    curve = expected_performance_curve(scores, scores, alphas=[0.0, 0.5, 1.0])
    assert curve.development.thresholds.tolist() == [1.0, 3.0, 3.0]


def test_the_fmr_on_the_test_set_may_exceed_the_target_and_is_shown() -> None:
    found = transfer_at_fmr(([0.9], [0.1, 0.2]), ([0.9], [0.95, 0.1]), fmr=0.0)
    assert found.development is not None
    assert found.test is not None
    assert (found.development.fmr, found.test.fmr, found.test.n_impostor) == (0.0, 0.5, 2)


@pytest.mark.parametrize(
    ("alphas", "message"),
    [(1, "2 weights or more"), ([1.5], r"\[0, 1\]"), ([math.nan], "NaN"), ([], "no weight score")],
)
def test_weights_that_are_none_are_refused(alphas: list[float] | int, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        expected_performance_curve(([0.9], [0.1]), ([0.9], [0.1]), alphas=alphas)


def test_partial_tail_has_a_strict_threshold_but_no_expected_performance() -> None:
    tail = ScoreTail(np.array([0.6, 0.7]), 100)
    found = transfer_at_fmr(([0.65, 0.9], tail), ([0.9], [0.1]), fmr=0.01)
    assert found.test is not None
    assert found.test.threshold == 0.65
    with pytest.raises(MetricError, match="partial tail"):
        expected_performance_curve(([0.65, 0.9], tail), ([0.9], [0.1]))
