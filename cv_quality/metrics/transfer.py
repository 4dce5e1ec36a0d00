"""Transfer of thresholds: chosen on a development set of scores, applied to a test set.

A threshold that is chosen and judged on the same scores looks better than it is. How rates at one threshold are
counted is in `cv_quality.metrics.verification`.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result
from cv_quality.metrics.sorted_scores import SortedScores, in_order
from cv_quality.metrics.verification import (
    DetCurve,
    ErrorRates,
    Genuine,
    Impostor,
    ScoreTail,
    curve_at,
    det_curve,
    eer,
    fnmr_at_fmr,
    rates_at,
    tail_of,
)

SAME_COST = 1e-12
"""Weighted errors closer than this count as equal: equal ones differ by less through rounding."""

ScoreSets: TypeAlias = "tuple[Genuine, Impostor]"
"""Genuine and impostor scores of one set."""


@dataclass(frozen=True, slots=True)
class Transfer(Result):
    """A threshold of the development set, and the rates on both sets; undefined, these are None with a `reason`.

    Attributes:
        criterion: how the threshold was chosen on the development set.
        fmr_target: the FMR allowed there; None for the EER.
        development: rates where the threshold was chosen; optimistic.
        test: rates where it is applied. The FMR here may exceed the target: that is what this is to show.
        half_total_error: (FMR + FNMR) / 2 on the test set.
    """

    criterion: Literal["fnmr_at_fmr", "eer"]
    fmr_target: float | None
    development: ErrorRates | None
    test: ErrorRates | None
    half_total_error: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedPerformance(Result):
    """The expected performance curve: for each weight the threshold that is best on the development set; shapes (a,).

    Attributes:
        alphas: weights of the FMR, 0 to 1; the FNMR has the weight 1 - alpha.
        development, test: rates on both sets at the development set's threshold of each weight.
        weighted_error: alpha FMR + (1 - alpha) FNMR on the test set.
        half_total_error: (FMR + FNMR) / 2 on the test set.
    """

    alphas: NDArray[np.float64]
    development: DetCurve
    test: DetCurve
    weighted_error: NDArray[np.float64]
    half_total_error: NDArray[np.float64]


def transfer_at_fmr(development: ScoreSets, test: ScoreSets, *, fmr: float) -> Transfer:
    """Apply the development set's threshold of FNMR@FMR to the test set; lower rates are better.

    Args:
        development, test: genuine and impostor scores, as `fnmr_at_fmr` takes them.
        fmr: the highest FMR allowed on the development set, 0 to 1; undefined below 1/fmr impostor scores there.

    Raises:
        MetricError: a class has no score, a score is NaN, the target is outside [0, 1], or a tail is too short.

    >>> found = transfer_at_fmr(([0.5, 0.9], [0.1, 0.6]), ([0.4, 0.8], [0.2, 0.95]), fmr=0.5)
    >>> found.test.threshold, found.test.fmr, found.test.fnmr
    (0.5, 0.5, 0.5)
    """
    chosen = fnmr_at_fmr(*development, fmr=fmr)
    if chosen.rates is None:
        return Transfer("fnmr_at_fmr", fmr, None, None, None, f"on the development set: {chosen.reason}")
    return _transferred("fnmr_at_fmr", fmr, chosen.rates, test)


def transfer_eer(development: ScoreSets, test: ScoreSets) -> Transfer:
    """Apply the development set's threshold of the equal error rate to the test set; lower rates are better.

    Raises:
        MetricError: as for `eer`, on either set.

    >>> transfer_eer(([0.5, 0.9], [0.1, 0.2]), ([0.4, 0.8], [0.2, 0.95])).half_total_error
    0.5
    """
    return _transferred("eer", None, eer(*development).rates, test)


def expected_performance_curve(
    development: ScoreSets, test: ScoreSets, *, alphas: ArrayLike | int = 101
) -> ExpectedPerformance:
    """Apply to test, for each alpha, the threshold with the least alpha FMR + (1 - alpha) FNMR on development.

    Lower is better. Bengio, Mariéthoz and Keller, The expected performance curve, 2005. The best threshold is always a
    corner of the DET curve (see `det_curve`); of corners that cost the same, the one with the fewest false matches
    counts, unless another one has as few of them and fewer false non-matches.

    Args:
        alphas: weights of the FMR, each 0 to 1, or how many to spread evenly over [0, 1], at least 2.

    Raises:
        MetricError: a class has no score, a score is NaN, a weight is outside [0, 1], or a set has only a partial tail.

    >>> epc = expected_performance_curve(([0.5, 0.9], [0.1, 0.6]), ([0.4, 0.8], [0.2, 0.95]), alphas=[0.0, 1.0])
    >>> epc.development.thresholds.tolist(), epc.weighted_error.tolist()
    ([0.5, 0.9], [0.5, 0.5])
    """
    for _, impostor in (development, test):
        if isinstance(impostor, ScoreTail) and not impostor.is_complete:
            raise MetricError("an expected performance curve needs all impostor scores, found a partial tail")
    if isinstance(alphas, int) and alphas < 2:
        raise MetricError(f"a curve needs 2 weights or more, found {alphas}")
    given = np.linspace(0.0, 1.0, alphas) if isinstance(alphas, int) else alphas
    weights = in_order(given, name="weight").astype(np.float64)
    if weights.min() < 0 or weights.max() > 1:
        raise MetricError(f"a weight lies in [0, 1], found {weights.min()} to {weights.max()}")
    genuine, tail = SortedScores(development[0], name="genuine"), tail_of(development[1])
    curve = det_curve(genuine, tail)
    is_beaten = np.diff(curve.n_false_matches, prepend=-1) == 0  # by the corner before, with fewer false non-matches
    fmr, fnmr = curve.fmr[~is_beaten], curve.fnmr[~is_beaten]
    best = []
    for alpha in weights.tolist():
        costs = alpha * fmr + (1 - alpha) * fnmr
        best.append(int(np.flatnonzero(costs <= costs.min() + SAME_COST)[-1]))
    thresholds = curve.thresholds[~is_beaten][best]
    applied = curve_at(*test, thresholds=thresholds)
    return ExpectedPerformance(
        alphas=weights,
        development=curve_at(genuine, tail, thresholds=thresholds),
        test=applied,
        weighted_error=weights * applied.fmr + (1 - weights) * applied.fnmr,
        half_total_error=(applied.fmr + applied.fnmr) / 2,
    )


def _transferred(
    criterion: Literal["fnmr_at_fmr", "eer"], fmr: float | None, chosen: ErrorRates, test: ScoreSets
) -> Transfer:
    applied = rates_at(*test, threshold=chosen.threshold)
    return Transfer(criterion, fmr, chosen, applied, (applied.fmr + applied.fnmr) / 2)
