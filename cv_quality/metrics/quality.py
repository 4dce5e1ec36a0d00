"""Error versus reject: how fast the FNMR falls as the samples of worst quality are rejected.

The threshold is fixed beforehand (see `cv_quality.metrics.verification`): a curve whose threshold moved with the
samples would mix two effects. Quality is any number of which more is better.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result
from cv_quality.metrics.sorted_scores import Scores, in_order, is_below, thresholds_of
from cv_quality.metrics.validation import whole_numbers


@dataclass(frozen=True, slots=True, eq=False)
class ErrorVersusReject(Result):
    """FNMR of what is kept when ever more is rejected for its quality: steps, all arrays of shape (m,).

    Attributes:
        threshold: accept when score >= threshold.
        rejected: share rejected at each step, strictly rising from 0 to less than 1; of comparisons, or of samples.
        fnmr: share of the kept comparisons below the threshold; it holds up to the next step.
        quality_kept: the lowest quality that is kept; -inf where failures to acquire are.
        n_errors: kept comparisons below the threshold.
        n_comparisons: kept comparisons, at least 1.
        n_total: comparisons, or samples, of which a share is rejected; failures to acquire are among them.
        ends_at: up to where the steps hold: 1, or the share rejected from which on no comparison is left.
    """

    threshold: float
    rejected: NDArray[np.float64]
    fnmr: NDArray[np.float64]
    quality_kept: NDArray[np.float64]
    n_errors: NDArray[np.int64]
    n_comparisons: NDArray[np.int64]
    n_total: int
    ends_at: float

    def fnmr_at(self, share: float) -> float:
        """Return the FNMR after rejecting at most `share`: equal qualities go together, so less may have gone.

        Raises:
            MetricError: the share is negative, or no comparison is left there.
        """
        if not 0.0 <= share < self.ends_at:
            raise MetricError(f"comparisons are left for a share rejected of 0 to below {self.ends_at}, found {share}")
        return float(self.fnmr[np.searchsorted(self.rejected, share, side="right") - 1])

    def area(self, up_to: float = 1.0) -> float:
        """Compute the area under the steps from 0 to `up_to`; lower is better, and comparable at equal FNMR.

        Raises:
            MetricError: `up_to` is not in (0, 1], or no comparison is left before it.
        """
        if not 0.0 < up_to <= self.ends_at:
            raise MetricError(f"the curve runs from 0 to {self.ends_at}, found {up_to}")
        ends = np.append(self.rejected[1:], self.ends_at)
        widths = np.clip(np.minimum(ends, up_to) - self.rejected, 0.0, None)
        return float((widths * self.fnmr).sum())


def error_versus_reject(
    genuine: ArrayLike, quality: ArrayLike, *, threshold: float, n_failed: int = 0
) -> ErrorVersusReject:
    """Compute the FNMR after rejecting the comparisons of the worst quality (Grother and Tabassi, PAMI 2007).

    Comparisons of equal quality are rejected together. The curve should fall steeply; one that does not fall says that
    the quality does not predict errors at this threshold.

    Args:
        genuine: scores of comparisons within one subject, shape (n,).
        quality: of each comparison, higher is better, shape (n,); of two samples usually the lower quality.
        threshold: accept at or above.
        n_failed: failures to acquire. They have the worst quality and are rejected first, but are no comparisons: they
            widen the curve and leave the FNMR as it is. An attempt that was compared all the same belongs into
            `genuine`, with the score -inf and the quality -inf.

    Raises:
        MetricError: there is no score, shapes differ, a value is null or NaN, or `n_failed` is negative.

    >>> curve = error_versus_reject([0.2, 0.8, 0.9, 0.1], [1, 2, 2, 3], threshold=0.5)
    >>> curve.rejected.tolist(), [round(rate, 2) for rate in curve.fnmr.tolist()]
    ([0.0, 0.25, 0.75], [0.5, 0.33, 1.0])
    """
    if n_failed < 0:
        raise MetricError(f"n_failed counts failures to acquire, found {n_failed}")
    scores, qualities = in_order(genuine, name="genuine"), in_order(quality, name="quality")
    if len(scores) != len(qualities):
        raise MetricError(f"expected one quality per score, found {len(qualities)} for {len(scores)} scores")
    units = np.concatenate([np.full(n_failed, -np.inf), qualities.astype(np.float64)])
    return _steps(scores, qualities.astype(np.float64), units, threshold=threshold)


def error_versus_reject_samples(
    genuine: ArrayLike, sample_a: ArrayLike, sample_b: ArrayLike, *, quality: ArrayLike, threshold: float
) -> ErrorVersusReject:
    """Compute error versus reject by samples: a comparison goes as soon as either of its two samples is rejected.

    Args:
        genuine: scores of comparisons within one subject, shape (n,).
        sample_a, sample_b: the two samples of each comparison, as indices into `quality`; shape (n,).
        quality: of each sample, higher is better; -inf for a sample that failed to be acquired, which then is in no
            comparison but is rejected first; shape (s,).
        threshold: accept at or above.

    Raises:
        MetricError: there is no score or no sample, shapes differ, a value is null or NaN, or an index is out of range.

    >>> curve = error_versus_reject_samples([0.2, 0.8], [0, 1], [1, 2], quality=[1, 2, 3], threshold=0.5)
    >>> curve.fnmr.tolist(), curve.ends_at
    ([0.5, 0.0], 0.6666666666666666)
    """
    scores, qualities = in_order(genuine, name="genuine"), in_order(quality, name="quality").astype(np.float64)
    sides = []
    for name, side in (("sample_a", sample_a), ("sample_b", sample_b)):
        indices = whole_numbers(side, name=name, size=len(scores))
        if indices.min() < 0 or indices.max() >= len(qualities):
            found = f"{indices.min()} to {indices.max()}"
            raise MetricError(f"expected {name} as indices of {len(qualities)} qualities, found {found}")
        sides.append(qualities[indices])
    return _steps(scores, np.minimum(*sides), qualities, threshold=threshold)


def _steps(
    scores: Scores, of_comparison: NDArray[np.float64], of_unit: NDArray[np.float64], *, threshold: float
) -> ErrorVersusReject:
    """The curve of comparisons with these qualities, when units (comparisons or samples) are rejected by theirs."""
    order = np.argsort(of_comparison)
    is_error = is_below(scores, threshold)[order]
    levels, n_at_level = np.unique(of_unit, return_counts=True)
    # At level l all units of a lower quality are rejected.
    rejected = (np.cumsum(n_at_level) - n_at_level) / len(of_unit)
    gone = np.searchsorted(of_comparison[order], levels, side="left")
    kept, errors = len(scores) - gone, np.append(0, np.cumsum(is_error))
    has_any = kept > 0
    n_errors = (errors[-1] - errors[gone])[has_any]
    return ErrorVersusReject(
        threshold=float(thresholds_of(threshold)),
        rejected=rejected[has_any],
        fnmr=n_errors / kept[has_any],
        quality_kept=levels[has_any],
        n_errors=n_errors,
        n_comparisons=kept[has_any],
        n_total=len(of_unit),
        ends_at=1.0 if has_any.all() else float(rejected[np.argmin(has_any)]),
    )
