"""Differences of two proportions of independent trials, in pairs and between two groups, and McNemar's tests.

Trials that are alike within subjects are for `cv_quality.studies.comparison`; these are for one trial a subject, and
for holding other tools' numbers against ours. Every difference is first less second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import LEVEL, binomial_rate
from cv_quality.metrics.results import Result
from cv_quality.studies.sample_size import restricted_rates

PairedMethod = Literal["tango", "newcombe", "newcombe-uncorrected", "wald", "agresti-min"]
UnpairedMethod = Literal["newcombe", "miettinen-nurminen", "mee"]
McNemarMethod = Literal["exact", "mid-p", "asymptotic"]
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class ProportionDifference(Result):
    """A difference of two proportions with its interval.

    Attributes:
        value: first less second.
        low, high: two-sided bounds at `level`.
        level: their confidence.
        method: how they were computed.
    """

    value: float
    low: float
    high: float
    level: float
    method: str


def paired_difference(
    both: int, first: int, second: int, neither: int, *, method: PairedMethod = "tango", level: float = LEVEL
) -> ProportionDifference:
    """Bound the difference of two proportions of the same trials.

    "tango" inverts the score test (Stat. Med. 17, 1998, 891); "newcombe" combines Wilson's intervals by the phi
    coefficient less n / 2 (method 10, Stat. Med. 17, 1998, 2635), "newcombe-uncorrected" without that; "wald" takes the
    estimate's own variance, "agresti-min" after half a trial is added to each cell (Stat. Med. 24, 2005, 729).

    Args:
        both, first, second, neither: trials in which both events happened, one of them, and none.
        method: of the interval.
        level: its confidence.

    Raises:
        MetricError: a negative count, or no trial.

    >>> found = paired_difference(59, 6, 16, 80)
    >>> f"{found.value:.4f} in {found.low:.4f} to {found.high:.4f}"
    '-0.0621 in -0.1240 to -0.0054'
    """
    n = _checked(both, first, second, neither)
    z, value = _quantile(level), (first - second) / n
    if method == "tango":
        low, high = _tango(first, second, n, z)
    elif method in ("newcombe", "newcombe-uncorrected"):
        low, high = _newcombe_paired((both, first, second, neither), level, is_corrected=method == "newcombe")
    else:
        added = 0.5 if method == "agresti-min" else 0.0
        b, c, size = first + added, second + added, n + 4 * added
        centre, half = (b - c) / size, z * math.sqrt(max(b + c - (b - c) ** 2 / size, 0.0)) / size
        low, high = max(centre - half, -1.0), min(centre + half, 1.0)
    return ProportionDifference(value=value, low=low, high=high, level=level, method=method)


def unpaired_difference(
    first: tuple[int, int],
    second: tuple[int, int],
    *,
    method: UnpairedMethod = "miettinen-nurminen",
    level: float = LEVEL,
) -> ProportionDifference:
    """Bound the difference of the proportions of two groups.

    "newcombe" combines Wilson's intervals (method 10, Stat. Med. 17, 1998, 873); "mee" inverts the score test with
    restricted proportions (Biometrics 40, 1984, 1175), "miettinen-nurminen" with n / (n - 1) times its variance (Stat.
    Med. 4, 1985, 213).

    Args:
        first, second: events and trials of each group.
        method: of the interval.
        level: its confidence.

    Raises:
        MetricError: more events than trials, a negative count, or a group without trials.

    >>> found = unpaired_difference((5, 56), (0, 29))
    >>> f"{found.low:.4f} to {found.high:.4f}"
    '-0.0326 to 0.1933'
    """
    (x, m), (y, n) = first, second
    _checked(x, m - x)
    _checked(y, n - y)
    p, q = x / m, y / n
    if method == "newcombe":
        (low_p, high_p), (low_q, high_q) = (_wilson(*side, level) for side in (first, second))
        low = p - q - math.hypot(p - low_p, high_q - q)
        high = p - q + math.hypot(high_p - p, q - low_q)
    else:
        factor = (m + n) / (m + n - 1) if method == "miettinen-nurminen" else 1.0

        def excess(difference: float) -> float:
            a, b = restricted_rates(p, q, margin=difference, ratio=n / m)
            variance = factor * (a * (1 - a) / m + b * (1 - b) / n)
            return _score(p - q - difference, variance)

        low, high = _inverted(excess, p - q, _quantile(level))
    return ProportionDifference(value=p - q, low=low, high=high, level=level, method=method)


def mcnemar_p(first: int, second: int, *, method: McNemarMethod = "mid-p") -> float:
    """Test two-sided whether discordant pairs fall to both sides alike.

    "exact" is twice the smaller binomial tail, "mid-p" less the chance of what was seen (Fagerland et al., BMC Med.
    Res. Methodol. 13, 2013, 91), "asymptotic" the chi-squared test without continuity correction.

    Args:
        first, second: pairs in which only the first, and only the second, event happened.
        method: of the test.

    >>> [round(mcnemar_p(6, 16, method=method), 6) for method in ("exact", "mid-p", "asymptotic")]
    [0.052479, 0.03469, 0.033006]
    """
    from scipy import special

    if first < 0 or second < 0:
        raise MetricError(f"expected counts of pairs, found {first} and {second}")
    n, least = first + second, min(first, second)
    if n == 0:
        return 1.0
    if method == "asymptotic":
        return float(special.chdtrc(1, (first - second) ** 2 / n))
    tail = float(special.bdtr(least, n, 0.5))
    seen = math.exp(math.lgamma(n + 1) - math.lgamma(least + 1) - math.lgamma(n - least + 1) - n * math.log(2))
    return min(1.0, 2 * tail - (seen if method == "mid-p" else 0.0))


def _tango(first: int, second: int, n: int, z: float) -> tuple[float, float]:
    """Invert the score test of the paired difference."""

    def excess(difference: float) -> float:
        a = 2 * n
        b = -first - second + (2 * n - first + second) * difference
        c = -second * difference * (1 - difference)
        rare = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * rare + difference * (1 - difference))
        return _score(first - second - n * difference, variance)

    return _inverted(excess, (first - second) / n, z)


def _newcombe_paired(cells: tuple[int, int, int, int], level: float, *, is_corrected: bool) -> tuple[float, float]:
    """Combine Wilson's intervals of both proportions by how they go together."""
    a, b, c, d = cells
    n = a + b + c + d
    p, q = (a + b) / n, (a + c) / n
    (low_p, high_p), (low_q, high_q) = (_wilson(events, n, level) for events in (a + b, a + c))
    product = float(a * d - b * c)
    if is_corrected and product > 0:
        product = max(product - n / 2, 0.0)
    margins = math.sqrt(float(a + b) * (c + d) * (a + c) * (b + d))
    phi = product / margins if margins else 0.0

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

    return p - q - distance(p - low_p, high_q - q), p - q + distance(high_p - p, q - low_q)


