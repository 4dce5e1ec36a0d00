"""What goes into a count of pairs, what is refused, and what comes out when counts are added and cut."""

import functools
import itertools
import operator
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import pair_counters
from cv_quality.metrics.pair_counters import CosinePairs, Operand
from cv_quality.metrics.pairs import (
    GRADES,
    AnyCounts,
    Grade,
    PairCounts,
    Rows,
    Side,
    TailCounts,
    TemplateArray,
    count_block,
    count_pairs,
    count_scored,
    group_pair_counts,
    subject_counts,
)
from cv_quality.metrics.score_bins import BINS, UNIT, bin_of, edge_of, tail_floor

RNG = np.random.default_rng(3)


def units(count: int, dimension: int = 16) -> NDArray[np.float64]:
    vectors = RNG.normal(size=(count, dimension))
    found: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


FINE = units(6)
WHO = np.array(["a", "a", "b", "b", "c", "d"])


def with_row(row: ArrayLike) -> NDArray[np.float64]:
    vectors = FINE.copy()
    vectors[4] = row
    return vectors


@pytest.mark.parametrize(
    ("vectors", "subjects", "message"),
    [
        (with_row(np.nan), WHO, "row 4 of 6 holds NaN or infinity"),
        (with_row(np.inf), WHO, "row 4 of 6 holds NaN or infinity"),
        (with_row(0.0), WHO, "row 4 of 6 is zero and has no direction"),
        (
            with_row(FINE[4] * 1.001),
            WHO,
            r"row 4 of 6 has norm 1.001, expected 1: divide each vector by its norm; 1 rows",
        ),
        (FINE * 2, WHO, "6 rows cannot be compared"),
        (FINE.astype(np.float16), WHO, "has norm"),
        (FINE[0], WHO[:1], r"expected real numbers of shape \(n, dimension\), found float64 of shape \(16,\)"),
        (FINE[None], WHO, r"shape \(1, 6, 16\)"),
        (FINE.astype(complex), WHO, "found complex128"),
        (FINE.astype(object), WHO, "found object"),
        (FINE.astype(str), WHO, "found <U"),
        ([[1.0, 0.0], [1.0]], ["a", "b"], "rows differ in length"),
        (FINE, WHO[:5], r"expected one subject for each of 6 vectors, found shape \(5,\)"),
        (FINE, WHO[:, None], r"found shape \(6, 1\)"),
        (FINE, np.array(["a", None, "b", "c", "d", "e"], dtype=object), "the subject of row 1 is None"),
        (FINE, np.arange(6.0), "subjects are names or whole numbers, found float64"),
    ],
)
@pytest.mark.parametrize("grade", GRADES)
def test_input_that_cannot_be_compared_is_refused_and_named(
    vectors: ArrayLike, subjects: ArrayLike, message: str, grade: Grade
) -> None:
    with pytest.raises(MetricError, match=message):
        count_pairs(vectors, subjects, grade=grade)


@pytest.mark.parametrize("fmr", [0.0, -0.1, 1.1, np.nan])
def test_a_share_outside_of_its_range_is_refused(fmr: float) -> None:
    with pytest.raises(MetricError, match=r"lies in \(0, 1\]"):
        count_pairs(FINE, WHO, tail_fmr=fmr)


def test_a_grade_that_does_not_exist_is_refused() -> None:
    with pytest.raises(MetricError, match="fp32 or certified, found 'int8'"):
        count_pairs(FINE, WHO, grade="int8")  # type: ignore[call-overload]


def test_a_floor_that_is_no_number_is_refused() -> None:
    with pytest.raises(MetricError, match="is a cosine, found nan"):
        count_pairs(FINE, WHO, floor=np.nan)


@pytest.mark.parametrize("grade", GRADES)
def test_a_tail_too_long_for_memory_is_refused(grade: Grade) -> None:
    """Copies of one vector: 4.5 million pairs score 1."""
    vectors = np.tile(FINE[:1].astype(np.float32), (3_000, 1))
    with pytest.raises(MetricError, match="longer than 2,000,000: ask for a lower tail_fmr"):
        count_pairs(vectors, np.arange(3_000), grade=grade, tail_fmr=0.9)
    with pytest.raises(MetricError, match=r"more than 2,000,000 pairs score at least 0\.5: ask for a higher floor"):
        count_pairs(vectors, np.arange(3_000), grade=grade, floor=0.5)


