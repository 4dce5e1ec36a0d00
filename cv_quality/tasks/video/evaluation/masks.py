"""Masks in folders against masks in folders: J, F, pooled IoU, flicker, and consistency over time where pictures are.

Masks are decoded frame by frame and never held together, once for each thing that is measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.importers.video_frames import FrameFiles, Labels, PictureFile
from cv_quality.errors import LayoutError, MetricError
from cv_quality.metrics.video.flow import flow_frames
from cv_quality.metrics.video.masks import (
    MAX_LABEL,
    ClipMasks,
    davis_statistics,
    match_instances,
    pooled_iou,
    score_masks,
)
from cv_quality.metrics.video.temporal import FlowFrame, flicker, temporal_consistency, warp_masks
from cv_quality.tasks.video.evaluation.labels import CDNET_OUTSIDE, LabelMap, Pixels
from cv_quality.tasks.video.evaluation.pairing import ClipPair, FramePair, pair_frames
from cv_quality.tasks.video.evaluation.results import ALL, ClipScore

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How masks are scored.

    Attributes:
        drops_ends: whether the first and the last frame of the truth are left out, as the DAVIS benchmark does.
        absent_is_right: whether a frame in which neither mask has the class counts as 1, as there; else as nothing.
        resizes: whether predictions of another size are brought to that of the truth, by the nearest pixel.
        shift: what is added to frame numbers of the prediction.
    """

    drops_ends: bool = False
    absent_is_right: bool = False
    resizes: bool = False
    shift: int | None = None


class MaskedClip:
    """The pairs of masks of one clip, decoded each time that they are gone through.

    Args:
        pair: the clip.
        options: which frames, and whether sizes may differ.

    Raises:
        LayoutError: a side has no masks, or frames do not pair.
    """

    def __init__(self, pair: ClipPair, options: MaskOptions) -> None:
        self.name = pair.name
        self._resizes = options.resizes
        true, seen = pair.truth.masks, _predicted_masks(pair)
        if true is None:
            raise LayoutError(f"clip {pair.name}: expected masks in the truth, found {pair.truth.words() or 'nothing'}")
        found = pair_frames(seen, true, clip=pair.name, shift=options.shift)
        self.warnings = list(found.warnings)
        self.pairs = found.pairs
        if pair.truth.span is not None:
            first, last = pair.truth.span
            self.pairs = tuple(frame for frame in self.pairs if first <= frame.number <= last)
        if options.drops_ends:
            self.pairs = tuple(frame for frame in self.pairs if frame.number not in (true.first, true.last))
        if not self.pairs:
            raise LayoutError(f"clip {pair.name}: expected frames to score, found none after those left out")
        self._outside = None if pair.truth.region is None else _outside(pair)
        self.n_resized = 0

    def frames(self, pairs: Sequence[FramePair] | None = None) -> Iterator[tuple[Labels, Labels]]:
        """Truth and prediction of one frame after the other, of all or of some."""
        self.n_resized = 0
        for frame in self.pairs if pairs is None else pairs:
            yield self._decoded(frame)

    def runs(self) -> Iterator[Sequence[FramePair]]:
        """Frames whose numbers follow each other without a hole."""
        numbers = [frame.number for frame in self.pairs]
        step = min((after - before for before, after in pairwise(numbers)), default=1)
        first = 0
        for place in range(1, len(numbers) + 1):
            if place == len(numbers) or numbers[place] - numbers[place - 1] != step:
                yield self.pairs[first:place]
                first = place

    def count_labels(self) -> tuple[Pixels, Pixels]:
        """Count the pixels of each label in both, shape (65,536,) each."""
        counts = np.zeros((2, MAX_LABEL + 1), np.int64)
        for masks in self.frames():
            for side, mask in enumerate(masks):
                found = np.bincount(mask.ravel())
                counts[side, : len(found)] += found
        return counts[0], counts[1]

    def _decoded(self, frame: FramePair) -> tuple[Labels, Labels]:
        truth, prediction = frame.truth.labels(), frame.prediction.labels()
        if self._outside is not None:
            if self._outside.shape != truth.shape:
                raise LayoutError(f"clip {self.name}: expected a ROI of {truth.shape}, found {self._outside.shape}")
            truth = np.where(self._outside, np.uint8(CDNET_OUTSIDE), truth)
        if truth.shape != prediction.shape:
            if not self._resizes:
                raise LayoutError(
                    f"{frame.prediction.name}: expected a mask of {truth.shape[1]} x {truth.shape[0]} as "
                    f"{frame.truth.name}, found {prediction.shape[1]} x {prediction.shape[0]}: --resize brings it to "
                    "the truth's by the nearest pixel"
                )
            self.n_resized += 1
            prediction = resized(prediction, truth.shape)
        return truth, prediction


