"""Dropped, repeated and frozen frames of one clip, and its rate, counted from timestamps and changes of the picture.

Timestamps are exact fractions of a second, and nothing is smoothed or repaired: what a file says is counted as it is.
Frames come from `cv_quality.drops.clips`; latencies by the device's own clock are another matter.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result

STILL_LEVELS = 1.0
"""A picture that changes by no more is repeated: rounding, and the noise of an encoder that codes nothing."""
MOVING_LEVELS = 5.0
"""A picture that changes by more has moved. This and the share below were chosen on 35 encoded clips with planted
repeats and on the real carphone pair, where none is found."""
STILL_SHARE = 0.25
"""Between the two, a picture is repeated when it changes by no more than this share of what moving ones near it do."""
MOVING_PICTURES = 10
"""Within which a second picture has moved where there is motion, and not a lamp that was switched, or a cut."""
FREEZE_PERIODS = 3
MIN_DRIFT_FRAMES = 30
_ON_GRID = Fraction(1, 4)


@dataclass(frozen=True, slots=True)
class TimeGap(Result):
    """A step between two timestamps with frames missing between them.

    Attributes:
        after: index of the frame before the gap.
        start_s, end_s: timestamps of the frames at its ends, in seconds.
        dropped: frames that are missing.
    """

    after: int
    start_s: Fraction
    end_s: Fraction
    dropped: int


@dataclass(frozen=True, slots=True)
class FrozenSpan(Result):
    """A picture that was shown for more than three periods, rounded to whole ones, under several timestamps.

    Attributes:
        first, last: indices of its frames; the first one is the picture, the others are repeats.
        start_s: timestamp of the first.
        end_s: one period after the last; what is missing behind it is a gap, and counted there.
    """

    first: int
    last: int
    start_s: Fraction
    end_s: Fraction

    @property
    def duration_s(self) -> Fraction:
        """How long the picture was repeated, its own period included."""
        return self.end_s - self.start_s

    @property
    def repeats(self) -> int:
        """Frames of the span beyond its first."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class ClipTiming(Result):
    """What the timestamps and pictures of one clip say.

    Attributes:
        frames: all frames, with those that could not be decoded.
        untimed: frames without a timestamp.
        backward: frames whose timestamp is not above all earlier ones; they are in no step and no gap.
        period_s: of a frame, given or measured; None without a step.
        steps: between successive timestamps.
        off_grid: steps further than a quarter of a period, and one tick, from whole periods: a variable rate.
        gaps: steps with missing frames; untimed frames within a step count as present.
        repeats: frames that repeat the picture before, outside frozen spans.
        freezes: pictures shown for more than three periods under several timestamps.
        rate_hz: steps of one period, dropped frames included, per second; None without a period.
        drift: rate of the last third of the clip by that of its first third, minus 1; None below 30 timed frames.
        reason: why the period or the drift is None.
    """

    frames: int
    untimed: int
    backward: int
    period_s: Fraction | None
    steps: int
    off_grid: int
    gaps: tuple[TimeGap, ...]
    repeats: int
    freezes: tuple[FrozenSpan, ...]
    rate_hz: float | None
    drift: float | None
    reason: str | None

    @property
    def dropped(self) -> int:
        """Frames missing in all gaps."""
        return sum(gap.dropped for gap in self.gaps)

    @property
    def frozen(self) -> int:
        """Frames that repeat a frozen picture."""
        return sum(span.repeats for span in self.freezes)


def clip_timing(
    pts: Sequence[int | None],
    changes: Sequence[float | None],
    *,
    time_base: Fraction,
    period_s: Fraction | None = None,
) -> ClipTiming:
    """Count what a clip dropped, repeated and froze.

    Args:
        pts: timestamps in ticks, of every frame in the order of decoding; None where there is none.
        changes: of each picture to the one before, in grey levels, as `ClipFrame.change`; None where it is not known.
        time_base: seconds of one tick.
        period_s: seconds between frames as they should be; measured when None, see `measured_period`.

    Raises:
        MetricError: the lengths differ, or the time base or the period is not positive.

    >>> timing = clip_timing([0, 1, 2, 5], [None, 20.0, 0.0, 20.0], time_base=Fraction(1, 30))
    >>> timing.dropped, timing.repeats, timing.rate_hz
    (2, 1, 30.0)
    """
    if len(pts) != len(changes):
        raise MetricError(f"expected a change for each timestamp, found {len(changes)} for {len(pts)}")
    if time_base <= 0 or (period_s is not None and period_s <= 0):
        raise MetricError(f"expected a positive time base and period, found {time_base} and {period_s}")
    timed, backward = _advancing(pts)
    times = {index: pts[index] * time_base for index in timed}  # type: ignore[operator]
    period = period_s or measured_period([times[index] for index in timed])
    counts = _whole_steps(timed, times, period) if period else []
    repeated = repeated_pictures(changes)
    freezes, repeats = _frozen_spans(repeated, times, timed, period)
    rate, drift = _rates(timed, times, counts)
    return ClipTiming(
        frames=len(pts),
        untimed=sum(value is None for value in pts),
        backward=backward,
        period_s=period,
        steps=len(counts),
        off_grid=_off_grid(timed, times, period, time_base) if period else 0,
        gaps=tuple(_gaps(timed, times, counts, pts)),
        repeats=repeats,
        freezes=freezes,
        rate_hz=rate,
        drift=drift,
        reason=_reason(period, drift, len(timed)),
    )


