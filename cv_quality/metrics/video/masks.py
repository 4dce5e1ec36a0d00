"""Masks against ground truth: region IoU (J), boundary F, IoU pooled over a clip, DAVIS statistics, instances.

Counts are kept for each frame and class, so that a clip can be pooled, cut and compared without its pictures. A class
that neither truth nor prediction has in a frame is undefined there, not 0 or 1. What changes from frame to frame is
in `cv_quality.metrics.video.temporal`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.results import Result
from cv_quality.metrics.video import mask_kernels
from cv_quality.metrics.video.mask_kernels import IGNORED, Codes, Labels, Loops, Places, Words

BOUNDARY_TOLERANCE = 0.008
"""Boundaries match within this share of the picture's diagonal, rounded up to whole pixels (DAVIS 2017)."""
DAVIS_RECALL_ABOVE = 0.5
DAVIS_DECAY_BINS = 4
MAX_LABEL = 65_535
MAX_CLASSES = IGNORED - 1
_COUNTS = ("intersection", "union", "truth_boundary", "prediction_boundary", "truth_matched", "prediction_matched")


@dataclass(frozen=True, slots=True)
class MaskClass:
    """One class, or one object, and the labels that stand for it: several labels may be one class.

    Attributes:
        truth: its labels in the truth, whole numbers from 0 to 65,535.
        prediction: its labels in the prediction; None: the same.
    """

    name: str
    truth: tuple[int, ...]
    prediction: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClipMasks(Result):
    """Counts of pixels in each frame for each class, all arrays of shape (frames, classes).

    Attributes:
        names: of the classes.
        intersection, union: pixels of the class in both, and in either of truth and prediction.
        truth_boundary, prediction_boundary: boundary pixels.
        truth_matched, prediction_matched: those within the tolerance of a boundary pixel of the other.
        n_ignored: ignored pixels in each frame, shape (frames,).
    """

    names: tuple[str, ...]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    truth_boundary: NDArray[np.int64]
    prediction_boundary: NDArray[np.int64]
    truth_matched: NDArray[np.int64]
    prediction_matched: NDArray[np.int64]
    n_ignored: NDArray[np.int64]

    @property
    def n_frames(self) -> int:
        return len(self.intersection)

    def region_iou(self, *, absent: float = math.nan) -> NDArray[np.float64]:
        """Compute J of each frame and class, intersection over union, 0 to 1; higher is better.

        Args:
            absent: the value where neither truth nor prediction has the class; the DAVIS toolkit counts it as 1.
        """
        return np.where(self.union > 0, self.intersection / np.maximum(self.union, 1), absent)

    def boundary_f(self, *, absent: float = math.nan) -> NDArray[np.float64]:
        """Compute F of each frame and class, harmonic mean of boundary precision and recall, 0 to 1; higher is better.

        As in the DAVIS toolkit F is 1 where neither mask has a boundary, and 0 where only one has.

        Args:
            absent: as for `region_iou`.
        """
        precision = self.prediction_matched / np.maximum(self.prediction_boundary, 1)
        recall = self.truth_matched / np.maximum(self.truth_boundary, 1)
        both = precision + recall
        f = 2 * precision * recall / np.where(both > 0, both, 1.0)
        has_none = (self.truth_boundary == 0) & (self.prediction_boundary == 0)
        return np.where(self.union > 0, np.where(has_none, 1.0, f), absent)


