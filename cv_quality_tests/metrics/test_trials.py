"""Comparisons per pair of subjects: complete sets, counted analytically, against the same comparisons listed."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.trials import CrossTrials, ListedTrials, Trials

Counts = NDArray[np.int64]
SIDES = st.integers(1, 6).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=n, max_size=n))


def samples(counts: Counts) -> list[int]:
    """The subject of each sample."""
    return np.repeat(np.arange(len(counts)), counts).tolist()


def listed(pairs: list[tuple[int, int]], n_subjects: int) -> ListedTrials:
    kept = np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)
    return ListedTrials.of(kept[:, 0], kept[:, 1], n_subjects=n_subjects)


def both_kinds(sides: list[tuple[int, int, int]]) -> tuple[CrossTrials, ListedTrials]:
    """Enrolled and all-pairs drops together: analytic, and every comparison listed as the blocks of drops meet."""
    references, probes, frames = np.array(sides).T
    a, b, c = samples(references), samples(probes), samples(frames)
    pairs = list(itertools.product(a, b + c)) + list(itertools.product(c, b)) + list(itertools.combinations(c, 2))
    return CrossTrials.of_drops(references, probes, frames), listed(pairs, len(sides))


def assert_same(one: Trials, other: Trials) -> None:
    n = one.n_subjects
    assert (one.n, n) == (other.n, other.n_subjects)
    np.testing.assert_array_equal(one.per_subject(), other.per_subject())
    i, j = np.divmod(np.arange(n * n), n)
    np.testing.assert_array_equal(one.of_dyads(i, j), other.of_dyads(i, j))
    assert one.sum_of_squares() == pytest.approx(other.sum_of_squares(), abs=1e-9)
    weights = np.random.default_rng(n).integers(0, 4, (3, n))
    np.testing.assert_allclose(one.weighted(weights), other.weighted(weights), atol=1e-9)


@given(sides=SIDES)
def test_references_against_probes_equal_the_listed_comparisons(sides: list[tuple[int, int, int]]) -> None:
    references, probes, _ = np.array(sides).T
    pairs = list(itertools.product(samples(references), samples(probes)))
    assert_same(CrossTrials.enrolled(references, probes), listed(pairs, len(sides)))


@given(sides=SIDES)
def test_unordered_pairs_of_frames_equal_the_listed_comparisons(sides: list[tuple[int, int, int]]) -> None:
    frames = np.array(sides)[:, 2]
    assert_same(CrossTrials.all_pairs(frames), listed(list(itertools.combinations(samples(frames), 2)), len(sides)))


@given(sides=SIDES)
def test_drops_of_both_kinds_equal_the_listed_comparisons(sides: list[tuple[int, int, int]]) -> None:
    assert_same(*both_kinds(sides))


@given(sides=SIDES, seed=st.integers(0, 999))
def test_restricting_to_two_masks_twice_equals_the_listed_comparisons(
    sides: list[tuple[int, int, int]], seed: int
) -> None:
    cross, pairs = both_kinds(sides)
    masks = np.random.default_rng(seed).random((4, len(sides))) < 0.6
    assert_same(cross.between(masks[0], masks[1]), pairs.between(masks[0], masks[1]))
    assert_same(
        cross.between(masks[0], masks[1]).between(masks[2], masks[3]),
        pairs.between(masks[0], masks[1]).between(masks[2], masks[3]),
    )


@given(sides=SIDES, seed=st.integers(0, 999))
def test_group_pairs_partition_the_comparisons(sides: list[tuple[int, int, int]], seed: int) -> None:
    trials, _ = both_kinds(sides)
    group = np.random.default_rng(seed).integers(0, 3, len(sides))
    cells = [trials.between(group == one, group == other).n for one in range(3) for other in range(one, 3)]
    assert sum(cells) == trials.n


@given(sides=SIDES)
def test_weights_of_one_give_the_comparisons_and_each_has_two_sides(
    sides: list[tuple[int, int, int]],
) -> None:
    trials, _ = both_kinds(sides)
    assert trials.weighted(np.ones((1, len(sides)))).tolist() == [trials.n]
    assert trials.per_subject().sum() == 2 * trials.n


@given(sides=SIDES, seed=st.integers(0, 999))
def test_families_keep_every_comparison_and_list_their_own(sides: list[tuple[int, int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    family = rng.integers(0, 3, len(sides))
    size = int(family.max()) + 1
    for trials in both_kinds(sides):
        grid = np.indices((len(sides), len(sides))).reshape(2, -1)[:, np.tri(len(sides), k=-1, dtype=bool).ravel()]
        by_hand = np.zeros((size, size), np.int64)
        for i, j, count in zip(*grid, trials.of_dyads(*grid), strict=True):
            a, b = sorted((family[i], family[j]))
            by_hand[a, b] += count
        found = trials.clustered(family)
        pairs = np.triu_indices(size)
        assert found.of_dyads(*pairs).tolist() == by_hand[pairs].tolist()
        assert found.own().tolist() == np.diag(by_hand).tolist()
        assert found.n == trials.n
        assert found.per_subject().tolist() == (by_hand.sum(0) + by_hand.sum(1) - np.diag(by_hand)).tolist()
        assert found.sum_of_squares() == pytest.approx(float(np.square(by_hand).sum()))
        weights = rng.integers(0, 3, (2, size)).astype(float)
        expected = [
            sum(by_hand[a, b] * w[a] * (w[b] if a != b else 1) for a, b in zip(*pairs, strict=True)) for w in weights
        ]
        np.testing.assert_allclose(found.weighted(weights), expected, atol=1e-9)


@pytest.mark.parametrize("n_subjects", [300, 2_000])
def test_weighted_sums_equal_those_pair_by_pair_for_dense_and_sparse_lists(n_subjects: int) -> None:
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, n_subjects, (2, 30_000))
    one, other = one[one != other], other[one != other]
    weights = rng.multinomial(n_subjects, [1 / n_subjects] * n_subjects, 150)
    singly = [float(row[one] @ row[other]) for row in weights]
    np.testing.assert_allclose(ListedTrials.of(one, other, n_subjects=n_subjects).weighted(weights), singly)


def test_fifty_million_pairs_are_counted_from_the_subjects_alone() -> None:
    trials = CrossTrials.all_pairs(np.ones(10_000, np.int64))
    assert trials.n == 49_995_000
    assert trials.sum_of_squares() == pytest.approx(49_995_000)


def test_no_comparison_is_a_trial_set_of_zero() -> None:
    none = np.zeros(0, np.int64)
    for trials in (CrossTrials.all_pairs(none), ListedTrials.of(none, none), ListedTrials.of([], [], n_subjects=3)):
        assert trials.n == trials.sum_of_squares() == 0
    assert ListedTrials.of([], [], n_subjects=3).of_dyads([0], [1]).tolist() == [0]


@pytest.mark.parametrize(
    ("i", "j", "message"),
    [
        ([0, -1], [1, 2], "lowest -1"),
        ([0, 1], [1], "of one shape"),
        ([0, 3], [1, 1], "codes below 3, found 3"),
        ([0.0, np.nan], [1, 1], "whole numbers"),
        ([0, 2], [1, 2], "with itself, first at index 1"),
        ([[0]], [[1]], "one row"),
    ],
)
def test_codes_that_name_no_pair_of_subjects_are_refused(i: list[int], j: list[int], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        ListedTrials.of(i, j, n_subjects=3)


def test_counts_masks_and_weights_that_do_not_fit_the_subjects_are_refused() -> None:
    with pytest.raises(MetricError, match="references and probes to be of one shape"):
        CrossTrials.enrolled([1, 2], [1])
    with pytest.raises(MetricError, match=r"frames per subject .* lowest -1"):
        CrossTrials.all_pairs([1, -1])
    trials = CrossTrials.all_pairs([1, 1])
    with pytest.raises(MetricError, match="boolean mask of 2 subjects"):
        trials.between([1, 0], [True, False])
    with pytest.raises(MetricError, match=r"shape \(replicates, 2\)"):
        trials.weighted([[1.0, 1.0, 1.0]])
