"""Report data of video that is read from the lake into frozen records: sizes, metrics, changes, screen, levels, heat.

Nothing here draws or writes HTML. Frames over time are read in `cv_quality.tasks.video.report.timeline`, pictures in
`cv_quality.tasks.video.report.strips`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import of_modality
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import Direction
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.metric_names import HEADLINE, VideoMetric
from cv_quality.tasks.video.report.wording import place, words_of
from cv_quality.tasks.video.tables import (
    CLIP_CHANGES,
    DISPLAY_REPLAYS,
    FRAME_SCORES,
    VIDEO_CHANGES,
    VIDEO_METRICS,
)

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]

DIRECTIONS: Mapping[str, Direction] = {
    "improved": "better",
    "regressed": "worse",
    "not settled": "unclear",
    "insufficient": "unknown",
}
"""How a change is coloured, by its verdict."""
AS_LOGGED = "as logged"
_DESIGN_EFFECT = re.compile(r", design effect [0-9.,]*[0-9]")
QUALITY_METRICS = ("miss_rate", "j", "box_f1", "nme", "ssim", "depth_delta1")
"""What a table of levels says of quality, as far as there is any."""


@dataclass(frozen=True, slots=True)
class VideoOverview:
    """What was evaluated: where, when, and how much of it."""

    sites: tuple[str, ...]
    captured_from: datetime
    captured_until: datetime
    manifests: tuple[tuple[str, str], ...]
    n_clips: int
    n_frames: int
    n_scored: int
    n_timed: int
    n_devices: int


@dataclass(frozen=True, slots=True)
class ClipMeasure:
    """A value over clips with its interval; `reason` says why one of them is missing."""

    value: float | None
    low: float | None
    high: float | None
    n_clips: int
    n_left_out: int
    method: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class MeasureChange:
    """What became of a metric since the baseline: the mean change over clips, and how many went either way."""

    change: ClipMeasure
    n_improved: int
    n_regressed: int
    verdict: str

    @property
    def direction(self) -> Direction:
        return DIRECTIONS.get(self.verdict, "unknown")


@dataclass(frozen=True, slots=True)
class ChangedClip:
    """One clip under the baseline and under the build."""

    drop_id: str
    stream_id: str
    before: float
    after: float
    change: float


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of the build and its baseline over all clips, and what changed.

    Attributes:
        clips: those that changed, the largest regression first and the largest improvement last.
    """

    name: str
    metric: VideoMetric
    build: ClipMeasure
    baseline: ClipMeasure | None
    change: MeasureChange | None
    clips: tuple[ChangedClip, ...]

    @property
    def place(self) -> int:
        return place(self.name)


@dataclass(frozen=True, slots=True)
class VideoNumbers:
    """All metrics over all clips.

    Attributes:
        baseline: what changes are against; None without one.
        is_paired: whether the baseline's own values are beside the build's: its model ran on the same clips.
    """

    rows: tuple[MetricRow, ...]
    baseline: str | None
    is_paired: bool
    queries: tuple[tuple[str, Query], ...]

    @property
    def parts(self) -> tuple[tuple[str, tuple[MetricRow, ...]], ...]:
        """The metrics that a summary names, and the others, each part with its heading."""
        headline = tuple(row for row in self.rows if row.name in HEADLINE)
        others = tuple(row for row in self.rows if row.name not in HEADLINE)
        return tuple((heading, rows) for heading, rows in (("", headline), ("all other metrics", others)) if rows)

    @property
    def methods(self) -> list[str]:
        """How intervals were made; design effects, which every number has its own of, are left to the tables."""
        found = (item for row in self.rows for item in (row.build, row.baseline, row.change and row.change.change))
        return sorted({_DESIGN_EFFECT.sub("", item.method) for item in found if item and item.method})


@dataclass(frozen=True, slots=True)
class ScreenLoss:
    """Loss on the screen of one model's results under one set of latencies."""

    model: str
    replay: str
    loss: float
    algorithm: float
    lateness: float
    lateness_low: float | None
    lateness_high: float | None
    dropped: float | None
    n_clips: int
    method: str | None


