"""Intervals whose unit is the clip, and builds compared clip by clip.

Frames of a clip are alike, so they are no independent trials: clips are resampled as wholes, or the devices or
subjects that filmed them. Rates of frames get the interval of `cv_quality.metrics.rates`, by clip.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import LEVEL, Rate, clustered_rate, percent, require_level
from cv_quality.metrics.resampling import REPLICATES, expanded_tail, require_replicates, subject_weights
from cv_quality.metrics.results import Result
from cv_quality.metrics.validation import column

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From sums over clips, shape (rows, parts), to a value of each row; NaN where it is undefined."""

NO_LIMITS = (-math.inf, math.inf)
CLIPS_NEEDED = 5
"""Clips, or blocks of them, below which nothing is said about uncertainty."""
ChangeVerdict = Literal["improved", "regressed", "not settled", "insufficient"]


@dataclass(frozen=True, slots=True)
class ClipInterval(Result):
    """A value over several clips with its interval.

    Attributes:
        value: over all clips; None where it is undefined.
        low, high: two-sided bounds; None below five blocks.
        n_clips, n_blocks: clips, and the blocks of clips that were resampled.
        n_left_out: clips without a value.
        method: how the bounds were computed.
        reason: why a value or a bound is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    n_clips: int
    n_blocks: int
    n_left_out: int
    method: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ClipChange(Result):
    """One clip under two builds; `change` is candidate - baseline."""

    clip: str
    baseline: float
    candidate: float
    change: float


@dataclass(frozen=True, slots=True)
class ClipComparison(Result):
    """Two builds on the same clips.

    Attributes:
        change: mean of candidate - baseline over the paired clips.
        verdict: "improved" or "regressed" where the interval leaves out 0, else "not settled"; "insufficient" below
            five blocks.
        regressions, improvements: clips that changed by more than the tolerance, the largest change first.
        n_unchanged: paired clips that did not.
        unpaired: clips of one build only.
        undefined: clips on which a build has no value.
    """

    change: ClipInterval
    verdict: ChangeVerdict
    regressions: tuple[ClipChange, ...]
    improvements: tuple[ClipChange, ...]
    n_unchanged: int
    unpaired: tuple[str, ...]
    undefined: tuple[str, ...]


def clip_interval(
    parts: ArrayLike,
    statistic: Statistic,
    *,
    blocks: ArrayLike | None = None,
    limits: tuple[float, float] = NO_LIMITS,
    level: float = LEVEL,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> ClipInterval:
    """Estimate a statistic of sums over clips, with a block bootstrap over the clips.

    A replicate draws as many blocks as there are, with replacement. Each bound is the outer one of two: the percentile
    of the replicates at the level widened for few blocks (`cv_quality.metrics.resampling.expanded_tail`), and value +-
    t s sqrt(C / (C - 1)), with s the replicates' standard deviation and C - 1 degrees of freedom. Of 1,500 simulated
    means of 5 clips nominal 95 % cover .945 (normal), .927 (beta 8, 2) and .906 (log-normal) where percentiles alone
    cover .916, .901 and .884; of 20 clips .951, .952 and .931.

    Args:
        parts: what is added up over clips, shape (clips, parts); a clip with a NaN is left out.
        statistic: of the sums.
        blocks: what filmed each clip, such as a device or a subject, shape (clips,); each clip alone by default.
        limits: the lowest and the highest value possible, where bounds are cut off.
        level: confidence, between 0 and 1.
        seed, replicates: of the bootstrap.

    Raises:
        MetricError: shapes differ, or the level, the seed or the replicates are out of range.

    >>> hits, frames = np.array([9.0, 8, 7, 9, 6, 8]), np.full(6, 10.0)
    >>> found = clip_interval(np.column_stack([hits, frames]), lambda sums: sums[:, 0] / sums[:, 1])
    >>> round(found.value, 3), found.low < 0.75, found.high > 0.85, found.n_clips
    (0.783, True, True, 6)
    """
    require_level(level)
    require_replicates(replicates)
    array = np.asarray(parts, dtype=np.float64)
    if array.ndim != 2:
        raise MetricError(f"expected parts of shape (clips, parts), found {array.shape}")
    names = np.arange(len(array)) if blocks is None else column(blocks, name="block", size=len(array))
    has_value = ~np.isnan(array).any(axis=1)
    array, left_out = array[has_value], int(np.count_nonzero(~has_value))
    if not len(array):
        return ClipInterval(None, None, None, 0, 0, left_out, None, "no clip with a value")
    found, codes = np.unique(names[has_value], return_inverse=True)
    bare = ClipInterval(None, None, None, len(array), len(found), left_out, None, "undefined over these clips")
    value = float(_applied(statistic, array.sum(axis=0)[None])[0])
    if np.isnan(value):
        return bare
    if len(found) < CLIPS_NEEDED:
        return replace(bare, value=value, reason=_too_few(len(found), blocks))
    sums = np.zeros((len(found), array.shape[1]))
    np.add.at(sums, codes, array)
    weights = subject_weights(np.arange(len(found)), len(found), replicates=replicates, seed=seed)
    drawn = np.concatenate([_applied(statistic, some @ sums) for some in weights])
    return _bounded(replace(bare, value=value, reason=None), drawn, limits=limits, level=level, seed=seed)


def clip_mean(
    values: ArrayLike,
    *,
    blocks: ArrayLike | None = None,
    limits: tuple[float, float] = NO_LIMITS,
    level: float = LEVEL,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> ClipInterval:
    """Estimate the mean over clips of a value that each clip has, every clip weighing the same.

    Args:
        values: one for each clip, shape (clips,); NaN where it is undefined.
        blocks, limits, level, seed, replicates: as for `clip_interval`.

    Raises:
        MetricError: as for `clip_interval`.

    >>> clip_mean([0.9, 0.8, float("nan")]).reason
    'insufficient: 2 clips, 5 needed'
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise MetricError(f"expected a value for each clip, shape (clips,), found {array.shape}")
    parts = np.column_stack([array, np.ones(len(array))])
    return clip_interval(
        parts, ratio_of_sums, blocks=blocks, limits=limits, level=level, seed=seed, replicates=replicates
    )


