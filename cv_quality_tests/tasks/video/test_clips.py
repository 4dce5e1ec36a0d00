"""A drop's clips are read once: every frame has its row, and everything lost, repeated or damaged is counted."""

import io
import random
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.media import index_media
from cv_quality.drops.quarantine import Rejection
from cv_quality.drops.tables import FRAME_INDEX, MEDIA_INDEX
from cv_quality.errors import DropError
from cv_quality.tasks.video.clip_walk import StreamLog
from cv_quality.tasks.video.tables import CLIP_FILES, CLIP_FRAMES, CLIP_SPANS
from cv_quality_tests.drops.clip_files import ivf_file, ivf_packets, picture, write_clip
from cv_quality_tests.tasks.video.video_drops import KEY, VideoSite, png, video_site

SMALL = (64, 48)
FAST = {"preset": "ultrafast"}


@pytest.fixture
def site(tmp_path: Path) -> VideoSite:
    return video_site(tmp_path)


def small_clip(path: Path, numbers: Sequence[int], pts: Sequence[int] | None = None, ticks_hz: int = 30) -> Path:
    return write_clip(path, numbers, pts=pts, ticks_hz=ticks_hz, size=SMALL, options=FAST)


def one_file(site: VideoSite) -> dict[str, object]:
    (row,) = site.rows(CLIP_FILES).to_dicts()
    return row


def statuses(site: VideoSite, stream: str = "v1") -> list[str]:
    return site.rows(CLIP_FRAMES).filter(pl.col("stream_id") == stream)["status"].to_list()


def spans(site: VideoSite) -> list[tuple[object, ...]]:
    return site.rows(CLIP_SPANS).select("kind", "code", "first_frame", "n_frames").rows()


def require_balance(site: VideoSite) -> None:
    """As the gate asks."""
    for row in site.rows(CLIP_FILES).to_dicts():
        frames = site.rows(CLIP_FRAMES).filter(pl.col("stream_id") == row["stream_id"])
        assert row["n_frames"] + row["n_quarantined"] + row["n_missing"] == frames.height
        assert frames["frame_number"].is_unique().all()
        assert frames["frame_number"].is_sorted()


def test_dropped_repeated_and_frozen_frames_are_counted_exactly(site: VideoSite, tmp_path: Path) -> None:
    dropped, repeated, frozen = {30, 31, 77, 150, 151}, {50, 110, 200}, range(121, 150)
    slots, shown = [], 0
    for slot in range(240):
        shown = shown if slot in repeated or slot in frozen else slot
        if slot not in dropped:
            slots.append((slot, shown))
    path = write_clip(tmp_path / "c.mp4", [number for _, number in slots], pts=[slot for slot, _ in slots])
    with site.drop() as drop:
        drop.clip("v1", path)
    summary = site.read()
    assert (summary.pictures, summary.dropped, summary.repeated, summary.frozen) == (235, 5, 3, 29)
    row = one_file(site)
    assert (row["n_frames"], row["n_missing"], row["n_freezes"], row["numbered_by"]) == (235, 5, 1, "constant rate")
    assert row["frozen_s"] == pytest.approx(1.0)
    assert row["rate_hz"] == pytest.approx(30.0)
    assert (row["n_untimed"], row["n_backward"], row["n_off_grid"], row["n_quarantined"]) == (0, 0, 0, 0)
    assert spans(site) == [
        ("dropped", None, 30, 2),
        ("dropped", None, 77, 1),
        ("dropped", None, 150, 2),
        ("frozen", None, 120, 29),
    ]
    times = site.rows(CLIP_SPANS).select("start_s", "end_s").rows()
    assert times[0] == pytest.approx((29 / 30, 32 / 30))
    assert times[3] == pytest.approx((4.0, 5.0))
    frames = site.rows(CLIP_FRAMES)
    assert frames.filter(status="dropped_frame")["frame_number"].to_list() == sorted(dropped)
    assert set(frames.filter("is_repeated")["frame_number"]) == repeated | set(frozen)
    assert frames.filter(status="ok")["frame_number"].to_list() == [slot for slot, _ in slots]
    require_balance(site)


