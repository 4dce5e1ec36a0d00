"""Counts of all pairs of codes: those of every pair scored alone, for each number of rotations, and of two eyes."""

import subprocess
import sys

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.code_counters import scale_of
from cv_quality.metrics.iris.codes import Codes
from cv_quality.metrics.iris.counting import FUSIONS, Fusion, count_codes, count_fused, fuse_by, shift_curves
from cv_quality.metrics.iris.hamming import compare
from cv_quality.metrics.iris.rules import NORMS, HammingRule, Norm
from cv_quality.metrics.pairs import PairCounts, Rows, Side, TemplateArray, count_scored
from cv_quality.metrics.score_bins import histogram_of
from cv_quality_tests.metrics.iris.plain import plain_distances, random_templates

N, THRESHOLD = 150, -0.45
NAMES = np.array([f"s{index // 3:02d}" for index in range(N)])


def rule(**settings: object) -> HammingRule:
    return HammingRule(**{"bits": 512, "step": 16, "shifts": 5, "minimum_bits": 300, **settings})  # type: ignore[arg-type]


def codes(seed: int) -> Codes:
    found = random_templates(N, (8, 32, 2), seed=seed, valid=0.78)
    found[7] = 0
    return found


def frames(templates: TemplateArray) -> Side:
    return Side(templates, NAMES, np.arange(N))


def assert_equal(found: PairCounts, expected: PairCounts) -> None:
    assert np.array_equal(found.histogram, expected.histogram)
    assert found.tail.equals(expected.tail)
    assert found.floor == expected.floor
    assert found.matches is not None
    assert expected.matches is not None
    assert found.matches.of_subjects.equals(expected.matches.of_subjects)
    assert found.n_incomparable == expected.n_incomparable > 0


@pytest.mark.parametrize("keep_all", [10, 10**6])
@pytest.mark.parametrize("norm", NORMS)
def test_counts_are_those_of_pairs_scored_one_by_one(norm: Norm, keep_all: int) -> None:
    own, side = rule(norm=norm), frames(codes(1))
    limits = {"threshold": THRESHOLD, "keep_all": keep_all, "keep": 50}

    def score(left: TemplateArray, right: TemplateArray, rows: Rows) -> np.ndarray:
        return 0.0 - compare(left, right, rows, own).hd_norm

    expected = count_scored(side, side, score=score, scale=scale_of(own), **limits)  # type: ignore[arg-type]
    assert_equal(count_codes(side, side, rule=own, threads=2, **limits), expected)  # type: ignore[arg-type]
    assert expected.n + expected.n_incomparable == N * (N - 1) // 2 - N


def test_histogram_and_tail_are_those_of_plain_numpy() -> None:
    templates, own = codes(2), rule()
    found = count_codes(frames(templates), frames(templates), rule=own)
    distances = plain_distances(templates, templates, own)
    later, earlier = np.triu_indices(N, 1)[::-1]
    scores = 0.0 - distances[earlier, later][NAMES[earlier] != NAMES[later]]
    known = scores[~np.isnan(scores)]
    assert np.array_equal(found.histogram, histogram_of(known, scale_of(own)))
    assert found.tail["score"].sort().to_list() == sorted(known.tolist())
    assert found.n_incomparable == len(scores) - len(known)


def test_each_number_of_rotations_has_the_counts_of_its_own_rule() -> None:
    side = frames(codes(3))
    curves = shift_curves(side, side, rule=rule())
    for index, shifts in enumerate((1, 3, 5)):
        assert np.array_equal(curves[index], count_codes(side, side, rule=rule(shifts=shifts)).histogram)


