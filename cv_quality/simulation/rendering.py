"""Frames of simulated faces: identity vectors and capture conditions in, 8-bit grayscale pixels out, in batches.
The scene is drawn in `drawing.py` and photographed in `camera.py`; nothing here decides who or when.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.camera import blur, blur_sigma_px, expose
from cv_quality.simulation.conditions import CameraModel, CaptureConditions, FloatArray
from cv_quality.simulation.drawing import NUISANCES, draw_scene
from cv_quality.simulation.geometry import face_measures, moles, texture_coefficients

FRAME_SIZE: Final = 96
# A dozen frames a chunk keeps the planes in a core's second-level cache.
_CHUNK: Final = 12
DEFAULT_CAMERAS: Final = (CameraModel(),)


def render(
    identities: NDArray[np.float32],
    conditions: CaptureConditions,
    *,
    cameras: Sequence[CameraModel] = DEFAULT_CAMERAS,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """Render frames uint8[n, 96, 96].

    Everything random in a frame comes from its own seed in `conditions.seeds`, so neither the split into batches nor
    the number of threads changes a byte.

    Args:
        identities, conditions: float32[n, 35], and those of n frames.
        cameras, threads: cameras that the conditions index, and threads of rendering.
    """
    frames = np.empty((len(conditions), FRAME_SIZE, FRAME_SIZE), np.uint8)

    def render_chunk(start: int) -> None:
        rows = slice(start, start + _CHUNK)
        frames[rows] = _render_chunk(identities[rows], conditions.take(rows), cameras)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(render_chunk, range(0, len(conditions), _CHUNK)))
    return frames


def encode_png(frame: NDArray[np.uint8]) -> bytes:
    """Encode one frame uint8[h, w] as PNG; the fastest compression, since sensor noise does not compress."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def draw_radiance(
    identities: NDArray[np.float32], conditions: CaptureConditions
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw what lies before the camera.

    Args:
        identities, conditions: float32[n, 35], and those of n frames.

    Returns:
        The scene and the sensor's noise, each float32[n, 96, 96], and the angle of motion [n].
    """
    nuisance, noise = _draw_randomness(conditions.seeds)
    radiance = draw_scene(
        face_measures(identities),
        texture=texture_coefficients(identities),
        mole_places=moles(identities),
        conditions=conditions,
        nuisance=nuisance,
        size=FRAME_SIZE,
    )
    return radiance, noise, nuisance["motion_angle"][:, 0, 0] * np.float32(1.3)


def photograph(
    radiance: FloatArray,
    *,
    noise: FloatArray,
    motion_angle: FloatArray,
    conditions: CaptureConditions,
    cameras: Sequence[CameraModel],
) -> NDArray[np.uint8]:
    """Take frames uint8[n, h, w] of what lies before the camera.

    Args:
        radiance, noise, motion_angle: as of `draw_radiance`.
        conditions, cameras: of the frames.
    """
    blurred = blur(
        radiance,
        sigma_px=blur_sigma_px(conditions, cameras),
        motion_px=conditions.motion_blur_px,
        motion_angle=motion_angle,
    )
    return expose(blurred, conditions=conditions, cameras=cameras, noise=noise)


def _render_chunk(
    identities: NDArray[np.float32], conditions: CaptureConditions, cameras: Sequence[CameraModel]
) -> NDArray[np.uint8]:
    radiance, noise, angle = draw_radiance(identities, conditions)
    return photograph(radiance, noise=noise, motion_angle=angle, conditions=conditions, cameras=cameras)


def _draw_randomness(seeds: NDArray[np.uint64]) -> tuple[dict[str, FloatArray], FloatArray]:
    """Nuisance draws, each float32[n, 1, 1], and sensor noise float32[n, 96, 96], both from the frames' own seeds."""
    draws = np.empty((len(seeds), len(NUISANCES)), np.float32)
    noise = np.empty((len(seeds), FRAME_SIZE, FRAME_SIZE), np.float32)
    for row, seed in enumerate(seeds):
        rng = np.random.Generator(np.random.SFC64(int(seed)))
        rng.standard_normal(dtype=np.float32, out=draws[row])
        rng.standard_normal(dtype=np.float32, out=noise[row])
    draws = draws.clip(-2.5, 2.5)
    return {name: draws[:, i, None, None] for i, name in enumerate(NUISANCES)}, noise
