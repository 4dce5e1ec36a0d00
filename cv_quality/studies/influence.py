"""What each subject, and each dyad of subjects, adds to a rate: the linear part of which its variance is made."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.dyadic import ErringDyads, Errors
from cv_quality.metrics.trials import Trials
from cv_quality.metrics.verification import ErrorRates, allowed_false_matches

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Weights = tuple[float, float]
"""Of FNMR and FMR at a threshold, in a rate that hangs on both."""

MOST_DF = 1e6
MOST_STEP = 1.5
"""Of log FMR, to either side of a threshold."""


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """What subjects and dyads of one build add to its rate.

    Attributes:
        value: the rate.
        of_subjects: influence of each subject, shape (subjects,).
        keys, adds, met: numbers of the dyads with a false match, ascending, what their matches add to w, and their
            comparisons.
        base: what each comparison takes from w: w = adds - base met.
        squares: sum of the squared comparisons over all dyads.
        n_erring: false matches of each subject, shape (subjects,).
    """

    value: float
    of_subjects: Floats
    keys: Codes
    adds: Floats
    met: Floats
    base: float
    squares: float
    n_erring: Floats

    @classmethod
    def of(
        cls, value: float, dyads: ErringDyads, keys: Codes, *, genuine: Floats | float = 0.0, weight: float = 1.0
    ) -> "Influence":
        """Make influences.

        Args:
            value: the rate.
            dyads, keys: the false matches, and the number of each of their dyads.
            genuine: what the subjects' genuine comparisons add.
            weight: of the FMR in the rate.
        """
        total, order = dyads.design.n, np.argsort(keys)
        return cls(
            value=value,
            of_subjects=genuine + weight * dyads.residuals / total,
            keys=keys[order],
            adds=weight * dyads.y[order] / total,
            met=dyads.m[order],
            base=weight * dyads.k / total**2,
            squares=dyads.design.squares,
            n_erring=dyads.d,
        )

    @classmethod
    def of_pairs(cls, errors: Errors, trials: Trials) -> "Influence":
        """Make the influences on the rate of errors between subjects; see `cv_quality.metrics.dyadic.pair_rate`."""
        dyads = ErringDyads.of(errors, trials)
        one, other = (np.asarray(side, np.int64) for side in errors)
        keys = np.unique(np.minimum(one, other) * max(trials.n_subjects, 1) + np.maximum(one, other))
        return cls.of(dyads.k / dyads.design.n, dyads, keys)

    @classmethod
    def at_threshold(cls, scores: ClusteredScores, value: float, rates: ErrorRates, *, weights: Weights) -> "Influence":
        """Make the influences on a rate that hangs on FNMR and FMR at one threshold with these weights."""
        matches, size = rates.n_false_matches, scores.trials.n_subjects
        missed = scores.missed(rates.n_false_non_matches) - rates.fnmr * scores.attempts
        low, high = (pick(scores.one[:matches], scores.other[:matches]) for pick in (np.minimum, np.maximum))
        dyads = scores.matched(matches)
        keys = np.empty(len(dyads.y), np.int64)
        keys[scores.dyads[:matches]] = low * size + high
        return cls.of(value, dyads, keys, genuine=weights[0] * missed / len(scores.genuine), weight=weights[1])

    @property
    def dyads_squared(self) -> float:
        """Sum of w^2 over all dyads."""
        return float(np.square(self.adds).sum() - 2 * self.base * (self.adds @ self.met)) + self.base**2 * self.squares

    @property
    def most_df(self) -> float:
        """Degrees of freedom that the subjects' false matches allow."""
        squares = float(np.square(self.n_erring).sum())
        return max(1.0, float(self.n_erring.sum()) ** 2 / squares - 1) if squares else MOST_DF

    def times(self, other: "Influence") -> float:
        """Sum w of one build times that of the other; builds with other trials share only dyads that match in both."""
        _, left, right = np.intersect1d(self.keys, other.keys, assume_unique=True, return_indices=True)
        both = float(self.adds[left] @ other.adds[right])
        if self.squares != other.squares:
            return both
        crossed = self.base * float(other.adds @ other.met) + other.base * float(self.adds @ self.met)
        return both - crossed + self.base * other.base * self.squares


def threshold_slope(scores: ClusteredScores, rates: ErrorRates) -> float:
    """Estimate -dFNMR/dFMR at a threshold: dFNMR/dlog FMR over two standard errors of log FMR to either side, by FMR.

    Narrower, the few genuine scores between both ends make it noisy; the result is at least 0.
    """
    total = scores.trials.n
    rate = scores.fmr(max(rates.n_false_matches, 1))
    at = rate.value or 1 / total
    error = 1 / math.sqrt(max(rate.n_effective or 1.0, 1.0) * at)
    step = min(max(2 * error, 1 / max(rates.n_false_matches, 1)), MOST_STEP)
    ends = (allowed_false_matches(total, fmr=min(at * math.exp(sign * step), 1.0)) for sign in (-1, 1))
    fewer, more = (min(max(end, 1), len(scores.impostor)) for end in ends)
    if more <= fewer:
        return 0.0
    misses = [scores.count_up_to(_blocked(scores, count)) for count in (fewer, more)]
    return max(misses[0] - misses[1], 0) / len(scores.genuine) / math.log(more / fewer) / at


def _blocked(scores: ClusteredScores, matches: int) -> float:
    """The impostor score that must not be accepted where so many are."""
    return float(scores.impostor[matches]) if matches < len(scores.impostor) else -math.inf
