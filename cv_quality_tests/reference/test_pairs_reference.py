"""All pairs counted by tiles against every pair scored one by one in float64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.pair_counters import (
    CertifiedCounting,
    Cosine,
    CosinePairs,
    Counting,
    DeviceCounting,
    Float32Counting,
    Operand,
)
from cv_quality.metrics.pair_engine import Tally, pairing_of, tally
from cv_quality.metrics.pair_kernels import Pairing
from cv_quality.metrics.pairs import (
    GRADES,
    Grade,
    PairCounts,
    Side,
    Vectors,
    count_block,
    count_pairs,
    group_pair_counts,
    subject_counts,
)
from cv_quality.metrics.products import float32_error, full_precision
from cv_quality.metrics.quantised import has_int8
from cv_quality.metrics.score_bins import BINS, edge_of, histogram_of, tail_floor

Names = NDArray[np.str_]


def units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def scores_of(left: Vectors, right: Vectors) -> NDArray[np.float64]:
    """Every dot product, added up one dimension after the other: the same bits as a loop in plain Python."""
    total = np.zeros((len(left), len(right)))
    for column in range(left.shape[1]):
        total += left[:, column, None].astype(np.float64) * right[None, :, column].astype(np.float64)
    return total.clip(-1.0, 1.0)


def brute_force(vectors: Vectors, subjects: Names) -> pl.DataFrame:
    """Every unordered pair of different subjects; the subject that sorts first is called the reference."""
    first, second = np.triu_indices(len(vectors), 1)
    is_counted = subjects[first] != subjects[second]
    first, second = first[is_counted], second[is_counted]
    names, codes = np.unique(subjects, return_inverse=True)
    high, low = np.maximum(codes[first], codes[second]), np.minimum(codes[first], codes[second])
    return table(scores_of(vectors, vectors)[first, second], names[high], names[low])


def table(scores: NDArray[np.float64], probes: Names, references: Names) -> pl.DataFrame:
    columns = {"score": scores, "subject_id": probes.tolist(), "reference_subject_id": references.tolist()}
    return pl.DataFrame(columns).sort(pl.all())


def clustered(count: int, dimension: int, *, seed: int) -> tuple[NDArray[np.float64], Names]:
    """Subjects with several templates each, some of them alike across subjects, and exact copies."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, max(2, count // 6), count)
    centres = rng.normal(size=(codes.max() + 1, dimension)) + 0.8 * rng.normal(size=dimension)
    vectors = units(centres[codes] + 0.5 * rng.normal(size=(count, dimension)))
    vectors[1::97] = vectors[:1]
    return vectors, np.array([f"s{code:04d}" for code in codes])


def heavy(count: int, dimension: int, *, seed: int) -> tuple[NDArray[np.float64], Names]:
    """A few coordinates far above the others: the worst case of eight bits with one scale a row."""
    rng = np.random.default_rng(seed)
    return units(rng.laplace(size=(count, dimension)) ** 5), np.arange(count).astype(str)


DATA = [clustered(400, 24, seed=1), clustered(1_200, 100, seed=2), heavy(500, 64, seed=3)]
EXPECTED = [brute_force(*data) for data in DATA]


@pytest.mark.parametrize("case", range(len(DATA)))
@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("tail_fmr", [1e-4, 1e-2, 1.0])
def test_the_tail_is_the_same_bits_as_brute_force(case: int, grade: Grade, tail_fmr: float) -> None:
    counts, expected = count_pairs(*DATA[case], grade=grade, tail_fmr=tail_fmr), EXPECTED[case]
    wanted = int(np.ceil(tail_fmr * expected.height - 1e-9))
    floor = tail_floor(histogram_of(expected["score"].to_numpy()), wanted=wanted) if tail_fmr < 1 else -np.inf
    assert counts.n == expected.height
    assert counts.floor == floor
    assert counts.tail.sort(pl.all()).equals(expected.filter(pl.col("score") >= floor))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grade", GRADES)
