"""What only looks bad: values that fail more often because they keep company with a slice, and effects adjusted for it.

Nothing here finds a slice; that is the work of `cv_quality.error_analysis.discovery`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.candidate_search import Half
from cv_quality.error_analysis.cube import Layout
from cv_quality.error_analysis.encoding import Column, Encoded, Mask
from cv_quality.error_analysis.holdout_test import tested
from cv_quality.error_analysis.slice_report import ExplainedAway, figure
from cv_quality.error_analysis.slices import Slice

LOOKS_BAD_Z: Final = 1.96
LOOKS_BAD_LIFT: Final = 1.15
REMAINING_SHARE: Final = 0.5
"""A value is explained away when no more than this part of its excess is left outside of the slices."""
STILL_BAD_P: Final = 0.01
MOST_SHOWN: Final = 20
CORRELATE_ROWS: Final = 500_000

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """A confirmed slice with the rows of the whole table that it holds."""

    where: Slice
    inside: Flags


def explained_away(encoded: Encoded, layout: Layout, table: Half, found: Sequence[Found]) -> Iterator[ExplainedAway]:
    """Values whose rate is raised over all rows, and not any more once the slices' rows are set aside, worst first.

    "Raised" is what a reader of a table of rates would call it: a row-level z of 1.96 and 1.15 times the others' rate.
    """
    if not found:
        return
    single = {item.where.columns[0] for item in found if len(item.where.columns) == 1}
    outside = ~np.logical_or.reduce([item.inside for item in found])
    suspects = []
    for index, column in enumerate(encoded.columns):
        if column.name not in single:
            suspects += list(_suspects(column, layout, index, table))
    shown = 0
    for _, index, mask in sorted(suspects, key=lambda item: -item[0]):
        if shown < MOST_SHOWN and (item := _explained(encoded, table, index, mask, outside, found)) is not None:
            shown += 1
            yield item


def _suspects(column: Column, layout: Layout, index: int, table: Half) -> Iterator[tuple[float, int, Mask]]:
    """The conditions on a column under which more rows fail, with their excess; of a number the worst only."""
    counts = np.bincount(column.codes, minlength=256).astype(np.float64)
    sums = np.bincount(column.codes, weights=table.outcome, minlength=256)
    axis = layout.axis(index)
    masks = np.array([axis.mask(option) for option in range(len(axis.ranges))], np.float64)
    n, k = masks @ counts, masks @ sums
    rest_n, rest_k = counts.sum() - n, sums.sum() - k
    variance = float(table.outcome.var())
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (k / n - rest_k / rest_n) / np.sqrt(variance * (1 / n + 1 / rest_n))
        is_bad = (z > LOOKS_BAD_Z) & (k * rest_n > LOOKS_BAD_LIFT * rest_k * n)
    bad = [option for option in np.flatnonzero(is_bad).tolist() if len(column.predicates(axis.mask(option))) == 1]
    if column.is_ordered:
        bad = sorted(bad, key=lambda option: -z[option])[:1]
    for option in bad:
        yield float(k[option] - n[option] * rest_k[option] / rest_n[option]), index, axis.mask(option)


def _explained(
    encoded: Encoded, table: Half, index: int, mask: Mask, outside: Flags, found: Sequence[Found]
) -> ExplainedAway | None:
    column = encoded.columns[index]
    inside = mask[column.codes]
    after = tested(table, inside & outside, ~inside & outside)
    if after is None:
        return None
    before = float(table.outcome[inside].mean())
    excess = before - float(table.outcome[~inside].mean())
    if after.rate - after.rest_rate > REMAINING_SHARE * excess or after.p < STILL_BAD_P:
        return None
    failing = [_excess(table, inside & item.inside, rate=after.rest_rate) for item in found]
    order = np.argsort(-np.array(failing), kind="stable")
    by = tuple(found[int(place)].where.sentence() for place in order if failing[place] >= 0.2 * max(failing))
    predicate = column.predicates(mask)[0]
    value = predicate.value if not isinstance(predicate.value, tuple) else predicate.value[0]
    words = Slice(column.predicates(mask)).sentence()
    rates = (figure(item, encoded.kind) for item in (before, after.rate, after.rest_rate))
    return ExplainedAway(
        column=column.name,
        value=value,
        where=Slice(column.predicates(mask)),
        rate_before=before,
        rate_after=after.rate,
        rest_rate=after.rest_rate,
        by=by,
        sentence="{} looks bad ({}); without {} it is {}, the others {}.".format(
            words, next(rates), " or ".join(by), next(rates), next(rates)
        ),
    )


def _excess(table: Half, rows: Flags, *, rate: float) -> float:
    """Failures (or loss) beyond those at a rate."""
    return float(table.outcome[rows].sum()) - rate * int(np.count_nonzero(rows))


def adjusted_odds(
    encoded: Encoded, layout: Layout, inside: Flags, *, slice_columns: Sequence[str]
) -> tuple[float | None, str | None]:
    """The odds ratio of failing in a slice, by Mantel and Haenszel over the strata of its strongest correlate.

    The correlate is the column, not of the slice itself, with the largest Cramér's V with being in the slice. The ratio
    is sum(a d / n) / sum(b c / n) over strata, with a failures and b successes inside, c and d outside; None where it
    is not defined, or for a loss. (J. National Cancer Institute 22, 1959.)
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
