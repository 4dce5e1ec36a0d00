"""Stability of masks over time: temporal consistency beside the ceiling that the truth itself has, and flicker.

The optical flow is an argument: `cv_quality.metrics.video.flow` computes one. A consistency without its ceiling
measures the flow as much as the masks, so both always come together. Each frame's own quality is in
`cv_quality.metrics.video.masks`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.results import Result
from cv_quality.metrics.video import temporal_kernels
from cv_quality.metrics.video.mask_kernels import IGNORED, Codes
from cv_quality.metrics.video.masks import MaskClass, label_frames, label_table

OCCLUSION_SHARE, OCCLUSION_PIXELS = 0.01, 0.5
"""What forward and backward flow may differ by, squared: a share of their squared lengths, and square pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class FlowFrame:
    """The masks of one frame, and how it moved since the one before.

    Attributes:
        truth: labels, shape (height, width).
        prediction: labels, as `truth`.
        flow: from each pixel to its place in the frame before: columns, rows, in pixels; shape (height, width, 2). None
            where nothing can be said: the first frame, a cut, a gap.
        is_occluded: pixels that the frame before does not show, shape (height, width), bool; None: none is known.
    """

    truth: ArrayLike
    prediction: ArrayLike
    flow: ArrayLike | None = None
    is_occluded: ArrayLike | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WarpedMasks(Result):
    """Counts of pixels in each pair of frames for each class; arrays of shape (pairs, classes) unless said.

    Attributes:
        names: of the classes.
        frames: place in the clip of the later frame of each pair, from 0, shape (pairs,).
        intersection, union: pixels of the class in the warped prediction and the present one: in both, in either.
        truth_intersection, truth_union: the same of the truth.
        n_compared, n_left_out: pixels of each pair, shape (pairs,); left out are ignored, occluded, and from outside
            the picture.
        n_skipped: frames without a flow, the first one of the clip included.
    """

    names: tuple[str, ...]
    frames: NDArray[np.int64]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    truth_intersection: NDArray[np.int64]
    truth_union: NDArray[np.int64]
    n_compared: NDArray[np.int64]
    n_left_out: NDArray[np.int64]
    n_skipped: int

    def values(self) -> NDArray[np.float64]:
        """Compute the consistency of each pair and class; NaN where no prediction has the class."""
        return np.where(self.union > 0, self.intersection / np.maximum(self.union, 1), np.nan)

    def ceilings(self) -> NDArray[np.float64]:
        """Compute the consistency of the truth in each pair and class; NaN where it has not the class."""
        return np.where(self.truth_union > 0, self.truth_intersection / np.maximum(self.truth_union, 1), np.nan)


@dataclass(frozen=True, slots=True)
class TemporalConsistency(Result):
    """Temporal consistency of one class in one clip; pixels are summed over pairs of frames before they are divided.

    Attributes:
        value: IoU of the prediction at t - 1, warped to t, with that at t; 0 to 1, higher is better.
        intersection, union: pixels.
        ceiling: the same of the truth: what the flow lets a perfect prediction reach.
        truth_intersection, truth_union: pixels.
        ratio: value / ceiling; above 1 the prediction is steadier than the truth, as one that lags is.
        mean: mean over pairs of their own IoU, as others publish it: a pair counts however little it has of the class.
        mean_ceiling: the same of the truth.
        n_pairs: pairs of frames that were compared.
        n_skipped: frames without a flow, the first one of the clip included.
        n_compared, n_left_out: pixels of these pairs.
        reason: why a value is None.
    """

    name: str
    value: float | None
    intersection: int
    union: int
    ceiling: float | None
    truth_intersection: int
    truth_union: int
    ratio: float | None
    mean: float | None
    mean_ceiling: float | None
    n_pairs: int
    n_skipped: int
    n_compared: int
    n_left_out: int
    reason: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Flicker(Result):
    """How much of a clip's error comes and goes.

    Attributes:
        value: changed / valid, 0 to 1, lower is better; None without a valid pixel.
        n_changed: pixels whose class was right in one of two frames in a row, and wrong in the other.
        n_valid: pixels that are ignored in neither of the two frames.
        n_pairs: pairs of frames.
        changed, valid: these pixels in each pair, shape (pairs,).
    """

    value: float | None
    n_changed: int
    n_valid: int
    n_pairs: int
    changed: NDArray[np.int64]
    valid: NDArray[np.int64]
    reason: str | None = None


