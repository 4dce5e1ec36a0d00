"""Genuine and impostor scores of known subjects, sorted and counted once, with bounds of both rates at any threshold.

Impostor scores may be only the highest ones. The bounds are those of `cv_quality.metrics.dyadic.pair_rate` and of
`cv_quality.metrics.rates.clustered_rate`; rates at an estimated threshold, in `cv_quality.metrics.fixed_fmr` and
`cv_quality.metrics.equal_error`, are made of them by `combined`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.dyadic import (
    ErringDyads,
    PairBounds,
    PairDesign,
    bounds_of,
    errors_of,
    rate_of,
    variance_of,
)
from cv_quality.metrics.rates import ASSUMED_ICC, LEVEL, Rate, clustered_rate
from cv_quality.metrics.resampling import scores_array
from cv_quality.metrics.trials import Codes, Trials, subjects_of

Floats = NDArray[np.float64]
ScoredPairs = tuple[ArrayLike, ArrayLike, ArrayLike]
Bounds = tuple[float, float]

LEAST_CORRELATION, MOST_CORRELATION = -0.7, 0.9
"""Of the two rates, as estimated from few subjects."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusteredScores:
    """Scores of both classes with their subjects; build it with `ClusteredScores.of`.

    Attributes:
        genuine, people: genuine scores, ascending, and the subject of each; shape (n,).
        impostor, one, other: the highest impostor scores, descending, and both subjects of each; shape (k,).
        ends: impostor comparisons at or above each distinct score of `impostor`, shape (distinct,).
        dyads: the dyad of each impostor score, numbered in the order in which they first appear; shape (k,).
        met: comparisons of each of these dyads.
        attempts: genuine comparisons of each subject, shape (subjects,).
        trials, design: who was compared with whom.
    """

    genuine: Floats
    people: Codes
    impostor: Floats
    one: Codes
    other: Codes
    ends: Codes
    dyads: Codes
    met: Floats
    attempts: Codes
    trials: Trials
    design: PairDesign

    @classmethod
    def of(cls, genuine: ArrayLike, people: ArrayLike, tail: ScoredPairs, trials: Trials) -> "ClusteredScores":
        """Check and sort the scores.

        Args:
            genuine, people: scores, higher is more alike; subject codes; shape (n,).
            tail: the two subject codes and the score of the highest impostor comparisons, shape (k,) each, in any
                order. Every comparison at or above the lowest score must be listed.
            trials: who was compared with whom, over all impostor comparisons, listed or not.

        Raises:
            MetricError: shapes, codes or scores are wrong, or more pairs are listed than were compared.
        """
        scores, listed = scores_array(genuine, "genuine"), scores_array(tail[2], "impostor")
        codes, one, other = subjects_of(scores, people, listed, tail[:2], trials=trials)
        if len(listed) > trials.n:
            raise MetricError(f"a tail of {len(listed)} scores cannot be part of {trials.n} impostor scores")
        up, down = np.argsort(scores, kind="stable"), np.argsort(-listed, kind="stable")
        one, other, listed = one[down], other[down], listed[down]
        numbers, met = _numbered(one, other, trials)
        return cls(
            genuine=scores[up],
            people=codes[up],
            impostor=listed,
            one=one,
            other=other,
            ends=np.flatnonzero(np.append(listed[1:] < listed[:-1], True)[: len(listed)]) + 1,
            dyads=numbers,
            met=met,
            attempts=np.bincount(codes, minlength=trials.n_subjects),
            trials=trials,
            design=PairDesign.of(trials),
        )

    @property
    def is_complete(self) -> bool:
        """Whether every impostor score is listed."""
        return len(self.impostor) == self.trials.n

    @property
    def n_genuine_subjects(self) -> int:
        """Subjects with a genuine comparison."""
        return int(np.count_nonzero(self.attempts))

    @property
    def n_subjects(self) -> int:
        """Subjects with any comparison."""
        return int(np.count_nonzero((self.attempts > 0) | (self.design.met > 0)))

    def count_matches(self, threshold: float) -> int:
        """Count the listed impostor comparisons at or above a threshold."""
        return int(np.searchsorted(-self.impostor, -threshold, side="right"))

    def count_misses(self, threshold: float) -> int:
        """Count the genuine comparisons below a threshold."""
        return int(np.searchsorted(self.genuine, threshold, side="left"))

    def count_up_to(self, score: float) -> int:
        """Count the genuine comparisons at or below a score."""
        return int(np.searchsorted(self.genuine, score, side="right"))

    def largest_step(self, misses: int, other: int) -> float:
        """Find the largest change of the FNMR's log odds by equal genuine scores, between two numbers of misses."""
        first, last = sorted((misses, other))
        if first == last:
            return 0.0
        within, n = self.genuine[first:last], len(self.genuine)
        ends = first + np.append(np.flatnonzero(within[1:] > within[:-1]) + 1, last - first)
        starts = np.append(first, ends[:-1])
        tied = ends - starts > 1
        steps = [scaled(end / n, n) - scaled(start / n, n) for start, end in zip(starts[tied], ends[tied], strict=True)]
        return max(steps, default=0.0)

    def threshold_above(self, blocked: float) -> float:
        """Find the lowest score above an impostor score that is not to be accepted; +inf where there is none."""
        first = int(np.searchsorted(-self.impostor, -blocked, side="left"))
        above = self.count_up_to(blocked)
        nearest = [self.impostor[first - 1]] if first else []
        return float(min([*nearest, *self.genuine[above : above + 1], math.inf]))

    def matched(self, matches: int) -> ErringDyads:
        """Count the highest impostor comparisons by dyad and by subject, as false matches."""
        y = np.bincount(self.dyads[:matches]).astype(np.float64)
        d = errors_of(self.one[:matches], self.other[:matches], self.trials.n_subjects)
        is_own = np.zeros(len(y), np.bool_)
        if self.design.own_squares:
            is_own[self.dyads[:matches]] = self.one[:matches] == self.other[:matches]
        return ErringDyads(self.design, y, self.met[: len(y)], is_own, d, matches)

    def missed(self, misses: int) -> Codes:
        """Count the lowest genuine comparisons by subject."""
        return np.bincount(self.people[:misses], minlength=len(self.attempts))

    def fmr(self, matches: int, *, level: float = LEVEL) -> Rate:
        """Estimate the FMR at the threshold that so many impostor comparisons reach."""
        return rate_of(self.matched(matches), level=level)

    def fnmr(self, misses: int, *, level: float = LEVEL, icc: float = ASSUMED_ICC) -> Rate:
        """Estimate the FNMR at the threshold that so many genuine comparisons miss."""
        return clustered_rate(self.missed(misses), self.attempts, level=level, icc=icc)

    def fmr_bounds(self, matches: int, *, level: float = LEVEL) -> PairBounds:
        """Bound the FMR as `fmr` does; not all comparisons are of one subject."""
        return bounds_of(self.matched(matches), level=level)

    def correlation(self, matches: int, misses: int) -> float:
        """Estimate the correlation of FMR and FNMR at one threshold, from the subjects' own errors of both kinds."""
        if matches in (0, self.trials.n):
            return 0.0
        dyads, n = self.matched(matches), len(self.genuine)
        variance, missed = variance_of(dyads), self.missed(misses) - misses / n * self.attempts
        spread = float(np.square(missed).sum()) / n**2 * max(variance.sandwich, variance.of_dyads)
        if spread <= 0:
            return 0.0
        shared = float(dyads.residuals @ missed) / (self.trials.n * n)
        return min(max(shared / math.sqrt(spread), LEAST_CORRELATION), MOST_CORRELATION)