def test_curves_on_threads_and_of_listed_pairs_are_the_same() -> None:
    side = frames(codes(3))
    rows = np.triu_indices(N, 1)
    of_two = np.flatnonzero(NAMES[rows[0]] != NAMES[rows[1]])
    listed = shift_curves(side, side, rule=rule(), rows=(rows[0][of_two], rows[1][of_two]))
    assert np.array_equal(listed, shift_curves(side, side, rule=rule(), threads=1))
    assert np.array_equal(listed, shift_curves(side, side, rule=rule(), threads=2))
    assert listed.shape[0] == 3
    assert shift_curves(side, side, rule=rule(shifts=1)).shape[0] == 1


def test_more_rotations_never_make_a_score_lower() -> None:
    side = frames(codes(3))
    curves = shift_curves(side, side, rule=rule(minimum_bits=1))
    assert len(set(curves.sum(axis=1).tolist())) == 1
    below = np.cumsum(curves, axis=1)
    assert np.all(below[1:] <= below[:-1])
    assert np.any(below[1:] < below[:-1])


def test_captures_of_one_eye_are_refused() -> None:
    with pytest.raises(MetricError, match=r"left and the right template of each capture.*found uint64 of shape \(150"):
        count_fused(frames(codes(1)), frames(codes(1)), rule=rule(), fusion="mean")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_two_eyes_are_fused_pair_by_pair(fusion: Fusion) -> None:
    left, right, own = codes(4), codes(5), rule()
    captures = frames(np.stack([left, right], axis=1))
    found = count_fused(captures, captures, rule=own, fusion=fusion)
    eyes = [0.0 - plain_distances(eye, eye, own) for eye in (left, right)]
    fused = fuse_by(fusion)(np.stack(eyes))
    earlier, later = np.triu_indices(N, 1)
    scores = fused[earlier, later][NAMES[earlier] != NAMES[later]]
    assert np.array_equal(found.histogram, histogram_of(scores[~np.isnan(scores)], scale_of(own)))
    assert found.n_incomparable == int(np.isnan(scores).sum())


def test_fusion_accepts_by_either_eye_or_by_both() -> None:
    eyes = np.array([[-0.2, -0.4, np.nan, np.nan], [-0.3, -0.1, -0.3, np.nan]])
    assert fuse_by("minimum")(eyes).tolist()[:3] == [-0.2, -0.1, -0.3]
    assert fuse_by("maximum")(eyes).tolist()[:2] == [-0.3, -0.4]
    assert fuse_by("mean")(eyes).tolist()[:3] == [-0.25, -0.25, -0.3]
    assert np.isnan(fuse_by("maximum")(eyes)[2:]).all()
    assert all(np.isnan(fuse_by(fusion)(eyes)[3]) for fusion in FUSIONS)
    with pytest.raises(MetricError, match="minimum, maximum, mean"):
        fuse_by("median")  # type: ignore[arg-type]


def test_no_side_is_no_pair_and_no_comparable_pair_ends() -> None:
    nobody, side = Side(np.empty((0, 0)), np.empty(0, str)), frames(codes(6))
    assert count_codes(nobody, side, rule=rule()).n == 0
    blind = frames(np.zeros_like(codes(6)))
    found = count_codes(blind, blind, rule=rule(), keep_all=10, keep=50)
    assert (found.n, found.n_incomparable, found.tail.height) == (0, N * (N - 1) // 2 - N, 0)
    both = found + count_codes(side, side, rule=rule(), keep_all=10, keep=50)
    assert both.n_incomparable > found.n_incomparable
    assert both.trimmed(5).n_incomparable == both.n_incomparable


FIRST_USE = """
import threading
from concurrent.futures import ThreadPoolExecutor
from cv_quality.metrics.iris.hamming_kernels import rotate_rows
from cv_quality.metrics.iris.popcount import compiled_bits

barrier = threading.Barrier(8)


def first():
    barrier.wait()
    return id(compiled_bits(rotate_rows))


with ThreadPoolExecutor(8) as pool:
    print(len({future.result() for future in [pool.submit(first) for _ in range(8)]}))
"""


def test_threads_that_compile_first_at_once_share_one_loop() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")
