"""Latency of one stream's frames from the log of its device, and what was on the screen at each refresh.

Percentiles, deadlines, jank and freezes are counted in `cv_quality.metrics.video.timing`; what lateness costs is in
`cv_quality.metrics.video.display`. Where devices log no capture times, a frame's number times the period stands for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.display import HeldResults, display_loss, held_results, refresh_times, track_display_loss
from cv_quality.metrics.video.timing import frame_timing, rate_drift
from cv_quality.metrics.video.tracks import Detections
from cv_quality.tasks.video.clip_scores import ClipValue, StreamQuality, finite, rate

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
NO_LOG = "the device logged no latency of this clip"
NO_PERIOD = "no frame rate is declared or can be measured"
PERCENTILES = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
RATES = ("deadline_misses", "late", "dropped", "duplicated", "jank", "freezes")


def frame_period_ms(clip: Mapping[str, object], file: Mapping[str, object], log: "pl.DataFrame") -> float | None:
    """Find the time between two frames: as declared of the clip, else as measured of its file, else of the log.

    Args:
        clip, file: rows of `clips` and `clip_files`, as far as there are any.
        log: `frame_number` and `capture_ms` of its frames.
    """
    for hertz in (clip.get("frame_rate_hz"), file.get("rate_hz")):
        if hertz:
            return 1_000 / cast("float", hertz)
    rows = log.drop_nulls("capture_ms").unique("frame_number", keep="first").sort("frame_number")
    if rows.height < 2:
        return None
    steps = np.diff(rows["capture_ms"].to_numpy()) / np.diff(rows["frame_number"].to_numpy())
    period = float(np.median(steps))
    return period if period > 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Log lines of frames that can be timed; shape (lines,) each, by rising capture."""

    number: Rows
    capture: Floats
    result: Floats
    display: Floats
    deadline: Floats
    temperature: Floats
    is_first: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FrameLog:
    """The log of one stream.

    Attributes:
        rows: of `validated_streams`, of this stream alone.
        period_ms: between frames; None where no rate is known.
        refresh_hz: of the screen; None: as the camera.
    """

    rows: "pl.DataFrame"
    period_ms: float | None
    refresh_hz: float | None = None

    @cached_property
    def lines(self) -> _Lines:
        """The lines that can be timed: with a capture, and a result after it or none at all because it was dropped."""
        rows = self.rows.sort("frame_number")
        number = rows["frame_number"].to_numpy().astype(np.int64)
        column = {name: rows[name].cast(float).fill_null(np.nan).to_numpy() for name in _TIMES}
        capture = column["capture_ms"]
        if np.isnan(capture).all():
            capture = number * self.period_ms if self.period_ms else np.full(len(number), np.nan)
        dropped = rows["is_dropped"].to_numpy()
        has_result = ~np.isnan(column["capture_ms"]) & ~np.isnan(column["result_ms"])
        result = np.where(has_result, column["result_ms"], capture + column["latency_ms"])
        display = np.where(np.isnan(column["display_ms"]), result, column["display_ms"])
        result = np.where(dropped, np.inf, result)
        display = np.where(dropped, np.inf, np.maximum(display, capture))
        usable = np.isfinite(capture) & ~np.isnan(result) & (result >= capture)
        order = np.flatnonzero(usable)
        order = order[np.lexsort((result[order], capture[order]))]
        is_first = np.diff(capture[order], prepend=-np.inf) > 0
        return _Lines(
            number[order],
            capture[order],
            result[order],
            display[order],
            column["deadline_ms"][order],
            column["temperature_c"][order],
            is_first,
        )

    @property
    def n_untimed(self) -> int:
        """Lines whose times are missing, or contradict each other."""
        return int(self.rows.height - len(self.lines.number))

    def frame_columns(self) -> "pl.DataFrame":
        """One row a frame that has a line: when it was captured, its latency, and whether it is late or dropped."""
        import polars as pl

        lines = self.lines
        first = lines.is_first
        wait = lines.result[first] - lines.capture[first]
        is_dropped = np.isinf(wait)
        timed = pl.DataFrame(
            {
                "frame_number": lines.number[first],
                "capture_ms": lines.capture[first],
                "latency_ms": np.where(is_dropped, np.nan, wait),
                "deadline_ms": lines.deadline[first],
                "temperature_c": lines.temperature[first],
                "is_dropped": is_dropped,
                "is_late": is_dropped | (wait > lines.deadline[first]),
            }
        ).with_columns(pl.col("latency_ms", "deadline_ms", "temperature_c").fill_nan(None))
        timed = timed.unique("frame_number", keep="first", maintain_order=True)
        others = self.rows.filter(~pl.col("frame_number").is_in(timed["frame_number"].implode()))
        others = others.unique("frame_number", keep="first", maintain_order=True).select(
            "frame_number",
            pl.lit(None, pl.Float64).alias("capture_ms"),
            pl.lit(None, pl.Float64).alias("latency_ms"),
            pl.col("deadline_ms").cast(pl.Float64),
            pl.col("temperature_c").cast(pl.Float64),
            "is_dropped",
            # A frame that was skipped is late whatever its times say.
            pl.when(pl.col("is_dropped")).then(statement=True).alias("is_late"),
        )
        return pl.concat([timed, others]).sort("frame_number")

    def clip_values(self) -> Iterator[ClipValue]:
        """Count latency, deadline misses, drops, duplicates, jank, freezes, and the drift of the rate, of this clip."""
        lines = self.lines
        if not len(lines.number) or not self.period_ms:
            why = NO_LOG if not len(lines.number) else NO_PERIOD
            yield from (ClipValue(name, None, reason=why) for name in (*PERCENTILES, *RATES))
            return
        deadline = max(float(np.nanmax(lines.deadline)), 1e-9) if np.isfinite(lines.deadline).any() else 1e-9
        found = frame_timing(
            lines.capture, lines.result, np.zeros(len(lines.number)), period_ms=self.period_ms, deadline_ms=deadline
        )
        [counts] = found.clips
        first, wait = lines.is_first, lines.result - lines.capture
        # Deadlines may differ from frame to frame.
        n_late = int(np.count_nonzero(first & np.isfinite(wait) & (wait > lines.deadline)))
        for name, percentile in zip(PERCENTILES, found.latency, strict=True):
            is_infinite = percentile.value is not None and np.isinf(percentile.value)
            reason = "infinite: that many frames have no result" if is_infinite else None
            yield ClipValue(name, finite(percentile.value), reason=reason)
        due = counts.n_frames
        yield rate("deadline_misses", n_late + counts.n_dropped, due, nothing=NO_LOG)
        yield rate("late", n_late, due, nothing=NO_LOG)
        yield rate("dropped", counts.n_dropped, due, nothing=NO_LOG)
        n_lines = due - counts.n_unlogged + counts.n_duplicated
        yield rate("duplicated", counts.n_duplicated, n_lines, nothing=NO_LOG)
        yield rate("untimed", self.n_untimed, self.rows.height, nothing=NO_LOG)
        yield rate("jank", counts.n_jank, counts.n_intervals, nothing="fewer than two results")
        yield rate("freezes", counts.n_freezes, counts.n_intervals, nothing="fewer than two results")
        yield ClipValue("frozen_ms", counts.frozen_ms)
        yield from self._drift()

    def _drift(self) -> Iterator[ClipValue]:
        lines = self.lines
        drift = rate_drift(lines.result, np.zeros(len(lines.result)), temperature_c=lines.temperature)
        for name, slope in (("rate_per_minute", drift.per_minute), ("rate_per_degree", drift.per_degree)):
            value = finite(slope.value) if slope else None
            yield ClipValue(
                name, value, reason=None if value is not None else "the clip is too short, or does not vary"
            )

    @cached_property
    def shown(self) -> tuple[HeldResults, Rows] | None:
        """What each refresh shows, by place, and the number of the frame at each place; None without a log."""
        lines = self.lines
        keep = lines.is_first
        numbers, capture, display = lines.number[keep], lines.capture[keep], lines.display[keep]
        # Numbers rise with the captures, or a held result could be newer than its moment.
        rises = numbers > np.maximum.accumulate(np.concatenate([[-1], numbers[:-1]])) if len(numbers) else keep
        numbers, capture, display = numbers[rises], capture[rises], display[rises]
        period = 1_000 / self.refresh_hz if self.refresh_hz else self.period_ms
        if not len(numbers) or not period:
            return None
        return held_results(capture, display, refresh_times(capture, period_ms=period)), numbers

    def shown_pairs(self) -> list[tuple[int, int]]:
        """The frames shown together with the frames of their moments, by number."""
        if self.shown is None:
            return []
        held, numbers = self.shown
        is_on = held.shown >= 0
        pairs = np.unique(np.column_stack([numbers[held.shown[is_on]], numbers[held.moment[is_on]]]), axis=0)
        return [(one, other) for one, other in pairs.tolist()]

    def display_values(self, quality: StreamQuality) -> Iterator[ClipValue]:
        """Score what was on the screen: the loss, and its parts of the algorithm and of lateness."""
        names = ("display_loss", "display_algorithm", "display_lateness")
        if self.shown is None or quality.held is None:
            why = (NO_LOG if self.period_ms else NO_PERIOD) if self.shown is None else "no loss of single frames"
            yield from (ClipValue(name, None, reason=why) for name in names)
            return
        (held, numbers), losses = self.shown, quality.held
        found = display_loss(held, lambda results, truths: losses.losses(numbers[results], numbers[truths]))
        for name, value in zip(names, (found.loss, found.algorithm, found.lateness), strict=True):
            yield ClipValue(name, finite(value), reason=found.reason)
        yield rate("display_held", found.n_held, found.n_refreshes, nothing="no refresh with a loss")
        if quality.tracks is not None:
            yield self._display_hota(held, numbers, *quality.tracks)

    def _display_hota(self, held: HeldResults, numbers: Rows, truth: Detections, predicted: Detections) -> ClipValue:
        one, other = (_by_place(objects, numbers) for objects in (truth, predicted))
        has_result = np.isin(numbers, self.lines.number[np.isfinite(self.lines.result)])
        found = track_display_loss(one, other, held, has_result=has_result)
        return ClipValue("display_hota", None if found.loss is None else 1 - found.loss, reason=found.reason)


_TIMES = ("latency_ms", "deadline_ms", "capture_ms", "result_ms", "display_ms", "temperature_c")


def _by_place(objects: Detections, numbers: Rows) -> Detections:
    """Number objects by the place of their frame among those that were captured; others are left out."""
    place = np.searchsorted(numbers, objects.frame)
    is_there = (place < len(numbers)) & (numbers[np.minimum(place, len(numbers) - 1)] == objects.frame)
    boxes = None if objects.boxes is None else objects.boxes[is_there]
    return Detections(place[is_there], objects.track[is_there], boxes)
