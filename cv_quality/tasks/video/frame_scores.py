"""Frames and clips of a drop scored under one model: the stage `score_frames`.

One stream is scored at a time: its quality in `.mask_quality` and `.quality`, its latency in `.latency`; here they
become rows of `frame_scores`, `clip_scores` and `track_counts`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.drops.tablewriter import TableWriter
from cv_quality.errors import RegistryError
from cv_quality.freshness import StageContext
from cv_quality.inference.video.entry import RecordedVideoEntry, VideoEntry
from cv_quality.lake.lake import Lake, TableKey, conform
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.metrics.video.tracks import TrackCounts
from cv_quality.modality import Modality, of_modality
from cv_quality.tasks.video.clip_scores import OK, ClipValue, StreamQuality, rate
from cv_quality.tasks.video.latency import DeviceLog
from cv_quality.tasks.video.mask_quality import HELD_FRAMES, score_masks_of
from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME
from cv_quality.tasks.video.pictures import DropPictures
from cv_quality.tasks.video.quality import (
    HELD_PICTURES,
    score_boxes_of,
    score_depth_of,
    score_images_of,
    score_landmarks_of,
)
from cv_quality.tasks.video.stream_inputs import NO_OUTPUT, DropInputs, StreamInputs
from cv_quality.tasks.video.tables import CLIP_SCORES, FRAME_SCORES, TRACK_COUNTS

if TYPE_CHECKING:
    import polars as pl

Entry = VideoEntry | RecordedVideoEntry
NO_TRUTH = "no_truth"
FAILED = (NO_OUTPUT, "non_finite")
"""Statuses of a frame for which an algorithm that saw its picture gave nothing."""
WITHOUT_OUTPUT = (*FAILED, "missing_frame", "damaged_frame", "dropped_frame")
QUALITY_COLUMNS = (
    "j",
    "f",
    "tc",
    "tc_ceiling",
    "flicker",
    "box_f1",
    "nme",
    "psnr_db",
    "ssim",
    "depth_abs_rel",
    "depth_delta1",
    "loss",
)


@dataclass(frozen=True, slots=True)
class FrameScoreSummary:
    """What was scored of a drop under one model.

    Attributes:
        clips, frames: of the drop.
        scored: frames with a quality.
        misses: frames below the requirement.
        late: frames after their deadline, or without a result.
        loss: mean over the scored frames; None without one.
    """

    build: str
    drop: str
    clips: int
    frames: int
    scored: int
    misses: int
    late: int
    loss: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ScoredStream:
    """One stream under one model.

    Attributes:
        frames: rows of `frame_scores`.
        clip: its metrics.
        counts: of its tracks.
    """

    frames: "pl.DataFrame"
    clip: tuple[ClipValue, ...]
    counts: TrackCounts | None


def score_frames(context: StageContext) -> FrameScoreSummary:
    """Score the outputs of a drop against its truth, and write `frame_scores`, `clip_scores` and `track_counts`.

    Raises:
        MissingTable: the drop's pictures were not read, or no model was run on it.
    """
    entry = context.entry
    if not isinstance(entry, VideoEntry | RecordedVideoEntry):
        raise RegistryError(f"expected {context.build} to be a build of video, found one of {entry.modality!r}")
    return score_drop(
        context.lake,
        context.workspace.landing,
        build=context.build,
        drop=context.drop,
        entry=entry,
        modality=context.modality,
        threads=context.threads,
    )


def score_drop(
    lake: Lake, landing: Store, *, build: str, drop: str, entry: Entry, modality: Modality, threads: int = 2
) -> FrameScoreSummary:
    """Score the outputs of a build on a drop, and write `frame_scores`, `clip_scores` and `track_counts`.

    Args:
        lake: read and written.
        landing: where the pictures of the drop lie.
        build, drop: whose outputs, and of which drop.
        entry: of the build.
        modality: whose conditions the frames have.
        threads: streams that are scored at a time.

    Raises:
        MissingTable: the drop's pictures were not read, or no model was run on it.
    """
    inputs = DropInputs(lake, DropPictures(landing, lake, drop), build=build, drop=drop)
    with ThreadPoolExecutor(threads, thread_name_prefix="score") as pool:
        streams = pool.map(lambda name: score_stream(inputs.stream(name), entry, modality), inputs.streams)
        return _written(lake, streams, build=build, drop=drop, table=of_modality(FRAME_SCORES, modality))


def _written(
    lake: Lake, streams: "Iterator[ScoredStream]", *, build: str, drop: str, table: Table
) -> FrameScoreSummary:
    """Write streams as they come, and sum them up.

    Args:
        lake, streams: written to, and what is written.
        build, drop: whose they are.
        table: of frames, with the conditions of the modality.
    """
    import pyarrow as pa

    key, clips, tracks = TableKey(build=build, drop=drop), list[Mapping[str, object]](), list[Mapping[str, object]]()
    n_clips, scored, misses, late, loss = 0, 0, 0, 0, 0.0
    with lake.writing(table, key) as path:
        writer = TableWriter(table, path)
        for stream in streams:
            frames = stream.frames
            n_clips += 1
            writer.add(conform(table, frames))
            name = {"build_id": build, "drop_id": drop, "stream_id": frames["stream_id"].first()}
            scored += frames["loss"].count()
            loss += float(frames["loss"].sum())
            misses += int(frames["is_miss"].sum())
            late += int(frames["is_late"].sum())
            clips += [name | asdict(value) for value in stream.clip]
            if stream.counts is not None:
                tracks.append(name | {"counts": counts_as_row(stream.counts)})
        writer.close()
    lake.write(CLIP_SCORES, key, pa.Table.from_pylist(clips, schema=CLIP_SCORES.arrow_schema))
    lake.write(TRACK_COUNTS, key, pa.Table.from_pylist(tracks, schema=TRACK_COUNTS.arrow_schema))
    return FrameScoreSummary(
        build, drop, n_clips, writer.n_rows, scored, misses, late, loss / scored if scored else None
    )


def counts_as_row(counts: TrackCounts) -> list[float]:
    """The parts of track counts in turn, as `track_counts` has them."""
    return [float(value) for item in fields(TrackCounts) for value in np.atleast_1d(getattr(counts, item.name))]


def counts_of_row(row: Sequence[float]) -> TrackCounts:
    """The track counts that `counts_as_row` wrote."""
    n_clips, n_frames, n_truth, n_predicted, n_matched, n_switches, distance, n_identity, *arrays = row
    matched, association, overlap = np.array(arrays, np.float64).reshape(3, -1)
    return TrackCounts(
        n_clips=int(n_clips),
        n_frames=int(n_frames),
        n_truth=int(n_truth),
        n_predicted=int(n_predicted),
        n_matched=int(n_matched),
        n_switches=int(n_switches),
        distance=distance,
        n_identity=int(n_identity),
        hota_matched=matched.astype(np.int64),
        hota_association=association,
        hota_overlap=overlap,
    )


def score_stream(inputs: StreamInputs, entry: Entry, modality: Modality) -> ScoredStream:
    """Score one stream: quality against its truth, latency from its log, and what was on the screen.

    Args:
        inputs: of the stream.
        entry: of the build whose model gave the outputs.
        modality: whose conditions the frames have.
    """
    log = DeviceLog(inputs.log, inputs.period_ms, inputs.refresh_hz)
    is_own = inputs.of_drop.is_own
    quality, boxes = _qualities(inputs, entry, log)
    values = [*quality.clip]
    if boxes is not None and boxes is not quality:
        values += [value for value in boxes.clip if value.metric != "loss"]
        quality.tracks = boxes.tracks
        quality.put("box_f1", boxes.values.get("box_f1", {}).items())
    frames = _frame_rows(inputs, quality, log, requirement=entry.requirement, modality=modality)
    values += [*_shares(frames), *log.clip_values(), *log.display_values(quality)]
    if not is_own:
        values = [value for value in values if not VIDEO_METRICS_BY_NAME[value.metric].is_of_device]
    return ScoredStream(frames, tuple(values), None if boxes is None else boxes.counts)


def _qualities(inputs: StreamInputs, entry: Entry, log: DeviceLog) -> tuple[StreamQuality, StreamQuality | None]:
    """The quality of the outputs, and that of the device's boxes, which stand for it where there is no other."""
    pairs = log.shown_pairs()
    depth = (HELD_FRAMES, HELD_PICTURES) if pairs else (0, 0)
    boxes = _box_quality(inputs, depth=depth[0], pairs=pairs)
    if entry.output == "mask" and inputs.numbers("masks"):
        return (
            score_masks_of(
                inputs.masks(),
                inputs.of_drop.classes,
                masks_alone=lambda: inputs.masks(with_pictures=False),
                are_instances=inputs.clip.get("mask_kind") == "instances",
                output_classes=entry.classes,
                depth=depth[0],
                pairs=pairs,
            ),
            boxes,
        )
    if entry.output == "landmarks" and inputs.has_landmarks:
        return score_landmarks_of(inputs.landmarks(), depth=depth[0], pairs=pairs), boxes
    if entry.output == "depth" and inputs.numbers("depth"):
        return score_depth_of(inputs.planes("depth"), depth=depth[1], pairs=pairs), boxes
    if entry.output == "image" and inputs.has_references:
        return score_images_of(inputs.planes("references"), depth=depth[1], pairs=pairs), boxes
    if boxes is not None:
        return boxes, boxes
    return StreamQuality("", clip=[ClipValue("loss", None, reason="no truth of what the build gives")]), None


