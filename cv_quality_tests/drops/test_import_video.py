"""Folders of clips as drops: every picture, mask, box and log line in its place, and what is counted or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.drops.ingest import ingest_drop
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import (
    BOXES,
    CLIPS,
    LANDMARKS,
    MASK_CLASSES,
    MEDIA_INDEX,
    QUARANTINE_VALIDATE,
    VALIDATED_STREAMS,
)
from cv_quality.drops.validation import validate_drop
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import open_store
from cv_quality.tasks.video.clips import read_drop_clips
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.tables import CLIP_FILES, CLIP_FRAMES
from cv_quality_tests.drops.clip_files import write_clip
from cv_quality_tests.drops.video_sets import png, put, put_masks, put_pictures, put_tar, square

ENTRY = "build_id: seg-1\nmodality: video\nfollows: null\nrecorded: true\noutput: mask\n"
MASKS = [square(number) for number in range(4)]
Imported = dict[str, Any]


class Site:
    """A deployment, and the lake that its drops are read into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        put(root / "registry" / "seg-1.yaml", ENTRY.encode())
        self.landing = open_store(str(root / "home" / "landing"))
        self.lake = Lake(open_store(str(root / "lake")))
        self.drop = ""

    def run(self, *arguments: object) -> Result:
        environment = {"CVQ_HOME": str(self.root / "home"), "CVQ_REGISTRY": str(self.root / "registry")}
        words = ["import", "video", *map(str, arguments), "--build", "seg-1"]
        return CliRunner(env=environment).invoke(main, words)

    def import_(self, *arguments: object) -> Imported:
        """Import a folder, and take its drop in up to the reading of its clips."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        found: Imported = json.loads(result.stdout)
        self.drop = found["drop_id"]
        taken = {VIDEO_MODALITY.name: VIDEO_MODALITY}
        ingest_drop(landing=self.landing, lake=self.lake, drop_id=self.drop, modalities=taken)
        schema = DropSchema(VIDEO_MODALITY)
        validate_drop(landing=self.landing, lake=self.lake, drop_id=self.drop, schema=schema)
        read_drop_clips(self.lake, landing=self.landing, drop=self.drop)
        return found

    def rows(self, table: Table) -> pl.DataFrame:
        return self.lake.read(table, TableKey(drop=self.drop))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_davis_folder_becomes_streams_of_pictures_and_masks(tmp_path: Path, site: Site) -> None:
    for clip, first in (("bear", 0), ("dog", 1)):
        put_pictures(tmp_path / "DAVIS" / "JPEGImages" / "480p" / clip, 4, first=first)
        put_masks(tmp_path / "DAVIS" / "Annotations" / "480p" / clip, MASKS, first=first)
    found = site.import_(tmp_path / "DAVIS", "--frame-rate", "24", "--consent")
    assert found["events"] == {"device": 1, "mask_class": 2, "clip": 2, "stream_frame": 8}
    assert found["media"] == {"frames": 8, "masks": 8}
    frames = site.rows(CLIP_FRAMES).sort("stream_id", "frame_number")
    assert frames["frame_number"].to_list() == [0, 1, 2, 3] * 2
    assert frames["object_share"].to_list() == pytest.approx([144 / (48 * 64)] * 8)
    assert site.rows(VALIDATED_STREAMS)["deadline_ms"].unique().to_list() == pytest.approx([1000 / 24])
    clips = site.rows(CLIPS).sort("stream_id")
    assert clips["scene"].to_list() == ["bear", "dog"]
    assert clips["has_image_consent"].all()
    assert site.rows(CLIP_FILES)["n_bad_truth"].sum() == 0


def test_video_with_a_tar_of_masks_and_a_log(tmp_path: Path, site: Site) -> None:
    folder = tmp_path / "phone"
    folder.mkdir()
    write_clip(folder / "a.mp4", range(4), size=(64, 48))
    put_tar(folder / "a.tar", MASKS)
    put(folder / "a.csv", b"frame_number,capture_ms,result_ms,dropped,thermal_state,note\n0,0,20,0,nominal,x\n")
    with (folder / "a.csv").open("a") as log:
        log.write("1,33.3,60,0,fair,y\n2,66.7,,1,fair,z\n")
    found = site.import_(folder)
    assert found["media"] == {"clips": 1, "masks": 4}
    frames = site.rows(VALIDATED_STREAMS).sort("frame_number")
    assert frames["result_ms"].to_list() == [20.0, 60.0, None]
    assert frames["is_dropped"].to_list() == [False, False, True]
    assert frames["thermal_state"].to_list() == ["nominal", "fair", "fair"]
    assert any("note" in note and "not taken" in note for note in found["notes"])
    (clip,) = site.rows(CLIP_FILES).iter_rows(named=True)
    assert (clip["n_frames"], clip["n_bad_truth"], clip["codec"]) == (4, 0, "h264")


def test_masks_that_count_from_1_are_moved_or_asked_about(tmp_path: Path, site: Site) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "a.mp4", range(4))
    folder = put_masks(tmp_path / "in" / "a", [square(n, size=(120, 160)) for n in range(4)], first=1)
    found = site.import_(tmp_path / "in")
    assert "a: masks count from 1" in found["notes"]
    assert site.rows(CLIP_FRAMES)["object_share"].null_count() == 0
    (folder / "00004.png").unlink()
    result = site.run(tmp_path / "in")
    assert result.exit_code == 1
    assert "found 1 to 3 for 4 frames: --first-number" in " ".join(result.output.split())
    assert site.import_(tmp_path / "in", "--first-number", "1")["media"]["masks"] == 3


def test_cdnet_labels_are_known_and_its_region_counts(tmp_path: Path, site: Site) -> None:
    base = tmp_path / "highway"
    put_pictures(base / "input", 4, first=1, form="in{:06d}.jpg")
    truth = [np.where(mask > 0, 255, 0).astype(np.uint8) for mask in MASKS]
    truth[0][:4] = 170
    put_masks(base / "groundtruth", truth, first=1, form="gt{:06d}.png")
    region = np.full((48, 64), 255, np.uint8)
    region[40:] = 0
    put(base / "ROI.bmp", png(region))
    put(base / "temporalROI.txt", b"2 4")
    found = site.import_(base)
    assert found["media"] == {"frames": 4, "masks": 3}
    labels = {row["label"]: (row["class_name"], row["is_ignored"]) for row in site.rows(MASK_CLASSES).to_dicts()}
    assert labels == {0: (None, False), 85: (None, True), 170: (None, True), 255: ("moving", False)}
    assert any("temporalROI" in note for note in found["notes"])
    assert site.rows(CLIP_FILES)["n_bad_truth"].sum() == 0


def test_mot_boxes_are_truth_by_frame_and_doubles_are_quarantined(tmp_path: Path, site: Site) -> None:
    base = tmp_path / "train" / "MOT-1"
    lines = [b"1,1,10,10,20,30,1,1,1", b"2,1,11,10,20,30,1,1,1", b"2,2,40,10,9,9,0,8,1"]
    put(base / "gt" / "gt.txt", b"\n".join([*lines, b"2,1,12,10,20,30,1,1,1", b"2,3,12,10,0,30,1,1,1"]) + b"\n")
    put(base / "seqinfo.ini", b"[Sequence]\nname=MOT-1\nframeRate=25\nseqLength=2\n")
    put_pictures(base / "img1", 2, first=1, form="{:06d}.jpg")
    found = site.import_(tmp_path / "train")
    boxes = site.rows(BOXES).sort("frame_number", "track_id")
    assert boxes.select("frame_number", "track_id", "class_name", "is_ignored").rows() == [
        (0, "1", "pedestrian", False),
        (1, "1", "pedestrian", False),
        (1, "2", "distractor", True),
    ]
    assert site.rows(QUARANTINE_VALIDATE)["reason"].to_list() == ["duplicate_box"]
    assert [text.partition(": ")[2].split(" boxes")[0] for text in found["warnings"]] == ["1", "1"]
    assert site.rows(CLIPS)["frame_rate_hz"].to_list() == [25.0]


def test_broken_mask_and_truncated_clip_are_kept_and_counted(tmp_path: Path, site: Site) -> None:
    folder = tmp_path / "in"
    put_pictures(folder / "a" / "images", 3)
    put_masks(folder / "a" / "masks", MASKS[:3])
    whole = (folder / "a" / "masks" / "00001.png").read_bytes()
    put(folder / "a" / "masks" / "00001.png", whole[:-30])
    put(folder / "a" / "masks" / "00002.png", png(square(2, size=(20, 20))))
    found = site.import_(folder)
    assert any("1 masks cannot be read" in text for text in found["warnings"])
    assert found["media"] == {"frames": 3, "masks": 3}
    assert site.rows(CLIP_FILES)["n_bad_truth"].to_list() == [1]


def test_void_label_is_asked_about(tmp_path: Path, site: Site) -> None:
    void = np.zeros((48, 64), np.uint8)
    void[:, 60:] = 255
    put_pictures(tmp_path / "in" / "a" / "images", 4)
    put_masks(tmp_path / "in" / "a" / "masks", [mask + void for mask in MASKS])
    assert "--ignore 255" in " ".join(site.run(tmp_path / "in").output.split())
    site.import_(tmp_path / "in", "--ignore", "255", "--classes", "person=1")
    labels = {row["label"]: (row["class_name"], row["is_ignored"]) for row in site.rows(MASK_CLASSES).to_dicts()}
    assert labels == {0: (None, False), 1: ("person", False), 255: (None, True)}


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (b"frame_number,result_ms\n0,1\n0,2\n", "row 2: expected each frame_number once"),
        (b"time,result_ms\n0,1\n1,2\n", "expected a column frame_number"),
        (b"frame_number,thermal_state\n0,warm\n1,hot\n", "thermal_state"),
    ],
)
def test_malformed_log_is_named(tmp_path: Path, site: Site, log: bytes, message: str) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "a.mp4", range(4))
    put(tmp_path / "in" / "a.csv", log)
    result = site.run(tmp_path / "in")
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_dry_run_writes_nothing_and_names_alike_stay_apart(tmp_path: Path, site: Site) -> None:
    for clip in ("Dog", "dog", "a b"):
        put_pictures(tmp_path / "in" / clip, 2)
    result = site.run(tmp_path / "in", "--dry-run")
    assert result.exit_code == 0
    assert "nothing is written" in result.output
    assert not (site.root / "home" / "landing").exists() or not any((site.root / "home" / "landing").iterdir())
    site.import_(tmp_path / "in")
    assert sorted(site.rows(CLIPS)["stream_id"].to_list()) == ["Dog", "a-b", "dog-2"]


def test_real_clips_become_a_drop(site: Site, shared_data: Callable[[str], Path]) -> None:
    found = site.import_(shared_data("video_carphone"))
    assert found["events"] == {"device": 1, "clip": 2}
    assert site.rows(CLIP_FILES)["n_frames"].to_list() == [120, 120]


def test_log_counts_as_the_pictures_do(tmp_path: Path, site: Site) -> None:
    put_pictures(tmp_path / "in" / "a", 3, first=1)
    log = put(tmp_path / "in" / "a.csv", b"frame;latency_ms\n0;5,5\n1;6,5\n2;7,5\n")
    message = " ".join(site.run(tmp_path / "in").output.split())
    assert "found 0 to 2 in the log and 1 to 3 in the pictures" in message
    log.write_bytes(b"frame;latency_ms\n1;5,5\n2;6,5\n3;7,5\n")
    found = site.import_(tmp_path / "in", "--frame-rate", "50")
    frames = site.rows(VALIDATED_STREAMS).sort("frame_number")
    assert frames["latency_ms"].to_list() == [5.5, 6.5, 7.5]
    assert frames["deadline_ms"].to_list() == [20.0] * 3
    assert any("decimal comma" in note for note in found["notes"])


def test_what_a_device_made_and_truth_beside_masks_come_along(tmp_path: Path, site: Site) -> None:
    root = tmp_path / "lab"
    put_pictures(root / "c1" / "images", 4, first=1)
    put_masks(root / "c1" / "masks", MASKS, first=1)
    put_masks(root / "results" / "c1", MASKS[1:], first=2)
    for number in (1, 2):
        depth = np.full((48, 64), 900 + number, np.uint16)
        put(root / "c1" / "depth" / f"{number:05d}.png", png(depth))  # type: ignore[arg-type]
    put(
        root / "c1.landmarks.csv",
        b"frame_number,source,x0,y0,x1,y1,interocular_px\n1,truth,4,5,20,5,16\n1,device,5,5,21,6,\n",
    )
    put(root / "c1.det.txt", b"1,-1,4,10,12,12,0.5,-1,-1,-1\n2,7,6,10,12,12,0.75,-1,-1,-1\n")
    found = site.import_(root)
    assert found["media"] == {"frames": 4, "masks": 4, "depth": 2, "results": 3}
    media = site.rows(MEDIA_INDEX).filter(pl.col("content") != "masks").sort("content", "frame_number")
    places = [("depth", 0), ("depth", 1), ("results", 1), ("results", 2), ("results", 3)]
    assert media.select("content", "frame_number").rows() == places
    boxes = site.rows(BOXES).sort("frame_number")
    assert boxes.select("frame_number", "source", "track_id", "confidence").rows() == [
        (0, "device", "box-0", 0.5),
        (1, "device", "7", 0.75),
    ]
    assert site.rows(LANDMARKS).sort("source").select(
        "frame_number", "source", "points_px", "interocular_px"
    ).rows() == [
        (0, "device", [5.0, 5.0, 21.0, 6.0], None),
        (0, "truth", [4.0, 5.0, 20.0, 5.0], 16.0),
    ]
    assert site.rows(QUARANTINE_VALIDATE).is_empty()


def test_detections_of_a_sequence_are_of_the_device(tmp_path: Path, site: Site) -> None:
    base = tmp_path / "train" / "MOT-1"
    put(base / "gt" / "gt.txt", b"1,1,10,10,20,30,1,1,1\n2,1,11,10,20,30,1,1,1\n")
    put(base / "det" / "det.txt", b"1,-1,9,10,20,30,31.5,-1,-1,-1\n1,-1,9,10,20,30,2,-1,-1,-1\n")
    put(base / "seqinfo.ini", b"[Sequence]\nname=MOT-1\nframeRate=25\nseqLength=2\n")
    found = site.import_(tmp_path / "train")
    boxes = site.rows(BOXES).sort("source", "track_id")
    assert boxes["source"].to_list() == ["device", "device", "truth", "truth"]
    assert boxes["track_id"].to_list()[:2] == ["box-0", "box-1"]
    assert "are taken for what the device found" in " ".join(found["notes"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"frame_number,x0\n1,2\n", "x and y of every point in turn"),
        (b"frame_number,x0,y0\n1,2,3\n1,2,3\n", "each frame_number once of each source"),
        (b"frame_number,source,x0,y0\n1,model,2,3\n", "truth or device"),
        (b"frame_number,x0,y0,x1,y1\n1,2,3,,\n", "numbers for every point"),
    ],
)
def test_malformed_landmarks_are_named(tmp_path: Path, site: Site, table: bytes, message: str) -> None:
    put_pictures(tmp_path / "lab" / "c1", 2)
    put(tmp_path / "lab" / "c1.landmarks.csv", table)
    result = site.run(tmp_path / "lab")
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())


def test_results_that_count_otherwise_are_refused(tmp_path: Path, site: Site) -> None:
    put_pictures(tmp_path / "lab" / "c1", 4)
    put_masks(tmp_path / "lab" / "results" / "c1", MASKS, first=1)
    result = site.run(tmp_path / "lab")
    assert result.exit_code != 0
    assert "in the results and 0 to 3 in the pictures" in " ".join(result.output.split())
