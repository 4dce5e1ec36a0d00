"""Clips against reference clips: PSNR both ways, both variants of SSIM, VMAF, of the luma that files have.

A video file gives its luma as it is stored; pictures of a folder give theirs by ITU-R BT.601. Frames of video files
pair by their place, those of folders by number.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.clips import ClipLuma, ClipReader
from cv_quality.drops.importers.video_folders import VideoClip
from cv_quality.drops.importers.video_frames import FrameFiles
from cv_quality.errors import ClipError, LayoutError
from cv_quality.metrics.video.images import psnr, ssim
from cv_quality.tasks.video.evaluation.masks import luma
from cv_quality.tasks.video.evaluation.pairing import ClipPair, pair_frames
from cv_quality.tasks.video.evaluation.results import ALL, ClipScore
from cv_quality.tasks.video.evaluation.vmaf import VmafMeter

IMAGE_METRICS = ("psnr_of_mean_db", "psnr_db", "ssim_ffmpeg", "ssim")
GAUSSIAN_SIDE = 11
"""Pixels of a side below which a frame has no window of SSIM."""

Plane = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class LumaPair:
    """One frame of both sides; None where a side has none."""

    number: int
    reference: Plane | None
    result: Plane | None
    bits: int


def score_images(pair: ClipPair, *, shift: int | None, vmaf: Path | None = None) -> tuple[ClipScore, list[str]]:
    """Score a clip frame by frame in one pass; the second value is what should be known of it.

    Args:
        pair: the clip; its truth is the reference.
        shift: what is added to frame numbers of the prediction, where both sides are folders.
        vmaf: the ffmpeg that measures VMAF, see `find_vmaf`; without it there is none.

    Raises:
        LayoutError: sizes or depths differ, no frame is on both sides, or VMAF cannot be measured.
        ClipError: a video cannot be decoded.
    """
    numbers: list[int] = []
    errors: list[float] = []
    sizes: list[int] = []
    each: dict[str, list[float]] = {"psnr_db": [], "ssim_ffmpeg": [], "ssim": []}
    n_alone, peak = 0, 255
    warnings: list[str] = []
    with ExitStack() as stack:
        meter: VmafMeter | None = None
        for frame in _frames(pair, shift, warnings):
            one, other = frame.reference, frame.result
            if one is None or other is None:
                n_alone += 1
                continue
            peak = 2**frame.bits - 1
            _require_alike(one, other, clip=pair.name, number=frame.number)
            noise = psnr([(one, other)], peak=peak)
            assert noise.mse is not None
            assert noise.mean is not None
            numbers.append(frame.number)
            errors.append(noise.mse * noise.n_pixels)
            sizes.append(noise.n_pixels)
            each["psnr_db"].append(noise.mean)
            each["ssim_ffmpeg"].append(_known(ssim([(one, other)], peak=peak, variant="ffmpeg").value))
            each["ssim"].append(_known(ssim([(one, other)], peak=peak, variant="gaussian").value))
            if vmaf is not None:
                meter = meter or stack.enter_context(VmafMeter(vmaf, clip=pair.name, bits=frame.bits))
                meter.add(one, other)
        if meter is not None:
            each["vmaf"] = list(meter.scores())
    if not numbers:
        raise LayoutError(f"clip {pair.name}: expected a frame that both sides have, found none")
    if n_alone:
        warnings.append(f"clip {pair.name}: {n_alone:,} frames are on one side only and are left out")
    mse = math.fsum(errors) / sum(sizes)
    values = {
        "psnr_of_mean_db": 10 * math.log10(peak**2 / mse) if mse else math.inf,
        **{name: math.fsum(found) / len(numbers) for name, found in each.items()},
    }
    n_identical = each["psnr_db"].count(math.inf)
    frames = {name: tuple(found) for name, found in each.items()}
    score = ClipScore(pair.name, ALL, len(numbers), values, {"identical": n_identical}, frames, tuple(numbers))
    return score, warnings


def _known(value: float | None) -> float:
    assert value is not None
    return value


def _require_alike(one: Plane, other: Plane, *, clip: str, number: int) -> None:
    if one.shape != other.shape or one.dtype != other.dtype:
        raise LayoutError(
            f"clip {clip}, frame {number}: expected frames of one size and depth, found a reference of "
            f"{one.shape[1]} x {one.shape[0]} {one.dtype} and a result of {other.shape[1]} x {other.shape[0]} "
            f"{other.dtype}: bring one to the other before"
        )
    if min(one.shape) < GAUSSIAN_SIDE:
        raise LayoutError(f"clip {clip}: expected frames of {GAUSSIAN_SIDE} pixels a side or more, found {one.shape}")


def _frames(pair: ClipPair, shift: int | None, warnings: list[str]) -> Iterator[LumaPair]:
    """Both sides frame by frame; damaged frames of a video are on no side."""
    one, other = _files(pair.truth), _files(pair.prediction)
    if isinstance(one, FrameFiles) and isinstance(other, FrameFiles):
        found = pair_frames(other, one, clip=pair.name, shift=shift)
        warnings.extend(found.warnings)
        for frame in found.pairs:
            yield LumaPair(frame.number, luma(frame.truth), luma(frame.prediction), 8)
        return
    if isinstance(one, FrameFiles) or isinstance(other, FrameFiles):
        warnings.append(f"clip {pair.name}: a video and a folder of pictures pair by place, not by number")
    sides = zip_longest(_planes(one, pair.name, warnings), _planes(other, pair.name, warnings))
    for number, (first, second) in enumerate(sides):
        yield LumaPair(
            number,
            first.plane if first else None,
            second.plane if second else None,
            max(side.bits for side in (first, second) if side is not None) if first or second else 8,
        )


def _files(clip: VideoClip) -> FrameFiles | Path:
    found = clip.video or clip.pictures or clip.masks
    if found is None:
        raise LayoutError(f"clip {clip.name}: expected a video or pictures, found {clip.words() or 'nothing'}")
    return found


def _planes(files: FrameFiles | Path, clip: str, warnings: list[str]) -> Iterator[ClipLuma | None]:
    if isinstance(files, FrameFiles):
        for number, file in enumerate(files.files.values()):
            yield ClipLuma(number, luma(file), 8)
        return
    try:
        with ClipReader(files, pixels="luma") as reader:
            for item in reader.lumas():
                if isinstance(item, ClipLuma):
                    yield item
                else:
                    warnings.append(f"clip {clip}: {files.name}: {item.reason}: {item.detail}")
                    if item.index is not None:
                        yield None
    except ClipError as error:
        raise ClipError(f"{files}: {error}", reason=error.reason) from error
