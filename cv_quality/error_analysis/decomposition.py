"""The arithmetic of a change in a rate: what each part of the rows contributes, exactly, and how sure that is.

It works on counts per subject and part; what a part is, and what is said about it, is in
`cv_quality.error_analysis.attribution`. Coverage of the bounds is studied in `benchmarks/attribution_coverage.py`.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.bootstrap_kernels import Codes, Floats
from cv_quality.metrics.resampling import seeded, subject_weights

Exact: TypeAlias = NDArray[np.object_]
"""An array of fractions."""
Numbers = TypeVar("Numbers", Floats, Exact)

MIX, RATE, CHANGE = 0, 1, 2
BEFORE, AFTER = 0, 1
GRID_BITS = 52
MAX_RESAMPLED = 4_096
"""Subjects of a stratum that are resampled one by one; of more, random groups of about equal number are. Merged at
random, they stay independent: the variance stays, and 4,095 degrees of freedom are as good as infinitely many."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of both tables, shape (rows,) each.

    Attributes:
        subject, part: codes of the subject and of the part, from 0.
        is_after: whether the row is of the second table.
        outcome: 1 for a failure and 0 for none, or a loss.
    """

    subject: Codes
    is_after: NDArray[np.bool_]
    part: Codes
    outcome: Floats


@dataclass(frozen=True, slots=True)
class SubjectCounts:
    """What is resampled: rows and failures of each subject, or of each random group of subjects, in each part.

    Attributes:
        rows, failures: shape (units, 2, parts), before then after; failures are sums of a loss where it is one.
        n_subjects, n_paired: subjects behind them, and of those, subjects with rows in both tables.
    """

    rows: Floats
    failures: Floats
    n_subjects: int
    n_paired: int

    @property
    def is_present(self) -> NDArray[np.bool_]:
        """Whether a unit has rows in each table: shape (units, 2)."""
        return np.asarray(self.rows.any(axis=2))

    @property
    def per_part(self) -> Codes:
        """Units with rows in each part, and in the whole, of each table: shape (2, parts + 1)."""
        within, anywhere = np.count_nonzero(self.rows, axis=0), np.count_nonzero(self.is_present, axis=0)
        return np.concatenate([within, anywhere[:, None]], axis=1)


def subject_counts(rows: Rows, *, n_parts: int, seed: int) -> SubjectCounts:
    """Count the rows and failures of each subject in each part of each table.

    Args:
        rows, n_parts, seed: of both tables, the parts that they are in, and of the groups of subjects.
    """
    n_subjects = int(rows.subject.max()) + 1
    present = np.bincount(rows.subject * 2 + rows.is_after, minlength=2 * n_subjects).reshape(n_subjects, 2) > 0
    # What each subject is resampled with: itself, or a random group of its stratum.
    rng, unit, first = seeded(seed), np.zeros(n_subjects, np.int64), 0
    for codes in _strata(present):
        n = min(len(codes), MAX_RESAMPLED)
        unit[codes] = first + (np.arange(n) if n == len(codes) else rng.permutation(len(codes)) % n)
        first += n
    shape = (int(unit.max()) + 1, 2, n_parts)
    cells = (unit[rows.subject] * 2 + rows.is_after) * n_parts + rows.part
    counts = np.bincount(cells, minlength=math.prod(shape)).reshape(shape).astype(np.float64)
    sums = np.bincount(cells, rows.outcome, math.prod(shape)).reshape(shape)
    return SubjectCounts(counts, np.asarray(sums, np.float64), n_subjects, int(np.count_nonzero(present.all(axis=1))))


def _strata(present: NDArray[np.bool_]) -> list[Codes]:
    """Those that are resampled among themselves: in both tables, in the first only, in the second only."""
    is_before, is_after = present.T
    return [np.flatnonzero(chosen) for chosen in (is_before & is_after, is_before & ~is_after, is_after & ~is_before)]


def contributions(rows: Numbers, failures: Numbers) -> Numbers:
    """Compute what each part contributes to the change of the overall rate: mix, rate, and their sum.

    With s a part's share of the rows, r its own rate, and R the overall rate, each before and after (Kitagawa, JASA 50,
    1955):

        mix  = (s_after - s_before) * (mean of both r - mean of both R)
        rate = mean of both s * (r_after - r_before)

    Shares sum to one, so any constant may be taken from the rates in `mix` without touching its sum. With the mean of
    both R, a part with the average rate contributes no mix however its share moves, and one that fails more than the
    average and grows contributes a positive one. The sum, (s r)_after - (s r)_before - (s_after - s_before) * mean R,
    is linear in the part's counts: parts that are merged add up. A part without rows in one table has no rate there:
    its whole contribution is mix, and is what follows if its rate did not change.

    Args:
        rows, failures: shape (..., 2, parts), before then after, of floats or of fractions.

    Returns:
        Shape (..., 3, parts).
    """
    n = rows.sum(-1, keepdims=True)
    share, weighted = rows / n, failures / n
    overall = weighted.sum(-1, keepdims=True)
    mean_overall = (overall[..., BEFORE, :] + overall[..., AFTER, :]) / 2
    own = failures / np.where(rows == 0, 1, rows)
    is_in_both = (rows[..., BEFORE, :] > 0) & (rows[..., AFTER, :] > 0)
    moved = share[..., AFTER, :] - share[..., BEFORE, :]
    mean_share = (share[..., AFTER, :] + share[..., BEFORE, :]) / 2
    mean_own = (own[..., AFTER, :] + own[..., BEFORE, :]) / 2
    one_sided = weighted[..., AFTER, :] - weighted[..., BEFORE, :] - mean_overall * moved
    mix = np.where(is_in_both, moved * (mean_own - mean_overall), one_sided)
    rate = np.where(is_in_both, mean_share * (own[..., AFTER, :] - own[..., BEFORE, :]), 0)
    return cast(Numbers, np.stack([mix, rate, mix + rate], axis=-2))


def exact_contributions(rows: Floats, failures: Floats) -> Floats:
    """Compute `contributions` in rational arithmetic, rounded so that every sum of them is exact: shape (3, parts + 1).

    The mixes and rates are multiples of one power of two, small enough to lose nothing that a float holds of their sum,
    and the largest takes what rounding left over. So mix + rate == change in every part, and parts added in any order
    give the whole, the last column, bit for bit.

    Args:
        rows, failures: shape (2, parts), before then after.
    """
    as_fractions = np.vectorize(Fraction, otypes=[object])
    leaves = contributions(as_fractions(rows), as_fractions(failures))[[MIX, RATE]]
    size = Fraction(np.abs(leaves).sum()) or Fraction(1)
    unit = Fraction(2) ** (size.numerator.bit_length() - size.denominator.bit_length() + 1 - GRID_BITS)
    whole = np.array([[round(value / unit) for value in row] for row in leaves], dtype=np.int64)
    whole.flat[np.abs(whole).argmax()] += round(leaves.sum() / unit) - int(whole.sum())
    parts = np.concatenate([whole, whole.sum(0, keepdims=True)])
    every = np.concatenate([parts, parts.sum(1, keepdims=True)], axis=1)
    return every.astype(np.float64) * float(unit)


def half_widths(counts: SubjectCounts, *, replicates: int, level: float, seed: int) -> Floats:
    """Compute half the width of the interval of each contribution: shape (3, parts + 1), the whole last.

    The standard deviation of bootstrap replicates, times a t quantile, times sqrt(n / (n - 1)) for the n units of the
    smaller table, since a bootstrap of n draws shows a variance that is too small by that much. Both tables need two.

    Args:
        counts, replicates, seed: of subjects, and of the bootstrap.
        level: confidence of the intervals.
    """
    from scipy import special

    n = counts.per_part[:, -1].min()
    spread = replicated(counts, replicates=replicates, seed=seed).std(0) * math.sqrt(n / (n - 1))
    return np.asarray(special.stdtrit(_freedom(counts), (1 + level) / 2) * spread, dtype=np.float64)


def _freedom(counts: SubjectCounts) -> Floats:
    """Degrees of freedom of each variance, at least 1; shape (3, parts + 1).

    The subjects of the part, in the table where it has fewer, less one; or, if that is less, Satterthwaite's number for
    a variance made of few subjects: 2 n / (kurtosis - 1), of what leaving one of n subjects out does to the
    contribution, less 2, since few subjects hide how few they are. Two subjects that alone carry a variance leave two
    degrees. By the number of subjects alone, nominal 95 % of the mix between parts that few subjects change cover .71
    to .90; by this, .78 to .96.
    """
    left_out = with_whole(contributions(*(made.sum(0) - made for made in (counts.rows, counts.failures))))
    squares = np.square(left_out - left_out.mean(0))
    fourth = np.square(squares).sum(0)
    carrying = np.divide(np.square(squares.sum(0)), fourth, out=np.ones_like(fourth), where=fourth > 0)
    uneven = np.maximum(1 / carrying - 1 / len(squares), 1e-12)
    return np.asarray(np.clip(2 / uneven - 2, 1.0, np.maximum(counts.per_part.min(0) - 1.0, 1.0)))


def replicated(counts: SubjectCounts, *, replicates: int, seed: int) -> Floats:
    """Compute the contributions with subjects drawn again, one weight for both tables.

    Args:
        counts, replicates, seed: of subjects, and of the bootstrap.

    Returns:
        Shape (replicates, 3, parts + 1), the whole last.
    """
    n_units, _, n_parts = counts.rows.shape
    per_unit = np.stack([counts.rows, counts.failures], axis=1).reshape(n_units, -1)
    both, *single = _strata(counts.is_present)
    # A single unit could not vary: it is drawn together with those of both tables.
    joined = np.concatenate([both, *(codes for codes in single if len(codes) == 1)])
    strata = [codes for codes in (joined, *(codes for codes in single if len(codes) > 1)) if len(codes)]
    streams = [
        subject_weights(codes, n_units, replicates=replicates, seed=3 * seed + i) for i, codes in enumerate(strata)
    ]
    drawn = []
    for blocks in zip(*streams, strict=True):
        made = (sum(blocks[1:], start=blocks[0]) @ per_unit).reshape(-1, 2, 2, n_parts)
        drawn.append(with_whole(contributions(made[:, 0], made[:, 1])))
    return np.concatenate(drawn)


def with_whole(parts: Floats) -> Floats:
    """Append the sum of the parts along the last axis."""
    return np.concatenate([parts, parts.sum(-1, keepdims=True)], axis=-1)
