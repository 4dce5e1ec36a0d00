"""Quality and latency over the time of the worst clips, thinned to what a chart can show; nothing is drawn here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.reports.queries import Query, literal
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.report.spans import FailingSpan, failing_spans, read_clip_frames

if TYPE_CHECKING:
    import polars as pl

POINTS_SHOWN = 360
"""Points of one line; of more frames the worst of each few is shown."""
QUALITIES = {
    "mask": "J",
    "box": "F1 of boxes",
    "landmarks": "1 − NME",
    "depth": "δ1 of depth",
    "image": "SSIM",
}
"""What 1 - loss is, by the kind of the loss."""


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """One frame, or the worst of a few.

    Attributes:
        segment: rises after every frame without a value, so that a line does not cross it.
    """

    at: float
    value: float
    segment: int


@dataclass(frozen=True, slots=True)
class ThermalSpan:
    """Consecutive frames in one thermal state."""

    state: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ClipTimeline:
    """One clip over time.

    Attributes:
        worst_of: the builds whose worst clip it is.
        quality_name: what the quality is.
        quality: by model; none where the clip has no truth.
        latency: in ms, of frames with a result.
        dropped: where frames had none.
        spans: in which the build fails, and the baseline, by model.
        is_late: whether failing is to be late, as the clip has no truth.
        frames_a_point: how many frames a point stands for, at most.
        in_seconds: whether the axis is time; else it is the number of the frame.
    """

    drop_id: str
    stream_id: str
    device_model: str | None
    worst_of: tuple[str, ...]
    quality_name: str
    quality: dict[str, tuple[TimelinePoint, ...]]
    latency: tuple[TimelinePoint, ...]
    dropped: tuple[float, ...]
    deadline_ms: float | None
    spans: dict[str, tuple[FailingSpan, ...]]
    thermal: tuple[ThermalSpan, ...]
    is_late: bool
    n_frames: int
    frames_a_point: int
    in_seconds: bool
    query: Query


def read_timelines(source: ReportSource) -> tuple[ClipTimeline, ...]:
    """Read the worst clip of the build, and that of the baseline where it is another."""
    frames = {model: read_clip_frames(source, model) for model in source.scope.models}
    worst: dict[tuple[str, str], list[str]] = {}
    for model, rows in frames.items():
        if (name := _worst_clip(rows)) is not None:
            worst.setdefault(name, []).append(model)
    return tuple(_timeline(source, frames, name, models) for name, models in worst.items())


def _worst_clip(rows: "pl.DataFrame") -> tuple[str, str] | None:
    """The clip with the largest mean loss; where no frame has a loss, that with the most late frames."""
    import polars as pl

    ranked = (
        rows.group_by("drop_id", "stream_id")
        .agg(
            pl.col("loss").mean(),
            pl.col("is_late").cast(pl.Float64).mean(),
            pl.col("latency_ms").count().alias("n_timed"),
        )
        .filter(pl.col("loss").is_not_null() | pl.col("is_late").is_not_null() | (pl.col("n_timed") > 0))
        .sort("loss", "is_late", "drop_id", "stream_id", descending=[True, True, False, False], nulls_last=True)
    )
    return None if ranked.is_empty() else (ranked["drop_id"][0], ranked["stream_id"][0])


def _timeline(
    source: ReportSource, frames: "dict[str, pl.DataFrame]", name: tuple[str, str], worst_of: list[str]
) -> ClipTimeline:
    """Read one clip under every model.

    Args:
        source: what the page is made from.
        frames: as `read_clip_frames` gives them, by model.
        name: drop and stream.
        worst_of: the builds whose worst clip it is.
    """
    import polars as pl

    clips = {model: rows.filter(drop_id=name[0], stream_id=name[1]) for model, rows in frames.items()}
    own = clips[source.scope.build]
    kinds = [kind for rows in clips.values() for kind in rows["loss_kind"].drop_nulls().unique().sort()]
    deadlines = own["deadline_ms"].drop_nulls()
    step = max(-(-own.height // POINTS_SHOWN), 1)
    return ClipTimeline(
        drop_id=name[0],
        stream_id=name[1],
        device_model=next(iter(own["device_model"].drop_nulls()), None),
        worst_of=tuple(worst_of),
        quality_name=QUALITIES[kinds[0]] if kinds else "",
        quality={
            model: points
            for model, rows in clips.items()
            if (points := _points(rows["at"].to_numpy(), 1 - _floats(rows["loss"]), step=step, is_worst_least=True))
        },
        latency=_points(own["at"].to_numpy(), _floats(own["latency_ms"]), step=step, is_worst_least=False),
        dropped=tuple(own.filter(pl.col("is_dropped"))["at"]),
        deadline_ms=float(deadlines.median()) if deadlines.len() else None,  # type: ignore[arg-type]
        spans={model: tuple(failing_spans(rows)) for model, rows in clips.items()},
        thermal=tuple(_thermal(own)),
        is_late=own["is_miss"].is_null().all(),
        n_frames=own.height,
        frames_a_point=step,
        in_seconds=bool(own["in_seconds"].all()),
        query=_query(source.scope.models, *name),
    )


def _floats(column: "pl.Series") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    values: np.ndarray[tuple[int], np.dtype[np.float64]] = column.fill_null(float("nan")).to_numpy().astype(np.float64)
    return values


def _points(
    at: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    *,
    step: int,
    is_worst_least: bool,
) -> tuple[TimelinePoint, ...]:
    """Thin a line to the worst of every `step` frames; frames without a value leave a gap.

    Args:
        at, values: of every frame, NaN where there is none.
        step: frames that a point stands for.
        is_worst_least: whether the worst is the least.
    """
    worst = np.nanargmin if is_worst_least else np.nanargmax
    points, segment, is_open = list[TimelinePoint](), 0, False
    for start in range(0, len(values), step):
        some = values[start : start + step]
        if np.isnan(some).all():
            segment, is_open = segment + is_open, False
            continue
        place = start + int(worst(some))
        points.append(TimelinePoint(round(float(at[place]), 4), round(float(values[place]), 4), segment))
        is_open = True
    return tuple(points)


def _thermal(rows: "pl.DataFrame") -> Iterable[ThermalSpan]:
    """Runs of frames in one thermal state; frames without one end a run."""
    states, at = rows["thermal_state"].to_list(), rows["at"].to_numpy()
    step = float(np.median(np.diff(at))) if len(at) > 1 else 1.0
    start = 0
    for place in range(1, len(states) + 1):
        if place == len(states) or states[place] != states[start]:
            if states[start] is not None:
                yield ThermalSpan(states[start], float(at[start]), float(at[place - 1]) + step)
            start = place


def _query(models: Iterable[str], drop: str, stream: str) -> Query:
    files = ", ".join(literal(f"frame_scores/{model}/{drop}.parquet") for model in models)
    return Query(
        warehouse=None,
        lake="SELECT build_id, frame_number, time_s, 1 - loss AS quality, is_miss, latency_ms, deadline_ms, is_dropped,"
        f"\n       thermal_state\nFROM read_parquet([{files}])\nWHERE stream_id = {literal(stream)}\n"
        "ORDER BY build_id, frame_number;",
    )
