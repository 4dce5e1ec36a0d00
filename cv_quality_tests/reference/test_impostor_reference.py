"""Counted impostor pairs against every pair scored one by one in float64."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import Lake
from cv_quality.metrics.pairs import PairCounts, Side, count_block
from cv_quality.metrics.score_bins import BINS, bin_of
from cv_quality.tasks.verification.impostors import (
    BLOCKS,
    ImpostorCounts,
    count_impostors,
    read_impostors,
    write_impostors,
)
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.tables import EMBEDDINGS
from cv_quality_tests.tasks.verification.tiny_drops import Sample, all_pairs_samples, random_drop, unit, write_drop

NAMES = [f"s{index}" for index in range(7)]


def fused(
    enrols: list[Sample],
) -> dict[tuple[str, bytes], tuple[str, "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]]:
    """(reference id, its enrolment templates) -> subject and reference vector."""
    groups: dict[str, list[Sample]] = {}
    for sample in enrols:
        groups.setdefault(str(sample.reference), []).append(sample)
    found = {}
    for name, samples in groups.items():
        vectors = [np.asarray(sample.vector, dtype=np.float64) for sample in samples]
        mean = np.sum([vector / np.linalg.norm(vector) for vector in vectors], axis=0)
        mark = b"".join(vector.tobytes() for vector in vectors)
        found[name, mark] = (samples[0].subject, mean / np.linalg.norm(mean))
    return found


def brute_force(drops: list[tuple[list[Sample], list[Sample]]]) -> list[float]:
    """Every (distinct reference, probe) pair of different subjects over all drops, once."""
    references = {key: value for enrols, _ in drops for key, value in fused(enrols).items()}
    scores = []
    for _, attempts in drops:
        for (owner, reference), attempt in itertools.product(references.values(), attempts):
            if owner != attempt.subject and attempt.vector is not None:
                probe = np.asarray(attempt.vector, dtype=np.float64)
                scores.append(float(reference @ probe / np.linalg.norm(probe)))
    return sorted(scores)


def three_drops(lake: Lake) -> list[tuple[list[Sample], list[Sample]]]:
    """Subjects overlap between the drops; one of them is enrolled anew, under the same id, in the third."""
    drops = [
        random_drop(seed=seed, subjects=names, attempts=3, prefix=f"d{seed}-")
        for seed, names in enumerate((NAMES[:4], NAMES[2:6], NAMES[:7:2]))
    ]
    drops[2][0][0] = Sample("e-s0-0", "s0", unit(np.random.default_rng(99).normal(size=16)), reference="r-s0")
    for index, (enrols, attempts) in enumerate(drops):
        write_drop(lake, drop=f"d{index}", build="b1", enrols=enrols, attempts=attempts)
    return drops


def counted_pairs(lake: Lake) -> ImpostorCounts:
    """Every cross-subject pair of the drops that the lake has."""
    drops = [str(key.drop) for key in lake.keys(DROP_FILES)]
    return count_impostors(lake, build="b1", model_build="b1", drops=drops, modality=FACE, decision_threshold=0.6)


def test_every_pair_of_three_drops_with_shared_references_counts_once(lake: Lake) -> None:
    drops = three_drops(lake)
    counted = counted_pairs(lake)
    expected = brute_force(drops)
    assert counted.counts.n == len(expected)
    np.testing.assert_allclose(counted.counts.score_tail().scores, expected, atol=1e-12)
    assert counted.blocks == counted.blocks_computed == 9


def test_every_unordered_pair_of_frames_counts_once_over_all_pairs_drops(lake: Lake) -> None:
    samples = [all_pairs_samples({f"s{drop}{index}": 2 + index for index in range(3)}, seed=drop) for drop in range(3)]
    for drop, (enrols, attempts) in enumerate(samples):
        write_drop(lake, drop=f"d{drop}", build="b1", enrols=enrols, attempts=attempts, protocol="all_pairs")
    frames = [sample for enrols, _ in samples for sample in enrols]
    expected = sorted(
        float(np.dot(one.vector.astype(float), other.vector.astype(float)))
        for one, other in itertools.combinations(frames, 2)
        if one.subject != other.subject and one.vector is not None and other.vector is not None
    )
    counted = counted_pairs(lake).counts
    assert counted.n == len(expected)
    np.testing.assert_allclose(counted.score_tail().scores, expected, atol=1e-6)


def test_a_new_drop_computes_only_its_own_blocks_and_a_repeat_none(lake: Lake) -> None:
    drops = three_drops(lake)
    counted_pairs(lake)
    enrols, attempts = random_drop(seed=7, subjects=["s9", "s0"], attempts=2, prefix="d3-")
    write_drop(lake, drop="d3", build="b1", enrols=enrols, attempts=attempts)
    counted = counted_pairs(lake)
    assert (counted.blocks, counted.blocks_computed) == (16, 7)
    np.testing.assert_allclose(
        counted.counts.score_tail().scores, brute_force([*drops, (enrols, attempts)]), atol=1e-12
    )
    assert counted_pairs(lake).blocks_computed == 0


def test_a_corrected_drop_changes_only_its_blocks_and_the_sum_is_right(lake: Lake) -> None:
    drops = three_drops(lake)
    counted_pairs(lake)
    enrols, attempts = drops[1]
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts[:-1])
    counted = counted_pairs(lake)
    assert counted.blocks_computed == 3
    np.testing.assert_allclose(
        counted.counts.score_tail().scores, brute_force([drops[0], (enrols, attempts[:-1]), drops[2]]), atol=1e-12
    )


def test_tables_give_back_the_same_counts(lake: Lake) -> None:
    three_drops(lake)
    counted = counted_pairs(lake)
    write_impostors(lake, [counted], comparator=FACE.comparator)
    stored = read_impostors(lake, build="b1", model_build="b1", comparator=FACE.comparator)
    assert np.array_equal(stored.histogram, counted.counts.histogram)
    assert np.array_equal(stored.score_tail().scores, counted.counts.score_tail().scores)
    assert stored.floor == counted.counts.floor


@pytest.fixture(scope="module")
def large_sides() -> tuple[Side, Side]:
    rng = np.random.default_rng(4)
    sides = []
    for size in (1_300, 2_500):
        vectors = rng.normal(size=(size, 24))
        sides.append(
            Side(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), rng.integers(0, 90, size).astype(str))
        )
    return sides[0], sides[1]


def exact(references: Side, probes: Side) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    is_counted = references.subjects[:, None] != probes.subjects[None, :]
    return np.sort((references.vectors @ probes.vectors.T)[is_counted])


def test_a_large_block_has_an_exact_tail_and_a_histogram_right_to_one_bin(large_sides: tuple[Side, Side]) -> None:
    counts = count_block(*large_sides, keep=20_000)
    scores = exact(*large_sides)
    assert counts.n == scores.size
    tail = counts.score_tail().scores
    assert tail.size >= 20_000
    np.testing.assert_allclose(tail, scores[scores >= counts.floor], atol=1e-12)
    drift = np.cumsum(counts.histogram - np.bincount(bin_of(scores), minlength=BINS))
    assert np.abs(drift).max() <= 50


def test_blocks_add_up_in_any_order(large_sides: tuple[Side, Side]) -> None:
    references, probes = large_sides
    parts = [
        count_block(references, Side(probes.vectors[part], probes.subjects[part]), keep=5_000)
        for part in (slice(0, 900), slice(900, 1_000), slice(1_000, None))
    ]
    for order in itertools.permutations(parts):
        total = sum(order, PairCounts.empty())
        scores = exact(references, probes)
        assert total.n == scores.size
        np.testing.assert_allclose(total.score_tail().scores, scores[scores >= total.floor], atol=1e-12)


def test_a_crowded_bin_is_counted_but_not_kept() -> None:
    vectors = np.tile(np.array([[1.0, 0.0]]), (600, 1))
    one = Side(vectors, np.array(["a"] * 600))
    other = Side(vectors, np.array(["b"] * 600))
    counts = count_block(one, other, keep=100)
    assert (counts.n, counts.tail.height) == (360_000, 0)


def test_forgetting_a_template_changes_the_address_of_its_blocks(lake: Lake, tmp_path: Path) -> None:
    enrols, attempts = random_drop(seed=0, subjects=NAMES[:3], attempts=2)
    write_drop(lake, drop="d0", build="b1", enrols=enrols, attempts=attempts)
    counted_pairs(lake)
    before = {info.key for info in lake.store.list(BLOCKS)}
    write_drop(lake, drop="d0", build="b1", enrols=enrols[2:], attempts=attempts[2:])
    counted_pairs(lake)
    assert {info.key for info in lake.store.list(BLOCKS)} != before
    assert list(tmp_path.rglob("*.part")) == []
    assert pl.read_parquet(lake.store.local("embeddings/b1/d0.parquet")).columns == EMBEDDINGS.names
