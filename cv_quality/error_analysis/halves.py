"""The two halves of the subjects: one searches for candidates, the other tests them, and what clustering costs each.

Which candidates a half gives is in `cv_quality.error_analysis.candidate_search`, how they are tested on the other in
`cv_quality.error_analysis.holdout`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.cube_kernels import find_set, sum_by_code, sum_by_subject
from cv_quality.error_analysis.encoding import Bytes, Encoded, Mask, holds
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.resampling import seeded

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Masks = dict[int, Mask]
"""A slice: the codes for which each of its conditions holds, by index of the column."""


@dataclass(frozen=True, slots=True)
class Half:
    """The rows of some subjects.

    Attributes:
        codes, outcome: uint8 (rows,) of each column, and float64 (rows,).
        subjects: int64 (rows,); None where every row stands for itself.
        n_subjects: of the whole table.
        failed: the rows that fail; none of a loss.
    """

    codes: Sequence[Bytes] | Bytes
    outcome: Floats
    subjects: Codes | None
    n_subjects: int
    is_rate: bool
    failed: Flags = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Flag the failing rows once: flags are counted a hundred times as fast as numbers are picked and added up."""
        object.__setattr__(self, "failed", self.outcome > 0 if self.is_rate else np.zeros(len(self.outcome), np.bool_))

    @classmethod
    def of(cls, encoded: Encoded, rows: Flags) -> "Half":
        """Take some rows of a table."""
        return cls.whole(encoded).take(rows)

    @classmethod
    def whole(cls, encoded: Encoded) -> "Half":
        """Take all rows of a table, as they lie there."""
        codes = [column.codes for column in encoded.columns]
        return cls(codes, encoded.outcome, encoded.subjects, encoded.n_subjects, encoded.kind == "rate")

    @property
    def n_rows(self) -> int:
        return len(self.outcome)

    def take(self, rows: Codes | Flags) -> "Half":
        if rows.dtype == np.bool_:
            rows = row_numbers(np.asarray(rows, np.bool_))
        subjects = None if self.subjects is None else self.subjects[rows]
        return replace(
            self, codes=[column[rows] for column in self.codes], outcome=self.outcome[rows], subjects=subjects
        )

    def totals(self, rows: Flags) -> tuple[float, float]:
        """Count rows, and their failures, or add up their loss."""
        total = np.count_nonzero(self.failed & rows) if self.is_rate else self.outcome[rows].sum()
        return float(np.count_nonzero(rows)), float(total)

    def variance(self, rows: Flags) -> float:
        """Compute the variance of the outcome over some rows; 0 over none."""
        if not self.is_rate:
            return float(self.outcome[rows].var()) if rows.any() else 0.0
        count, failures = self.totals(rows)
        return failures / count * (1 - failures / count) if count else 0.0

    def per_code(self, column: int, rows: Codes) -> tuple[Floats, Floats]:
        """Count rows and failures (or loss) of every code of a column among some rows."""
        return per_code(self.codes[column], rows, self.failed.view(np.uint8) if self.is_rate else self.outcome)

    def per_subject(self, rows: Flags) -> tuple[Floats, Floats]:
        """Count rows and failures (or loss) of each subject that has any among `rows`."""
        if self.subjects is None:
            outcome = self.outcome[rows]
            return np.ones(len(outcome)), outcome
        counts, sums = np.zeros(self.n_subjects), np.zeros(self.n_subjects)
        outcome = self.failed.view(np.uint8) if self.is_rate else self.outcome
        compiled(sum_by_subject)(*_words(rows), self.subjects, outcome, counts, sums)
        known = np.flatnonzero(counts)
        return counts[known], sums[known]

    def clustering(self, rows: Flags) -> "Clustering":
        """Sum up how rows and failures (or loss) are shared out among subjects."""
        if self.subjects is None:
            n = int(np.count_nonzero(rows))
            return Clustering(n, n, float(n), 0.0, self.variance(rows))
        return Clustering.of(*self.per_subject(rows), variance=self.variance(rows))

    def design_effect(self, rows: Flags) -> float:
        """Compute the design effect of the mean over `rows`; see `Clustering`."""
        return 1.0 if self.subjects is None else self.clustering(rows).design_effect

    def rows(self, masks: Mapping[int, Mask]) -> Codes:
        """Find the rows for which every condition holds."""
        return row_numbers(self.inside(masks))

    def inside(self, masks: Mapping[int, Mask]) -> Flags:
        """Flag the rows for which every condition holds."""
        inside = np.ones(self.n_rows, np.bool_)
        for column, mask in masks.items():
            inside &= holds(self.codes[column], mask)
        return inside


