"""What every further pair of rotations does to the error rates, from histograms of both classes.

More rotations make genuine pairs more alike and impostors too: at one threshold they cost false matches.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.score_bins import BINS, BINS_PER_UNIT, ScoreScale, bin_of
from cv_quality.metrics.verification import allowed_false_matches

FMR_TARGET = 1e-3


@dataclass(frozen=True, slots=True)
class RotationRates:
    """Rates after a number of rotations, from bins; thresholds are oriented edges of bins.

    Attributes:
        shifts: rotations tried.
        n_genuine, n_impostor: pairs that have a score.
        eer: (FMR + FNMR) / 2 at the edge where the two are closest; None where a class has no pair.
        threshold, fnmr: the lowest edge whose FMR is at most `FMR_TARGET`, and the FNMR there; None where too few
            impostors can show it.
        fmr: at the decision threshold, with all pairs of its bin; None without a threshold.
        genuine_mean, impostor_mean: oriented; None where a class has no pair.
    """

    shifts: int
    n_genuine: int
    n_impostor: int
    eer: float | None
    threshold: float | None
    fnmr: float | None
    fmr: float | None
    genuine_mean: float | None
    impostor_mean: float | None


def rotation_rates(
    genuine: NDArray[np.int64], impostor: NDArray[np.int64], *, scale: ScoreScale, decided: float | None
) -> Iterator[RotationRates]:
    """Tell the rates after 1, 3, 5, ... rotations.

    Args:
        genuine, impostor: histograms as of `shift_curves`, shape (steps, BINS).
        scale: of their bins.
        decided: the decision threshold, oriented; None where it is unknown.
    """
    for step, (own, other) in enumerate(zip(genuine, impostor, strict=True)):
        yield _rates(2 * step + 1, own, other, scale, decided)


def moments_of(histogram: NDArray[np.int64], scale: ScoreScale) -> tuple[float | None, float | None]:
    """Mean and standard deviation of binned scores, each taken in the middle of its bin; None without a score."""
    filled = np.flatnonzero(histogram)
    if not filled.size:
        return None, None
    middles = scale.score_at((filled + 0.5) / BINS_PER_UNIT - 1.0)
    mean = float(np.average(middles, weights=histogram[filled]))
    return mean, float(np.sqrt(np.average((middles - mean) ** 2, weights=histogram[filled])))


def _rates(
    shifts: int, own: NDArray[np.int64], other: NDArray[np.int64], scale: ScoreScale, decided: float | None
) -> RotationRates:
    n_own, n_other = int(own.sum()), int(other.sum())
    means = moments_of(own, scale)[0], moments_of(other, scale)[0]
    if not n_own or not n_other:
        return RotationRates(shifts, n_own, n_other, None, None, None, None, *means)
    fnmr = np.append(0, np.cumsum(own)) / n_own
    above = np.append(np.cumsum(other[::-1])[::-1], 0)
    closest = int(np.argmin(np.abs(fnmr - above / n_other)))
    eer = float(fnmr[closest] + above[closest] / n_other) / 2
    threshold = missed = fmr = None
    if allowed := allowed_false_matches(n_other, fmr=FMR_TARGET):
        edge = int(np.argmax(above <= allowed))
        threshold = float(scale.score_at(np.asarray(edge / BINS_PER_UNIT - 1.0)))
        missed = float(fnmr[edge])
    if decided is not None:
        accepted = BINS if decided > scale.high else int(bin_of(np.array([decided]), scale)[0])
        fmr = float(above[accepted] / n_other)
    return RotationRates(shifts, n_own, n_other, eer, threshold, missed, fmr, *means)
