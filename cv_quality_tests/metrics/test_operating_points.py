"""Where the exact tail ends, the histogram answers: strictly, and saying so."""

import numpy as np
import pytest

from cv_quality.metrics.operating_points import both_classes, point_at_fmr, point_at_threshold, point_of_eer
from cv_quality.metrics.pairs import KEEP_SHARE, PairCounts, Side, count_block
from cv_quality.metrics.verification import eer, fnmr_at_fmr, rates_at

RNG = np.random.default_rng(8)


def side(size: int) -> Side:
    vectors = RNG.normal(size=(size, 12))
    return Side(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), RNG.integers(0, 50, size).astype(str))


SIDES = side(700), side(900)
WHOLE = count_block(*SIDES, keep_all=10**6)
TRIMMED = count_block(*SIDES, keep_all=0, keep=1_000)
GENUINE = RNG.normal(0.5, 0.2, 3_000).clip(-1, 1)


@pytest.mark.parametrize("counts", [WHOLE, TRIMMED])
@pytest.mark.parametrize("target", [0.3, 0.02, 0.0005])
def test_the_target_is_never_exceeded_whoever_answers(counts: PairCounts, target: float) -> None:
    point = point_at_fmr(both_classes(GENUINE, counts), fmr=target)
    scores = WHOLE.score_tail().scores
    strict = fnmr_at_fmr(GENUINE, scores, fmr=target).rates
    assert point.rates is not None
    assert strict is not None
    assert np.mean(scores >= point.rates.threshold) <= point.rates.fmr <= target
    assert point.rates.fnmr == pytest.approx(strict.fnmr, abs=1e-3)
    assert point.method is not None
    is_exact = counts is WHOLE or target < KEEP_SHARE
    assert point.method.startswith("exact" if is_exact else "FMR from 65536 bins")
    if is_exact:
        assert point.rates.n_false_matches == strict.n_false_matches
        assert point.rates.threshold == pytest.approx(strict.threshold, abs=1e-12)


def test_the_equal_error_rate_agrees_between_tail_and_histogram() -> None:
    exact, binned = (point_of_eer(both_classes(GENUINE, counts)).rates for counts in (WHOLE, TRIMMED))
    assert exact is not None
    assert binned is not None
    assert (exact.fmr + exact.fnmr) / 2 == eer(GENUINE, WHOLE.score_tail()).value
    assert (binned.fmr + binned.fnmr) / 2 == pytest.approx((exact.fmr + exact.fnmr) / 2, abs=1e-3)


@pytest.mark.parametrize("threshold", [-1.0, 0.1, 0.9])
def test_rates_at_a_threshold_are_bounded_from_above(threshold: float) -> None:
    expected = rates_at(GENUINE, WHOLE.score_tail(), threshold=threshold)
    for counts in (WHOLE, TRIMMED):
        found = point_at_threshold(both_classes(GENUINE, counts), threshold=threshold).rates
        assert found is not None
        assert found.fnmr == expected.fnmr
        assert expected.fmr <= found.fmr <= expected.fmr + 1e-3


def test_rates_at_the_threshold_of_counted_matches_are_exact_below_the_tail() -> None:
    threshold = 0.1
    counts = count_block(*SIDES, keep_all=0, keep=1_000, threshold=threshold)
    assert counts.floor > threshold
    point = point_at_threshold(both_classes(GENUINE, counts), threshold=threshold)
    assert point.rates == rates_at(GENUINE, WHOLE.score_tail(), threshold=threshold)
    assert point.method == "exact impostor scores"
    elsewhere = point_at_threshold(both_classes(GENUINE, counts), threshold=0.11)
    assert elsewhere.method is not None
    assert elsewhere.method.startswith("FMR from 65536 bins")


def test_a_missing_class_is_a_reason_not_a_number() -> None:
    assert point_of_eer(both_classes(np.empty(0), WHOLE)).reason == "no genuine comparison"
    assert point_at_fmr(both_classes(GENUINE, PairCounts.empty()), fmr=0.1).reason == "no impostor comparison"
