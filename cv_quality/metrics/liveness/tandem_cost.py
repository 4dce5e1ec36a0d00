"""The architecture-agnostic detection cost (a-DCF) of a system that decides on one score: miss, impostor and spoof.

Shim et al., "a-DCF: an architecture agnostic metric with application to spoofing-robust speaker verification" (Odyssey
2024); defaults as in their public code. One score has to reject zero-effort impostors and attacks alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result


@dataclass(frozen=True, slots=True)
class TandemWeights(Result):
    """How often each kind of trial comes, and what its error costs.

    Attributes:
        p_target, p_nontarget, p_spoof: prior probabilities, which add up to 1.
        c_miss, c_fa, c_spoof: costs of a rejected target, of an accepted impostor and of an accepted attack.

    Raises:
        MetricError: priors that do not add up, or a number out of range.
    """

    p_target: float = 0.9
    p_nontarget: float = 0.05
    p_spoof: float = 0.05
    c_miss: float = 1.0
    c_fa: float = 10.0
    c_spoof: float = 20.0

    def __post_init__(self) -> None:
        priors, costs = (self.p_target, self.p_nontarget, self.p_spoof), (self.c_miss, self.c_fa, self.c_spoof)
        if not all(0 <= p <= 1 for p in priors) or abs(sum(priors) - 1) > 1e-9 or self.p_target in (0, 1):
            raise MetricError(f"expected priors from 0 to 1 that add up to 1, found {', '.join(map(str, priors))}")
        if not all(0 < cost < np.inf for cost in costs):
            raise MetricError(f"expected finite costs above 0, found {', '.join(map(str, costs))}")


@dataclass(frozen=True, slots=True)
class ADcf(Result):
    """The smallest a-DCF over all thresholds; lower is better, 1 is that of a system that knows nothing.

    Attributes:
        threshold: a trial is accepted at this score and above; +inf where rejecting everything is best.
        frr, far, far_spoof: rejected targets, accepted impostors and accepted attacks there, shares.
    """

    weights: TandemWeights
    value: float
    threshold: float
    frr: float
    far: float
    far_spoof: float


def a_dcf(target: ArrayLike, nontarget: ArrayLike, spoof: ArrayLike, *, weights: TandemWeights | None = None) -> ADcf:
    """Compute the smallest C_miss P_tar FRR + C_fa P_non FAR + C_spoof P_spoof FAR_spoof, normalised.

    The divisor is the cost of the better of two systems that accept, or reject, everything. It has no interval: the
    threshold is the best for these very scores, so the value is optimistic.

    Args:
        target: scores of bona fide trials of the target, higher is more surely to be accepted; shape (n,).
        nontarget: of zero-effort impostors.
        spoof: of attacks on the target.
        weights: priors and costs; those of the public code by default.

    Raises:
        MetricError: a kind of trial is absent, or a score is null, NaN or no number.

    >>> round(a_dcf([5, 6, 7, 8], [1, 2, 3, 6.5], [0, 4, 5.5, 7.5]).value, 6)
    0.666667
    >>> a_dcf([1, 1], [1], [1, 1]).value
    1.0
    """
    by = weights or TandemWeights()
    kinds = [_sorted(scores, name) for scores, name in ((target, "target"), (nontarget, "impostor"), (spoof, "attack"))]
    thresholds = np.append(np.unique(np.concatenate(kinds)), np.inf)
    below = [np.searchsorted(scores, thresholds) / scores.size for scores in kinds]
    frr, far, far_spoof = below[0], 1 - below[1], 1 - below[2]
    miss, impostor, attack = by.c_miss * by.p_target, by.c_fa * by.p_nontarget, by.c_spoof * by.p_spoof
    costs = (miss * frr + impostor * far + attack * far_spoof) / min(miss, impostor + attack)
    at = len(costs) - 1 - int(np.argmin(costs[::-1]))
    return ADcf(by, float(costs[at]), float(thresholds[at]), float(frr[at]), float(far[at]), float(far_spoof[at]))


def _sorted(scores: ArrayLike, name: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise MetricError(f"no {name} trial: the a-DCF weighs targets, impostors and attacks")
    if np.isnan(values).any() or values.ndim != 1:
        raise MetricError(f"expected one number for each {name} trial: a trial without a score is not one of these")
    return np.sort(values)