@dataclass(frozen=True, slots=True)
class Screen:
    """What the user saw; `reasons` say why a model or a replay has no loss there."""

    losses: tuple[ScreenLoss, ...]
    reasons: tuple[str, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class LevelMeasures:
    """The metrics of the build at one level of a condition, in the order of the table's columns."""

    level: str
    measures: tuple[ClipMeasure | None, ...]
    before: tuple[ClipMeasure | None, ...]


@dataclass(frozen=True, slots=True)
class LevelTable:
    """Metrics by the levels of one condition."""

    metrics: tuple[VideoMetric, ...]
    levels: tuple[LevelMeasures, ...]
    query: Query


def read_overview(source: ReportSource) -> VideoOverview:
    """Read sites, dates and sizes of what was evaluated."""
    import polars as pl

    files = source.lake.scan(DROP_FILES, [TableKey(drop=drop) for drop in source.scope.drops]).collect()
    identities = files.select("drop_id", "manifest_sha256").unique().sort("drop_id")
    first, last = files.select(pl.col("captured_from").min(), pl.col("captured_until").max()).row(0)
    sizes = frame_scores(source, source.scope.build).select(
        pl.struct("drop_id", "stream_id").n_unique(),
        pl.len(),
        pl.col("loss").count().alias("scored"),
        pl.col("is_late").count().alias("timed"),
        pl.col("device_id").drop_nulls().n_unique().alias("devices"),
    )
    n_clips, n_frames, n_scored, n_timed, n_devices = sizes.collect().row(0)
    return VideoOverview(
        sites=tuple(files["site"].unique().sort().to_list()),
        captured_from=first,
        captured_until=last,
        manifests=tuple(identities.iter_rows()),
        n_clips=n_clips,
        n_frames=n_frames,
        n_scored=n_scored,
        n_timed=n_timed,
        n_devices=n_devices,
    )


def frame_scores(source: ReportSource, model: str) -> "pl.LazyFrame":
    """Scan the scores of every frame of the build's drops under a model."""
    return source.lake.scan(of_modality(FRAME_SCORES, source.modality), source.scope.grid(model))


def condition_words(source: ReportSource, row: Row) -> tuple[str, ...]:
    """Put the conditions of a frame in words, those that were logged first."""
    found = []
    for item in (*source.modality.conditions, *(item for item in source.modality.measured if item.is_counted)):
        words = item.words(row[item.name])
        has_own_words = item.phrase != "{}" or not item.level_phrase
        if words is not None:
            found.append(words if has_own_words else item.level_words(str(row[item.name])))
    return tuple(found)


def build_rows(source: ReportSource, table: Table) -> list[dict[str, Any]]:
    """Read the rows of a table that is keyed by build."""
    return source.lake.read(table, TableKey(build=source.scope.build)).to_dicts()


def read_numbers(source: ReportSource) -> VideoNumbers:
    """Read every metric over all clips, with its change against the baseline."""
    scope = source.scope
    overall = {
        (row["model_build_id"], row["metric"]): row
        for row in build_rows(source, VIDEO_METRICS)
        if row["dimension"] == "all"
    }
    changes = {row["metric"]: row for row in build_rows(source, VIDEO_CHANGES)}
    clips = build_rows(source, CLIP_CHANGES) if changes else []
    baseline = next((str(row["baseline_build_id"]) for row in changes.values()), scope.baseline)
    names = sorted({metric for model, metric in overall if model == scope.build} | changes.keys(), key=place)
    rows = tuple(
        _metric_row(
            name,
            build=overall.get((scope.build, name)),
            before=overall.get((scope.baseline or "", name)),
            change=changes.get(name),
            clips=[row for row in clips if row["metric"] == name],
        )
        for name in names
    )
    where: dict[str, str | float | tuple[str | float, ...] | None] = {
        "dimension": "all",
        "model_build_id": scope.models,
    }
    queries = [
        ("Metrics", rows_query(VIDEO_METRICS, build=scope.build, where=where, order=("metric", "model_build_id")))
    ]
    if changes:
        queries.append(("Changes", rows_query(VIDEO_CHANGES, build=scope.build, where={}, order=("metric",))))
        by_clip = rows_query(CLIP_CHANGES, build=scope.build, where={}, order=("metric", "change"))
        queries.append(("Changes by clip", by_clip))
    return VideoNumbers(rows, baseline, scope.baseline is not None, tuple(queries))


def _metric_row(
    name: str, *, build: Row | None, before: Row | None, change: Row | None, clips: Sequence[Row]
) -> MetricRow:
    """One metric, from the rows that hold it.

    Args:
        name: of the metric.
        build, before, change, clips: its rows.
    """
    is_higher_better = bool(change["is_higher_better"]) if change else None
    changed = None
    if change is not None:
        changed = MeasureChange(_measure(change), change["n_improved"], change["n_regressed"], change["verdict"])
    order = sorted(clips, key=lambda row: row["change"] if is_higher_better else -row["change"])
    return MetricRow(
        name=name,
        metric=words_of(name),
        build=_measure(build) if build else ClipMeasure(None, None, None, 0, 0, None, "not measured"),
        baseline=_measure(before) if before else None,
        change=changed,
        clips=tuple(
            ChangedClip(row["drop_id"], row["stream_id"], row["baseline"], row["candidate"], row["change"])
            for row in order
            if row["change"]
        ),
    )


def _measure(row: Row) -> ClipMeasure:
    fields = ("value", "low", "high", "n_clips", "n_left_out", "method", "reason")
    return ClipMeasure(**{name: row[name] for name in fields})


def read_screen(source: ReportSource) -> Screen:
    """Read the loss on the screen, as logged and replayed, of the build's and of the baseline's results."""
    rows = build_rows(source, DISPLAY_REPLAYS)
    order = {model: place for place, model in enumerate(source.scope.models)}
    rows = [row for row in rows if row["model_build_id"] in order]
    fields = (
        "replay",
        "loss",
        "algorithm",
        "lateness",
        "lateness_low",
        "lateness_high",
        "dropped",
        "n_clips",
        "method",
    )
    losses = [
        ScreenLoss(row["model_build_id"], **{name: row[name] for name in fields})
        for row in rows
        if row["loss"] is not None and row["algorithm"] is not None and row["lateness"] is not None
    ]
    replays = {name: place for place, name in enumerate(dict.fromkeys([AS_LOGGED, *(row["replay"] for row in rows)]))}
    reasons = [
        f"{row['replay']}, {row['model_build_id']}: {row['reason']}"
        for row in rows
        if row["loss"] is None and row["reason"]
    ]
    return Screen(
        tuple(sorted(losses, key=lambda item: (replays[item.replay], order[item.model]))),
        tuple(dict.fromkeys(reasons)),
        rows_query(DISPLAY_REPLAYS, build=source.scope.build, where={}, order=("replay", "model_build_id")),
    )


def read_levels(source: ReportSource, *, dimension: str, metrics: Sequence[str]) -> LevelTable:
    """Read metrics of the build by the levels of a condition, and beside them those of the baseline's model.

    Args:
        source: what the page is made from.
        dimension: column of the levels.
        metrics: the columns, in their order; those without any value are left out.
    """
    scope, rows = source.scope, build_rows(source, VIDEO_METRICS)
    found = {
        (row["model_build_id"], row["level"], row["metric"]): _measure(row)
        for row in rows
        if row["dimension"] == dimension
    }
    kept = [
        name
        for name in metrics
        if any(key[2] == name and key[0] == scope.build and item.value is not None for key, item in found.items())
    ]
    levels = list(dict.fromkeys(row["level"] for row in rows if row["dimension"] == dimension)) if kept else []
    return LevelTable(
        metrics=tuple(map(words_of, kept)),
        levels=tuple(
            LevelMeasures(
                level,
                tuple(found.get((scope.build, level, name)) for name in kept),
                tuple(found.get((scope.baseline or "", level, name)) for name in kept),
            )
            for level in levels
        ),
        query=rows_query(
            VIDEO_METRICS,
            build=scope.build,
            where={"dimension": dimension, "model_build_id": scope.models},
            order=("level", "metric", "model_build_id"),
        ),
    )


DEVICE_METRICS = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "deadline_misses", "dropped", *QUALITY_METRICS)
"""Columns of the table of devices."""


def read_devices(source: ReportSource) -> LevelTable:
    """Read what matters of each model of device."""
    return read_levels(source, dimension="device_model", metrics=DEVICE_METRICS)
