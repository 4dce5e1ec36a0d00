"""Boxes, landmarks, depth and images of one stream against their truth; masks are in `.mask_quality`.

Each function takes one stream in one pass and fills a `StreamQuality`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.video.boxes import box_f1, on_ignored, overlaps
from cv_quality.metrics.video.depth import depth_errors
from cv_quality.metrics.video.held import HeldLosses
from cv_quality.metrics.video.images import psnr, ssim
from cv_quality.metrics.video.landmarks import jitter, point_errors
from cv_quality.metrics.video.tracks import Detections, box_overlap, count_tracks, detections
from cv_quality.tasks.video.clip_scores import OK, ClipValue, StreamQuality, rate
from cv_quality.tasks.video.mask_quality import ABSENT, HELD_FRAMES

Floats = NDArray[np.float64]
HELD_PICTURES = 4
"""The same for depth and images, whose losses take longer."""
PEAK = 255
JITTER_FRAMES = 256
"""Frames of landmarks that are held at a time."""
SSIM_SIDE = 11


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The boxes of one frame: left, top, width, height in pixels, shape (n, 4), with their tracks and classes."""

    boxes: Floats
    tracks: tuple[str, ...] = ()
    classes: tuple[str | None, ...] = ()
    is_ignored: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PointFrame:
    """Landmarks of one frame, in pixels, shape (points, 2); None where there are none."""

    number: int
    truth: Floats | None
    interocular_px: float | None
    output: Floats | None
    status: str | None


@dataclass(frozen=True, slots=True, eq=False)
class PlaneFrame:
    """One frame of depth in mm, or of luma; shape (height, width), None where there is none."""

    number: int
    truth: NDArray[np.uint16] | NDArray[np.uint8] | None
    output: NDArray[np.uint16] | NDArray[np.uint8] | None
    status: str | None


NO_BOXES = Boxes(np.zeros((0, 4)))


def score_boxes_of(
    truth: Mapping[int, Boxes],
    output: Mapping[int, Boxes],
    *,
    numbers: Sequence[int],
    without_result: Iterable[int] = (),
    depth: int = HELD_FRAMES,
    pairs: Iterable[tuple[int, int]] = (),
) -> StreamQuality:
    """Score the boxes of a stream, frame by frame and as tracks.

    A frame in which a track has two boxes is left out of all, with its reason; predicted boxes that match an ignored
    one are left out.

    Args:
        truth, output: by number of the frame; frames that are not in it have no box.
        numbers: every frame of the stream, rising.
        without_result: frames that gave no result, which is not the same as a result without a box.
        depth, pairs: of held results, see `HeldLosses`.
    """
    quality, missing = StreamQuality("box"), frozenset(without_result)
    held: HeldLosses[object, object] = HeldLosses(_box_loss, depth=depth, pairs=pairs)
    kept: list[tuple[int, Boxes, Boxes]] = []
    n_duplicates = 0
    for number in numbers:
        true, seen = (_by_track(boxes.get(number, NO_BOXES)) for boxes in (truth, output))
        if any(len(set(one.tracks)) < len(one.tracks) for one in (true, seen)):
            quality.status[number] = "duplicate_track"
            n_duplicates += 1
            continue
        true, seen = _without_ignored(true, seen)
        has_result = number not in missing
        held.add(number, true, seen if has_result else None)
        kept.append((number, true, seen))
        quality.status[number] = OK if has_result else "no_output"
        if has_result:
            value = box_f1(_class_overlaps(true, seen))
            quality.put("box_f1", [(number, value)])
            quality.put("loss", [(number, 1 - value)])
            quality.status[number] = ABSENT if math.isnan(value) else OK
    quality.held = held
    for column in ("loss", "box_f1"):
        quality.mean(column)
    quality.clip.append(rate("duplicate_tracks", n_duplicates, len(numbers), nothing="no frame"))
    _put_tracks(quality, kept)
    return quality


