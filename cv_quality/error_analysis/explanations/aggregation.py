"""Aggregation of saliency maps: what failures are credited less (or more) for than their matched passes.

The maps of single pairs come from `saliency`; whether the aggregate may be shown is decided by `sanity`.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import SliceError

MIN_SUBJECTS = 5
MAX_SIDE = 64


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The mean map of failures minus that of passes, or the reason why there is none.

    Attributes:
        values: float32 `[h, w]`, at most 64 a side: cosine per pixel of the model's input, negative where the failures
            earn less of their score than the passes; None where there is no map.
        reason: why there is none.
    """

    values: NDArray[np.float32] | None
    reason: str | None = None


def aggregate(failures: NDArray[np.float32], passes: NDArray[np.float32], *, subjects: int) -> Aggregate:
    """Average maps `[n, h, w]` of failures minus those of their matched passes, in aligned coordinates.

    Args:
        failures, passes: one couple a row.
        subjects: whose failures they are; one person's face would make the map, where there are fewer than five.

    Raises:
        SliceError: the maps differ in number or size.
    """
    if failures.shape != passes.shape:
        raise SliceError(f"expected one pass a failure, found maps {failures.shape} and {passes.shape}")
    if not len(failures):
        return Aggregate(None, "no failure of the slice has a score, a frame and a matching pass")
    if subjects < MIN_SUBJECTS:
        return Aggregate(None, f"{subjects} subjects fail in the slice, a map takes at least {MIN_SUBJECTS}")
    mean = failures.mean(axis=0, dtype=np.float64) - passes.mean(axis=0, dtype=np.float64)
    rows, columns = (ceil(side / ceil(side / MAX_SIDE)) for side in mean.shape)
    return Aggregate(pooled(mean[None], rows=rows, columns=columns)[0])


def pooled(maps: NDArray[np.floating], *, rows: int, columns: int) -> NDArray[np.float32]:
    """Average maps `[n, h, w]` over blocks, as equal as whole pixels allow, float32.

    Args:
        maps: every pixel is in one block.
        rows, columns: blocks at most.

    >>> pooled(np.arange(8.0).reshape(1, 2, 4), rows=1, columns=2).tolist()
    [[[2.5, 4.5]]]
    """
    _, height, width = maps.shape
    tops = np.arange(min(height, rows)) * height // min(height, rows)
    lefts = np.arange(min(width, columns)) * width // min(width, columns)
    sums = np.add.reduceat(np.add.reduceat(maps, tops, axis=1, dtype=np.float64), lefts, axis=2)
    heights, widths = np.diff(tops, append=height), np.diff(lefts, append=width)
    return np.asarray(sums / (heights[:, None] * widths), dtype=np.float32)
