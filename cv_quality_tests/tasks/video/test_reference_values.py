"""Published values of real masks and tracks, through the stage that scores a drop."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from PIL import Image

from cv_quality.metrics.video.masks import davis_statistics
from cv_quality.tasks.video.tables import CLIP_SCORES, FRAME_SCORES, TRACK_COUNTS
from cv_quality_tests.tasks.video.scored_drops import log, scored_site

SharedData = Callable[[str], Path]


def values(rows: pl.DataFrame) -> dict[str, float]:
    return dict(rows.filter(class_name="all").select("metric", "value").iter_rows())


def test_davis_masks_have_the_values_of_its_toolkit(tmp_path: Path, shared_data: SharedData) -> None:
    made, folder = scored_site(tmp_path), shared_data("video_davis") / "blackswan"
    truth, output = (sorted((folder / kind).glob("*.png")) for kind in ("gt", "osvos"))
    with made.site.drop() as drop:
        drop.label(255, "swan")
        drop.clip("swan", None, frame_rate_hz=24.0, mask_kind="classes")
        drop.frames("swan", range(len(truth)))
        for number, path in enumerate(truth):
            drop.picture("masks", "swan", number, path.read_bytes())
    for number, path in enumerate(output):
        made.output("swan", number, np.asarray(Image.open(path)))
    made.score(classes={"swan": (1,)})
    rows = made.scored(FRAME_SCORES).sort("frame_number")[1:-1]
    for column, expected in (("j", (0.943020, 1, 0.001408)), ("f", (0.974096, 1, -0.000416))):
        found = davis_statistics(rows[column].to_numpy())
        assert (found.mean, found.recall, found.decay) == pytest.approx(expected, abs=1e-6)


def test_boxes_of_tud_campus_have_the_values_of_motmetrics(tmp_path: Path, shared_data: SharedData) -> None:
    made, folder = scored_site(tmp_path), shared_data("tracks_tud_campus")
    boxes = {name: np.loadtxt(folder / f"{name}.txt", delimiter=",") for name in ("gt", "test")}
    n = int(max(rows[:, 0].max() for rows in boxes.values()))
    with made.site.drop() as drop:
        drop.clip("tud", None, frame_rate_hz=25.0)
        drop.frames("tud", range(1, n + 1))
        for name, rows in boxes.items():
            for row in rows:
                drop.box(
                    "tud",
                    int(row[0]),
                    tuple(row[2:6].tolist()),
                    track_id=f"{name}{int(row[1])}",
                    source="truth" if name == "gt" else "device",
                )
    made.score(is_recorded=True)
    found = values(made.scored(CLIP_SCORES))
    expected = {"mota": 0.526462, "idf1": 0.557659, "hota": 0.391397, "deta": 0.418047, "assa": 0.369121}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found["id_switches"] == 7
    assert made.scored(TRACK_COUNTS)["counts"].list.len().to_list() == [8 + 3 * 19]


@pytest.mark.nightly
def test_background_subtraction_on_traffic_has_its_published_iou_and_flicker(
    tmp_path: Path, shared_data: SharedData
) -> None:
    made, clip = scored_site(tmp_path), shared_data("video_cdnet_highway")
    subtractor = cv2.createBackgroundSubtractorMOG2()
    with made.site.drop() as drop:
        for label, name in ((0, None), (50, None), (255, "moving")):
            drop.label(label, name)
        for label in (85, 170):
            drop.label(label, None, is_ignored=True)
        drop.clip("highway", None, frame_rate_hz=25.0, mask_kind="classes")
        for number in (*range(1200, 1400), *range(1000, 1120)):
            path = clip / "input" / f"in{number:06d}.jpg"
            image = cv2.imread(str(path))
            assert image is not None
            moving = subtractor.apply(image) == 255
            if number < 1120:
                drop.writer.add_frame(f"highway/{number - 1000:06d}.png", path.read_bytes())
                drop.picture("masks", "highway", number - 1000, (clip / f"groundtruth/gt{number:06d}.png").read_bytes())
                made.output("highway", number - 1000, moving.astype(np.uint8))
        log(drop, "highway", range(120))
    made.score(classes={"moving": (1,)})
    found = values(made.scored(CLIP_SCORES))
    assert found["miou"] == pytest.approx(0.6456, abs=0.002)
    assert found["flicker"] == pytest.approx(0.021, abs=0.001)
    # The published consistency is a mean over pairs, of another flow, without occlusions.
    rows = made.scored(FRAME_SCORES)
    assert rows["tc"].mean() == pytest.approx(0.801, abs=0.01)
    assert rows["tc_ceiling"].mean() == pytest.approx(0.997, abs=0.002)
