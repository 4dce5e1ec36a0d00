"""Clips are read frame by frame, as displayed, by their timestamps; what is wrong with one is said and bounded."""

import errno
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from cv_quality.drops import clip_host, clips
from cv_quality.drops.clip_containers import missing_bytes, sniff_clip
from cv_quality.drops.clip_decoder import block_sums
from cv_quality.drops.clips import ClipDamage, ClipFrame, ClipInfo, ClipReader
from cv_quality.errors import ClipError, DecoderEnded
from cv_quality.metrics.video.clip_timing import ClipTiming, clip_timing, repeated_pictures
from cv_quality_tests.drops.clip_files import GREEN, RED, ivf_file, ivf_packets, picture, write_clip


def read_all(path: Path) -> tuple[ClipInfo, list[ClipFrame], list[ClipDamage]]:
    with ClipReader(path) as reader:
        events = list(reader)
    frames = [event for event in events if isinstance(event, ClipFrame)]
    return reader.info, frames, [event for event in events if isinstance(event, ClipDamage)]


def timing_of(path: Path) -> ClipTiming:
    info, frames, damage = read_all(path)
    assert not damage
    return clip_timing([f.pts for f in frames], [f.change for f in frames], time_base=info.time_base)


def refusal(path: Path) -> str:
    with pytest.raises(ClipError) as caught:
        read_all(path)
    return caught.value.reason


def close_to(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 25)


CODECS = [
    ("libx264", "mp4", {}),
    ("libx265", "mp4", {"x265-params": "log-level=none"}),
    ("libvpx-vp9", "webm", {"deadline": "realtime", "cpu-used": "8"}),
    ("libsvtav1", "mkv", {"preset": "8"}),
]


@pytest.mark.parametrize(("codec", "suffix", "options"), CODECS, ids=[codec for codec, *_ in CODECS])
def test_dropped_repeated_and_frozen_frames_are_counted_exactly(
    tmp_path: Path, codec: str, suffix: str, options: dict[str, str]
) -> None:
    dropped, repeated, frozen = {30, 31, 77, 150, 151}, {50, 110, 200}, range(121, 150)
    slots, shown = [], 0
    for slot in range(240):
        shown = shown if slot in repeated or slot in frozen else slot
        if slot not in dropped:
            slots.append((slot, shown))
    path = tmp_path / f"clip.{suffix}"
    write_clip(path, [n for _, n in slots], pts=[slot for slot, _ in slots], codec=codec, options=options)
    timing = timing_of(path)
    assert (timing.frames, timing.dropped, timing.repeats, timing.frozen) == (235, 5, 3, 29)
    assert [(gap.after, gap.dropped) for gap in timing.gaps] == [(29, 2), (74, 1), (146, 2)]
    (freeze,) = timing.freezes
    tick = Fraction(1, 1000)  # of Matroska
    assert abs(freeze.start_s - 4) <= tick
    assert abs(freeze.duration_s - 1) <= tick
    assert (timing.untimed, timing.backward, timing.off_grid) == (0, 0, 0)
    assert timing.rate_hz == pytest.approx(30, rel=1e-4)


def test_variable_rate_keeps_every_timestamp_exactly(tmp_path: Path) -> None:
    pts = [0, 33, 70, 71, 150, 190, 1000, 1001, 1500]
    info, frames, _ = read_all(write_clip(tmp_path / "v.mp4", range(9), pts=pts, ticks_hz=1000))
    assert [frame.time_s for frame in frames] == [Fraction(value, 1000) for value in pts]
    assert [frame.pts for frame in frames] == [Fraction(value, 1000) / info.time_base for value in pts]
    assert [frame.index for frame in frames] == list(range(9))


