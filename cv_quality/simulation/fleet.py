"""The device models of the simulated fleet: their cameras, their speed, and who supplied the camera.
The suppliers follow the models closely but not wholly, so that an innocent supplier looks guilty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cv_quality.simulation.conditions import CameraModel


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One model of the fleet: camera, median latency of a verification in ms, OS versions, suppliers with shares."""

    name: str
    camera: CameraModel
    latency_ms: float
    os_versions: tuple[str, ...]
    suppliers: Mapping[str, float]


FLEET: Final = (
    DeviceModel(
        "aurora-1",
        CameraModel(electrons_per_lux=22.0, knee_lux=40.0, read_noise_e=4.0, optical_blur_px=0.70),
        latency_ms=310.0,
        os_versions=("17.4", "17.6"),
        suppliers={"optera": 0.85, "lumen": 0.15},
    ),
    DeviceModel(
        "aurora-2",
        CameraModel(electrons_per_lux=30.0, knee_lux=32.0, read_noise_e=2.6, optical_blur_px=0.50),
        latency_ms=190.0,
        os_versions=("18.0", "18.1"),
        suppliers={"lumen": 0.9, "novasight": 0.1},
    ),
    DeviceModel(
        "borealis-s",
        CameraModel(
            electrons_per_lux=24.0, knee_lux=38.0, read_noise_e=3.2, optical_blur_px=0.60, encoding_gamma=1 / 2.0
        ),
        latency_ms=240.0,
        os_versions=("18.0", "18.1"),
        suppliers={"novasight": 0.8, "optera": 0.2},
    ),
)

CAMERAS: Final = tuple(model.camera for model in FLEET)
MODEL_NAMES: Final = tuple(model.name for model in FLEET)

THERMAL_SLOWDOWN: Final[Mapping[str, float]] = {"nominal": 1.0, "fair": 1.12, "serious": 1.5, "critical": 2.3}
"""Factor on the median latency while the device is in that thermal state."""