@dataclass(frozen=True, slots=True)
class ClassIou(Result):
    """IoU of one class, pooled over the frames of a clip.

    Attributes:
        value: intersection / union, 0 to 1, higher is better; None where no frame has the class.
        intersection, union: pixels, summed over frames.
        n_frames: frames in which truth or prediction have the class.
    """

    name: str
    value: float | None
    intersection: int
    union: int
    n_frames: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MeanIou(Result):
    """mIoU of one clip: the mean over its classes of their pooled IoU.

    Attributes:
        value: 0 to 1, higher is better; None where the clip has no class.
        n_classes: classes that the clip has, the mean is over these.
    """

    value: float | None
    n_classes: int
    classes: tuple[ClassIou, ...]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ClipMean(Result):
    """Mean over clips, each counting once.

    Attributes:
        n_clips: clips with a value, the mean is over these.
        n_undefined: clips without one.
    """

    value: float | None
    n_clips: int
    n_undefined: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DavisStatistics(Result):
    """Mean, recall and decay of J or F over the frames of one object (Perazzi et al., CVPR 2016).

    Attributes:
        mean: over the frames, higher is better.
        recall: share of frames above .5, higher is better.
        decay: mean of the first quarter less that of the last, lower is better; quarters share their edge frames.
        n_frames: frames with a value.
        n_undefined: frames without one, in which the object is absent.
        reason: why a value is None.
    """

    mean: float | None
    recall: float | None
    decay: float | None
    n_frames: int
    n_undefined: int
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMatch(Result):
    """Objects of the truth with the predicted objects that were assigned to them over the whole clip.

    Attributes:
        truth: labels of the objects, ascending.
        prediction: the label assigned to each; None where fewer were predicted.
        unmatched: predicted labels that belong to no object.
        masks: the counts of each object against what was assigned to it, or against nothing.
    """

    truth: tuple[int, ...]
    prediction: tuple[int | None, ...]
    unmatched: tuple[int, ...]
    masks: ClipMasks


def score_masks(
    frames: Iterable[tuple[ArrayLike, ArrayLike]], classes: Sequence[MaskClass], *, ignored: Sequence[int] = ()
) -> ClipMasks:
    """Count the overlaps and matching boundary pixels of each frame and class.

    A boundary pixel differs from its right, lower or lower right neighbour; it matches within a disk of radius
    ceil(.008 diagonal) (DAVIS 2017 toolkit). Ignored pixels belong to no class in either mask, as in that toolkit.

    Args:
        frames: truth and prediction of one frame after the other, labels of shape (height, width), whole numbers or
            bool; frames may differ in size. They are read once.
        classes: what is scored; a label that no class lists is no class.
        ignored: labels of the truth whose pixels count for nothing.

    Raises:
        MetricError: a mask has another shape than its truth, or other values than labels; classes share a label.

    >>> truth, prediction = np.array([[1, 1], [0, 0]]), np.array([[1, 0], [0, 0]])
    >>> score_masks([(truth, prediction)], [MaskClass("cat", (1,))]).region_iou().tolist()
    [[0.5]]
    """
    scorer = _FrameScorer(
        label_table([item.truth for item in classes], ignored),
        label_table([item.truth if item.prediction is None else item.prediction for item in classes]),
        pairs=[(code, code) for code in range(1, len(classes) + 1)],
    )
    return _clip_masks(tuple(item.name for item in classes), *scorer.score(frames))


def match_instances(
    frames: Iterable[tuple[ArrayLike, ArrayLike]],
    *,
    truth: Sequence[int],
    prediction: Sequence[int],
    ignored: Sequence[int] = (),
) -> InstanceMatch:
    """Assign predicted objects to those of the truth, over the whole clip, so that the mean of J and F is highest.

    Labels of objects are arbitrary, but stay with an object through the clip (Caelles et al., The 2019 DAVIS
    challenge). A frame in which both are absent counts as right in the assignment, as it does there.

    Args:
        frames: as for `score_masks`.
        truth: labels of the objects of the truth.
        prediction: labels of the predicted objects.
        ignored: labels of the truth whose pixels count for nothing.

    Raises:
        MetricError: as for `score_masks`.

    >>> frames = [(np.array([[1, 1, 2]]), np.array([[7, 7, 5]]))]
    >>> match_instances(frames, truth=[1, 2], prediction=[5, 7]).prediction
    (7, 5)
    """
    from scipy.optimize import linear_sum_assignment

    truth, prediction = sorted(truth), sorted(prediction)
    shape = len(truth), len(prediction) + 1
    scorer = _FrameScorer(
        label_table([(label,) for label in truth], ignored),
        # One more code, that no label has, stands for nothing being assigned.
        label_table([*((label,) for label in prediction), ()]),
        pairs=[(one + 1, other + 1) for one in range(shape[0]) for other in range(shape[1])],
    )
    counts, n_ignored = scorer.score(frames)
    pairs = _clip_masks(tuple(map(str, range(shape[0] * shape[1]))), counts, n_ignored)
    values = (pairs.region_iou(absent=1.0) + pairs.boundary_f(absent=1.0)).sum(axis=0).reshape(shape)
    assigned = np.full(len(truth), len(prediction))
    rows, columns = linear_sum_assignment(values[:, :-1], maximize=True)
    assigned[rows] = columns
    taken = set(columns.tolist())
    chosen = counts[:, np.arange(len(truth)) * shape[1] + assigned]
    return InstanceMatch(
        truth=tuple(truth),
        prediction=tuple(prediction[place] if place < len(prediction) else None for place in assigned.tolist()),
        unmatched=tuple(label for place, label in enumerate(prediction) if place not in taken),
        masks=_clip_masks(tuple(map(str, truth)), chosen, n_ignored),
    )


