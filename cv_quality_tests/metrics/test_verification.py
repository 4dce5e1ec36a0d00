"""Properties of error rates on scores with ties and infinities, and the edges where they are not defined."""

import json
import math
from contextlib import suppress
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.sorted_scores import SortedScores
from cv_quality.metrics.verification import (
    DetCurve,
    ScoreTail,
    allowed_false_matches,
    curve_at,
    det_curve,
    eer,
    fmr_at_fnmr,
    fnmr_at_fmr,
    rates_at,
    too_few_trials,
)

TIED = st.lists(st.integers(-6, 6).map(lambda value: value / 6), min_size=1, max_size=40)
UNBOUNDED = st.lists(st.sampled_from([-math.inf, -1.0, -0.5, 0.0, 0.5, 1.0, math.inf]), min_size=1, max_size=20)
TARGETS = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1 / 3, 0.5, 1.0])


def brute_fmr(impostor: list[float], threshold: float) -> Fraction:
    return Fraction(sum(score >= threshold for score in impostor), len(impostor))


def brute_fnmr(genuine: list[float], threshold: float) -> Fraction:
    return Fraction(sum(score < threshold for score in genuine), len(genuine))


def brute_eer(genuine: list[float], impostor: list[float]) -> Fraction:
    """Both sides of the crossing, over every score value and +inf, in exact fractions."""
    thresholds = sorted({*genuine, *impostor, math.inf})
    pairs = [(brute_fmr(impostor, t), brute_fnmr(genuine, t)) for t in thresholds]
    crossing = next((index for index, (fmr, fnmr) in enumerate(pairs) if fnmr >= fmr), None)
    if crossing is None:
        return sum(pairs[-1]) / Fraction(2)
    at, before = sum(pairs[crossing]) / Fraction(2), sum(pairs[crossing - 1]) / Fraction(2)
    return at if pairs[crossing][0] == pairs[crossing][1] else min(at, before)


@given(genuine=TIED | UNBOUNDED, impostor=TIED | UNBOUNDED, fmr=TARGETS)
def test_fnmr_at_fmr_is_the_best_over_every_threshold(genuine: list[float], impostor: list[float], fmr: float) -> None:
    answer = fnmr_at_fmr(genuine, impostor, fmr=fmr)
    allowed = [t for t in (*genuine, *impostor, math.inf) if np.mean(np.array(impostor) >= t) <= fmr]
    if answer.rates is None:
        assert answer.reason is not None
        assert not allowed or 0 < fmr < 1 / len(impostor)
        return
    assert answer.rates.threshold == min(allowed)
    assert (
        answer.rates.fnmr
        == np.mean(np.array(genuine) < min(allowed))
        == min(np.mean(np.array(genuine) < t) for t in allowed)
    )
    assert answer.rates.fmr <= fmr


@given(genuine=TIED | UNBOUNDED, impostor=TIED | UNBOUNDED, fnmr=TARGETS)
def test_fmr_at_fnmr_is_the_best_over_every_threshold(genuine: list[float], impostor: list[float], fnmr: float) -> None:
    answer = fmr_at_fnmr(genuine, impostor, fnmr=fnmr)
    if answer.rates is None:
        assert 0 < fnmr < 1 / len(genuine)
        return
    allowed = [t for t in (*genuine, *impostor, math.inf) if np.mean(np.array(genuine) < t) <= fnmr]
    assert answer.rates.fmr == min(np.mean(np.array(impostor) >= t) for t in allowed)
    assert answer.rates.threshold == max(t for t in allowed if t in {*genuine, math.inf})
    assert answer.rates.fnmr <= fnmr


@given(genuine=TIED, impostor=TIED, target=TARGETS)
def test_fmr_at_fnmr_is_fnmr_at_fmr_seen_from_the_other_end(
    genuine: list[float], impostor: list[float], target: float
) -> None:
    one = fmr_at_fnmr(genuine, impostor, fnmr=target).rates
    other = fnmr_at_fmr([-score for score in impostor], [-score for score in genuine], fmr=target).rates
    if one is None or other is None:
        assert one is other
        return
    assert (one.fmr, one.fnmr) == (other.fnmr, other.fmr)


@given(genuine=TIED | UNBOUNDED, impostor=TIED | UNBOUNDED)
def test_eer_is_that_of_exact_fractions_on_both_sides_of_the_crossing(
    genuine: list[float], impostor: list[float]
) -> None:
    found = eer(genuine, impostor)
    assert found.value == pytest.approx(float(brute_eer(genuine, impostor)), abs=1e-15)
    assert found.rates.threshold in {*genuine, *impostor, math.inf}
    assert (found.warning is not None) == (found.value > 0.5)
    assert not any(found.threshold_above < score < found.rates.threshold for score in (*genuine, *impostor))


