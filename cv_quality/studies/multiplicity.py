"""Many verdicts at once: Holm for declared endpoints, Benjamini-Hochberg for discovered slices, e-BH for monitors."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError

Floats = NDArray[np.float64]


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values so that any false rejection has at most the level's chance (Holm, Scand. J. Statist. 6, 1979).

    Args:
        p_values: 0 to 1, shape (n,).

    Raises:
        MetricError: a value is no probability.

    >>> holm([0.001, 0.008, 0.012, 0.021]).round(3).tolist()
    [0.004, 0.024, 0.024, 0.024]
    """
    p = _probabilities(p_values)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return _restored(np.minimum(raised, 1.0), order)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Adjust p-values so that of all rejections at most the level's share is false (J. R. Statist. Soc. B 57, 1995).

    Args:
        p_values: 0 to 1, shape (n,).

    Raises:
        MetricError: a value is no probability.

    >>> benjamini_hochberg([0.01, 0.02, 0.9]).round(3).tolist()
    [0.03, 0.03, 0.9]
    """
    p = _probabilities(p_values)
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _restored(np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0), order)


def e_bh(e_values: ArrayLike, *, alpha: float) -> NDArray[np.bool_]:
    """Choose which e-values raise an alarm, of which at most a share alpha is false under any dependence.

    The k largest are chosen, k being the largest number with e_(k) >= n / (alpha k) (Wang and Ramdas, J. R. Statist.
    Soc. B 84, 2022).

    Args:
        e_values: at least 0, shape (n,).
        alpha: share of false alarms, between 0 and 1.

    Raises:
        MetricError: an e-value is negative or no number, or alpha is no probability.

    >>> e_bh([300, 90, 50, 41, 12, 1], alpha=0.05).sum()
    np.int64(4)
    """
    e = np.asarray(e_values, np.float64)
    if e.ndim != 1 or np.any(np.isnan(e)) or np.any(e < 0):
        raise MetricError("expected e-values of at least 0")
    if not 0 < alpha < 1:
        raise MetricError(f"expected an alpha between 0 and 1, found {alpha:g}")
    order = np.argsort(-e, kind="stable")
    enough = np.flatnonzero(e[order] * np.arange(1, len(e) + 1) >= len(e) / alpha)
    chosen = np.zeros(len(e), np.bool_)
    chosen[order[: enough[-1] + 1 if enough.size else 0]] = True
    return chosen


def _probabilities(values: ArrayLike) -> Floats:
    p = np.asarray(values, np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise MetricError("expected p-values from 0 to 1")
    return p


def _restored(values: Floats, order: NDArray[np.intp]) -> Floats:
    found = np.empty_like(values)
    found[order] = values
    return found