@dataclass(frozen=True, slots=True)
class Clustering:
    """How rows are shared out among subjects, and how far the subjects' own means lie apart.

    Attributes:
        rows, subjects: how many.
        squares: sum of n_i^2, with n_i rows of each subject.
        deviations: sum of (k_i - p n_i)^2, with k_i failures (or loss) of each subject, and p their mean over all rows.
        variance: of the outcome over all rows.
    """

    rows: int
    subjects: int
    squares: float
    deviations: float
    variance: float

    @classmethod
    def of(cls, counts: Floats, sums: Floats, *, variance: float) -> "Clustering":
        """Sum up subjects.

        Args:
            counts, sums: rows n_i and failures (or loss) k_i of each subject.
            variance: of the outcome over all rows.
        """
        n = float(counts.sum())
        deviations = sums - float(sums.sum()) / max(n, 1.0) * counts
        return cls(int(n), len(counts), float(np.square(counts).sum()), float(np.square(deviations).sum()), variance)

    @property
    def design_effect(self) -> float:
        """How many times the variance of a mean of clustered rows is that of independent ones; at least 1.

        The variance of the ratio over subjects, sum((k_i - p n_i)^2) G / (G - 1) / n^2, over that of independent rows,
        `variance` / n.
        """
        if self.subjects < 2 or self.subjects == self.rows or self.variance <= 0:
            return 1.0
        freedom = self.subjects - 1
        return max(1.0, self.deviations * self.subjects / freedom / (self.rows * self.variance))

    @property
    def intraclass_correlation(self) -> float:
        """How much rows of one subject have in common, by moments; at least 0."""
        pairs = self.squares - self.rows
        if pairs <= 0 or self.variance <= 0:
            return 0.0
        return max(0.0, (self.deviations - self.variance * self.rows) / (self.variance * pairs))


def per_code(codes: Bytes, rows: Codes, outcome: Floats | Bytes) -> tuple[Floats, Floats]:
    """Count rows, and add up their outcome, by code.

    Args:
        codes, outcome: of each row.
        rows: those that count.
    """
    counts, sums = np.zeros(256), np.zeros(256)
    compiled(sum_by_code)(codes, rows, outcome, counts, sums)
    return counts, sums


def row_numbers(flags: Flags) -> Codes:
    """Number the rows that are flagged."""
    found = np.empty(np.count_nonzero(flags) + 1, np.int64)
    compiled(find_set)(*_words(flags), found)
    return found[:-1]


def _words(flags: Flags) -> tuple[Bytes, NDArray[np.uint64]]:
    """Flags as bytes, and all but the last few of them as words of eight."""
    ones = np.ascontiguousarray(flags).view(np.uint8)
    return ones, ones[: len(ones) // 8 * 8].view(np.uint64)


def split_by_failures(encoded: Encoded, *, seed: int) -> Flags:
    """Draw one subject of each two that are next to each other in the order of their failures; true for their rows."""
    rng = seeded(seed)
    failures = encoded.outcome
    if encoded.subjects is not None:
        failures = np.asarray(np.bincount(encoded.subjects, weights=failures, minlength=encoded.n_subjects), np.float64)
    shuffled = rng.permutation(len(failures))
    order = shuffled[np.argsort(failures[shuffled], kind="stable")]
    is_first = np.zeros(len(failures), np.bool_)
    first_of_pair = rng.integers(0, 2, (len(order) + 1) // 2)
    places = np.minimum(2 * np.arange(len(first_of_pair)) + first_of_pair, len(order) - 1)
    is_first[order[places]] = True
    return is_first if encoded.subjects is None else is_first[encoded.subjects]


def split_by_failing(is_failure: Flags, subjects: Codes, *, seed: int) -> Flags:
    """Draw half of the subjects who ever fail, and half of the others; true for their rows.

    Args:
        is_failure, subjects: of each row, subjects from 0.
        seed: of the draw.
    """
    fails = np.bincount(subjects, weights=is_failure) > 0
    shuffled = seeded(seed).permutation(len(fails))
    is_first = np.zeros(len(fails), np.bool_)
    for stratum in (True, False):
        is_first[shuffled[fails[shuffled] == stratum][::2]] = True
    return is_first[subjects]
