"""How many subjects, pairs or attempts a study needs, as formulas; what a protocol makes of them is in `planning`.

Sizes are real numbers, to be rounded up where subjects are counted. Every alpha is one-sided.
"""

import math
from dataclasses import dataclass

import numpy as np

from cv_quality.errors import MetricError

RANGE = 0.8
"""Probability of the range of a size: that a variance from few subjects leaves open."""


@dataclass(frozen=True, slots=True)
class SizeRange:
    """A size computed from an estimated variance, and the range that the estimate leaves open.

    Attributes:
        value: as the variance was estimated.
        low, high: with the variance at the bounds of its 80 % interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TwoArmSize:
    """Trials of two arms.

    Attributes:
        first, second: of each arm; no whole numbers.
    """

    first: float
    second: float

    @property
    def total(self) -> float:
        return self.first + self.second


def farrington_manning_size(
    first: float, second: float, *, margin: float, alpha: float, power: float, ratio: float = 1.0
) -> TwoArmSize:
    """Compute the trials for a test of first - second = margin, the variance under it being that of restricted rates.

    Farrington and Manning, Statistics in Medicine 9 (1990) 1447. For non-inferiority of an error rate, `first` is the
    candidate's and the margin is positive.

    Args:
        first, second: rates that are expected.
        margin: difference under the null hypothesis, another than the one expected.
        alpha, power: one-sided; alpha < power.
        ratio: trials of the second arm for each of the first.

    Raises:
        MetricError: a rate, level or ratio out of range, or a margin that is the difference expected.

    >>> round(farrington_manning_size(0.03, 0.03, margin=0.01, alpha=0.025, power=0.8).total, 3)
    9292.648
    """
    z_alpha, z_power = _quantiles(alpha, power)
    _check_rates(first, second)
    if not (-1 < margin < 1 and margin != first - second):
        raise MetricError(f"expected a margin within -1 to 1 other than the difference {first - second:g}: {margin:g}")
    if not ratio > 0:
        raise MetricError(f"expected a ratio of the arms above 0, found {ratio:g}")
    null = restricted_rates(first, second, margin=margin, ratio=ratio)
    sd_null, sd = (math.sqrt(a * (1 - a) + b * (1 - b) / ratio) for a, b in (null, (first, second)))
    trials = ((z_alpha * sd_null + z_power * sd) / (first - second - margin)) ** 2
    return TwoArmSize(trials, ratio * trials)


def restricted_rates(first: float, second: float, *, margin: float, ratio: float = 1.0) -> tuple[float, float]:
    """Estimate two rates under first - second = margin by maximum likelihood, in closed form.

    Args:
        first, second: rates as seen or expected.
        margin: their difference under the restriction.
        ratio: trials of the second for each of the first.
    """
    a = 1 + ratio
    b = -(1 + ratio + first + ratio * second + margin * (ratio + 2))
    c = margin**2 + margin * (2 * first + ratio + 1) + first + ratio * second
    d = -first * margin * (1 + margin)
    v = (b / (3 * a)) ** 3 - b * c / (6 * a**2) + d / (2 * a)
    u = math.copysign(math.sqrt(max((b / (3 * a)) ** 2 - c / (3 * a), 0.0)), v)
    angle = (math.pi + math.acos(min(max(v / u**3, -1.0), 1.0))) / 3 if u else 0.0
    found = 2 * u * math.cos(angle) - b / (3 * a)
    low, high = max(0.0, margin), min(1.0, 1.0 + margin)
    found = min(max(found, low), high)
    return found, found - margin


def connor_pairs(first_only: float, second_only: float, *, alpha: float, power: float) -> float:
    """Compute the pairs for McNemar's test. Connor, Biometrics 43 (1987) 207.

    Args:
        first_only, second_only: probabilities of the two kinds of discordant pairs, not alike.
        alpha, power: one-sided; alpha < power.

    >>> round(connor_pairs(0.05, 0.45, alpha=0.05, power=0.9), 2)
    22.81
    """
    z_alpha, z_power = _quantiles(alpha, power)
    discordant, difference = first_only + second_only, second_only - first_only
    _check_rates(first_only, second_only, discordant)
    if difference == 0:
        raise MetricError("expected discordant pairs of unlike probability: no number of pairs finds no difference")
    spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - difference**2)
    return (spread / difference) ** 2


def exact_power(n: int, *, null: float, rate: float, alpha: float) -> float:
    """Compute the power of the exact binomial test of rate <= null.

    It is a sawtooth in n: more trials may have less power.

    Args:
        n: trials.
        null: rate under the null hypothesis, below `rate`.
        rate: that is expected.
        alpha: one-sided.

    >>> round(exact_power(25, null=0.05, rate=0.2, alpha=0.025), 8)
    0.57932569
    """
    from scipy import special

    _check_rates(null, rate)
    errors = np.arange(n + 1)
    allowed = int(errors[special.bdtrc(errors, n, null) <= alpha][0])
    return float(special.bdtrc(allowed, n, rate))


def design_effect(attempts: float, icc: float) -> float:
    """Compute by how much attempts of one subject, being alike, raise the variance of a rate: 1 + (m - 1) ICC.

    Args:
        attempts: m, of each subject.
        icc: intraclass correlation.
    """
    return 1 + (attempts - 1) * icc


def subjects_for_power(variance: float, *, distance: float, alpha: float, power: float) -> float:
    """Compute the subjects after which an estimate with variance / n tells a distance.

    Args:
        variance: of the estimate times n.
        distance: from the margin to the difference that is expected, above 0.
        alpha, power: one-sided; alpha < power.
    """
    z_alpha, z_power = _quantiles(alpha, power)
    if not distance > 0:
        raise MetricError(
            f"expected a difference that lies {distance:g} within the margin to lie more than 0 within it"
        )
    return variance * ((z_alpha + z_power) / distance) ** 2


def subjects_for_precision(variance: float, *, half_width: float, level: float = 0.95) -> float:
    """Compute the subjects after which a two-sided interval is no wider than twice the half-width.

    Args:
        variance: of the estimate times n.
        half_width: above 0.
        level: of the interval.
    """
    z, _ = _quantiles((1 - level) / 2, 0.75)
    if not half_width > 0:
        raise MetricError(f"expected a half-width above 0, found {half_width:g}")
    return variance * (z / half_width) ** 2


def detectable_difference(variance: float, *, subjects: float, alpha: float, power: float) -> float:
    """Compute the smallest distance that so many subjects tell with the power.

    Args:
        variance: of the estimate times n.
        subjects: n, above 0.
        alpha, power: one-sided; alpha < power.
    """
    z_alpha, z_power = _quantiles(alpha, power)
    return (z_alpha + z_power) * math.sqrt(variance / subjects)


def power_of(variance: float, *, subjects: float, distance: float, alpha: float) -> float:
    """Compute the power with which so many subjects tell a distance.

    Args:
        variance: of the estimate times n, above 0.
        subjects: n.
        distance: from the margin to the difference that is expected.
        alpha: one-sided.
    """
    from scipy import special

    return float(special.ndtr(distance / math.sqrt(variance / subjects) + special.ndtri(alpha)))


def reestimated_size(variance: float, *, pilot_subjects: int, distance: float, alpha: float, power: float) -> SizeRange:
    """Compute the size anew from the variance of the subjects so far, before anybody knows how the builds differ.

    Only the variance is looked at, so that the level is kept: a pilot of 60 gives a median of the size by formula.

    Args:
        variance: of a subject's difference (or of the pooled outcomes, arms not told apart), in the pilot.
        pilot_subjects: that it was estimated from, at least 2.
        distance: from the margin to the difference that was planned for.
        alpha, power: one-sided; alpha < power.
    """
    if pilot_subjects < 2:
        raise MetricError(f"expected a variance of at least 2 subjects, found {pilot_subjects}")
    size = subjects_for_power(variance, distance=distance, alpha=alpha, power=power)
    return _ranged(size, pilot_subjects)


def top_up_size(
    subjects: int, standard_error: float, *, margin: float, difference: float, alpha: float, power: float
) -> SizeRange:
    """Compute the subjects in all that would settle an insufficient result: n ((z + z) se / |margin - difference|)^2.

    Args:
        subjects: n, that the standard error is of, at least 2.
        standard_error: of the difference.
        margin, difference: as declared and as seen, not alike.
        alpha, power: one-sided; alpha < power.
    """
    if subjects < 2:
        raise MetricError(f"expected a standard error of at least 2 subjects, found {subjects}")
    variance, distance = subjects * standard_error**2, abs(margin - difference)
    return _ranged(subjects_for_power(variance, distance=distance, alpha=alpha, power=power), subjects)


def _ranged(size: float, subjects: int) -> SizeRange:
    from scipy import special

    low, high = (float(special.chdtri(subjects - 1, tail)) for tail in ((1 - RANGE) / 2, (1 + RANGE) / 2))
    return SizeRange(size, size * (subjects - 1) / low, size * (subjects - 1) / high)


def enrolled(subjects: float, *, attrition: float) -> int:
    """Compute how many subjects must be enrolled for so many to complete."""
    return math.ceil(round(subjects / (1 - attrition), 9))


def _quantiles(alpha: float, power: float) -> tuple[float, float]:
    from scipy import special

    if not 0 < alpha < 0.5 or not alpha < power < 1:
        raise MetricError(f"expected 0 < alpha < 0.5 and alpha < power < 1, found alpha {alpha:g} and power {power:g}")
    return float(special.ndtri(1 - alpha)), float(special.ndtri(power))


def _check_rates(*rates: float) -> None:
    for rate in rates:
        if not 0 <= rate <= 1:
            raise MetricError(f"expected a rate from 0 to 1, found {rate:g}")