def test_timestamps_that_the_device_logged_decide_first(site: VideoSite, tmp_path: Path) -> None:
    path = small_clip(tmp_path / "c.mp4", range(4), pts=[0, 33, 133, 166], ticks_hz=1000)
    with site.drop() as drop:
        drop.clip("v1", path)
        drop.frames("v1", [10, 11, 12, 13, 14], clip_time_ms=[0.4, 33.0, 66.0, 132.0, 400.0])
    site.read()
    rows = site.rows(CLIP_FRAMES).select("frame_number", "picture", "status").rows()
    assert rows == [
        (10, 0, "ok"),
        (11, 1, "ok"),
        (12, None, "dropped_frame"),
        (13, 2, "ok"),
        (14, None, "missing_frame"),
        (15, None, "no_place"),
    ]
    assert one_file(site)["numbered_by"] == "clip_time_ms"
    assert spans(site) == [
        ("dropped", None, 12, 1),
        ("dropped", "missing_frame", 14, 1),
        ("quarantined", "no_place", 15, 1),
    ]
    require_balance(site)


def test_pictures_beyond_the_logged_frames_are_counted_on(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(6)))
        drop.frames("v1", [2, 3], clip_time_ms=[66.7, 100.0])
    site.read()
    assert site.rows(CLIP_FRAMES).select("frame_number", "picture").rows() == [(n, n) for n in range(6)]


def test_variable_rate_is_numbered_by_capture_times(site: VideoSite, tmp_path: Path) -> None:
    pts = [0, 33, 83, 171, 190, 1000]
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(6), pts=pts, ticks_hz=1000))
        drop.frames("v1", range(7), capture_ms=[500.0, 533.0, 583.0, 620.0, 671.0, 690.0, 1500.0])
    site.read()
    rows = site.rows(CLIP_FRAMES).select("frame_number", "picture").rows()
    assert rows == [(0, 0), (1, 1), (2, 2), (3, None), (4, 3), (5, 4), (6, 5)]
    assert one_file(site)["numbered_by"] == "capture_ms"
    gaps = site.rows(CLIP_SPANS).filter(kind="dropped").select("first_frame", "start_s", "end_s").rows()
    assert gaps == [(3, 0.083, 0.171), (5, 0.19, 1.0)]
    assert statuses(site)[3] == "dropped_frame"
    require_balance(site)


def test_variable_rate_without_logs_keeps_the_order(site: VideoSite, tmp_path: Path) -> None:
    pts = [0, 33, 70, 71, 150, 190, 1000, 1001, 1500]
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(9), pts=pts, ticks_hz=1000))
    site.read()
    frames = site.rows(CLIP_FRAMES)
    assert frames["frame_number"].to_list() == frames["picture"].to_list() == list(range(9))
    assert frames["time_s"].to_list() == [value / 1000 for value in pts]
    row = one_file(site)
    assert row["numbered_by"] == "order"
    assert row["n_off_grid"] > 2  # type: ignore[operator]


def test_clips_without_timestamps_keep_the_order(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.h264", range(12)))
        drop.frames("v1", range(14))
    site.read()
    row = one_file(site)
    assert (row["numbered_by"], row["n_untimed"], row["n_frames"], row["rate_hz"]) == ("order", 12, 12, None)
    assert str(row["reason"]).startswith("insufficient")
    assert statuses(site) == ["ok"] * 12 + ["missing_frame"] * 2
    require_balance(site)


def test_frame_rate_of_the_camera_tells_what_a_clip_left_out(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(10), pts=range(0, 20, 2)), frame_rate_hz=30.0)
    assert site.read().dropped == 9
    assert statuses(site) == ["ok", "dropped_frame"] * 9 + ["ok"]


