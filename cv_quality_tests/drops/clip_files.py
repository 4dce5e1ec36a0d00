"""Clips that tests encode: a textured scene with a square that moves, one picture a number."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.stream import VideoStream

RATE_HZ = 30
RED, GREEN = (255, 0, 0), (40, 200, 90)


def picture(number: int, *, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """A grey gradient with red in its upper left corner, and a green square that moves three pixels a picture."""
    image = np.repeat(np.linspace(60, 180, width).astype(np.uint8)[None, :, None], height, axis=0).repeat(3, axis=2)
    image[:16, :16] = RED
    left = number * 3 % (width - 24)
    image[height // 2 : height // 2 + 24, left : left + 24] = GREEN
    return image


def write_clip(
    path: Path,
    numbers: Sequence[int],
    *,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    ticks_hz: int = RATE_HZ,
    size: tuple[int, int] = (160, 120),
    pixel_format: str = "yuv420p",
    display: tuple[float, bool, bool] | None = None,
    is_streamable: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode numbered pictures.

    Args:
        path: its suffix decides the container.
        numbers: of the pictures, in order.
        codec: an encoder of FFmpeg.
        pts: timestamps in ticks; one tick a picture when None.
        ticks_hz: ticks a second.
        size: width and height.
        pixel_format: that is encoded.
        display: degrees counter-clockwise, and whether the display mirrors horizontally and vertically.
        is_streamable: the header comes first in an MP4.
        options: of the encoder.
    """
    flags = {"movflags": "faststart"} if is_streamable else {}
    format_ = {".mkv": "matroska"}.get(path.suffix, path.suffix[1:])
    with av.open(str(path), "w", format=format_, container_options=flags) as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=RATE_HZ, options=options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = stream.time_base = Fraction(1, ticks_hz)
        stream.thread_count = 1
        if display is not None:
            stream.set_display_rotation(*display)
        for number, ticks in zip(numbers, pts or range(len(numbers)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture(number, width=size[0], height=size[1]))
            frame.pts, frame.time_base = ticks, Fraction(1, ticks_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def ivf_file(path: Path, packets: Sequence[bytes], *, size: tuple[int, int]) -> Path:
    """Write VP9 packets as they are, one a frame."""
    header = b"DKIF" + b"\0\0\x20\0VP90" + b"".join(side.to_bytes(2, "little") for side in size)
    header += (30).to_bytes(4, "little") + (1).to_bytes(4, "little") + len(packets).to_bytes(4, "little") + bytes(4)
    rows = (len(data).to_bytes(4, "little") + at.to_bytes(8, "little") + data for at, data in enumerate(packets))
    path.write_bytes(header + b"".join(rows))
    return path


def ivf_packets(path: Path) -> list[bytes]:
    """The packets of an IVF file."""
    data, at, packets = path.read_bytes(), 32, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        packets.append(data[at + 12 : at + 12 + size])
        at += 12 + size
    return packets
