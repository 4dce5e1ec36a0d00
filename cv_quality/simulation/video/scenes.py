"""What a clip shows: objects and their paths, the camera's path and the light, frame by frame, drawn from a seed.

No pixels here: `compositing.py` draws a scene. Speeds are shares of the picture's diagonal a frame, as the video task
measures motion; places are shares of the picture's height, so a scene looks alike on every camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.video.scenario import VideoScenario, VideoSite

FRAME_RATE_HZ: Final = 30
ASPECT: Final = 4 / 3
CLASSES: Final = ("ball", "crate", "cone")
"""Of the objects; their labels in masks count from 1."""
CAMERA_MOVES: Final = ("tripod", "handheld", "pan")
SPEEDS: Final = {"slow": (0.0016, 0.003), "medium": (0.005, 0.009), "fast": (0.04, 0.055)}
"""Shares of the diagonal a frame."""
WALL_SIDE: Final = 3.0
"""Of the wall behind everything, in heights of the picture; the camera looks at no other place."""
_DIAGONAL: Final = float(np.hypot(ASPECT, 1.0))
_RADII: Final = (0.15, 0.21)
_DIM_LUX: Final = (1.5, 3.0)
_MAINS_CYCLES: Final = 0.29
_MAINS_SHARE: Final = 0.07
"""Of lamps on mains: cycles of their flicker a frame, as the camera samples it, and its amplitude."""
_DIAGONAL_FIELD_DEG: Final = 70.0
_POST_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class MovingObject:
    """One object of a scene.

    Attributes:
        class_name: which decides shape and colour.
        radius: share of the picture's height.
        texture_seed: of its surface.
        centres: x and y in shares of the picture's height, [n, 2].
        angles: of its turn in radians, [n].
    """

    class_name: str
    radius: float
    texture_seed: int
    centres: NDArray[np.float64]
    angles: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One clip before it is filmed; arrays have an entry a frame.

    Attributes:
        objects: from back to front.
        background_seed: of the wall behind them.
        view: where the camera looks on the wall, in shares of the picture's height, [n, 2].
        shake: by which the camera moves everything, [n, 2].
        illuminance_lux: of the light, [n].
        rotation_deg_s: of the camera, as a gyroscope tells it, [n].
        camera_move: how it is held.
        speed: of the objects: "slow", "medium", "fast", or "burst" where they are slow first and fast then.
        post: where a post stands before everything: its middle and width in shares of the height; None without one.
    """

    objects: tuple[MovingObject, ...]
    background_seed: int
    view: NDArray[np.float64]
    shake: NDArray[np.float64]
    illuminance_lux: NDArray[np.float64]
    rotation_deg_s: NDArray[np.float64]
    camera_move: str
    speed: str
    post: tuple[float, float] | None

    def __len__(self) -> int:
        return len(self.illuminance_lux)


def draw_scenes(scenario: VideoScenario, site: VideoSite, *, seed: int) -> list[Scene]:
    """Draw the scenes of a site, which every build meets.

    Args:
        scenario, site: of the study.
        seed: of the simulation.
    """
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(31, *site.name.encode())))
    speeds = order.permutation(_spread(site.clips, site.fast_share, ("fast", "burst"), ("slow", "slow", "medium")))
    lights = order.permutation(_spread(site.clips, site.dim_share, ("dim", "lamp off"), ("steady", "steady", "cloud")))
    moves = order.permutation(_spread(site.clips, site.pan_share, ("pan",), ("tripod", "handheld")))
    return [
        _draw_scene(
            scenario.frames,
            speed=str(speeds[number]),
            light=str(lights[number]),
            move=str(moves[number]),
            rng=np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(32, number, *site.name.encode()))),
        )
        for number in range(site.clips)
    ]


