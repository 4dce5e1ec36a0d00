"""Masks of a whole stream in one pass: quality of each frame, consistency with the frame before, flicker.

The metrics are those of `cv_quality.metrics.video.masks` and `.temporal`, taken over pieces of the stream and put
together again, so that memory does not grow with its length but for the counts of each frame. A stream may have holes:
what changes over time is only compared between frames that follow each other and have one size.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.results import Result
from cv_quality.metrics.video.flow import Flow, dis_flow, flow_frames
from cv_quality.metrics.video.masks import ClipMasks, MaskClass, score_masks
from cv_quality.metrics.video.temporal import Flicker, WarpedMasks, flicker, warp_masks

PIECE_BYTES = 16 << 20
"""Masks and lumas that are held at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskedFrame:
    """One frame of a stream with a truth and a prediction.

    Attributes:
        number: of the frame; the next frame has the next number.
        truth, prediction: labels, shape (height, width).
        luma: of the picture, uint8, of the same shape; None where there is none, and then no flow.
    """

    number: int
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    luma: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StreamMasks(Result):
    """What was counted of a stream.

    Attributes:
        numbers: of the frames, shape (frames,).
        masks: counts of each frame.
        warped: counts of each pair with a flow; its frames are places in `numbers`.
        flicker: of each pair of frames that follow each other.
        flicker_frames: place in `numbers` of the later frame of each of these pairs, shape (pairs,).
    """

    numbers: NDArray[np.int64]
    masks: ClipMasks
    warped: WarpedMasks
    flicker: Flicker
    flicker_frames: NDArray[np.int64]


def score_mask_stream(
    frames: Iterable[MaskedFrame],
    classes: Sequence[MaskClass],
    *,
    ignored: Sequence[int] = (),
    flow: Flow = dis_flow,
    piece_bytes: int = PIECE_BYTES,
) -> StreamMasks:
    """Count overlaps, boundaries, warped overlaps and changes of correctness of a stream.

    Args:
        frames: by rising number, read once.
        classes, ignored: as for `score_masks`.
        flow: how motion between frames is estimated.
        piece_bytes: what is held at a time.

    Raises:
        MetricError: as for `score_masks`, `warp_masks` and `flicker`.

    >>> here, gone = np.array([[1, 0]], np.uint8), np.array([[0, 0]], np.uint8)
    >>> found = score_mask_stream([MaskedFrame(4, here, here), MaskedFrame(5, here, gone)], [MaskClass("cat", (1,))])
    >>> found.masks.region_iou().tolist(), found.flicker.value, found.warped.n_skipped
    ([[1.0], [0.0]], 0.5, 2)
    """
    numbers, masks, warped, flickers, flicker_frames = [], [], [], [], []
    at = 0
    for lead, piece in _pieces(frames, piece_bytes):
        both = [*lead, *piece]
        masks.append(score_masks(((f.truth, f.prediction) for f in piece), classes, ignored=ignored))
        moved = warp_masks(
            flow_frames(((f.luma, f.truth, f.prediction) for f in both), flow=flow), classes, ignored=ignored
        )
        warped.append((moved, at - len(lead), len(lead)))
        changed = flicker(((f.truth, f.prediction) for f in both), classes, ignored=ignored)
        flickers.append(changed)
        flicker_frames.append(at - len(lead) + 1 + np.arange(changed.n_pairs))
        numbers += [f.number for f in piece]
        at += len(piece)
    if not masks:
        masks, warped = [score_masks([], classes, ignored=ignored)], [(warp_masks([], classes, ignored=ignored), 0, 0)]
    return StreamMasks(
        numbers=np.array(numbers, np.int64),
        masks=_joined_masks(masks),
        warped=_joined_warps(warped),
        flicker=_joined_flicker(flickers),
        flicker_frames=np.concatenate([np.zeros(0, np.int64), *flicker_frames]).astype(np.int64),
    )


def _pieces(frames: Iterable[MaskedFrame], limit: int) -> Iterator[tuple[list[MaskedFrame], list[MaskedFrame]]]:
    """Pieces of frames that follow each other and have one size, each with the frame before it, if one does."""
    lead, piece, size = list[MaskedFrame](), list[MaskedFrame](), 0
    for frame in frames:
        before = piece[-1] if piece else lead[-1] if lead else None
        follows = before is None or (frame.number == before.number + 1 and frame.truth.shape == before.truth.shape)
        if piece and (not follows or size >= limit):
            yield lead, piece
            lead, piece, size = piece[-1:], [], 0
        if not follows:
            lead = []
        piece.append(frame)
        size += frame.truth.nbytes + frame.prediction.nbytes + (0 if frame.luma is None else frame.luma.nbytes)
    if piece:
        yield lead, piece


def _joined_masks(parts: Sequence[ClipMasks]) -> ClipMasks:
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(ClipMasks)
        if field.name != "names"
    }
    return ClipMasks(names=parts[0].names, **arrays)


def _joined_warps(parts: Sequence[tuple[WarpedMasks, int, int]]) -> WarpedMasks:
    """Join pieces, each with the place of its first frame in the stream, and with how many frames it repeats."""
    names = [field.name for field in fields(WarpedMasks) if field.name not in ("names", "frames", "n_skipped")]
    return WarpedMasks(
        names=parts[0][0].names,
        frames=np.concatenate([part.frames + first for part, first, _ in parts]),
        n_skipped=sum(part.n_skipped - repeated for part, _, repeated in parts),
        **{name: np.concatenate([getattr(part, name) for part, _, _ in parts]) for name in names},
    )


def _joined_flicker(parts: Sequence[Flicker]) -> Flicker:
    changed = np.concatenate([np.zeros(0, np.int64), *(part.changed for part in parts)])
    valid = np.concatenate([np.zeros(0, np.int64), *(part.valid for part in parts)])
    n_changed, n_valid = int(changed.sum()), int(valid.sum())
    reason = None if n_valid else "no pair of frames" if not len(valid) else "every pixel is ignored"
    return Flicker(
        value=n_changed / n_valid if n_valid else None,
        n_changed=n_changed,
        n_valid=n_valid,
        n_pairs=len(valid),
        changed=changed,
        valid=valid,
        reason=reason,
    )
