"""The gate of the stage that reads clips lets sound drops pass, and each rule catches what it is for."""

from pathlib import Path

import polars as pl
import pytest

from cv_quality.drops.tables import BOXES, CLIPS, FRAME_INDEX, MASK_CLASSES, MEDIA_INDEX, VALIDATED_STREAMS
from cv_quality.gates.rules import Suite, suite
from cv_quality.gates.runner import run_gate
from cv_quality.lake.schema import Table
from cv_quality.tasks.video.clip_rules import CLIPS_RULES
from cv_quality.tasks.video.tables import CLIP_FILES, CLIP_FRAMES, CLIP_SPANS
from cv_quality_tests.drops.clip_files import write_clip
from cv_quality_tests.tasks.video.video_drops import KEY, VideoSite, video_site

WRITES = (CLIP_FILES, CLIP_SPANS, CLIP_FRAMES)
READS = (CLIPS, VALIDATED_STREAMS, FRAME_INDEX, MEDIA_INDEX, MASK_CLASSES, BOXES)
SPANS = "spans add up to what is quarantined, dropped and frozen"
LIMIT = "at most 5% of the pictures are quarantined"


def clips_suite() -> Suite:
    return suite("read_clips", writes=WRITES, reads=READS, rules=CLIPS_RULES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> VideoSite:
    """A drop of two clips and their logs, read."""
    root = tmp_path_factory.mktemp("gate")
    site = video_site(root)
    path = write_clip(root / "c.mp4", range(20), size=(64, 48), options={"preset": "ultrafast"})
    with site.drop() as drop:
        for stream in ("v1", "v2"):
            drop.clip(stream, path)
            drop.frames(stream, range(22))
    site.read()
    return site


def broken(site: VideoSite, table: Table, rows: pl.DataFrame) -> set[str]:
    """The rules that are broken while a table has other rows."""
    sound = site.rows(table)
    site.lake.write(table, KEY, rows)
    try:
        return {item.name for item in run_gate(site.lake, clips_suite(), KEY).failures}
    finally:
        site.lake.write(table, KEY, sound)


def test_a_sound_drop_passes(site: VideoSite) -> None:
    assert run_gate(site.lake, clips_suite(), KEY).failures == ()


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("n_frames", 19, "pictures decoded + quarantined + missing = frames"),
        ("n_missing", 3, "pictures decoded + quarantined + missing = frames"),
        ("status", "missing_clip", "every clip of an event is among the video files"),
        ("n_quarantined", 3, LIMIT),
        *((name, 1, SPANS) for name in ("n_quarantined", "n_bad_truth", "n_dropped", "n_frozen")),
        ("n_bad_truth", 1, "at most 5% of the masks cannot be used"),
    ],
)
def test_each_count_of_a_clip_is_judged(site: VideoSite, column: str, value: object, rule: str) -> None:
    is_first = pl.col("stream_id") == "v1"
    rows = site.rows(CLIP_FILES).with_columns(pl.when(is_first).then(pl.lit(value)).otherwise(column).alias(column))
    assert rule in broken(site, CLIP_FILES, rows)


def test_a_few_quarantined_pictures_pass(site: VideoSite) -> None:
    rows = site.rows(CLIP_FILES).with_columns(n_quarantined=pl.lit(1), n_frames=pl.lit(19))
    assert broken(site, CLIP_FILES, rows) == {SPANS}


def test_frames_and_clips_that_are_lost_are_found(site: VideoSite) -> None:
    files, frames = site.rows(CLIP_FILES), site.rows(CLIP_FRAMES)
    assert "every clip of an event was read" in broken(site, CLIP_FILES, files.head(1))
    lost = broken(site, CLIP_FRAMES, frames.filter(pl.col("frame_number") != 21))
    assert "every frame that a device logged has its row" in lost
    twice = broken(site, CLIP_FRAMES, pl.concat([frames, frames.head(1)]))
    assert "stream_id and frame_number name one row" in twice


def test_a_drop_of_which_no_clip_can_be_decoded_is_refused(site: VideoSite) -> None:
    rows = site.rows(CLIP_FILES).with_columns(n_frames=pl.lit(0), status=pl.lit("corrupt_clip"))
    assert "some clip can be decoded, where there are clips" in broken(site, CLIP_FILES, rows)
    logs_only = rows.with_columns(status=pl.lit("no_pictures"), n_missing=pl.lit(22))
    assert broken(site, CLIP_FILES, logs_only) == set()


def test_a_drop_with_a_tenth_of_its_pictures_damaged_is_refused(tmp_path: Path) -> None:
    other = video_site(tmp_path)
    broken_clip = tmp_path / "broken.mp4"
    broken_clip.write_bytes(b"\0\0\0\x20ftypisom" + bytes(4000))
    with other.drop() as drop:
        drop.clip("v1", write_clip(tmp_path / "c.mp4", range(18), size=(64, 48)))
        drop.clip("v2", broken_clip)
        drop.frames("v2", range(2))
    other.read()
    failures = run_gate(other.lake, clips_suite(), KEY).failures
    assert [item.name for item in failures] == [LIMIT]