def test_truncated_clip_keeps_what_came_and_says_where_it_ends(site: VideoSite, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mp4", range(90), is_streamable=True, size=SMALL)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    with site.drop() as drop:
        drop.clip("v1", path)
        drop.clip("v2", path)
        drop.frames("v1", range(90))
    site.read()
    n_ok, n_ends = statuses(site).count("ok"), statuses(site).count("truncated_file")
    assert n_ok > 20
    assert n_ends > 5
    assert statuses(site)[:n_ok] == statuses(site, "v2")[:n_ok] == ["ok"] * n_ok
    assert statuses(site)[-n_ends:] == ["truncated_file"] * n_ends
    assert len(statuses(site)) == 90
    assert set(statuses(site)[n_ok:-n_ends]) <= {"corrupt_packet", "corrupt_frame", "follows_damage"}
    ends = site.rows(CLIP_SPANS).filter(code="truncated_file")
    assert ends.select("stream_id", "n_frames").rows() == [("v1", n_ends), ("v2", 0)]
    require_balance(site)


def test_damaged_pictures_are_quarantined_in_their_places(site: VideoSite, tmp_path: Path) -> None:
    options = {"g": "20", "keyint-min": "20", "sc-threshold": "0", "auto-alt-ref": "0"}
    path = write_clip(tmp_path / "c.ivf", range(60), codec="libvpx-vp9", options=options)
    packets = ivf_packets(path)
    packets[25] = b"\x00" * len(packets[25])
    with site.drop() as drop:
        drop.clip("v1", ivf_file(path, packets, size=(160, 120)))
    site.read()
    expected = ["ok"] * 25 + ["corrupt_packet"] + ["follows_damage"] * 14 + ["ok"] * 20
    assert statuses(site) == expected
    assert spans(site) == [("quarantined", "corrupt_packet", 25, 1), ("quarantined", "follows_damage", 26, 14)]
    row = one_file(site)
    assert (row["n_frames"], row["n_quarantined"], row["n_dropped"]) == (45, 15, 0)
    require_balance(site)


def test_hidden_pictures_of_a_codec_take_no_number(site: VideoSite, tmp_path: Path) -> None:
    options = {"auto-alt-ref": "1", "lag-in-frames": "25", "deadline": "good", "cpu-used": "5"}
    with site.drop() as drop:
        for stream, codec in (("v1", "libvpx"), ("v2", "libvpx-vp9")):
            slots = [slot for slot in range(60) if slot != 31]
            path = write_clip(tmp_path / f"{stream}.webm", slots, pts=slots, codec=codec, options=options)
            drop.clip(stream, path)
    site.read()
    for stream in ("v1", "v2"):
        assert statuses(site, stream) == ["ok"] * 31 + ["dropped_frame"] + ["ok"] * 28


def test_rotated_odd_and_deep_clips_are_read_as_displayed(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("turned", write_clip(tmp_path / "r.mp4", range(3), display=(90, False, False)))
        drop.clip("odd", write_clip(tmp_path / "o.mp4", range(3), size=(97, 61), pixel_format="yuv444p"))
        drop.clip("deep", write_clip(tmp_path / "d.mp4", range(3), pixel_format="yuv420p10le"))
        alpha = write_clip(tmp_path / "a.webm", range(3), codec="libvpx-vp9", pixel_format="yuva420p")
        drop.clip("alpha", alpha)
        drop.picture("masks", "turned", 0, np.ones((160, 120), np.uint8))
        drop.picture("masks", "turned", 1, np.ones((120, 160), np.uint8))
    site.read(threads=2)
    rows = site.rows(CLIP_FILES).select("stream_id", "width_px", "height_px", "n_frames").rows()
    assert rows == [("alpha", 160, 120, 3), ("deep", 160, 120, 3), ("odd", 97, 61, 3), ("turned", 120, 160, 3)]
    turned = site.rows(CLIP_FILES).filter(stream_id="turned").to_dicts()[0]
    assert (turned["rotation_deg"] in (90, 270), turned["n_bad_truth"]) == (True, 1)
    assert spans(site) == [("quarantined", "mask_size", 1, 1)]


def test_clip_that_is_no_video_costs_its_frames_not_the_drop(site: VideoSite, tmp_path: Path) -> None:
    sound = small_clip(tmp_path / "c.mp4", range(20))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x20ftypisom" + bytes(4000))
    with site.drop() as drop:
        drop.clip("v1", sound)
        drop.clip("v2", broken)
        drop.clip("v3", broken)
        drop.frames("v2", range(5))
    summary = site.read()
    assert (summary.pictures, summary.quarantined) == (20, 5)
    assert set(statuses(site, "v2")) == {"corrupt_clip"}
    files = site.rows(CLIP_FILES).select("stream_id", "status", "codec").rows()
    assert files == [("v1", "ok", "h264"), ("v2", "corrupt_clip", None), ("v3", "corrupt_clip", None)]
    assert spans(site) == [("quarantined", "corrupt_clip", 0, 5), ("quarantined", "corrupt_clip", None, 0)]
    require_balance(site)


def test_decoder_that_stalls_leaves_a_quarantined_span(
    site: VideoSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = ivf_packets(write_clip(tmp_path / "k.ivf", [0], codec="libvpx-vp9", size=(640, 480)))
    hidden = bytes([key[0] & ~2]) + key[1:]  # decoded, but not shown
    path = ivf_file(tmp_path / "c.ivf", [key, *[hidden] * 50_000], size=(640, 480))
    with site.drop() as drop:
        drop.clip("v1", path)
        drop.frames("v1", range(3))
    monkeypatch.setattr(
        "cv_quality.drops.clips.ClipReader.__init__.__kwdefaults__", {"max_seconds_per_frame": 1, "pixels": "rgb"}
    )
    site.read()
    assert statuses(site) == ["ok", "decoder_stalled", "decoder_stalled"]
    row = one_file(site)
    assert (row["status"], row["n_quarantined"]) == ("ok", 2)
    assert "stopped" in str(row["reason"])


def test_clip_of_an_event_that_is_not_indexed_is_said(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(2)))
        drop.frames("v1", range(2))
    site.lake.write(MEDIA_INDEX, KEY, site.rows(MEDIA_INDEX).clear())
    site.read()
    assert statuses(site) == ["missing_clip"] * 2
    assert one_file(site)["status"] == "missing_clip"


def test_changed_bytes_of_a_clip_are_refused(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(3)))
    index = site.rows(MEDIA_INDEX)
    site.lake.write(MEDIA_INDEX, KEY, index.with_columns(byte_offset=pl.col("byte_offset") + 1))
    with pytest.raises(DropError, match="changed since it was indexed"):
        site.read()


def test_no_copy_of_a_clip_is_left(site: VideoSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(30)))
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    frames = site.pictures.frames("v1")
    assert next(frames).image is not None
    assert list(copies.iterdir()) == []


