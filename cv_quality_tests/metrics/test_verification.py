"""Properties of error rates on scores with ties, and the edges where they are not defined."""

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.verification import ScoreTail, det_curve, eer, fnmr_at_fmr, rates_at

TIED = st.lists(st.integers(-6, 6).map(lambda value: value / 6), min_size=1, max_size=40)


@given(genuine=TIED, impostor=TIED, fmr=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
def test_fnmr_at_fmr_is_the_best_over_every_threshold(genuine: list[float], impostor: list[float], fmr: float) -> None:
    answer = fnmr_at_fmr(genuine, impostor, fmr=fmr)
    if answer.rates is None:
        assert len(impostor) * fmr < 1
        return
    thresholds = [*genuine, *impostor, math.inf]
    allowed = [t for t in thresholds if np.mean(np.array(impostor) >= t) <= fmr]
    assert answer.rates.threshold == min(allowed)
    assert answer.rates.fnmr == np.mean(np.array(genuine) < min(allowed))


@given(genuine=TIED, impostor=TIED, seed=st.integers(0, 99))
def test_the_order_of_scores_does_not_matter(genuine: list[float], impostor: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = eer(rng.permutation(genuine), rng.permutation(impostor))
    assert shuffled == eer(genuine, impostor)


@given(genuine=TIED, impostor=TIED)
def test_det_curve_is_monotone_and_runs_from_accept_all_to_accept_none(
    genuine: list[float], impostor: list[float]
) -> None:
    curve = det_curve(genuine, impostor)
    assert (curve.fmr[0], curve.fnmr[0], curve.fmr[-1], curve.fnmr[-1]) == (1.0, 0.0, 0.0, 1.0)
    assert np.all(np.diff(curve.fmr) <= 0)
    assert np.all(np.diff(curve.fnmr) >= 0)
    assert np.all(np.diff(curve.thresholds) > 0)


@given(genuine=TIED, impostor=TIED, kept=st.integers(1, 40), fmr=st.sampled_from([0.1, 0.25, 0.5]))
def test_a_tail_gives_the_same_answer_as_all_scores_or_refuses(
    genuine: list[float], impostor: list[float], kept: int, fmr: float
) -> None:
    scores = np.sort(impostor)
    tail = ScoreTail(scores[scores >= scores[-min(kept, len(scores))]], len(scores))
    with suppress(MetricError):
        assert fnmr_at_fmr(genuine, tail, fmr=fmr) == fnmr_at_fmr(genuine, impostor, fmr=fmr)
    with suppress(MetricError):
        assert eer(genuine, tail).value == eer(genuine, impostor).value


def test_a_tail_that_ends_too_early_is_refused() -> None:
    tail = ScoreTail(np.array([0.8, 0.9]), 100)
    with pytest.raises(MetricError, match="needs the 11 highest impostor scores"):
        fnmr_at_fmr([0.5], tail, fmr=0.1)
    with pytest.raises(MetricError, match="end above the equal error rate"):
        eer([0.5, 0.95], tail)


def test_a_target_beyond_the_trials_is_undefined_and_says_what_it_needs() -> None:
    answer = fnmr_at_fmr([0.5], np.zeros(700), fmr=1e-6)
    assert (answer.rates, answer.reason) == (None, "needs >= 1e+06 trials, has 700")
    assert fnmr_at_fmr([0.5], np.zeros(1000), fmr=0.001).rates is not None


def test_one_class_alone_is_an_error() -> None:
    with pytest.raises(MetricError, match="no impostor score"):
        eer([0.1, 0.2], [])
    with pytest.raises(MetricError, match="NaN"):
        rates_at([0.1, math.nan], [0.1], threshold=0.0)


def test_reversed_scores_are_warned_about() -> None:
    assert eer([0.1, 0.2], [0.8, 0.9]).warning is not None


def test_a_thinned_curve_keeps_true_points_and_both_ends() -> None:
    rng = np.random.default_rng(0)
    curve = det_curve(rng.normal(2, 1, 5_000), rng.normal(0, 1, 5_000))
    thin = curve.thinned(200)
    assert len(thin.thresholds) <= 200
    assert (thin.fmr[0], thin.fnmr[-1]) == (1.0, 1.0)
    at = np.searchsorted(curve.thresholds, thin.thresholds)
    np.testing.assert_array_equal(curve.fnmr[at], thin.fnmr)
