"""Which frame of its stream each picture of a clip is, by timestamps first; nothing is smoothed or shifted to fit.

Only numbers are decided here, from timestamps and from what the device logged; pictures are read in
`cv_quality.tasks.video.pictures`, and what a clip dropped is counted in `cv_quality.metrics.video.clip_timing`.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Literal

from cv_quality.drops.clips import MAX_FRAMES
from cv_quality.metrics.video.clip_timing import measured_period

MAX_OFF_GRID = 0.05
"""Steps of a clip of constant rate that may lie off its grid: pictures that came late, not another rate."""
_ON_GRID = Fraction(1, 4)
_HALF = Fraction(1, 2)

Rule = Literal["clip_time_ms", "constant rate", "capture_ms", "order"]


@dataclass(frozen=True, slots=True)
class LoggedFrames:
    """What the device logged of a stream's frames, by rising number.

    Attributes:
        numbers: of the frames.
        clip_time_s: timestamps of their pictures within the clip; None where none was logged.
        capture_s: when they were captured, by a clock of the stream; None where none was logged.
    """

    numbers: Sequence[int] = ()
    clip_time_s: Sequence[float | None] = ()
    capture_s: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class Numbering:
    """The numbers of a clip's pictures.

    Attributes:
        rule: that gave them.
        numbers: of each timestamp, rising; None where a picture lies between two frames in a row.
    """

    rule: Rule
    numbers: Sequence[int | None]

    @property
    def holes(self) -> set[int]:
        """Numbers that no picture has, between the first and the last, where the rate tells that they are missing."""
        if self.rule != "constant rate":
            return set()
        found = {number for number in self.numbers if number is not None}
        return set(range(min(found, default=0), max(found, default=0))) - found


def number_pictures(
    times_s: Sequence[Fraction], logged: LoggedFrames, *, period_s: Fraction | None = None
) -> Numbering:
    """Number the pictures of a clip.

    Where the device logged `clip_time_ms`, a picture is the frame whose timestamp is the nearest, within half a period.
    Else, at a constant rate, its number is its place on the grid of periods from the first picture, so that missing
    pictures leave holes. Else it is the frame of the nearest `capture_ms`, counted from the first. Without any of these
    its place is its number.

    Args:
        times_s: timestamps, rising.
        logged: what the device logged.
        period_s: seconds between frames as they should be; measured when None.
    """
    if any(value is not None for value in logged.clip_time_s):
        return Numbering("clip_time_ms", _by_time(times_s, logged.numbers, logged.clip_time_s))
    period = period_s or measured_period(times_s)
    if period and _is_constant(times_s, period):
        return Numbering("constant rate", _on_grid(times_s, period))
    captured = [value for value in logged.capture_s if value is not None]
    if captured and times_s:
        shift = float(times_s[0]) - captured[0]
        shifted = [None if value is None else value + shift for value in logged.capture_s]
        return Numbering("capture_ms", _by_time(times_s, logged.numbers, shifted))
    return Numbering("order", list(range(len(times_s))))


def _is_constant(times: Sequence[Fraction], period: Fraction) -> bool:
    """Tell whether few steps lie off the grid, and whether as many frames as the grid has may be told one by one."""
    steps = [(after - before) / period for before, after in pairwise(times)]
    off_grid = sum(abs(step - max(1, math.floor(step + _HALF))) > _ON_GRID for step in steps)
    return off_grid <= MAX_OFF_GRID * len(steps) and sum(steps) < MAX_FRAMES


def _on_grid(times: Sequence[Fraction], period: Fraction) -> list[int]:
    """Count periods from the picture before that lies on the grid, so that a rate that drifts loses no number.

    Two pictures at one place of the grid, as when one came late, take the places around it that are free.
    """
    numbers: list[int] = []
    anchor, at = times[0], 0
    for time in times:
        steps = (time - anchor) / period
        whole = math.floor(steps + _HALF)
        numbers.append(at + whole)
        if abs(steps - whole) <= _ON_GRID:
            anchor, at = time, at + whole
    for index in range(len(numbers) - 2, -1, -1):
        numbers[index] = min(numbers[index], numbers[index + 1] - 1)
    for index, number in enumerate(numbers):
        numbers[index] = max(number, numbers[index - 1] + 1 if index else 0)
    return numbers


def _by_time(times: Sequence[Fraction], numbers: Sequence[int], logged_s: Sequence[float | None]) -> list[int | None]:
    """Give each picture the frame of the nearest logged time, within half a period; a frame has one picture.

    A picture beyond the frames that were logged is counted on in periods; between them it has no number.
    """
    own, at = _advancing(numbers, logged_s)
    seconds = [float(time) for time in times]
    period = median([after - before for before, after in pairwise(at)] or [float(measured_period(times) or 1)])
    nearest: dict[int, tuple[float, int]] = {}
    for index, time in enumerate(seconds):
        place = _nearest(at, time)
        distance = abs(at[place] - time)
        if distance <= period / 2 and distance < nearest.get(place, (math.inf, 0))[0]:
            nearest[place] = distance, index
    found: list[int | None] = [None] * len(seconds)
    for place, (_, index) in nearest.items():
        found[index] = own[place]
    return _counted_on(found, seconds, period, taken=set(numbers))


def _advancing(numbers: Sequence[int], logged_s: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Frames whose logged time is above those of all frames before."""
    own: list[int] = []
    at: list[float] = []
    for number, time in zip(numbers, logged_s, strict=True):
        if time is not None and (not at or time > at[-1]):
            own.append(number)
            at.append(time)
    return own, at


def _nearest(sorted_times: Sequence[float], time: float) -> int:
    place = bisect_left(sorted_times, time)
    around = range(max(place - 1, 0), min(place + 1, len(sorted_times)))
    return min(around, key=lambda index: abs(sorted_times[index] - time))


def _counted_on(found: list[int | None], times: Sequence[float], period: float, *, taken: set[int]) -> list[int | None]:
    """Number the pictures before the first and after the last that have a frame."""
    known = [index for index, number in enumerate(found) if number is not None]
    if not known:
        return found
    for ends, step in ((range(known[0] - 1, -1, -1), -1), (range(known[-1] + 1, len(found)), 1)):
        for index in ends:
            before = index - step
            latest = found[before]
            if latest is None:
                break
            periods = abs(times[index] - times[before]) / period
            if not math.isfinite(periods):
                break
            number = latest + step * max(1, round(periods))
            if number < 0 or number in taken:
                break
            found[index] = number
    return found
