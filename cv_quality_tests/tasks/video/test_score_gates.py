"""The gates of scores and metrics of video: what is measured passes, and each rule catches what it is for."""

from collections.abc import Callable

import polars as pl
import pytest

from cv_quality.gates.runner import run_gate
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.modality import of_modality
from cv_quality.tasks.video.build_metrics import VideoSummary
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.tables import (
    CLIP_CHANGES,
    CLIP_SCORES,
    DISPLAY_REPLAYS,
    FRAME_SCORES,
    PREDICTIONS,
    VIDEO_CHANGES,
    VIDEO_METRICS,
)
from cv_quality.tasks.video.task import VIDEO
from cv_quality_tests.tasks.video.scored_drops import BUILD, ScoredSite
from cv_quality_tests.tasks.video.video_drops import VIDEO_DROP

Change = Callable[[pl.DataFrame], pl.DataFrame]


def broken(made: ScoredSite, stage: str) -> set[str]:
    """The rules of a stage's gate that the tables break."""
    key = TableKey(build=BUILD, drop=None if stage == "measure_video" else VIDEO_DROP)
    return {item.name for item in run_gate(made.lake, VIDEO.stage(stage).suite(VIDEO_MODALITY), key).failures}


@pytest.mark.parametrize("stage", ["predict", "score_frames", "measure_video"])
def test_what_is_measured_passes(measured: tuple[ScoredSite, VideoSummary], stage: str) -> None:
    made, _ = measured
    assert broken(made, stage) == set()


def where(metric: str, **values: float | None) -> Change:
    """Change a metric's row over all."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        here = pl.col("metric") == metric
        kinds = rows.schema
        return rows.with_columns(
            pl.when(here).then(pl.lit(value, kinds[name])).otherwise(pl.col(name)).alias(name)
            for name, value in values.items()
        )

    return change


def recorded(rows: pl.DataFrame) -> pl.DataFrame:
    """As if devices had written the pictures; the first frame's result lies in events."""
    is_first = pl.int_range(pl.len()) == 0
    return rows.with_columns(
        status=pl.lit("as_recorded"),
        model_sha256=pl.lit(None, pl.String),
        picture=pl.when(~is_first).then(pl.col("picture")),
    )


def first(**values: object) -> Change:
    """Change the first row."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        kinds = rows.schema
        place = pl.int_range(pl.len()) == 0
        return rows.with_columns(
            pl.when(place).then(pl.lit(value, kinds[name])).otherwise(pl.col(name)).alias(name)
            for name, value in values.items()
        )

    return change


@pytest.mark.parametrize(
    ("stage", "table", "change", "rule"),
    [
        (
            "predict",
            PREDICTIONS,
            lambda rows: rows[1:],
            "every frame of a clip has its output, and no other frame has one",
        ),
        ("predict", PREDICTIONS, first(picture=None), "an output of a model exists exactly when the status is ok"),
        (
            "predict",
            PREDICTIONS,
            first(status="missing_frame"),
            "an output of a model exists exactly when the status is ok",
        ),
        ("predict", PREDICTIONS, recorded, ""),
        (
            "score_frames",
            FRAME_SCORES,
            lambda rows: rows[1:],
            "every frame of a clip is scored, and no other frame is",
        ),
        ("score_frames", FRAME_SCORES, first(loss=0.9), "the loss of a clip is the mean of its frames"),
        ("score_frames", FRAME_SCORES, first(loss=None), "a frame without a loss says why, and one with a loss is ok"),
        ("score_frames", FRAME_SCORES, first(is_dropped=True), "a dropped frame is late, and has no latency"),
        ("score_frames", FRAME_SCORES, first(is_late=True), "a frame is late when its latency exceeds its deadline"),
        (
            "score_frames",
            CLIP_SCORES,
            where("display_lateness", value=0.5),
            "the loss on the screen is that of the algorithm and of lateness",
        ),
        ("score_frames", CLIP_SCORES, where("jitter_px", value=None), ""),
        ("score_frames", CLIP_SCORES, where("tc", value=None, reason=None), "a missing value says why"),
        ("score_frames", CLIP_SCORES, where("late", numerator=99.0), "a part never exceeds the whole"),
        ("measure_video", VIDEO_METRICS, where("j", low=0.99), "the value lies within its interval"),
        ("measure_video", VIDEO_METRICS, where("j", value=None, reason=None), "a missing value or bound says why"),
        ("measure_video", VIDEO_METRICS, where("late", value=0.9), "a rate is its numerator over its denominator"),
        ("measure_video", CLIP_CHANGES, first(change=0.7), "a change is candidate - baseline"),
        ("measure_video", VIDEO_CHANGES, where("j", n_improved=6), "clips that changed are no more than were compared"),
        ("measure_video", VIDEO_CHANGES, where("j", value=-0.001), "the mean change is that of the clips"),
        (
            "measure_video",
            DISPLAY_REPLAYS,
            first(lateness=0.9),
            "the loss on the screen is that of the algorithm and of lateness",
        ),
    ],
)
def test_each_rule_catches_what_it_is_for(
    measured: tuple[ScoredSite, VideoSummary], stage: str, table: Table, change: Change, rule: str
) -> None:
    made, _ = measured
    whole = of_modality(table, VIDEO_MODALITY)
    key = TableKey(build=BUILD, drop=VIDEO_DROP if table.key == "build_drop" else None)
    rows = made.lake.read(whole, key)
    try:
        made.lake.write(whole, key, change(rows))
        found = broken(made, stage)
    finally:
        made.lake.write(whole, key, rows)
    assert rule in found if rule else not found
