"""The two halves of the subjects: one searches for candidates, the other tests them, and what clustering costs each.

Which candidates a half gives is in `cv_quality.error_analysis.candidate_search`, how they are tested on the other in
`cv_quality.error_analysis.holdout`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.encoding import Bytes, Encoded, Mask
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
        codes, outcome: uint8 (columns, rows), and float64 (rows,).
        subjects: int64 (rows,); None where every row stands for itself.
        n_subjects: of the whole table.
    """

    codes: Bytes
    outcome: Floats
    subjects: Codes | None
    n_subjects: int
    is_rate: bool

    @classmethod
    def of(cls, encoded: Encoded, rows: Flags) -> "Half":
        """Take some rows of a table."""
        codes = np.empty((len(encoded.columns), int(rows.sum())), np.uint8)
        for index, column in enumerate(encoded.columns):
            codes[index] = column.codes[rows]
        subjects = None if encoded.subjects is None else encoded.subjects[rows]
        return cls(codes, encoded.outcome[rows], subjects, encoded.n_subjects, encoded.kind == "rate")

    @classmethod
    def uncoded(cls, encoded: Encoded) -> "Half":
        """Take all rows of a table without the codes of its columns, for tests of rows that are known."""
        codes = np.empty((0, encoded.n_rows), np.uint8)
        return cls(codes, encoded.outcome, encoded.subjects, encoded.n_subjects, encoded.kind == "rate")

    @property
    def n_rows(self) -> int:
        return len(self.outcome)

    def take(self, rows: Codes | Flags) -> "Half":
        subjects = None if self.subjects is None else self.subjects[rows]
        return replace(self, codes=self.codes[:, rows], outcome=self.outcome[rows], subjects=subjects)

    def per_subject(self, rows: Codes | Flags) -> tuple[Floats, Floats]:
        """Count rows and failures (or loss) of each subject that has any among `rows`."""
        outcome = self.outcome[rows]
        if self.subjects is None:
            return np.ones(len(outcome)), outcome
        subjects = self.subjects[rows]
        counts = np.bincount(subjects, minlength=self.n_subjects).astype(np.float64)
        sums = np.bincount(subjects, weights=outcome, minlength=self.n_subjects).astype(np.float64)
        known = counts > 0
        return counts[known], sums[known]

    def design_effect(self, rows: Codes | Flags) -> float:
        """Compute the design effect of the mean over `rows`; see the function."""
        if self.subjects is None:
            return 1.0
        counts, sums = self.per_subject(rows)
        return design_effect(counts, sums, variance=float(self.outcome[rows].var()) if len(counts) else 0.0)

    def intraclass_correlation(self, rows: Codes | Flags) -> float:
        """Estimate how much rows of one subject have in common, by moments; at least 0."""
        if self.subjects is None:
            return 0.0
        counts, sums = self.per_subject(rows)
        n, variance = float(counts.sum()), float(self.outcome[rows].var())
        pairs = float((counts * (counts - 1.0)).sum())
        if pairs <= 0 or variance <= 0:
            return 0.0
        deviations = sums - float(sums.sum()) / n * counts
        return max(0.0, (float(deviations @ deviations) - variance * n) / (variance * pairs))

    def rows(self, masks: Mapping[int, Mask]) -> Codes:
        """Find the rows for which every condition holds."""
        found: Codes | None = None
        for column, mask in masks.items():
            holds = mask[self.codes[column] if found is None else self.codes[column, found]]
            found = np.flatnonzero(holds) if found is None else found[holds]
        return np.arange(self.n_rows) if found is None else found

    def inside(self, masks: Mapping[int, Mask]) -> Flags:
        """Flag the rows for which every condition holds."""
        inside = np.zeros(self.n_rows, np.bool_)
        inside[self.rows(masks)] = True
        return inside


def design_effect(counts: Floats, sums: Floats, *, variance: float) -> float:
    """Compute how many times the variance of a mean of clustered rows is that of independent ones; at least 1.

    The variance of the ratio over subjects, sum((k_i - p n_i)^2) G / (G - 1) / n^2, over that of independent rows,
    `variance` / n.

    Args:
        counts, sums: rows n_i and failures (or loss) k_i of each subject.
        variance: of the outcome over all rows.
    """
    n, clusters = float(counts.sum()), len(counts)
    if clusters < 2 or clusters == n or variance <= 0:
        return 1.0
    deviations = sums - float(sums.sum()) / n * counts
    return max(1.0, float(deviations @ deviations) * clusters / (clusters - 1) / (n * variance))


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
