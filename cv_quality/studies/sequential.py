"""Looks at the data before the end: bounds that keep alpha, what power and sample they cost, and what no bounds cost.

All is one-sided. At part t of the information the statistic S(t) = Z(t) sqrt(t) moves like a Brownian motion; the
chance to cross a bound for the first time at look k follows by numerical integration from look to look (Armitage,
McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError

Floats = NDArray[np.float64]
Spending = Literal["obrien_fleming", "pocock"]

N_NODES = 400
"""Of Gauss-Legendre between bounds: twice as many change no bound by 1e-9."""
REACH_SD = 9.0
"""So far, in standard deviations, the density is followed beyond where it is centred."""
MAX_Z = 12.0
"""Bound of a look at which next to nothing may be spent: it is never crossed."""


@dataclass(frozen=True, slots=True)
class SequentialDesign:
    """Looks with their bounds.

    Attributes:
        information: parts of the information at the end, rising to 1.
        bounds: of Z at each look, one-sided; the null hypothesis is rejected where Z is larger.
        spent: alpha up to each look, this one included.
        drift: mean of Z at the end under which the bounds are crossed with the power; that of the fixed test is
            z_(1-alpha) + z_power.
        inflation: information at the end over that of the fixed test of the same power.
        expected_information: under the alternative and under the null, as parts of the information at the end.
        power: at the drift.
    """

    information: tuple[float, ...]
    bounds: tuple[float, ...]
    spent: tuple[float, ...]
    power: float
    drift: float
    inflation: float
    expected_information: tuple[float, float]


def spending_bounds(information: Sequence[float], *, alpha: float, spending: Spending) -> tuple[float, ...]:
    """Compute the bounds of Lan and DeMets (1983) for looks at any parts of the information.

    Args:
        information: rising parts, the last at most 1.
        alpha: one-sided level at the end, above 0 and below 0.5.
        spending: "obrien_fleming" spends 2 - 2 Phi(z_(1-alpha/2) / sqrt(t)), "pocock" alpha ln(1 + (e - 1) t).

    Raises:
        MetricError: information that does not rise within 0 to 1, or an alpha out of range.

    >>> [round(z, 6) for z in spending_bounds([0.5, 0.75, 1.0], alpha=0.05, spending="obrien_fleming")]
    [2.537988, 2.015923, 1.720132]
    """
    from scipy import optimize

    times = _checked(information, alpha)
    spent = alpha_spent(times, alpha=alpha, spending=spending)
    bounds: list[float] = []
    for look in range(len(times)):
        step = spent[look] - (spent[look - 1] if look else 0.0)

        def excess(bound: float, look: int = look, step: float = step) -> float:
            return crossing(times[: look + 1], [*bounds, bound])[-1] - step

        nothing_left = excess(MAX_Z) >= 0
        bounds.append(MAX_Z if nothing_left else float(optimize.brentq(excess, -MAX_Z, MAX_Z, xtol=1e-10)))
    return tuple(bounds)


def alpha_spent(information: Sequence[float], *, alpha: float, spending: Spending) -> tuple[float, ...]:
    """Compute what a spending function of Lan and DeMets has spent at parts of the information.

    Args:
        information: parts of it.
        alpha: one-sided level at the end.
        spending: as of `spending_bounds`.
    """
    from scipy import special

    if spending == "pocock":
        return tuple(alpha * math.log1p((math.e - 1) * part) for part in information)
    half = float(special.ndtri(alpha / 2))
    return tuple(2 * float(special.ndtr(half / math.sqrt(part))) for part in information)


def classical_bounds(looks: int, *, alpha: float, rule: Spending) -> tuple[float, ...]:
    """Compute the bounds of Pocock (1977) or O'Brien and Fleming (1979) for looks at equal parts of the information.

    Args:
        looks: at least 1.
        alpha: one-sided, above 0 and below 0.5.
        rule: "pocock" has one bound for all looks, "obrien_fleming" one that falls as 1 / sqrt(t).

    >>> [round(z, 6) for z in classical_bounds(2, alpha=0.025, rule="obrien_fleming")]
    [2.79651, 1.977431]
    """
    from scipy import optimize

    times = _checked([(look + 1) / looks for look in range(looks)] if looks > 0 else [], alpha)
    shape = [1.0 if rule == "pocock" else 1 / math.sqrt(part) for part in times]

    def excess(constant: float) -> float:
        return sum(crossing(times, [constant * item for item in shape])) - alpha

    constant = float(optimize.brentq(excess, 0.0, MAX_Z, xtol=1e-10))
    return tuple(constant * item for item in shape)


def crossing(information: Sequence[float], bounds: Sequence[float], *, drift: float = 0.0) -> tuple[float, ...]:
    """Compute the chance to cross the bounds for the first time at each look.

    Args:
        information: rising parts.
        bounds: of Z at each of them.
        drift: mean of Z at information 1.
    """
    upper = [bound * math.sqrt(part) for bound, part in zip(bounds, information, strict=True)]
    return _first_exits(information, upper, [-math.inf] * len(upper), drift)


def naive_error(looks: int, *, z: float = 1.959963984540054) -> float:
    """Compute how often |Z| exceeds a fixed bound at one of so many equally spaced looks, where nothing is there.

    Args:
        looks: at least 1.
        z: the bound, that of the two-sided 5 % by default.

    >>> [round(naive_error(looks), 4) for looks in (2, 5, 10)]
    [0.0831, 0.1417, 0.1934]
    """
    times = [(look + 1) / looks for look in range(looks)]
    upper = [z * math.sqrt(part) for part in times]
    return sum(_first_exits(times, upper, [-bound for bound in upper], 0.0))


def sequential_design(
    information: Sequence[float], bounds: Sequence[float], *, alpha: float, power: float
) -> SequentialDesign:
    """Compute what bounds cost: the drift and the information for a power, and how much of it is expected.

    Args:
        information: rising parts, the last of them 1.
        bounds: of Z at each of them.
        alpha: of the fixed test that it is compared with.
        power: above alpha and below 1.

    Raises:
        MetricError: information that does not rise to 1, or alpha or power out of range.
    """
    from scipy import optimize, special

    times = _checked(information, alpha)
    if times[-1] != 1 or not alpha < power < 1:
        raise MetricError(f"expected information up to 1 and alpha < power < 1, found {times[-1]:g} and {power:g}")
    fixed = float(special.ndtri(1 - alpha) + special.ndtri(power))
    drift = float(
        optimize.brentq(lambda mean: sum(crossing(times, bounds, drift=mean)) - power, 0.0, MAX_Z, xtol=1e-10)
    )
    null = crossing(times, bounds)
    return SequentialDesign(
        information=tuple(times),
        bounds=tuple(bounds),
        spent=tuple(np.cumsum(null).tolist()),
        power=power,
        drift=drift,
        inflation=(drift / fixed) ** 2,
        expected_information=(_expected(times, crossing(times, bounds, drift=drift)), _expected(times, null)),
    )


def _expected(times: Sequence[float], stops: Sequence[float]) -> float:
    """The mean part of the information at which a study stops."""
    early = sum(part * chance for part, chance in zip(times[:-1], stops[:-1], strict=True))
    return early + times[-1] * (1 - sum(stops[:-1]))


def _checked(information: Sequence[float], alpha: float) -> list[float]:
    times = [float(part) for part in information]
    rises = all(low < high for low, high in zip([0.0, *times], times, strict=False))
    if not times or not rises or times[-1] > 1 or not 0 < alpha < 0.5:
        raise MetricError(
            "expected parts of the information that rise within 0 to 1 and 0 < alpha < 0.5, "
            f"found {times} and {alpha:g}"
        )
    return times


def _first_exits(
    times: Sequence[float], upper: Sequence[float], lower: Sequence[float], drift: float
) -> tuple[float, ...]:
    """The chance that S leaves between its bounds for the first time at each look."""
    from scipy import special

    cdf: Callable[[Floats], Floats] = special.ndtr
    places, mass, exits, before = np.zeros(1), np.ones(1), list[float](), 0.0
    for time, high, low in zip(times, upper, lower, strict=True):
        step = time - before
        mean, sd = places + drift * step, math.sqrt(step)
        exits.append(float(mass @ (cdf((mean - high) / sd) + cdf((low - mean) / sd))))
        centre, reach = drift * time, REACH_SD * math.sqrt(time)
        bottom, top = max(low, centre - reach), min(high, centre + reach)
        if top <= bottom:
            top = bottom = min(max(centre, low), high)
        nodes, weights = _nodes(N_NODES)
        places_next = 0.5 * (top - bottom) * nodes + 0.5 * (top + bottom)
        density = np.exp(-0.5 * ((places_next[:, None] - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi)) @ mass
        places, mass, before = places_next, 0.5 * (top - bottom) * weights * density, time
    return tuple(exits)


@cache
def _nodes(count: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights
