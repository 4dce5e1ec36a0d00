"""The detection cost of NIST's speaker recognition evaluations, at its smallest over all thresholds.

A cost weighs both error rates by what they cost and how often they can happen; which weights are right is a matter of
the application, so they are stated beside every value. Rates themselves are in `cv_quality.metrics.verification`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import EXPECTED_ERRORS_NEEDED
from cv_quality.metrics.results import Result
from cv_quality.metrics.sorted_scores import SortedScores
from cv_quality.metrics.verification import det_curve

NO_INTERVAL = (
    "no interval: the threshold is the best for these very scores, so the cost is optimistic, by how much is unknown"
)


@dataclass(frozen=True, slots=True)
class CostWeights(Result):
    """What the errors of an application cost and how often they can happen.

    Attributes:
        p_target: prior probability that a trial is genuine (mated), above 0 and below 1.
        c_miss, c_fa: costs of a false non-match and of a false match, above 0.

    Raises:
        MetricError: a number is outside its range.
    """

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.p_target < 1:
            raise MetricError(f"the prior of a target lies above 0 and below 1, found {self.p_target:g}")
        if not (0 < self.c_miss < np.inf and 0 < self.c_fa < np.inf):
            raise MetricError(f"costs are finite and above 0, found {self.c_miss:g} and {self.c_fa:g}")


VOXSRC_AND_SRE = (CostWeights(0.01), CostWeights(0.05))
"""The priors of most published figures: NIST SRE 2016 and later, and VoxSRC; equal costs."""


@dataclass(frozen=True, slots=True)
class MinDcf(Result):
    """The smallest normalised detection cost; lower is better, 1 is that of a system that knows nothing.

    Attributes:
        weights: prior and costs.
        value: 0 to 1.
        threshold: where it is reached, the highest of several; +inf where rejecting everything is best.
        fmr, fnmr: both rates there.
        reason: why there is no interval; "insufficient: ..." first where it rests on few errors.
    """

    weights: CostWeights
    value: float
    threshold: float
    fmr: float
    fnmr: float
    reason: str


def min_dcf(
    genuine: "ArrayLike | SortedScores", impostor: "ArrayLike | SortedScores", *, weights: CostWeights
) -> MinDcf:
    """Compute the smallest DCF(t) = C_miss P FNMR(t) + C_fa (1 - P) FMR(t), over min(C_miss P, C_fa (1 - P)).

    The divisor is the cost of the better of two systems that accept, or reject, everything (NIST Speaker Recognition
    Evaluation plans, 2012 and later), so that the value never exceeds 1. A minimum lies at a genuine score or above all
    of them: between two genuine scores only the FMR falls.

    Args:
        genuine: scores of comparisons within one subject, higher is more alike; shape (n,).
        impostor: scores of comparisons between subjects; shape (m,).
        weights: the prior and the costs.

    Raises:
        MetricError: a class has no score, or a score is null, NaN or no number.

    >>> min_dcf([0.4, 0.9], [0.1, 0.2, 0.3, 0.5], weights=CostWeights(0.5)).value
    0.25
    """
    curve = det_curve(genuine, impostor)
    on_miss, on_fa = weights.c_miss * weights.p_target, weights.c_fa * (1 - weights.p_target)
    costs = (on_miss * curve.fnmr + on_fa * curve.fmr) / min(on_miss, on_fa)
    at = len(costs) - 1 - int(np.argmin(costs[::-1]))
    fewest = min(int(curve.n_false_matches[at]), int(curve.n_false_non_matches[at]))
    few = f"insufficient: {fewest} errors of one kind at the threshold, {EXPECTED_ERRORS_NEEDED:g} needed; "
    return MinDcf(
        weights=weights,
        value=float(costs[at]),
        threshold=float(curve.thresholds[at]),
        fmr=float(curve.fmr[at]),
        fnmr=float(curve.fnmr[at]),
        reason=(few if fewest < EXPECTED_ERRORS_NEEDED else "") + NO_INTERVAL,
    )
