"""Consequences of the outcome among the columns of a table: a score, a decision, a reason that only failures have.

Such a column would win any search and turn true causes into bystanders, so it is set apart, and said. A strong cause is
not meant: one nearly always fails under a consequence, and nearly never passes.
"""

from collections.abc import Container
from dataclasses import replace
from typing import Final

import numpy as np

from cv_quality.error_analysis.encoding import Encoded, EncodedColumn
from cv_quality.error_analysis.halves import Codes, Flags, Floats, per_code, row_numbers, split_by_failures
from cv_quality.error_analysis.slice_report import SetApartColumn
from cv_quality.metrics.results import percent

Halves = tuple[Codes, Codes]
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
    halves = row_numbers(is_first), row_numbers(~is_first)
    judge = _determines_failing if encoded.kind == "rate" else _determines_loss
    found = {
        column.name: told
        for column in encoded.columns
        if column.name not in keep and (told := judge(encoded, column, halves)) is not None
    }
    columns = tuple(column for column in encoded.columns if column.name not in found)
    return replace(encoded, columns=columns), tuple(found.values())


def _determines_failing(encoded: Encoded, column: EncodedColumn, rows: Halves) -> SetApartColumn | None:
    halves = [per_code(column.codes, half, encoded.outcome) for half in rows]
    least = MIN_NUMBER_SHARE if column.is_ordered else MIN_FAILURES_SHARE
    for (counts, failures), (other_rows, other_failures) in (halves, halves[::-1]):
        says = _says_failed(column, counts, failures)
        held, failing = float(other_rows[says].sum()), float(other_failures[says].sum())
        passes = float((other_rows - other_failures).sum())
        is_pure = held - failing <= MAX_PASSES * min(held, passes)
        if min(failing, passes) < MIN_FAILURES or not is_pure or failing < least * other_failures.sum():
            return None
    counts, failures = (one + other for one, other in zip(*halves, strict=True))
    says = _says_failed(column, counts, failures)
    rate, share = float(failures[says].sum() / counts[says].sum()), float(failures[says].sum() / failures.sum())
    sentence = (
        f"{column.name} is set apart: it nearly determines the outcome by itself ({percent(rate)} fail under values "
        f"that hold {percent(share)} of all failures), as what follows from the outcome does, or what defines it."
    )
    return SetApartColumn(column.name, rate, share, sentence)


def _determines_loss(encoded: Encoded, column: EncodedColumn, rows: Halves) -> SetApartColumn | None:
    if not column.is_ordered or column.labels:
        return None
    ranks = np.argsort(np.argsort(encoded.outcome, kind="stable"), kind="stable").astype(np.float64)
    squares, left = 0.0, 0.0
    for known, judged in (rows, rows[::-1]):
        counts, sums = per_code(column.codes, known, ranks)
        expected = np.where(counts > 0, sums / np.maximum(counts, 1), ranks.mean())
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
