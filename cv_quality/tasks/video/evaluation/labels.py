"""Which labels of masks are which class: declared, or told from the labels that occur, or asked.

One label in the truth and one in the prediction are the same object, whatever their values. Several labels are the
classes that they number; anything else has to be said, as a wrong map scores 0 without a sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import LayoutError
from cv_quality.metrics.video.masks import MAX_LABEL, MaskClass

CDNET_MOVING, CDNET_IGNORED = 255, (85, 170)
CDNET_OUTSIDE, CDNET_SHADOW, MOG2_SHADOW = 85, 50, 127
VOID: Final = 255
"""What Pascal VOC and many after it write where nothing counts."""

Pixels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Classes, ignored labels of the truth, and what should be known of them."""

    classes: tuple[MaskClass, ...]
    ignored: tuple[int, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def parse_classes(text: str) -> tuple[MaskClass, ...]:
    """Read `NAME=TRUTH[:PREDICTION],...`, labels joined by "+".

    Raises:
        LayoutError: it is malformed.

    >>> [(item.name, item.truth, item.prediction) for item in parse_classes("vehicle=255:6+7,person=3")]
    [('vehicle', (255,), (6, 7)), ('person', (3,), None)]
    """
    classes = []
    for item in text.split(","):
        name, _, labels = item.partition("=")
        truth, colon, prediction = labels.partition(":")
        if not name.strip() or not truth:
            raise LayoutError(f"classes: expected NAME=LABEL or NAME=TRUTH:PREDICTION, found {item!r}")
        classes.append(
            MaskClass(name.strip(), parse_labels(truth, "+"), parse_labels(prediction, "+") if colon else None)
        )
    return tuple(classes)


def parse_labels(text: str, separator: str = ",") -> tuple[int, ...]:
    """Read labels.

    Raises:
        LayoutError: one is no whole number from 0 to 65,535.

    >>> parse_labels("85,170")
    (85, 170)
    """
    labels = [part.strip() for part in text.split(separator) if part.strip()]
    if not all(label.isdecimal() and int(label) <= MAX_LABEL for label in labels):
        raise LayoutError(f"labels: expected whole numbers from 0 to {MAX_LABEL:,}, found {text!r}")
    return tuple(map(int, labels))


def choose_classes(
    truth: Pixels,
    prediction: Pixels,
    *,
    declared: Sequence[MaskClass] = (),
    ignored: Sequence[int] | None,
    is_cdnet: bool,
) -> LabelMap:
    """Decide what is scored.

    Args:
        truth, prediction: pixels of each label over all clips, shape (65,536,).
        declared: classes that were given.
        ignored: labels of the truth that count for nothing; None where it was not said.
        is_cdnet: whether the truth is of CDnet, whose labels are known.

    Raises:
        LayoutError: the labels fit no rule, or a label is both a class and ignored.
    """
    notes: list[str] = []
    if is_cdnet and ignored is None:
        ignored = CDNET_IGNORED
        notes.append("CDnet: labels 85 (outside) and 170 (unknown) are ignored, 50 (shadow) is still")
    left_out = set(ignored or ())
    true, seen = _labels(truth) - left_out, _labels(prediction)
    if is_cdnet:
        true, seen = true - {CDNET_SHADOW}, seen - ({CDNET_SHADOW, MOG2_SHADOW} if CDNET_MOVING in seen else set())
    if declared:
        classes = tuple(declared)
    elif is_cdnet:
        classes = (MaskClass("moving", (CDNET_MOVING,), (_moving(seen),)),)
    else:
        classes = _told(true, seen, is_void_said=ignored is not None)
    if len(classes) == 1 and classes[0].prediction not in (None, classes[0].truth):
        one = classes[0]
        notes.append(
            f"{one.name}: {_joined(one.truth)} in the truth, {_joined(one.prediction or ())} in the prediction"
        )
    return LabelMap(classes, tuple(sorted(left_out)), tuple(notes), _beyond(classes, true, seen, truth, prediction))


def _labels(pixels: Pixels) -> set[int]:
    return set(np.flatnonzero(pixels).tolist()) - {0}


def _moving(seen: set[int]) -> int:
    """The label of moving pixels in a result for CDnet: 255, beside the shadows of subtractors; or 1 alone."""
    if seen <= {CDNET_MOVING}:
        return CDNET_MOVING
    if seen == {1}:
        return 1
    raise LayoutError(
        f"expected masks of 0 and 255, or of 0 and 1, for CDnet, found labels {_joined(sorted(seen))}: --classes "
        "moving=255:LABEL+LABEL says which of them move"
    )


def _told(true: set[int], seen: set[int], *, is_void_said: bool) -> tuple[MaskClass, ...]:
    if VOID in true and len(true) > 1 and not is_void_said:
        raise LayoutError(
            f"expected to know what label 255 is beside {_joined(sorted(true - {VOID}))}: --ignore 255 where it means "
            "that nothing counts, --ignore '' where it is a class"
        )
    if not true and not seen:
        raise LayoutError("expected masks of something, found no label but 0 in truth and prediction")
    if len(true) <= 1 and len(seen) <= 1:
        one, other = min(true or seen), min(seen or true)
        return (MaskClass("object", (one,), (other,)),)
    if not true & seen:
        raise LayoutError(
            f"expected the same labels on both sides, found {_joined(sorted(true))} in the truth and "
            f"{_joined(sorted(seen))} in the prediction: --classes NAME=TRUTH:PREDICTION,... says which are the same"
        )
    return tuple(MaskClass(str(label), (label,)) for label in sorted(true | seen))


def _beyond(
    classes: Sequence[MaskClass], true: set[int], seen: set[int], truth: Pixels, prediction: Pixels
) -> tuple[str, ...]:
    """Labels that no class has, or that the truth never has, with their pixels."""
    mapped_true = {label for item in classes for label in item.truth}
    mapped_seen = {label for item in classes for label in (item.truth if item.prediction is None else item.prediction)}
    found = [
        (true - mapped_true, truth, "of the truth are no class"),
        (seen - mapped_seen, prediction, "of the prediction are no class"),
        ((seen & mapped_seen) - true if len(classes) > 1 else set(), prediction, "are predicted and never true"),
    ]
    return tuple(
        f"labels {_joined(sorted(labels))} {text}: {int(pixels[sorted(labels)].sum()):,} pixels"
        for labels, pixels, text in found
        if labels
    )


def _joined(labels: Sequence[int]) -> str:
    shown = ", ".join(map(str, labels[:8]))
    return f"{shown} and {len(labels) - 8} more" if len(labels) > 8 else shown