def test_images_that_stream_frames_name_are_a_clip_too(site: VideoSite) -> None:
    shown = [0, 1, 1, 2, 2, 2, 2, 2, 8]
    with site.drop() as drop:
        drop.clip("v1", None)
        names = [f"v1/{number}.png" for number in range(9)]
        for name, number in zip(names, shown, strict=True):
            drop.writer.add_frame(name, png(picture(number * 5, width=64, height=48)))
        drop.writer.add_frame("v1/gone.png", png(picture(99, width=64, height=48)))
        drop.frames("v1", range(11), frame=[*names, None, "v1/gone.png"], capture_ms=[90 + 33.0 * n for n in range(11)])
    site.lake.write(FRAME_INDEX, KEY, site.rows(FRAME_INDEX).filter(pl.col("frame") != "v1/gone.png"))
    site.read()
    row = one_file(site)
    assert (row["codec"], row["width_px"], row["n_frames"], row["n_missing"]) == ("images", 64, 9, 2)
    assert (row["n_repeated"], row["n_frozen"]) == (1, 4)
    assert statuses(site) == ["ok"] * 9 + ["missing_frame"] * 2
    assert site.rows(CLIP_FRAMES)["time_s"][1] == pytest.approx(0.033)


def test_logs_without_clips_give_frames_without_pictures(site: VideoSite) -> None:
    with site.drop() as drop:
        drop.clip("v1", None)
        drop.frames("v1", range(3), latency_ms=[5.0, 6.0, 7.0])
        drop.box("v1", 1, (0.0, 0.0, 10.0, 10.0))
        drop.box("v1", 1, (5.0, 0.0, 10.0, 10.0))
    summary = site.read()
    assert (summary.frames, summary.pictures, summary.missing) == (3, 0, 3)
    row = one_file(site)
    assert (row["status"], row["codec"], row["n_missing"]) == ("no_pictures", None, 3)
    frames = site.rows(CLIP_FRAMES)
    assert frames["status"].to_list() == ["no_picture"] * 3
    assert frames["n_objects"].to_list() == [0, 2, 0]
    assert frames["overlap_share"].to_list() == [0.0, 0.5, 0.0]
    assert frames["object_share"].null_count() == frames["brightness"].null_count() == 3