def pooled_iou(masks: ClipMasks) -> MeanIou:
    """Pool the IoU of each class over the frames of a clip, and take the mean over the classes that the clip has.

    Counts are summed before they are divided, so a frame counts as much as it holds of the class. The mean of the
    frames' own IoU is another number: a frame with two pixels of a class would count as much as one full of it.

    >>> large, small, none = np.array([[[1, 1, 1, 0]], [[0, 0, 0, 1]], [[0, 0, 0, 0]]])
    >>> frames = [(large, large), (small, none)]
    >>> pooled_iou(score_masks(frames, [MaskClass("cat", (1,))])).value
    0.75
    """
    classes = []
    for index, name in enumerate(masks.names):
        intersection, union = int(masks.intersection[:, index].sum()), int(masks.union[:, index].sum())
        classes.append(
            ClassIou(
                name=name,
                value=intersection / union if union else None,
                intersection=intersection,
                union=union,
                n_frames=int(np.count_nonzero(masks.union[:, index])),
                reason=None if union else "absent: no frame has the class, in truth or prediction",
            )
        )
    values = [item.value for item in classes if item.value is not None]
    return MeanIou(
        value=math.fsum(values) / len(values) if values else None,
        n_classes=len(values),
        classes=tuple(classes),
        reason=None if values else "absent: the clip has no class, in truth or prediction",
    )


def mean_over_clips(values: Iterable[float | None]) -> ClipMean:
    """Take the mean over clips of a number that each has, such as its pooled mIoU; undefined ones are counted.

    >>> mean_over_clips([0.5, None, 1.0])
    ClipMean(value=0.75, n_clips=2, n_undefined=1, reason=None)
    """
    given = list(values)
    known = [value for value in given if value is not None]
    return ClipMean(
        value=math.fsum(known) / len(known) if known else None,
        n_clips=len(known),
        n_undefined=len(given) - len(known),
        reason=None if known else "no clip has a value",
    )


def davis_statistics(values: ArrayLike) -> DavisStatistics:
    """Describe J or F of one object over a clip as the DAVIS 2017 toolkit does: mean, recall and decay.

    The benchmark leaves the first and the last frame out (`values[1:-1]`), and counts a frame in which the object is
    absent from both masks as 1 (`absent=1.0`). Unlike the toolkit, whose frame numbers overflow there, it holds for
    clips of more than 256 frames.

    Args:
        values: of each frame in order, shape (frames,); NaN is undefined.

    Raises:
        MetricError: the shape is another.

    >>> davis_statistics([1.0, 0.75, 0.5, 0.25])
    DavisStatistics(mean=0.625, recall=0.5, decay=0.5, n_frames=4, n_undefined=0, reason=None)
    """
    frames = np.asarray(values, np.float64)
    if frames.ndim != 1:
        raise MetricError(f"expected one value per frame, shape (frames,), found {frames.shape}: choose one object")
    known = frames[~np.isnan(frames)]
    n_undefined = len(frames) - len(known)
    if not len(known):
        return DavisStatistics(None, None, None, 0, n_undefined, "no frame has a value")
    # The toolkit rounds halves up, and the bins share their edge frames.
    edges = np.floor(np.linspace(1, len(frames), DAVIS_DECAY_BINS + 1) + 0.5).astype(int) - 1
    first, last = frames[: edges[1] + 1], frames[edges[-2] : edges[-1] + 1]
    first, last = first[~np.isnan(first)], last[~np.isnan(last)]
    has_both = bool(len(first) and len(last))
    return DavisStatistics(
        mean=float(known.mean()),
        recall=float((known > DAVIS_RECALL_ABOVE).mean()),
        decay=float(first.mean() - last.mean()) if has_both else None,
        n_frames=len(known),
        n_undefined=n_undefined,
        reason=None if has_both else "decay: no frame of the first or the last quarter has a value",
    )


