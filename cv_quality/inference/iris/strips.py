"""Normalised strips of irises: as they are handed on to be encoded, and read from frames that are strips already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.inference.iris.entry import Acquisition, IrisMask, StripSize
from cv_quality.inference.iris.log_gabor import Bits, Strips
from cv_quality.inference.iris.quality import periodicity_of, sharpness_of
from cv_quality.inference.preprocessing import LUMA, Frame

OK = "ok"


@dataclass(frozen=True, slots=True)
class NormalisedIrises:
    """Irises as strips.

    Attributes:
        statuses: "ok", or why there is no strip.
        strips: grey levels, shape (n, height, width).
        valid: pixels that show iris, of that shape.
        measured: figures of the samples, shape (n,) each; NaN where there is none.
    """

    statuses: Sequence[str]
    strips: Strips
    valid: Bits
    measured: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class StripReader:
    """Takes frames that are normalised strips already; what is no iris in them shows by its grey level alone.

    Attributes:
        size: of a strip.
        mask: which pixels show no iris.
        acquire: what a strip must be.
    """

    size: StripSize
    mask: IrisMask
    acquire: Acquisition

    def read(self, frames: Sequence[Frame]) -> NormalisedIrises:
        """Take strips; one of another size is resized where the entry says so, and else no strip."""
        height, width = self.size.height, self.size.width
        strips, statuses = np.zeros((len(frames), height, width), np.float32), []
        for place, frame in enumerate(frames):
            fits = frame.shape[:2] == (height, width)
            statuses.append(OK if fits or self.size.resize else "strip_size")
            if statuses[-1] == OK:
                strips[place] = grey(frame) if fits else _resized(grey(frame), height, width)
        has_strip = np.array([status == OK for status in statuses], np.bool_)
        is_highlight = strips >= self.mask.bright_from
        valid = ~is_highlight & (strips >= self.mask.dark_below) & has_strip[:, None, None]
        sharpness = np.array([sharpness_of(*pair) for pair in zip(strips, valid, strict=True)])
        periodicity = np.array([periodicity_of(*pair) for pair in zip(strips, valid, strict=True)])
        specular = np.where(has_strip, is_highlight.mean(axis=(1, 2)), np.nan)
        for place in np.flatnonzero(has_strip).tolist():
            if not sharpness[place] >= self.acquire.min_sharpness:
                statuses[place] = "sharpness"
            elif specular[place] > self.acquire.max_specular:
                statuses[place] = "specular"
            elif periodicity[place] > self.acquire.max_periodicity:
                statuses[place] = "lens"
        measured = {"sharpness": sharpness, "specular_area": specular, "periodicity": periodicity}
        return NormalisedIrises(statuses, strips, valid, measured)


def grey(frame: Frame) -> NDArray[np.float32]:
    """Take the luma of a frame, shape (height, width), 0 to 255."""
    if frame.ndim == 2:
        return frame.astype(np.float32)
    if frame.shape[2] == 1:
        return frame[:, :, 0].astype(np.float32)
    luma: NDArray[np.float32] = frame[:, :, :3].astype(np.float32) @ LUMA
    return luma


def _resized(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    from PIL import Image

    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR), np.float32)