def test_a_given_floor_is_kept_to_the_last_bit(dtype: type[np.float32 | np.float64], grade: Grade) -> None:
    vectors: Vectors = DATA[0][0].astype(dtype)  # type: ignore[assignment]
    expected = brute_force(vectors, DATA[0][1])
    of_a_pair = float(expected["score"][expected.height // 3])
    for floor in (-1.0, 0.0, of_a_pair, np.nextafter(of_a_pair, 2), 1.0):
        tail = count_pairs(vectors, DATA[0][1], grade=grade, floor=floor).tail
        assert tail.sort(pl.all()).equals(expected.filter(pl.col("score") >= floor))


@pytest.mark.parametrize("case", range(len(DATA)))
def test_the_histogram_is_right_to_the_rounding_of_float32(case: int) -> None:
    counts, scores = count_pairs(*DATA[case]), EXPECTED[case]["score"].to_numpy()
    error = float32_error(DATA[case][0].shape[1])
    edges = np.array([edge_of(index) for index in range(1, BINS)])
    above = np.cumsum(counts.histogram[::-1])[::-1]
    most, least = (len(scores) - np.searchsorted(scores, edges + shift) for shift in (-error, error))
    assert above[0] == len(scores)
    assert np.all((least <= above[1:]) & (above[1:] <= most))


def test_real_face_embeddings_give_the_counts_of_brute_force(shared_data: Callable[[str], Path]) -> None:
    archive = np.load(shared_data("derived_embeddings") / "orl_emb.npz", allow_pickle=False)
    subjects = np.array([name.split("_")[0] for name in archive["ids"].tolist()])
    vectors = units(archive["emb"].astype(np.float64)).astype(np.float32)
    expected = brute_force(vectors, subjects)
    for grade in GRADES:
        counts = count_pairs(vectors, subjects, grade=grade, floor=0.3)
        assert counts.n == expected.height == 74_100
        assert counts.tail.sort(pl.all()).equals(expected.filter(pl.col("score") >= 0.3))


def side(size: int, *, seed: int, is_ranked: bool) -> Side:
    """Subjects and ranks repeat, within the side and on the other one, in no order."""
    rng = np.random.default_rng(seed)
    vectors, subjects = units(rng.normal(size=(size, 12))), rng.integers(0, 30, size).astype(str)
    return Side(vectors, subjects, rng.integers(0, 300, size) if is_ranked else None)


def expected_block(references: Side, probes: Side) -> pl.DataFrame:
    is_counted = references.subjects[:, None] != probes.subjects[None, :]
    if references.ranks is not None and probes.ranks is not None:
        is_counted &= references.ranks[:, None] < probes.ranks[None, :]
    row, column = np.nonzero(is_counted)
    scores = scores_of(references.vectors.astype(np.float64), probes.vectors.astype(np.float64))[row, column]
    return table(scores, probes.subjects[column], references.subjects[row])


@pytest.mark.parametrize("keep_all", [0, 10**6])
@pytest.mark.parametrize("ranked", [(True, True), (True, False), (False, False)])
def test_a_block_counts_each_reference_with_later_probes_of_others(keep_all: int, ranked: tuple[bool, bool]) -> None:
    sides = side(530, seed=0, is_ranked=ranked[0]), side(610, seed=1, is_ranked=ranked[1])
    counts, expected = count_block(*sides, keep_all=keep_all, keep=900), expected_block(*sides)
    assert counts.n == expected.height
    assert counts.tail.sort(pl.all()).equals(expected.filter(pl.col("score") >= counts.floor))
    assert counts.tail.height == expected.height if keep_all else 900 <= counts.tail.height <= 3_600


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_blocks_of_any_split_add_up_to_the_same_bits(seed: int, cuts: tuple[int, int]) -> None:
    """Small blocks and large ones, their rows in any order, against the whole."""
    (vectors, subjects), rng = DATA[1], np.random.default_rng(seed)
    left, right = np.split(rng.permutation(len(vectors)), [550])

    def block(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> PairCounts:
        return count_block(Side(vectors[rows], subjects[rows]), Side(vectors[columns], subjects[columns]), keep=500)

    rows, columns = (
        np.split(rng.permutation(part), np.sort(rng.choice(len(part), pieces)))
        for part, pieces in zip((left, right), cuts, strict=True)
    )
    whole, total = block(left, right), sum((block(a, b) for a in rows for b in columns), PairCounts.empty())
    floor = max(total.floor, whole.floor)
    assert np.array_equal(total.histogram, whole.histogram)
    assert reached(total, floor).equals(reached(whole, floor))


def reached(counts: PairCounts, floor: float) -> pl.DataFrame:
    return counts.tail.filter(pl.col("score") >= floor).sort(pl.all())


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 1_200))
def test_the_order_of_templates_and_new_names_of_subjects_change_nothing(seed: int, size: int) -> None:
    vectors, subjects = DATA[1][0][:size], DATA[1][1][:size]
    order = np.random.default_rng(seed).permutation(size)
    counts = count_pairs(vectors, subjects)
    other = count_pairs(vectors[order], np.array([f"x{name}" for name in subjects[order]]))
    renamed = counts.tail.with_columns(("x" + pl.col(name)).alias(name) for name in counts.tail.columns[1:])
    assert np.array_equal(counts.histogram, other.histogram)
    assert renamed.sort(pl.all()).equals(other.tail.sort(pl.all()))


def one_set(case: int) -> tuple[CosinePairs, Pairing]:
    """The pairs of one of the sets, as the engine takes them."""
    vectors, subjects = DATA[case]
    _, codes = np.unique(subjects, return_inverse=True)
    one = Operand(vectors)
    return CosinePairs(one, one), pairing_of(codes, codes, np.arange(1, len(codes) + 1))


def every_way(pairs: CosinePairs, pairing: Pairing) -> list[Counting]:
    ways: list[Counting] = [
        Float32Counting(Cosine.of(pairs.left, pairs.right), pairing),
        DeviceCounting(pairs, pairing, "cpu", tile=(256, 512)),
    ]
    return [*ways, CertifiedCounting.of(pairs.left, pairs.right, pairing)] if has_int8(pairs.dimension) else ways


def tallies(pairs: CosinePairs, pairing: Pairing, *, sampled: CosinePairs, wanted: int) -> list[Tally]:
    with full_precision():
        return [tally(way, pairing, sampled, wanted=wanted, threads=1) for way in every_way(pairs, pairing)]


def test_torch_on_a_device_counts_what_the_compiled_loops_count() -> None:
    pairs, pairing = one_set(1)
    first, device, *_ = tallies(pairs, pairing, sampled=pairs, wanted=1_000)
    assert first.histogram is not None
    assert device.histogram is not None
    assert device.histogram.sum() == first.histogram.sum() == EXPECTED[1].height
    assert np.abs(np.cumsum(device.histogram - first.histogram)).max() <= 20


class Misjudged(CosinePairs):
    """A sample whose scores are all too high: the first floor lies above every score."""

    def close(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return super().close(rows, columns) + 3.0


class Undervalued(CosinePairs):
    """A sample whose scores are all too low: the first floor lies below every score."""

    def close(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return super().close(rows, columns) - 3.0


@pytest.mark.parametrize("wanted", [1, 70, 7_000])
@pytest.mark.parametrize("sample", [CosinePairs, Misjudged, Undervalued])
def test_a_wrong_guess_of_the_floor_changes_nothing(sample: type[CosinePairs], wanted: int) -> None:
    pairs, pairing = one_set(1)
    scores = EXPECTED[1]["score"].to_numpy()
    floor = tail_floor(histogram_of(scores), wanted=wanted)
    for done in tallies(pairs, pairing, sampled=sample(pairs.left, pairs.right), wanted=wanted):
        assert done.floor == floor
        assert np.array_equal(np.sort(done.found.scores), scores[scores >= floor])


def test_any_number_of_threads_gives_the_same_counts() -> None:
    vectors, subjects = clustered(2_600, 16, seed=5)
    one, *others = (count_pairs(vectors, subjects, threads=threads) for threads in (1, 2, 5))
    for other in others:
        assert np.array_equal(one.histogram, other.histogram)
        assert one.tail.equals(other.tail)


@pytest.mark.parametrize("grade", GRADES)
def test_a_crowded_bin_is_counted_but_not_kept(grade: Grade) -> None:
    """The two million pairs of copies of one template score 1 and stay out of the tail."""
    rng = np.random.default_rng(0)
    vectors = units(np.concatenate([np.ones((2_000, 8)), rng.normal(size=(600, 8))]))
    counts = count_pairs(vectors, np.arange(2_600).astype(str), grade=grade, tail_fmr=1e-3)
    assert counts.n == 2_600 * 2_599 // 2
    assert (counts.floor, counts.tail.height) == (np.inf, 0)


def test_counts_of_subjects_and_group_pairs_are_those_of_a_loop() -> None:
    counts = count_pairs(*DATA[0], tail_fmr=0.02)
    groups = {name: name[-1] for name in DATA[0][1].tolist()}
    threshold = float(counts.tail["score"].to_numpy()[7])
    of_subject: dict[str, int] = {}
    of_pair: dict[tuple[str, ...], int] = {}
    for _, probe, reference in EXPECTED[0].filter(pl.col("score") >= threshold).iter_rows():
        for name in (probe, reference):
            of_subject[name] = of_subject.get(name, 0) + 1
        pair = tuple(sorted((groups[probe], groups[reference])))
        of_pair[pair] = of_pair.get(pair, 0) + 1
    assert dict(subject_counts(counts, threshold=threshold).iter_rows()) == of_subject
    found = group_pair_counts(counts, groups, threshold=threshold)
    assert {(one, other): count for one, other, count in found.iter_rows()} == of_pair
    with pytest.raises(MetricError, match="above threshold"):
        subject_counts(counts, threshold=counts.floor - 1e-9)