def test_masks_that_cannot_be_used_are_quarantined_with_reasons(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(6)), mask_kind="classes")
        drop.clip("v2", small_clip(tmp_path / "c.mp4", range(1)), mask_kind="instances")
        drop.label(1, "car")
        drop.label(255, None, is_ignored=True)
        sound = np.zeros((48, 64), np.uint8)
        sound[:12, :32] = 1
        drop.picture("masks", "v1", 0, sound)
        drop.picture("masks", "v1", 1, sound[:, :60])
        drop.picture("masks", "v1", 2, sound[:, :60])
        drop.picture("masks", "v1", 3, sound * 7)
        drop.picture("masks", "v1", 4, np.stack([sound, sound * 2, sound], axis=2))
        drop.picture("masks", "v1", 5, sound * 0)
        drop.picture("masks", "v1", 9, sound)
        drop.picture("masks", "v2", 0, sound * 7)
    assert site.read().bad_truth == 5
    assert spans(site) == [
        ("quarantined", "mask_size", 1, 2),
        ("quarantined", "mask_unknown_label", 3, 1),
        ("quarantined", "mask_unsupported_format", 4, 1),
        ("quarantined", "mask_without_frame", 9, 1),
    ]
    frames = site.rows(CLIP_FRAMES).filter(stream_id="v1")
    assert frames["n_objects"].to_list() == [1, None, None, None, None, 0]
    assert frames["object_share"].to_list() == [0.125, None, None, None, None, 0.0]
    assert frames["is_at_border"].to_list() == [True, None, None, None, None, False]
    assert set(frames["status"]) == {"ok"}
    assert site.rows(CLIP_FRAMES).filter(stream_id="v2")["n_objects"].to_list() == [1]


def test_timestamps_are_exact_beyond_what_a_drop_must_hold(site: VideoSite, tmp_path: Path) -> None:
    with site.drop() as drop:
        drop.clip("v1", small_clip(tmp_path / "c.mp4", range(3), pts=[0, 1001, 2002], ticks_hz=30000))
    log = StreamLog()
    for _ in site.pictures.frames("v1", log):
        pass
    assert [value * log.time_base for value in log.pts if value is not None] == [
        Fraction(1001 * n, 30000) for n in range(3)
    ]


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libvpx-vp9", "ivf"), ("libx264", "h264")])
def test_flipped_bytes_lose_no_frame(site: VideoSite, tmp_path: Path, codec: str, suffix: str) -> None:
    whole = write_clip(tmp_path / f"c.{suffix}", range(14), codec=codec, size=SMALL).read_bytes()
    with site.drop() as drop:
        for seed in range(5):
            draw, data = random.Random(f"{suffix} {seed}"), bytearray(whole)
            for _ in range(draw.choice([1, 5, 40])):
                data[draw.randrange(16, len(data))] = draw.randrange(256)
            path = tmp_path / f"{seed}.{suffix}"
            path.write_bytes(data[: draw.choice([len(data), draw.randrange(200, len(data))])])
            drop.clip(f"v{seed}", path)
            drop.frames(f"v{seed}", range(16))
    site.read(threads=2)
    require_balance(site)
    logged = site.rows(CLIP_FRAMES).filter(pl.col("frame_number") < 16)
    assert logged.group_by("stream_id").len()["len"].to_list() == [16] * 5
    quarantined = site.rows(CLIP_SPANS).filter(kind="quarantined")["n_frames"].sum()
    assert quarantined == site.rows(CLIP_FILES)["n_quarantined"].sum() > 0


@pytest.mark.parametrize("said", [10**6, -1024], ids=["longer", "shorter"])
def test_member_that_lies_about_its_size_is_no_clip_of_another(tmp_path: Path, said: int) -> None:
    data = small_clip(tmp_path / "c.mp4", range(9)).read_bytes()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("v1.mp4", "v2.mp4"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    lying = tarfile.TarInfo("v1.mp4")
    lying.size = len(data) + said if said < 0 else said
    shard = lying.tobuf() + file.getvalue()[512:]
    found = list(index_media(io.BytesIO(shard), drop_id="d", shard="clips-0.tar", content="clips", seen=set()))
    assert isinstance(found[-1], Rejection)
    assert found[-1].reason == "truncated_file"
    assert len(found) == (1 if said > 0 else 2)


def test_real_clip_is_read_whole(site: VideoSite, shared_data: Callable[[str], Path]) -> None:
    with site.drop() as drop:
        drop.clip("v1", shared_data("video_carphone") / "carphone_pristine.mp4")
    summary = site.read()
    assert (summary.pictures, summary.dropped, summary.repeated, summary.frozen) == (120, 0, 0, 0)
    assert one_file(site)["rate_hz"] == pytest.approx(30000 / 1001)
    frames = site.rows(CLIP_FRAMES)
    assert frames["frame_number"].to_list() == frames["picture"].to_list() == list(range(120))
    assert frames["motion_share"].null_count() == 1