def _spread(count: int, share: float, chosen: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    """A kind for each of so many clips: the share has the chosen ones in turn, the rest the others in turn."""
    n_chosen = round(count * share)
    taken = [chosen[at % len(chosen)] for at in range(n_chosen)]
    return taken + [others[at % len(others)] for at in range(count - n_chosen)]


def _draw_scene(frames: int, *, speed: str, light: str, move: str, rng: np.random.Generator) -> Scene:
    names = rng.permutation(CLASSES)[: int(rng.integers(2, len(CLASSES) + 1))].tolist()
    if len(names) == len(CLASSES) and rng.random() < 0.5:
        names.append(names[0])
    view, shake = _camera_path(frames, move=move, rng=rng)
    turned = np.vstack([np.zeros(2), np.diff(view + shake, axis=0)])
    post = (
        (float(rng.uniform(0.3, ASPECT - 0.3)), float(rng.uniform(0.06, 0.1))) if rng.random() < _POST_SHARE else None
    )
    return Scene(
        objects=tuple(_draw_object(str(name), frames, speed=speed, rng=rng) for name in names),
        background_seed=int(rng.integers(1 << 31)),
        view=view,
        shake=shake,
        illuminance_lux=_light(frames, light=light, rng=rng),
        rotation_deg_s=np.hypot(*turned.T) / _DIAGONAL * _DIAGONAL_FIELD_DEG * FRAME_RATE_HZ,
        camera_move=move,
        speed=speed,
        post=post,
    )


def _draw_object(name: str, frames: int, *, speed: str, rng: np.random.Generator) -> MovingObject:
    radius = float(rng.uniform(*_RADII))
    steps = np.full(frames, rng.uniform(*SPEEDS["slow" if speed == "burst" else speed]))
    if speed == "burst":
        steps[frames // 2 :] = rng.uniform(*SPEEDS["fast"])
    heading = rng.uniform(0, 2 * np.pi)
    travelled = np.cumsum(steps * _DIAGONAL)
    low, high = np.full(2, 0.8 * radius), np.array([ASPECT, 1.0]) - 0.8 * radius
    start = rng.uniform(low, high)
    straight = start + travelled[:, None] * np.array([np.cos(heading), np.sin(heading)])
    return MovingObject(
        class_name=name,
        radius=radius,
        texture_seed=int(rng.integers(1 << 31)),
        centres=_reflected(straight, low=low, high=high),
        angles=np.asarray(rng.uniform(0, 2 * np.pi) + np.arange(frames) * rng.normal(0, 0.004), np.float64),
    )


def _reflected(
    path: NDArray[np.float64], *, low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fold a straight path into a rectangle, as a ball bounces from walls."""
    width = high - low
    within = np.mod(path - low, 2 * width)
    return np.asarray(low + np.where(within > width, 2 * width - within, within))


def _camera_path(
    frames: int, *, move: str, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the camera looks on the wall, and how it shakes; a pan follows the objects, so only the wall moves."""
    times = np.arange(frames) / FRAME_RATE_HZ
    view = np.tile(rng.uniform(0.2, WALL_SIDE - 0.2 - np.array([ASPECT, 1.0])), (frames, 1))
    if move == "pan":
        first, last = rng.permutation([0.2, WALL_SIDE - 0.2 - ASPECT]).tolist()
        view[:, 0] = np.linspace(first, last, frames)
    shake = np.zeros((frames, 2))
    if move != "tripod":
        for hertz in (1.3, 3.1, 7.7):
            phases, sizes = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.2, 1.0, 2) * 0.012 / hertz
            shake += sizes * np.sin(2 * np.pi * hertz * times[:, None] + phases)
    return view, shake


def _light(frames: int, *, light: str, rng: np.random.Generator) -> NDArray[np.float64]:
    bright = np.exp(rng.uniform(np.log(80), np.log(600)))
    flicker = np.sin(2 * np.pi * _MAINS_CYCLES * np.arange(frames) + rng.uniform(0, 2 * np.pi))
    dim = rng.uniform(*_DIM_LUX) * (1 + _MAINS_SHARE * flicker)
    lux = dim if light == "dim" else np.full(frames, bright)
    if light == "lamp off":
        lux[frames // 2 :] = dim[frames // 2 :]
    if light == "cloud":
        lux *= 1 + 0.5 * np.sin(np.linspace(0, 2 * np.pi, frames) + rng.uniform(0, 2 * np.pi))
    return np.asarray(lux, np.float64)
