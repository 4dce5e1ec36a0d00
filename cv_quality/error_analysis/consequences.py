"""Consequences of the outcome among the columns of a table: a score, a decision, a reason that only failures have.

Such a column would win any search and turn true causes into bystanders, so it is set apart, and said. A strong cause is
not meant: one nearly always fails under a consequence, and nearly never passes.
"""

from collections.abc import Container
from dataclasses import replace
from typing import Final

import numpy as np

from cv_quality.error_analysis.encoding import Encoded, EncodedColumn
from cv_quality.error_analysis.halves import Flags, Floats, split_by_failures
from cv_quality.error_analysis.slice_report import SetApartColumn
from cv_quality.metrics.results import percent

MAX_PASSES: Final = 0.02
"""Of the rows where a consequence says "failed", and of all rows that pass, no more than this part passes there."""
MIN_FAILURES_SHARE: Final = 0.5
"""The values of a consequence that say "failed" hold at least this part of all failures."""
MIN_NUMBER_SHARE: Final = 0.9
"""The same of a number, whose extremes may well always fail where it is a cause: worse grows with it."""
MIN_FAILURES: Final = 10
"""And passes, on each half of the subjects: fewer do not show that nearly all rows fail, or pass."""
MIN_RANKS_EXPLAINED: Final = 0.98
"""The part of the variance of a loss's ranks that a number must explain to be set apart."""


def set_apart_consequences(
    encoded: Encoded, *, keep: Container[str] = (), seed: int = 0
) -> tuple[Encoded, tuple[SetApartColumn, ...]]:
    """Take out of a table the columns that nearly determine the outcome, each by itself.

    The values under which rows fail are read off one half of the subjects, and must hold on the other, both ways.

    Args:
        encoded: the table.
        keep: columns that stay, whatever they determine.
        seed: of the split.
    """
    is_first = split_by_failures(encoded, seed=seed)
    judge = _determines_failing if encoded.kind == "rate" else _determines_loss
    found = {
        column.name: told
        for column in encoded.columns
        if column.name not in keep and (told := judge(encoded, column, is_first)) is not None
    }
    columns = tuple(column for column in encoded.columns if column.name not in found)
    return replace(encoded, columns=columns), tuple(found.values())


def _determines_failing(encoded: Encoded, column: EncodedColumn, is_first: Flags) -> SetApartColumn | None:
    halves = [_counts(column, encoded.outcome, rows) for rows in (is_first, ~is_first)]
    least = MIN_NUMBER_SHARE if column.is_ordered else MIN_FAILURES_SHARE
    for (rows, failures), (other_rows, other_failures) in (halves, halves[::-1]):
        says = _says_failed(column, rows, failures)
        held, failing = float(other_rows[says].sum()), float(other_failures[says].sum())
        passes = float((other_rows - other_failures).sum())
        is_pure = held - failing <= MAX_PASSES * min(held, passes)
        if min(failing, passes) < MIN_FAILURES or not is_pure or failing < least * other_failures.sum():
            return None
    rows, failures = (one + other for one, other in zip(*halves, strict=True))
    says = _says_failed(column, rows, failures)
    rate, share = float(failures[says].sum() / rows[says].sum()), float(failures[says].sum() / failures.sum())
    sentence = (
        f"{column.name} is set apart: it nearly determines the outcome by itself ({percent(rate)} fail under values "
        f"that hold {percent(share)} of all failures), as what follows from the outcome does, or what defines it."
    )
    return SetApartColumn(column.name, rate, share, sentence)


def _determines_loss(encoded: Encoded, column: EncodedColumn, is_first: Flags) -> SetApartColumn | None:
    if not column.is_ordered or column.labels:
        return None
    ranks = np.argsort(np.argsort(encoded.outcome, kind="stable"), kind="stable").astype(np.float64)
    squares, left = 0.0, 0.0
    for known, judged in ((is_first, ~is_first), (~is_first, is_first)):
        rows, sums = _counts(column, ranks, known)
        expected = np.where(rows > 0, sums / np.maximum(rows, 1), ranks.mean())
        left += float(((ranks[judged] - expected[column.codes[judged]]) ** 2).sum())
        squares += float(((ranks[judged] - ranks.mean()) ** 2).sum())
    explained = 1 - left / squares if squares > 0 else 0.0
    if explained < MIN_RANKS_EXPLAINED:
        return None
    sentence = (
        f"{column.name} is set apart: it nearly determines the outcome by itself ({percent(explained)} of the variance "
        "of its ranks), as what follows from the outcome does, or what defines it."
    )
    return SetApartColumn(column.name, None, None, sentence)


def _says_failed(column: EncodedColumn, rows: Floats, failures: Floats) -> Flags:
    """The codes under which most rows fail; of a binned number without the bins at the border, which hold both."""
    says = 2 * failures > rows
    if column.is_ordered and not column.labels:
        last = len(column.edges)
        inner = np.pad(says[: last + 1], 1, mode="edge")
        says[: last + 1] &= inner[:-2] & inner[2:]
    return says


def _counts(column: EncodedColumn, outcome: Floats, rows: Flags) -> tuple[Floats, Floats]:
    """Rows and failures (or loss) of every code."""
    codes = column.codes[rows]
    counts = np.bincount(codes, minlength=256).astype(np.float64)
    return counts, np.bincount(codes, weights=outcome[rows], minlength=256).astype(np.float64)
