"""One eye under near-infrared light: texture of its own, a pupil that light opens, lids, lashes, gaze, what is worn.

The texture lies in the polar coordinates of the iris, so that a pupil that opens stretches it; gaze foreshortens the
eye along its direction. Everything is vectorised over the pixels of one image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.flow import opencv

Spectacles = Literal["none", "clear", "tinted"]
ContactLens = Literal["none", "soft", "patterned"]
Plane = NDArray[np.float32]
Labels = NDArray[np.uint8]

HEIGHT, WIDTH = 240, 320
IRIS_PX: Final = 74.0
"""Radius of an iris that looks at the camera."""
BACKGROUND, SCLERA, IRIS, PUPIL = range(4)
RADIAL, ANGULAR = 48, 512
_SCALES: Final = ((3, 24, 0.9), (6, 64, 1.0), (10, 140, 0.8))
"""Radial and angular detail of the texture, and its weight."""
_LUX_AT_HALF: Final = 60.0
TEXTURES_KEPT: Final = 256
"""Of eyes that are rendered moment after moment: 25 MB."""


@dataclass(frozen=True, slots=True)
class EyeState:
    """How an eye is at one moment.

    Attributes:
        illuminance_lux: visible light, which closes the pupil.
        pupil_noise: by how much the pupil is larger or smaller than the light says, by the iris.
        gaze_deg, gaze_direction_deg: off the camera's axis, and whereto, counted from the right, downwards.
        torsion_deg: turn of the eye about its axis, with the head.
        opening: of the lids, by the iris's diameter.
        lash_px: length of the lashes.
        blur_px: standard deviation of defocus and motion.
        spectacles, contact_lens: worn.
        x_px, y_px: of the iris's centre off that of the image.
        noise: standard deviation of the sensor's noise, in grey levels.
        seed: of the noise, the lashes and the reflections.
    """

    illuminance_lux: float = 200.0
    pupil_noise: float = 0.0
    gaze_deg: float = 0.0
    gaze_direction_deg: float = 0.0
    torsion_deg: float = 0.0
    opening: float = 0.85
    lash_px: float = 14.0
    blur_px: float = 0.8
    spectacles: Spectacles = "none"
    contact_lens: ContactLens = "none"
    x_px: float = 0.0
    y_px: float = 0.0
    noise: float = 4.0
    seed: int = 0

    @property
    def pupil_ratio(self) -> float:
        """Diameter of the pupil by that of the iris: from .62 in the dark to .24 in bright light."""
        closed = self.illuminance_lux / (self.illuminance_lux + _LUX_AT_HALF)
        return float(np.clip(0.62 - 0.38 * closed + self.pupil_noise, 0.15, 0.75))


def draw_texture(seed: int) -> Plane:
    """Draw the texture of one eye: band-limited noise around the angle, crypts near the pupil; about unit variance.

    Returns:
        Shape (RADIAL, ANGULAR), from the pupil outwards.
    """
    rng = np.random.default_rng(seed)
    texture = np.zeros((RADIAL, ANGULAR), np.float32)
    for rows, columns, weight in _SCALES:
        coarse = rng.normal(size=(rows, columns)).astype(np.float32)
        texture += weight * _stretched(coarse)
    texture /= texture.std()
    crypts = _stretched(rng.normal(size=(5, 40)).astype(np.float32))
    inner = np.linspace(1.0, 0.2, RADIAL, dtype=np.float32)[:, None]
    drawn: Plane = texture - 1.2 * inner * np.clip(crypts - 0.8, 0, None)
    return drawn


def _stretched(coarse: Plane) -> Plane:
    """Noise on a coarse grid, enlarged smoothly and closed around the angle."""
    closed = np.concatenate([coarse[:, -2:], coarse, coarse[:, :2]], axis=1)
    extra = round(2 * ANGULAR / coarse.shape[1])
    wide = opencv().resize(closed, (ANGULAR + 2 * extra, RADIAL), interpolation=opencv().INTER_CUBIC)
    return np.asarray(wide[:, extra : extra + ANGULAR], np.float32)


def render_eye(texture: Plane, state: EyeState) -> tuple[NDArray[np.uint8], Labels]:
    """Render an eye.

    Args:
        texture: of the iris, from `draw_texture`.
        state: how it is.

    Returns:
        The image, and what each pixel shows, both uint8 of shape (HEIGHT, WIDTH).
    """
    rng = np.random.default_rng(state.seed)
    radius, angle = _polar(state)
    pupil = state.pupil_ratio
    depth = np.clip((radius - pupil) / (1 - pupil), 0, 1) * (RADIAL - 1)
    turns = angle / (2 * math.pi)
    around = (turns - np.floor(turns)) * ANGULAR
    wrapped = np.concatenate([texture, texture[:, :1]], axis=1)
    detail = opencv().remap(wrapped, around.astype(np.float32), depth.astype(np.float32), opencv().INTER_LINEAR)
    ring = 104 + 20 * detail - 16 * np.clip((radius - 0.86) / 0.14, 0, 1)
    if state.contact_lens == "patterned":
        dots = 30 * np.sign(np.sin(angle * 36) * np.sin(radius * 46))
        ring = np.where(radius > 0.62, 96 + dots, ring)
    sclera = 182 - 26 * np.clip(radius - 1, 0, 2)
    image = _blend(ring, sclera, (radius - 1) * IRIS_PX / 2.5)
    image = _blend(np.full_like(image, 26), image, (radius - pupil) * IRIS_PX / 1.6)
    if state.contact_lens == "soft":
        image += 12 * np.exp(-(((radius - 1.16) * IRIS_PX / 1.5) ** 2))
    labels = np.full(radius.shape, SCLERA, np.uint8)
    labels[radius < 1] = IRIS
    labels[radius < pupil] = PUPIL
    _light(image, state, rng)
    _cover(image, labels, state, rng)
    _wear(image, state, rng)
    image = opencv().GaussianBlur(image.astype(np.float32), (0, 0), max(state.blur_px, 0.3))
    image += state.noise * rng.standard_normal(image.shape, np.float32)
    return np.clip(image, 0, 255).astype(np.uint8), labels


@lru_cache(maxsize=TEXTURES_KEPT)
def _texture_of(seed: int) -> Plane:
    return draw_texture(seed)


def render_iris(seed: int, state: EyeState) -> NDArray[np.uint8]:
    """Render the eye whose texture has a seed, as the device sees it, shape (HEIGHT, WIDTH)."""
    return render_eye(_texture_of(seed), state)[0]


@lru_cache(maxsize=1)
def _grid() -> tuple[Plane, Plane]:
    """Columns and rows from the middle, shapes (1, WIDTH) and (HEIGHT, 1)."""
    columns = np.arange(WIDTH, dtype=np.float32)[None, :] - WIDTH / 2
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None] - HEIGHT / 2
    return columns, rows


def _polar(state: EyeState) -> tuple[Plane, Plane]:
    """Radius, by that of the iris, and angle on the eye of each pixel."""
    columns, rows = _grid()
    x, y = columns - state.x_px, rows - state.y_px
    turn, narrowed = math.radians(state.gaze_direction_deg), math.cos(math.radians(state.gaze_deg))
    along = x * (math.cos(turn) / narrowed) + y * (math.sin(turn) / narrowed)
    across = y * math.cos(turn) - x * math.sin(turn)
    angle = np.arctan2(across, along).astype(np.float32) + np.float32(turn - math.radians(state.torsion_deg))
    radius: Plane = np.sqrt(along * along + across * across) / np.float32(IRIS_PX)
    return radius, angle


def _blend(inside: Plane, outside: Plane, signed: Plane) -> Plane:
    """One plane inside, another outside of an edge, at so many widths of it from the edge."""
    share = np.clip(signed + 0.5, 0, 1)
    blended: Plane = inside + (outside - inside) * share
    return blended


def _light(image: Plane, state: EyeState, rng: np.random.Generator) -> None:
    """Reflections of the illuminators on the cornea, which stay where the light is while the eye turns."""
    columns, rows = _grid()
    for side in (-1, 1):
        x = state.x_px + side * 13 + float(rng.normal(0, 1))
        y = state.y_px - 9 + float(rng.normal(0, 1))
        image[(columns - x) ** 2 + (rows - y) ** 2 < 4.2**2] = 250


def _cover(image: Plane, labels: Labels, state: EyeState, rng: np.random.Generator) -> None:
    """Lids and lashes: two arcs that leave the opening, the upper one falling with gaze off axis."""
    columns, rows = _grid()
    x = columns - state.x_px
    half = state.opening * IRIS_PX
    bend = (x / (1.75 * IRIS_PX)) ** 2
    upper = state.y_px - half * 0.92 * (1 - bend)
    lower = state.y_px + half * 1.05 * (1 - bend)
    skin = (rows < upper) | (rows > lower)
    np.copyto(image, 136 + 10 * np.sin(rows / 17) + 5 * np.sin(columns / 23), where=skin)
    edge = np.abs(rows - upper) < 2.5
    image[edge] = 96
    labels[skin | edge] = BACKGROUND
    roots = np.arange(8, WIDTH - 8, 7.0)
    roots += rng.uniform(-2, 2, len(roots))
    lengths = state.lash_px * rng.uniform(0.6, 1.3, len(roots))
    leans = (roots - WIDTH / 2 - state.x_px) / IRIS_PX * 6
    ends = upper[0, roots.astype(int)] + HEIGHT / 2
    lines = [(roots, ends - 2), (roots + leans * 0.4, ends + lengths * 0.6), (roots + leans, ends + lengths)]
    drawn = np.round(np.moveaxis(np.array(lines), 2, 0)).astype(np.int32)
    lashes = np.zeros(image.shape, np.uint8)
    opencv().polylines(lashes, list(drawn), False, 255, 2, opencv().LINE_AA)
    share = lashes.astype(np.float32) * (0.75 / 255)
    image += (46 - image) * share
    labels[lashes > 102] = BACKGROUND


def _wear(image: Plane, state: EyeState, rng: np.random.Generator) -> None:
    """Spectacles: reflections of the illuminators in the glass, and darker light through a tint."""
    if state.spectacles == "none":
        return
    if state.spectacles == "tinted":
        image *= 0.85
    columns, rows = _grid()
    x, y = state.x_px + float(rng.uniform(-45, 45)), state.y_px + float(rng.uniform(-40, 15))
    tilt = float(rng.uniform(-0.4, 0.4))
    long = (columns - x) * math.cos(tilt) + (rows - y) * math.sin(tilt)
    short = (rows - y) * math.cos(tilt) - (columns - x) * math.sin(tilt)
    image[(np.abs(long) < 9) & (np.abs(short) < 4)] = 252
