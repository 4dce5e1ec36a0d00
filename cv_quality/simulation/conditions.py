"""Capture conditions of frames as a frozen struct of arrays, and the cameras that capture them.
How a condition changes pixels is in `drawing.py` and `camera.py`; who meets which condition is in `population.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""Planes and measures: float32 when they are made, a precision that the type checker cannot follow."""

EYEWEAR: Final = ("none", "glasses", "sunglasses")
COVERINGS: Final = ("none", "mask", "scarf")


@dataclass(frozen=True, slots=True)
class CameraModel:
    """What a device model's camera does to light.

    `electrons_per_lux` is the charge of a white surface at the longest exposure; below `knee_lux` the exposure can
    grow no further, so frames darken in proportion to the light. `encoding_gamma` is the exponent of the stored value.
    """

    electrons_per_lux: float = 26.0
    knee_lux: float = 36.0
    read_noise_e: float = 3.0
    optical_blur_px: float = 0.55
    encoding_gamma: float = 1 / 1.9


@dataclass(frozen=True, slots=True)
class CaptureConditions:
    """Conditions of n frames, one array entry a frame.

    `eyewear` and `covering` index `EYEWEAR` and `COVERINGS`; `camera` indexes the `cameras` given to the renderer;
    `seeds` (uint64) fix everything random in a frame, so a frame does not depend on the batch it is drawn in.
    """

    illuminance_lux: NDArray[np.float32]
    distance_cm: NDArray[np.float32]
    yaw_deg: NDArray[np.float32]
    pitch_deg: NDArray[np.float32]
    motion_blur_px: NDArray[np.float32]
    eyewear: NDArray[np.int64]
    covering: NDArray[np.int64]
    camera: NDArray[np.int64]
    seeds: NDArray[np.uint64]

    def __len__(self) -> int:
        return int(self.seeds.shape[0])

    def take(self, rows: slice | NDArray[np.int64]) -> CaptureConditions:
        """Take the conditions of some frames."""
        return CaptureConditions(*(getattr(self, field.name)[rows] for field in fields(self)))


def _frame_seeds(seed: int, *, stream: int, count: int) -> NDArray[np.uint64]:
    state = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(count, np.uint64)
    return np.asarray(state, np.uint64)


def benign_conditions(count: int, *, seed: int, camera_count: int = 1) -> CaptureConditions:
    """Draw cooperative captures: 80 to 800 lux, arm's length, within 8 degrees of frontal, nothing worn.

    Args:
        count, seed, camera_count: number of frames, seed of the draws, and number of cameras to choose from.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(101,)))
    return CaptureConditions(
        illuminance_lux=np.exp(rng.uniform(np.log(80.0), np.log(800.0), count)).astype(np.float32),
        distance_cm=rng.uniform(30.0, 50.0, count).astype(np.float32),
        yaw_deg=rng.normal(0.0, 4.0, count).clip(-8, 8).astype(np.float32),
        pitch_deg=rng.normal(0.0, 4.0, count).clip(-8, 8).astype(np.float32),
        motion_blur_px=rng.exponential(0.25, count).clip(0, 1).astype(np.float32),
        eyewear=np.zeros(count, np.int64),
        covering=np.zeros(count, np.int64),
        camera=rng.integers(0, camera_count, count),
        seeds=_frame_seeds(seed, stream=102, count=count),
    )


def harsh_conditions(count: int, *, seed: int, camera_count: int = 1) -> CaptureConditions:
    """Draw uncooperative captures: 5 to 800 lux, to 90 cm, to 32 degrees, motion, eyewear and coverings.

    Args:
        count, seed, camera_count: as for `benign_conditions`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(103,)))
    return CaptureConditions(
        illuminance_lux=np.exp(rng.uniform(np.log(5.0), np.log(800.0), count)).astype(np.float32),
        distance_cm=rng.uniform(28.0, 90.0, count).astype(np.float32),
        yaw_deg=rng.uniform(-32.0, 32.0, count).astype(np.float32),
        pitch_deg=rng.uniform(-18.0, 18.0, count).astype(np.float32),
        motion_blur_px=rng.uniform(0.0, 4.0, count).astype(np.float32),
        eyewear=rng.choice(3, count, p=[0.5, 0.35, 0.15]),
        covering=rng.choice(3, count, p=[0.7, 0.2, 0.1]),
        camera=rng.integers(0, camera_count, count),
        seeds=_frame_seeds(seed, stream=104, count=count),
    )


def low_light_conditions(count: int, *, seed: int, camera_count: int = 1) -> CaptureConditions:
    """Draw cooperative captures in 1.5 to 10 lux.

    Args:
        count, seed, camera_count: as for `benign_conditions`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(105,)))
    benign = benign_conditions(count, seed=seed, camera_count=camera_count)
    lux = np.exp(rng.uniform(np.log(1.5), np.log(9.99), count)).astype(np.float32)
    return replace(benign, illuminance_lux=lux)
