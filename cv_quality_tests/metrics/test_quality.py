"""Error-versus-reject curves against rejecting by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.quality import ErrorVersusReject, error_versus_reject, error_versus_reject_samples

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30)
SHARES = (0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9)


def by_hand(scores: list[float], qualities: list[float], units: list[float], share: float) -> float | None:
    """FNMR below 0.5 after rejecting the worst qualities as long as at most this share of the units goes."""
    floors = [
        level for level in sorted(set(units)) if sum(unit < level for unit in units) <= share * len(units) + 1e-12
    ]
    kept = [score for score, quality in zip(scores, qualities, strict=True) if quality >= floors[-1]]
    return sum(score < 0.5 for score in kept) / len(kept) if kept else None


def assert_is_by_hand(
    curve: ErrorVersusReject, scores: list[float], qualities: list[float], units: list[float]
) -> None:
    for share in SHARES:
        expected = by_hand(scores, qualities, units, share)
        if share >= curve.ends_at:
            with pytest.raises(MetricError, match="comparisons are left"):
                curve.fnmr_at(share)
        elif abs(share * len(units) - round(share * len(units))) > 1e-9 or share in (0.0, 0.25, 0.5):
            assert curve.fnmr_at(share) == expected


@given(rows=ROWS, n_failed=st.integers(0, 4))
def test_rejecting_comparisons_is_what_it_is_by_hand(rows: list[tuple[bool, int]], n_failed: int) -> None:
    scores, qualities = [0.2 if miss else 0.8 for miss, _ in rows], [float(quality) for _, quality in rows]
    curve = error_versus_reject(scores, qualities, threshold=0.5, n_failed=n_failed)
    assert_is_by_hand(curve, scores, qualities, [-math.inf] * n_failed + qualities)
    assert (curve.rejected[0], curve.ends_at, curve.n_total) == (0.0, 1.0, len(rows) + n_failed)
    assert np.all(np.diff(curve.rejected) > 0)


@given(
    pairs=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20),
    quality=st.lists(st.integers(0, 4).map(float) | st.just(-math.inf), min_size=6, max_size=9),
)
def test_rejecting_samples_takes_every_comparison_they_are_in(
    pairs: list[tuple[bool, int, int]], quality: list[float]
) -> None:
    scores = [0.2 if miss else 0.8 for miss, _, _ in pairs]
    curve = error_versus_reject_samples(
        scores, [a for _, a, _ in pairs], [b for _, _, b in pairs], quality=quality, threshold=0.5
    )
    assert_is_by_hand(curve, scores, [min(quality[a], quality[b]) for _, a, b in pairs], quality)


@given(rows=ROWS, seed=st.integers(0, 50))
def test_neither_order_nor_a_rising_function_of_quality_changes_the_curve(
    rows: list[tuple[bool, int]], seed: int
) -> None:
    scores, qualities = np.array([0.2 if miss else 0.8 for miss, _ in rows]), np.array([quality for _, quality in rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    one = error_versus_reject(scores, qualities, threshold=0.5)
    other = error_versus_reject(scores[order], np.exp(qualities[order]), threshold=0.5)
    assert one.rejected.tolist() == other.rejected.tolist()
    assert one.n_errors.tolist() == other.n_errors.tolist()


def test_failures_to_acquire_go_first_and_are_no_comparisons() -> None:
    curve = error_versus_reject([0.2, 0.8, 0.9], [1, 2, 3], threshold=0.5, n_failed=3)
    assert curve.rejected.tolist() == [0.0, 1 / 2, 4 / 6, 5 / 6]
    assert curve.fnmr.tolist() == [1 / 3, 1 / 3, 0.0, 0.0]
    assert curve.quality_kept.tolist() == [-math.inf, 1.0, 2.0, 3.0]


def test_the_area_is_that_under_the_steps() -> None:
    curve = error_versus_reject([0.2, 0.8, 0.9, 0.1], [1, 2, 2, 3], threshold=0.5)
    assert curve.area(0.25) == pytest.approx(0.25 * 0.5)
    assert curve.area(0.5) == pytest.approx(0.25 * 0.5 + 0.25 / 3)
    assert curve.area() == pytest.approx(0.25 * 0.5 + 0.5 / 3 + 0.25)
    steps = np.linspace(0, 1, 4_000, endpoint=False) + 1 / 8_000
    assert curve.area() == pytest.approx(np.mean([curve.fnmr_at(float(share)) for share in steps]), abs=1e-3)


def test_a_perfect_quality_has_a_smaller_area_than_one_that_says_nothing() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(1, 1, 2_000)
    informed, blind = (error_versus_reject(scores, q, threshold=0.0) for q in (scores, rng.normal(size=2_000)))
    f = informed.fnmr[0]
    assert informed.area() == pytest.approx(f + (1 - f) * math.log(1 - f), abs=1e-3)
    assert blind.area() == pytest.approx(f, abs=0.05)


def test_where_no_comparison_is_left_the_curve_ends_and_says_so() -> None:
    curve = error_versus_reject_samples([0.2, 0.8], [0, 1], [1, 2], quality=[1, 2, 3, 9], threshold=0.5)
    assert (curve.rejected.tolist(), curve.ends_at) == ([0.0, 0.25], 0.5)
    assert curve.fnmr_at(0.49) == 0.0
    with pytest.raises(MetricError, match=r"from 0 to 0\.5"):
        curve.area(0.6)


def test_a_threshold_is_compared_exactly_with_single_scores() -> None:
    single = np.array([0.7], np.float32)
    assert error_versus_reject(single, [1], threshold=0.7).n_errors.tolist() == [1]
    assert error_versus_reject(single, [1], threshold=float(single[0])).n_errors.tolist() == [0]


def test_unusable_qualities_are_refused() -> None:
    for quality, message in (([1.0], "one quality per score"), ([1.0, math.nan], "NaN"), ([1.0, None], "null")):
        with pytest.raises(MetricError, match=message):
            error_versus_reject([0.1, 0.2], quality, threshold=0.5)  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="n_failed"):
        error_versus_reject([0.1], [1.0], threshold=0.5, n_failed=-1)
    for side, message in (
        ([2], "indices of 2 qualities"),
        ([-1], "indices"),
        ([0.5], "whole numbers"),
        ([0, 1], "shape"),
    ):
        with pytest.raises(MetricError, match=message):
            error_versus_reject_samples([0.1], [0], side, quality=[1, 2], threshold=0.5)
