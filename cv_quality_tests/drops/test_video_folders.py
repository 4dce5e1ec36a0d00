"""Layouts of public sets of clips: what is taken for what, what is missing, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cv_quality.drops.importers.video_folders import read_video_folder
from cv_quality.drops.importers.video_tracks import read_boxes
from cv_quality.errors import LayoutError
from cv_quality_tests.drops.clip_files import write_clip
from cv_quality_tests.drops.video_sets import png, put, put_masks, put_pictures, put_tar, square

MASKS = [square(number) for number in range(4)]


def test_davis_has_pictures_and_annotations_of_each_clip(tmp_path: Path) -> None:
    for clip in ("bear", "dog"):
        put_pictures(tmp_path / "JPEGImages" / "480p" / clip, 4)
        put_masks(tmp_path / "Annotations" / "480p" / clip, MASKS)
    put(tmp_path / "ImageSets" / "2017" / "val.txt", b"bear\ndog\n")
    found = read_video_folder(tmp_path)
    assert found.layout == "davis"
    assert [(clip.name, len(clip.pictures or ()), len(clip.masks or ())) for clip in found.clips] == [
        ("bear", 4, 4),
        ("dog", 4, 4),
    ]
    assert found.unread == ("ImageSets/2017/val.txt",)
    assert "DAVIS" in found.words()[0]
    assert found.clips[0].masks is not None
    assert found.clips[0].masks.files[2].labels().tolist() == MASKS[2].tolist()


def test_davis_resolution_is_asked_where_two_fit(tmp_path: Path) -> None:
    for size in ("480p", "1080p"):
        put_masks(tmp_path / "Annotations" / size / "bear", MASKS)
    with pytest.raises(LayoutError, match="found 1080p, 480p: say which by --resolution"):
        read_video_folder(tmp_path)
    assert len(read_video_folder(tmp_path, resolution="480p").clips) == 1
    put_pictures(tmp_path / "JPEGImages" / "480p" / "bear", 4)
    assert len(read_video_folder(tmp_path).clips[0].masks or ()) == 4


def test_cdnet_has_input_truth_region_and_span(tmp_path: Path) -> None:
    base = tmp_path / "baseline" / "highway"
    put_pictures(base / "input", 4, first=1, form="in{:06d}.jpg")
    put_masks(base / "groundtruth", MASKS, first=1, form="gt{:06d}.png")
    Image.new("L", (64, 48), 255).save(base / "ROI.bmp")
    put(base / "temporalROI.txt", b"2 4")
    found = read_video_folder(tmp_path)
    (clip,) = found.clips
    assert (found.layout, clip.name, clip.span, found.unread) == ("cdnet", "baseline/highway", (2, 4), ())
    assert clip.region is not None
    assert read_video_folder(base).clips[0].name == "highway"


def test_mot_has_truth_detections_pictures_and_rate(tmp_path: Path) -> None:
    base = tmp_path / "train" / "MOT17-02"
    put(base / "gt" / "gt.txt", b"1,1,10,10,20,40,1,1,0.9\n1,2,50,10,20,40,1,7,0.9\n2,1,12,10,20,40,0,1,0.9\n")
    put(base / "det" / "det.txt", b"1,-1,10,10,20,40,0.9\n")
    put(base / "seqinfo.ini", b"[Sequence]\nname=MOT17-02\nframeRate=25\nseqLength=2\n")
    put_pictures(base / "img1", 2, first=1, form="{:06d}.jpg")
    (clip,) = (found := read_video_folder(tmp_path)).clips
    assert (found.layout, clip.name, found.unread) == ("mot", "train/MOT17-02", ())
    assert clip.info is not None
    assert clip.info.frame_rate_hz == 25
    assert clip.detections is not None
    assert clip.boxes is not None
    table = read_boxes(clip.boxes)
    assert table.is_counted.tolist() == [True, False, False]
    assert table.is_distractor.tolist() == [False, True, False]


def test_video_file_has_masks_in_a_tar_or_a_folder_beside_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", range(4))
    put_tar(tmp_path / "a.tar", MASKS)
    put_masks(tmp_path / "b", MASKS[:2])
    put(tmp_path / "b.csv", b"frame_number,result_ms\n0,12\n")
    found = read_video_folder(tmp_path)
    assert found.layout == "videos"
    assert [(clip.name, len(clip.masks or ()), clip.log is not None) for clip in found.clips] == [
        ("a", 4, False),
        ("b", 2, True),
    ]
    assert found.clips[0].masks is not None
    assert found.clips[0].masks.files[3].labels().tolist() == MASKS[3].tolist()
    put_masks(tmp_path / "a", MASKS)
    with pytest.raises(LayoutError, match="clip a: expected its masks in one place"):
        read_video_folder(tmp_path)


def test_folders_of_pictures_and_masks_are_told_apart_by_content(tmp_path: Path) -> None:
    put_masks(tmp_path / "seg" / "dog", MASKS)
    put_pictures(tmp_path / "raw" / "dog", 4, form="{:05d}.png")
    put_pictures(tmp_path / "both", 4)
    put_masks(tmp_path / "both", MASKS)
    found = read_video_folder(tmp_path)
    assert {clip.name: (len(clip.pictures or ()), len(clip.masks or ())) for clip in found.clips} == {
        "both": (4, 4),
        "raw/dog": (4, 0),
        "seg/dog": (0, 4),
    }
    assert any("JPEG files are taken for pictures" in note for note in found.notes)


def test_folders_named_for_their_content_make_one_clip(tmp_path: Path) -> None:
    put_masks(tmp_path / "dog" / "gt", MASKS)
    put_pictures(tmp_path / "dog" / "images", 4)
    (clip,) = read_video_folder(tmp_path).clips
    assert (clip.name, len(clip.pictures or ()), len(clip.masks or ())) == ("dog", 4, 4)


def test_holes_steps_and_first_numbers_are_said(tmp_path: Path) -> None:
    put_masks(tmp_path / "a", MASKS, first=1)
    (tmp_path / "a" / "00002.png").unlink()
    for number in (0, 5, 10):
        put(tmp_path / "b" / f"{number}.png", png(MASKS[0]))
    found = read_video_folder(tmp_path)
    assert [clip.words() for clip in found.clips] == [
        "masks 3 (1 to 4, 1 missing: 2)",
        "masks 3 (0 to 10, every 5th)",
    ]


def test_two_pictures_of_one_frame_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "a" / "0001.png", png(MASKS[0]))
    put(tmp_path / "a" / "1.PNG", png(MASKS[1]))
    with pytest.raises(LayoutError, match=r"found frame 1 as a/0001.png and a/1.PNG"):
        read_video_folder(tmp_path)


def test_clips_that_differ_in_case_are_kept_apart_and_said(tmp_path: Path) -> None:
    for name in ("Dog", "dog"):
        put_masks(tmp_path / name, MASKS)
    found = read_video_folder(tmp_path)
    assert [clip.name for clip in found.clips] == ["Dog", "dog"]
    assert found.notes == ("clips whose names differ in case alone are kept apart: Dog, dog",)


def test_two_layouts_at_once_are_asked_about(tmp_path: Path) -> None:
    put_masks(tmp_path / "Annotations" / "dog", MASKS)
    put(tmp_path / "seq" / "gt" / "gt.txt", b"1,1,10,10,20,40\n")
    with pytest.raises(LayoutError, match="found folders of davis and mot: say which by --layout"):
        read_video_folder(tmp_path)
    assert read_video_folder(tmp_path, layout="mot").clips[0].name == "seq"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1,1,10,10\n", "expected 6 columns, found 4"),
        (b"1,1,10,10,x,40\n", "expected numbers"),
        (b"1,1,10,10,nan,40\n", "finite"),
        (b"1.5,1,10,10,20,40\n", "whole numbers of frame"),
    ],
)
def test_broken_line_of_boxes_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    file = put(tmp_path / "a.txt", b"1,1,10,10,20,40\n" + line)
    with pytest.raises(LayoutError, match=rf"a.txt:2: .*{message}"):
        read_boxes(file)


def test_empty_folder_cut_tar_and_unnumbered_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="found no video, picture"):
        read_video_folder(tmp_path)
    with pytest.raises(LayoutError, match="found nothing of this name"):
        read_video_folder(tmp_path / "absent")
    tar = put_tar(tmp_path / "a.tar", MASKS)
    tar.write_bytes(tar.read_bytes()[:1500])
    with pytest.raises(LayoutError, match="breaks off"):
        read_video_folder(tmp_path)
    tar.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(LayoutError, match="decompress it first"):
        read_video_folder(tmp_path)
    tar.unlink()
    put_masks(tmp_path / "a", MASKS)
    put(tmp_path / "a" / "mean.png", png(np.zeros((4, 4), np.uint8)))
    with pytest.raises(LayoutError, match=r"found none in a/mean.png"):
        read_video_folder(tmp_path)
