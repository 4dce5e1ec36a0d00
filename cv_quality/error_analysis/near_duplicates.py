"""Near-duplicates among the confirmed candidates: those that say the same become one, values of others are cut off.

Both halves of the subjects search, so most slices come twice, in slightly different wordings. How one is confirmed is
in `cv_quality.error_analysis.holdout`. The penalty and gains were chosen on planted tables of overlapping slices
and joined values; what is recovered and what is false at these values is measured by `benchmarks/slices.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cv_quality.error_analysis.candidate_search import (
    MAX_HETEROGENEITY,
    heterogeneity,
    log_likelihood_gain,
    search_totals,
)
from cv_quality.error_analysis.encoding import Encoded
from cv_quality.error_analysis.halves import Flags, Half, Masks
from cv_quality.error_analysis.holdout import HoldoutResult, holdout_test, holm
from cv_quality.error_analysis.slice_report import CONFIRMATION_LEVEL

MIN_OWN_GAIN: Final = 2.0
"""The log-likelihood that a joined value must gain on rows that no other slice holds."""
MIN_FURTHER_GAIN: Final = 5.0
"""The log-likelihood that a value must gain to be joined to a confirmed slice: a row-level z of 3.2."""
WORDING_PENALTY: Final = 4.0
"""What a condition or a joined value must add to the log-likelihood for the longer of two wordings to be taken."""
SAME_JACCARD: Final = 0.5
"""The row Jaccard index from which two slices are two wordings of one."""


@dataclass(frozen=True, slots=True)
class HoldoutCandidate:
    """A candidate with its holdout test.

    Attributes:
        holdout, result: index of the half that tested it, and the result of the test.
        weight: its share of the level, set by the half that found it.
        looks: wordings among which the holdout half chose, each of which could have been confirmed.
        p_adjusted: for all candidates.
    """

    masks: Masks
    holdout: int
    result: HoldoutResult
    weight: float
    looks: int = 1
    p_adjusted: float = 1.0


def merge_near_duplicates(
    encoded: Encoded, halves: tuple[Half, Half], candidates: Sequence[HoldoutCandidate]
) -> list[HoldoutCandidate]:
    """Merge the confirmed candidates that say the same; the strongest first, each on the rows that others leave.

    Args:
        encoded, halves: the table, and the halves of its subjects.
        candidates: of both halves, tested.
    """
    table = Half.whole(encoded)
    adjusted = [item for holdout in (0, 1) for item in _adjusted(candidates, holdout)]
    confirmed = [item for item in adjusted if item.p_adjusted <= CONFIRMATION_LEVEL]
    ranked = sorted(confirmed, key=lambda item: -wording_gain(encoded, table, item.masks))
    distinct = _distinct(table, _merged(encoded, table, ranked))
    return _jointly_confirmed(table, halves, _reworded(encoded, table, distinct))


def _adjusted(candidates: Sequence[HoldoutCandidate], holdout: int) -> list[HoldoutCandidate]:
    """The candidates tested on one half; each half has half of the level, shared out by what they gained in search."""
    own = [item for item in candidates if item.holdout == holdout]
    whole = sum(item.weight for item in own)
    own = [replace(item, weight=item.weight / whole) for item in own]
    adjusted = holm([item.result.p * item.looks for item in own], [item.weight for item in own])
    return [replace(item, p_adjusted=min(1.0, 2 * p)) for item, p in zip(own, adjusted, strict=True)]


def total_gain(table: Half, masks: Masks) -> float:
    """Compute the log-likelihood that a slice gains by a rate of its own over the whole table."""
    return log_likelihood_gain(table, table.inside(masks), np.ones(table.n_rows, np.bool_))


def wording_gain(encoded: Encoded, table: Half, masks: Masks) -> float:
    """Compute what a wording gains over the whole table, less the penalty of its conditions and joined values.

    Args:
        encoded, table: the table, and all its rows.
        masks: the wording.
    """
    joined = [int(mask.sum()) - 1 for column, mask in masks.items() if not encoded.columns[column].is_ordered]
    return total_gain(table, masks) - WORDING_PENALTY * (len(masks) + sum(joined))


def _jointly_confirmed(
    table: Half, halves: tuple[Half, Half], items: Sequence[HoldoutCandidate]
) -> list[HoldoutCandidate]:
    """The items, strongest first, that still hold on rows without those before them."""
    rests = [np.ones(half.n_rows, np.bool_) for half in halves]
    kept = []
    for item in sorted(items, key=lambda item: -total_gain(table, item.masks)):
        half, rest = halves[item.holdout], rests[item.holdout]
        inside = half.inside(item.masks)
        result = holdout_test(half, inside & rest, rest & ~inside)
        if result is None or result.p * item.looks / item.weight > CONFIRMATION_LEVEL / 2:
            continue
        kept.append(replace(item, result=result))
        for each, other in zip(rests, halves, strict=True):
            each &= ~other.inside(item.masks)
    return kept


def _merged(encoded: Encoded, table: Half, items: Sequence[HoldoutCandidate]) -> list[HoldoutCandidate]:
    """Slices that differ only in the values of one column, and fail alike, as one: the better one, or both together."""
    merged: list[HoldoutCandidate] = []
    for item in items:
        for place, other in enumerate(merged):
            union = _together(encoded, table, item.masks, other.masks)
            if union is not None:
                merged[place] = replace(other, masks=union, p_adjusted=max(other.p_adjusted, item.p_adjusted))
                break
        else:
            merged.append(item)
    return merged


def _together(encoded: Encoded, table: Half, one: Masks, other: Masks) -> Masks | None:
    """Two slices as one, or None; the other as it is where one of them has all values of both."""
    if set(one) != set(other):
        return None
    different = [name for name in one if not np.array_equal(one[name], other[name])]
    if len(different) != 1 or encoded.columns[different[0]].is_ordered:
        return None
    column, both = different[0], one[different[0]] | other[different[0]]
    if not _fail_alike(table, other, column, both):
        return None
    is_nested = np.array_equal(both, one[column]) or np.array_equal(both, other[column])
    return other if is_nested else {**other, column: both}


def _fail_alike(table: Half, masks: Masks, column: int, values: Flags) -> bool:
    """Whether one rate does nearly as well as one for each value, within the slice's other conditions."""
    among = table.rows({name: mask for name, mask in masks.items() if name != column})
    counts, sums = table.per_code(column, among)
    held = np.flatnonzero(values & (counts > 0))
    variance = search_totals(table, np.ones(table.n_rows, np.bool_))[2]
    return bool(heterogeneity(counts[held], sums[held], variance)[-1] <= MAX_HETEROGENEITY + len(held) - 1)