@pytest.mark.parametrize(
    ("genuine", "impostor", "threshold", "value"),
    [
        ([1.0, 3.0, 3.0], [0.0, 0.0, 0.0, 2.0], 1.0, 1 / 8),
        ([2.0, 3.0, 3.0, 3.0], [2.0, 2.0, 0.0, 0.0], 3.0, 1 / 8),
        ([2.0, 3.0], [2.0, 0.0], 2.0, 1 / 4),
        ([1.0, 3.0], [0.0, 2.0], 2.0, 1 / 2),
        ([1.0], [1.0], 1.0, 1 / 2),
    ],
    ids=["below the jump", "above it", "both alike", "exact", "all tied"],
)
def test_eer_tests_both_sides_of_a_jump(
    genuine: list[float], impostor: list[float], threshold: float, value: float
) -> None:
    found = eer(genuine, impostor)
    assert (found.rates.threshold, found.value) == (threshold, value)


@given(genuine=TIED | UNBOUNDED, impostor=TIED | UNBOUNDED, thresholds=st.lists(st.floats(allow_nan=False)))
def test_the_curve_at_any_thresholds_is_a_count(
    genuine: list[float], impostor: list[float], thresholds: list[float]
) -> None:
    asked = [*thresholds, *genuine, *impostor, math.inf, -math.inf]
    curve = curve_at(genuine, impostor, thresholds=asked)
    assert curve.thresholds.tolist() == asked
    assert curve.fmr.tolist() == [float(brute_fmr(impostor, t)) for t in asked]
    assert curve.fnmr.tolist() == [float(brute_fnmr(genuine, t)) for t in asked]
    one = rates_at(genuine, impostor, threshold=asked[0])
    assert (one.n_false_matches, one.n_false_non_matches) == (curve.n_false_matches[0], curve.n_false_non_matches[0])


@given(genuine=TIED | UNBOUNDED, impostor=TIED | UNBOUNDED)
def test_no_threshold_beats_every_corner_of_the_det_curve(genuine: list[float], impostor: list[float]) -> None:
    curve = det_curve(genuine, impostor)
    assert curve.thresholds.tolist() == sorted({*genuine, math.inf})
    for threshold in (*impostor, *genuine, -math.inf, math.inf, 0.01):
        fmr, fnmr = float(brute_fmr(impostor, threshold)), float(brute_fnmr(genuine, threshold))
        assert np.any((curve.fmr <= fmr) & (curve.fnmr <= fnmr))


@given(genuine=TIED | UNBOUNDED, impostor=TIED | UNBOUNDED)
def test_det_curve_is_monotone_and_counts_at_its_own_thresholds(genuine: list[float], impostor: list[float]) -> None:
    curve = det_curve(genuine, impostor)
    counted = curve_at(genuine, impostor, thresholds=curve.thresholds)
    assert curve.to_dict() == counted.to_dict()
    assert curve.fnmr[0] == 0.0
    assert np.all(np.diff(curve.fmr) <= 0)
    assert np.all(np.diff(curve.fnmr) >= 0)
    assert np.all(np.diff(curve.thresholds) > 0)