def measured_period(times_s: Sequence[Fraction]) -> Fraction | None:
    """Measure the period of a clip: the mean of those steps that round to one period, starting from the median step.

    The mean undoes the rounding of timestamps, to milliseconds for instance; a median alone would lose frames of a long
    gap. Where more than half of the steps miss frames the period must be given. None without a step.

    Args:
        times_s: advancing timestamps.
    """
    steps = sorted(after - before for before, after in pairwise(times_s))
    if not steps:
        return None
    median = steps[len(steps) // 2]
    single = [step for step in steps if median / 2 <= step < median * 3 / 2]
    return sum(single, Fraction()) / len(single)


def repeated_pictures(changes: Sequence[float | None]) -> list[bool]:
    """Judge which pictures repeat the one before, from how much decoded pictures differ.

    An encoder codes a repeated picture again, so that it comes back a little different. A picture is repeated when it
    changes by at most one level, or by at most `STILL_SHARE` of what the nearest moving pictures (of more than five
    levels), one before and one after it, both do. A change that is alone, as of a cut or of a lamp that is switched, is
    no motion. Of scenes coded by x264, libvpx and SVT-AV1 at their usual quality this finds every repeat; at coarser
    ones (x264 at CRF 30, x265) some are missed where a strong texture pans. A scene without motion or noise cannot be
    told from a repeat, and counts as one.

    Args:
        changes: as in `clip_timing`.
    """
    large = [index for index, change in enumerate(changes) if change is not None and change > MOVING_LEVELS]
    moving = [index for at, index in enumerate(large) if _has_near(large, at)]
    repeated = []
    for index, change in enumerate(changes):
        if change is None or change > MOVING_LEVELS:
            repeated.append(False)
            continue
        place = bisect_right(moving, index)
        around = [changes[at] or 0.0 for at in moving[max(place - 1, 0) : place + 1]]
        limit = STILL_SHARE * min(around) if len(around) == 2 else 0.0
        repeated.append(change <= max(STILL_LEVELS, limit))
    return repeated


def _has_near(rising: Sequence[int], at: int) -> bool:
    """Whether the index before or after one of them is within `MOVING_PICTURES` of it."""
    return any(
        rising[after] - rising[after - 1] <= MOVING_PICTURES for after in (at, at + 1) if 0 < after < len(rising)
    )


def _advancing(pts: Sequence[int | None]) -> tuple[list[int], int]:
    """Indices of the frames whose timestamp is above all earlier ones, and how many have one that is not."""
    timed: list[int] = []
    backward = 0
    latest: float = -math.inf
    for index, value in enumerate(pts):
        if value is None:
            continue
        if value > latest:
            timed.append(index)
            latest = value
        else:
            backward += 1
    return timed, backward


def _whole(periods: Fraction) -> int:
    """Rounded half up, at least one."""
    return max(1, math.floor(periods + Fraction(1, 2)))


def _whole_steps(timed: Sequence[int], times: dict[int, Fraction], period: Fraction) -> list[int]:
    return [_whole((times[after] - times[before]) / period) for before, after in pairwise(timed)]


def _off_grid(timed: Sequence[int], times: dict[int, Fraction], period: Fraction, time_base: Fraction) -> int:
    slack = max(period * _ON_GRID, time_base)
    steps = (times[after] - times[before] for before, after in pairwise(timed))
    return sum(abs(step - _whole(step / period) * period) > slack for step in steps)


def _gaps(
    timed: Sequence[int], times: dict[int, Fraction], counts: Sequence[int], pts: Sequence[int | None]
) -> list[TimeGap]:
    gaps = []
    for before, after, periods in zip(timed, timed[1:], counts, strict=False):
        if periods == 1:
            continue
        untimed = sum(pts[index] is None for index in range(before + 1, after))
        if (dropped := periods - 1 - untimed) > 0:
            gaps.append(TimeGap(before, times[before], times[after], dropped))
    return gaps


def _frozen_spans(
    repeated: Sequence[bool], times: dict[int, Fraction], timed: Sequence[int], period: Fraction | None
) -> tuple[tuple[FrozenSpan, ...], int]:
    """Runs of repeats that are shown for more than three periods, and the repeats in all other runs."""
    spans, others, at = [], 0, 0
    for is_repeat, group in groupby(repeated):
        length = sum(1 for _ in group)
        first, last = at - 1, at + length - 1
        at += length
        if not is_repeat:
            continue
        span = _span(first, last, times, timed, period)
        if span and period and _whole(span.duration_s / period) > FREEZE_PERIODS:
            spans.append(span)
        else:
            others += length
    return tuple(spans), others


def _span(
    first: int, last: int, times: dict[int, Fraction], timed: Sequence[int], period: Fraction | None
) -> FrozenSpan | None:
    """None where the first frame's timestamp or the period is not known."""
    if first not in times or not period:
        return None
    end = times[timed[bisect_right(timed, last) - 1]] + period
    return FrozenSpan(first, last, times[first], end)


def _rates(
    timed: Sequence[int], times: dict[int, Fraction], counts: Sequence[int]
) -> tuple[float | None, float | None]:
    """The clip's rate, and the drift between its thirds, dropped frames counted as frames."""
    if not counts:
        return None, None
    rate = sum(counts) / (times[timed[-1]] - times[timed[0]])
    if len(timed) < MIN_DRIFT_FRAMES:
        return float(rate), None
    third = len(counts) // 3
    first = sum(counts[:third]) / (times[timed[third]] - times[timed[0]])
    last = sum(counts[-third:]) / (times[timed[-1]] - times[timed[-1 - third]])
    return float(rate), float(last / first - 1)


def _reason(period: Fraction | None, drift: float | None, n_timed: int) -> str | None:
    if period is None or n_timed < 2:
        return f"insufficient: a rate needs two advancing timestamps, found {n_timed}"
    if drift is None:
        return f"insufficient: drift needs {MIN_DRIFT_FRAMES} timed frames, found {n_timed}"
    return None
