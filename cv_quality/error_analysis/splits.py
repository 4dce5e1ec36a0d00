"""The search on several splits of the subjects: the slices that most of them confirm, in the wording that most share.

One split searches for candidates on each half of the subjects (`candidate_search`), tests them on the other
(`holdout`) and merges near-duplicates (`near_duplicates`). Which wording it ends with depends on the draw, so a slice
is reported when more than half of the splits confirm one that holds much the same rows. That also bounds the error:
with p the m-th smallest of the p values of K splits, K / m p is one again (Meinshausen, Meier and Bühlmann, J. American
Statistical Association 104, 2009), however the splits depend on each other.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.candidate_search import Candidate, keep_homogeneous, search_candidates
from cv_quality.error_analysis.cube import Cube, Layout, count_halves
from cv_quality.error_analysis.encoding import Bounds, Bytes, Encoded
from cv_quality.error_analysis.halves import Flags, Half, Masks, split_by_failures
from cv_quality.error_analysis.holdout import MIN_SUBJECTS, HoldoutResult, holdout_test, prune_conditions
from cv_quality.error_analysis.near_duplicates import (
    SAME_JACCARD,
    HoldoutCandidate,
    merge_near_duplicates,
    total_gain,
    wording_gain,
)
from cv_quality.error_analysis.slice_report import CONFIRMATION_LEVEL

SPLITS: Final = 5
ENOUGH: Final = SPLITS // 2 + 1
"""Most of the splits."""
SAME_ROWS: Final = 0.8
"""The row Jaccard index from which a split is said to have confirmed the very slice."""
SAME_BOUND: Final = 0.9
"""The row Jaccard index from which a preferred bound takes the place of the one that was found."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split of the subjects, and what it confirmed.

    Attributes:
        is_first: the rows of the first half.
        confirmed: its slices.
        insufficient: candidates that hold too few subjects.
    """

    is_first: Flags
    confirmed: tuple[HoldoutCandidate, ...]
    insufficient: tuple[Masks, ...]

    def holdout_rows(self, item: HoldoutCandidate) -> Flags:
        """Flag the rows of the half that tested one of its slices."""
        return self.is_first if item.holdout == 0 else ~self.is_first

    def wordings(self) -> set[frozenset[tuple[int, bytes]]]:
        """What it confirmed, in words: two that are equal hold the same rows by the same conditions."""
        items = (item.masks.items() for item in self.confirmed)
        return {frozenset((column, mask.tobytes()) for column, mask in conditions) for conditions in items}


@dataclass(frozen=True, slots=True)
class StableSlice:
    """A slice that most splits confirm.

    Attributes:
        item: its wording, as the split that gave it tested it; the p value is that of all splits.
        holdout_rows: the rows of the half that tested it.
        n_splits, stability: how many splits were searched, and the share of them that confirm a slice of equal or
            nearly equal rows.
    """

    item: HoldoutCandidate
    holdout_rows: Flags
    n_splits: int
    stability: float


def search_splits(encoded: Encoded, layout: Layout, *, seed: int, threads: int) -> list[Split]:
    """Search the splits of a seed; the last ones only where they could still change which slices most confirm.

    Args:
        encoded, layout: the table, and what is counted of it.
        seed, threads: no two seeds share a split; for counting, and for splits at a time.
    """
    firsts = [split_by_failures(encoded, seed=seed * SPLITS + place) for place in range(SPLITS)]
    cubes = count_halves(Half.whole(encoded), layout, firsts, threads=threads)
    search = partial(search_split, encoded)
    with ThreadPoolExecutor(threads) as pool:
        splits = list(pool.map(search, firsts[:ENOUGH], cubes[:ENOUGH]))
        if not _is_decided(splits):
            splits += pool.map(search, firsts[ENOUGH:], cubes[ENOUGH:])
    return splits


def _is_decided(splits: Sequence[Split]) -> bool:
    """Whether most of all splits confirm the same slices in the same words, surely enough for all of them.

    Whatever the others say, these slices have most splits, and nothing else can get most.
    """
    alike = all(split.wordings() == splits[0].wordings() for split in splits)
    p = max((item.p_adjusted for split in splits for item in split.confirmed), default=0.0)
    return alike and len(splits) >= ENOUGH and SPLITS / ENOUGH * p <= CONFIRMATION_LEVEL


def search_split(encoded: Encoded, is_first: Flags, cubes: tuple[Cube, Cube]) -> Split:
    """Search one split of the subjects: what each half proposes and the other confirms.

    Args:
        encoded: the table.
        is_first: the rows of the first half.
        cubes: what was counted of both halves.
    """
    halves = Half.of(encoded, is_first), Half.of(encoded, ~is_first)
    candidates = [list(search_candidates(half, encoded, cube)) for half, cube in zip(halves, cubes, strict=True)]
    tested, few = list[HoldoutCandidate](), list[Masks]()
    for found_on, holdout in ((0, 1), (1, 0)):
        rest = np.ones(halves[holdout].n_rows, np.bool_)
        for candidate in candidates[found_on]:
            masks = keep_homogeneous(halves[holdout], encoded.columns, candidate.masks)
            result = _tested(encoded, halves[holdout], replace(candidate, masks=masks), holdout, rest)
            if result is None:
                few.append(masks)
            else:
                tested.append(result)
            rest &= ~halves[holdout].inside(masks)
    return Split(is_first, tuple(merge_near_duplicates(encoded, halves, tested)), tuple(few))


def _tested(encoded: Encoded, half: Half, candidate: Candidate, holdout: int, rest: Flags) -> HoldoutCandidate | None:
    """The candidate, pruned, with its holdout test; None where it holds too few subjects.

    Where it holds enough subjects, but the slices before it leave too few on the holdout half, nothing is shown.
    """
    pruned = prune_conditions(half, candidate.masks, rest)
    inside = half.inside(pruned)
    result = holdout_test(half, inside & rest, rest & ~inside)
    if encoded.n_subjects_of(encoded.inside(pruned)) < MIN_SUBJECTS:
        return None
    if result is None or result.subjects < MIN_SUBJECTS // 2:
        result = HoldoutResult(0, 0.0, 0.0, 0, 1.0)
    looks = 1 if len(pruned) == len(candidate.masks) else 2 ** len(candidate.masks) - 2
    return HoldoutCandidate(pruned, holdout, result, candidate.weight, looks)


def agree(encoded: Encoded, splits: Sequence[Split], *, bounds: Bounds | None = None) -> list[StableSlice]:
    """Choose the slices that most splits confirm; the strongest first, each on the rows that others leave.

    Of the wordings of one slice, the one that most splits share is taken; of those, the one that gains most over the
    whole table.

    Args:
        encoded, splits: the table, and its searched splits.
        bounds: by column, thresholds that are taken where they part nearly the same rows.
    """
    table = Half.whole(encoded)
    named = [(place, item) for place, split in enumerate(splits) for item in split.confirmed]
    shared = _jaccards([np.packbits(encoded.inside(item.masks)) for _, item in named])
    places = np.array([place for place, _ in named])
    holding = [len(set(places[row >= SAME_ROWS])) for row in shared]
    gains = [wording_gain(encoded, table, item.masks) for _, item in named]
    left, found = sorted(range(len(named)), key=lambda index: (-holding[index], -gains[index])), list[StableSlice]()
    while left:
        (place, item), like = named[left[0]], shared[left[0]] >= SAME_JACCARD
        p = _combined([named[index] for index in left if like[index]])
        if p <= CONFIRMATION_LEVEL:
            item = replace(item, p_adjusted=p, masks=_with_bounds(encoded, item.masks, bounds or {}))
            found.append(
                StableSlice(item, splits[place].holdout_rows(item), len(splits), holding[left[0]] / len(splits))
            )
        left = [index for index in left if not like[index]]
    return _jointly_confirmed(table, found)


def _jaccards(rows: Sequence[Bytes]) -> NDArray[np.float64]:
    """The row Jaccard index of each two slices, given as packed flags."""
    both = np.array([[int(np.bitwise_count(one & other).sum()) for other in rows] for one in rows], np.float64)
    sizes = np.diag(both) if len(rows) else np.empty(0)
    return both / np.maximum(sizes[:, None] + sizes - both, 1) if len(rows) else both


def _combined(named: Sequence[tuple[int, HoldoutCandidate]]) -> float:
    """The p value of a slice over all splits, from those of its wordings; 1 in a split without it, or not searched."""
    best = [1.0] * SPLITS
    for place, item in named:
        best[place] = min(best[place], item.p_adjusted)
    return min(1.0, SPLITS / ENOUGH * sorted(best)[ENOUGH - 1])


def _with_bounds(encoded: Encoded, masks: Masks, bounds: Bounds) -> Masks:
    """The slice with a preferred bound in place of each one-sided threshold that parts nearly the same rows."""
    for index, mask in masks.items():
        column = encoded.columns[index]
        inside = encoded.inside(masks)
        nearest = SAME_BOUND
        for bound in bounds.get(column.name, ()):
            other = column.with_bound(mask, bound)
            if other is None:
                continue
            rows = encoded.inside({**masks, index: other})
            alike = (rows & inside).sum() / max((rows | inside).sum(), 1)
            if alike >= nearest:
                masks, nearest = {**masks, index: other}, alike
    return masks


def _jointly_confirmed(table: Half, found: Sequence[StableSlice]) -> list[StableSlice]:
    """The slices, strongest first, that still hold on rows without those before them."""
    rest, kept = np.ones(table.n_rows, np.bool_), list[StableSlice]()
    for one in sorted(found, key=lambda one: -total_gain(table, one.item.masks)):
        everywhere, left = table.inside(one.item.masks), rest & one.holdout_rows
        result = holdout_test(table, everywhere & left, left & ~everywhere)
        if result is None or result.p * one.item.looks / one.item.weight > CONFIRMATION_LEVEL / 2:
            continue
        kept.append(replace(one, item=replace(one.item, result=result)))
        rest &= ~everywhere
    return kept
