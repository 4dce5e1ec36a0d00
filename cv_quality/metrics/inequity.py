"""Summary measures of demographic differentials: ratios, Gini, GARBE and the fairness discrepancy rate.

Every measure here is a function of rates alone; which groups are large enough to enter is decided in
`cv_quality.metrics.differentials`. Chance alone makes groups differ, and every measure grows with the number of groups:
read them next to the intervals of the rates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result

Floats = NDArray[np.float64]

ALPHA = 0.5
"""Weight of false matches against false non-matches where none is given."""


@dataclass(frozen=True, slots=True)
class Measure(Result):
    """A summary of the rates of several groups.

    Attributes:
        value: None with a `reason`.
        at_least: where a group without an error leaves a ratio undefined, the ratio with the upper bound of that
            group's rate instead; the true one is higher as long as the bound holds.
        groups: names of the groups that entered.
        left_out: names of those that did not, as too little is known of them.
    """

    value: float | None
    reason: str | None = None
    at_least: float | None = None
    groups: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def worst_over_geometric_mean(rates: Sequence[float]) -> Measure:
    """Compute max_i r_i / (r_1 ... r_n)^(1/n), 1 when all are equal; lower is better (Grother, NIST IR 8429, 2022).

    Undefined where a group has no error: the geometric mean is then 0, whatever the other groups do.

    Raises:
        MetricError: a rate is outside [0, 1].

    >>> round(worst_over_geometric_mean([0.01, 0.02, 0.04]).value, 6)
    2.0
    >>> worst_over_geometric_mean([0.01, 0.0]).reason
    'a group has no error: no ratio to it is defined'
    """
    values = _rates_of(rates)
    reason = _undefined(values, is_ratio=True)
    return Measure(None, reason) if reason else Measure(float(values.max() / np.exp(np.log(values).mean())))


def max_over_min(rates: Sequence[float]) -> Measure:
    """Compute max_i r_i / min_i r_i, 1 when all are equal; lower is better ("inequity" in NIST IR 8429, 2022).

    Undefined where a group has no error.

    Raises:
        MetricError: a rate is outside [0, 1].

    >>> max_over_min([0.01, 0.02, 0.04]).value
    4.0
    """
    values = _rates_of(rates)
    reason = _undefined(values, is_ratio=True)
    return Measure(None, reason) if reason else Measure(float(values.max() / values.min()))


def gini(rates: Sequence[float]) -> Measure:
    """Compute the Gini coefficient of rates with mean r, n / (n - 1) sum_ij |r_i - r_j| / (2 n^2 r); lower is better.

    0 when all rates are equal, and 1 when one group has all the errors: the factor n / (n - 1) takes out the number of
    groups (Howard, Laird, Sirotin et al., arXiv 2203.05051, 2022). Undefined where no group has an error.

    Raises:
        MetricError: a rate is outside [0, 1].

    >>> gini([0.0, 0.0, 0.0, 0.2]).value, gini([0.1, 0.1]).value
    (1.0, 0.0)
    """
    values = _rates_of(rates)
    if reason := _undefined(values) or (None if values.any() else "no group has an error"):
        return Measure(None, reason)
    n = values.size
    differences = np.abs(values[:, None] - values).sum()
    return Measure(float(differences / (2 * n * (n - 1) * values.mean())))


def garbe(fmr: Sequence[float], fnmr: Sequence[float], *, alpha: float = ALPHA) -> Measure:
    """Compute the Gini aggregation rate, alpha gini(FMR) + (1 - alpha) gini(FNMR); lower is better.

    0 when all groups have the same rates, 1 when one group has all the errors (Howard et al., arXiv 2203.05051, 2022).

    Args:
        fmr, fnmr: rates of the same groups in the same order.
        alpha: weight of false matches, 0 to 1; its term is left out where the weight is 0.

    Raises:
        MetricError: a rate or the weight is outside [0, 1], or the groups are not the same number.

    >>> garbe([0.001, 0.001], [0.02, 0.04], alpha=0.5).value
    0.16666666666666669
    """
    _require_alike(fmr, fnmr, alpha)
    parts = [(gini(rates), weight) for rates, weight in ((fmr, alpha), (fnmr, 1 - alpha)) if weight > 0]
    reason = next((measure.reason for measure, _ in parts if measure.value is None), None)
    if reason is not None:
        return Measure(None, reason)
    return Measure(sum(weight * measure.value for measure, weight in parts if measure.value is not None))


def fairness_discrepancy(fmr: Sequence[float], fnmr: Sequence[float], *, alpha: float = ALPHA) -> Measure:
    """Compute the fairness discrepancy rate, 1 - (alpha A + (1 - alpha) B), 1 when all are equal; higher is better.

    A = max_ij |FMR_i - FMR_j| and B = max_ij |FNMR_i - FNMR_j| are differences, not ratios: where FMR is much lower
    than FNMR, only FNMR shows (de Freitas Pereira and Marcel, IEEE TBIOM 4, 2022; arXiv 2011.02395).

    Args:
        fmr, fnmr: rates of the same groups in the same order.
        alpha: weight of false matches, 0 to 1.

    Raises:
        MetricError: a rate or the weight is outside [0, 1], or the groups are not the same number.

    >>> round(fairness_discrepancy([0.001, 0.003], [0.02, 0.06], alpha=0.5).value, 6)
    0.979
    """
    _require_alike(fmr, fnmr, alpha)
    both = [_rates_of(rates) for rates in (fmr, fnmr)]
    if reason := _undefined(both[0]):
        return Measure(None, reason)
    widest = [float(values.max() - values.min()) for values in both]
    return Measure(1 - (alpha * widest[0] + (1 - alpha) * widest[1]))


def _rates_of(rates: Sequence[float]) -> Floats:
    values = np.asarray(rates, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise MetricError(f"expected one rate from 0 to 1 for each group, found {values.tolist()}")
    return values


def _undefined(values: Floats, *, is_ratio: bool = False) -> str | None:
    if values.size < 2:
        return f"{values.size} groups with a rate, 2 needed"
    return "a group has no error: no ratio to it is defined" if is_ratio and not np.all(values > 0) else None


def _require_alike(fmr: Sequence[float], fnmr: Sequence[float], alpha: float) -> None:
    if len(fmr) != len(fnmr):
        raise MetricError(f"expected FMR and FNMR of the same groups, found {len(fmr)} and {len(fnmr)} rates")
    if not 0 <= alpha <= 1:
        raise MetricError(f"expected a weight alpha from 0 to 1, found {alpha}")