def _box_loss(truth: object, result: object) -> float:
    return 1 - box_f1(_class_overlaps(cast("Boxes", truth), cast("Boxes", result)))


def _class_overlaps(true: Boxes, seen: Boxes) -> Floats:
    """Overlaps of a frame's boxes; those of two known classes do not overlap."""
    found = overlaps(true.boxes, seen.boxes)
    if true.classes and seen.classes:
        apart = [[None not in (a, b) and a != b for b in seen.classes] for a in true.classes]
        found = np.where(np.array(apart, np.bool_).reshape(found.shape), 0.0, found)
    return found


def _without_ignored(true: Boxes, seen: Boxes) -> tuple[Boxes, Boxes]:
    if not any(true.is_ignored):
        return true, seen
    ignored = np.array(true.is_ignored, np.bool_)
    return _only(true, ~ignored), _only(seen, ~on_ignored(overlaps(true.boxes, seen.boxes), ignored))


def _only(boxes: Boxes, keep: NDArray[np.bool_]) -> Boxes:
    return _taken(boxes, np.flatnonzero(keep).tolist())


def _by_track(boxes: Boxes) -> Boxes:
    """The boxes in the order of their tracks, as `detections` sorts them."""
    return _taken(boxes, sorted(range(len(boxes.tracks)), key=boxes.tracks.__getitem__))


def _taken(boxes: Boxes, places: Sequence[int]) -> Boxes:
    tracks = tuple(boxes.tracks[place] for place in places)
    classes = tuple(boxes.classes[place] for place in places) if boxes.classes else ()
    is_ignored = tuple(boxes.is_ignored[place] for place in places) if boxes.is_ignored else ()
    return Boxes(boxes.boxes[list(places)].reshape(-1, 4), tracks, classes, is_ignored)