@given(genuine=TIED, impostor=TIED, seed=st.integers(0, 99))
def test_the_order_of_scores_does_not_matter(genuine: list[float], impostor: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(genuine), rng.permutation(impostor)
    assert eer(*shuffled) == eer(genuine, impostor)
    assert det_curve(*shuffled).to_dict() == det_curve(genuine, impostor).to_dict()
    assert fnmr_at_fmr(*shuffled, fmr=0.25) == fnmr_at_fmr(genuine, impostor, fmr=0.25)


@given(genuine=TIED, impostor=TIED, fmr=TARGETS)
def test_a_strictly_increasing_transform_changes_thresholds_but_no_rate(
    genuine: list[float], impostor: list[float], fmr: float
) -> None:
    def moved(scores: list[float]) -> list[float]:
        return [math.exp(3 * score) for score in scores]

    before, after = det_curve(genuine, impostor), det_curve(moved(genuine), moved(impostor))
    assert np.array_equal(before.fmr, after.fmr)
    assert np.array_equal(before.fnmr, after.fnmr)
    assert eer(moved(genuine), moved(impostor)).value == eer(genuine, impostor).value
    one = fnmr_at_fmr(genuine, impostor, fmr=fmr).rates
    other = fnmr_at_fmr(moved(genuine), moved(impostor), fmr=fmr).rates
    assert (one and (one.fmr, one.fnmr)) == (other and (other.fmr, other.fnmr))


@given(genuine=TIED, impostor=TIED, threshold=st.floats(-2, 2))
def test_single_precision_scores_give_the_rates_of_double_precision(
    genuine: list[float], impostor: list[float], threshold: float
) -> None:
    single = np.array(genuine, np.float32), np.array(impostor, np.float32)
    double = single[0].astype(np.float64), single[1].astype(np.float64)
    assert rates_at(*single, threshold=threshold) == rates_at(*double, threshold=threshold)
    assert eer(*single) == eer(*double) == eer(single[0], double[1])
    assert fnmr_at_fmr(*single, fmr=0.25) == fnmr_at_fmr(double[0], single[1], fmr=0.25)
    assert det_curve(*single).to_dict() == det_curve(*double).to_dict() == det_curve(double[0], single[1]).to_dict()


@given(genuine=TIED, impostor=TIED, kept=st.integers(1, 40), fmr=TARGETS)
def test_a_tail_gives_the_same_answer_as_all_scores_or_refuses(
    genuine: list[float], impostor: list[float], kept: int, fmr: float
) -> None:
    scores = np.sort(impostor)
    tail = ScoreTail(scores[scores >= scores[-min(kept, len(scores))]], len(scores))
    with suppress(MetricError):
        assert fnmr_at_fmr(genuine, tail, fmr=fmr) == fnmr_at_fmr(genuine, impostor, fmr=fmr)
    with suppress(MetricError):
        assert fmr_at_fnmr(genuine, tail, fnmr=fmr) == fmr_at_fnmr(genuine, impostor, fnmr=fmr)
    with suppress(MetricError):
        found, expected = eer(genuine, tail), eer(genuine, impostor)
        assert (found.value, found.rates) == (expected.value, expected.rates)
        assert expected.threshold_above <= found.threshold_above < found.rates.threshold
    part, whole = det_curve(genuine, tail), det_curve(genuine, impostor)
    reached = len(part.thresholds)
    assert np.all(whole.thresholds[:-reached] < tail.scores[0])
    assert np.array_equal(part.fmr, whole.fmr[-reached:])
    assert np.array_equal(part.fnmr, whole.fnmr[-reached:])


def test_a_tail_that_ends_too_early_is_refused() -> None:
    tail = ScoreTail(np.array([0.8, 0.9]), 100)
    with pytest.raises(MetricError, match="needs the 11 highest impostor scores"):
        fnmr_at_fmr([0.5], tail, fmr=0.1)
    with pytest.raises(MetricError, match="end above the equal error rate"):
        eer([0.5, 0.95], tail)
    with pytest.raises(MetricError, match=r"end above threshold 0\.5"):
        fmr_at_fnmr([0.5, 0.95], tail, fnmr=0.0)
    with pytest.raises(MetricError, match=r"end above threshold 0\.7"):
        curve_at([0.5], tail, thresholds=[0.9, 0.7])


@pytest.mark.parametrize(
    ("scores", "n"), [([0.9, 0.8], 10), ([0.8, math.nan], 10), ([math.nan], 10), ([0.1, 0.2, 0.3], 2)]
)
def test_a_tail_that_is_none_is_refused(scores: list[float], n: int) -> None:
    with pytest.raises(MetricError, match="tail"):
        ScoreTail(np.array(scores), n)


def test_a_target_beyond_the_trials_is_undefined_and_says_what_it_needs() -> None:
    answer = fnmr_at_fmr([0.5], np.zeros(700), fmr=1e-6)
    assert (answer.rates, answer.reason) == (None, "needs >= 1,000,000 trials, has 700")
    assert fnmr_at_fmr([0.5], np.zeros(1000), fmr=0.001).rates is not None
    assert fmr_at_fnmr(np.zeros(99), [0.5], fnmr=0.01).reason == "needs >= 100 trials, has 99"


def test_realised_fmr_never_exceeds_its_target_where_the_nearest_would() -> None:
    impostor = np.arange(700) / 700
    genuine = impostor + 0.3
    for target in (0.002, 0.01, 0.0999, 0.1):
        found = fnmr_at_fmr(genuine, impostor, fmr=target).rates
        assert found is not None
        assert found.fmr <= target
    assert fnmr_at_fmr(genuine, impostor, fmr=1e-3).rates is None


@given(n=st.integers(1, 10**9), fmr=st.floats(0, 1))
def test_allowed_errors_are_as_many_as_the_target_permits_and_no_more(n: int, fmr: float) -> None:
    allowed = allowed_false_matches(n, fmr=fmr)
    assert 0 <= allowed <= n
    assert allowed / n <= fmr
    assert allowed == n or (allowed + 1) / n > fmr
    assert (too_few_trials(n, fmr=fmr) is None) == (fmr == 0 or allowed > 0)


def test_a_failed_enrolment_is_a_non_match_and_never_a_false_match() -> None:
    rates = rates_at([-math.inf, 0.9], [-math.inf, 0.1], threshold=0.5)
    assert (rates.n_false_non_matches, rates.n_false_matches) == (1, 0)
    strict = fmr_at_fnmr([-math.inf, 0.9], [-math.inf, 0.1], fnmr=0.0).rates
    assert strict is not None
    assert (strict.threshold, strict.fmr) == (-math.inf, 1.0)


def test_impostor_scores_of_plus_infinity_leave_a_strict_target_undefined() -> None:
    answer = fnmr_at_fmr([0.5], [math.inf, 0.1, 0.2], fmr=0.0)
    assert (answer.rates, answer.reason) == (None, "1 of 3 impostor scores are +inf: no threshold rejects them")
    assert det_curve([0.5], [math.inf, 0.1]).fmr[-1] == 0.5


def test_scores_beyond_the_smallest_differences_still_cross_exactly() -> None:
    found = eer(np.repeat([0.0, 1.0], [333_333, 666_667]), np.repeat([0.0, 1.0], [2_000_001, 999_999]))
    assert found.rates.threshold == 1.0
    assert (found.rates.n_false_non_matches, found.rates.n_false_matches) == (333_333, 999_999)


def test_one_class_alone_is_an_error() -> None:
    with pytest.raises(MetricError, match="no impostor score"):
        eer([0.1, 0.2], [])
    with pytest.raises(MetricError, match="no impostor score"):
        rates_at([0.1], ScoreTail(np.empty(0), 0), threshold=0.1)
    with pytest.raises(MetricError, match="no genuine score"):
        det_curve([], [0.1])
    with pytest.raises(MetricError, match="1 of 2 genuine scores are NaN"):
        rates_at([0.1, math.nan], [0.1], threshold=0.0)
    with pytest.raises(MetricError, match="NaN"):
        rates_at([0.1], [0.1], threshold=math.nan)


@pytest.mark.parametrize("target", [-0.1, 1.5, math.nan])
def test_a_target_that_is_no_share_is_refused(target: float) -> None:
    with pytest.raises(MetricError, match="FMR target"):
        fnmr_at_fmr([0.1], [0.1], fmr=target)
    with pytest.raises(MetricError, match="FNMR target"):
        fmr_at_fnmr([0.1], [0.1], fnmr=target)


def test_reversed_scores_are_warned_about() -> None:
    assert eer([0.1, 0.2], [0.8, 0.9]).warning is not None


def test_series_and_scores_sorted_before_give_what_lists_give() -> None:
    genuine, impostor = [0.4, 0.9, 0.2], [0.1, 0.3, 0.2, 0.5]
    series, once = pl.Series(impostor), SortedScores(impostor)
    assert eer(genuine, impostor) == eer(pl.Series(genuine), series) == eer(SortedScores(genuine), once)
    assert det_curve(genuine, series).to_dict() == det_curve(genuine, once).to_dict()


def test_results_are_written_as_valid_json_with_infinities_as_text() -> None:
    curve = det_curve([0.4, 0.9], [0.1])
    written = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert list(written) == list(DetCurve.__slots__)
    assert written["thresholds"] == [0.4, 0.9, "inf"]
    assert float(written["thresholds"][-1]) == math.inf
    undefined = json.loads(json.dumps(fnmr_at_fmr([0.5], [0.1], fmr=0.1).to_dict(), allow_nan=False))
    assert undefined == {"fmr_target": 0.1, "rates": None, "reason": "needs >= 10 trials, has 1"}
    assert eer([0.5], [0.1]).to_dict()["rates"] == eer([0.5], [0.1]).rates.to_dict()


def test_a_thinned_curve_keeps_true_points_and_both_ends() -> None:
    rng = np.random.default_rng(0)
    curve = det_curve(rng.normal(2, 1, 5_000), rng.normal(0, 1, 5_000))
    thin = curve.thinned(200)
    assert 100 < len(thin.thresholds) <= 200
    assert (thin.fmr[0], thin.fnmr[-1]) == (curve.fmr[0], 1.0)
    at = np.searchsorted(curve.thresholds, thin.thresholds)
    np.testing.assert_array_equal(curve.fnmr[at], thin.fnmr)
    np.testing.assert_array_equal(curve.n_false_matches[at], thin.n_false_matches)
    assert curve.thinned(10_000) is curve
