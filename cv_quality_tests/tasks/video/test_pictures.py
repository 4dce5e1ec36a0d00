"""Pictures of a drop are read by the number of their frame, in order or one at a time, and checked before use."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cv_quality.drops.tables import MEDIA_INDEX
from cv_quality.errors import DropError, FrameError
from cv_quality.tasks.video import pictures as module
from cv_quality.tasks.video.clip_walk import StreamPicture
from cv_quality_tests.drops.clip_files import picture, write_clip
from cv_quality_tests.tasks.video.video_drops import KEY, VideoSite, png, video_site

LABELS = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def site(tmp_path: Path) -> VideoSite:
    return video_site(tmp_path)


def reason(read: Callable[[], object]) -> str:
    with pytest.raises(FrameError) as caught:
        read()
    return caught.value.reason


def test_frames_of_a_clip_come_one_by_one_with_their_images(site: VideoSite, tmp_path: Path) -> None:
    slots = [0, 1, 2, 5, 6]
    with site.drop() as drop:
        drop.clip("v1", write_clip(tmp_path / "c.mp4", slots, pts=slots))
    found = list(site.pictures.frames("v1"))
    assert [frame.frame_number for frame in found] == list(range(7))
    assert [frame.failure for frame in found] == [None, None, None, "dropped_frame", "dropped_frame", None, None]
    for frame in found:
        if frame.image is not None:
            expected = picture(frame.frame_number)
            assert np.abs(frame.image.astype(int) - expected).mean() < 4
            assert frame.time_s == pytest.approx(frame.frame_number / 30)


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        ("no_picture", "missing_frame"),
        ("missing_frame", "missing_frame"),
        ("dropped_frame", "dropped_frame"),
        ("corrupt_image", "damaged_frame"),
        ("truncated_file", "damaged_frame"),
    ],
)
def test_every_status_is_a_failure_of_the_modality(status: str, failure: str) -> None:
    assert StreamPicture(0, None, status, None).failure == failure


def test_pictures_are_read_by_number_and_ahead(site: VideoSite, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.drop() as drop:
        drop.clip("v1", None)
        drop.clip("v2", None)
        for number in (0, 2, 3, 7):
            drop.picture("masks", "v1", number, LABELS + number)
            drop.picture("results", "v1", number, LABELS * 0 + number)
            drop.picture("depth", "v1", number, (LABELS.astype(np.uint16) + number) * 1000)
        drop.picture("references", "v1", 2, np.stack([LABELS, LABELS * 2, LABELS * 3], axis=2))
        drop.picture("references", "v1", 3, LABELS)
    reader = site.pictures
    requests: list[int] = []
    read_range = site.landing.read_range

    def counted(key: str, *, start: int, size: int) -> bytes:
        requests.append(size)
        return read_range(key, start=start, size=size)

    monkeypatch.setattr(site.landing, "read_range", counted)
    assert reader.streams == ["v1", "v2"]
    assert reader.numbers("masks", "v1") == [0, 2, 3, 7]
    assert reader.numbers("masks", "v2") == []
    assert reader.labels("masks", "v1", 1) is None
    for number in (0, 2, 3, 7):
        labels, depth = reader.labels("masks", "v1", number), reader.depth("depth", "v1", number)
        results = reader.labels("results", "v1", number)
        assert labels is not None
        assert np.array_equal(labels, LABELS + number)
        assert results is not None
        assert (results == number).all()
        assert depth is not None
        assert depth.dtype == np.uint16
        assert np.array_equal(depth, (LABELS.astype(int) + number) * 1000)
    assert len(requests) == 3
    colour, grey = (reader.image("references", "v1", number) for number in (2, 3))
    assert colour is not None
    assert np.array_equal(colour[..., 2], LABELS * 3)
    assert grey is not None
    assert np.array_equal(grey, np.stack([LABELS] * 3, axis=2))
    assert [frame.frame_number for frame in reader.references("v1")] == [2, 3]
    assert list(reader.references("v2")) == []


def test_windows_are_bounded_in_bytes_and_number(site: VideoSite, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.drop() as drop:
        for stream in ("v1", "v2", "v3"):
            drop.clip(stream, None)
            for number in range(6):
                drop.picture("masks", stream, number, LABELS + number)
    monkeypatch.setattr(module, "MAX_WINDOW_BYTES", 150)
    monkeypatch.setattr(module, "MAX_WINDOWS", 2)
    reader = site.pictures
    for stream in ("v1", "v2", "v3"):
        for number in (5, 0, 3, 4):
            labels = reader.labels("masks", stream, number)
            assert labels is not None
            assert labels[0, 0] == number
    assert len(reader._windows) == 2
    assert all(1 <= len(window) <= 2 for window in reader._windows.values())


def test_indices_of_a_palette_are_the_labels(site: VideoSite) -> None:
    with site.drop() as drop:
        drop.clip("v1", None)
        drop.picture("masks", "v1", 0, png(LABELS, "P"))
    labels = site.pictures.labels("masks", "v1", 0)
    assert labels is not None
    assert np.array_equal(labels, LABELS)


def test_truth_is_checked_before_it_is_used(site: VideoSite) -> None:
    with site.drop() as drop:
        drop.clip("v1", None, mask_kind="classes")
        drop.label(3, "cat")
        drop.picture("masks", "v1", 0, np.full((6, 8), 3, np.uint8))
        drop.picture("masks", "v1", 1, np.full((6, 8), 4, np.uint8))
        drop.picture("depth", "v1", 0, LABELS)
    reader = site.pictures
    truth = reader.truth("v1", 0, size=(6, 8))
    assert truth is not None
    assert (truth == 3).all()
    assert reader.truth("v1", 2, size=(6, 8)) is None
    assert reason(lambda: reader.truth("v1", 0, size=(8, 6))) == "mask_size"
    assert reason(lambda: reader.truth("v1", 1, size=None)) == "unknown_label"
    assert reason(lambda: reader.depth("depth", "v1", 0)) == "unsupported_format"


def test_a_reference_clip_is_read_like_a_clip(site: VideoSite, tmp_path: Path) -> None:
    slots = [0, 1, 2, 4]
    path = write_clip(tmp_path / "r.mp4", slots, pts=slots, size=(64, 48))
    with site.drop() as drop:
        drop.clip("v1", None)
        drop.writer.add_media("references", "v1.mp4", path.read_bytes())
    found = list(site.pictures.references("v1"))
    assert [frame.status for frame in found] == ["ok", "ok", "ok", "dropped_frame", "ok"]
    assert found[4].image is not None
    assert found[4].image.shape == (48, 64, 3)


def test_changed_bytes_of_a_mask_are_refused(site: VideoSite) -> None:
    with site.drop() as drop:
        drop.clip("v1", None)
        drop.picture("masks", "v1", 0, LABELS)
    index = site.rows(MEDIA_INDEX)
    site.lake.write(MEDIA_INDEX, KEY, index.with_columns(byte_offset=index["byte_offset"] + 1))
    with pytest.raises(DropError, match="changed since it was indexed"):
        site.pictures.labels("masks", "v1", 0)
