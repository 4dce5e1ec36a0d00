"""Metrics of a build over its clips, compared with its baseline: the stage `measure_video`.

The unit is the clip. Values of clips come from `clip_scores`; what is broken down by a condition of frames is averaged
within each clip first. Comparisons are in `.clip_changes`, other latencies in `.replays`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.tables import CLIPS
from cv_quality.freshness import StageContext
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.percentiles import Percentile, cluster_percentiles
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.video.clips import CLIPS_NEEDED, ClipInterval, clip_mean, clip_rate
from cv_quality.metrics.video.timing import rate_drift
from cv_quality.metrics.video.tracks import TrackCounts, TrackScore, track_interval
from cv_quality.modality import Modality, of_modality
from cv_quality.studies.policy import Evidence
from cv_quality.tasks.release.stage import Measured
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.video.clip_changes import Compared, change_rows
from cv_quality.tasks.video.clip_scores import WHOLE, finite
from cv_quality.tasks.video.frame_scores import counts_of_row
from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME, VideoMetric
from cv_quality.tasks.video.replays import replay_rows
from cv_quality.tasks.video.tables import (
    CLIP_CHANGES,
    CLIP_FILES,
    CLIP_SCORES,
    DISPLAY_REPLAYS,
    FRAME_SCORES,
    TRACK_COUNTS,
    VIDEO_CHANGES,
    VIDEO_METRICS,
)

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, object]
CLIP = "clip_key"
"""Column that names a clip over all drops of a build."""
BY_CLIP = ("device_model", "os_version", "scene")
"""What a clip has as a whole."""
QUANTILES = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}
FRAME_COLUMNS = (
    "drop_id",
    "stream_id",
    "frame_number",
    "capture_ms",
    "latency_ms",
    "is_dropped",
    "temperature_c",
    "held_losses",
    *BY_CLIP,
    *dict.fromkeys(metric.frame for metric in VIDEO_METRICS_BY_NAME.values() if metric.frame),
)


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """What was measured of a build.

    Attributes:
        clips: of its own drops.
        metric_rows, change_rows, clip_change_rows, replay_rows: rows of the four tables.
        improved, regressed: metrics whose change is settled.
        rates: metric -> its value over all clips, where it has one.
    """

    build: str
    clips: int
    metric_rows: int
    change_rows: int
    clip_change_rows: int
    replay_rows: int
    improved: int
    regressed: int
    rates: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class ModelClips:
    """The clips of some drops under one model.

    Attributes:
        model: whose outputs were scored.
        is_own: whether the drops are its own, so that what devices logged is about it.
        scores: of `clip_scores`.
        frames: of `frame_scores`.
        counts: of tracks, by clip.
        clips: of `clips`, and what their files say.
    """

    model: str
    is_own: bool
    scores: "pl.DataFrame"
    frames: "pl.DataFrame"
    counts: Mapping[str, TrackCounts]
    clips: "pl.DataFrame"

    def tells_of(self, metric: VideoMetric) -> bool:
        return self.is_own or not metric.is_of_device


def measure_video(context: StageContext) -> VideoSummary:
    """Measure a build's clips and its baseline's, and write `video_metrics`, `video_changes` and what they rest on.

    Raises:
        MissingTable: a drop was not scored under one of the models.
    """
    workspace, build = context.workspace, context.build
    baseline = workspace.registry.baseline(build)
    before = context.history.get(baseline, []) if baseline else []
    return measure_clips(
        context.lake,
        build=build,
        models=context.models,
        drops=context.drops,
        modality=context.modality,
        baseline=baseline,
        baseline_drops=before,
    )


def measure_clips(
    lake: Lake,
    *,
    build: str,
    models: Sequence[str],
    drops: Sequence[str],
    modality: Modality,
    baseline: str | None = None,
    baseline_drops: Sequence[str] = (),
) -> VideoSummary:
    """Write the metrics of a build's clips under each model, its changes against the baseline, and replays.

    Args:
        lake: read and written.
        build: the build.
        models: whose outputs on its drops were scored.
        drops: its own.
        modality: of the drops.
        baseline, baseline_drops: the build compared with, and those of its own drops that it scored itself.
    """
    found = {
        model: read_model_clips(lake, model=model, build=build, drops=drops, modality=modality) for model in models
    }
    own, metrics, replays = found[build], list[Row](), list[Row]()
    for model, clips in found.items():
        head: Row = {"model_build_id": model}
        metrics += [head | row for row in metric_rows(clips, modality=modality)]
        replays += [head | row for row in replay_rows(clips.scores, clips.frames, clips.clips)]
    changes: list[Row] = []
    clip_changes: list[Row] = []
    if baseline is not None:
        elsewhere = None
        if baseline_drops:
            elsewhere = read_model_clips(
                lake, model=baseline, build=baseline, drops=baseline_drops, modality=modality, with_frames=False
            )
        compared = Compared(baseline, own.scores, own.clips)
        same = found[baseline].scores if baseline in found else None
        other = None if elsewhere is None else (elsewhere.scores, elsewhere.clips)
        changes, clip_changes = change_rows(compared, same_clips=same, other_clips=other)
    verdicts = [row["verdict"] for row in changes]
    return VideoSummary(
        build=build,
        clips=own.clips.height,
        metric_rows=write_rows(lake, VIDEO_METRICS, build, metrics),
        change_rows=write_rows(lake, VIDEO_CHANGES, build, changes),
        clip_change_rows=write_rows(lake, CLIP_CHANGES, build, clip_changes),
        replay_rows=write_rows(lake, DISPLAY_REPLAYS, build, replays),
        improved=verdicts.count("improved"),
        regressed=verdicts.count("regressed"),
        rates={str(row["metric"]): cast(float, row["value"]) for row in metrics if _is_overall(row, build)},
    )


def _is_overall(row: Row, build: str) -> bool:
    return row["model_build_id"] == build and row["dimension"] == WHOLE and row["value"] is not None


def read_model_clips(
    lake: Lake, *, model: str, build: str, drops: Sequence[str], modality: Modality, with_frames: bool = True
) -> ModelClips:
    """Read the clips of a build's drops under a model.

    Args:
        lake: to read from.
        model: whose outputs were scored.
        build: whose drops they are.
        drops: which of them.
        modality: whose conditions frames have.
        with_frames: whether single frames are read.
    """
    import polars as pl

    keys, of_drop = [TableKey(build=model, drop=drop) for drop in drops], [TableKey(drop=drop) for drop in drops]
    key = pl.format("{}/{}", "drop_id", "stream_id").alias(CLIP)
    table = of_modality(FRAME_SCORES, modality)
    levels = [item.level_column for item in (*modality.conditions, *modality.measured) if item.is_counted]
    columns = [*dict.fromkeys((*FRAME_COLUMNS, *levels))]
    frames = lake.scan(table, keys if with_frames else []).select(columns)
    counts = lake.scan(TRACK_COUNTS, keys).with_columns(key).collect()
    clips = lake.scan(CLIPS, of_drop).select("drop_id", "stream_id", "scene", "frame_rate_hz", "refresh_hz")
    files = lake.scan(CLIP_FILES, of_drop).select("drop_id", "stream_id", "rate_hz")
    return ModelClips(
        model=model,
        is_own=model == build,
        scores=lake.scan(CLIP_SCORES, keys).with_columns(key).sort(CLIP, "metric", "class_name").collect(),
        frames=frames.with_columns(key).sort(CLIP, "frame_number").collect(),
        counts={name: counts_of_row(row) for name, row in counts.select(CLIP, "counts").sort(CLIP).iter_rows()},
        clips=files.join(clips, on=["drop_id", "stream_id"], how="left").with_columns(key).sort(CLIP).collect(),
    )


def metric_rows(found: ModelClips, *, modality: Modality) -> Iterator[Row]:
    """Measure clips under one model: over all, by class, by what a clip has, and by conditions of frames.

    Args:
        found: the clips.
        modality: whose counted conditions frames are told apart by.
    """
    yield from _whole_rows(found, dimension=WHOLE, level=WHOLE)
    yield from _class_rows(found)
    for dimension in BY_CLIP:
        of_clip = found.frames.select(CLIP, dimension).drop_nulls().unique(CLIP, keep="first")
        if of_clip[dimension].n_unique() < of_clip.height:
            for level in sorted(of_clip[dimension].unique().to_list()):
                yield from _whole_rows(
                    _only(found, of_clip.filter(of_clip[dimension] == level)[CLIP].to_list()),
                    dimension=dimension,
                    level=level,
                )
    for item in (*modality.conditions, *modality.measured):
        if item.is_counted:
            yield from _frame_rows(found, item.level_column)


def _only(found: ModelClips, names: Sequence[str]) -> ModelClips:
    import polars as pl

    is_in = pl.col(CLIP).is_in(names)
    counts = {name: counts for name, counts in found.counts.items() if name in set(names)}
    return replace(found, scores=found.scores.filter(is_in), frames=found.frames.filter(is_in), counts=counts)


def _whole_rows(found: ModelClips, *, dimension: str, level: str) -> Iterator[Row]:
    by_metric = {str(name): rows for (name,), rows in found.scores.filter(class_name=WHOLE).group_by("metric")}
    for metric in VIDEO_METRICS_BY_NAME.values():
        rows = by_metric.get(metric.name)
        if rows is not None and found.tells_of(metric):
            head: Row = {"metric": metric.name, "dimension": dimension, "level": level}
            yield head | _of_clips(metric, rows.sort(CLIP), found)


def _class_rows(found: ModelClips) -> Iterator[Row]:
    rows = found.scores.filter(found.scores["class_name"] != WHOLE)
    for (name, level), of_class in rows.group_by("metric", "class_name", maintain_order=True):
        metric = VIDEO_METRICS_BY_NAME[str(name)]
        if found.tells_of(metric):
            yield {"metric": metric.name, "dimension": "class_name", "level": level} | _mean(metric, of_class)


def _of_clips(metric: VideoMetric, rows: "pl.DataFrame", found: ModelClips) -> Row:
    """Bring the clips together, in the metric's own way."""
    if metric.how == "rate":
        return _rate(rows["numerator"].to_numpy(), rows["denominator"].to_numpy())
    if metric.how == "tracks" and found.counts:
        return _tracks(metric, [found.counts[name] for name in sorted(found.counts)])
    if metric.how == "percentile":
        dropped = found.scores.filter(metric="dropped", class_name=WHOLE).select(CLIP, "numerator").drop_nulls()
        infinite = {name: int(n) for name, n in dropped.iter_rows()}
        return _percentile(found.frames, quantile=QUANTILES[metric.name], infinite=infinite)
    if metric.how == "slope":
        return _slope(metric, found.frames)
    return _mean(metric, rows)


