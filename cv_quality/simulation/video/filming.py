"""What a camera makes of a scene: exposure and noise, pictures lost, sent twice or standing still, and the video file.

The same scene, camera and seed give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.conditions import CameraModel
from cv_quality.simulation.video.scenes import FRAME_RATE_HZ

N_DROPPED: Final = 5
N_REPEATED: Final = 3
N_FROZEN: Final = 20
"""Pictures of a clip in which such a thing is planted; frozen ones repeat one picture in a row."""
_LEVELS: Final = 1 << 14
_CODEC: Final = "libx264"
_CODEC_OPTIONS: Final = {"preset": "veryfast", "tune": "zerolatency", "crf": "21"}


@dataclass(frozen=True, slots=True)
class Irregularity:
    """What is planted in the pictures of one clip.

    Attributes:
        kind: "dropped", "repeated" or "frozen".
        frames: numbers of the camera's frames that are lost, or that show the frame before once more.
    """

    kind: str
    frames: tuple[int, ...]


def plant(kind: str, *, first: int, end: int, rng: np.random.Generator) -> Irregularity:
    """Choose which frames of a clip are struck, none of them beside another unless they are frozen.

    Args:
        kind: "dropped", "repeated" or "frozen".
        first, end: the first frame of the span to choose from, of at least 30, and the one after its last.
        rng: of the clip.
    """
    if kind == "frozen":
        start = int(rng.integers(first + 4, end - N_FROZEN - 4))
        return Irregularity(kind, tuple(range(start, start + N_FROZEN)))
    count = N_DROPPED if kind == "dropped" else N_REPEATED
    every = (end - first - 4) // count
    return Irregularity(kind, tuple(first + 4 + every * at + int(rng.integers(0, every - 2)) for at in range(count)))


def delivered(frames: int, irregularity: Irregularity | None) -> list[tuple[int, int]]:
    """List the pictures that a camera delivers: the frame that each shows, and its timestamp in periods.

    >>> delivered(4, Irregularity("dropped", (1,))), delivered(4, Irregularity("frozen", (1, 2)))
    ([(0, 0), (2, 2), (3, 3)], [(0, 0), (0, 1), (0, 2), (3, 3)])
    """
    struck = set(irregularity.frames) if irregularity else set()
    if irregularity and irregularity.kind == "dropped":
        return [(number, number) for number in range(frames) if number not in struck]
    pictures: list[tuple[int, int]] = []
    for number in range(frames):
        pictures.append((pictures[-1][0] if number in struck else number, number))
    return pictures


def expose_color(
    radiance: NDArray[np.float32], *, lux: float, camera: CameraModel, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Expose one frame: charge falls with the light below the camera's knee, and noise counts for more.

    Args:
        radiance: float32[h, w, 3].
        lux: illuminance.
        camera: its charge, noise and encoding.
        rng: of the noise.

    Returns:
        uint8[h, w, 3].
    """
    full_e = camera.electrons_per_lux * camera.knee_lux
    charge = radiance * np.float32(full_e * min(1.0, lux / camera.knee_lux))
    charge += rng.standard_normal(radiance.shape, np.float32) * np.sqrt(charge + np.float32(camera.read_noise_e**2))
    level = np.clip(charge * np.float32((_LEVELS - 1) / full_e), 0, _LEVELS - 1).astype(np.int32)
    return np.asarray(_encoding(camera.encoding_gamma)[level])


@cache
def _encoding(gamma: float) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255 * np.linspace(0, 1, _LEVELS) ** gamma), np.uint8)


def encode_clip(pictures: Sequence[NDArray[np.uint8]], periods: Sequence[int]) -> bytes:
    """Encode pictures as H.264 in an MP4, in one thread.

    Args:
        pictures: uint8[h, w, 3], RGB, of one size with even sides.
        periods: the timestamp of each, in periods of the frame rate, rising.

    Returns:
        The file.
    """
    import av

    height, width = pictures[0].shape[:2]
    tick = Fraction(1, FRAME_RATE_HZ)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(_CODEC, rate=FRAME_RATE_HZ, options=dict(_CODEC_OPTIONS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = stream.time_base = tick
        stream.codec_context.thread_count = 1
        for picture, period in zip(pictures, periods, strict=True):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = period, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