def combined(
    value: float, parts: tuple[Bounds, Bounds], *, n: int, correlation: float, steps: Bounds = (0.0, 0.0)
) -> Bounds:
    """Bound a rate by what each of two uncertain numbers alone makes of it, the other taken as estimated.

    On the scale c(x) = logit((x n + 1/2) / (n + 1)) each side is c(value) +- sqrt(A^2 + B^2 + 2 rho A B), A and B being
    the distances to the two bounds of that side (MOVER; Zou and Donner, Statistics in Medicine 27, 2008). The part of A
    that is one step of tied scores is added in full instead: the truth may lie just there.

    Args:
        value: the rate of the sample.
        parts: the bounds that each of the two makes.
        n: trials, which set what half a trial is.
        correlation: of the two, rho.
        steps: the largest step on either side that the first makes at once, on the scale c.

    >>> low, high = combined(0.1, ((0.08, 0.13), (0.1, 0.1)), n=1_000, correlation=0.0)
    >>> round(low, 6), round(high, 6)
    (0.08, 0.13)
    """
    from scipy import special

    centre, found = scaled(value, n), []
    for side, sign in ((0, -1), (1, 1)):
        one, other = (max(sign * (scaled(bounds[side], n) - centre), 0.0) for bounds in parts)
        step = min(steps[side], one)
        one -= step
        half = step + math.sqrt(max(one**2 + other**2 + 2 * correlation * one * other, 0.0))
        share = float(special.expit(centre + sign * half))
        found.append(min(max((share * (n + 1) - 0.5) / n, 0.0), 1.0))
    return min(found[0], value), max(found[1], value)


def scaled(rate: float, n: int) -> float:
    """Compute the log odds of a rate of n trials, with half a trial more on either side."""
    return math.log((rate * n + 0.5) / (n * (1 - rate) + 0.5))


def effective_trials(value: float, bounds: Bounds, *, n: int, level: float) -> float | None:
    """Compute how many independent trials would give a rate the same interval, on the scale of `combined`."""
    from scipy import special

    low, high = (scaled(bound, n) for bound in bounds)
    sd = (high - low) / (2 * float(special.ndtri((1 + level) / 2)))
    return min(float(n), 1 / (value * (1 - value) * sd**2)) if sd > 0 and 0 < value < 1 else None


def _numbered(one: Codes, other: Codes, trials: Trials) -> tuple[Codes, Floats]:
    """Numbers of the dyads of comparisons in the order in which they first appear, and comparisons of each dyad."""
    size = max(trials.n_subjects, 1)
    keys, first, inverse = np.unique(
        np.minimum(one, other) * size + np.maximum(one, other), return_index=True, return_inverse=True
    )
    order, met = np.argsort(first), trials.of_dyads(keys // size, keys % size).astype(np.float64)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.arange(len(keys))
    return numbers[inverse], met[order]