def test_sides_of_a_block_that_do_not_fit_are_refused() -> None:
    side = Side(FINE, WHO)
    with pytest.raises(MetricError, match="references have 16 dimensions, probes 8"):
        count_block(side, Side(units(3, 8), WHO[:3]))
    with pytest.raises(MetricError, match="probes: row 4 of 6 is zero"):
        count_block(side, Side(with_row(0.0), WHO))
    with pytest.raises(MetricError, match="references: expected one subject"):
        count_block(Side(FINE, WHO[:2]), side)
    for ranks in (np.arange(5), np.arange(6.0)):
        with pytest.raises(MetricError, match="expected a whole rank for each of 6 vectors"):
            count_block(Side(FINE, WHO, np.arange(6)), Side(FINE, WHO, ranks))  # type: ignore[arg-type]


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("count", [0, 1])
def test_too_few_vectors_make_no_pair(grade: Grade, count: int) -> None:
    counts = count_pairs(FINE[:count], WHO[:count], grade=grade)
    assert (counts.n, counts.tail.height, counts.floor) == (0, 0, -np.inf)


def test_vectors_of_one_subject_make_no_pair() -> None:
    counts = count_pairs(FINE, ["a"] * 6)
    assert (counts.n, counts.tail.height, counts.floor) == (0, 0, -np.inf)
    assert count_pairs([], []).n == 0


def test_an_empty_side_counts_nothing() -> None:
    none = Side(np.empty((0, 0)), np.empty(0, str))
    for sides in ((none, Side(FINE, WHO)), (Side(FINE, WHO), none), (none, none)):
        assert count_block(*sides).n == 0


def test_whole_numbers_lists_and_float32_are_taken_as_they_are() -> None:
    plain = count_pairs(np.eye(3, dtype=int).tolist(), [7, 8, 8], tail_fmr=1.0)
    assert plain.tail.rows() == [(0.0, "8", "7"), (0.0, "8", "7")]
    narrow, wide = (
        count_pairs(FINE.astype(dtype), WHO, tail_fmr=1.0).tail["score"] for dtype in (np.float32, np.float64)
    )
    np.testing.assert_allclose(narrow.to_numpy(), wide.to_numpy(), atol=1e-7)
    assert not narrow.equals(wide)


@pytest.mark.parametrize("grade", GRADES)
def test_counts_add_up_and_are_cut_back(grade: Grade) -> None:
    parts: list[AnyCounts] = [
        count_pairs(units(90), np.arange(90), grade=grade, tail_fmr=share) for share in (0.1, 0.5)
    ]
    for one, other in itertools.permutations(parts):
        total = one + other  # type: ignore[operator]
        assert total.n == one.n + other.n
        assert total.floor == max(one.floor, other.floor) == parts[0].floor
        both = pl.concat([one.tail, other.tail]).filter(pl.col("score") >= total.floor)
        assert total.tail.equals(both)
        cut = total.trimmed(100)
        assert cut.n == total.n
        assert cut.tail["score"].to_list() == [score for score in total.tail["score"] if score >= cut.floor]
        assert cut.tail.height == 100
        assert np.array_equal(cut.score_tail().scores, np.sort(cut.tail["score"].to_numpy()))
        assert (cut.score_tail().n, cut.trimmed(200)) == (cut.n, cut)


