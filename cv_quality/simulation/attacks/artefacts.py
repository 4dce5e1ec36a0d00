"""What artefacts do to a face: ink and its raster, the pixels of screens and their moiré, masks.

An artefact shows a picture of its target that was taken once; each presentation photographs it anew. Whose artefacts
there are, and when they are presented, is in `plan.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.conditions import CameraModel, CaptureConditions, FloatArray
from cv_quality.simulation.rendering import FRAME_SIZE, draw_radiance, photograph

PRINT, REPLAY_PHOTO, REPLAY_VIDEO, MASK = SPECIES = ("print", "replay_photo", "replay_video", "mask")
_CHUNK: Final = 12
_BLOCK_PX: Final = 8
_HEAD: Final = (25.0, 33.0)
"""Half axes of an average head in pixels, which a mask covers."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a series of artefacts is made of.

    Attributes:
        raster_px, raster_depth: period and depth of its raster, or of a screen's pixels, as the camera sees them.
        angle_deg: of the raster.
        moire_px, moire_depth: period and depth of the beat between a screen's pixels and the camera's.
        black, white: radiance of black and white.
        gloss: of a highlight on its surface.
        blur_px: detail that it loses.
    """

    raster_px: float = 0.0
    raster_depth: float = 0.0
    angle_deg: float = 0.0
    moire_px: float = 0.0
    moire_depth: float = 0.0
    black: float = 0.0
    white: float = 1.0
    gloss: float = 0.0
    blur_px: float = 0.0


SCREENS: Final = {
    "oled-460": Material(raster_px=2.45, raster_depth=0.30),
    "lcd-264": Material(raster_px=5.2, raster_depth=0.22, moire_px=19.0, moire_depth=0.10, black=0.04),
    "lcd-110": Material(raster_px=8.0, raster_depth=0.26, moire_px=30.0, moire_depth=0.12, black=0.06, white=0.95),
}
"""By name and pixels an inch; on the finest nothing beats with the camera's pixels."""
SERIES: Final[dict[str, dict[str, Material]]] = {
    PRINT: {
        "matte-paper": Material(raster_px=5.0, raster_depth=0.20, angle_deg=45.0, black=0.10, white=0.80),
        "glossy-paper": Material(raster_px=4.4, raster_depth=0.16, angle_deg=45.0, black=0.07, white=0.88, gloss=0.25),
    },
    REPLAY_PHOTO: SCREENS,
    REPLAY_VIDEO: SCREENS,
    MASK: {
        "paper-mask": Material(black=0.08, white=0.85, blur_px=1.6),
        "resin-mask": Material(black=0.03, white=0.92, blur_px=2.2, gloss=0.35),
    },
}
"""Materials by species and series."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An artefact as far as pixels need it.

    Attributes:
        species, series: what it is.
        identity: of its target, float32[35].
        seed: of the picture of the target.
    """

    species: str
    series: str
    identity: NDArray[np.float32]
    seed: int


def render_attacks(
    shown: Sequence[Shown], conditions: CaptureConditions, *, cameras: Sequence[CameraModel], threads: int = 1
) -> NDArray[np.uint8]:
    """Render presentations of artefacts, uint8[n, 96, 96]; neither chunks nor threads change a byte.

    Args:
        shown: the artefact of each.
        conditions: under which it is presented; light that falls on a face falls on an artefact.
        cameras, threads: as of `cv_quality.simulation.rendering.render`.
    """
    frames = np.empty((len(shown), FRAME_SIZE, FRAME_SIZE), np.uint8)

    def render_chunk(start: int) -> None:
        rows = slice(start, start + _CHUNK)
        frames[rows] = _render_chunk(shown[rows], conditions.take(rows), cameras)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(render_chunk, range(0, len(shown), _CHUNK)))
    return frames


def show(picture: FloatArray, material: Material, *, species: str, rng: np.random.Generator) -> FloatArray:
    """Show a picture on an artefact, as the camera that looks at it sees it; float32[h, w].

    Args:
        picture: radiance of the target, float32[h, w].
        material: of the artefact.
        species: of it.
        rng: of how it is held: phases, a turn of some degrees, the place of a highlight.
    """
    face = np.clip(picture, 0, 1)
    if species == REPLAY_VIDEO:
        face = _compressed(face)
    if material.blur_px:
        face = _softened(face, material.blur_px)
    face = material.black + (material.white - material.black) * face
    turn = float(rng.normal(0, 2.0))
    if material.raster_depth:
        wave = _raster(material.raster_px * float(rng.normal(1, 0.02)), material.angle_deg + turn, rng)
        face = face * (1 + material.raster_depth * wave)
    if material.moire_depth:
        face = face * (1 + material.moire_depth * _waves(material.moire_px, float(rng.uniform(0, 180)), rng))
    if species == MASK:
        face = _worn(face, picture, rng)
    if material.gloss:
        face = face + material.gloss * _highlight(rng)
    return np.asarray(face, np.float32)


