"""Draws a scene: radiance, the mask of classes and the boxes of objects, all from the same outlines.

A pixel belongs to the object in front that covers at least half of it. What a camera makes of the radiance is in
`filming.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.video.scenes import ASPECT, CLASSES, WALL_SIDE, MovingObject, Scene

Plane = NDArray[np.float32]

OBJECT_COLOURS: Final = {"ball": (0.55, 0.26, 0.20), "crate": (0.25, 0.46, 0.24), "cone": (0.22, 0.28, 0.50)}
"""Reflectance of red, green and blue."""
WALL_COLOUR: Final = (0.34, 0.32, 0.29)
POST_COLOUR: Final = (0.20, 0.20, 0.22)
_COVERED: Final = 0.5
_HIDDEN_SHARE: Final = 0.25
"""Of an object's pixels that must be seen, or its box is ignored."""


@dataclass(frozen=True, slots=True)
class VisibleBox:
    """The box of one object in one frame: its whole outline within the picture, pixels from the left and upper edge."""

    track: int
    class_name: str
    left_px: float
    top_px: float
    width_px: float
    height_px: float
    is_hidden: bool


@dataclass(frozen=True, slots=True, eq=False)
class DrawnFrame:
    """One frame: radiance float32[h, w, 3] of linear light, labels uint8[h, w], boxes of the objects in the picture."""

    radiance: Plane
    labels: NDArray[np.uint8]
    boxes: tuple[VisibleBox, ...]


def draw_frames(scene: Scene, *, width: int, height: int) -> Iterator[DrawnFrame]:
    """Draw a scene, frame by frame.

    Args:
        scene: what is filmed.
        width, height: of the picture, at the ratio of `ASPECT`.
    """
    wall = _wall(scene.background_seed, height=height)
    sprites = [_sprite(item, height=height) for item in scene.objects]
    for number in range(len(scene)):
        shake = scene.shake[number]
        radiance = _shifted(wall, -(scene.view[number] - shake) * height, size=(width, height))[..., :3].copy()
        labels = np.zeros((height, width), np.uint8)
        owners = np.full((height, width), -1, np.int16)
        outlines = []
        for track, (item, sprite) in enumerate(zip(scene.objects, sprites, strict=True)):
            layer = _placed(sprite, (item.centres[number] + shake) * height, item.angles[number], size=(width, height))
            radiance *= 1 - layer[..., 3:]
            radiance += layer[..., :3]
            covered = layer[..., 3] >= _COVERED
            labels[covered], owners[covered] = CLASSES.index(item.class_name) + 1, track
            outlines.append(covered)
        if scene.post is not None:
            _stand_post(radiance, labels, owners, post=scene.post, shake=float(shake[0]))
        boxes = tuple(
            box
            for track, covered in enumerate(outlines)
            if (box := _box(track, scene.objects[track].class_name, covered, owners)) is not None
        )
        yield DrawnFrame(radiance, labels, boxes)


def _stand_post(
    radiance: Plane, labels: NDArray[np.uint8], owners: NDArray[np.int16], *, post: tuple[float, float], shake: float
) -> None:
    height, width = labels.shape
    middle, half = (post[0] + shake) * height, post[1] * height / 2
    columns = slice(max(0, round(middle - half)), min(width, round(middle + half)))
    radiance[:, columns], labels[:, columns], owners[:, columns] = POST_COLOUR, 0, -1


def _box(track: int, class_name: str, covered: NDArray[np.bool_], owners: NDArray[np.int16]) -> VisibleBox | None:
    """The box of an outline; None where nothing of the object is in the picture."""
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not rows.size:
        return None
    n_seen = np.count_nonzero(owners == track)
    return VisibleBox(
        track,
        class_name,
        left_px=float(columns[0]),
        top_px=float(rows[0]),
        width_px=float(columns[-1] - columns[0] + 1),
        height_px=float(rows[-1] - rows[0] + 1),
        is_hidden=bool(n_seen < _HIDDEN_SHARE * np.count_nonzero(covered)),
    )


def _wall(seed: int, *, height: int) -> Plane:
    """The wall, float32[h, w, 4]: grey, with stains and a grain that optical flow holds on to."""
    rng = np.random.default_rng(seed)
    side = round(WALL_SIDE * height)
    light = 1 + 0.5 * _grain(rng, side, cells=9) + 0.35 * _grain(rng, side, cells=60)
    tint = np.stack([1 + 0.08 * _grain(rng, side, cells=6) for _ in range(3)], axis=-1)
    wall = np.ones((side, side, 4), np.float32)
    wall[..., :3] = np.clip(np.asarray(WALL_COLOUR) * light[..., None] * tint, 0.05, 0.8)
    return wall


def _grain(rng: np.random.Generator, side: int, *, cells: int) -> Plane:
    """Smooth noise of a cell's size within -1 and 1, float32[side, side]."""
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(_opencv().resize(coarse, (side, side), interpolation=_opencv().INTER_CUBIC), np.float32)


def _sprite(item: MovingObject, *, height: int) -> Plane:
    """One object upright in the middle of a square: colours times coverage, and coverage, float32[s, s, 4]."""
    rng = np.random.default_rng(item.texture_seed)
    radius = item.radius * height
    side = 2 * int(np.ceil(radius)) + 5
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / radius
    coverage = np.clip(0.5 - _outside(item.class_name, x, y) * radius, 0, 1)
    light = 1 + 0.35 * _grain(rng, side, cells=5) + 0.25 * _grain(rng, side, cells=max(6, side // 4))
    sprite = np.empty((side, side, 4), np.float32)
    sprite[..., :3] = np.clip(np.asarray(OBJECT_COLOURS[item.class_name]) * light[..., None], 0.01, 1)
    sprite[..., :3] *= coverage[..., None]
    sprite[..., 3] = coverage
    return sprite


def _outside(class_name: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each place is outside of the outline, negative within, in radii."""
    if class_name == "ball":
        return np.asarray(np.hypot(x, y) - 1)
    if class_name == "crate":
        return np.asarray(np.maximum(np.abs(x), np.abs(y)) - 0.86)
    return np.asarray(np.maximum(y - 0.7, 0.9 * np.abs(x) - 0.45 * y - 0.45))


def _placed(sprite: Plane, centre: NDArray[np.float64], angle: float, *, size: tuple[int, int]) -> Plane:
    """A sprite turned about its middle, which lies at the centre, float32[h, w, 4]."""
    middle = (sprite.shape[0] - 1) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _warped(sprite, np.column_stack([turn, centre - turn @ np.full(2, middle)]), size=size)


def _shifted(picture: Plane, shift: NDArray[np.float64], *, size: tuple[int, int]) -> Plane:
    return _warped(picture, np.column_stack([np.eye(2), shift]), size=size)


def _warped(picture: Plane, matrix: NDArray[np.float64], *, size: tuple[int, int]) -> Plane:
    return np.asarray(_opencv().warpAffine(picture, matrix, size, flags=_opencv().INTER_LINEAR), np.float32)


def frame_size(height: int) -> tuple[int, int]:
    """Width and height of a picture at the ratio of scenes."""
    return round(ASPECT * height), height


@cache
def _opencv() -> ModuleType:
    import cv2

    cv2.setNumThreads(1)
    return cv2
