"""Metrics of a build over its clips, its changes against a baseline and replays, against plain sums over clips."""

from pathlib import Path

import polars as pl
import pytest

from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.tasks.video.build_metrics import VideoSummary, measure_clips
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.tables import (
    CLIP_CHANGES,
    CLIP_SCORES,
    DISPLAY_REPLAYS,
    FRAME_SCORES,
    VIDEO_CHANGES,
    VIDEO_METRICS,
)
from cv_quality_tests.tasks.video.scored_drops import BASELINE, BUILD, N, ScoredSite, scored_site, square
from cv_quality_tests.tasks.video.video_drops import VIDEO_DROP


def rows_of(made: ScoredSite, table: Table) -> pl.DataFrame:
    return made.lake.read(table, TableKey(build=BUILD))


def test_a_metric_is_the_mean_over_clips_with_an_interval_by_clip(measured: tuple[ScoredSite, VideoSummary]) -> None:
    made, _ = measured
    clips = made.scored(CLIP_SCORES).filter(metric="j", class_name="all")["value"]
    row = rows_of(made, VIDEO_METRICS).row(
        by_predicate=(pl.col("metric") == "j") & (pl.col("dimension") == "all") & (pl.col("model_build_id") == BUILD),
        named=True,
    )
    assert row["value"] == pytest.approx(clips.mean())
    assert row["low"] < row["value"] < row["high"]
    assert (row["n_clips"], row["n_left_out"]) == (6, 0)


def test_a_rate_adds_up_over_clips_and_levels(measured: tuple[ScoredSite, VideoSummary]) -> None:
    made, _ = measured
    rows = rows_of(made, VIDEO_METRICS).filter(metric="deadline_misses", model_build_id=BUILD)
    whole = rows.filter(dimension="all").row(0, named=True)
    assert (whole["numerator"], whole["denominator"]) == (6 * 2, 6 * N)
    levels = rows.filter(dimension="thermal_state").sort("level")
    assert levels.select("level", "numerator", "denominator").rows() == [("nominal", 0, 36), ("serious", 12, 12)]


def test_what_devices_did_is_said_of_their_own_build_alone(measured: tuple[ScoredSite, VideoSummary]) -> None:
    made, _ = measured
    of_baseline = rows_of(made, VIDEO_METRICS).filter(model_build_id=BASELINE)["metric"].unique().to_list()
    assert "j" in of_baseline
    assert "display_loss" in of_baseline
    assert not {"latency_p50_ms", "deadline_misses", "jank"} & set(of_baseline)


def test_levels_of_frames_average_within_each_clip_first(measured: tuple[ScoredSite, VideoSummary]) -> None:
    made, _ = measured
    frames = made.scored(FRAME_SCORES).filter(thermal_state="serious")
    expected = frames.group_by("stream_id").agg(pl.col("j").mean())["j"].mean()
    rows = rows_of(made, VIDEO_METRICS).filter(metric="j", level="serious", model_build_id=BUILD)
    assert rows["value"].item() == pytest.approx(expected)


def test_changes_show_both_signs_clip_by_clip(measured: tuple[ScoredSite, VideoSummary]) -> None:
    made, summary = measured
    row = rows_of(made, VIDEO_CHANGES).row(by_predicate=pl.col("metric") == "j", named=True)
    # At speed 0 a lag costs nothing.
    assert (row["n_improved"], row["n_regressed"], row["n_clips"]) == (1, 4, 6)
    assert row["verdict"] == "not settled"
    clips = rows_of(made, CLIP_CHANGES).filter(metric="j").sort("stream_id")
    changes = clips["change"].to_list()
    assert changes[0] == 0
    assert all(change < 0 for change in changes[1:5])
    assert changes[5] == 1.0
    assert row["value"] == pytest.approx(sum(changes) / 6)
    assert summary.change_rows == rows_of(made, VIDEO_CHANGES).height


def test_replays_split_exactly_and_order_by_latency(measured: tuple[ScoredSite, VideoSummary]) -> None:
    made, _ = measured
    rows = rows_of(made, DISPLAY_REPLAYS).filter(model_build_id=BUILD)
    by_name = {row["replay"]: row for row in rows.iter_rows(named=True)}
    assert list(by_name) == ["as logged", "no latency", "twice as fast", "latencies of a hot phone"]
    for row in by_name.values():
        assert row["loss"] == pytest.approx(row["algorithm"] + row["lateness"], abs=1e-9)
        assert row["n_clips"] == 6
    assert by_name["no latency"]["lateness"] == 0
    lateness = [by_name[name]["lateness"] for name in ("no latency", "twice as fast", "latencies of a hot phone")]
    assert lateness == sorted(lateness)
    logged = made.scored(CLIP_SCORES).filter(metric="display_loss", class_name="all")["value"].mean()
    assert by_name["as logged"]["loss"] == pytest.approx(logged)


def test_below_five_clips_nothing_is_settled(tmp_path: Path) -> None:
    made = scored_site(tmp_path)
    with made.site.drop() as drop:
        for clip in ("a", "b"):
            drop.clip(clip, None, frame_rate_hz=25.0, mask_kind="classes")
            drop.frames(clip, range(2))
            for n in range(2):
                drop.picture("masks", clip, n, square(8))
    for clip in ("a", "b"):
        for n in range(2):
            made.output(clip, n, square(8 + n))
    made.score()
    measure_clips(made.lake, build=BUILD, models=[BUILD], drops=[VIDEO_DROP], modality=VIDEO_MODALITY)
    rows = rows_of(made, VIDEO_METRICS).filter(metric="j", dimension="all")
    assert rows["reason"].item() == "insufficient: 2 clips, 5 needed"
    assert rows["low"].item() is None
    assert rows_of(made, VIDEO_CHANGES).is_empty()


def test_builds_as_recorded_are_paired_by_scenes_that_each_filmed_once() -> None:
    from cv_quality.tasks.video.clip_changes import Compared, change_rows

    def scores(values: dict[str, float]) -> pl.DataFrame:
        rows = [
            {"clip_key": clip, "metric": "j", "class_name": "all", "value": value} for clip, value in values.items()
        ]
        return pl.DataFrame(rows)

    def clips(scenes: dict[str, str | None]) -> pl.DataFrame:
        rows = [
            {"clip_key": clip, "drop_id": clip[:2], "stream_id": clip[3:], "scene": scene}
            for clip, scene in scenes.items()
        ]
        return pl.DataFrame(rows, schema_overrides={"scene": pl.String})

    own = Compared(
        "b0", scores({"d1/a": 0.5, "d1/b": 0.9, "d1/c": 0.1}), clips({"d1/a": "x", "d1/b": "y", "d1/c": "y"})
    )
    other = scores({"d0/p": 0.7, "d0/q": 0.2}), clips({"d0/p": "x", "d0/q": None})
    changes, by_clip = change_rows(own, same_clips=None, other_clips=other)
    [change] = [row for row in changes if row["metric"] == "j"]
    assert (change["n_clips"], change["n_regressed"], change["verdict"]) == (1, 1, "insufficient")
    [row] = by_clip
    assert (row["drop_id"], row["stream_id"], row["baseline"], row["candidate"]) == ("d1", "a", 0.7, 0.5)