def _put_tracks(quality: StreamQuality, frames: Sequence[tuple[int, Boxes, Boxes]]) -> None:
    sides = [[frame[1] for frame in frames], [frame[2] for frame in frames]]
    numbers = [frame[0] for frame in frames]
    true, seen = (
        _detections(numbers, boxes, name=name) for boxes, name in zip(sides, ("true", "predicted"), strict=True)
    )
    one, other = (np.array([name or "" for boxes in side for name in _classes_of(boxes)]) for side in sides)

    def overlap(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
        assert true.boxes is not None
        assert seen.boxes is not None
        found = box_overlap(true.boxes[rows], seen.boxes[columns])
        a, b = one[rows], other[columns]
        return np.where((a != "") & (b != "") & (a != b), 0.0, found)

    counts = count_tracks(true, seen, overlap=overlap)
    scores = counts.scores()
    quality.tracks, quality.counts = (true, seen), counts
    for metric in ("hota", "deta", "assa", "mota", "idf1"):
        value = getattr(scores, metric)
        quality.clip.append(ClipValue(metric, value, reason=scores.reason if value is None else None))
    quality.clip.append(ClipValue("id_switches", scores.n_switches))


def _classes_of(boxes: Boxes) -> Sequence[str | None]:
    return boxes.classes or (None,) * len(boxes.tracks)


def _detections(numbers: Sequence[int], frames: Sequence[Boxes], *, name: str) -> Detections:
    """Objects in the order of frames, and of tracks within each."""
    frame = [number for number, boxes in zip(numbers, frames, strict=True) for _ in boxes.tracks]
    tracks = [track for boxes in frames for track in boxes.tracks]
    return detections(frame, tracks, np.concatenate([np.zeros((0, 4)), *(boxes.boxes for boxes in frames)]), name=name)


def score_landmarks_of(
    frames: Iterable[PointFrame], *, depth: int = HELD_FRAMES, pairs: Iterable[tuple[int, int]] = ()
) -> StreamQuality:
    """Score the landmarks of a stream; frames without any are counted as missed.

    Args:
        frames: by rising number.
        depth, pairs: of held results, see `HeldLosses`.
    """
    quality = StreamQuality("landmarks")
    held: HeldLosses[object, object] = HeldLosses(_point_loss, depth=depth, pairs=pairs)
    shaking, trembling = _Jitter(), _Jitter()
    for frame in frames:
        truth = None if frame.truth is None else (frame.truth, frame.interocular_px)
        held.add(frame.number, truth, frame.output)
        shaking.add(frame.number, frame.output)
        is_both = frame.truth is not None and frame.output is not None and frame.truth.shape == frame.output.shape
        trembling.add(frame.number, frame.output - frame.truth if is_both else None)  # type: ignore[operator]
        if frame.status is None:
            continue
        quality.status[frame.number] = frame.status
        if frame.truth is not None and frame.output is not None:
            nme = _nme(frame.truth, frame.output, frame.interocular_px)
            quality.put("nme", [(frame.number, nme)])
            quality.put("loss", [(frame.number, min(nme, 1.0))])
            if math.isnan(nme):
                count = frame.truth.shape == frame.output.shape
                quality.status[frame.number] = "no_interocular" if count else "landmark_count"
    quality.held = held
    for column in ("loss", "nme"):
        quality.mean(column, nothing="no frame has a truth with an interocular distance, and an output")
    quality.clip += [shaking.value("jitter_px"), trembling.value("jitter_error_px")]
    return quality


def _nme(truth: Floats, output: Floats, interocular_px: float | None) -> float:
    if truth.shape != output.shape or not interocular_px:
        return math.nan
    return float(point_errors(truth[None], output[None])[0]) / interocular_px


def _point_loss(truth: object, result: object) -> float:
    points, interocular = cast("tuple[Floats, float | None]", truth)
    nme = _nme(points, cast("Floats", result), interocular)
    return nme if math.isnan(nme) else min(nme, 1.0)


class _Jitter:
    """Rms of second differences, summed up piece by piece: three frames in a row lie in exactly one piece."""

    def __init__(self) -> None:
        self._points: list[Floats | None] = []
        self._last: int | None = None
        self._squares, self._n = 0.0, 0

    def add(self, number: int, points: Floats | None) -> None:
        if self._last is not None and number != self._last + 1:
            self._count()
            self._points = []
        self._last = number
        self._points.append(points)
        if len(self._points) >= JITTER_FRAMES:
            self._count()
            self._points = self._points[-2:]

    def value(self, metric: str) -> ClipValue:
        self._count()
        self._points = []
        value = math.sqrt(self._squares / self._n) if self._n else None
        return ClipValue(metric, value, reason=None if self._n else "no point is in three frames in a row")

    def _count(self) -> None:
        shapes = {points.shape for points in self._points if points is not None}
        if len(shapes) != 1 or len(self._points) < 3:
            return
        nothing = np.full(shapes.pop(), np.nan)
        found = jitter(np.array([nothing if points is None else points for points in self._points]))
        if found.value is not None:
            self._squares += found.value**2 * found.n_differences
            self._n += found.n_differences


def score_depth_of(
    frames: Iterable[PlaneFrame], *, depth: int = HELD_PICTURES, pairs: Iterable[tuple[int, int]] = ()
) -> StreamQuality:
    """Score the depth of a stream, in mm; pixels of 0 have none.

    Args:
        frames: by rising number.
        depth, pairs: of held results, see `HeldLosses`.
    """
    quality = StreamQuality("depth")
    held: HeldLosses[object, object] = HeldLosses(_depth_loss, depth=depth, pairs=pairs)
    rmse: list[float] = []
    scaled: list[float] = []
    for frame in frames:
        held.add(frame.number, frame.truth, frame.output)
        if not _have_both(frame, quality, least=1):
            continue
        pair = [(cast("Floats", frame.truth), cast("Floats", frame.output))]
        found, relative = depth_errors(pair, alignment="none"), depth_errors(pair, alignment="median")
        if found.abs_rel is None or found.delta_1 is None or found.rmse is None or relative.abs_rel is None:
            quality.status[frame.number] = ABSENT
            continue
        quality.put("depth_abs_rel", [(frame.number, found.abs_rel)])
        quality.put("depth_delta1", [(frame.number, found.delta_1)])
        quality.put("loss", [(frame.number, 1 - found.delta_1)])
        rmse.append(found.rmse)
        scaled.append(relative.abs_rel)
    quality.held = held
    for column in ("loss", "depth_abs_rel", "depth_delta1"):
        quality.mean(column, nothing="no pixel has a true and a predicted depth")
    for metric, values in (("depth_rmse_mm", rmse), ("depth_abs_rel_scaled", scaled)):
        value = math.fsum(values) / len(values) if values else None
        quality.clip.append(ClipValue(metric, value, reason=None if values else "no pixel has both depths"))
    return quality


def _depth_loss(truth: object, result: object) -> float:
    one, other = cast("Floats", truth), cast("Floats", result)
    if one.shape != other.shape:
        return math.nan
    found = depth_errors([(one, other)], alignment="none").delta_1
    return math.nan if found is None else 1 - found


def score_images_of(
    frames: Iterable[PlaneFrame], *, depth: int = HELD_PICTURES, pairs: Iterable[tuple[int, int]] = ()
) -> StreamQuality:
    """Score the lumas of a stream of better pictures against their references.

    Args:
        frames: lumas of 8 bit, by rising number.
        depth, pairs: of held results, see `HeldLosses`.
    """
    quality = StreamQuality("image")
    held: HeldLosses[object, object] = HeldLosses(_image_loss, depth=depth, pairs=pairs)
    squares, n_pixels, n_identical, n = 0.0, 0, 0, 0
    for frame in frames:
        held.add(frame.number, frame.truth, frame.output)
        if not _have_both(frame, quality, least=SSIM_SIDE):
            continue
        pair = [(cast("Floats", frame.truth), cast("Floats", frame.output))]
        found, alike = psnr(pair, peak=PEAK), ssim(pair, peak=PEAK, variant="gaussian")
        n += 1
        n_identical += found.n_identical
        n_pixels += found.n_pixels
        squares += (found.mse or 0.0) * found.n_pixels
        quality.put("psnr_db", [(frame.number, found.mean if found.mean is not None else math.nan)])
        quality.put("ssim", [(frame.number, alike.value if alike.value is not None else math.nan)])
        quality.put("loss", [(frame.number, min(max(1 - cast("float", alike.value), 0.0), 1.0))])
    quality.held = held
    quality.mean("loss")
    quality.mean("ssim")
    if n_identical:
        why = f"infinite: {n_identical} of {n} frames are identical to their reference"
        quality.clip.append(ClipValue("psnr_db", None, reason=why))
    else:
        quality.mean("psnr_db")
    value = 10 * math.log10(PEAK**2 * n_pixels / squares) if squares else None
    why = "infinite: the clip is identical to its reference" if n else "no frame has a value"
    quality.clip.append(ClipValue("psnr_of_mean_db", value, reason=why if value is None else None))
    return quality


def _image_loss(truth: object, result: object) -> float:
    one, other = cast("Floats", truth), cast("Floats", result)
    if one.shape != other.shape or min(one.shape) < SSIM_SIDE:
        return math.nan
    found = ssim([(one, other)], peak=PEAK, variant="gaussian").value
    return math.nan if found is None else min(max(1 - found, 0.0), 1.0)


def _have_both(frame: PlaneFrame, quality: StreamQuality, *, least: int) -> bool:
    """Tell whether a frame can be scored, and note what it lacks."""
    if frame.status is None:
        return False
    quality.status[frame.number] = frame.status
    if frame.truth is None or frame.output is None:
        return False
    if frame.truth.shape != frame.output.shape or min(frame.truth.shape) < least:
        quality.status[frame.number] = "picture_size"
        return False
    return True
