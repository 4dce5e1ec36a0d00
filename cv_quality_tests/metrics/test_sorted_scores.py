"""Scores of every container and type are taken in without loss and counted exactly; the rest is refused."""

import tracemalloc

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, DTypeLike

from cv_quality.errors import MetricError
from cv_quality.metrics.sorted_scores import (
    SortedScores,
    count_below,
    count_up_to,
    in_order,
    is_below,
    next_above,
    next_below,
    thresholds_of,
)
from cv_quality.metrics.verification import det_curve, eer, fnmr_at_fmr

ANY_SINGLE = st.floats(width=32, allow_nan=False)
ANY_DOUBLE = st.floats(allow_nan=False)


@given(scores=st.lists(ANY_SINGLE, min_size=1, max_size=30), threshold=ANY_DOUBLE, near=st.integers(-2, 2))
def test_a_double_threshold_is_compared_exactly_with_single_scores(
    scores: list[float], threshold: float, near: int
) -> None:
    single = np.sort(np.array(scores, np.float32))
    thresholds = np.array([threshold, single[0], np.nextafter(np.float64(single[0]), near)])
    double = single.astype(np.float64)
    assert count_below(single, thresholds).tolist() == [np.count_nonzero(double < t) for t in thresholds]
    assert count_up_to(single, thresholds).tolist() == [np.count_nonzero(double <= t) for t in thresholds]
    for t in thresholds.tolist():
        assert is_below(single, t).tolist() == (double < t).tolist()
        assert next_above(SortedScores(single), t) == min(double[double > t], default=np.inf)
        assert next_below(SortedScores(single), t) == max(double[double < t], default=-np.inf)


@given(scores=st.lists(ANY_DOUBLE, min_size=1, max_size=30), thresholds=st.lists(ANY_SINGLE, min_size=1, max_size=5))
def test_a_single_threshold_is_compared_exactly_with_double_scores(
    scores: list[float], thresholds: list[float]
) -> None:
    double, single = np.sort(np.array(scores)), np.array(thresholds, np.float32)
    assert count_below(double, single).tolist() == [np.count_nonzero(double < float(t)) for t in single]


@pytest.mark.parametrize(
    ("given_as", "kept_as"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (">f4", np.float32),
        (np.float16, np.float32),
        (np.int8, np.float32),
        (np.uint16, np.float32),
        (np.int32, np.float64),
        (np.uint64, np.float64),
    ],
)
def test_numbers_of_every_width_become_the_float_that_holds_them(given_as: DTypeLike, kept_as: DTypeLike) -> None:
    values = np.array([3, 1, 2]).astype(given_as)
    found = SortedScores(values).scores
    assert found.dtype == kept_as
    assert found.tolist() == [1.0, 2.0, 3.0]
    assert values.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 0.1, 0.9],
        (0.5, 0.1, 0.9),
        pl.Series([0.5, 0.1, 0.9]),
        pa.array([0.5, 0.1, 0.9]),
        pa.chunked_array([[0.5], [0.1, 0.9]]),
        np.array([0.9, 0.7, 0.1, 0.7, 0.5])[::2],
    ],
)
def test_every_container_gives_the_same_scores(values: ArrayLike) -> None:
    assert SortedScores(values).scores.tolist() == [0.1, 0.5, 0.9]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "no genuine score"),
        (0.5, r"shape \(n,\), found shape \(\)"),
        ([[0.1, 0.2]], r"found shape \(1, 2\)"),
        ([[0.1], [0.2, 0.3]], "as numbers"),
        ([0.1, float("nan"), float("nan")], "2 of 3 genuine scores are NaN"),
        ([0.1, None], "1 genuine scores are null"),
        (pl.Series([0.1, None, None]), "2 genuine scores are null"),
        (pa.array([0.1, None]), "1 genuine scores are null"),
        (pa.chunked_array([[1], [None]]), "1 genuine scores are null"),
        (np.ma.masked_equal([0.1, 9.0], 9.0), "1 genuine scores are null"),
        (["0.1", "0.2"], "found dtype <U3"),
        (pl.Series(["0.1"]), "found dtype"),
        ([True, False], "found dtype bool; give decisions as 0.0 and 1.0"),
        ([1j], "found dtype complex128"),
        (np.array([0.1], np.longdouble), "found dtype"),
        ([2**53 + 1], r"beyond 2\*\*53"),
    ],
)
def test_what_is_no_score_is_refused_and_named(values: ArrayLike, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        SortedScores(values, name="genuine")


@pytest.mark.parametrize("values", [[0.1], [[0.1], [0.2]], ["a"], [float("nan")]])
def test_values_in_order_obey_the_same_rules(values: ArrayLike) -> None:
    if values == [0.1]:
        assert in_order(values, name="quality").tolist() == [0.1]
        return
    with pytest.raises(MetricError, match="quality"):
        in_order(values, name="quality")


@pytest.mark.parametrize("threshold", [float("nan"), "high", [[0.1]], None])
def test_a_threshold_that_is_no_number_is_refused(threshold: ArrayLike) -> None:
    with pytest.raises(MetricError, match="threshold"):
        thresholds_of(threshold)


def test_infinite_scores_are_scores_and_sort_to_the_ends() -> None:
    assert SortedScores([np.inf, 0.0, -np.inf]).scores.tolist() == [-np.inf, 0.0, np.inf]


def test_sorted_scores_cannot_be_changed_and_are_not_sorted_again() -> None:
    once = SortedScores([2.0, 1.0])
    with pytest.raises(ValueError, match="read-only"):
        once.scores[0] = 5.0
    assert SortedScores(once).scores is once.scores


def test_error_rates_of_many_scores_take_no_second_array() -> None:
    rng = np.random.default_rng(3)
    impostor = rng.normal(size=1_000_000).astype(np.float32)
    genuine = SortedScores(rng.normal(3, 1, 1_000).astype(np.float32))
    det_curve(genuine, impostor)  # compiles the count
    tracemalloc.start()
    once = SortedScores(impostor)
    det_curve(genuine, once)
    eer(genuine, once)
    fnmr_at_fmr(genuine, once, fmr=1e-6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < impostor.nbytes / 2


def test_double_thresholds_do_not_widen_single_scores() -> None:
    scores = SortedScores(np.linspace(0, 1, 1_000_000, dtype=np.float32)).scores
    tracemalloc.start()
    count_below(scores, thresholds_of([0.1, 0.5]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
