"""Daugman's rubber sheet: the ring between pupil and iris, unrolled into a strip with the pixels that show iris."""

import numpy as np
from numpy.typing import NDArray

from cv_quality.inference.iris.geometry import EyeShape, Points


def sheet_points(shape: EyeShape, *, height: int, width: int) -> Points:
    """Place the pixels of a strip in the picture, shape (height, width, 2).

    Column j looks at the angle 2 pi j / width, from the right downwards; row i lies at (i + 1/2) / height of the way
    from the pupil's ellipse to that of the iris, so that a pupil that opens stretches the strip's rows alike.

    Args:
        shape: of the eye.
        height, width: of the strip.
    """
    angles = np.arange(width, dtype=np.float64) * (2 * np.pi / width)
    inner, outer = shape.pupil.at(angles), shape.iris.at(angles)
    share = ((np.arange(height) + 0.5) / height)[:, None, None]
    points: Points = (1 - share) * inner + share * outer
    return points


def sample_grey(picture: NDArray[np.float32], points: Points) -> NDArray[np.float32]:
    """Read grey levels at points between pixels, shape of the points; 0 outside of the picture."""
    import cv2

    x, y = (np.ascontiguousarray(points[..., axis], np.float32) for axis in (0, 1))
    found = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return found.astype(np.float32, copy=False)


def sample_labels(parts: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    """Read labels at the pixels nearest to points; 0 outside of the map."""
    height, width = parts.shape
    x, y = np.rint(points[..., 0]).astype(np.int64), np.rint(points[..., 1]).astype(np.int64)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return np.where(inside, parts[y.clip(0, height - 1), x.clip(0, width - 1)], 0).astype(np.uint8)


def is_inside(points: Points, *, height: int, width: int) -> NDArray[np.bool_]:
    """Tell the points that lie in a picture of that size."""
    x, y = points[..., 0], points[..., 1]
    found: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    return found
