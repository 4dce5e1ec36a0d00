"""Spans of a clip in which frames fail: where a timeline is marked, and what strips show."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.inference.registry import BuildEntry
from cv_quality.inference.video.entry import REQUIRED_QUALITY, RecordedVideoEntry, VideoEntry
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.report.data import frame_scores

if TYPE_CHECKING:
    import polars as pl

BRIDGED_FRAMES = 2
"""So few frames that do not fail leave a span whole."""


@dataclass(frozen=True, slots=True)
class FailingSpan:
    """Frames of one clip that fail, with few others between.

    Attributes:
        first, last, worst: numbers of its frames; the worst has the largest loss.
        start, end: along the axis of the timeline.
        n_frames: from the first to the last.
        clip_last: number of the last frame of the clip.
        mean_loss: over those with a loss; None where none has one.
        excess: what the loss of its frames has above that of a quality that is just required, summed; the number of its
            frames where none has a loss. By it spans are ranked.
    """

    drop_id: str
    stream_id: str
    first: int
    last: int
    worst: int
    start: float
    end: float
    n_frames: int
    clip_last: int
    mean_loss: float | None
    excess: float


def read_clip_frames(source: ReportSource, model: str) -> "pl.DataFrame":
    """Read the frames of the build's drops under a model, with `at`, their place in time, and `fails`.

    A frame fails where its quality misses the requirement; in a clip without a truth, where its result is late. The
    place in time is its timestamp in s where every frame of the clip has one, else when it was captured, else its
    number.
    """
    import polars as pl

    columns = (
        "drop_id",
        "stream_id",
        "frame_number",
        "device_model",
        "time_s",
        "capture_ms",
        "latency_ms",
        "deadline_ms",
        "is_dropped",
        "is_late",
        "temperature_c",
        "thermal_state",
        "loss_kind",
        "loss",
        "is_miss",
    )
    clip = ("drop_id", "stream_id")
    captured = (pl.col("capture_ms") - pl.col("capture_ms").min().over(clip)) / 1_000
    has_times, has_captures = (pl.col(name).is_not_null().all().over(clip) for name in ("time_s", "capture_ms"))
    number = pl.col("frame_number").cast(pl.Float64)
    is_judged = pl.col("is_miss").is_not_null().any().over(clip)
    return (
        frame_scores(source, model)
        .select(columns)
        .sort("drop_id", "stream_id", "frame_number")
        .with_columns(
            at=pl.when(has_times).then("time_s").when(has_captures).then(captured).otherwise(number),
            in_seconds=has_times | has_captures,
            fails=pl.when(is_judged).then("is_miss").otherwise("is_late").fill_null(value=False),
        )
        .collect()
    )


def failing_spans(rows: "pl.DataFrame", *, requirement: float = REQUIRED_QUALITY) -> list[FailingSpan]:
    """Find the spans of every clip, in the order of the clips.

    Args:
        rows: as `read_clip_frames` gives them.
        requirement: quality of a frame below which it is a miss.
    """
    found = []
    for (drop, stream), frames in rows.group_by(["drop_id", "stream_id"], maintain_order=True):
        fails = np.flatnonzero(frames["fails"].to_numpy())
        if not fails.size:
            continue
        cuts = np.flatnonzero(np.diff(fails) > BRIDGED_FRAMES + 1) + 1
        found += [
            _span(str(drop), str(stream), frames, int(run[0]), int(run[-1]), requirement)
            for run in np.split(fails, cuts)
        ]
    return found


def worst_frame(rows: "pl.DataFrame") -> FailingSpan | None:
    """Find the frame with the largest loss of all, as a span of its own; None where no frame has one."""
    import polars as pl

    known = rows.filter(pl.col("loss").is_not_null())
    if known.is_empty():
        return None
    worst = known[int(known["loss"].to_numpy().argmax())]
    drop, stream, number = worst["drop_id"][0], worst["stream_id"][0], worst["frame_number"][0]
    clip = rows.filter(drop_id=drop, stream_id=stream)
    place = int((clip["frame_number"] == number).to_numpy().argmax())
    return _span(drop, stream, clip, place, place, REQUIRED_QUALITY)


def _span(drop: str, stream: str, frames: "pl.DataFrame", first: int, last: int, requirement: float) -> FailingSpan:
    """Describe a span.

    Args:
        drop, stream: whose it is.
        frames, first, last: rows of the clip, and the first and the last row of the span.
        requirement: as of `failing_spans`.
    """
    own = frames[first : last + 1]
    loss = own["loss"].fill_null(float("nan")).to_numpy()
    known = loss[~np.isnan(loss)]
    step = _step(frames["at"].to_numpy())
    return FailingSpan(
        drop_id=drop,
        stream_id=stream,
        first=own["frame_number"][0],
        last=own["frame_number"][-1],
        worst=own["frame_number"][int(np.nanargmax(loss)) if known.size else 0],
        start=float(own["at"][0]),
        end=float(own["at"][-1]) + step,
        n_frames=own.height,
        clip_last=frames["frame_number"][-1],
        mean_loss=float(known.mean()) if known.size else None,
        excess=float(np.maximum(known - (1 - requirement), 0).sum()) if known.size else float(own.height),
    )


def required_quality(entry: BuildEntry) -> float:
    """Look up the quality of a frame that a build must reach."""
    return entry.requirement if isinstance(entry, VideoEntry | RecordedVideoEntry) else REQUIRED_QUALITY


def _step(at: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    return float(np.median(np.diff(at))) if len(at) > 1 else 0.0


def one_a_clip(spans: Iterable[FailingSpan]) -> list[FailingSpan]:
    """Keep the worst span of each clip, the worst of all first."""
    ranked = sorted(spans, key=lambda span: (-span.excess, span.drop_id, span.stream_id, span.first))
    kept: dict[tuple[str, str], FailingSpan] = {}
    for span in ranked:
        kept.setdefault((span.drop_id, span.stream_id), span)
    return list(kept.values())