def _inverted(excess: Callable[[float], float], value: float, z: float) -> tuple[float, float]:
    """The differences at which a falling score is z above and below 0; the ends of the scale where it never is."""
    from scipy import optimize

    edge = 1 - 1e-10
    low = optimize.brentq(lambda at: excess(at) - z, -edge, value, xtol=_TOLERANCE) if excess(-edge) > z else -1.0
    high = optimize.brentq(lambda at: excess(at) + z, value, edge, xtol=_TOLERANCE) if excess(edge) < -z else 1.0
    return float(low), float(high)


def _score(distance: float, variance: float) -> float:
    """A distance in standard errors; nothing in no standard error."""
    if abs(distance) < _TOLERANCE:
        return 0.0
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def _wilson(events: int, trials: int, level: float) -> tuple[float, float]:
    found = binomial_rate(events, trials, level=level, method="wilson")
    return float(found.low or 0.0), float(1.0 if found.high is None else found.high)


def _quantile(level: float) -> float:
    from scipy import special

    if not 0 < level < 1:
        raise MetricError(f"expected a level between 0 and 1, found {level:g}")
    return float(special.ndtri((1 + level) / 2))


def _checked(*cells: int) -> int:
    if any(cell < 0 for cell in cells) or not sum(cells):
        raise MetricError(f"expected counts of trials, at least one of them above 0, found {cells}")
    return sum(cells)