def warp_masks(
    frames: Iterable[FlowFrame], classes: Sequence[MaskClass], *, ignored: Sequence[int] = ()
) -> WarpedMasks:
    """Compare each mask with the one before, warped to it by the flow (Liu et al., ECCV 2020).

    A pixel takes the label of the pixel nearest to where it was. Pixels that were outside the picture, are occluded or
    are ignored in one of the two truths count neither for the prediction nor for the ceiling.

    Args:
        frames: of one clip, in order; read once, all of one size.
        classes: what is compared.
        ignored: labels of the truth whose pixels count for nothing.

    Raises:
        MetricError: a mask, a flow or a map of occlusions has another shape, or the masks are no labels.

    >>> still, moved = np.array([[1, 0, 0]]), np.array([[0, 1, 0]])
    >>> frames = [FlowFrame(still, still), FlowFrame(moved, moved, flow=np.tile([-1.0, 0.0], (1, 3, 1)))]
    >>> warped = warp_masks(frames, [MaskClass("cat", (1,))])
    >>> warped.values().tolist(), warped.n_left_out.tolist()
    ([[1.0]], [1])
    """
    count = compiled(temporal_kernels.count_warped)
    pairs, places, compared, left_out = [], [], [], []
    n_skipped = 0
    before: tuple[Codes, Codes] | None = None
    for place, (frame, after) in enumerate(_coded(frames, classes, ignored)):
        if before is None or frame.flow is None:
            n_skipped += 1
        else:
            shape = _require_same(before, after)
            counts = np.zeros((2, len(classes) + 1, 3), np.int64)
            n_out = count(before, after, _flow(frame, shape), _occluded(frame, shape), counts)
            pairs.append(counts)
            places.append(place)
            compared.append(after[0].size - n_out)
            left_out.append(n_out)
        before = after
    of_truth, of_prediction = np.moveaxis(np.array(pairs, np.int64).reshape(-1, 2, len(classes) + 1, 3)[:, :, 1:], 1, 0)
    return WarpedMasks(
        names=tuple(item.name for item in classes),
        frames=np.array(places, np.int64),
        intersection=of_prediction[..., 2],
        union=of_prediction[..., 0] + of_prediction[..., 1] - of_prediction[..., 2],
        truth_intersection=of_truth[..., 2],
        truth_union=of_truth[..., 0] + of_truth[..., 1] - of_truth[..., 2],
        n_compared=np.array(compared, np.int64),
        n_left_out=np.array(left_out, np.int64),
        n_skipped=n_skipped,
    )


def temporal_consistency(warped: WarpedMasks) -> tuple[TemporalConsistency, ...]:
    """Pool the consistency of each class over a clip, beside the ceiling that the truth has under the same flow.

    >>> masks = np.array([[1, 0, 0]]), np.array([[0, 1, 0]])
    >>> frames = [FlowFrame(mask, masks[0], flow=np.zeros((1, 3, 2))) for mask in masks]
    >>> [consistency] = temporal_consistency(warp_masks(frames, [MaskClass("cat", (1,))]))
    >>> consistency.value, consistency.ceiling
    (1.0, 0.0)
    """
    return tuple(_consistency(warped, place) for place in range(len(warped.names)))


def flicker(
    frames: Iterable[tuple[ArrayLike, ArrayLike]], classes: Sequence[MaskClass], *, ignored: Sequence[int] = ()
) -> Flicker:
    """Compute the share of pixels whose correctness changes from one frame to the next, at the same place.

    A steady error does not flicker, nor does a scene that is followed: only the error's change counts.

    Args:
        frames: truth and prediction of one frame after the other, as for `score_masks`; all of one size.
        classes: what is told apart; all other labels are one class more.
        ignored: labels of the truth whose pixels are not valid.

    Raises:
        MetricError: as for `score_masks`, or the size of frames changes.

    >>> frames = [(np.array([[1, 0]]), np.array([[1, 0]])), (np.array([[1, 0]]), np.array([[0, 0]]))]
    >>> flicker(frames, [MaskClass("cat", (1,))]).value
    0.5
    """
    changed, valid = [], []
    before: tuple[Codes, Codes] | None = None
    for _, after in _coded((FlowFrame(*pair) for pair in frames), classes, ignored):
        if before is not None:
            _require_same(before, after)
            is_valid = (before[0] != IGNORED) & (after[0] != IGNORED)
            has_changed = (before[0] == before[1]) != (after[0] == after[1])
            changed.append(int(np.count_nonzero(has_changed & is_valid)))
            valid.append(int(np.count_nonzero(is_valid)))
        before = after
    n_changed, n_valid = sum(changed), sum(valid)
    return Flicker(
        value=n_changed / n_valid if n_valid else None,
        n_changed=n_changed,
        n_valid=n_valid,
        n_pairs=len(valid),
        changed=np.array(changed, np.int64),
        valid=np.array(valid, np.int64),
        reason=None if n_valid else "no pair of frames" if not valid else "every pixel is ignored",
    )


