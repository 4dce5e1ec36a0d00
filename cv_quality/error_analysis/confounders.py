"""Confounders: values that fail more often only since they go with a slice, or are a part of it; adjusted odds ratios.

No slice is found here; that is the work of `cv_quality.error_analysis.discovery`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.cube import Layout
from cv_quality.error_analysis.encoding import Encoded, EncodedColumn, Mask, holds
from cv_quality.error_analysis.halves import Flags, Half, Masks
from cv_quality.error_analysis.holdout import holdout_test
from cv_quality.error_analysis.slice_report import ConfoundedValue, figure
from cv_quality.error_analysis.slices import Slice

RAISED_Z, RAISED_LIFT = 1.96, 1.15
MAX_REMAINING_SHARE: Final = 0.5
"""A value is explained by the slices when no more than this part of its excess is left outside of them."""
MIN_REMAINING_P: Final = 0.01
MAX_SHOWN: Final = 20
MIN_SHARED: Final = 0.5
"""A value is a part of a slice when so much of it, or of the slice's own condition on the column, is in both."""
CORRELATE_ROWS: Final = 500_000


@dataclass(frozen=True, slots=True)
class ConfirmedSlice:
    """A confirmed slice, as conditions and as codes, with the rows of the whole table that it holds."""

    where: Slice
    masks: Masks
    inside: Flags


def find_confounded(encoded: Encoded, layout: Layout, found: Sequence[ConfirmedSlice]) -> Iterator[ConfoundedValue]:
    """Find values whose rate is raised over all rows, but not without the rows of the slices; worst first.

    A value that is a condition of one of these slices, or nearly, is bad in combination; the others are not bad at all.

    "Raised" is what a reader of a table of rates would call it: a row-level z of 1.96 and 1.15 times the others' rate.

    Args:
        encoded: the table.
        layout: of the count cube, whose conditions are looked at.
        found: the confirmed slices.
    """
    if not found:
        return
    table = Half.whole(encoded)
    single = {item.where.columns[0] for item in found if len(item.where.columns) == 1}
    outside = ~np.logical_or.reduce([item.inside for item in found])
    columns = [(index, column) for index, column in enumerate(encoded.columns) if column.name not in single]
    suspects = [item for index, column in columns for item in _suspects(column, layout, index, table)]
    ranked = sorted(suspects, key=lambda item: -item[0])
    explained = (_explained(encoded, table, index, mask, outside, found) for _, index, mask in ranked)
    yield from islice((item for item in explained if item is not None), MAX_SHOWN)


def _suspects(column: EncodedColumn, layout: Layout, index: int, table: Half) -> Iterator[tuple[float, int, Mask]]:
    """The conditions on a column under which more rows fail, with their excess; of a number the worst only."""
    counts, sums = table.per_code(index, np.arange(table.n_rows))
    axis = layout.axis(index)
    masks = np.array([axis.mask(option) for option in range(len(axis.ranges))], np.float64)
    n, k = masks @ counts, masks @ sums
    rest_n, rest_k = counts.sum() - n, sums.sum() - k
    variance = table.variance(np.ones(table.n_rows, np.bool_))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (k / n - rest_k / rest_n) / np.sqrt(variance * (1 / n + 1 / rest_n))
        is_raised = (z > RAISED_Z) & (k * rest_n > RAISED_LIFT * rest_k * n)
    raised = [option for option in np.flatnonzero(is_raised).tolist() if len(column.predicates(axis.mask(option))) == 1]
    if column.is_ordered:
        raised = sorted(raised, key=lambda option: -z[option])[:1]
    for option in raised:
        yield float(k[option] - n[option] * rest_k[option] / rest_n[option]), index, axis.mask(option)


