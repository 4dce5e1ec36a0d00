"""A small synthetic evaluation of video: eight clips of two drops, two models, and a build that lags on fast motion.

In every clip a disc crosses a textured picture; the build's masks are those of some frames ago. What follows from the
masks is counted here, and written as the stages of video write it.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.tables import (
    BOXES,
    CLIPS,
    DEVICES,
    DROP_FILES,
    FRAME_INDEX,
    LANDMARKS,
    MASK_CLASSES,
    MEDIA_INDEX,
    QUARANTINE_PARSE,
    QUARANTINE_VALIDATE,
    RAW_CLIPS,
    RAW_STREAM_FRAMES,
    RAW_SUBJECTS,
    SUBJECTS,
)
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.inference.video.entry import VideoEntry
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store, open_store
from cv_quality.metrics.video.clips import ClipInterval, clip_interval, compare_clips
from cv_quality.modality import of_modality
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource, Section
from cv_quality.studies.policy import load_policy
from cv_quality.tasks.release.stage import write_verdicts
from cv_quality.tasks.root_causes import tables as causes
from cv_quality.tasks.video import tables as video
from cv_quality.tasks.video.build_metrics import read_evidence
from cv_quality.tasks.video.clip_walk import StreamPicture
from cv_quality.tasks.video.modality import CONDITIONS, MEASURED, VIDEO_MODALITY
from cv_quality.tasks.video.populations import attempt_id, frame_of_attempt
from cv_quality.tasks.video.report.root_causes import read_frame_causes
from cv_quality.tasks.video.report.sections import FRAMES, ROOT_CAUSES, SECTIONS
from cv_quality.tasks.video.report.strips import read_worst_frames

BUILD, BASELINE = "segment-1.2", "segment-1.1"
DROPS = ("2026-09-01_segment-1.2_lab", "2026-09-02_segment-1.2_street")
CLIPS_A_DROP, N_FRAMES, RATE_HZ, DEADLINE_MS = 4, 60, 30.0, 50.0
WIDTH, HEIGHT, RADIUS = 96, 64, 12
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
MODELS = ("Phone-3", "Tablet-2")
LAG = {BUILD: 4, BASELINE: 1}
SCORES = of_modality(video.FRAME_SCORES, VIDEO_MODALITY)

Row = dict[str, Any]
Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: how fast its disc moves, what filmed it, and who agreed to be shown."""

    place: int

    @property
    def drop(self) -> str:
        return DROPS[self.place // CLIPS_A_DROP]

    @property
    def stream(self) -> str:
        return f"clip-{self.place:02d}"

    @property
    def speed(self) -> float:
        return (0.3, 1.0, 2.6, 0.6)[self.place % 4]

    @property
    def device(self) -> int:
        return self.place % 2

    @property
    def subject(self) -> str | None:
        return f"subject-{self.place}" if self.place in (2, 3) else None

    @property
    def has_consent(self) -> bool:
        return self.place != 6

    def temperature(self, frame: int) -> float:
        return 31.0 + 8.0 * self.device + frame / 10

    def thermal_state(self, frame: int) -> str:
        warm = self.temperature(frame)
        return "nominal" if warm < 38 else "fair" if warm < 42 else "serious"


CLIPS_MADE = tuple(map(Clip, range(2 * CLIPS_A_DROP)))
AT_BASELINE_WORSE = (7,)
"""Clips on which it is the baseline that is worse."""


@cache
def truth(stream: str, frame: int) -> Mask:
    """The disc of one frame; label 1 within, 255 (ignored) on a strip to the right."""
    clip = next(item for item in CLIPS_MADE if item.stream == stream)
    x = WIDTH / 2 + 26 * np.sin(clip.speed * frame / 12)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = (columns - x) ** 2 + (rows - HEIGHT / 2) ** 2 <= RADIUS**2
    mask: Mask = inside.astype(np.uint8)
    mask[:, -4:] = 255
    return mask


def output(clip: Clip, frame: int, model: str) -> Mask:
    """What a model gives: the disc of some frames ago."""
    lag = LAG[model] + (6 if model == BASELINE and clip.place in AT_BASELINE_WORSE else 0)
    found: Mask = (truth(clip.stream, max(frame - lag, 0)) == 1).astype(np.uint8)
    return found


def picture(stream: str, frame: int) -> NDArray[np.uint8]:
    """The picture of a frame: a bright disc over a texture."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    texture = (70 + 30 * np.sin(columns / 5) + 25 * np.cos(rows / 7)).astype(np.uint8)
    shown = np.stack([texture, texture + 10, texture + 25], axis=-1)
    shown[truth(stream, frame) == 1] = (214, 190, 150)
    return shown


class MadePictures:
    """The pictures of a drop, made instead of decoded."""

    def frames(self, stream: str) -> Iterator[StreamPicture]:
        for number in range(N_FRAMES):
            yield StreamPicture(number, number, "ok", number / RATE_HZ, picture(stream, number))

    def truth(self, stream: str, frame: int, *, size: tuple[int, int]) -> Mask | None:
        assert size == (HEIGHT, WIDTH)
        return truth(stream, frame)

    def labels(self, content: str, stream: str, frame: int) -> Mask | None:
        raise AssertionError(f"nothing was recorded: {content} of {stream}, {frame}")


def region_iou(mask: Mask, against: Mask) -> float:
    counts = against != 255
    true, found = (against == 1) & counts, (mask == 1) & counts
    return float(np.count_nonzero(true & found) / np.count_nonzero(true | found))


def frame(table: Table, rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as a frame with the table's types; columns that a row does not name are null."""
    empty = pl.from_arrow(table.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    full = [{name: row.get(name) for name in table.names} for row in rows]
    return pl.DataFrame(full, schema=empty.schema, orient="row")


@dataclass(frozen=True, slots=True)
class VideoCase:
    """A filled lake and what a page of it needs."""

    lake: Lake
    landing: Store
    entry: VideoEntry
    root: Path

    def source(self, baseline: str | None = BASELINE) -> ReportSource:
        return ReportSource(
            lake=self.lake,
            landing=self.landing,
            scope=Scope(BUILD, baseline, DROPS),
            entry=self.entry,
            modality=VIDEO_MODALITY,
            gates=("score_frames",),
        )

    def edit(self, table: Table, key: TableKey, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Replace a table's rows by what `edit` makes of them."""
        self.lake.write(table, key, edit(self.lake.read(table, key)))

    def edit_scores(self, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Edit the scores of every frame, of both models."""
        for model in (BUILD, BASELINE):
            for drop in DROPS:
                self.edit(SCORES, TableKey(build=model, drop=drop), edit)


def make_video_case(root: Path) -> VideoCase:
    lake, landing = Lake(open_store(str(root / "lake"))), open_store(str(root / "landing"))
    for drop in DROPS:
        _write_drop(lake, drop)
        for model in (BUILD, BASELINE):
            _write_scores(lake, drop=drop, model=model)
    _write_metrics(lake)
    write_causes(lake)
    return VideoCase(lake, landing, _entry(), root)


def _entry() -> VideoEntry:
    return VideoEntry(
        build_id=BUILD,
        task="video",
        modality="video",
        follows=BASELINE,
        format="onnx",
        file="segment.onnx",
        sha256="cd" * 32,
        output="mask",
        preprocessing=(),
        classes={"disc": (1,)},
    )


def _origin(drop: str, line: int) -> Row:
    return {"drop_id": drop, "source_file": "events-000.jsonl.zst", "source_line": line}


def _write_drop(lake: Lake, drop: str) -> None:
    own = [clip for clip in CLIPS_MADE if clip.drop == drop]
    rows: dict[Table, list[Row]] = {
        DROP_FILES: [_files(drop)],
        DEVICES: [
            {"event_id": f"d-{n}", "occurred_at": NOON, "device_id": f"device-{n}", "device_model": name}
            | _origin(drop, n + 1)
            for n, name in enumerate(MODELS)
        ],
        CLIPS: [_clip(clip) for clip in own],
        SUBJECTS: [_subject(drop, clip.subject) for clip in own if clip.subject],
        MASK_CLASSES: [
            {"event_id": f"m-{label}", "occurred_at": NOON, "label": label, "class_name": name, "is_ignored": ignored}
            | _origin(drop, 30 + label)
            for label, name, ignored in ((0, None, False), (1, "disc", False), (255, None, True))
        ],
        BOXES: [],
        LANDMARKS: [],
        MEDIA_INDEX: [],
        FRAME_INDEX: [],
        RAW_STREAM_FRAMES: [],
        QUARANTINE_PARSE: [],
        QUARANTINE_VALIDATE: [],
        video.CLIP_FILES: [_clip_file(clip) for clip in own],
        video.CLIP_SPANS: [
            {
                "drop_id": clip.drop,
                "stream_id": clip.stream,
                "kind": "quarantined",
                "code": "corrupt_frame",
                "first_frame": 17,
                "n_frames": 2,
                "start_s": 17 / RATE_HZ,
                "end_s": 19 / RATE_HZ,
                "detail": "expected a frame that decodes, found one whose parts were guessed",
            }
            for clip in own
            if clip.place == 1
        ],
    }
    rows[RAW_CLIPS], rows[RAW_SUBJECTS] = rows[CLIPS], rows[SUBJECTS]
    for table, found in rows.items():
        table = of_modality(table, VIDEO_MODALITY)
        lake.write(table, TableKey(drop=drop), frame(table, found))


def _files(drop: str) -> Row:
    return {
        "drop_id": drop,
        "build_id": BUILD,
        "site": drop.rsplit("_", 1)[1],
        "modality": "video",
        "protocol": "enrolled",
        "captured_from": NOON,
        "captured_until": NOON.replace(hour=18),
        "manifest_sha256": hashlib.sha256(drop.encode()).hexdigest(),
        "file": "events-000.jsonl.zst",
        "content": "events",
        "bytes": 1_000,
        "rows_declared": 250,
        "rows_in": 250,
        "rows_valid": 250,
        "rows_quarantined": 0,
        "rows_forgotten": 0,
    }


def _clip(clip: Clip) -> Row:
    return {
        "event_id": f"c-{clip.place}",
        "occurred_at": NOON,
        "stream_id": clip.stream,
        "device_id": f"device-{clip.device}",
        "subject_id": clip.subject,
        "clip": f"{clip.stream}.mp4",
        "scene": f"scene {clip.place}",
        "frame_rate_hz": RATE_HZ,
        "mask_kind": "classes",
        "has_image_consent": clip.has_consent,
    } | _origin(clip.drop, 10 + clip.place)


def _subject(drop: str, subject: str) -> Row:
    said = {"event_id": f"s-{subject}", "occurred_at": NOON, "subject_id": subject, "has_image_consent": True}
    return said | _origin(drop, 20)


def _clip_file(clip: Clip) -> Row:
    damaged, is_first = clip.place == 1, clip.place == 0
    return {
        "drop_id": clip.drop,
        "stream_id": clip.stream,
        "status": "ok",
        "codec": "h264",
        "width_px": WIDTH,
        "height_px": HEIGHT,
        "rotation_deg": 0,
        "n_frames": N_FRAMES,
        "n_quarantined": 2 * damaged,
        "n_missing": 0,
        "n_bad_truth": 0,
        "n_untimed": 0,
        "n_backward": 0,
        "n_off_grid": 0,
        "n_dropped": 5 * is_first,
        "n_repeated": 3 * is_first,
        "n_frozen": 29 * is_first,
        "n_freezes": int(is_first),
        "frozen_s": 1.0 * is_first,
        "rate_hz": RATE_HZ,
        "rate_drift": -0.012,
    }


def _write_scores(lake: Lake, *, drop: str, model: str) -> None:
    own = [clip for clip in CLIPS_MADE if clip.drop == drop]
    key = TableKey(build=model, drop=drop)
    lake.write(SCORES, key, frame(SCORES, [_score(clip, n, model) for clip in own for n in range(N_FRAMES)]))
    outputs = [_prediction(clip, n, model) for clip in own for n in range(N_FRAMES)]
    lake.write(video.PREDICTIONS, key, frame(video.PREDICTIONS, outputs))


def _latency(clip: Clip, number: int) -> float | None:
    if (number * 7 + clip.place) % 31 == 0:
        return None
    heat = max(clip.temperature(number) - 36, 0.0)
    return 24.0 + 3.5 * heat + (number * 11 + clip.place * 3) % 13


def _score(clip: Clip, number: int, model: str) -> Row:
    j = region_iou(output(clip, number, model), truth(clip.stream, number))
    latency, moved = _latency(clip, number), clip.speed * 26 / 12 / np.hypot(WIDTH, HEIGHT)
    values: Row = {
        "illuminance_lux": (8.0, 300.0)[clip.place % 2],
        "rotation_deg_s": 4.0,
        "thermal_state": clip.thermal_state(number),
        "condition_label": None,
        "brightness": 90.0,
        "contrast": 24.0,
        "sharpness": 130.0,
        "motion_share": moved / 3,
        "object_motion_share": moved,
        "object_share": 0.07,
        "n_objects": 1,
        "is_at_border": False,
        "overlap_share": None,
    }
    bands = {
        item.bands.column: next(
            (name for edge, name in zip(item.bands.edges, item.bands.names, strict=False) if values[item.name] < edge),
            item.bands.names[-1],
        )
        for item in (*CONDITIONS, *MEASURED)
        if item.bands
    }
    return {
        "build_id": model,
        "drop_id": clip.drop,
        "stream_id": clip.stream,
        "frame_number": number,
        "device_id": f"device-{clip.device}",
        "subject_id": clip.subject,
        **values,
        **bands,
        "device_model": MODELS[clip.device],
        "os_version": "19.1",
        "scene": f"scene {clip.place}",
        "time_s": number / RATE_HZ,
        "capture_ms": 1_000 * number / RATE_HZ,
        "latency_ms": latency,
        "deadline_ms": DEADLINE_MS,
        "is_dropped": latency is None,
        "is_late": latency is None or latency > DEADLINE_MS,
        "temperature_c": clip.temperature(number),
        "status": "ok",
        "j": j,
        "f": min(1.0, j + 0.05),
        "tc": j,
        "tc_ceiling": 0.62 if clip.place == 5 else 0.95,
        "loss_kind": "mask",
        "loss": 1 - j,
        "is_miss": j < 0.5,
    }


def _prediction(clip: Clip, number: int, model: str) -> Row:
    buffer = io.BytesIO()
    Image.fromarray(output(clip, number, model)).save(buffer, format="PNG")
    return {
        "build_id": model,
        "drop_id": clip.drop,
        "stream_id": clip.stream,
        "frame_number": number,
        "status": "ok",
        "output": "mask",
        "picture": buffer.getvalue(),
        "model_sha256": "cd" * 32,
    }


def clip_values(lake: Lake, model: str) -> dict[str, dict[str, float]]:
    """Values of every clip under a model, by metric."""
    keys = [TableKey(build=model, drop=drop) for drop in DROPS]
    rows = lake.scan(SCORES, keys).collect()
    latency = pl.col("latency_ms").fill_null(float("inf"))
    found = rows.group_by("stream_id").agg(
        pl.col("j").mean().alias("j"),
        pl.col("f").mean().alias("f"),
        (1 - pl.col("j").mean() + 0.04).alias("display_loss"),
        *(latency.quantile(q, "higher").alias(f"latency_p{round(100 * q)}_ms") for q in (0.5, 0.95)),
        pl.col("is_late").mean().alias("deadline_misses"),
        pl.col("is_dropped").mean().alias("dropped"),
    )
    names = [name for name in found.columns if name != "stream_id"]
    return {name: dict(found.select("stream_id", name).sort("stream_id").iter_rows()) for name in names}


HIGHER = {"j", "f"}


def _interval(values: Sequence[float]) -> Row:
    parts = np.column_stack([values, np.ones(len(values))])
    return _columns(clip_interval(parts, lambda sums: sums[:, 0] / sums[:, 1], replicates=200))


def _columns(found: ClipInterval) -> Row:
    kept = ("value", "low", "high", "n_clips", "n_left_out", "method", "reason")
    return {name: getattr(found, name) for name in kept}


def _replays(by_model: dict[str, dict[str, dict[str, float]]]) -> list[Row]:
    return [
        {
            "model_build_id": model,
            "replay": replay,
            "loss": algorithm + lateness,
            "algorithm": algorithm,
            "lateness": lateness,
            "lateness_low": lateness - 0.01,
            "lateness_high": lateness + 0.01,
            "dropped": 0.03,
            "n_clips": len(CLIPS_MADE),
            "method": "as logged",
        }
        for model, found in by_model.items()
        for algorithm in [1 - float(np.mean(list(found["j"].values())))]
        for replay, lateness in (
            ("as logged", 0.061),
            ("no latency", 0.0),
            ("twice as fast", 0.032),
            ("latencies of a hot phone", 0.118),
        )
    ]


def _write_metrics(lake: Lake) -> None:
    by_model = {model: clip_values(lake, model) for model in (BUILD, BASELINE)}
    drop_of = {clip.stream: clip.drop for clip in CLIPS_MADE}
    metrics, changes, clips = list[Row](), list[Row](), list[Row]()
    for model, found in by_model.items():
        for metric, values in found.items():
            levels = {("all", "all"): list(values.values())} | {
                ("device_model", name): [values[clip.stream] for clip in CLIPS_MADE if clip.device == n]
                for n, name in enumerate(MODELS)
            }
            for (dimension, level), own in levels.items():
                row = {"model_build_id": model, "metric": metric, "dimension": dimension, "level": level}
                metrics.append(row | _interval(own))
    for metric, after in by_model[BUILD].items():
        compared = compare_clips(by_model[BASELINE][metric], after, is_higher_better=metric in HIGHER)
        changes.append(
            {
                "metric": metric,
                "is_higher_better": metric in HIGHER,
                **_columns(compared.change),
                "n_improved": len(compared.improvements),
                "n_regressed": len(compared.regressions),
                "verdict": compared.verdict,
            }
        )
        clips += [
            {
                "drop_id": drop_of[item.clip],
                "stream_id": item.clip,
                "metric": metric,
                "baseline": item.baseline,
                "candidate": item.candidate,
                "change": item.change,
            }
            for item in (*compared.regressions, *compared.improvements)
        ]
    against = {"build_id": BUILD, "baseline_build_id": BASELINE}
    key = TableKey(build=BUILD)
    for table, rows in (
        (video.VIDEO_METRICS, metrics),
        (video.VIDEO_CHANGES, changes),
        (video.CLIP_CHANGES, clips),
        (video.DISPLAY_REPLAYS, _replays(by_model)),
    ):
        lake.write(
            table,
            key,
            frame(table, [against | row for row in rows]),
        )
    write_verdicts(lake, BUILD, "video", read_evidence(lake, BUILD), load_policy(None))


FAST = Slice((Predicate("object_motion_share", ">", 0.03),))
TABLETS = Slice((Predicate("device_model", "==", "Tablet-2"),))
EXAMPLE = (attempt_id(CLIPS_MADE[2].stream, 30), attempt_id(CLIPS_MADE[1].stream, 30))
HIDDEN_EXAMPLE = attempt_id(CLIPS_MADE[6].stream, 30)


def _changes(own: pl.DataFrame, before: pl.DataFrame, fast: Row) -> list[Row]:
    misses = int(own.filter(FAST.expression())["is_miss"].sum())
    whole, whole_before = int(own["is_miss"].sum()), int(before["is_miss"].sum())
    fast_change = (misses - int(before.filter(FAST.expression())["is_miss"].sum())) / own.height
    change = (whole - whole_before) / own.height
    return [
        {
            "baseline_build_id": BASELINE,
            "comparison": "algorithm",
            "part": part,
            "condition": words,
            "where_json": fast["where_json"] if part == 1 else None,
            "failures_before": whole_before,
            "attempts_before": own.height,
            "failures_after": whole,
            "attempts_after": own.height,
            "mix": 0.0,
            "rate": value,
            "change": value,
            **{
                f"{name}_{bound}": sign * 0.06 + (0 if name == "mix" else value)
                for name in ("mix", "rate", "change")
                for bound, sign in (("low", -1), ("high", 1))
            },
            "n_subjects": len(CLIPS_MADE),
            "n_paired": len(CLIPS_MADE),
            "method": "bootstrap by clip, 95 %",
        }
        for part, words, value in (
            (0, "all attempts", change),
            (1, fast["condition"], fast_change),
            (2, "the rest", change - fast_change),
        )
    ]


def _examples() -> list[Row]:
    return [
        {"outcome": "miss", "rank": 1, "role": role, "position": position, "drop_id": drop, "attempt_id": frame}
        | {"subject_id": frame_of_attempt(frame)[0]}
        for role, position, drop, frame in (
            ("failure", 1, DROPS[0], EXAMPLE[0]),
            ("nearest_pass", 1, DROPS[0], EXAMPLE[1]),
            ("failure", 2, DROPS[1], HIDDEN_EXAMPLE),
        )
    ]


def write_causes(lake: Lake) -> None:
    """Write why the build fails: fast objects, which explain away what looks bad of tablets."""
    own, before = (
        lake.scan(SCORES, [TableKey(build=model, drop=drop) for drop in DROPS]).collect() for model in (BUILD, BASELINE)
    )
    inside = own.filter(FAST.expression())
    misses, rate = int(inside["is_miss"].sum()), float(inside["is_miss"].mean())  # type: ignore[arg-type]
    rest = own.filter(~FAST.expression())["is_miss"].mean()
    whole = int(own["is_miss"].sum())
    counts = {"n_attempts": own.height, "n_subjects": len(CLIPS_MADE), "seed": 0, "skipped_json": "{}"}
    searches = [
        {
            "outcome": name,
            **counts,
            "n_failures": n,
            "base_rate": n / own.height,
            "n_slices": slices,
            "conclusion": told,
        }
        for name, n, slices, told in (
            ("miss", whole, 1, "1 slice is confirmed on clips that did not help to find it."),
            ("late", int(own["is_late"].sum()), 0, "Nothing is confirmed."),
        )
    ]
    fast: Row = {
        "outcome": "miss",
        "finding": "confirmed",
        "rank": 1,
        "condition": "objects move more than 0.03 of the diagonal a frame",
        "where_json": json.dumps(FAST.to_list()),
        "sentence": "Frames in which objects move more than 0.03 of the diagonal fail more than the rest.",
        "rate": rate,
        "low": max(rate - 0.1, 0.0),
        "high": min(rate + 0.1, 1.0),
        "numerator": misses,
        "denominator": inside.height,
        "rest_rate": rest,
        "support": inside.height,
        "n_subjects": inside["stream_id"].n_unique(),
        "p_adjusted": 0.0003,
        "share_of_failures": misses / whole,
        "stability": 1.0,
    }
    away = fast | {
        "finding": "explained_away",
        "condition": "device_model is Tablet-2",
        "where_json": json.dumps(TABLETS.to_list()),
        "rate": 0.31,
        "rate_after": 0.08,
        "explained_by": fast["condition"],
    }
    few = fast | {"finding": "insufficient", "condition": "scene is scene 3", "n_subjects": 1}
    trends = [
        {
            "outcome": "miss",
            "rank": 1,
            "trend_build_id": model,
            "value": n / rows.height,
            "numerator": n,
            "denominator": rows.height,
            "low": max(n / rows.height - 0.1, 0.0),
            "high": min(n / rows.height + 0.1, 1.0),
            "n_subjects": 2,
        }
        for model, rows in ((BUILD, inside), (BASELINE, before.filter(FAST.expression())))
        for n in [int(rows["is_miss"].sum())]
    ]
    for table, rows in (
        (causes.SLICE_SEARCHES, searches),
        (causes.FAILURE_SLICES, [fast, away, few]),
        (causes.SLICE_TRENDS, trends),
        (causes.EXAMPLES, _examples()),
        (causes.CHANGE_ATTRIBUTION, _changes(own, before, fast)),
        (causes.FAILURE_CLUSTERS, []),
        (video.VIDEO_COUNTERFACTUALS, [_brighter(str(fast["condition"]))]),
    ):
        lake.write(table, TableKey(build=BUILD), frame(table, [{"build_id": BUILD, **row} for row in rows]))


def _brighter(condition: str) -> Row:
    change = {"loss_before": 0.75, "loss_after": 0.5, "value": -0.25, "low": -0.375, "high": -0.125}
    counts = {"n_frames": 24, "n_clips": 6, "n_recovered": 13, "n_lost": 0}
    return {"rank": 1, "condition": condition, "change": "every second frame dropped"} | change | counts


def open_made(_source: ReportSource, _drop: str) -> MadePictures:
    return MadePictures()


_MADE: dict[str, Section[Any]] = {
    "frames": replace(FRAMES, read=partial(read_worst_frames, open_pictures=open_made)),
    "why": replace(ROOT_CAUSES, read=partial(read_frame_causes, open_pictures=open_made)),
}
SECTIONS_OF_MADE: tuple[Section[Any], ...] = tuple(_MADE.get(item.id, item) for item in SECTIONS)
"""The sections of the page, with pictures that are made."""