def _predicted_masks(pair: ClipPair) -> FrameFiles:
    frames = pair.prediction.masks or pair.prediction.pictures
    if frames is None or frames.is_jpeg:
        raise LayoutError(
            f"clip {pair.name}: expected predicted masks as PNG, found {pair.prediction.words() or 'nothing'}"
        )
    return frames


def _outside(pair: ClipPair) -> NDArray[np.bool_]:
    assert pair.truth.region is not None
    image = PictureFile(pair.truth.region.name, pair.truth.region).image()
    return np.asarray((image if image.ndim == 2 else image.max(axis=2)) == 0)


def resized(mask: Labels, shape: tuple[int, ...]) -> Labels:
    """Bring a mask to another size by the nearest pixel.

    >>> resized(np.array([[1, 2]], np.uint8), (2, 4)).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    rows, columns = (
        ((np.arange(size) + 0.5) * old / size).astype(np.int64) for size, old in zip(shape, mask.shape, strict=True)
    )
    found: Labels = mask[rows[:, None], columns]
    return found


def score_clip(clip: MaskedClip, labels: LabelMap, options: MaskOptions) -> list[ClipScore]:
    """Score a clip as a whole and by class.

    Args:
        clip: its masks.
        labels: classes and ignored labels.
        options: what an absent class counts.
    """
    masks = score_masks(clip.frames(), labels.classes, ignored=labels.ignored)
    n_resized = clip.n_resized
    try:
        found = [flicker(clip.frames(run), labels.classes, ignored=labels.ignored) for run in clip.runs()]
    except MetricError as error:
        raise MetricError(f"clip {clip.name}: {error}") from error
    clip.n_resized = n_resized
    changed, valid = sum(item.n_changed for item in found), sum(item.n_valid for item in found)
    counts = {"changed": changed, "valid": valid, "resized": n_resized}
    whole, *classes = _scores(clip, masks, options)
    values = {**whole.values, "flicker": changed / valid if valid else None}
    return [replace(whole, values=values, counts={**whole.counts, **counts}), *classes]


def score_instances(clip: MaskedClip, labels: LabelMap, options: MaskOptions) -> list[ClipScore]:
    """Score a clip whose objects are numbered as it pleased the algorithm, after they are assigned to the truth's.

    Args:
        clip: its masks.
        labels: what is ignored.
        options: what an absent object counts.
    """
    true, seen = (np.flatnonzero(pixels).tolist() for pixels in clip.count_labels())
    truth = [label for label in true if label and label not in labels.ignored]
    if not truth:
        return [_empty(clip, "the truth has no object")]
    found = match_instances(
        clip.frames(), truth=truth, prediction=[label for label in seen if label], ignored=labels.ignored
    )
    whole, *objects = _scores(clip, found.masks, options)
    n_missed = sum(label is None for label in found.prediction)
    counts = {**whole.counts, "objects": len(truth), "missed": n_missed, "unmatched": len(found.unmatched)}
    return [replace(whole, counts=counts), *objects]


def _empty(clip: MaskedClip, reason: str) -> ClipScore:
    return ClipScore(clip.name, ALL, len(clip.pairs), dict.fromkeys(("j", "f", "miou")), {}, {}, (), reason)


def _scores(clip: MaskedClip, masks: ClipMasks, options: MaskOptions) -> list[ClipScore]:
    absent = 1.0 if options.absent_is_right else np.nan
    j, f, pooled = masks.region_iou(absent=absent), masks.boundary_f(absent=absent), pooled_iou(masks)
    classes = [
        ClipScore(
            clip=clip.name,
            class_name=item.name,
            n_frames=item.n_frames,
            values={**_davis(j[:, place], f[:, place]), "miou": item.value},
            counts={"intersection": item.intersection, "union": item.union},
            frames={},
            reason=item.reason,
        )
        for place, item in enumerate(pooled.classes)
    ]
    values: dict[str, float | None] = {}
    for name in classes[0].values if classes else ():
        known = [score.values[name] for score in classes]
        values[name] = _mean([value for value in known if value is not None])
    whole = ClipScore(
        clip=clip.name,
        class_name=ALL,
        n_frames=len(clip.pairs),
        values={**values, "miou": pooled.value},
        counts={"ignored": int(masks.n_ignored.sum()), "classes": pooled.n_classes},
        frames={"j": _row_means(j), "f": _row_means(f)},
        numbers=tuple(frame.number for frame in clip.pairs),
        reason=pooled.reason,
    )
    return [whole, *(classes if len(classes) > 1 else ())]


def _davis(j: Floats, f: Floats) -> dict[str, float | None]:
    one, other = davis_statistics(j), davis_statistics(f)
    both = None if one.mean is None or other.mean is None else (one.mean + other.mean) / 2
    return {
        "j": one.mean,
        "j_recall": one.recall,
        "j_decay": one.decay,
        "f": other.mean,
        "f_recall": other.recall,
        "f_decay": other.decay,
        "jf": both,
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _row_means(values: Floats) -> tuple[float | None, ...]:
    return tuple(_mean(row[~np.isnan(row)].tolist()) for row in values)


def score_consistency(clip: MaskedClip, labels: LabelMap, pictures: FrameFiles) -> dict[str, float | None]:
    """Compute the temporal consistency of a clip beside that of its truth, mean over its classes.

    Pairs of frames whose numbers do not follow each other, by the step of the truth, have no flow.

    Args:
        clip: its masks.
        labels: classes and ignored labels.
        pictures: of the clip, by the same numbers.

    Raises:
        LayoutError: a frame has no picture, or one of another size.
    """
    if missing := [frame.number for frame in clip.pairs if frame.number not in pictures.files]:
        raise LayoutError(
            f"clip {clip.name}: expected a picture of every frame that is scored, found none of {len(missing):,}, the "
            f"first {missing[0]}"
        )
    warped = warp_masks(_flowing(clip, pictures), labels.classes, ignored=labels.ignored)
    found = temporal_consistency(warped)
    values: dict[str, float | None] = {}
    for name, attribute in (("tc", "value"), ("tc_ceiling", "ceiling"), ("tc_ratio", "ratio")):
        known = [getattr(item, attribute) for item in found]
        values[name] = _mean([value for value in known if value is not None])
    return values


def _flowing(clip: MaskedClip, pictures: FrameFiles) -> Iterator[FlowFrame]:
    for run in clip.runs():
        lumas = (pictures.files[frame.number] for frame in run)
        masks = clip.frames(run)
        yield from flow_frames(
            (luma(file, shape=truth.shape), truth, prediction)
            for file, (truth, prediction) in zip(lumas, masks, strict=True)
        )


def luma(file: PictureFile, *, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Decode a picture to its luma by ITU-R BT.601, as Pillow weighs the colours.

    Args:
        file: the picture.
        shape: height and width that it must have.

    Raises:
        LayoutError: it has another size, or cannot be read.
    """
    from PIL import Image

    image = file.image()
    if shape is not None and image.shape[:2] != shape:
        raise LayoutError(
            f"{file.name}: expected a picture of {shape[1]} x {shape[0]} as its mask, found {image.shape[1]} x "
            f"{image.shape[0]}"
        )
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"), np.uint8)