def ratio_of_sums(sums: Floats) -> Floats:
    """Divide the first part by the second: a mean, a rate, or a value pooled over clips.

    >>> ratio_of_sums(np.array([[1.0, 4.0]])).tolist()
    [0.25]
    """
    ratio: Floats = sums[:, 0] / sums[:, 1]
    return ratio


def clip_rate(errors: ArrayLike, trials: ArrayLike, *, level: float = LEVEL) -> Rate:
    """Estimate a rate of frames with an interval by clip; "insufficient" below five clips.

    Args:
        errors, trials: of each clip, shape (clips,).
        level: confidence of the two-sided interval.

    Raises:
        MetricError: as for `cv_quality.metrics.rates.clustered_rate`.

    >>> clip_rate([1, 2], [300, 300]).reason
    'insufficient: 2 clips, 5 needed'
    """
    rate = clustered_rate(errors, trials, level=level, unit="clip")
    n = rate.n_subjects or 0
    return replace(rate, reason=_too_few(n, None) if 0 < n < CLIPS_NEEDED else rate.reason)


def compare_clips(
    baseline: Mapping[str, float | None],
    candidate: Mapping[str, float | None],
    *,
    blocks: Mapping[str, str] | None = None,
    tolerance: float = 0.0,
    is_higher_better: bool = True,
    level: float = LEVEL,
    seed: int = 0,
) -> ClipComparison:
    """Compare two builds clip by clip: the mean change with its interval, and the clips behind it in both directions.

    Args:
        baseline, candidate: the value of each clip by its name; None or NaN where it is undefined.
        blocks: what filmed each clip, by its name; each clip alone by default.
        tolerance: changes up to it count as none, from 0.
        is_higher_better: False for an error or a latency.
        level: confidence of the two-sided interval.
        seed: of the bootstrap.

    Raises:
        MetricError: no clip is in both builds, or the tolerance is negative.

    >>> full = {"dog": 0.585, "car-shadow": 0.877, "breakdance": 0.144}
    >>> small = {"dog": 0.148, "car-shadow": 0.837, "breakdance": 0.153}
    >>> found = compare_clips(full, small)
    >>> [change.clip for change in found.regressions], [change.clip for change in found.improvements], found.verdict
    (['dog', 'car-shadow'], ['breakdance'], 'insufficient')
    """
    paired = sorted(baseline.keys() & candidate.keys())
    if not paired or not tolerance >= 0:
        raise MetricError(
            f"expected clips of both builds and a tolerance from 0, found {len(paired)} of {len(baseline)} and "
            f"{len(candidate)} clips in both, tolerance {tolerance}: compare builds on the same clips"
        )
    pairs = {clip: (_number(baseline[clip]), _number(candidate[clip])) for clip in paired}
    changes = [ClipChange(clip, one, other, other - one) for clip, (one, other) in pairs.items()]
    defined = [change for change in changes if not np.isnan(change.change)]
    owners = None if blocks is None else [blocks[clip] for clip in paired]
    mean = clip_mean([change.change for change in changes], blocks=owners, level=level, seed=seed)
    falling = sorted((c for c in defined if c.change < -tolerance), key=lambda c: c.change)
    rising = sorted((c for c in defined if c.change > tolerance), key=lambda c: -c.change)
    worse, better = (falling, rising) if is_higher_better else (rising, falling)
    return ClipComparison(
        change=mean,
        verdict=change_verdict(mean, is_higher_better=is_higher_better),
        regressions=tuple(worse),
        improvements=tuple(better),
        n_unchanged=len(defined) - len(worse) - len(better),
        unpaired=tuple(sorted(baseline.keys() ^ candidate.keys())),
        undefined=tuple(change.clip for change in changes if np.isnan(change.change)),
    )


