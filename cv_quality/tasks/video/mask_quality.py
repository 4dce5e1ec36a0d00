"""Masks of one stream against their truth: classes and what is ignored, J and F, consistency over time, flicker.

Objects are assigned over the whole clip first; classes are told by what the drop and the build's entry say.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.held import HeldLosses
from cv_quality.metrics.video.mask_streams import MaskedFrame, StreamMasks, score_mask_stream
from cv_quality.metrics.video.masks import (
    MAX_CLASSES,
    MaskClass,
    RegionLoss,
    davis_statistics,
    label_counts,
    match_instances,
    pooled_iou,
)
from cv_quality.metrics.video.temporal import temporal_consistency
from cv_quality.tasks.video.clip_scores import WHOLE, ClipValue, StreamQuality, mean_known, rate

Labels = NDArray[np.uint8]
HELD_FRAMES = 15
"""Results of so many frames before are compared with each truth: half a second at 30 frames/s."""
ABSENT = "absent"
"""Status of a frame in which neither truth nor output has a class or an object."""
MASK_METRICS = ("j", "f", "jf", "miou", "j_recall", "j_decay", "f_recall", "f_decay", "tc", "tc_ceiling", "tc_ratio")


@dataclass(frozen=True, slots=True, eq=False)
class MaskFrame:
    """One frame as it was read.

    Attributes:
        number: of the frame.
        truth: labels; None where there is none that can be used.
        output: labels; None where there is none.
        luma: of the picture; None where there is none.
        status: "ok", or why truth or output are missing; None of a frame without a truth.
    """

    number: int
    truth: Labels | None
    output: Labels | None
    luma: Labels | None
    status: str | None


@dataclass(frozen=True, slots=True)
class TruthClasses:
    """What the labels of a drop's masks mean.

    Attributes:
        labels: of each class, by its name; None where the drop says nothing, and every label is a class of its own.
        ignored: labels that count for nothing.
        background: labels that are no class.
    """

    labels: Mapping[str, tuple[int, ...]] | None
    ignored: frozenset[int] = frozenset()
    background: frozenset[int] = frozenset({0})


@dataclass(frozen=True, slots=True)
class ScoredClasses:
    """What is scored of a stream.

    Attributes:
        classes: or objects, with their labels in truth and output.
        ignored: labels of the truth that count for nothing.
        unmapped: those of them that no class has.
        nothing: why nothing is scored, where there is no class.
    """

    classes: tuple[MaskClass, ...]
    ignored: tuple[int, ...]
    unmapped: frozenset[int]
    nothing: str

    @property
    def loss(self) -> RegionLoss:
        return RegionLoss(self.classes, ignored=self.ignored)


@dataclass(slots=True)
class _Unmapped:
    """Pixels of the truth whose label is in no class."""

    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    n: int = 0

    def add(self, truth: Labels) -> None:
        self.pixels += label_counts(truth)
        self.n += truth.size


def truth_classes(rows: Iterable[Mapping[str, object]]) -> TruthClasses:
    """Read what labels mean from rows of `mask_classes`."""
    classes: dict[str, tuple[int, ...]] = {}
    ignored, background, n = set[int](), {0}, 0
    for row in rows:
        label, name = cast("int", row["label"]), cast("str | None", row["class_name"])
        n += 1
        background.discard(label)
        if row["is_ignored"]:
            ignored.add(label)
        elif name is None:
            background.add(label)
        else:
            classes[name] = (*classes.get(name, ()), label)
    return TruthClasses(classes if n else None, frozenset(ignored), frozenset(background))


def score_masks_of(
    frames: Iterable[MaskFrame],
    truth: TruthClasses,
    *,
    masks_alone: Callable[[], Iterable[MaskFrame]],
    are_instances: bool,
    output_classes: Mapping[str, Sequence[int]],
    depth: int = HELD_FRAMES,
    pairs: Iterable[tuple[int, int]] = (),
) -> StreamQuality:
    """Score the masks of a stream.

    Args:
        frames: by rising number, read once.
        truth: what the labels of the truth mean.
        masks_alone: gives the same frames without their pictures, where labels or objects must be known first.
        are_instances: whether they are objects rather than classes.
        output_classes: labels of the output by the name of the class; empty where they are those of the truth.
        depth, pairs: of held results, see `HeldLosses`.
    """
    quality = StreamQuality("mask")
    scored = scored_classes(masks_alone, truth, are_instances=are_instances, output_classes=output_classes)
    counted = _Unmapped()
    held: HeldLosses[object, object] = HeldLosses(
        cast("Callable[[object, object], float]", scored.loss), depth=depth, pairs=pairs
    )
    found = score_mask_stream(_scored(frames, quality, counted, held), scored.classes, ignored=scored.ignored)
    quality.held = held
    _put_frames(quality, found)
    _put_clip(quality, found, nothing=scored.nothing)
    beyond = sorted(label for label in scored.unmapped if counted.pixels[label])
    n_beyond = int(counted.pixels[beyond].sum())
    value = rate("unmapped_pixels", n_beyond, counted.n, nothing="no truth")
    quality.clip.append(
        ClipValue(value.metric, value.value, WHOLE, n_beyond, counted.n, _said(beyond, truth) or value.reason)
    )
    return quality


def scored_classes(
    masks_alone: Callable[[], Iterable[MaskFrame]],
    truth: TruthClasses,
    *,
    are_instances: bool,
    output_classes: Mapping[str, Sequence[int]],
) -> ScoredClasses:
    """Settle what is scored of a stream; see `score_masks_of`.

    Args:
        masks_alone, truth, are_instances, output_classes: as there.
    """
    classes, ignored, nothing = _classes(masks_alone, truth, are_instances=are_instances, output_classes=output_classes)
    mapped = {label for item in classes for label in item.truth}
    unmapped = frozenset(range(256)) - mapped - truth.background - ignored
    return ScoredClasses(tuple(classes), tuple(sorted(ignored | unmapped)), unmapped, nothing)


def _classes(
    frames: Callable[[], Iterable[MaskFrame]],
    truth: TruthClasses,
    *,
    are_instances: bool,
    output_classes: Mapping[str, Sequence[int]],
) -> tuple[list[MaskClass], frozenset[int], str]:
    """What is scored, what is ignored, and why there is nothing where there is none."""
    if not are_instances and truth.labels is not None:
        # A class that the model does not have cannot be scored: its pixels are ignored, and counted as unmapped.
        known = {name: labels for name, labels in truth.labels.items() if not output_classes or name in output_classes}
        made = [MaskClass(name, labels, _output(name, output_classes)) for name, labels in known.items()]
        return made[:MAX_CLASSES], truth.ignored, "the build's class map has no class of the truth"
    true_labels, seen_labels = _labels_met(frames())
    true_labels -= truth.ignored | truth.background
    nothing = "empty truth: no label above the background"
    if not are_instances:
        names = [str(label) for label in sorted(true_labels)][:MAX_CLASSES]
        known_names = [name for name in names if not output_classes or name in output_classes]
        return (
            [MaskClass(name, (int(name),), _output(name, output_classes)) for name in known_names],
            truth.ignored,
            nothing,
        )
    seen_labels -= truth.background | truth.ignored
    pairs = ((f.truth, f.output) for f in frames() if f.truth is not None and f.output is not None and _fits(f))
    match = match_instances(
        pairs, truth=sorted(true_labels), prediction=sorted(seen_labels), ignored=sorted(truth.ignored)
    )
    assigned = zip(match.truth, match.prediction, strict=True)
    made = [MaskClass(str(label), (label,), () if other is None else (other,)) for label, other in assigned]
    return made, truth.ignored, nothing


def _output(name: str, output_classes: Mapping[str, Sequence[int]]) -> tuple[int, ...] | None:
    return tuple(output_classes[name]) if output_classes else None


def _labels_met(frames: Iterable[MaskFrame]) -> tuple[set[int], set[int]]:
    true, seen = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
    for frame in frames:
        for met, labels in ((true, frame.truth), (seen, frame.output)):
            if labels is not None:
                met |= label_counts(labels) > 0
    return set(np.flatnonzero(true).tolist()), set(np.flatnonzero(seen).tolist())


def _fits(frame: MaskFrame) -> bool:
    return frame.truth is not None and frame.output is not None and frame.truth.shape == frame.output.shape


def _scored(
    frames: Iterable[MaskFrame], quality: StreamQuality, counted: _Unmapped, held: HeldLosses[object, object]
) -> Iterator[MaskedFrame]:
    """Give the frames that have both masks, and note of every frame what it lacks."""
    for frame in frames:
        held.add(frame.number, frame.truth, frame.output)
        if frame.truth is not None:
            counted.add(frame.truth)
        if frame.status is None:
            continue
        quality.status[frame.number] = frame.status
        if frame.truth is None or frame.output is None:
            continue
        if frame.truth.shape != frame.output.shape:
            quality.status[frame.number] = "mask_size"
            continue
        luma = frame.luma if frame.luma is not None and frame.luma.shape == frame.truth.shape else None
        yield MaskedFrame(frame.number, frame.truth, frame.output, luma)


def _put_frames(quality: StreamQuality, found: StreamMasks) -> None:
    numbers = found.numbers.tolist()
    region = mean_known(found.masks.region_iou())
    quality.put("j", zip(numbers, region, strict=True))
    quality.put("f", zip(numbers, mean_known(found.masks.boundary_f()), strict=True))
    quality.put("loss", zip(numbers, 1 - region, strict=True))
    for number, value in zip(numbers, region.tolist(), strict=True):
        if math.isnan(value):
            quality.status[number] = ABSENT
    later = found.numbers[found.warped.frames].tolist()
    quality.put("tc", zip(later, mean_known(found.warped.values()), strict=True))
    quality.put("tc_ceiling", zip(later, mean_known(found.warped.ceilings()), strict=True))
    valid = found.flicker.valid
    shares = np.where(valid > 0, found.flicker.changed / np.maximum(valid, 1), np.nan)
    quality.put("flicker", zip(found.numbers[found.flicker_frames].tolist(), shares, strict=True))


def _put_clip(quality: StreamQuality, found: StreamMasks, *, nothing: str) -> None:
    why = "no frame has both truth and output"
    if len(found.numbers):
        why = nothing if not found.masks.names else "absent: no frame has a class, in truth or output"
    region, boundary = found.masks.region_iou(), found.masks.boundary_f()
    by_class: dict[str, list[float]] = {}
    pooled = pooled_iou(found.masks)
    consistency = temporal_consistency(found.warped)
    for place, name in enumerate(found.masks.names):
        rows = [*_statistics(region[:, place], "j"), *_statistics(boundary[:, place], "f")]
        values = {row.metric: row.value for row in rows}
        if values["j"] is not None and values["f"] is not None:
            rows.append(ClipValue("jf", (values["j"] + values["f"]) / 2))
        one = pooled.classes[place]
        rows.append(ClipValue("miou", one.value, name, one.intersection, one.union, one.reason))
        held = consistency[place]
        rows.append(ClipValue("tc", held.value, name, held.intersection, held.union, held.reason))
        rows.append(ClipValue("tc_ceiling", held.ceiling, name, held.truth_intersection, held.truth_union, held.reason))
        rows.append(ClipValue("tc_ratio", held.ratio, name, reason=held.reason))
        quality.clip += [
            ClipValue(row.metric, row.value, name, row.numerator, row.denominator, row.reason) for row in rows
        ]
        for row in rows:
            if row.value is not None:
                by_class.setdefault(row.metric, []).append(row.value)
    for column in ("loss", "j", "f"):
        quality.mean(column, nothing=why)
    means = {row.metric: row.value for row in quality.clip if row.class_name == WHOLE}
    both = None if means["j"] is None or means["f"] is None else (means["j"] + means["f"]) / 2
    quality.clip.append(ClipValue("jf", both, reason=why if both is None else None))
    moved = "no pair of frames with a flow and a class"
    for metric in MASK_METRICS[3:]:
        values_of = by_class.get(metric, [])
        mean = math.fsum(values_of) / len(values_of) if values_of else None
        no = moved if metric.startswith("tc") else why
        quality.clip.append(ClipValue(metric, mean, reason=no if mean is None else None))
    flicker = found.flicker
    quality.clip.append(ClipValue("flicker", flicker.value, WHOLE, flicker.n_changed, flicker.n_valid, flicker.reason))


def _statistics(values: NDArray[np.float64], name: str) -> list[ClipValue]:
    found = davis_statistics(values)
    return [
        ClipValue(name, found.mean, reason=found.reason if found.mean is None else None),
        ClipValue(f"{name}_recall", found.recall, reason=found.reason if found.recall is None else None),
        ClipValue(f"{name}_decay", found.decay, reason=found.reason if found.decay is None else None),
    ]


def _said(beyond: Sequence[int], truth: TruthClasses) -> str | None:
    if not beyond:
        return None
    known = {label: name for name, labels in (truth.labels or {}).items() for label in labels}
    words = [f"{label} ({known[label]})" if label in known else str(label) for label in beyond]
    return f"ignored, as no class of the drop and of the build's class map has them: labels {', '.join(words)}"
