"""`cvq evaluate --video`: published values through the command, both signs of a comparison, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cv_quality.cli import main
from cv_quality.metrics.results import JsonValue
from cv_quality_tests.drops.clip_files import write_clip
from cv_quality_tests.drops.video_sets import Labels, png, put, put_masks, put_pictures, square

Document = dict[str, Any]
MASKS = [square(number) for number in range(6)]
DAVIS = {
    "blackswan": (0.943020, 1, 0.001408, 0.974096, 1, -0.000416),
    "libby": (0.623027, 0.617021, 0.498613, 0.751232, 0.914894, 0.349471),
}
DAVIS_NAMES = ("j", "j_recall", "j_decay", "f", "f_recall", "f_decay")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", "--video", *map(str, arguments)])


def document(*arguments: object) -> Document:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: Document = json.loads(result.stdout)
    return found


def values(found: Document, clip: int = 0) -> dict[str, JsonValue]:
    named: dict[str, JsonValue] = found["clips"][clip]["values"]
    return named


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


def test_davis_lines_are_those_of_the_toolkit(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("video_davis")
    for clip in DAVIS:
        for kind, role in (("gt", "truth/Annotations/480p"), ("osvos", "prediction")):
            shutil.copytree(folder / clip / kind, tmp_path / role / clip)
    found = document(tmp_path / "prediction", tmp_path / "truth", "--drop-ends")
    assert [clip["clip"] for clip in found["clips"]] == list(DAVIS)
    for place, expected in enumerate(DAVIS.values()):
        assert [values(found, place)[name] for name in DAVIS_NAMES] == pytest.approx(expected, abs=1e-6)
    assert {item["reason"] for item in found["summaries"]} == {"insufficient: 2 clips, 5 needed"}


def test_tracks_of_tud_campus_are_as_published(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("tracks_tud_campus")
    found = document(folder / "test.txt", folder / "gt.txt")
    scores = values(found)
    assert [scores[name] for name in ("mota", "idf1", "motp", "hota")] == pytest.approx(
        (0.526462, 0.557659, 0.277201, 0.391397), abs=1e-6
    )
    counts = found["clips"][0]["counts"]
    assert [counts[name] for name in ("false_positives", "misses", "switches")] == [13, 150, 7]
    assert "0.526462" in run(folder / "test.txt", folder / "gt.txt").stdout


def test_carphone_is_as_in_ffmpeg_with_each_variant_named(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("video_carphone")
    clips = folder / "carphone_distorted.mp4", folder / "carphone_pristine.mp4"
    scores = values(document(*clips))
    assert scores["psnr_of_mean_db"] == pytest.approx(24.792713, abs=1e-6)
    assert scores["ssim_ffmpeg"] == pytest.approx(0.751344, abs=1e-6)
    assert scores["ssim"] == pytest.approx(0.746427, abs=1e-6)


def test_vmaf_is_what_ffmpeg_measures_of_the_files_themselves(tmp_path: Path) -> None:
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    one, other = write_clip(tmp_path / "a.mp4", range(12)), write_clip(tmp_path / "b.mp4", [*range(11), 3])
    command = [ffmpeg, "-i", other, "-i", one, "-lavfi", "libvmaf", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, check=True).stderr.decode()
    measured = re.search(r"VMAF score: ([0-9.]+)", told)
    assert measured is not None
    found = document(other, one, "--vmaf", ffmpeg)
    assert values(found)["vmaf"] == pytest.approx(float(measured[1]), abs=1e-5)
    frames = found["clips"][0]["frames"]["vmaf"]
    assert len(frames) == 12
    assert frames[11] < min(frames[:11])
    assert "vmaf" not in values(document(other, one))


def test_vmaf_asks_for_a_program_that_measures_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", range(3))
    assert "found no program 'no-ffmpeg'" in refusal(clip, clip, "--vmaf", "no-ffmpeg")
    assert "expected an ffmpeg with libvmaf, found one without" in refusal(clip, clip, "--vmaf", sys.executable)
    fails = put(tmp_path / "ffmpeg", b'#!/bin/sh\n[ "$5" ] && { echo out of paper >&2; exit 3; }\necho libvmaf\n')
    fails.chmod(0o700)
    assert "clip a: ffmpeg could not measure VMAF: out of paper" in refusal(clip, clip, "--vmaf", str(fails))


def test_background_subtraction_of_cdnet_is_as_published(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("video_cdnet_highway")
    subtractor = cv2.createBackgroundSubtractorMOG2()
    for number in (*range(1200, 1400), *range(1000, 1120)):
        mask = subtractor.apply(np.asarray(Image.open(folder / "input" / f"in{number:06d}.jpg"))[..., ::-1])
        if number < 1120:
            put(tmp_path / "mog2" / f"bin{number:06d}.png", png(np.asarray(mask, np.uint8)))
    found = document(tmp_path / "mog2", folder)
    assert values(found)["miou"] == pytest.approx(0.6456, abs=0.002)
    assert values(found)["flicker"] == pytest.approx(0.021, abs=0.001)
    assert found["clips"][0]["n_frames"] == 120
    assert any("280 of 400 frames of the truth have no prediction" in text for text in found["warnings"])


def test_pooled_iou_is_not_the_mean_of_the_frames(tmp_path: Path) -> None:
    right, some, few = (np.zeros((20, 20), np.uint8) for _ in range(3))
    right[:10], some[:5], few[0, :2] = 1, 1, 1
    wrong = some.copy()
    wrong[0, 0] = 0
    put_masks(tmp_path / "truth" / "a", [right, some, few, 0 * right])
    put_masks(tmp_path / "prediction" / "a", [right, wrong, 0 * few, 0 * right])
    scores = values(document(tmp_path / "prediction", tmp_path / "truth"))
    assert scores["miou"] == pytest.approx(299 / 302)
    assert scores["j"] == pytest.approx(0.6633, abs=1e-4)


def test_consistency_stands_beside_that_of_the_truth(tmp_path: Path) -> None:
    truth = put_pictures(tmp_path / "JPEGImages" / "a", 6).parents[1]
    put_masks(truth / "Annotations" / "a", MASKS)
    put_masks(tmp_path / "p" / "a", [square(number, shift=4 * (number % 2)) for number in range(6)])
    scores = values(document(tmp_path / "p", truth, "--pictures", truth))
    assert isinstance(scores["tc"], float)
    assert isinstance(scores["tc_ceiling"], float)
    assert scores["tc"] < scores["tc_ceiling"] <= 1
    assert scores["tc_ratio"] == pytest.approx(scores["tc"] / scores["tc_ceiling"])
    assert "tc" not in values(document(tmp_path / "p", truth))


@pytest.fixture
def builds(tmp_path: Path) -> Path:
    """Truth of six clips, and two builds: the newer is worse on four clips and better on two."""
    for clip in range(6):
        put_masks(tmp_path / "truth" / f"clip-{clip}", MASKS)
        better = clip < 2
        put_masks(tmp_path / "old" / f"clip-{clip}", [square(n, shift=3 if better else 1) for n in range(6)])
        put_masks(tmp_path / "new" / f"clip-{clip}", [square(n, shift=1 if better else 4) for n in range(6)])
    return tmp_path


def test_baseline_shows_both_signs_and_an_interval_by_clip(builds: Path) -> None:
    found = document(builds / "new", builds / "truth", "--baseline", builds / "old")
    j = next(item for item in found["changes"] if item["metric"] == "j")["comparison"]
    assert [len(j["regressions"]), len(j["improvements"])] == [4, 2]
    assert j["change"]["n_clips"] == 6
    assert j["change"]["low"] < j["change"]["value"] < j["change"]["high"]
    summary = next(item for item in found["summaries"] if item["metric"] == "j")
    assert summary["low"] is not None
    assert summary["method"].startswith("bootstrap of clips")


def test_page_has_the_numbers_and_a_line_for_every_clip(builds: Path) -> None:
    page = builds / "page.html"
    result = run(builds / "new", builds / "truth", "--baseline", builds / "old", "--report", page)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.count("<polyline") == 12
    assert "4 clips worse, 2 better than the baseline" in text


def test_objects_under_other_numbers_are_assigned(tmp_path: Path) -> None:
    two = [square(number) + square(number, label=2, shift=20) for number in range(6)]
    swapped = [np.choose(mask, [0, 9, 5]).astype(np.uint8) for mask in two]
    put_masks(tmp_path / "truth" / "a", two)
    put_masks(tmp_path / "prediction" / "a", swapped)
    assert "expected the same labels on both sides" in refusal(tmp_path / "prediction", tmp_path / "truth")
    found = document(tmp_path / "prediction", tmp_path / "truth", "--kind", "instances")
    assert values(found)["j"] == 1.0
    assert found["clips"][0]["counts"]["unmatched"] == 0
    declared = document(tmp_path / "prediction", tmp_path / "truth", "--classes", "one=1:9,two=2:5")
    assert [clip["class_name"] for clip in declared["clips"]] == ["all", "one", "two"]


def test_void_label_is_asked_about_and_other_labels_are_counted(tmp_path: Path) -> None:
    void = np.zeros((48, 64), np.uint8)
    void[:, 60:] = 255
    put_masks(tmp_path / "truth" / "a", [mask + void for mask in MASKS])
    put_masks(tmp_path / "prediction" / "a", [mask + void // 85 for mask in MASKS])
    assert "--ignore 255" in refusal(tmp_path / "prediction", tmp_path / "truth")
    found = document(tmp_path / "prediction", tmp_path / "truth", "--ignore", "255", "--classes", "square=1")
    assert values(found)["j"] == 1.0
    assert found["warnings"] == [f"labels 3 of the prediction are no class: {6 * 48 * 4:,} pixels"]


def test_numbers_from_0_and_from_1_are_asked_about(tmp_path: Path) -> None:
    put_masks(tmp_path / "truth" / "a", MASKS)
    put_masks(tmp_path / "prediction" / "a", MASKS, first=1)
    assert "--shift -1 pairs the first frames" in refusal(tmp_path / "prediction", tmp_path / "truth")
    assert values(document(tmp_path / "prediction", tmp_path / "truth", "--shift", "-1"))["j"] == 1.0
    found = document(tmp_path / "prediction", tmp_path / "truth", "--shift", "0")
    assert found["clips"][0]["n_frames"] == 5
    assert len(found["warnings"]) == 2


def test_masks_of_another_size_are_named_or_resized(tmp_path: Path) -> None:
    put_masks(tmp_path / "truth" / "a", [mask.repeat(2, 0).repeat(2, 1) for mask in MASKS])
    put_masks(tmp_path / "prediction" / "a", MASKS)
    assert "a/00000.png: expected a mask of 128 x 96" in refusal(tmp_path / "prediction", tmp_path / "truth")
    found = document(tmp_path / "prediction", tmp_path / "truth", "--resize")
    assert values(found)["j"] == 1.0
    assert found["notes"][-1] == "clip a: 6 predictions were brought to the size of the truth"


def test_empty_truth_is_undefined_and_all_empty_is_refused(tmp_path: Path) -> None:
    empty: list[Labels] = [0 * mask for mask in MASKS]
    put_masks(tmp_path / "truth" / "a", empty)
    put_masks(tmp_path / "truth" / "b", MASKS)
    for clip in ("a", "b"):
        put_masks(tmp_path / "prediction" / clip, MASKS if clip == "b" else empty)
    found = document(tmp_path / "prediction", tmp_path / "truth")
    assert values(found, 0)["j"] is None
    assert found["clips"][0]["reason"] == "absent: the clip has no class, in truth or prediction"
    j = next(item for item in found["summaries"] if item["metric"] == "j")
    assert (j["value"], j["n_clips"], j["n_left_out"]) == (1.0, 1, 1)
    assert "found no label but 0" in refusal(tmp_path / "prediction" / "a", tmp_path / "truth" / "a")


def test_track_twice_in_a_frame_is_named_with_its_file(tmp_path: Path) -> None:
    truth = put(tmp_path / "gt.txt", b"1,1,10,10,20,40,1,-1,-1,-1\n")
    twice = put(tmp_path / "seen.txt", b"1,4,10,10,20,40\n1,4,50,10,20,40\n")
    assert f"DuplicateTrack: {twice}: " in refusal(twice, truth)
    zero = put(tmp_path / "zero.txt", b"0,4,10,10,20,40\n1,4,10,10,20,40\n")
    assert "--shift 1" in refusal(zero, truth)


def test_distractors_are_neither_found_nor_wrong(tmp_path: Path) -> None:
    truth = put(tmp_path / "gt.txt", b"1,1,10,10,20,40,1,1,1\n1,2,90,10,20,40,0,8,1\n1,3,150,10,20,40,0,3,1\n")
    seen = put(tmp_path / "seen.txt", b"1,1,10,10,20,40,1\n1,2,90,10,20,40,1\n1,3,150,10,20,40,1\n")
    found = document(seen, truth)
    assert found["clips"][0]["counts"] == {
        "false_positives": 1,
        "misses": 0,
        "switches": 0,
        "objects": 1,
        "predicted": 2,
    }
    assert len(found["warnings"]) == 2


def test_truncated_clip_is_said_and_its_frames_are_scored(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", range(40), is_streamable=True)
    cut = put(tmp_path / "cut.mp4", whole.read_bytes()[: int(whole.stat().st_size * 0.8)])
    found = document(cut, whole)
    assert 0 < found["clips"][0]["n_frames"] < 40
    assert values(found)["psnr_of_mean_db"] == "inf"
    assert any("truncated_file" in text for text in found["warnings"])
    put(tmp_path / "broken.mp4", whole.read_bytes()[:200])
    assert "ClipError" in refusal(tmp_path / "broken.mp4", whole)


def test_help_teaches_and_scores_still_evaluate(tmp_path: Path) -> None:
    assert "cvq evaluate --video tracker/data MOT17/train" in run("--help").output
    scores = put(tmp_path / "scores.csv", b"score,is_genuine\n" + b"".join(b"0.%d,%d\n" % (n, n > 4) for n in range(9)))
    result = CliRunner().invoke(main, ["evaluate", str(scores)])
    assert result.exit_code == 0
    assert "EER" in result.output


def test_pictures_of_folders_and_videos_are_compared(tmp_path: Path) -> None:
    truth = put_pictures(tmp_path / "truth" / "a", 4, form="{:05d}.png")
    put_pictures(tmp_path / "same" / "a", 4, form="{:05d}.png")
    scores = values(document(tmp_path / "same", tmp_path / "truth"))
    assert scores["psnr_of_mean_db"] == "inf"
    assert scores["ssim"] == pytest.approx(1.0)
    noisy = np.asarray(Image.open(truth / "00002.png")).astype(int)
    put(tmp_path / "same" / "a" / "00002.png", png((noisy + 3 * (noisy < 250)).astype(np.uint8)))
    found = document(tmp_path / "same", tmp_path / "truth")
    assert found["clips"][0]["counts"]["identical"] == 3
    clip = write_clip(tmp_path / "clip.mp4", range(4))
    put_pictures(tmp_path / "small", 4)
    assert "expected frames of one size and depth" in refusal(tmp_path / "small", clip)


def test_holes_are_said_and_no_flicker_is_counted_across_them(tmp_path: Path) -> None:
    still = [square(0)] * 6
    put_masks(tmp_path / "truth" / "a", still)
    put_masks(tmp_path / "prediction" / "a", [square(0, shift=9 * (number > 2)) for number in range(6)])
    whole = values(document(tmp_path / "prediction", tmp_path / "truth"))["flicker"]
    assert isinstance(whole, float)
    assert whole > 0
    (tmp_path / "prediction" / "a" / "00003.png").unlink()
    found = document(tmp_path / "prediction", tmp_path / "truth")
    assert values(found)["flicker"] == 0
    assert "a: masks 5 (0 to 5, 1 missing: 3)" in found["notes"]
    assert any("1 of 6 frames of the truth have no prediction" in text for text in found["warnings"])


def test_tracker_that_found_nothing_misses_everything(tmp_path: Path) -> None:
    for clip in ("a", "b"):
        put(tmp_path / "truth" / clip / "gt" / "gt.txt", b"1,1,10,10,20,40,1,-1,-1,-1\n2,1,12,10,20,40,1,-1,-1,-1\n")
    put(tmp_path / "seen" / "a.txt", b"1,1,10,10,20,40\n2,1,12,10,20,40\n9,1,12,10,20,40\n")
    put(tmp_path / "seen" / "b.txt", b"")
    found = document(tmp_path / "seen", tmp_path / "truth")
    assert [clip["counts"]["misses"] for clip in found["clips"]] == [0, 2]
    mota = next(item for item in found["summaries"] if item["metric"] == "mota")
    assert mota["value"] == pytest.approx(1 - (2 + 1) / 4)
    assert any("1 predicted boxes are in frames after the last one" in text for text in found["warnings"])


def test_options_that_would_change_nothing_are_refused(tmp_path: Path) -> None:
    truth = put(tmp_path / "gt.txt", b"1,1,10,10,20,40,1,-1,-1,-1\n")
    assert "found --classes, --drop-ends" in refusal(truth, truth, "--classes", "a=1", "--drop-ends")


def test_masks_of_many_labels_are_scored_where_that_is_said(tmp_path: Path) -> None:
    many = (np.arange(48 * 64, dtype=np.int64).reshape(48, 64) // 64).astype(np.uint8)
    put_masks(tmp_path / "truth" / "a", [many] * 3)
    assert values(document(tmp_path / "truth", tmp_path / "truth"))["ssim"] == pytest.approx(1.0)
    found = document(tmp_path / "truth", tmp_path / "truth", "--kind", "masks")
    assert values(found)["miou"] == 1.0
    assert len(found["clips"]) == 48


def test_frames_outside_of_the_temporal_region_are_left_out_and_said(tmp_path: Path) -> None:
    truth = [np.where(mask > 0, 255, 0).astype(np.uint8) for mask in MASKS]
    put_masks(tmp_path / "clip" / "groundtruth", truth, first=1, form="gt{:06d}.png")
    put(tmp_path / "clip" / "temporalROI.txt", b"3 6")
    region = np.zeros((48, 64), np.uint8)
    region[:16] = 255
    put(tmp_path / "clip" / "ROI.bmp", png(region))
    wrong_below = [np.where(np.arange(48)[:, None] < 16, mask, 255).astype(np.uint8) for mask in truth]
    put_masks(tmp_path / "result", wrong_below, first=1, form="bin{:06d}.png")
    found = document(tmp_path / "result", tmp_path / "clip")
    assert found["clips"][0]["n_frames"] == 4
    assert values(found)["j"] == 1.0
    assert found["warnings"] == ["clip clip: 2 frames outside of temporalROI.txt are left out"]
