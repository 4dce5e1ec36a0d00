"""Frames and clips of a drop as they are scored, against plain sums over the same masks, boxes and logs."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_quality.tasks.video.quality import Boxes, score_boxes_of
from cv_quality.tasks.video.tables import CLIP_SCORES, FRAME_SCORES, TRACK_COUNTS
from cv_quality_tests.tasks.video.scored_drops import (
    HEIGHT,
    WIDTH,
    Labels,
    ScoredSite,
    log,
    pictured,
    scene,
    scored_site,
    square,
)
from cv_quality_tests.tasks.video.video_drops import png

N = 12
STEP = 2


def truths() -> dict[int, Labels]:
    return {number: square(4 + STEP * number) for number in range(N)}


def plain_iou(truth: Labels, output: Labels) -> float:
    a, b = truth == 1, output == 1
    return float((a & b).sum() / (a | b).sum())


def value_of(rows: pl.DataFrame, metric: str, class_name: str = "all") -> float | None:
    return rows.filter(metric=metric, class_name=class_name)["value"].item()  # type: ignore[no-any-return]


@pytest.fixture
def lagging(tmp_path: Path) -> ScoredSite:
    """One clip whose output is that of the frame before, on time but for one frame that was dropped, and one late."""
    made, masks = scored_site(tmp_path), truths()
    capture = [40.0 * number for number in range(N)]
    with made.site.drop() as drop:
        drop.label(1, "ball")
        pictured(drop, "s1", masks)
        log(
            drop,
            "s1",
            range(N),
            capture_ms=capture,
            result_ms=[at + (70.0 if number == 5 else 10.0) for number, at in enumerate(capture)],
            deadline_ms=[40.0] * N,
            is_dropped=[number == 8 for number in range(N)],
            thermal_state=["nominal"] * 6 + ["serious"] * 6,
        )
    for number in range(N):
        made.output("s1", number, masks[max(number - 1, 0)])
    made.score(requirement=0.8)
    return made


def test_each_frame_has_the_iou_of_its_masks_and_its_latency(lagging: ScoredSite) -> None:
    rows, masks = lagging.scored(FRAME_SCORES), truths()
    expected = [plain_iou(masks[number], masks[max(number - 1, 0)]) for number in range(N)]
    assert rows["j"].to_list() == pytest.approx(expected)
    assert rows["loss"].to_list() == pytest.approx([1 - value for value in expected])
    assert rows["is_miss"].to_list() == [value < 0.8 for value in expected]
    assert sum(rows["is_miss"]) == N - 1
    assert rows["latency_ms"].to_list() == [None if n == 8 else 70.0 if n == 5 else 10.0 for n in range(N)]
    assert [number for number, late in enumerate(rows["is_late"]) if late] == [5, 8]
    assert rows["status"].unique().to_list() == ["ok"]
    assert rows["thermal_state"].to_list() == ["nominal"] * 6 + ["serious"] * 6


def test_a_lagging_output_is_steadier_than_the_truth_on_its_way(lagging: ScoredSite) -> None:
    rows = lagging.scored(CLIP_SCORES)
    consistency, ceiling = value_of(rows, "tc"), value_of(rows, "tc_ceiling")
    assert consistency is not None
    assert ceiling is not None
    assert ceiling > 0.9
    assert value_of(rows, "tc_ratio", "ball") == pytest.approx(consistency / ceiling)
    pooled = value_of(rows, "miou")
    masks = truths()
    both = [(masks[n] == 1, masks[max(n - 1, 0)] == 1) for n in range(N)]
    assert pooled == pytest.approx(sum((a & b).sum() for a, b in both) / sum((a | b).sum() for a, b in both))


def test_the_log_is_counted_frame_by_frame(lagging: ScoredSite) -> None:
    rows = lagging.scored(CLIP_SCORES).filter(class_name="all")
    counts = {row["metric"]: (row["numerator"], row["denominator"]) for row in rows.iter_rows(named=True)}
    assert counts["deadline_misses"] == (2, N)
    assert counts["late"] == (1, N)
    assert counts["dropped"] == (1, N)
    assert counts["miss_rate"] == (N - 1, N)
    assert value_of(rows, "latency_p50_ms") == 10.0
    assert value_of(rows, "latency_p99_ms") is None
    assert "infinite" in rows.filter(metric="latency_p99_ms")["reason"].item()


def test_loss_on_the_screen_splits_exactly_and_is_what_was_shown(lagging: ScoredSite) -> None:
    rows, masks = lagging.scored(CLIP_SCORES), truths()
    loss, algorithm, lateness = (value_of(rows, f"display_{name}") for name in ("loss", "algorithm", "lateness"))
    assert loss is not None
    assert algorithm is not None
    assert lateness is not None
    assert loss == pytest.approx(algorithm + lateness, abs=1e-12)
    # A refresh at each capture: results come 10 ms later, that of frame 5 after 70 ms, that of frame 8 never.
    came = {n: 40.0 * n + (70.0 if n == 5 else 10.0) for n in range(N) if n != 8}
    losses = []
    for moment in range(N):
        there = [n for n, at in came.items() if at <= 40.0 * moment]
        output = masks[max(max(there) - 1, 0)] if there else None
        losses.append(1.0 if output is None else 1 - plain_iou(masks[moment], output))
    assert loss == pytest.approx(math.fsum(losses) / N)


def test_held_losses_are_those_of_the_results_before(lagging: ScoredSite) -> None:
    rows, masks = lagging.scored(FRAME_SCORES), truths()
    held = rows["held_losses"].to_list()
    assert held[0][0] == 0
    assert held[0][1] is None
    for lag in range(4):
        assert held[7][lag] == pytest.approx(1 - plain_iou(masks[7], masks[7 - lag - 1]))


def test_labels_beyond_the_class_map_are_ignored_and_counted(tmp_path: Path) -> None:
    made = scored_site(tmp_path)
    truth = square(8)
    truth[:8] = 9
    truth[40:] = 3
    with made.site.drop() as drop:
        drop.label(0, None)
        drop.label(1, "ball")
        drop.label(3, "dog")
        pictured(drop, "s1", {0: truth})
        log(drop, "s1", [0])
    output = np.where(truth == 1, 5, 0).astype(np.uint8)
    output[:8] = 5
    made.output("s1", 0, output)
    made.score(classes={"ball": (5,)})
    rows = made.scored(CLIP_SCORES)
    assert value_of(rows, "j", "ball") == 1.0
    row = rows.filter(metric="unmapped_pixels").row(0, named=True)
    assert (row["numerator"], row["denominator"]) == (16 * 64, 48 * 64)
    assert "3 (dog), 9" in row["reason"]


def test_objects_are_assigned_over_the_clip_whatever_their_labels(tmp_path: Path) -> None:
    made = scored_site(tmp_path)
    masks = {n: square(4 + n, label=1) + square(40 - n, label=2, top=30) for n in range(4)}
    with made.site.drop() as drop:
        drop.clip("s1", None, frame_rate_hz=25.0, mask_kind="instances")
        for number, mask in masks.items():
            drop.picture("masks", "s1", number, mask)
        drop.frames("s1", range(4))
    for number, mask in masks.items():
        made.output("s1", number, np.choose(mask, [0, 8, 4]).astype(np.uint8))
    made.score()
    rows = made.scored(CLIP_SCORES)
    assert value_of(rows, "j") == 1.0
    assert value_of(rows, "miou", "2") == 1.0
    assert value_of(rows, "tc") is None, "there are no pictures, so no flow"


def test_frames_without_truth_or_output_say_so(tmp_path: Path) -> None:
    made, masks = scored_site(tmp_path), truths()
    empty = np.zeros_like(masks[0])
    with made.site.drop() as drop:
        drop.label(1, "ball")
        drop.clip("s1", None, frame_rate_hz=25.0, mask_kind="classes")
        for number in range(5):
            drop.writer.add_frame(f"s1/{number:06d}.png", png(scene(square(number))))
        for number in (0, 1, 2, 4):
            drop.picture("masks", "s1", number, empty if number == 2 else masks[number])
        log(drop, "s1", range(5))
    made.output("s1", 0, masks[0])
    made.output("s1", 1, None, status="non_finite")
    made.output("s1", 2, empty)
    made.output("s1", 3, masks[3])
    made.output("s1", 4, np.zeros((20, 20), np.uint8))
    summary = made.score()
    rows = made.scored(FRAME_SCORES)
    assert rows["status"].to_list() == ["ok", "non_finite", "absent", "no_truth", "mask_size"]
    assert rows["is_miss"].to_list() == [False, True, None, None, None]
    assert (summary.frames, summary.scored, summary.misses) == (5, 1, 1)
    clip = made.scored(CLIP_SCORES)
    assert clip.filter(metric="no_output").select("numerator", "denominator").row(0) == (1, 4)


def test_a_drop_of_logs_alone_has_latency_and_no_quality(tmp_path: Path) -> None:
    made = scored_site(tmp_path)
    with made.site.drop() as drop:
        drop.clip("s1", None, frame_rate_hz=25.0)
        drop.frames("s1", range(10), latency_ms=[20.0] * 9 + [90.0], deadline_ms=[40.0] * 10)
    summary = made.score()
    assert (summary.scored, summary.late, summary.loss) == (0, 1, None)
    rows = made.scored(CLIP_SCORES)
    assert value_of(rows, "latency_p50_ms") == 20.0
    assert value_of(rows, "deadline_misses") == pytest.approx(0.1)
    assert rows.filter(metric="loss")["reason"].item()
    assert made.scored(FRAME_SCORES)["status"].unique().to_list() == ["no_truth"]


def test_boxes_of_the_device_are_scored_for_its_own_build_alone(tmp_path: Path) -> None:
    made = scored_site(tmp_path)
    with made.site.drop() as drop:
        drop.clip("s1", None, frame_rate_hz=25.0)
        drop.frames("s1", range(4), capture_ms=[0.0, 40, 80, 120], result_ms=[5.0, 45, 85, 125])
        for number in range(4):
            drop.box("s1", number, (10.0 + number, 10, 10, 10), track_id="a")
            drop.box("s1", number, (40.0, 10, 10, 10), track_id="b", is_ignored=True)
            drop.box("s1", number, (40.0, 11, 10, 10), track_id="8", source="device")
            if number != 2:
                drop.box("s1", number, (10.0 + number, 11, 10, 10), track_id="7", source="device")
    made.score(is_recorded=True)
    rows = made.scored(FRAME_SCORES)
    assert rows["box_f1"].to_list() == [1.0, 1.0, 0.0, 1.0]
    assert rows["loss_kind"].unique().to_list() == ["box"]
    clip = made.scored(CLIP_SCORES)
    assert value_of(clip, "mota") == pytest.approx(0.75)
    assert value_of(clip, "display_hota") is not None
    assert made.scored(TRACK_COUNTS).height == 1
    made.score(build="video-0.9", is_recorded=True)
    assert made.scored(FRAME_SCORES, build="video-0.9")["box_f1"].null_count() == 4
    others = made.scored(CLIP_SCORES, build="video-0.9")["metric"].to_list()
    assert "mota" not in others
    assert "latency_p50_ms" not in others


def test_a_track_twice_in_a_frame_costs_that_frame_alone() -> None:
    here = Boxes(np.array([[10.0, 10, 10, 10]]), ("a",), (None,), (False,))
    twice = Boxes(np.array([[10.0, 10, 10, 10], [0.0, 0, 3, 3]]), ("7", "7"), (None, None), (False, False))
    found = score_boxes_of(dict.fromkeys(range(3), here), {0: here, 1: twice, 2: here}, numbers=range(3))
    assert [found.status[number] for number in range(3)] == ["ok", "duplicate_track", "ok"]
    values = {value.metric: value.value for value in found.clip}
    assert (values["duplicate_tracks"], values["mota"]) == (1 / 3, 1.0)


def test_landmarks_are_scored_by_the_interocular_distance(tmp_path: Path) -> None:
    made = scored_site(tmp_path)
    with made.site.drop() as drop:
        drop.clip("s1", None, frame_rate_hz=25.0)
        drop.frames("s1", range(4))
        for number in range(4):
            points = [0.0 + number, 0.0, 10.0 + number, 0.0]
            drop.event("landmarks", "s1", number, source="truth", points_px=points, interocular_px=10.0)
    for number in range(4):
        found = None if number == 3 else [0.0 + number, 1.0, 10.0 + number, 0.0]
        made.output("s1", number, None, output="landmarks", points_px=found)
    made.score(output="landmarks")
    assert made.scored(FRAME_SCORES)["nme"].to_list() == pytest.approx([0.05, 0.05, 0.05, None])
    rows = made.scored(CLIP_SCORES)
    assert value_of(rows, "nme") == pytest.approx(0.05)
    assert value_of(rows, "jitter_px") == pytest.approx(0.0)
    assert value_of(rows, "no_output") == 0.25


def test_pictures_and_depth_are_scored_against_their_references(tmp_path: Path) -> None:
    made = scored_site(tmp_path)
    picture = scene(square(8))
    worse = np.clip(picture.astype(int) + 10, 0, 255).astype(np.uint8)
    with made.site.drop() as drop:
        for stream in ("s1", "s2"):
            drop.clip(stream, None, frame_rate_hz=25.0)
            drop.frames(stream, range(2))
        drop.picture("references", "s1", 0, picture)
        drop.picture("depth", "s2", 0, np.full((HEIGHT, WIDTH), 1_000, np.uint16))
    made.output("s1", 0, worse, output="image")
    made.score(output="image")
    rows = made.scored(CLIP_SCORES).filter(stream_id="s1")
    assert value_of(rows, "psnr_db") == pytest.approx(20 * math.log10(255 / 10), abs=0.1)
    assert value_of(rows, "psnr_of_mean_db") == pytest.approx(value_of(rows, "psnr_db"))
    made.rows.clear()
    made.output("s2", 0, np.full((HEIGHT, WIDTH), 1_200, np.uint16), output="depth")
    made.score(output="depth")
    rows = made.scored(CLIP_SCORES).filter(stream_id="s2")
    assert value_of(rows, "depth_abs_rel") == pytest.approx(0.2)
    assert value_of(rows, "depth_abs_rel_scaled") == pytest.approx(0.0)
    assert value_of(rows, "depth_delta1") == 1.0