def _applied(statistic: Statistic, sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(statistic(sums), dtype=np.float64)


def _bounded(
    bare: ClipInterval, drawn: Floats, *, limits: tuple[float, float], level: float, seed: int
) -> ClipInterval:
    """Add the bounds that the replicates give.

    Args:
        bare: the value without bounds.
        drawn: the value of each replicate.
        limits, level, seed: as for `clip_interval`.
    """
    from scipy import special

    undefined = int(np.count_nonzero(np.isnan(drawn)))
    if undefined or bare.value is None:
        return replace(bare, reason=f"insufficient: undefined in {undefined} of {len(drawn)} replicates")
    tail, n = expanded_tail(bare.n_blocks, level), bare.n_blocks
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf").tolist()
    half = float(special.stdtrit(n - 1, (1 + level) / 2) * drawn.std() * math.sqrt(n / (n - 1)))
    unit = "clips" if n == bare.n_clips else "blocks of clips"
    return replace(
        bare,
        low=max(min(low, bare.value - half), limits[0]),
        high=min(max(high, bare.value + half), limits[1]),
        method=f"bootstrap of {unit}, the outer of percentile and t, {percent(level)}, {len(drawn)} replicates, "
        f"seed {seed}",
    )


def _too_few(n: int, blocks: object) -> str:
    return f"insufficient: {n} {'clips' if blocks is None else 'blocks of clips'}, {CLIPS_NEEDED} needed"


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def change_verdict(change: ClipInterval, *, is_higher_better: bool) -> ChangeVerdict:
    """Judge a change by whether its interval leaves out 0; without one it is "insufficient".

    Args:
        change: candidate - baseline.
        is_higher_better: False for an error or a latency.
    """
    if change.low is None or change.high is None:
        return "insufficient"
    if change.low <= 0 <= change.high:
        return "not settled"
    return "improved" if (change.low > 0) == is_higher_better else "regressed"
