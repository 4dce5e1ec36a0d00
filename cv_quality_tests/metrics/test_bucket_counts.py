"""Counts and ranks without a sort equal those of the sorted scores, whatever their distribution and type."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from cv_quality.metrics.bucket_counts import ScoreCounter, buckets_for
from cv_quality.metrics.sorted_scores import FEW_SCORES, SortedScores, thresholds_of
from cv_quality.metrics.verification import det_curve, eer, fmr_at_fnmr, fnmr_at_fmr, rates_at

Draw = Callable[[np.random.Generator, int], NDArray[np.floating]]

DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "ties": lambda rng, n: np.round(rng.normal(size=n), 1),
    "one value": lambda rng, n: 0.3 + 0 * rng.random(n),
    "two values": lambda rng, n: rng.integers(0, 2, n).astype(np.float64),
    "infinities": lambda rng, n: rng.choice([-np.inf, np.inf, 0.0, 1.0], n),
    "all magnitudes": lambda rng, n: rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-37, 37, n),
    "far outliers": lambda rng, n: np.where(rng.random(n) < 0.01, -1e30, rng.normal(size=n)),
    "smallest numbers": lambda rng, n: rng.integers(-50, 50, n).astype(np.float64) * 1e-45,
    "ascending": lambda rng, n: np.sort(rng.normal(size=n)),
}


def reference(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> list[int]:
    return [int(np.count_nonzero(scores >= threshold)) for threshold in thresholds]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_counts_and_ranks_equal_those_of_the_sorted_scores(name: str, dtype: DTypeLike) -> None:
    rng = np.random.default_rng(5)
    scores, other = (DISTRIBUTIONS[name](rng, n).astype(dtype) for n in (20_000, 300))
    counter = ScoreCounter(scores)
    descending = np.sort(scores)[::-1]
    for rank in (1, 2, 700, 19_999, 20_000):
        assert counter.highest(rank) == descending[rank - 1]
    thresholds = np.concatenate([other, scores[:50], np.array([-np.inf, np.inf], dtype)])
    assert counter.count_from(thresholds).tolist() == reference(scores, thresholds)
    assert counter.count_from(thresholds[:3]).tolist() == reference(scores, thresholds[:3])
    beside = np.nextafter(scores[:3], np.array(np.inf, dtype))
    assert counter.count_from(beside).tolist() == reference(scores, beside)
    assert [counter.highest(rank) for rank in (1, 5_000, 20_000)] == descending[[0, 4_999, 19_999]].tolist()


@given(
    scores=st.lists(st.floats(allow_nan=False), min_size=1, max_size=40),
    thresholds=st.lists(st.floats(allow_nan=False), min_size=1, max_size=40),
)
def test_any_doubles_are_counted_exactly(scores: list[float], thresholds: list[float]) -> None:
    found, asked = np.array(scores), np.unique(thresholds)
    assert buckets_for(asked, found).count_at_or_above(found).tolist() == reference(found, asked)
    assert ScoreCounter(found).count_from(asked).tolist() == reference(found, asked)
    ranks = range(1, len(scores) + 1)
    assert [ScoreCounter(found).highest(rank) for rank in ranks] == sorted(scores, reverse=True)


def test_scores_counted_by_several_threads_are_each_counted_once() -> None:
    rng = np.random.default_rng(6)
    scores, thresholds = rng.normal(size=3_000_001), np.sort(rng.normal(3, 1, 2_000))
    expected = scores.size - np.searchsorted(np.sort(scores), thresholds)
    assert ScoreCounter(scores).count_from(thresholds).tolist() == expected.tolist()


@pytest.mark.parametrize("digits", [1, 3, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_error_rates_do_not_depend_on_whether_scores_were_sorted(dtype: DTypeLike, digits: int) -> None:
    rng = np.random.default_rng(digits)
    genuine = np.round(rng.normal(2.5, 1, 3_000), digits).astype(dtype)
    impostor = np.round(rng.normal(0, 1, FEW_SCORES + 100_000), digits).astype(dtype)
    in_order = SortedScores(impostor)
    assert in_order.scores.size == in_order.n
    for mated in (genuine, np.append(genuine, [-np.inf, np.inf]).astype(dtype)):
        assert eer(mated, impostor) == eer(mated, in_order)
        for fmr in (0.0, 1e-5, 1e-3, 0.3, 1.0):
            assert fnmr_at_fmr(mated, impostor, fmr=fmr) == fnmr_at_fmr(mated, in_order, fmr=fmr)
        assert fmr_at_fnmr(mated, impostor, fnmr=0.01) == fmr_at_fnmr(mated, in_order, fnmr=0.01)
        assert rates_at(mated, impostor, threshold=0.1) == rates_at(mated, in_order, threshold=0.1)
        curve, expected = det_curve(mated, impostor), det_curve(mated, in_order)
        assert np.array_equal(curve.thresholds, expected.thresholds)
        assert np.array_equal(curve.n_false_matches, expected.n_false_matches)


def test_many_scores_are_neither_sorted_nor_copied_for_error_rates() -> None:
    rng = np.random.default_rng(8)
    impostor = rng.normal(size=2 * FEW_SCORES)
    given = impostor.copy()
    once = SortedScores(impostor)
    assert int(once.count_from(thresholds_of(impostor[0]))) == np.count_nonzero(impostor >= impostor[0])
    assert eer([1.0, 2.0, 3.0], once).rates.n_impostor == impostor.size
    assert np.array_equal(impostor, given)
    assert once.scores.tolist() == sorted(given.tolist())
    assert np.array_equal(impostor, given)