def boundary_radius(height: int, width: int) -> int:
    """Return the tolerance of boundaries in pixels.

    >>> boundary_radius(480, 854)
    8
    """
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(height, width))


class RegionLoss:
    """1 - J of one pair of masks after the other, J the mean over the classes that either has; no boundaries.

    Args:
        classes, ignored: as for `score_masks`.

    >>> RegionLoss([MaskClass("cat", (1,))])(np.array([[1, 1]], np.uint8), np.array([[1, 0]], np.uint8))
    0.5
    """

    def __init__(self, classes: Sequence[MaskClass], *, ignored: Sequence[int] = ()) -> None:
        self._tables = (
            label_table([item.truth for item in classes], ignored),
            label_table([item.truth if item.prediction is None else item.prediction for item in classes]),
        )
        self._n_codes = len(classes) + 1
        self._count = compiled(mask_kernels.count_overlaps)

    def __call__(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> float:
        """Return the loss; NaN where neither has a class, or where their sizes differ."""
        if truth.shape != prediction.shape:
            return math.nan
        overlaps = np.zeros((self._n_codes, self._n_codes), np.int64)
        self._count(_words(truth), _words(prediction), *self._tables, overlaps)
        # There are few classes: plain numbers take a fifth of the time that small arrays take.
        rows = overlaps.tolist()
        predicted = [sum(column) for column in zip(*rows, strict=True)]
        unions = [sum(row) + predicted[code] - row[code] for code, row in enumerate(rows)]
        values = [rows[code][code] / union for code, union in enumerate(unions) if code and union]
        return 1 - sum(values) / len(values) if values else math.nan


def label_counts(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each label of a mask, shape (256,).

    >>> label_counts(np.array([[0, 7], [7, 7]], np.uint8))[[0, 7]].tolist()
    [1, 3]
    """
    counts = np.zeros(256, np.int64)
    if labels.size:
        compiled(mask_kernels.count_labels)(*_words(labels), counts)
    return counts


def _words(labels: NDArray[np.uint8]) -> Words:
    """Labels in a row, and all but the last few of them as words of eight."""
    row = np.ascontiguousarray(labels).reshape(-1)
    return row, row[: len(row) // 8 * 8].view(np.uint64)


class _FrameScorer:
    """Count frame after frame, in buffers that are made once for each size."""

    def __init__(self, truth: Codes, prediction: Codes, *, pairs: Sequence[tuple[int, int]]) -> None:
        self._tables = truth, prediction
        self._pairs = pairs
        self._n_codes = tuple(
            1 + max([int(table[table < IGNORED].max()), *(pair[side] for pair in pairs)])
            for side, table in enumerate(self._tables)
        )
        self._loops = Loops(
            compiled(mask_kernels.encode),
            compiled(mask_kernels.find_edges),
            compiled(mask_kernels.find_boundary),
            compiled(mask_kernels.count_near),
        )
        self._shape = (0, 0)

    def score(self, frames: Iterable[tuple[ArrayLike, ArrayLike]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the counts, shape (frames, pairs, 6), and the ignored pixels, shape (frames,)."""
        counts, n_ignored = [], []
        for truth, prediction in label_frames(frames):
            if truth.shape != self._shape:
                self._prepare(truth.shape)
            overlaps = np.zeros(self._n_codes, np.int64)
            (table, other_table), (codes, other_codes) = self._tables, self._codes
            self._loops.encode(truth, prediction, table, other_table, codes, other_codes, overlaps)
            counts.append(self._count(overlaps))
            n_ignored.append(truth.size - int(overlaps.sum()))
        shape = (len(counts), len(self._pairs), len(_COUNTS))
        return np.array(counts, np.int64).reshape(shape), np.array(n_ignored, np.int64)

    def _prepare(self, shape: tuple[int, ...]) -> None:
        height, width = shape
        self._shape = height, width
        self._codes = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        self._edges = np.empty(height * width, np.int32), np.empty(height + 1, np.int32)
        radius = boundary_radius(height, width)
        self._reach = np.array([math.isqrt(radius**2 - away**2) for away in range(radius + 1)], np.int32)

    def _count(self, overlaps: NDArray[np.int64]) -> NDArray[np.int64]:
        boundaries = [
            self._boundaries(codes, sorted({pair[side] for pair in self._pairs}))
            for side, codes in enumerate(self._codes)
        ]
        areas = overlaps.sum(axis=1), overlaps.sum(axis=0)
        near, reach = self._loops.count_near, self._reach
        counts = np.empty((len(self._pairs), len(_COUNTS)), np.int64)
        for index, (one, other) in enumerate(self._pairs):
            truth, prediction = boundaries[0][one], boundaries[1][other]
            common = overlaps[one, other]
            counts[index] = (
                common,
                areas[0][one] + areas[1][other] - common,
                len(truth[0]),
                len(prediction[0]),
                near(*truth, *prediction, reach),
                near(*prediction, *truth, reach),
            )
        return counts

    def _boundaries(self, codes: Codes, wanted: Sequence[int]) -> dict[int, tuple[Places, Places]]:
        self._loops.find_edges(codes, *self._edges)
        found = {}
        for code in wanted:
            columns, starts = np.empty(self._edges[1][-1], np.int32), np.empty_like(self._edges[1])
            self._loops.find_boundary(codes, code, *self._edges, columns, starts)
            found[code] = columns[: starts[-1]], starts
        return found


def label_frames(frames: Iterable[tuple[ArrayLike, ArrayLike]]) -> Iterator[tuple[Labels, Labels]]:
    """Check the labels of one frame after the other, and make them 8 bit, or 16 where one needs it.

    Raises:
        MetricError: a mask is no picture of labels, or truth and prediction differ in size.
    """
    for index, (truth, prediction) in enumerate(frames):
        one, other = (
            _labels(mask, name=f"the {name} of frame {index}")
            for name, mask in (("truth", truth), ("prediction", prediction))
        )
        if one.shape != other.shape:
            raise MetricError(
                f"expected masks of one size, found truth {one.shape} and prediction {other.shape} in frame {index}: "
                "resize the prediction to the truth by the nearest pixel"
            )
        if one.dtype != other.dtype:
            one, other = one.astype(np.uint16), other.astype(np.uint16)
        yield one, other


def _labels(mask: ArrayLike, *, name: str) -> Labels:
    array = np.ascontiguousarray(mask)
    if array.ndim != 2 or array.size == 0:
        raise MetricError(f"expected {name} as labels of shape (height, width), found shape {array.shape}")
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    if array.dtype == np.uint16:
        return array.view(np.uint16)
    if array.dtype.kind not in "iu":
        raise MetricError(
            f"expected {name} as whole numbers or bool, found {array.dtype}: threshold or argmax it first"
        )
    least, most = int(array.min()), int(array.max())
    if least < 0 or most > MAX_LABEL:
        raise MetricError(f"expected {name} with labels from 0 to {MAX_LABEL:,}, found {least} to {most}")
    return array.astype(np.uint8) if most <= np.iinfo(np.uint8).max else array.astype(np.uint16)


def label_table(classes: Sequence[Sequence[int]], ignored: Sequence[int] = ()) -> Codes:
    """Return the code of each label: 1 for those of the first class and so on, 0 for those of none.

    Args:
        classes: the labels of each class.
        ignored: labels that get the code of ignored pixels.

    Raises:
        MetricError: a label is listed twice, or there are too many classes.
    """
    if len(classes) > MAX_CLASSES:
        raise MetricError(f"expected at most {MAX_CLASSES} classes, found {len(classes)}")
    table = np.zeros(MAX_LABEL + 1, np.uint8)
    for code, labels in [*enumerate(classes, start=1), (IGNORED, ignored)]:
        for label in labels:
            if not 0 <= label <= MAX_LABEL:
                raise MetricError(f"expected labels from 0 to {MAX_LABEL:,}, found {label}")
            if table[label]:
                raise MetricError(f"label {label} is listed twice: every label is of one class, or ignored")
            table[label] = code
    return table


def _clip_masks(names: tuple[str, ...], counts: NDArray[np.int64], n_ignored: NDArray[np.int64]) -> ClipMasks:
    return ClipMasks(names=names, n_ignored=n_ignored, **{name: counts[:, :, i] for i, name in enumerate(_COUNTS)})