def _mean(metric: VideoMetric, rows: "pl.DataFrame") -> Row:
    values = rows["value"].cast(float).fill_null(math.nan).to_numpy()
    row = _interval(clip_mean(values, limits=metric.limits))
    why = cast("str | None", rows["reason"].drop_nulls().first())
    return row | {"reason": f"{row['reason']}: {why}"} if row["value"] is None and why else row


def _interval(found: ClipInterval) -> Row:
    numbers = {name: finite(getattr(found, name)) for name in ("value", "low", "high")}
    return {
        **numbers,
        "n_clips": found.n_clips,
        "n_left_out": found.n_left_out,
        "method": found.method,
        "reason": found.reason,
    }


def _rate(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> Row:
    """The rate of frames, with an interval by clip; clips without a frame are left out."""
    numerators, denominators = (np.nan_to_num(one.astype(float)).astype(np.int64) for one in (numerators, denominators))
    has = denominators > 0
    found = asdict(clip_rate(numerators[has], denominators[has]))
    names = ("value", "low", "high", "numerator", "denominator", "method", "reason")
    n = int(np.count_nonzero(has))
    return {name: found[name] for name in names} | {"n_clips": n, "n_left_out": len(has) - n}


_TRACK_SCORES: dict[str, TrackScore] = {"hota": "hota", "mota": "mota", "idf1": "idf1"}


def _tracks(metric: VideoMetric, counts: Sequence[TrackCounts]) -> Row:
    return _interval(track_interval(counts, score=_TRACK_SCORES[metric.name]))


def _percentile(frames: "pl.DataFrame", *, quantile: float, infinite: Mapping[str, int]) -> Row:
    """A percentile of latency; frames without a result are infinite.

    Args:
        frames: with `latency_ms`.
        quantile: which percentile.
        infinite: frames without a result, by clip.
    """
    import polars as pl

    known = frames.filter(pl.col("latency_ms").is_not_null() & ~pl.col("is_dropped").fill_null(value=False))
    names = [*known[CLIP].to_list(), *(name for name, n in infinite.items() for _ in range(n))]
    values = np.append(known["latency_ms"].to_numpy(), np.full(len(names) - known.height, np.inf))
    [found] = cluster_percentiles(values, names, quantiles=[quantile], unit="clip")
    return _percentile_row(found, n_left_out=frames[CLIP].n_unique() - found.n_clusters)


def _percentile_row(found: Percentile, *, n_left_out: int) -> Row:
    has_bounds = found.n_clusters >= CLIPS_NEEDED
    reason = found.reason
    if found.value is not None and math.isinf(found.value):
        reason = "infinite: that many frames have no result"
    elif not has_bounds and found.value is not None:
        reason = f"insufficient: {found.n_clusters} clips, {CLIPS_NEEDED} needed"
    elif found.high is not None and math.isinf(found.high):
        reason = "the upper bound is infinite: it lies among frames without a result"
    value = finite(found.value)
    is_bounded = has_bounds and value is not None
    return {
        "value": value,
        "low": finite(found.low) if is_bounded else None,
        "high": finite(found.high) if is_bounded else None,
        "n_clips": found.n_clusters,
        "n_left_out": max(n_left_out, 0),
        "method": found.method if is_bounded else None,
        "reason": reason,
    }


def _slope(metric: VideoMetric, frames: "pl.DataFrame") -> Row:
    known = frames.drop_nulls(["capture_ms", "latency_ms"])
    result = (known["capture_ms"] + known["latency_ms"]).to_numpy()
    heat = known["temperature_c"].cast(float).fill_null(math.nan).to_numpy()
    drift = rate_drift(result, known[CLIP].to_list(), temperature_c=heat)
    slope = drift.per_minute if metric.name == "rate_per_minute" else drift.per_degree
    return _interval(slope or ClipInterval(None, None, None, 0, 0, 0, None, "no temperature"))


def _frame_rows(found: ModelClips, level_column: str) -> Iterator[Row]:
    """The metrics of single frames at each level of a condition."""
    import polars as pl

    metrics = [
        metric
        for metric in VIDEO_METRICS_BY_NAME.values()
        if metric.frame and found.tells_of(metric) and found.frames[metric.frame].null_count() < found.frames.height
    ]
    aggregates = [
        expression
        for metric in metrics
        for expression in (
            pl.col(str(metric.frame)).cast(pl.Float64).sum().alias(f"{metric.name} sum"),
            pl.col(str(metric.frame)).count().alias(f"{metric.name} n"),
        )
    ]
    rows = found.frames.drop_nulls(level_column)
    has_latency = found.is_own and rows["latency_ms"].null_count() < rows.height
    for (level,), of_level in rows.sort(level_column).group_by(level_column, maintain_order=True):
        clips = of_level.group_by(CLIP).agg(aggregates).sort(CLIP)
        head: Row = {"dimension": level_column, "level": str(level)}
        for metric in metrics:
            sums, n = clips[f"{metric.name} sum"].to_numpy(), clips[f"{metric.name} n"].to_numpy()
            if n.sum():
                values = np.where(n > 0, sums / np.maximum(n, 1), np.nan)
                row = _rate(sums, n) if metric.how == "rate" else _interval(clip_mean(values, limits=metric.limits))
                yield head | {"metric": metric.name} | row
        if has_latency:
            dropped = of_level.filter(pl.col("is_dropped").fill_null(value=False)).group_by(CLIP).len().sort(CLIP)
            infinite = {name: int(n) for name, n in dropped.iter_rows()}
            for name, quantile in QUANTILES.items():
                yield head | {"metric": name} | _percentile(of_level, quantile=quantile, infinite=infinite)


def read_evidence(lake: Lake, build: str) -> Measured:
    """Read everything that a release policy may ask of a build: its metrics, and their changes by clip."""
    key, found = TableKey(build=build), dict[tuple[str, str, str], Evidence]()
    for row in lake.read(VIDEO_METRICS, key).iter_rows(named=True):
        if row["model_build_id"] == build:
            group = row["metric"], row["dimension"], row["level"]
            rate = Rate(
                value=row["value"],
                numerator=round(row["numerator"] or 0),
                denominator=round(row["denominator"] or 0),
                low=row["low"],
                high=row["high"],
                method=row["method"],
                n_subjects=row["n_clips"],
                reason=row["reason"],
                n_effective=None,
            )
            found[group] = Evidence(group[0], None, *group[1:], rate=rate)
    changes = lake.read(VIDEO_CHANGES, key)
    for row in changes.iter_rows(named=True):
        group = row["metric"], "all", "all"
        found[group] = replace(
            found.get(group) or Evidence(group[0], None, *group[1:]),
            bounds=(row["value"], row["low"], row["high"]),
            is_higher_better=row["is_higher_better"],
            reason=row["reason"],
        )
    return Measured(next(iter(changes["baseline_build_id"]), None), list(found.values()))