def dot_in_order(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Add the products one after the other, each sum rounded; `sum` itself does not round so from Python 3.12 on."""
    return float(functools.reduce(operator.add, (a * b for a, b in zip(left.tolist(), right.tolist(), strict=True))))


def matched_by_hand(references: Side, probes: Side, threshold: float) -> dict[str, int]:
    """Pairs of each subject at or above the threshold, one after the other in float64."""
    counts: dict[str, int] = {}
    for one, left in zip(references.subjects, references.vectors, strict=True):
        for other, right in zip(probes.subjects, probes.vectors, strict=True):
            if one != other and min(max(dot_in_order(left, right), -1.0), 1.0) >= threshold:
                for subject in (one, other):
                    counts[str(subject)] = counts.get(str(subject), 0) + 1
    return counts


def scored(left: TemplateArray, right: TemplateArray, rows: Rows) -> NDArray[np.float64]:
    return CosinePairs(Operand(np.asarray(left, np.float64)), Operand(np.asarray(right, np.float64))).exact(*rows)


@pytest.mark.parametrize("way", ["float32", "scored", "device"])
def test_matches_are_counted_exactly_below_the_tail_too(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "device":
        monkeypatch.setattr(pair_counters, "faithful_device", lambda _: "cpu")
    left = Side(units(70), np.array([f"p{index % 25}" for index in range(70)]))
    right = Side(units(90), np.array([f"p{index % 30}" for index in range(90)]))
    rows, columns = np.indices((70, 90), dtype=np.int64).reshape(2, -1)
    every = scored(left.vectors, right.vectors, (rows, columns))
    near = float(np.sort(every)[-1_500])  # itself a score: what float32 rounds across it is decided in float64
    for threshold in (near, float(np.nextafter(near, 2)), -1.0, 0.2):
        if way == "scored":
            counts = count_scored(left, right, score=scored, scale=UNIT, threshold=threshold, keep_all=0, keep=50)
        else:
            counts = count_block(left, right, threshold=threshold, keep_all=0, keep=50)
        assert counts.matches is not None
        assert counts.floor > threshold
        expected = matched_by_hand(left, right, threshold)
        assert dict(counts.matches.of_subjects.iter_rows()) == expected
        assert counts.matches.n == sum(expected.values()) // 2


def test_matches_of_parts_add_up_and_are_lost_with_one_that_has_none() -> None:
    sides = [Side(units(20), np.array([f"q{index % 7}" for index in range(20)])) for _ in range(3)]
    one, other = (count_block(sides[0], side, threshold=0.3, keep_all=0, keep=5) for side in sides[1:])
    both = PairCounts.empty() + one + other
    assert one.matches is not None
    assert other.matches is not None
    assert both.matches is not None
    assert both.matches.n == one.matches.n + other.matches.n
    assert both.trimmed(3).matches == both.matches
    assert (both + count_block(sides[1], sides[2])).matches is None
    with pytest.raises(MetricError, match="count both at one threshold"):
        one + count_block(sides[1], sides[2], threshold=0.5)


@pytest.mark.parametrize("kind", [PairCounts, TailCounts])
def test_nothing_is_what_adding_starts_from(kind: type[PairCounts] | type[TailCounts]) -> None:
    grade: Grade = "fp32" if kind is PairCounts else "certified"
    counts = count_pairs(FINE, WHO, grade=grade, tail_fmr=0.5)
    total = kind.empty() + counts  # type: ignore[operator]
    assert (total.n, total.floor) == (counts.n, counts.floor)
    assert total.tail.equals(counts.tail)


def test_a_subject_without_a_group_is_named() -> None:
    counts = count_pairs(FINE, WHO, tail_fmr=1.0)
    with pytest.raises(MetricError, match="2 subjects of the tail have no group, the first is 'c'"):
        group_pair_counts(counts, {"a": "x", "b": "y"}, threshold=-1.0)


def test_no_pair_above_a_threshold_is_an_empty_table() -> None:
    counts = count_pairs(np.eye(3), ["a", "b", "c"], tail_fmr=1.0)
    assert subject_counts(counts, threshold=0.5).is_empty()
    assert group_pair_counts(counts, {}, threshold=0.5).columns == ["group_a", "group_b", "count"]


@given(score=st.floats(-1.0, 1.0))
def test_a_bin_holds_the_scores_between_its_edges(score: float) -> None:
    """No rounding moves a score over an edge; only 1 lies on the upper edge of its bin."""
    for exact in (np.float64(score), np.float32(score)):
        index = int(bin_of(np.array([exact]))[0])
        low, high = Fraction(edge_of(index)), Fraction(edge_of(index + 1))
        assert low <= Fraction(float(exact)) < high or float(exact) == high == 1


@given(
    values=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    more=st.lists(st.integers(0, 40), max_size=60),
    wanted=st.integers(1, 30),
)
def test_more_pairs_never_lower_the_floor_of_the_tail(values: list[int], more: list[int], wanted: int) -> None:
    part, whole = (np.bincount(found, minlength=BINS) for found in (values, values + more))
    floor = tail_floor(whole, wanted=wanted)
    above = sum(edge_of(value) >= floor for value in values + more)
    assert above <= 4 * wanted
    assert len(values) < wanted or tail_floor(part, wanted=wanted) <= floor
