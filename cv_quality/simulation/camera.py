"""From scene radiance to an 8-bit frame: optics, motion, exposure, photon shot noise, read noise, encoding.
What the scene looks like is in `drawing.py`; nothing here knows a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.conditions import CameraModel, CaptureConditions, FloatArray

_PAD: Final = 8
_ZOOM_FREE_CM: Final = 45.0


def blur(radiance: FloatArray, *, sigma_px: FloatArray, motion_px: FloatArray, motion_angle: FloatArray) -> FloatArray:
    """Blur frames [n, h, w] by optics and motion: a Gaussian times a line, applied exactly as transfer functions.

    Args:
        radiance: float32[n, h, w].
        sigma_px: the Gaussian's standard deviation, [n].
        motion_px, motion_angle: the line's length and its direction in radians, [n].
    """
    height, width = radiance.shape[1:]
    padded = np.pad(radiance, ((0, 0), (_PAD, _PAD), (_PAD, _PAD)), mode="edge")
    fy = np.fft.fftfreq(height + 2 * _PAD).astype(np.float32)[None, :, None]
    fx = np.fft.rfftfreq(width + 2 * _PAD).astype(np.float32)[None, None, :]
    sigma = sigma_px[:, None, None]
    along = fx * np.cos(motion_angle)[:, None, None] + fy * np.sin(motion_angle)[:, None, None]
    transfer = np.exp(-2 * np.float32(np.pi) ** 2 * sigma**2 * (fx**2 + fy**2))
    transfer *= np.sinc(motion_px[:, None, None] * along).astype(np.float32)
    blurred = np.fft.irfft2(np.fft.rfft2(padded) * transfer, s=padded.shape[1:])
    return np.asarray(blurred[:, _PAD:-_PAD, _PAD:-_PAD], np.float32)


def blur_sigma_px(conditions: CaptureConditions, cameras: Sequence[CameraModel]) -> FloatArray:
    """Compute the Gaussian blur of each frame, pixels: the lens, and beyond 45 cm the digital zoom."""
    lens = np.array([camera.optical_blur_px for camera in cameras], np.float32)[conditions.camera]
    zoom = 0.9 * np.maximum(0.0, conditions.distance_cm / _ZOOM_FREE_CM - 1.0)
    return np.asarray(np.hypot(lens, zoom), np.float32)


def expose(
    radiance: FloatArray, *, conditions: CaptureConditions, cameras: Sequence[CameraModel], noise: FloatArray
) -> NDArray[np.uint8]:
    """Expose frames uint8[n, h, w].

    Above a camera's knee half of the surplus light (in stops) is kept as charge; below it the charge falls with the
    light, so shot noise (variance = charge) and read noise count for more and the frame darkens.

    Args:
        radiance: float32[n, h, w] in [0, ~1].
        conditions: of each frame.
        cameras: that the conditions index.
        noise: standard normal, float32[n, h, w].
    """
    column = {
        name: np.array([getattr(camera, name) for camera in cameras], np.float32)[conditions.camera][:, None, None]
        for name in ("electrons_per_lux", "knee_lux", "read_noise_e", "encoding_gamma")
    }
    lux = conditions.illuminance_lux[:, None, None]
    full_scale_e = column["electrons_per_lux"] * column["knee_lux"] * np.maximum(1.0, np.sqrt(lux / column["knee_lux"]))
    charge_e = np.maximum(radiance, 0.0) * full_scale_e * np.minimum(1.0, lux / column["knee_lux"])
    charge_e += noise * np.sqrt(charge_e + column["read_noise_e"] ** 2)
    level = np.clip(charge_e / full_scale_e, 1e-6, 1.0)
    encoded = np.exp(column["encoding_gamma"] * np.log(level))
    return np.asarray(np.rint(255.0 * encoded), np.uint8)
