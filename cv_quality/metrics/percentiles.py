"""Percentiles of values that come in clusters, such as latencies by device or session, with their intervals.

Values of one device are alike, so they are no independent draws. Intervals of rates are in `cv_quality.metrics.rates`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import bootstrap_kernels as kernels
from cv_quality.metrics.bootstrap_kernels import Floats
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.rates import LEVEL, clustered_rate, percent, require_level
from cv_quality.metrics.resampling import (
    REPLICATES,
    expanded_tail,
    require_replicates,
    scores_array,
    subject_weights,
)
from cv_quality.metrics.results import Result
from cv_quality.text import figures

QUANTILES = (0.5, 0.95, 0.99)
CLUSTERS_NEEDED = 10
BEYOND_NEEDED = 5.0

Method = Literal["inverted", "bootstrap"]


@dataclass(frozen=True, slots=True)
class Percentile(Result):
    """One percentile with its interval.

    Attributes:
        quantile: the share q in (0, 1).
        value: the lowest value with at least a share q of all values at or below it; None without a value.
        low, high: two-sided bounds, in the unit of the values; None where the data do not reach far enough.
        n, n_clusters: values, and clusters that have one.
        method: how the bounds were computed.
        n_effective: independent values that would give the same uncertainty; None for a bootstrap.
        reason: why a bound is missing, or "insufficient: ..." when there is too little data to rank it.
    """

    quantile: float
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    method: str | None
    n_effective: float | None
    reason: str | None


def cluster_percentiles(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    quantiles: Sequence[float] = QUANTILES,
    level: float = LEVEL,
    method: Method = "inverted",
    seed: int | None = None,
    replicates: int = REPLICATES,
    unit: str = "subject",
) -> tuple[Percentile, ...]:
    """Estimate percentiles with intervals that respect clusters, each the inverted distribution function of the values.

    "inverted": the share of values above the percentile gets the interval of
    `cv_quality.metrics.rates.clustered_rate`, and the bounds are the percentiles at one less those shares (Woodruff,
    JASA 47, 1952). An upper bound above the highest value is None, with a reason.

    "bootstrap": a replicate draws C of the C clusters with replacement and takes the percentile of all their values;
    the bounds are percentiles of the replicates at the level widened for few clusters, z becoming t sqrt(C / (C - 1))
    with C - 1 degrees of freedom (Hesterberg, The American Statistician 69, 2015). It covers less where devices differ:
    no replicate exceeds the highest value (`benchmarks/interval_coverage.py`).

    Args:
        values: such as latencies in milliseconds, shape (n,); +inf is legal, as for what never ended.
        clusters: what each value belongs to, numbers or text, shape (n,).
        quantiles: shares in (0, 1), in any order.
        level: confidence of the two-sided intervals, between 0 and 1.
        seed, replicates: of the bootstrap, which needs a seed and at least 100 replicates.
        unit: what a cluster is called.

    Returns:
        One result for each quantile, in the order given.

    Raises:
        MetricError: shapes differ, a value is NaN, a quantile or the level lies outside (0, 1), the method is unknown,
            or a bootstrap has no seed.

    >>> latency, device = np.arange(400) % 97 + 20.0, np.arange(400) % 16
    >>> middle, high = cluster_percentiles(latency, device, quantiles=(0.5, 0.95))
    >>> (middle.value, middle.n, middle.n_clusters), (high.value, high.low, high.high)
    ((66.0, 400, 16), (111.0, 105.0, 115.0))
    """
    require_level(level)
    array, names = scores_array(values, "clustered"), np.asarray(clusters)
    if names.shape != array.shape:
        raise MetricError(f"expected a cluster for each value, found {names.size} clusters for {array.size} values")
    if not quantiles or not all(0 < quantile < 1 for quantile in quantiles):
        raise MetricError(f"a quantile lies between 0 and 1, found {tuple(quantiles)}: the 95th percentile is 0.95")
    if array.size == 0:
        return tuple(Percentile(q, None, None, None, 0, 0, None, None, "no value") for q in quantiles)
    order, numbers = np.argsort(array, kind="stable"), np.unique(names, return_inverse=True)[1]
    array, codes = array[order], numbers[order].astype(np.int64)
    if method == "inverted":
        return tuple(_inverted(array, codes, quantile, level, unit=unit) for quantile in quantiles)
    if method != "bootstrap" or seed is None:
        raise MetricError(f'expected the method "inverted", or "bootstrap" with a seed, found {method!r} and {seed}')
    require_replicates(replicates)
    return _bootstrapped(array, codes, quantiles, level, replicates=replicates, seed=seed)


def _inverted(values: Floats, codes: NDArray[np.int64], quantile: float, level: float, *, unit: str) -> Percentile:
    n, sizes = values.size, np.bincount(codes)
    value = values[_rank(quantile, n) - 1]
    above = np.bincount(codes[values > value], minlength=len(sizes))
    share = clustered_rate(above, sizes, level=level, unit=unit)
    assert share.low is not None
    assert share.high is not None
    first, last = _rank(1 - share.high, n), _rank(1 - share.low, n)
    reason, has_bounds = _shortage(n, len(sizes), quantile), len(sizes) > 1
    if last >= n or first < 1:
        reason = f"insufficient: a bound lies beyond the {'highest' if last >= n else 'lowest'} of {n} values"
    return Percentile(
        quantile=quantile,
        value=float(value),
        low=float(values[first - 1]) if has_bounds and first >= 1 else None,
        high=float(values[last - 1]) if has_bounds and last < n else None,
        n=n,
        n_clusters=len(sizes),
        method=f"share above inverted: {share.method}" if has_bounds else None,
        n_effective=share.n_effective,
        reason=reason,
    )


def _rank(share: float, n: int) -> int:
    """How many of n values a share needs; a product such as 0.07 * 100 means a whole number."""
    return math.ceil(share * n * (1 - kernels.SLACK))


def _bootstrapped(
    values: Floats, codes: NDArray[np.int64], quantiles: Sequence[float], level: float, *, replicates: int, seed: int
) -> tuple[Percentile, ...]:
    ascending, sizes = sorted(set(quantiles)), np.bincount(codes).astype(np.float64)
    n_clusters, draw = len(sizes), compiled(kernels.weighted_quantiles)
    parts = [
        draw(weights, values, codes, sizes, np.array(ascending))
        for weights in subject_weights(np.arange(n_clusters), n_clusters, replicates=replicates, seed=seed)
    ]
    found = dict(zip(ascending, np.concatenate(parts).T, strict=True))
    has_bounds = n_clusters > 1
    tail = expanded_tail(n_clusters, level) if has_bounds else 0.0
    name = f"bootstrap of clusters, expanded percentile, {percent(level)}, {replicates} replicates, seed {seed}"
    results = []
    for quantile in quantiles:
        low, high = np.quantile(found[quantile], [tail, 1 - tail], method="inverted_cdf").tolist()
        results.append(
            Percentile(
                quantile=quantile,
                value=float(values[_rank(quantile, values.size) - 1]),
                low=low if has_bounds else None,
                high=high if has_bounds else None,
                n=values.size,
                n_clusters=n_clusters,
                method=name if has_bounds else None,
                n_effective=None,
                reason=_shortage(values.size, n_clusters, quantile),
            )
        )
    return tuple(results)


def _shortage(n: int, clusters: int, quantile: float) -> str | None:
    if clusters < CLUSTERS_NEEDED:
        return f"insufficient: {clusters} clusters, {CLUSTERS_NEEDED} needed"
    beyond = n * min(quantile, 1 - quantile)
    if beyond < BEYOND_NEEDED:
        return f"insufficient: {figures(beyond)} values beyond the percentile, {BEYOND_NEEDED:g} needed"
    return None
