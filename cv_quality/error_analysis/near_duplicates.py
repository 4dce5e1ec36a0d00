"""Which of the confirmed proposals are reported: those that say the same become one, what another explains is cut off.

Both halves of the subjects propose, so most slices come twice, worded a little differently. How one is confirmed is in
`cv_quality.error_analysis.holdout_test`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.candidate_search import UNLIKE, Half, Masks, gain_of, totals, unlikeness
from cv_quality.error_analysis.encoding import Encoded
from cv_quality.error_analysis.holdout_test import Evidence, holm, members, tested

ALPHA: Final = 0.005
"""The chance that any slice is reported where there is none."""
OWN_GAIN: Final = 2.0
"""The log-likelihood that a joined value must gain on rows that no other slice holds."""
FURTHER_GAIN: Final = 5.0
"""The log-likelihood that a value must gain to be joined to a confirmed slice: a row-level z of 3.2."""
WORD_PRICE: Final = 4.0
"""What a condition or a joined value must add to the log-likelihood for the longer of two wordings to be taken."""
SAME: Final = 0.5
"""The row Jaccard index from which two slices are two wordings of one."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal with the half that judges it and what that half says.

    Attributes:
        weight: its share of the level, set by the half that proposed it.
        looks: wordings among which the judging half chose, each of which could have been confirmed.
        p_adjusted: for all proposals.
    """

    masks: Masks
    judge: int
    evidence: Evidence
    weight: float
    looks: int = 1
    p_adjusted: float = 1.0


def settle(encoded: Encoded, halves: tuple[Half, Half], candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates to report, the strongest first; each holds on the rows that those before it leave."""
    sure = [item for judge in (0, 1) for item in _adjusted(candidates, judge) if item.p_adjusted <= ALPHA]
    distinct = _distinct(encoded, _merged(encoded, sorted(sure, key=lambda item: -_worth(encoded, item.masks))))
    return _beyond_each_other(encoded, halves, _reworded(encoded, distinct))


def _adjusted(candidates: Sequence[Candidate], judge: int) -> list[Candidate]:
    """The candidates of one judge; each judge has half of the level, shared out by what the proposers gained."""
    own = [item for item in candidates if item.judge == judge]
    whole = sum(item.weight for item in own)
    own = [replace(item, weight=item.weight / whole) for item in own]
    adjusted = holm([item.evidence.p * item.looks for item in own], [item.weight for item in own])
    return [replace(item, p_adjusted=min(1.0, 2 * p)) for item, p in zip(own, adjusted, strict=True)]


def inside_of(encoded: Encoded, masks: Masks) -> Flags:
    """Which rows of the whole table a slice holds."""
    inside = np.ones(encoded.n_rows, np.bool_)
    for column, mask in masks.items():
        inside &= mask[encoded.columns[column].codes]
    return inside


def strength(encoded: Encoded, masks: Masks) -> float:
    """The log-likelihood that a rate of its own gains for the slice over the whole table."""
    return _gain(encoded, inside_of(encoded, masks), np.ones(encoded.n_rows, np.bool_))


def _worth(encoded: Encoded, masks: Masks) -> float:
    """The strength less a price for each condition and each joined value."""
    joined = [int(mask.sum()) - 1 for column, mask in masks.items() if not encoded.columns[column].is_ordered]
    return strength(encoded, masks) - WORD_PRICE * (len(masks) + sum(joined))


def _gain(encoded: Encoded, inside: Flags, among: Flags) -> float:
    return gain_of(encoded.outcome, inside, among, is_rate=encoded.kind == "rate")


def _beyond_each_other(encoded: Encoded, halves: tuple[Half, Half], items: Sequence[Candidate]) -> list[Candidate]:
    """The items, strongest first, that still hold on rows without those before them."""
    rests = [np.ones(half.n_rows, np.bool_) for half in halves]
    kept = []
    for item in sorted(items, key=lambda item: -strength(encoded, item.masks)):
        half, rest = halves[item.judge], rests[item.judge]
        inside = members(half, item.masks)
        evidence = tested(half, inside & rest, rest & ~inside)
        if evidence is None or evidence.p * item.looks / item.weight > ALPHA / 2:
            continue
        kept.append(replace(item, evidence=evidence))
        for each, other in zip(rests, halves, strict=True):
            each &= ~members(other, item.masks)
    return kept


def _merged(encoded: Encoded, items: Sequence[Candidate]) -> list[Candidate]:
    """Slices that differ only in the values of one column, and fail alike, as one: the better one, or both together."""
    merged: list[Candidate] = []
    for item in items:
        for place, other in enumerate(merged):
            union = _together(encoded, item.masks, other.masks)
            if union is not None:
                merged[place] = replace(other, masks=union, p_adjusted=max(other.p_adjusted, item.p_adjusted))
                break
        else:
            merged.append(item)
    return merged