def _explained(
    encoded: Encoded, table: Half, index: int, mask: Mask, outside: Flags, found: Sequence[ConfirmedSlice]
) -> ConfoundedValue | None:
    column = encoded.columns[index]
    inside = holds(column.codes, mask)
    after = holdout_test(table, inside & outside, ~inside & outside)
    if after is None:
        return None
    (rows, total), (rest_rows, rest_total) = table.totals(inside), table.totals(~inside)
    before = total / rows
    excess = before - rest_total / rest_rows
    if after.rate - after.rest_rate > MAX_REMAINING_SHARE * excess or after.p < MIN_REMAINING_P:
        return None
    shared = [inside & item.inside for item in found]
    failing = [total - after.rest_rate * rows for rows, total in map(table.totals, shared)]
    order = np.argsort(-np.array(failing), kind="stable")
    by = tuple(found[int(place)].where.sentence() for place in order if failing[place] >= 0.2 * max(failing))
    combined = tuple(item.where.sentence() for item in found if _is_part(encoded, index, inside, item))
    by, where = combined or by, Slice(column.predicates(mask))
    words = "is bad only in combination" if combined else "looks bad"
    high, left, others = (figure(item, encoded.kind) for item in (before, after.rate, after.rest_rate))
    return ConfoundedValue(
        column=column.name,
        value=where.where[0].values[0],
        where=where,
        rate_before=before,
        rate_after=after.rate,
        rest_rate=after.rest_rate,
        by=by,
        sentence=f"{where.sentence()} {words} ({high}); without {' or '.join(by)} it is {left}, the others {others}.",
        is_part=bool(combined),
    )


def _is_part(encoded: Encoded, index: int, inside: Flags, item: ConfirmedSlice) -> bool:
    """Whether a value of a column is, for the most part, the slice's own condition on that column."""
    if index not in item.masks:
        return False
    own = encoded.inside({index: item.masks[index]})
    return int((inside & own).sum()) >= MIN_SHARED * min(int(inside.sum()), int(own.sum()))


def adjusted_odds(
    encoded: Encoded, layout: Layout, inside: Flags, *, slice_columns: Sequence[str]
) -> tuple[float | None, str | None]:
    """Compute the odds ratio of failing in a slice, by Mantel and Haenszel over the strata of its strongest correlate.

    The correlate is the column, not of the slice itself, with the largest Cramér's V with being in the slice. The ratio
    is sum(a d / n) / sum(b c / n) over strata, with a failures and b successes inside, c and d outside; None where it
    is not defined, or for a loss. (J. National Cancer Institute 22, 1959.)

    Args:
        encoded: the table.
        layout: of the count cube, whose coarse codes are the strata.
        inside, slice_columns: rows and columns of the slice itself.
    """
    others = [index for index, column in enumerate(encoded.columns) if column.name not in slice_columns]
    if encoded.kind != "rate" or not others:
        return None, None
    step = max(1, encoded.n_rows // CORRELATE_ROWS)
    index = max(others, key=lambda item: _association(_coarse(encoded, layout, item, step), inside[::step]))
    strata = _coarse(encoded, layout, index, 1).astype(np.int64)
    cell = strata * 4 + 2 * inside + (encoded.outcome > 0)
    counts = np.bincount(cell, minlength=4 * (int(strata.max()) + 1)).reshape(-1, 4).astype(np.float64)
    passes, failures, passes_inside, failures_inside = counts.T
    n = np.maximum(counts.sum(axis=1), 1)
    above, below = float((failures_inside * passes / n).sum()), float((passes_inside * failures / n).sum())
    return (above / below, encoded.columns[index].name) if below > 0 else (None, encoded.columns[index].name)


def _coarse(encoded: Encoded, layout: Layout, index: int, step: int) -> NDArray[np.uint8]:
    return layout.axis(index).coarse[encoded.columns[index].codes[::step]]


def _association(codes: NDArray[np.uint8], inside: Flags) -> float:
    """Cramér's V of a column and membership."""
    table = np.bincount(codes.astype(np.int64) * 2 + inside, minlength=2 * (int(codes.max()) + 1)).reshape(-1, 2)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / max(table.sum(), 1)
    squares = np.divide((table - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    return math.sqrt(float(squares.sum()) / max(int(table.sum()), 1))
