"""Strips of a clip that was really encoded, delivered in a drop and decoded again."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cv_quality.inference.video.entry import VideoEntry
from cv_quality.lake.lake import TableKey
from cv_quality.reports.pictures import NO_CONSENT
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.report.strips import FrameShot, read_worst_frames
from cv_quality.tasks.video.tables import PREDICTIONS
from cv_quality_tests.drops.clip_files import write_clip
from cv_quality_tests.tasks.video.report.video_case import SCORES, frame
from cv_quality_tests.tasks.video.video_drops import VIDEO_DROP, VideoSite, png, video_site

BUILD, N_FRAMES, MISSED = "video-1.0", 16, range(6, 11)
WIDTH, HEIGHT = 160, 120


def square(number: int) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """Where the green square of a picture is, as labels."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[60:84, number * 3 : number * 3 + 24] = 1
    return labels


def delivered(root: Path, *, has_consent: bool = True) -> tuple[VideoSite, ReportSource]:
    """Deliver one clip with its masks; the model's masks stand still where frames are missed."""
    site = video_site(root)
    path = write_clip(root / "v1.mp4", range(N_FRAMES))
    with site.drop() as drop:
        drop.writer.add_media("clips", "v1.mp4", path.read_bytes())
        drop.event("clip", "v1", clip="v1.mp4", device_id="dev-1", has_image_consent=has_consent)
        drop.label(0, None)
        drop.label(1, "square")
        for number in range(N_FRAMES):
            drop.picture("masks", "v1", number, square(number))
    key, scores, outputs = TableKey(build=BUILD, drop=VIDEO_DROP), [], []
    for number in range(N_FRAMES):
        name = {"build_id": BUILD, "drop_id": VIDEO_DROP, "stream_id": "v1", "frame_number": number}
        is_miss = number in MISSED
        found = {"status": "ok", "loss": 0.9 if is_miss else 0.1, "is_miss": is_miss, "loss_kind": "mask"}
        scores.append(name | found | {"time_s": number / 30})
        outputs.append(name | {"status": "ok", "output": "mask", "picture": png(square(0 if is_miss else number))})
    site.lake.write(SCORES, key, frame(SCORES, scores))
    site.lake.write(PREDICTIONS, key, frame(PREDICTIONS, outputs))
    entry = VideoEntry(BUILD, "video", "video", None, "onnx", "m.onnx", "ab" * 32, "mask", ())
    return site, ReportSource(site.lake, site.landing, Scope(BUILD, None, (VIDEO_DROP,)), entry, VIDEO_MODALITY)


def pixels(shot: FrameShot) -> "np.ndarray[tuple[int, int, int], np.dtype[np.int64]]":
    assert shot.picture.uri is not None
    with Image.open(io.BytesIO(base64.b64decode(shot.picture.uri.split(",")[1]))) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def shots_of(source: ReportSource) -> Sequence[FrameShot]:
    found = read_worst_frames(source)
    assert found.animation is not None
    assert found.animation.first == 0
    (strip,) = found.strips
    assert (strip.span.first, strip.span.last) == (MISSED[0], MISSED[-1])
    ((_, shots),) = strip.rows
    return shots


def test_decoded_frames_carry_their_own_truth_and_output(tmp_path: Path) -> None:
    _, source = delivered(tmp_path)
    for shot in shots_of(source):
        image, left = pixels(shot), shot.frame * 3
        inside, still = image[68:76, left + 10 : left + 16].mean(axis=(0, 1)), image[68:76, 2:5].mean(axis=(0, 1))
        edge = image[64:80, left].mean(axis=0)
        assert (edge > 150).all(), shot.frame
        if shot.frame in MISSED:
            assert inside[1] > inside[0] + 60, "green, as nothing lies over it"
            assert still[0] > still[2] + 40, "where the output stood still"
        else:
            assert inside[0] > 110, "orange lies over the green"


def test_clip_whose_event_says_no_stays_in_the_drop(tmp_path: Path) -> None:
    _, source = delivered(tmp_path, has_consent=False)
    found = read_worst_frames(source)
    assert [strip.placeholder for strip in found.strips] == [NO_CONSENT]
    assert (found.animation, found.no_animation) == (None, NO_CONSENT)
