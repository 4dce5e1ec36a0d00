"""Separation of two classes of scores, and their calibration as likelihood ratios: d', AUC, Cllr, minCllr.

None of these has a threshold, so none says what a system does in the field; the rates that do are in
`cv_quality.metrics.verification`. An AUC below 0.5 says that the polarity is reversed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.metrics.results import Result
from cv_quality.metrics.sorted_scores import Scores, SortedScores, count_below, count_up_to
from cv_quality.text import figures

CHUNK = 1 << 20
"""Scores that are widened to float64 at once."""
ENDS = np.array([-np.inf, np.inf])


@dataclass(frozen=True, slots=True)
class Decidability(Result):
    """d' and what it is made of; undefined, all is None with a `reason`.

    Attributes:
        value: signed, in pooled standard deviations: positive when genuine scores are the higher ones.
        mean_genuine, mean_impostor: in units of the score.
        std_genuine, std_impostor: standard deviations with the divisor n.
    """

    value: float | None = None
    mean_genuine: float | None = None
    std_genuine: float | None = None
    mean_impostor: float | None = None
    std_impostor: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Separation(Result):
    """All measures of separation of one set of scores.

    Attributes:
        auc: 0 to 1, higher is better.
        cllr: in bits, lower is better, +inf possible; for scores that are no log-likelihood ratios it means nothing.
        min_cllr: in bits, 0 to 1, lower is better: what would remain of `cllr` after the best calibration.
        warnings: what a reader of the numbers must know, in sentences.
    """

    n_genuine: int
    n_impostor: int
    decidability: Decidability
    auc: float
    cllr: float
    min_cllr: float
    warnings: tuple[str, ...]


def separation(genuine: "ArrayLike | SortedScores", impostor: "ArrayLike | SortedScores") -> Separation:
    """Compute d', AUC, Cllr and minCllr together, each class sorted once.

    Raises:
        MetricError: a class has no score, or a score is null, NaN or no number.

    >>> separation([2.0, 3.0], [-1.0, 2.0]).auc
    0.875
    """
    genuine, impostor = _both(genuine, impostor)
    area, cost = auc(genuine, impostor), cllr(genuine, impostor)
    warnings = []
    if area < 0.5:
        warnings.append(f"AUC {figures(area)} is below 0.5: the scores look reversed")
    if cost > 1.0:
        warnings.append(
            f"Cllr {figures(cost)} exceeds 1: read as log-likelihood ratios these scores are worse than none"
        )
    return Separation(
        n_genuine=genuine.n,
        n_impostor=impostor.n,
        decidability=d_prime(genuine, impostor),
        auc=area,
        cllr=cost,
        min_cllr=min_cllr(genuine, impostor),
        warnings=tuple(warnings),
    )


def d_prime(genuine: "ArrayLike | SortedScores", impostor: "ArrayLike | SortedScores") -> Decidability:
    """Compute d' = (mean_g - mean_i) / sqrt((var_g + var_i) / 2), higher is better (Daugman, Patt. Rec. 36, 2003).

    Variances have the divisor n. It describes two bell-shaped classes; a few outliers can change it at will. Undefined
    where a score is infinite, as that of a failed enrolment, or where both classes have no spread at all.

    Args:
        genuine: scores of comparisons within one subject, shape (n,).
        impostor: scores of comparisons between subjects, shape (m,).

    Raises:
        MetricError: a class has no score, or a score is null, NaN or no number.

    >>> d_prime([3.0, 5.0], [0.0, 2.0]).value
    3.0
    """
    genuine, impostor = _both(genuine, impostor)
    infinite = 0
    for side in (genuine, impostor):
        (lowest, _), (_, below_highest) = (count(side.scores, ENDS) for count in (count_up_to, count_below))
        infinite += int(lowest) + side.n - int(below_highest)
    if infinite:
        return Decidability(reason=f"{infinite} scores are infinite: leave them out to describe the finite ones")
    (mean_g, var_g), (mean_i, var_i) = _moments(genuine.scores), _moments(impostor.scores)
    spread = math.sqrt((var_g + var_i) / 2)
    if not math.isfinite(spread):
        return Decidability(reason="the squares of the scores exceed float64: scale them first")
    if spread == 0.0:
        return Decidability(reason="no spread: all genuine scores are equal, and so are all impostor scores")
    return Decidability((mean_g - mean_i) / spread, mean_g, math.sqrt(var_g), mean_i, math.sqrt(var_i))


def auc(genuine: "ArrayLike | SortedScores", impostor: "ArrayLike | SortedScores") -> float:
    """Compute P(genuine > impostor) + P(genuine = impostor) / 2 over all pairs, 0 to 1; higher is better.

    This is the area under the ROC curve and the Mann-Whitney statistic over n m. Ties count one half, the counts are
    whole numbers, infinities are compared like any score. Below 0.5 the polarity is probably reversed.

    Raises:
        MetricError: a class has no score, or a score is null, NaN or no number.

    >>> auc([0.4, 0.9], [0.1, 0.4])
    0.875
    """
    genuine, impostor = _both(genuine, impostor)
    halves = 0
    for part in _chunks(genuine.scores):
        halves += int(count_below(impostor.scores, part).sum()) + int(count_up_to(impostor.scores, part).sum())
    return halves / (2 * genuine.n * impostor.n)


def cllr(genuine: "ArrayLike | SortedScores", impostor: "ArrayLike | SortedScores") -> float:
    """Compute the cost of log-likelihood ratios, in bits; lower is better, 0 is perfect, 1 is worth nothing.

    Cllr = (mean over genuine of log2(1 + exp(-s)) + mean over impostor of log2(1 + exp(s))) / 2, with s the natural
    logarithm of a likelihood ratio (Brümmer and du Preez, Computer Speech and Language 20, 2006). For others, such as
    cosines, only `min_cllr` can be read. A genuine score of -inf or an impostor score of +inf costs +inf.

    Raises:
        MetricError: a class has no score, or a score is null, NaN or no number.

    >>> cllr([0.0], [0.0])
    1.0
    """
    genuine, impostor = _both(genuine, impostor)
    nats = _mean_softplus(genuine.scores, sign=-1.0) + _mean_softplus(impostor.scores, sign=1.0)
    return nats / (2 * math.log(2))


def min_cllr(genuine: "ArrayLike | SortedScores", impostor: "ArrayLike | SortedScores") -> float:
    """Compute the smallest Cllr of any rising function of the scores, in bits, 0 to 1; lower is better.

    The best such function is found by pooling adjacent violators (PAV); equal scores get equal values. It depends on
    the order of the scores only, so they need not be log-likelihood ratios, and may be infinite; Cllr - minCllr is the
    loss by calibration. Reversed scores reach about 1, as no rising function can turn them round. Being fitted to the
    scores at hand it is optimistic for few of them (Brümmer and du Preez, 2006).

    Raises:
        MetricError: a class has no score, or a score is null, NaN or no number.

    >>> min_cllr([0.4, 0.9], [0.1, 0.2])
    0.0
    """
    from scipy.optimize import isotonic_regression

    genuine, impostor = _both(genuine, impostor)
    genuines, impostors = _groups(genuine.scores, impostor.scores)
    size = genuines + impostors
    starts = isotonic_regression(genuines / size, weights=size).blocks[:-1]
    share_g, share_i = np.add.reduceat(genuines, starts) / genuine.n, np.add.reduceat(impostors, starts) / impostor.n
    return (_mean_cost(share_g, share_i) + _mean_cost(share_i, share_g)) / 2


def _both(
    genuine: "ArrayLike | SortedScores", impostor: "ArrayLike | SortedScores"
) -> tuple[SortedScores, SortedScores]:
    return SortedScores(genuine, name="genuine"), SortedScores(impostor, name="impostor")


def _chunks(scores: Scores) -> Iterator[Scores]:
    return (scores[start : start + CHUNK] for start in range(0, len(scores), CHUNK))


def _moments(scores: Scores) -> tuple[float, float]:
    """Mean and variance in float64; the variance of equal scores is 0, whatever rounding says of their mean."""
    if scores[0] == scores[-1]:
        return float(scores[0]), 0.0
    mean = float(scores.mean(dtype=np.float64))
    with np.errstate(over="ignore"):
        squares = sum(float(np.square(part.astype(np.float64) - mean).sum()) for part in _chunks(scores))
    return mean, squares / len(scores)


def _mean_softplus(scores: Scores, *, sign: float) -> float:
    """The mean of log(1 + exp(score)); shares are summed, as the sum of scores near the largest number overflows."""
    n = len(scores)
    return sum(float((np.logaddexp(0.0, sign * part.astype(np.float64)) / n).sum()) for part in _chunks(scores))


def _groups(genuine: Scores, impostor: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of genuine and impostor scores in ascending groups that PAV never splits.

    Each distinct genuine score is a group, with the impostor scores equal to it; so are the impostor scores between
    two of them, which PAV gives one value: there are as many groups as genuine scores, not as impostor scores.
    """
    first = np.flatnonzero(np.concatenate([[True], genuine[1:] > genuine[:-1]]))
    values = genuine[first]
    edges = np.stack([count_below(impostor, values), count_up_to(impostor, values)], axis=1).ravel()
    impostors = np.diff(edges, prepend=0, append=len(impostor))
    genuines = np.zeros_like(impostors)
    genuines[1::2] = np.diff(first, append=len(genuine))
    is_filled = genuines + impostors > 0
    return genuines[is_filled], impostors[is_filled]


def _mean_cost(share: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The mean of log2(1 + other / share) over one class, given the shares of both classes in each pooled group."""
    present = share > 0
    return float((share[present] * np.log2(1.0 + other[present] / share[present])).sum())