def _render_chunk(
    shown: Sequence[Shown], conditions: CaptureConditions, cameras: Sequence[CameraModel]
) -> NDArray[np.uint8]:
    identities = np.stack([item.identity for item in shown])
    taken = _studio(np.array([item.seed for item in shown], np.uint64), camera=conditions.camera)
    pictures, _, _ = draw_radiance(identities, taken)
    # Of the presentation itself: the sensor's noise, and how the artefact is held.
    noise, turns = np.empty_like(pictures), np.empty(len(shown), np.float32)
    for row, (item, seed) in enumerate(zip(shown, conditions.seeds, strict=True)):
        rng = np.random.Generator(np.random.SFC64(int(seed)))
        pictures[row] = show(pictures[row], SERIES[item.species][item.series], species=item.species, rng=rng)
        noise[row] = rng.standard_normal(noise[row].shape, np.float32)
        turns[row] = rng.standard_normal()
    return photograph(pictures, noise=noise, motion_angle=turns, conditions=conditions, cameras=cameras)


def _studio(seeds: NDArray[np.uint64], *, camera: NDArray[np.int64]) -> CaptureConditions:
    """How pictures for artefacts are taken: close, frontal, in good light."""
    count = len(seeds)
    same = {"illuminance_lux": 300.0, "distance_cm": 38.0, "yaw_deg": 0.0, "pitch_deg": 0.0, "motion_blur_px": 0.0}
    return CaptureConditions(
        **{name: np.full(count, value, np.float32) for name, value in same.items()},
        eyewear=np.zeros(count, np.int64),
        covering=np.zeros(count, np.int64),
        camera=camera,
        seeds=seeds,
    )


def _grid() -> tuple[FloatArray, FloatArray]:
    """Columns and rows from the middle, shapes (1, 96) and (96, 1)."""
    places = np.arange(FRAME_SIZE, dtype=np.float32) - np.float32((FRAME_SIZE - 1) / 2)
    return places[None, :], places[:, None]


def _waves(period_px: float, angle_deg: float, rng: np.random.Generator) -> FloatArray:
    """A plane wave of amplitude 1."""
    columns, rows = _grid()
    turn = np.deg2rad(angle_deg)
    along = (columns * np.cos(turn) + rows * np.sin(turn)) / period_px + rng.uniform()
    return np.asarray(np.cos(2 * np.pi * along), np.float32)


def _raster(period_px: float, angle_deg: float, rng: np.random.Generator) -> FloatArray:
    """Two crossed waves, of amplitude 1 together."""
    return np.asarray((_waves(period_px, angle_deg, rng) + _waves(period_px, angle_deg + 90, rng)) / 2, np.float32)


def _compressed(face: FloatArray) -> FloatArray:
    """A frame of a video: blocks of 8 x 8 that are flatter than the picture, their edges seen."""
    side = FRAME_SIZE // _BLOCK_PX
    mean = face.reshape(side, _BLOCK_PX, side, _BLOCK_PX).mean(axis=(1, 3))
    return np.asarray(0.45 * face + 0.55 * np.kron(mean, np.ones((_BLOCK_PX, _BLOCK_PX), np.float32)), np.float32)


def _softened(face: FloatArray, sigma_px: float) -> FloatArray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(face, sigma_px, mode="nearest"), np.float32)


def _worn(face: FloatArray, behind: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A mask before a head: the face within an outline whose edge throws a shadow."""
    columns, rows = _grid()
    x, y = columns - rng.normal(0, 1.0), rows - rng.normal(0, 1.0)
    radius = np.sqrt((x / _HEAD[0]) ** 2 + (y / _HEAD[1]) ** 2)
    inside = np.clip((1 - radius) * _HEAD[0] / 1.5 + 0.5, 0, 1)
    edge = np.exp(-(((radius - 1) * _HEAD[0] / 1.6) ** 2))
    return np.asarray((inside * face + (1 - inside) * behind) * (1 - 0.55 * edge), np.float32)


def _highlight(rng: np.random.Generator) -> FloatArray:
    """A streak of light on a glossy surface, 1 in its middle."""
    columns, rows = _grid()
    turn = rng.uniform(0, np.pi)
    across = columns * np.cos(turn) + rows * np.sin(turn) - rng.uniform(-22, 22)
    return np.asarray(np.exp(-((across / 7.0) ** 2)), np.float32)