def _distinct(table: Half, items: Sequence[HoldoutCandidate]) -> list[HoldoutCandidate]:
    """The items, best first, without further wordings of those before them."""
    kept: list[tuple[HoldoutCandidate, Flags]] = []
    for item in items:
        inside = table.inside(item.masks)
        if all(np.count_nonzero(inside & other) < SAME_JACCARD * np.count_nonzero(inside | other) for _, other in kept):
            kept.append((item, inside))
    return [item for item, _ in kept]


def _reworded(encoded: Encoded, table: Half, items: Sequence[HoldoutCandidate]) -> list[HoldoutCandidate]:
    """Each slice without the values that gain nothing on rows that no other slice holds, and with those that do."""
    inside = [table.inside(item.masks) for item in items]
    trimmed = []
    for place, item in enumerate(items):
        others = [rows for index, rows in enumerate(inside) if index != place]
        alone = ~np.logical_or.reduce(others) if others else np.ones(table.n_rows, np.bool_)
        rest = ~inside[place] & alone
        masks = {column: _own_values(encoded, table, item.masks, column, alone, rest) for column in item.masks}
        masks = {column: _with_further_values(encoded, table, masks, column, alone, rest) for column in masks}
        inside[place] = table.inside(masks)
        trimmed.append(replace(item, masks=masks))
    return trimmed


def _with_further_values(encoded: Encoded, table: Half, masks: Masks, column: int, alone: Flags, rest: Flags) -> Flags:
    """The values of a condition with those that fail alike, and clearly, on the rows that no slice holds."""
    mask = masks[column]
    if encoded.columns[column].is_ordered:
        return mask
    among = alone & table.inside({name: other for name, other in masks.items() if name != column})
    codes, found = table.codes[column], mask.copy()
    for code in np.flatnonzero(~mask[: len(encoded.columns[column].labels)]):
        added = mask.copy()
        added[code] = True
        rows = among & (codes == code)
        if log_likelihood_gain(table, rows, rows | rest) >= MIN_FURTHER_GAIN and _fail_alike(
            table, masks, column, added
        ):
            found[code] = True
    return found


def _own_values(encoded: Encoded, table: Half, masks: Masks, column: int, alone: Flags, rest: Flags) -> Flags:
    mask = masks[column]
    held = np.flatnonzero(mask)
    if encoded.columns[column].is_ordered or len(held) < 2:
        return mask
    among, own = alone & table.inside(masks), list[int]()
    for code in held:
        rows = among & (table.codes[column] == code)
        if rows.any() and log_likelihood_gain(table, rows, rows | rest) >= MIN_OWN_GAIN:
            own.append(int(code))
    return np.isin(np.arange(len(mask)), own) if own else mask
