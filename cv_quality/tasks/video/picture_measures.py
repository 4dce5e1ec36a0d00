"""What is measured of one frame's picture and of its ground truth: light, sharpness, motion, and the objects in it.

The names are those of `cv_quality.tasks.video.modality.MEASURED`. Pictures are shrunk first, by areas, so that a
measure hardly depends on the resolution of a camera; whole clips are read in `cv_quality.tasks.video.clips`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.flow import farneback_flow, opencv
from cv_quality.metrics.video.masks import label_counts

MAX_GREY_PX: Final = 320
"""Longer side of the grey picture whose light and sharpness are measured, and of the grid on which boxes overlap."""
MAX_FLOW_PX: Final = 160
"""Longer side of the picture whose motion is measured."""
MIN_FLOW_PX: Final = 16
"""Shorter side below which flow has nothing to hold on to."""

Plane = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class TruthObjects:
    """The objects that the truth has in one frame.

    Attributes:
        region: where they are, any size that shows the whole picture; not zero within an object.
        n_objects, object_share, is_at_border, overlap_share: as measured; None where the picture's size is not known.
    """

    region: Plane
    n_objects: int
    object_share: float | None
    is_at_border: bool | None
    overlap_share: float

    @property
    def measured(self) -> dict[str, float]:
        """What is measured of them, by name."""
        names = ("n_objects", "object_share", "is_at_border", "overlap_share")
        values = {name: getattr(self, name) for name in names}
        return {name: float(value) for name, value in values.items() if value is not None}


def mask_objects(labels: Plane, *, no_objects: Iterable[int]) -> TruthObjects:
    """Describe the objects, or classes, of a mask.

    Args:
        labels: shape (height, width).
        no_objects: labels of the background and of pixels that are ignored.
    """
    is_object = np.ones(256, bool)
    is_object[list(no_objects)] = False
    counts = label_counts(labels) * is_object
    present = np.flatnonzero(counts)
    region = is_object.astype(np.uint8)[labels]
    edges = (region[0], region[-1], region[:, 0], region[:, -1])
    boxes = [_bounding_box(labels == label) for label in present] if len(present) > 1 else []
    return TruthObjects(
        region,
        n_objects=len(present),
        object_share=float(counts.sum() / labels.size),
        is_at_border=any(edge.any() for edge in edges),
        overlap_share=_overlap(_coverage(boxes, labels.shape)),
    )


def box_objects(boxes: Sequence[Box], *, size: tuple[int, int] | None) -> TruthObjects:
    """Describe the objects of boxes.

    Args:
        boxes: of one frame, without those to be ignored.
        size: height and width of the picture; None where it is not known.
    """
    if size is None:
        ends = [(top + down, left + across) for left, top, across, down in boxes] or [(1.0, 1.0)]
        coverage = _coverage(boxes, tuple(max(1, math.ceil(max(side))) for side in zip(*ends, strict=True)))
        return TruthObjects((coverage > 0).astype(np.uint8), len(boxes), None, None, _overlap(coverage))
    height, width = size
    coverage = _coverage(boxes, size)
    is_at_border = any(
        left <= 0 or top <= 0 or left + across >= width or top + down >= height for left, top, across, down in boxes
    )
    return TruthObjects(
        (coverage > 0).astype(np.uint8),
        n_objects=len(boxes),
        object_share=float((coverage > 0).mean()),
        is_at_border=is_at_border,
        overlap_share=_overlap(coverage),
    )


class PictureMeter:
    """Measures the pictures of one stream in turn; two small ones are held."""

    def __init__(self) -> None:
        self._before: tuple[int, Plane] | None = None

    def measure(self, image: NDArray[np.uint8], number: int, truth: TruthObjects | None) -> dict[str, float]:
        """Measure one picture.

        Args:
            image: RGB.
            number: of its frame; motion is measured against the frame before, where that has a picture.
            truth: its objects.

        Returns:
            What could be measured, by name.
        """
        cv2 = opencv()
        grey = _shrunk(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), MAX_GREY_PX)
        mean, deviation = cv2.meanStdDev(grey)
        _, edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
        light = {
            "brightness": float(mean[0, 0]),
            "contrast": float(deviation[0, 0]),
            "sharpness": float(edges[0, 0] ** 2),
        }
        return light | self._motion(_shrunk(grey, MAX_FLOW_PX), number, truth)

    def _motion(self, small: Plane, number: int, truth: TruthObjects | None) -> dict[str, float]:
        before, self._before = self._before, (number, small)
        if before is None or before[0] != number - 1 or before[1].shape != small.shape:
            return {}
        if min(small.shape) < MIN_FLOW_PX:
            return {}
        flow = farneback_flow(small, before[1])
        length = np.hypot(flow[..., 0], flow[..., 1]) / float(np.hypot(*small.shape))
        motion = {"motion_share": float(length.mean())}
        if truth is not None and truth.n_objects:
            cv2 = opencv()
            within = cv2.resize(truth.region, small.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
            if within.any():
                motion["object_motion_share"] = float(length[within].mean())
        return motion


def _shrunk(grey: Plane, longest: int) -> Plane:
    height, width = grey.shape
    scale = longest / max(height, width)
    if scale >= 1:
        return grey
    cv2 = opencv()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _bounding_box(is_inside: NDArray[np.bool_]) -> Box:
    left, top, width, height = opencv().boundingRect(is_inside.view(np.uint8))
    return float(left), float(top), float(width), float(height)


def _coverage(boxes: Sequence[Box], size: tuple[int, ...]) -> NDArray[np.int32]:
    """How many boxes cover each cell of a grid over the picture, which is at most `MAX_GREY_PX` long."""
    scale = min(1.0, MAX_GREY_PX / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    steps = np.zeros((height + 1, width + 1), np.int32)
    for left, top, across, down in boxes:
        x0, x1 = (min(max(round(x * scale), 0), width) for x in (left, left + across))
        y0, y1 = (min(max(round(y * scale), 0), height) for y in (top, top + down))
        if x0 < x1 and y0 < y1:
            steps[[y0, y1], [x0, x1]] += 1
            steps[[y0, y1], [x1, x0]] -= 1
    return steps.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)[:-1, :-1]


def _overlap(coverage: NDArray[np.int32]) -> float:
    """Part of all boxes, each with its whole area, that another one covers too."""
    total = int(coverage.sum())
    return float(coverage[coverage > 1].sum()) / total if total else 0.0
