"""Timing of real-time video from logs of frames: latency, deadlines, drops, freezes, jank, and drift of the rate.

A frame without a result is an infinite latency, not a gap: it counts in every percentile and misses every deadline.
What the lateness costs in quality is in `cv_quality.metrics.video.display`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.percentiles import Percentile, cluster_percentiles
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import Result
from cv_quality.metrics.validation import column
from cv_quality.metrics.video.clips import ClipInterval, clip_interval, clip_rate, ratio_of_sums

Floats = NDArray[np.float64]

FREEZE_PERIODS = 3.0
"""A result that stays on for longer, in periods of the frames, is a freeze."""
JANK_PERIODS = 2.0
"""A result that stays on for longer is jank: the multiplier of AndroidX JankStats (2022)."""
SLACK = 1e-6
"""Relative slack of periods, for times that were rounded to the microsecond."""
WINDOW_MS = 1_000.0
"""Length of the windows in which the rate of results is counted."""


@dataclass(frozen=True, slots=True)
class ClipTiming(Result):
    """Counts of one clip; times in milliseconds.

    Attributes:
        clip: its name.
        n_frames: frames due: captured once, or missing between two captures.
        n_duplicated: further log lines of a frame that has one.
        n_without_result: frames captured whose result never came.
        n_unlogged: frames missing between two captures that lie more than a period apart.
        n_late: results after the deadline.
        n_shown: times at which a result came that was newer than all before, so that what was on changed.
        n_intervals, n_jank, n_freezes: intervals between them, and those longer than 2 and than 3 periods.
        frozen_ms: sum of the freezes.
        longest_ms: the longest time between results; None below two.
    """

    clip: str
    n_frames: int
    n_duplicated: int
    n_without_result: int
    n_unlogged: int
    n_late: int
    n_shown: int
    n_intervals: int
    n_jank: int
    n_freezes: int
    frozen_ms: float
    longest_ms: float | None

    @property
    def n_dropped(self) -> int:
        """Frames without a result, captured or not."""
        return self.n_without_result + self.n_unlogged


@dataclass(frozen=True, slots=True)
class FrameTiming(Result):
    """Timing of one or several clips, intervals by clip; lower is better.

    Attributes:
        latency: percentiles of capture to result in milliseconds, p50, p95, p99; +inf where they fall on drops.
        deadline_misses: frames late or dropped, of the frames due: the two add up.
        late, dropped: the same apart.
        duplicated: further log lines of a frame, of all lines.
        jank: times between results longer than 2 periods, of all.
        freezes: those longer than 3 periods, of all.
        frozen_ms: sum of the freezes.
        clips: counts of each clip.
    """

    latency: tuple[Percentile, ...]
    deadline_misses: Rate
    late: Rate
    dropped: Rate
    duplicated: Rate
    jank: Rate
    freezes: Rate
    frozen_ms: float
    clips: tuple[ClipTiming, ...]


@dataclass(frozen=True, slots=True)
class RateDrift(Result):
    """Change of the rate of results within clips, in frames per second; negative is slower.

    Attributes:
        per_minute: slope on time.
        per_degree: slope on temperature in degrees Celsius; None where that is unknown.
        n_windows: whole seconds that were counted.
    """

    per_minute: ClipInterval
    per_degree: ClipInterval | None
    n_windows: int


class _Clip(NamedTuple):
    """The frames of one clip by capture time, each once; a result that never came is +inf."""

    name: str
    capture: Floats
    result: Floats
    n_duplicated: int


def frame_timing(
    capture_ms: ArrayLike, result_ms: ArrayLike, clip: ArrayLike, *, period_ms: float, deadline_ms: float
) -> FrameTiming:
    """Measure latency, deadline misses, drops, duplicates, jank and freezes from the log lines of frames.

    Lines of one clip with the same capture time are one frame, whose first result counts. Between captures that lie k
    periods apart, k - 1 frames are missing, rounded to whole frames: they are dropped like those without a result. On
    is always the result of the newest frame so far; it stays on until a newer one comes, or, at the end of a clip,
    until the last capture.

    Args:
        capture_ms: when each frame was captured, milliseconds on the clock of its clip, shape (lines,).
        result_ms: when its result came, on the same clock; NaN or +inf where it never did.
        clip: what it belongs to, shape (lines,).
        period_ms: between frames as intended, such as 1000 / 30; of a variable rate the longest that is.
        deadline_ms: a result that comes later after its capture is late.

    Raises:
        MetricError: shapes differ, a capture time is missing, a result comes before its capture, or the period or the
            deadline is not above 0.

    >>> timing = frame_timing([0, 10, 20, 50], [5, 35, np.nan, 55], ["a"] * 4, period_ms=10, deadline_ms=20)
    >>> timing.latency[0].value, timing.late.numerator, timing.dropped.numerator, timing.dropped.denominator
    (25.0, 1, 3, 6)
    """
    if not (0 < period_ms < math.inf and deadline_ms > 0):
        raise MetricError(f"expected a period and a deadline above 0 ms, found {period_ms} and {deadline_ms}")
    clips = _clips(capture_ms, result_ms, clip)
    counts = tuple(_counts(one, period_ms, deadline_ms) for one in clips)
    due = [one.n_frames for one in counts]
    waits = [
        np.append(one.result - one.capture, np.full(count.n_unlogged, np.inf))
        for one, count in zip(clips, counts, strict=True)
    ]
    intervals = [one.n_intervals for one in counts]
    return FrameTiming(
        latency=cluster_percentiles(
            np.concatenate(waits) if waits else [],
            np.repeat(np.arange(len(waits)), [len(wait) for wait in waits]),
            unit="clip",
        ),
        deadline_misses=clip_rate([one.n_late + one.n_dropped for one in counts], due),
        late=clip_rate([one.n_late for one in counts], due),
        dropped=clip_rate([one.n_dropped for one in counts], due),
        duplicated=clip_rate(
            [one.n_duplicated for one in counts], [one.n_frames - one.n_unlogged + one.n_duplicated for one in counts]
        ),
        jank=clip_rate([one.n_jank for one in counts], intervals),
        freezes=clip_rate([one.n_freezes for one in counts], intervals),
        frozen_ms=math.fsum(one.frozen_ms for one in counts),
        clips=counts,
    )


def rate_drift(
    result_ms: ArrayLike, clip: ArrayLike, *, temperature_c: ArrayLike | None = None, seed: int = 0
) -> RateDrift:
    """Estimate how the rate of results changes with time and with temperature, within clips.

    Results are counted in whole windows of a second. The slope is the least-squares one with a level of its own for
    each clip: sum of (x - mean of the clip)(rate - mean of the clip), over the sum of squares of the former.

    Args:
        result_ms: when each result came, milliseconds, shape (results,); NaN and +inf, frames without one, are left
            out.
        clip: what it belongs to, shape (results,).
        temperature_c: of the device at that time, shape (results,); NaN where unknown.
        seed: of the bootstrap over clips.

    Raises:
        MetricError: shapes differ.

    >>> drift = rate_drift(np.cumsum(np.linspace(20, 40, 1000)), ["a"] * 1000)
    >>> round(drift.per_minute.value, 1), drift.n_windows
    (-45.7, 29)
    """
    times = np.asarray(result_ms, dtype=np.float64)
    names = column(clip, name="clip", size=times.size)
    degrees = np.full(times.size, np.nan) if temperature_c is None else np.asarray(temperature_c, dtype=np.float64)
    if degrees.shape != times.shape:
        raise MetricError(f"expected a temperature for each of {times.size} results, found {degrees.size}")
    came = np.isfinite(times)
    on_time, on_heat, n_windows = [], [], 0
    for name in np.unique(names):
        here = came & (names == name)
        minutes, rates, heat = _windows(times[here], degrees[here])
        n_windows += len(rates)
        on_time.append(_products(minutes, rates))
        on_heat.append(_products(heat[~np.isnan(heat)], rates[~np.isnan(heat)]))
    return RateDrift(
        per_minute=clip_interval(np.reshape(on_time, (-1, 2)), ratio_of_sums, seed=seed),
        per_degree=None
        if temperature_c is None
        else clip_interval(np.reshape(on_heat, (-1, 2)), ratio_of_sums, seed=seed),
        n_windows=n_windows,
    )


def _clips(capture_ms: ArrayLike, result_ms: ArrayLike, clip: ArrayLike) -> list[_Clip]:
    capture: Floats = np.asarray(capture_ms, dtype=np.float64)
    column(capture, name="capture_ms")
    names = column(clip, name="clip", size=len(capture))
    result = np.asarray(result_ms, dtype=np.float64)
    if result.shape != capture.shape or not np.isfinite(capture).all():
        raise MetricError(
            f"expected finite capture times and a result time for each, found {result.size} results for "
            f"{capture.size} captures, {np.count_nonzero(~np.isfinite(capture))} not finite"
        )
    result = np.where(np.isnan(result), np.inf, result)
    if early := int(np.count_nonzero(result < capture)):
        raise MetricError(f"{early} of {result.size} results come before their capture: bring both to one clock")
    found = []
    for name in np.unique(names):
        here = np.flatnonzero(names == name)
        here = here[np.lexsort((result[here], capture[here]))]
        is_first = np.diff(capture[here], prepend=-np.inf) > 0
        rows = here[is_first]
        found.append(_Clip(str(name), capture[rows], result[rows], len(here) - len(rows)))
    return found


def _counts(clip: _Clip, period: float, deadline: float) -> ClipTiming:
    wait, gaps = clip.result - clip.capture, np.diff(clip.capture) / period
    unlogged = int(np.maximum(np.rint(gaps) - 1, 0).sum())
    has_result = np.isfinite(clip.result)
    shown = _shown_times(clip.result)
    end = clip.capture[-1:][clip.capture[-1:] > shown[-1:]] if shown.size else shown
    stays = np.diff(np.append(shown, end))
    frozen = stays[stays > FREEZE_PERIODS * period * (1 + SLACK)]
    return ClipTiming(
        clip=clip.name,
        n_frames=len(wait) + unlogged,
        n_duplicated=clip.n_duplicated,
        n_without_result=int(np.count_nonzero(~has_result)),
        n_unlogged=unlogged,
        n_late=int(np.count_nonzero(has_result & (wait > deadline))),
        n_shown=len(shown),
        n_intervals=len(stays),
        n_jank=int(np.count_nonzero(stays > JANK_PERIODS * period * (1 + SLACK))),
        n_freezes=len(frozen),
        frozen_ms=float(frozen.sum()),
        longest_ms=float(stays.max()) if stays.size else None,
    )


def _shown_times(result: Floats) -> Floats:
    """When what is on changes: the times of results that are newer than all before them, ascending."""
    order = np.argsort(result, kind="stable")
    order = order[np.isfinite(result[order])]
    return np.unique(result[order[np.maximum.accumulate(order) == order]])


def _windows(times: Floats, degrees: Floats) -> tuple[Floats, Floats, Floats]:
    """The middle in minutes, the rate per second, and the mean temperature of every whole window of a clip."""
    if not times.size:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    number = ((times - times.min()) // WINDOW_MS).astype(np.int64)
    n = int(number.max())
    whole = number < n
    counts = np.bincount(number[whole], minlength=n)
    with np.errstate(invalid="ignore"):
        heat = np.bincount(number[whole], weights=degrees[whole], minlength=n) / counts
    return (np.arange(n) + 0.5) * WINDOW_MS / 60_000, counts * 1_000 / WINDOW_MS, heat


def _products(x: Floats, y: Floats) -> tuple[float, float]:
    """Centred sums of products of a clip, and of squares."""
    if not x.size:
        return 0.0, 0.0
    centred = x - x.mean()
    return float(centred @ (y - y.mean())), float(centred @ centred)
