"""Consequences of the outcome among the columns of a table: a score, a decision, a reason that only failures have.

Such a column would win any search and turn true causes into bystanders, so it is set apart, and said. A strong cause is
not meant: one nearly always fails under a consequence, and nearly never passes. A number that its name calls a score
is known by less.
"""

import re
from collections.abc import Container
from dataclasses import replace
from typing import Final

import numpy as np

from cv_quality.error_analysis.encoding import Encoded, EncodedColumn
from cv_quality.error_analysis.halves import Codes, Flags, Floats, per_code, row_numbers, split_by_failures
from cv_quality.error_analysis.slice_report import SetApartColumn
from cv_quality.metrics.results import area_words, percent

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
OUTPUT_WORDS: Final = frozenset(
    {"score", "scores", "similarity", "confidence", "conf", "probability", "prob", "posterior", "likelihood", "logit"}
    | {"llr", "iou", "decision", "prediction", "predicted", "pred"}
)
"""A column whose name has one of these is what an algorithm gave, not a condition that it met."""
INPUT_WORDS: Final = frozenset({"quality", "sharpness", "blur", "focus", "exposure"})
"""Scores of these describe the sample: conditions."""
MIN_OUTPUT_AREA: Final = 0.8
"""An output by its name is set apart with this area under the ROC already,"""
MIN_OUTPUT_RANKS: Final = 0.3
"""or with this part of the variance of a loss's ranks."""


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
            return _speaks_of_failing(column, *(one + other for one, other in zip(*halves, strict=True)))
    counts, failures = (one + other for one, other in zip(*halves, strict=True))
    says = _says_failed(column, counts, failures)
    rate, share = float(failures[says].sum() / counts[says].sum()), float(failures[says].sum() / failures.sum())
    sentence = (
        f"{column.name} is set apart: it nearly determines the outcome by itself ({percent(rate)} fail under values "
        f"that hold {percent(share)} of all failures), as what follows from the outcome does, or what defines it."
    )
    return SetApartColumn(column.name, rate, share, sentence)


def _speaks_of_failing(column: EncodedColumn, rows: Floats, failures: Floats) -> SetApartColumn | None:
    """A number that is an output by its name and tells failures from passes well, if not nearly always."""
    if not (column.is_ordered and not column.labels and _is_output(column.name)):
        return None
    last = len(column.edges) + 1
    failed, passed = failures[:last], (rows - failures)[:last]
    pairs = failed.sum() * passed.sum()
    above = np.cumsum(passed) - passed / 2
    area = float((failed * above).sum() / pairs) if pairs else 0.5
    area = max(area, 1 - area)
    return _output(column.name, f"area under the ROC {area_words(area)}") if area >= MIN_OUTPUT_AREA else None


def _is_output(name: str) -> bool:
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    return bool(words & OUTPUT_WORDS) and not words & INPUT_WORDS


def _output(name: str, strength: str) -> SetApartColumn:
    sentence = f"{name} is set apart: by its name an output, which goes with the outcome ({strength}), no condition."
    return SetApartColumn(name, None, None, sentence)


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
    if MIN_OUTPUT_RANKS <= explained < MIN_RANKS_EXPLAINED and _is_output(column.name):
        return _output(column.name, f"{percent(explained)} of the variance of its ranks")
    if explained < MIN_RANKS_EXPLAINED:
        return None
    sentence = (
        f"{column.name} is set apart: it nearly determines the outcome by itself ({percent(explained)} of the variance "
        "of its ranks), as what follows from the outcome does, or what defines it."
    )
    return SetApartColumn(column.name, None, None, sentence)


def _says_failed(column: EncodedColumn, rows: Floats, failures: Floats) -> Flags:
    """The codes under which most rows fail; of a binned number without bins at the border that hold both."""
    says = 2 * failures > rows
    if column.is_ordered and not column.labels:
        last = len(column.edges)
        inner = np.pad(says[: last + 1], 1, mode="edge")
        is_pure = failures >= (1 - MAX_PASSES) * rows
        says[: last + 1] &= (inner[:-2] & inner[2:]) | is_pure[: last + 1]
    return says
