"""Preprocessing in bytes, for models that take bytes: what Pillow's 8-bit resampling gives, to the last level.

Such models are often quantised, and one level in one pixel may move a vector by 1e-4. The same steps over numbers are
in `cv_quality.inference.preprocessing` and `framing`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cv_quality.inference.framing import CentreCrop, Crop, Letterbox, Resize, ResizeShort
from cv_quality.inference.preprocessing import Bgr, Frame, Levels, Rgb, Step

_BYTE_STEPS: Final = (Rgb, Bgr, Levels, Resize, ResizeShort, Crop, CentreCrop, Letterbox)


def keep_bytes(steps: Sequence[Step]) -> bool:
    """Tell whether colour pictures stay bytes in every step."""
    return all(isinstance(step, _BYTE_STEPS) for step in steps)


def stepped_bytes(picture: Frame, steps: Sequence[Step]) -> Frame:
    """Run steps that keep bytes over a colour picture: uint8 `[rows, columns, 3]`."""
    for step in steps:
        picture = _stepped(picture, step)
    return picture


def _stepped(picture: Frame, step: Step) -> Frame:
    rows, columns = picture.shape[:2]
    match step:
        case Bgr():
            return picture[..., ::-1]
        case Resize():
            return _resized(picture, step)
        case ResizeShort():
            return _resized(picture, step.resize_of(columns, rows))
        case Crop():
            return _cropped(picture, step)
        case CentreCrop():
            return _cropped(picture, step.crop_of(columns, rows))
        case Letterbox():
            inner, left, top = step.place_of(columns, rows)
            boxed = np.zeros((step.height_px, step.width_px, 3), np.uint8)
            boxed[top : top + inner.height_px, left : left + inner.width_px] = _resized(picture, inner)
            return boxed
    return picture


def _cropped(picture: Frame, crop: Crop) -> Frame:
    return picture[crop.top_px : crop.top_px + crop.height_px, crop.left_px : crop.left_px + crop.width_px]


def _resized(picture: Frame, resize: Resize) -> Frame:
    from PIL import Image

    size = resize.width_px, resize.height_px
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BILINEAR))