@pytest.mark.parametrize(
    ("display", "turned"),
    [
        ((90, False, False), lambda image: np.rot90(image)),
        ((180, False, False), lambda image: np.rot90(image, 2)),
        ((270, False, False), lambda image: np.rot90(image, 3)),
        ((0, True, False), lambda image: image[:, ::-1]),
        ((0, False, True), lambda image: image[::-1]),
    ],
    ids=["90", "180", "270", "mirrored", "upside down"],
)
def test_frames_are_turned_as_the_display_matrix_says(
    tmp_path: Path, display: tuple[float, bool, bool], turned: Callable[[np.ndarray], np.ndarray]
) -> None:
    _, (plain, *_), _ = read_all(write_clip(tmp_path / "plain.mp4", range(3)))
    info, (frame, *_), _ = read_all(write_clip(tmp_path / "turned.mp4", range(3), display=display))
    assert np.array_equal(frame.image, turned(plain.image))
    assert (info.height_px, info.width_px) == frame.image.shape[:2]
    upright = np.rot90(frame.image[:, ::-1] if info.is_mirrored else frame.image, info.rotation_deg // 90)
    assert np.array_equal(upright, plain.image)


def test_display_matrix_of_another_angle_is_refused(tmp_path: Path) -> None:
    assert refusal(write_clip(tmp_path / "c.mp4", range(3), display=(45, False, False))) == "unsupported_format"


@pytest.mark.parametrize(
    ("codec", "suffix", "size", "pixel_format"),
    [
        ("libx264", "mp4", (97, 61), "yuv444p"),
        ("libvpx-vp9", "webm", (97, 61), "yuv420p"),
        ("libx264", "mp4", (160, 120), "yuv420p10le"),
        ("libvpx-vp9", "webm", (160, 120), "yuva420p"),
    ],
    ids=["odd", "odd 420", "10 bit", "alpha"],
)
def test_odd_sizes_10_bits_and_alpha_become_rgb(
    tmp_path: Path, codec: str, suffix: str, size: tuple[int, int], pixel_format: str
) -> None:
    path = write_clip(tmp_path / f"c.{suffix}", range(12), codec=codec, size=size, pixel_format=pixel_format)
    _, frames, damage = read_all(path)
    assert len(frames) == 12
    assert not damage
    for number in (0, 11):
        image = frames[number].image
        assert image.shape == (size[1], size[0], 3)
        assert image.dtype == np.uint8
        assert close_to(image[4, 4], RED)
        expected = picture(number, width=size[0], height=size[1])
        assert np.abs(image.astype(int) - expected).mean() < 4


def test_streams_without_a_container_have_no_timestamps(tmp_path: Path) -> None:
    for codec, suffix in (("libx264", "h264"), ("libx265", "hevc")):
        path = write_clip(tmp_path / f"c.{suffix}", range(20), codec=codec)
        info, frames, _ = read_all(path)
        assert info.format == suffix
        assert [frame.time_s for frame in frames] == [None] * 20
        timing = timing_of(path)
        assert (timing.untimed, timing.period_s, timing.rate_hz) == (20, None, None)
        assert timing.reason is not None


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [*CODECS, ("libvpx", "webm", {"auto-alt-ref": "1", "lag-in-frames": "25"}), ("libvpx-vp9", "ivf", {})],
    ids=[*(codec for codec, *_ in CODECS), "hidden frames", "ivf"],
)
def test_timestamps_promised_are_those_of_the_frames(
    tmp_path: Path, codec: str, suffix: str, options: dict[str, str]
) -> None:
    slots = [slot for slot in range(50) if slot not in {7, 8, 31}]
    path = write_clip(tmp_path / f"c.{suffix}", slots, pts=slots, codec=codec, options=options)
    with ClipReader(path) as reader:
        promised = reader.times.seconds
        assert promised == [frame.time_s for frame in reader]
    assert len(promised) == 47


def test_clip_without_timestamps_promises_none(tmp_path: Path) -> None:
    with ClipReader(write_clip(tmp_path / "c.h264", range(4))) as reader:
        assert reader.times.seconds == []


