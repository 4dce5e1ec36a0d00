"""Bins of scores of any range: in the order of the scores, with edges that come back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.operating_points import FROM_HISTOGRAM, both_classes, point_at_fmr, point_of_eer
from cv_quality.metrics.pairs import PairCounts, Rows, Side, TemplateArray, count_block, count_scored
from cv_quality.metrics.score_bins import BINS, UNIT, ScoreScale, bin_of, edge_of, histogram_of

SCALES = [
    ScoreScale(-1.0, 1.0),
    ScoreScale(0.0, 100.0),
    ScoreScale(-math.inf, 0.0),
    ScoreScale(2.0, math.inf),
    ScoreScale(-math.inf, math.inf),
]
RNG = np.random.default_rng(11)


def side(size: int, *, dimension: int = 6) -> Side:
    return Side(RNG.normal(size=(size, dimension)), RNG.integers(0, 20, size).astype(str))


def nearness(left: TemplateArray, right: TemplateArray, rows: Rows) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    distances = np.sqrt(((left[rows[0]] - right[rows[1]]) ** 2).sum(axis=1))
    return np.asarray(-distances)


def every_pair(one: Side, other: Side) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    is_counted = one.subjects[:, None] != other.subjects[None, :]
    return np.sort(-np.linalg.norm(one.vectors[:, None] - other.vectors[None], axis=2)[is_counted])


SIDES = side(300), side(400)
NEARNESS = ScoreScale(-math.inf, 0.0)


@pytest.mark.parametrize("scale", SCALES)
@given(values=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30))
def test_bins_are_in_the_order_of_the_scores(scale: ScoreScale, values: list[float]) -> None:
    low, high = max(scale.low, -1e6), min(scale.high, 1e6)
    scores = np.sort(low + (high - low) * np.array(values))
    bins = bin_of(scores, scale)
    assert (np.diff(bins) >= 0).all()
    assert bins.min() >= 0
    assert bins.max() < BINS


@pytest.mark.parametrize("scale", SCALES)
def test_a_score_lies_between_the_edges_of_its_bin(scale: ScoreScale) -> None:
    low, high = max(scale.low, -50.0), min(scale.high, 50.0)
    scores = RNG.uniform(low, high, 2_000)
    slack = 1e-12 * np.abs(scores)
    bins = bin_of(scores, scale)
    edges = np.array([[edge_of(index, scale), edge_of(index + 1, scale)] for index in bins])
    assert (edges[:, 0] <= scores + slack).all()
    assert (scores - slack <= edges[:, 1]).all()


@pytest.mark.parametrize("scale", SCALES)
def test_nothing_reaches_the_edge_beyond_the_last_bin(scale: ScoreScale) -> None:
    assert edge_of(BINS + 1, scale) > scale.high or edge_of(BINS + 1, scale) == math.inf
    assert edge_of(0, scale) == scale.low


def test_any_score_is_counted_as_one_by_one() -> None:
    scores = every_pair(*SIDES)
    whole = count_scored(*SIDES, score=nearness, scale=NEARNESS, keep_all=10**6)
    assert (whole.n, whole.floor) == (scores.size, -math.inf)
    np.testing.assert_allclose(whole.score_tail().scores, scores, rtol=1e-12)
    assert np.abs(np.cumsum(whole.histogram - histogram_of(scores, NEARNESS))).max() <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_the_tail_of_any_score_is_exact(threads: int) -> None:
    scores = every_pair(*SIDES)
    counts = count_scored(*SIDES, score=nearness, scale=NEARNESS, keep_all=0, keep=500, threads=threads)
    tail = counts.score_tail().scores
    assert 500 <= tail.size < scores.size
    np.testing.assert_allclose(tail, scores[scores >= counts.floor], rtol=1e-12)
    assert counts.n == scores.size


def test_ranks_pair_each_sample_of_two_sides_once() -> None:
    ranked = Side(SIDES[0].vectors, SIDES[0].subjects, np.arange(300))
    counts = count_scored(ranked, ranked, score=nearness, scale=NEARNESS)
    first, second = np.triu_indices(300, 1)
    assert counts.n == (ranked.subjects[first] != ranked.subjects[second]).sum()


def test_the_general_count_agrees_with_that_of_the_cosine() -> None:
    def cosine(left: TemplateArray, right: TemplateArray, rows: Rows) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return np.asarray(np.einsum("ij,ij->i", left[rows[0]], right[rows[1]]))

    units = [Side(part.vectors / np.linalg.norm(part.vectors, axis=1)[:, None], part.subjects) for part in SIDES]
    fast, general = count_block(*units, keep_all=0), count_scored(*units, score=cosine, scale=UNIT, keep_all=0)
    assert (fast.n, fast.floor) == (general.n, general.floor)
    np.testing.assert_allclose(fast.score_tail().scores, general.score_tail().scores, atol=1e-12)


def test_counts_on_different_scales_do_not_add_up() -> None:
    with pytest.raises(MetricError, match="do not add up: count both with one comparator"):
        _ = PairCounts.empty() + PairCounts.empty(NEARNESS)


@pytest.mark.parametrize("target", [0.5, 0.2])
def test_a_point_below_the_tail_is_strict_on_any_scale(target: float) -> None:
    scores, genuine = every_pair(*SIDES), -RNG.gamma(2.0, 0.5, 500)
    counts = count_scored(*SIDES, score=nearness, scale=NEARNESS, keep_all=0, keep=500)
    classes = both_classes(genuine, counts)
    point = point_at_fmr(classes, fmr=target)
    assert point.rates is not None
    assert point.method == FROM_HISTOGRAM
    assert np.mean(scores >= point.rates.threshold) <= point.rates.fmr <= target
    assert point.rates.fnmr == np.mean(genuine < point.rates.threshold)
    crossing = point_of_eer(classes).rates
    assert crossing is not None
    assert crossing.fmr == pytest.approx(crossing.fnmr, abs=0.01)
