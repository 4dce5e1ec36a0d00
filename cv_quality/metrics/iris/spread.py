"""The spread of impostor distances: mean, standard deviation, and degrees of freedom, with an interval by subjects."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.iris.code_counters import CodeCounting, CodePairs
from cv_quality.metrics.iris.codes import check_templates
from cv_quality.metrics.iris.hamming_kernels import FIXED_POINT
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.pair_engine import tally_above
from cv_quality.metrics.pairs import Side, paired
from cv_quality.metrics.rates import LEVEL, require_level


@dataclass(frozen=True, slots=True)
class ImpostorSpread:
    """Raw Hamming distances of impostor pairs at zero shift.

    Attributes:
        n: pairs with a distance.
        mean, sd: of the distances; NaN without a pair.
        degrees_of_freedom: see `degrees_of_freedom`.
        low, high: its interval, by subjects; NaN with fewer than three.
    """

    n: int
    mean: float
    sd: float
    degrees_of_freedom: float
    low: float
    high: float


def degrees_of_freedom(mean: float, sd: float) -> float:
    """Count the independent bits whose share of differing ones would have this mean and standard deviation.

    p (1 - p) / sd^2, Daugman's degrees of freedom (The importance of being random, 2003); NaN without a spread.

    Args:
        mean: of raw Hamming distances of impostors, at one fixed shift.
        sd: their standard deviation.

    Raises:
        MetricError: the mean is no share, or the standard deviation is negative.

    >>> round(degrees_of_freedom(0.499, 0.0317))
    249
    """
    if math.isnan(mean) or math.isnan(sd) or sd == 0.0:
        return math.nan
    if not (0.0 <= mean <= 1.0 and sd > 0.0):
        raise MetricError(f"expected a mean in [0, 1] and a standard deviation above 0, found {mean} and {sd}")
    return mean * (1.0 - mean) / sd**2


def impostor_spread(
    references: Side, probes: Side, *, rule: HammingRule, level: float = LEVEL, threads: int | None = None
) -> ImpostorSpread:
    """Measure the spread of raw distances at zero shift over all pairs of different subjects.

    The interval is that of the jackknife over subjects, of the logarithm of the degrees of freedom.

    Args:
        references, probes: as in `cv_quality.metrics.iris.counting.count_codes`.
        rule: bits, step and the least number of bits; other shifts and its norm are left aside.
        level: confidence of the two-sided interval, between 0 and 1.
        threads: by default as many as the machine has.

    Raises:
        MetricError: as `count_codes`, or the level is no probability.
    """
    require_level(level)
    zero = replace(rule, shifts=1, norm="raw")
    eye = (
        check_templates(references.vectors, zero, name="references"),
        check_templates(probes.vectors, zero, name="probes"),
    )
    if len(references) == 0 or len(probes) == 0:
        return _spread(np.zeros((0, 3), np.int64), level)
    block = paired(references, probes)
    counting = CodeCounting.of(CodePairs((eye,), block.orders, zero), block.pairing, kept="sums")
    sums = tally_above(counting, block.pairing, floor=math.inf, threads=threads).histogram
    assert sums is not None
    return _spread(sums, level)


def _spread(sums: NDArray[np.int64], level: float) -> ImpostorSpread:
    from scipy.stats import t

    # Each pair is in the sums of its two subjects; without one of them its pairs are gone, and no others.
    total = sums.sum(axis=0) // 2
    mean, sd = _moments(total)
    freedom = degrees_of_freedom(mean, sd)
    parts = [degrees_of_freedom(*_moments(total - own)) for own in sums[sums[:, 0] > 0]]
    low = high = math.nan
    if len(parts) > 2 and not np.isnan(logs := np.log(parts)).any():
        error = math.sqrt((len(parts) - 1) * float(np.var(logs))) * float(t.ppf((1 + level) / 2, len(parts) - 1))
        low, high = freedom * math.exp(-error), freedom * math.exp(error)
    return ImpostorSpread(int(total[0]), mean, sd, freedom, low, high)


def _moments(sums: NDArray[np.int64]) -> tuple[float, float]:
    n, first, second = (int(value) for value in sums)
    if n == 0:
        return math.nan, math.nan
    mean = first / n / FIXED_POINT
    return mean, math.sqrt(max(second / n / FIXED_POINT - mean**2, 0.0))