def test_pixels_are_those_of_pyav_in_the_same_process(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mp4", range(20))
    _, frames, _ = read_all(path)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert all(np.array_equal(frame.image, image) for frame, image in zip(frames, expected, strict=True))


def test_change_is_the_largest_difference_of_a_block_mean(tmp_path: Path) -> None:
    _, frames, _ = read_all(write_clip(tmp_path / "c.mp4", [0, 0, 1, 5], size=(98, 62), options={"crf": "30"}))
    assert frames[0].change is None
    for before, after in pairwise(frames):
        difference = after.image.astype(float) - before.image
        blocks = [difference[y : y + 16, x : x + 16] for y in range(0, 48, 16) for x in range(0, 96, 16)]
        expected = max(float(np.abs(block.mean(axis=(0, 1))).max()) for block in blocks)
        assert after.change == pytest.approx(expected, abs=1e-9)


def test_blocks_of_an_image_smaller_than_one_are_the_image() -> None:
    sums, n_pixels = block_sums(np.full((3, 5, 3), 255, np.uint8))
    assert n_pixels == 15
    assert sums.tolist() == [[[255 * 15] * 3]]


def test_truncated_clips_give_their_frames_and_the_place(tmp_path: Path) -> None:
    for codec, suffix in (("libx264", "mp4"), ("libvpx-vp9", "webm"), ("libvpx-vp9", "ivf")):
        path = write_clip(tmp_path / f"c.{suffix}", range(90), codec=codec, is_streamable=True)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
        _, frames, damage = read_all(path)
        assert 5 < len(frames) < 85, suffix
        assert damage[-1].reason == "truncated_file", suffix
        whole = picture(frames[0].index)
        assert np.abs(frames[0].image.astype(int) - whole).mean() < 4


def test_clip_cut_before_its_header_is_refused_as_truncated(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mp4", range(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path) == "truncated_file"


def test_damage_is_quarantined_up_to_the_next_key_frame(tmp_path: Path) -> None:
    options = {"g": "20", "keyint-min": "20", "sc-threshold": "0"}
    path = write_clip(tmp_path / "c.ivf", range(60), codec="libvpx-vp9", options={**options, "auto-alt-ref": "0"})
    packets = ivf_packets(path)
    packets[25] = b"\x00" * len(packets[25])
    _, frames, damage = read_all(ivf_file(path, packets, size=(160, 120)))
    assert [frame.pts for frame in frames] == [*range(25), *range(40, 60)]
    assert damage[0].reason == "corrupt_packet"
    assert {item.reason for item in damage[1:]} == {"follows_damage"}
    assert [item.pts for item in damage] == list(range(25, 40))


def test_nothing_is_lost_where_the_damage_comes_first(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.ivf", range(4), codec="libvpx-vp9", options={"g": "1"})
    packets = [b"\x00" * 40, *ivf_packets(path)[1:]]
    _, frames, damage = read_all(ivf_file(path, packets, size=(160, 120)))
    assert [frame.pts for frame in frames] == [1, 2, 3]
    assert [(item.reason, item.pts) for item in damage] == [("corrupt_packet", 0)]


@pytest.mark.parametrize(
    "content",
    [
        b"hello, I am a clip\n" * 100,
        b"",
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD/>",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"RIFF\0\0\0\0AVI LIST",
    ],
    ids=["text", "empty", "hls", "concat", "dash", "sdp", "image", "avi"],
)
def test_file_of_another_kind_is_refused_before_a_decoder_starts(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    monkeypatch.setattr(clips, "start_decoder", None)
    assert refusal(path) == "unsupported_format"


def test_other_codecs_and_files_without_video_are_refused(tmp_path: Path) -> None:
    assert refusal(write_clip(tmp_path / "c.mp4", range(4), codec="mpeg4")) == "unsupported_format"
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert refusal(sound) == "no_video"


def test_links_pipes_and_folders_are_no_clips(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(write_clip(tmp_path / "c.mp4", range(3)))
    for path in (tmp_path / "pipe.mp4", tmp_path / "link.mp4", tmp_path, tmp_path / "absent.mp4"):
        assert refusal(path) == "not_a_file"


def test_decoder_can_open_no_file_and_no_connection() -> None:
    attempts = """
import socket
from cv_quality.drops.clip_decoder import _Limits
_Limits(5).set()
for attempt in (lambda: open("/dev/null"), socket.socket):
    try:
        attempt()
    except OSError as error:
        print(error.errno)
"""
    ended = subprocess.run([sys.executable, "-c", attempts], capture_output=True, check=True, text=True)
    assert ended.stdout.split() == [str(errno.EMFILE)] * 2


def forged_size(key: bytes, width: int, height: int) -> bytes:
    """A VP9 key frame of profile 0 that declares another size (VP9 bitstream specification, 2016, 6.2)."""
    head = int.from_bytes(key[:12], "big")
    for at, value in ((36, width - 1), (52, height - 1)):
        head = head & ~(0xFFFF << (80 - at)) | value << (80 - at)
    return head.to_bytes(12, "big") + key[12:]


def test_frames_of_a_giant_size_are_not_decoded(tmp_path: Path) -> None:
    (key,) = ivf_packets(write_clip(tmp_path / "k.ivf", [0], codec="libvpx-vp9"))
    same = ivf_file(tmp_path / "same.ivf", [forged_size(key, 160, 120)], size=(160, 120))
    assert len(read_all(same)[1]) == 1
    giant = ivf_file(tmp_path / "giant.ivf", [forged_size(key, 65536, 65536)] * 2, size=(160, 120))
    assert refusal(giant) == "corrupt_clip"
    later = ivf_file(tmp_path / "later.ivf", [key, forged_size(key, 65536, 65536)], size=(160, 120))
    _, frames, damage = read_all(later)
    assert len(frames) == 1
    assert [item.reason for item in damage] == ["corrupt_packet"]


def test_clips_of_too_many_frames_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mp4", range(6), is_streamable=True)
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"stts") + 12, 2**31 - 1)
    path.write_bytes(data)
    assert refusal(path) == "clip_bomb"
    (key,) = ivf_packets(write_clip(tmp_path / "k.ivf", [0], codec="libvpx-vp9"))
    repeats = ivf_file(tmp_path / "r.ivf", [key, *[b"\x88"] * clips.MAX_FRAMES], size=(160, 120))
    assert refusal(repeats) == "clip_bomb"


def test_decoder_that_gives_no_frame_is_stopped(tmp_path: Path) -> None:
    (key,) = ivf_packets(write_clip(tmp_path / "k.ivf", [0], codec="libvpx-vp9", size=(640, 480)))
    hidden = bytes([key[0] & ~2]) + key[1:]  # decoded, but not shown
    path = ivf_file(tmp_path / "c.ivf", [key, *[hidden] * 50_000], size=(640, 480))
    started = time.monotonic()
    with pytest.raises(ClipError) as caught, ClipReader(path, max_seconds_per_frame=1) as reader:
        list(reader)
    assert caught.value.reason == "decoder_stalled"
    assert time.monotonic() - started < 60


def test_reader_that_stops_early_ends_the_decoder(tmp_path: Path) -> None:
    with ClipReader(write_clip(tmp_path / "c.mp4", range(200), size=(640, 480))) as reader:
        next(iter(reader))
        decoder = reader._process.pid
        assert is_alive(decoder)
    assert not is_alive(decoder)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_clips_that_are_read_at_once_share_no_handle(tmp_path: Path) -> None:
    first, second = (write_clip(tmp_path / f"{name}.mkv", range(200), size=(640, 480)) for name in "ab")
    with ClipReader(first) as one, ClipReader(second) as other:
        next(iter(other))
        handles = [
            os.readlink(f"/proc/{other._process.pid}/fd/{n}") for n in os.listdir(f"/proc/{other._process.pid}/fd")
        ]
        assert str(second) in handles
        assert str(first) not in handles
        assert not [name for name in handles if name.startswith("socket:")]
        one.close()
        assert sum(isinstance(frame, ClipFrame) for frame in other) == 199


def test_a_decoder_that_was_ended_is_no_damage_of_the_clip(tmp_path: Path) -> None:
    with ClipReader(write_clip(tmp_path / "c.mkv", range(300), size=(640, 480))) as reader:
        frames = iter(reader)
        next(frames)
        os.kill(reader._process.pid, signal.SIGKILL)
        with pytest.raises(DecoderEnded, match="which no clip makes it do"):
            list(frames)


def test_a_host_that_died_is_started_again(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mkv", range(5))
    read_all(path)
    host = clip_host._hosts[os.getpid()]._process
    host.kill()
    host.wait()
    assert len(read_all(path)[1]) == 5


def test_decoders_end_with_the_process_that_reads(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mkv", range(300), size=(640, 480))
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom cv_quality.drops import clip_host, clips\n"
        f"reader = clips.ClipReader(Path({str(path)!r}))\nnext(iter(reader))\n"
        "print(reader._process.pid, clip_host._hosts[os.getpid()]._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        pids = [int(pid) for pid in reader.stdout.readline().split()]
        assert all(map(is_alive, pids))
        reader.kill()
    ends = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def peak_decoder_kib(path: Path, frames: int) -> int:
    peak = 0
    with ClipReader(path) as reader:
        for frame in reader:
            assert isinstance(frame, ClipFrame)
            if frame.index in {frames - 1, frames - 2}:
                lines = Path(f"/proc/{reader._process.pid}/status").read_text().splitlines()
                peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), peak)
    return peak


@pytest.mark.parametrize("factor", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_memory_is_flat_however_many_frames(tmp_path: Path, factor: int) -> None:
    options = {"preset": "ultrafast"}
    short = write_clip(tmp_path / "s.mkv", range(300), options=options)
    long = write_clip(tmp_path / "l.mkv", range(300 * factor), options=options)
    one, many = peak_decoder_kib(short, 300), peak_decoder_kib(long, 300 * factor)
    assert 0 < many < one + (2 << 10)


OUTCOMES = {"read", "unsupported_format", "no_video", "corrupt_clip", "truncated_file", "clip_bomb"}


def outcome(path: Path) -> str:
    try:
        _, frames, damage = read_all(path)
    except ClipError as error:
        return error.reason
    return "read" if frames or damage else "nothing"


@pytest.mark.parametrize("suffix", ["mp4", "webm", "ivf"])
def test_flipped_bytes_end_in_frames_damage_or_a_typed_error(tmp_path: Path, suffix: str) -> None:
    codec = "libx264" if suffix == "mp4" else "libvpx-vp9"
    whole = write_clip(tmp_path / f"c.{suffix}", range(10), codec=codec).read_bytes()
    path = tmp_path / f"f.{suffix}"
    for seed in range(8):
        draw = random.Random(f"{suffix} {seed}")
        data = bytearray(whole)
        for _ in range(draw.choice([1, 5, 40])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        assert outcome(path) in OUTCOMES


def test_length_that_a_container_declares_is_that_of_the_file(tmp_path: Path) -> None:
    for codec, suffix in (("libx264", "mp4"), ("libvpx-vp9", "webm"), ("libx264", "mkv"), ("libx264", "h264")):
        path = write_clip(tmp_path / f"c.{suffix}", range(20), codec=codec)
        format_ = sniff_clip(path.read_bytes()[:16])
        with path.open("rb") as file:
            assert missing_bytes(file.fileno(), format_) == 0, suffix
        path.write_bytes(path.read_bytes()[:-7])
        with path.open("rb") as file:
            assert missing_bytes(file.fileno(), format_) == (0 if suffix == "h264" else 7), suffix


def test_moving_picture_of_a_real_clip_has_no_repeat(shared_data: Callable[[str], Path]) -> None:
    for name in ("pristine", "distorted"):
        path = shared_data("video_carphone") / f"carphone_{name}.mp4"
        info, frames, damage = read_all(path)
        assert (len(frames), info.declared_frames, damage) == (120, 120, [])
        assert [frame.time_s for frame in frames] == [Fraction(1001 * at, 30000) for at in range(120)]
        assert not any(repeated_pictures([frame.change for frame in frames]))
        timing = timing_of(path)
        assert (timing.period_s, timing.dropped, timing.drift) == (Fraction(1001, 30000), 0, 0.0)


def test_square_moves_as_it_was_drawn(tmp_path: Path) -> None:
    _, frames, _ = read_all(write_clip(tmp_path / "c.mp4", range(12)))
    for frame in frames:
        assert close_to(frame.image[72, frame.index * 3 + 12], GREEN)
