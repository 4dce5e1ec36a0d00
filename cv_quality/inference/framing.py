"""Steps that change what is where in a frame (resize, crop, letterbox), and the way back from their pixels.

They are preprocessing steps like those of `cv_quality.inference.preprocessing`, which parses them. A model's masks and
landmarks are found in the pixels that it was given; a `View` says where in the picture these lie.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelError

Batch = NDArray[np.float32]
LetterboxAlign = Literal["centre", "top_left"]
BAND_ROWS = 16


@dataclass(frozen=True, slots=True)
class View:
    """A plane of pixels over a rectangle of a picture, which may reach beyond it.

    Attributes:
        columns, rows: of the plane.
        left_px, top_px, width_px, height_px: the rectangle, in pixels of the picture.
    """

    columns: int
    rows: int
    left_px: float
    top_px: float
    width_px: float
    height_px: float

    @classmethod
    def whole(cls, width_px: int, height_px: int) -> Self:
        """The picture itself."""
        return cls(width_px, height_px, 0.0, 0.0, float(width_px), float(height_px))

    def resized(self, columns: int, rows: int) -> "View":
        """The same rectangle in other pixels."""
        return replace(self, columns=columns, rows=rows)

    def cut(self, left: int, top: int, columns: int, rows: int) -> "View":
        """A part of the plane, or more than it."""
        across, down = self.width_px / self.columns, self.height_px / self.rows
        return View(
            columns,
            rows,
            self.left_px + left * across,
            self.top_px + top * down,
            columns * across,
            rows * down,
        )

    def to_picture(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Move points [n, 2], x and y with pixel edges at whole numbers, from the plane to the picture."""
        scale = np.array([self.width_px / self.columns, self.height_px / self.rows])
        return np.asarray(np.asarray(points, np.float64) * scale + [self.left_px, self.top_px])

    def from_picture(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Move points [n, 2] from the picture to the plane."""
        scale = np.array([self.columns / self.width_px, self.rows / self.height_px])
        return np.asarray((np.asarray(points, np.float64) - [self.left_px, self.top_px]) * scale)


class FramingStep(Protocol):
    """A preprocessing step that changes what is where."""

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch: ...

    def reframe(self, view: View) -> View:
        """Tell what the batch shows after the step."""


@dataclass(frozen=True, slots=True)
class Resize:
    """Bilinear resampling to `width_px` x `height_px`, antialiased when it shrinks (Pillow's BILINEAR)."""

    width_px: int
    height_px: int

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        return self.down(self.across(batch))

    def across(self, batch: Batch) -> Batch:
        """Resample every row, each by itself."""
        if batch.shape[3] == self.width_px:
            return batch
        narrower = np.empty((*batch.shape[:3], self.width_px), dtype=np.float32)
        for rows, columns, weights in resampling_bands(batch.shape[3], self.width_px):
            np.matmul(batch[..., columns], weights.T, out=narrower[..., rows])
        return narrower

    def down(self, batch: Batch) -> Batch:
        """Resample every column."""
        if batch.shape[2] == self.height_px:
            return batch
        lower = np.empty((*batch.shape[:2], self.height_px, batch.shape[3]), dtype=np.float32)
        for rows, columns, weights in resampling_bands(batch.shape[2], self.height_px):
            np.matmul(weights, batch[:, :, columns], out=lower[:, :, rows])
        return lower

    def reframe(self, view: View) -> View:
        """The same rectangle in other pixels."""
        return view.resized(self.width_px, self.height_px)


@dataclass(frozen=True, slots=True)
class ResizePlain:
    """Bilinear resampling to `width_px` x `height_px` from the four nearest pixels, also when it shrinks.

    What shrinks is aliased, as OpenCV's INTER_LINEAR does it: models that learnt from such pictures look for it.
    """

    width_px: int
    height_px: int

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        top, bottom, down = nearest_two(batch.shape[2], self.height_px)
        left, right, across = nearest_two(batch.shape[3], self.width_px)
        rows = batch[:, :, top] * (1 - down)[:, None] + batch[:, :, bottom] * down[:, None]
        return np.asarray(rows[..., left] * (1 - across) + rows[..., right] * across)

    def reframe(self, view: View) -> View:
        """The same rectangle in other pixels."""
        return view.resized(self.width_px, self.height_px)


@dataclass(frozen=True, slots=True)
class ResizeShort:
    """Resampling as of `Resize`, so that the shorter side has `side_px` and the sides keep their ratio."""

    side_px: int

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:
        return self.resize_of(*batch.shape[3:1:-1])(batch, illuminance_lux=illuminance_lux)

    def reframe(self, view: View) -> View:
        """The same rectangle in other pixels."""
        return self.resize_of(view.columns, view.rows).reframe(view)

    def resize_of(self, columns: int, rows: int) -> Resize:
        """The resampling of a frame of that size."""
        scale = self.side_px / min(columns, rows)
        return Resize(round(columns * scale), round(rows * scale))


@dataclass(frozen=True, slots=True)
class Crop:
    """The rectangle of `width_px` x `height_px` pixels at `left_px`, `top_px`; it must lie within the frame."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:  # noqa: ARG002
        self.reframe(View.whole(*batch.shape[3:1:-1]))
        return batch[..., self.top_px : self.top_px + self.height_px, self.left_px : self.left_px + self.width_px]

    def reframe(self, view: View) -> View:
        """The rectangle.

        Raises:
            ModelError: it does not lie within the frame.
        """
        if self.left_px + self.width_px > view.columns or self.top_px + self.height_px > view.rows:
            raise ModelError(
                f"preprocessing: a crop of {self.width_px} x {self.height_px} pixels at {self.left_px}, {self.top_px} "
                f"leaves a frame of {view.columns} x {view.rows}; crop less, or resize before"
            )
        return view.cut(self.left_px, self.top_px, self.width_px, self.height_px)


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """The middle of `width_px` x `height_px` pixels."""

    width_px: int
    height_px: int

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:
        return self.crop_of(*batch.shape[3:1:-1])(batch, illuminance_lux=illuminance_lux)

    def reframe(self, view: View) -> View:
        """The middle; raises ModelError where the frame is smaller."""
        return self.crop_of(view.columns, view.rows).reframe(view)

    def crop_of(self, columns: int, rows: int) -> Crop:
        """The rectangle in a frame of that size."""
        left, top = max(0, (columns - self.width_px) // 2), max(0, (rows - self.height_px) // 2)
        return Crop(left, top, self.width_px, self.height_px)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The whole frame as large as it fits into `width_px` x `height_px`, its sides' ratio kept; zeros around it."""

    width_px: int
    height_px: int
    align: LetterboxAlign = "centre"

    def __call__(self, batch: Batch, *, illuminance_lux: NDArray[np.float64]) -> Batch:
        inner, left, top = self.place_of(*batch.shape[3:1:-1])
        boxed = np.zeros((*batch.shape[:2], self.height_px, self.width_px), np.float32)
        rows, columns = slice(top, top + inner.height_px), slice(left, left + inner.width_px)
        boxed[..., rows, columns] = inner(batch, illuminance_lux=illuminance_lux)
        return boxed

    def reframe(self, view: View) -> View:
        """The frame with what was put around it."""
        inner, left, top = self.place_of(view.columns, view.rows)
        return inner.reframe(view).cut(-left, -top, self.width_px, self.height_px)

    def place_of(self, columns: int, rows: int) -> tuple[Resize, int, int]:
        """The resampling of a frame of that size, and its left and upper edge in the box."""
        scale = min(self.width_px / columns, self.height_px / rows)
        inner = Resize(max(1, round(columns * scale)), max(1, round(rows * scale)))
        if self.align == "top_left":
            return inner, 0, 0
        return inner, (self.width_px - inner.width_px) // 2, (self.height_px - inner.height_px) // 2


FRAMING_STEPS: Final = (Resize, ResizePlain, ResizeShort, Crop, CentreCrop, Letterbox)


def nearest_two(size_in: int, size_out: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Find for every output pixel the two input pixels about it, and the weight of the second; centres lie at halves.

    >>> [side.tolist() for side in nearest_two(4, 2)]
    [[0, 2], [1, 3], [0.5, 0.5]]
    """
    place = np.clip((np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5, 0, size_in - 1)
    first = place.astype(np.intp)
    return first, np.minimum(first + 1, size_in - 1), (place - first).astype(np.float32)


def resampling_weights(size_in: int, size_out: int, *, rows: range) -> NDArray[np.float32]:
    """Compute rows of the matrix `[size_out, size_in]` of a triangle filter, widened when shrinking; rows sum to one.

    Output pixel i lies at `(i + 1/2) * size_in / size_out` (pixel centres at halves), as in Pillow's resampling.

    Args:
        size_in, size_out: pixels before and after.
        rows: which output pixels.
    """
    scale = size_in / size_out
    width = max(scale, 1.0)
    centres = (np.arange(rows.start, rows.stop) + 0.5) * scale
    distance = np.abs(np.arange(size_in)[None, :] + 0.5 - centres[:, None]) / width
    weights = np.clip(1.0 - distance, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


@lru_cache(maxsize=64)
def resampling_bands(size_in: int, size_out: int) -> tuple[tuple[slice, slice, NDArray[np.float32]], ...]:
    """Cut the resampling matrix into blocks of rows with the columns they need: (rows, columns, weights).

    The matrix is almost all zeros; blocks of 16 rows halve the time of 112 x 92 to 64 x 64 against one product.
    """
    bands = []
    for start in range(0, size_out, BAND_ROWS):
        stop = min(start + BAND_ROWS, size_out)
        weights = resampling_weights(size_in, size_out, rows=range(start, stop))
        used = np.flatnonzero(weights.any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((slice(start, stop), columns, np.ascontiguousarray(weights[:, columns])))
    return tuple(bands)