def _together(encoded: Encoded, one: Masks, other: Masks) -> Masks | None:
    """Two slices as one, or None; the other as it is where one of them has all values of both."""
    column = _only_difference(encoded, one, other)
    if column is None or not _fail_alike(encoded, other, column, one[column] | other[column]):
        return None
    is_nested = not (one[column] & ~other[column]).any() or not (other[column] & ~one[column]).any()
    return other if is_nested else {**other, column: one[column] | other[column]}


def _only_difference(encoded: Encoded, one: Masks, other: Masks) -> int | None:
    """The one column of values in which two slices differ."""
    if set(one) != set(other):
        return None
    different = [column for column in one if not np.array_equal(one[column], other[column])]
    return different[0] if len(different) == 1 and not encoded.columns[different[0]].is_ordered else None


def _fail_alike(encoded: Encoded, masks: Masks, column: int, values: NDArray[np.bool_]) -> bool:
    """Whether one rate does nearly as well as one for each value, within the slice's other conditions."""
    among = inside_of(encoded, {name: mask for name, mask in masks.items() if name != column})
    counts, sums = _per_code(encoded, column, among)
    held = np.flatnonzero(values & (counts > 0))
    variance = totals(encoded.outcome, is_rate=encoded.kind == "rate")[2]
    return bool(unlikeness(counts[held], sums[held], variance)[-1] <= UNLIKE + len(held) - 1)


def _distinct(encoded: Encoded, items: Sequence[Candidate]) -> list[Candidate]:
    """The items, best first, without further wordings of those before them."""
    kept: list[tuple[Candidate, Flags]] = []
    for item in items:
        inside = inside_of(encoded, item.masks)
        if all((inside & other).sum() < SAME * (inside | other).sum() for _, other in kept):
            kept.append((item, inside))
    return [item for item, _ in kept]


def _reworded(encoded: Encoded, items: Sequence[Candidate]) -> list[Candidate]:
    """Each slice without the values that gain nothing on rows that no other slice holds, and with those that do."""
    inside = [inside_of(encoded, item.masks) for item in items]
    trimmed = []
    for place, item in enumerate(items):
        others = [rows for index, rows in enumerate(inside) if index != place]
        alone = ~np.logical_or.reduce(others) if others else np.ones(encoded.n_rows, np.bool_)
        rest = ~inside[place] & alone
        masks = {column: _own_values(encoded, item.masks, column, alone, rest) for column in item.masks}
        masks = {column: _with_further_values(encoded, masks, column, alone, rest) for column in masks}
        inside[place] = inside_of(encoded, masks)
        trimmed.append(replace(item, masks=masks))
    return trimmed


def _with_further_values(encoded: Encoded, masks: Masks, column: int, alone: Flags, rest: Flags) -> NDArray[np.bool_]:
    """The values of a condition with those that fail alike, and clearly, on the rows that no slice holds."""
    mask = masks[column]
    if encoded.columns[column].is_ordered:
        return mask
    among = alone & inside_of(encoded, {name: other for name, other in masks.items() if name != column})
    codes, found = encoded.columns[column].codes, mask.copy()
    for code in np.flatnonzero(~mask[: len(encoded.columns[column].labels)]):
        added = mask.copy()
        added[code] = True
        rows = among & (codes == code)
        if _gain(encoded, rows, rows | rest) >= FURTHER_GAIN and _fail_alike(encoded, masks, column, added):
            found[code] = True
    return found


def _own_values(encoded: Encoded, masks: Masks, column: int, alone: Flags, rest: Flags) -> NDArray[np.bool_]:
    mask = masks[column]
    held = np.flatnonzero(mask)
    if encoded.columns[column].is_ordered or len(held) < 2:
        return mask
    among = alone & inside_of(encoded, masks)
    codes = encoded.columns[column].codes
    gains = {code: _gain(encoded, rows, rows | rest) for code in held if (rows := among & (codes == code)).any()}
    own = [code for code, gain in gains.items() if gain >= OWN_GAIN]
    if not own:
        return mask
    trimmed = np.zeros_like(mask)
    trimmed[own] = True
    return trimmed


def _per_code(encoded: Encoded, column: int, among: Flags) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    codes = encoded.columns[column].codes[among]
    counts = np.bincount(codes, minlength=256).astype(np.float64)
    return counts, np.bincount(codes, weights=encoded.outcome[among], minlength=256).astype(np.float64)