def find_occlusions(backward: ArrayLike, forward: ArrayLike) -> NDArray[np.bool_]:
    """Find the pixels of a frame that the one before does not show: there forward and backward flow disagree.

    |w + v|^2 > .01 (|w|^2 + |v|^2) + .5, v the forward flow at the pixel's place before (Sundaram, Brox and Keutzer,
    ECCV 2010). Pixels from outside the picture are occluded too.

    Args:
        backward: from this frame to the one before: columns, rows; shape (height, width, 2).
        forward: from the one before to this one, as `backward`.

    Returns:
        Shape (height, width).

    >>> find_occlusions(np.tile([-1.0, 0.0], (1, 3, 1)), np.tile([1.0, 0.0], (1, 3, 1))).tolist()
    [[True, False, False]]
    """
    w, v = (np.ascontiguousarray(flow, np.float64) for flow in (backward, forward))
    if w.ndim != 3 or w.shape[2] != 2 or w.shape != v.shape:
        raise MetricError(f"expected two flows of one shape (height, width, 2), found {w.shape} and {v.shape}")
    is_occluded = np.empty(w.shape[:2], np.bool_)
    compiled(temporal_kernels.compare_flows)(w, v, OCCLUSION_SHARE, OCCLUSION_PIXELS, is_occluded)
    return is_occluded


def _coded(
    frames: Iterable[FlowFrame], classes: Sequence[MaskClass], ignored: Sequence[int]
) -> Iterator[tuple[FlowFrame, tuple[Codes, Codes]]]:
    """Each frame with the codes of its truth, where ignored pixels stay, and of its prediction."""
    tables = (
        label_table([item.truth for item in classes], ignored),
        label_table([item.truth if item.prediction is None else item.prediction for item in classes]),
    )
    look_up = compiled(temporal_kernels.look_up)
    current: list[FlowFrame] = []

    def masks() -> Iterator[tuple[ArrayLike, ArrayLike]]:
        for frame in frames:
            current[:] = [frame]
            yield frame.truth, frame.prediction

    for truth, prediction in label_frames(masks()):
        codes = np.empty(truth.shape, np.uint8), np.empty(truth.shape, np.uint8)
        for labels, table, written in zip((truth, prediction), tables, codes, strict=True):
            look_up(labels, table, written)
        yield current[0], codes


def _require_same(before: tuple[Codes, Codes], after: tuple[Codes, Codes]) -> tuple[int, int]:
    height, width = after[0].shape
    if before[0].shape != after[0].shape:
        raise MetricError(
            f"expected frames of one size, found {before[0].shape} and then {after[0].shape}: a clip ends where its "
            "size changes"
        )
    return height, width


def _flow(frame: FlowFrame, shape: tuple[int, int]) -> NDArray[np.float32]:
    flow = np.ascontiguousarray(frame.flow, np.float32)
    if flow.shape != (*shape, 2):
        raise MetricError(f"expected a flow of shape {(*shape, 2)}, columns and rows of each pixel, found {flow.shape}")
    return flow


def _occluded(frame: FlowFrame, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if frame.is_occluded is None:
        return np.zeros(shape, np.bool_)
    occluded = np.ascontiguousarray(frame.is_occluded)
    if occluded.shape != shape or occluded.dtype != np.bool_:
        raise MetricError(f"expected occlusions as bool of shape {shape}, found {occluded.dtype} {occluded.shape}")
    return occluded


def _consistency(warped: WarpedMasks, place: int) -> TemporalConsistency:
    intersection, union, truth_intersection, truth_union = (
        int(counts[:, place].sum())
        for counts in (warped.intersection, warped.union, warped.truth_intersection, warped.truth_union)
    )
    value = intersection / union if union else None
    ceiling = truth_intersection / truth_union if truth_union else None
    reason = None
    if not len(warped.frames):
        reason = "no pair of frames has a flow"
    elif value is None:
        reason = "absent: no prediction has the class where pixels can be compared"
    elif not ceiling:
        reason = "ceiling: the truth has not the class where pixels can be compared, or nothing of it stays"
    return TemporalConsistency(
        name=warped.names[place],
        value=value,
        intersection=intersection,
        union=union,
        ceiling=ceiling,
        truth_intersection=truth_intersection,
        truth_union=truth_union,
        ratio=value / ceiling if value is not None and ceiling else None,
        mean=_mean(warped.values()[:, place]),
        mean_ceiling=_mean(warped.ceilings()[:, place]),
        n_pairs=len(warped.frames),
        n_skipped=warped.n_skipped,
        n_compared=int(warped.n_compared.sum()),
        n_left_out=int(warped.n_left_out.sum()),
        reason=reason,
    )


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