def _box_quality(inputs: StreamInputs, *, depth: int, pairs: list[tuple[int, int]]) -> StreamQuality | None:
    """The quality of the boxes that a device recorded; they are those of its own build alone."""
    truth, device = inputs.of_drop.boxes(inputs.name, "truth"), inputs.of_drop.boxes(inputs.name, "device")
    if not inputs.of_drop.is_own or not truth or not device:
        return None
    dropped = inputs.log.filter("is_dropped")["frame_number"].to_list()
    return score_boxes_of(truth, device, numbers=inputs.frame_numbers, without_result=dropped, depth=depth, pairs=pairs)


def _shares(frames: "pl.DataFrame") -> Iterator[ClipValue]:
    """Frames that miss the requirement, and frames without output, of those with a truth."""
    judged, has_truth = frames["is_miss"].drop_nulls(), frames.filter(frames["status"] != NO_TRUTH)
    nothing = "no frame has a truth of what the build gives"
    yield rate("miss_rate", int(judged.sum()), len(judged), nothing=nothing if not has_truth.height else "no output")
    n = int(has_truth["status"].is_in(WITHOUT_OUTPUT).sum())
    yield rate("no_output", n, has_truth.height, nothing=nothing)


def _frame_rows(
    inputs: StreamInputs, quality: StreamQuality, log: DeviceLog, *, requirement: float, modality: Modality
) -> "pl.DataFrame":
    """Put a stream's frames together: their circumstances, latency and quality.

    Args:
        inputs: of the stream.
        quality, log: what was measured of it.
        requirement: of the build.
        modality: whose conditions the frames have.
    """
    import polars as pl

    table = of_modality(FRAME_SCORES, modality)
    conditions = [item.name for item in modality.conditions]
    first = inputs.log.unique("frame_number", keep="first", maintain_order=True)
    rows = inputs.frames.drop("status", "drop_id").join(
        first.select("frame_number", "frame", *conditions), on="frame_number", how="left"
    )
    rows = rows.join(log.frame_columns(), on="frame_number", how="left").join(
        _quality_rows(inputs, quality, has_log=log.shown is not None), on="frame_number", how="left"
    )
    device = inputs.of_drop.devices.get(inputs.device_id or "", {})
    banded = [
        item.bands.of(pl.col(item.name)).alias(item.bands.column)
        for item in (*modality.conditions, *modality.measured)
        if item.bands
    ]
    was_seen = pl.col("picture_status") == OK
    failed = was_seen & pl.col("status").is_in(FAILED) & ~pl.col("is_dropped").fill_null(value=False)
    rows = rows.join(
        inputs.frames.select("frame_number", picture_status="status"), on="frame_number", how="left"
    ).with_columns(
        *banded,
        pl.lit(inputs.of_drop.build).alias("build_id"),
        pl.lit(inputs.of_drop.drop).alias("drop_id"),
        pl.lit(inputs.device_id, pl.String).alias("device_id"),
        pl.lit(inputs.clip.get("subject_id"), pl.String).alias("subject_id"),
        pl.lit(device.get("device_model"), pl.String).alias("device_model"),
        pl.lit(device.get("os_version"), pl.String).alias("os_version"),
        pl.lit(inputs.clip.get("scene"), pl.String).alias("scene"),
        pl.when(pl.col("loss").is_not_null())
        .then(1 - pl.col("loss") < requirement)
        .when(failed)
        .then(statement=True)
        .alias("is_miss"),
        pl.when(pl.col("loss").is_not_null()).then(pl.lit(quality.kind, pl.String)).alias("loss_kind"),
    )
    return rows.select(table.names).sort("frame_number")


def _quality_rows(inputs: StreamInputs, quality: StreamQuality, *, has_log: bool) -> "pl.DataFrame":
    import polars as pl

    numbers, held = inputs.frame_numbers, quality.held
    rows = [held.of(number) if held is not None and has_log else None for number in numbers]
    columns = {name: [quality.values.get(name, {}).get(n) for n in numbers] for name in QUALITY_COLUMNS}
    return pl.DataFrame(
        {
            "frame_number": numbers,
            "status": [quality.status.get(number, NO_TRUTH) for number in numbers],
            **columns,
            "held_losses": [
                None if row is None else [None if math.isnan(v) else v for v in row.tolist()] for row in rows
            ],
        },
        schema={
            "frame_number": pl.Int64,
            "status": pl.String,
            **dict.fromkeys(QUALITY_COLUMNS, pl.Float64),
            "held_losses": pl.List(pl.Float64),
        },
    )
