"""Metrics of multiple-object tracking: HOTA, CLEAR (MOTA, MOTP, switches) and identity (IDF1), counted clip by clip.

Counts of clips add up before any ratio is taken: the HOTA of a set is not the mean over its clips. Intervals by clip
are in `cv_quality.metrics.video.clips`. The matching is that of TrackEval, the code behind MOTChallenge; that package
is untyped and brings matplotlib, OpenCV and pycocotools with it, so the sums are taken here.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import DuplicateTrack, MetricError
from cv_quality.metrics.results import Result
from cv_quality.metrics.validation import column, whole_numbers
from cv_quality.metrics.video.clips import ClipInterval, clip_interval

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Overlap = Callable[[Rows, Rows], Floats]
"""The overlap, 0 to 1, of rows of the truth with rows of the prediction, one by one; shape (pairs,)."""
TrackScore = Literal["hota", "mota", "idf1"]

THRESHOLDS: Floats = np.arange(1, 20) / 20
"""Overlaps at which HOTA is taken: .05 to .95."""
MATCH_OVERLAP = 0.5
"""Overlap from which CLEAR and identity count a match."""
SLACK = float(np.finfo(np.float64).eps)
KEEP_TRACK = 1_000.0
"""Score of continuing a track, above any sum of overlaps, so that CLEAR keeps a match before it seeks a better one."""
PAIRS_AT_ONCE = 250_000
"""Pairs of one step: memory does not grow with the length of a clip but for its detections."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects of one clip, true or predicted, in the order of frame and track; `detections` makes them.

    Attributes:
        frame: number of the frame, shape (n,).
        track: identity, unique within a frame, shape (n,).
        boxes: left, top, width, height in pixels, shape (n, 4); None where overlaps come from elsewhere.
    """

    frame: Rows
    track: NDArray[np.generic]
    boxes: Floats | None

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, slots=True, eq=False)
class TrackCounts(Result):
    """Counts of one clip or of several: they add up with `+`.

    Attributes:
        n_clips, n_frames: clips, and frames of them with a true or a predicted object.
        n_truth, n_predicted: objects over all frames.
        n_matched, n_switches: matches of CLEAR, and those to another track than the object's last one.
        distance: sum of 1 - overlap over the matches of CLEAR.
        n_identity: matches of the best assignment of whole tracks to whole tracks (IDTP).
        hota_matched: matches at each threshold, shape (19,).
        hota_association: sum of A(c) over them, shape (19,).
        hota_overlap: sum of their overlaps, shape (19,).
    """

    n_clips: int
    n_frames: int
    n_truth: int
    n_predicted: int
    n_matched: int
    n_switches: int
    distance: float
    n_identity: int
    hota_matched: Rows
    hota_association: Floats
    hota_overlap: Floats

    def __add__(self, other: "TrackCounts") -> "TrackCounts":
        """The counts of both."""
        return TrackCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def scores(self) -> "TrackScores":
        """Take the ratios of the counts."""
        return _scores(self)


@dataclass(frozen=True, slots=True, eq=False)
class TrackScores(Result):
    """Scores of tracking, higher is better but for `motp`, with the counts that they come from.

    Attributes:
        hota, deta, assa: means over the 19 thresholds, 0 to 1; None without a true object. At a threshold without a
            match the association counts 0; `assa` is None where there is no match at all.
        loca: mean overlap of matches, over the thresholds that have one, 0.05 to 1; TrackEval counts the others as 1.
        mota: 1 - (false positives + misses + switches) / true objects, at most 1, without a lower end.
        motp: mean 1 - overlap of the matches of CLEAR, 0 to 0.5, lower is better; TrackEval prints 1 minus it.
        idf1, idp, idr: F1, precision and recall of identities, 0 to 1.
        n_false_positives, n_misses, n_switches: errors of CLEAR at overlap 0.5.
        n_truth, n_predicted, n_identity: denominators of the identity scores, and their numerator.
        n_clips, n_frames: what was counted.
        hota_at: HOTA at each threshold, shape (19,); None without a true object.
        reason: why a score is missing.
    """

    hota: float | None
    deta: float | None
    assa: float | None
    loca: float | None
    mota: float | None
    motp: float | None
    idf1: float | None
    idp: float | None
    idr: float | None
    n_false_positives: int
    n_misses: int
    n_switches: int
    n_truth: int
    n_predicted: int
    n_identity: int
    n_clips: int
    n_frames: int
    hota_at: Floats | None
    reason: str | None


NO_TRACKS = TrackCounts(0, 0, 0, 0, 0, 0, 0.0, 0, np.zeros(19, dtype=np.int64), np.zeros(19), np.zeros(19))
"""What sums of counts start from."""


class _Pairs(NamedTuple):
    """Overlapping objects of one frame, in the order of frame, true and predicted row; shape (pairs,) each."""

    truth: Rows
    predicted: Rows
    frame: Rows
    overlap: Floats

    def where(self, chosen: NDArray[np.bool_]) -> "_Pairs":
        return _Pairs(self.truth[chosen], self.predicted[chosen], self.frame[chosen], self.overlap[chosen])


def detections(
    frame: ArrayLike, track: ArrayLike, boxes: ArrayLike | None = None, *, name: str = "predicted"
) -> Detections:
    """Check the objects of one clip and sort them by frame and track.

    Args:
        frame: whole numbers, shape (n,).
        track: identities, numbers or text, shape (n,).
        boxes: left, top, width, height, width and height above 0, shape (n, 4).
        name: "true" or "predicted", for messages.

    Raises:
        DuplicateTrack: a track has two objects in one frame.
        MetricError: shapes differ, a value is missing, or a box has no area.

    >>> detections([2, 1], ["a", "a"], [[0, 0, 2, 2], [1, 1, 2, 2]]).frame.tolist()
    [1, 2]
    """
    ids = column(track, name=f"{name} track")
    frames = whole_numbers(frame, name=f"{name} frame", size=len(ids)) if len(ids) else np.zeros(0, dtype=np.int64)
    order = np.lexsort((np.unique(ids, return_inverse=True)[1], frames))
    frames, ids = frames[order], ids[order]
    again = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
    if again.size:
        raise DuplicateTrack(
            f"expected each {name} track once in a frame, found track {ids[again[0]]} twice in frame "
            f"{frames[again[0]]} ({again.size} such objects): number objects apart, or leave the frame out",
            frame=int(frames[again[0]]),
            track=str(ids[again[0]]),
        )
    return Detections(frames, ids, None if boxes is None else _boxes(boxes, len(ids), name)[order])


def box_overlap(truth: Floats, predicted: Floats) -> Floats:
    """Compute the intersection over union of boxes, one by one; 0 to 1, shape (n,).

    Args:
        truth, predicted: left, top, width, height, shape (n, 4).

    >>> box_overlap(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 2, 2]])).round(3).tolist()
    [0.333]
    """
    near = np.maximum(truth[:, :2], predicted[:, :2])
    far = np.minimum(truth[:, :2] + truth[:, 2:], predicted[:, :2] + predicted[:, 2:])
    shared = np.maximum(far - near, 0).prod(axis=1)
    union = truth[:, 2:].prod(axis=1) + predicted[:, 2:].prod(axis=1) - shared
    # Rounding of far places can leave a shared area above the union.
    overlap: Floats = np.minimum(shared / union, 1.0)
    return overlap


def count_tracks(truth: Detections, predicted: Detections, *, overlap: Overlap | None = None) -> TrackCounts:
    """Count matches, switches and associations of one clip.

    HOTA (Luiten et al., IJCV 129, 2021): objects of a frame are matched once, so that the sum of overlap times the
    alignment of their tracks over the whole clip is highest; a match counts at the thresholds that its overlap
    reaches. A(c) = TPA / (TPA + FNA + FPA) of the two tracks of a match c. CLEAR (Bernardin and Stiefelhagen, EURASIP
    JIVP 2008): at overlap 0.5, matches of the last frame that had objects on both sides are kept where they can be,
    then the sum of overlaps is highest. Identity (Ristani et al., ECCV workshops 2016): tracks are assigned one to one
    over the whole clip, so that most objects of overlap 0.5 agree.

    Args:
        truth, predicted: objects of the same clip.
        overlap: of rows of both, as for masks; by default the intersection over union of their boxes.

    Raises:
        MetricError: there are no boxes and no other overlap, or an overlap lies outside 0 to 1.

    >>> true = detections([1, 2], [7, 7], [[0, 0, 2, 2], [1, 0, 2, 2]])
    >>> seen = detections([1, 2], [1, 2], [[0, 0, 2, 2], [1, 0, 2, 2]])
    >>> scores = count_tracks(true, seen).scores()
    >>> scores.mota, scores.idf1, scores.deta, scores.assa
    (0.5, 0.5, 1.0, 0.5)
    """
    frames = np.union1d(truth.frame, predicted.frame)
    pairs = _overlapping(truth, predicted, frames, overlap or _by_boxes(truth, predicted))
    true_ids, true_sizes = _tracks(truth)
    seen_ids, seen_sizes = _tracks(predicted)
    keys, key = np.unique(true_ids[pairs.truth] * len(seen_sizes) + seen_ids[pairs.predicted], return_inverse=True)
    true_of, seen_of = np.divmod(keys, max(len(seen_sizes), 1))
    sizes = (true_sizes[true_of] + seen_sizes[seen_of]).astype(np.float64)
    together = np.bincount(key, weights=_normalised(pairs), minlength=len(keys))
    scores = (together / (sizes - together))[key] * pairs.overlap
    matched, association, overlaps = _hota(pairs.overlap, key, sizes, _best(pairs, scores))
    is_close = pairs.overlap >= MATCH_OVERLAP - SLACK
    close = pairs.where(is_close)
    kept = _clear(close, key[is_close], np.intersect1d(truth.frame, predicted.frame))
    return TrackCounts(
        n_clips=1,
        n_frames=len(frames),
        n_truth=len(truth),
        n_predicted=len(predicted),
        n_matched=len(kept),
        n_switches=_switches(true_ids[close.truth[kept]], seen_ids[close.predicted[kept]]),
        distance=float((1 - close.overlap[kept]).sum()),
        n_identity=_identity(np.bincount(key[is_close], minlength=len(keys)), true_of, seen_of),
        hota_matched=matched,
        hota_association=association,
        hota_overlap=overlaps,
    )


def track_interval(
    counts: Sequence[TrackCounts],
    *,
    score: TrackScore = "hota",
    baseline: Sequence[TrackCounts] | None = None,
    blocks: ArrayLike | None = None,
    seed: int = 0,
) -> ClipInterval:
    """Bound a score of tracking over clips, or its change from a baseline, sums taken before ratios in every replicate.

    Args:
        counts: of each clip.
        score: "hota", "mota" or "idf1".
        baseline: counts of another build on the same clips, in the same order; the value is then the change from it.
        blocks: what filmed each clip, shape (clips,); each clip alone by default.
        seed: of the bootstrap.

    Raises:
        MetricError: the baseline has another number of clips, or other true objects.

    >>> here = detections([1, 2], [7, 7], [[0, 0, 2, 2], [1, 0, 2, 2]])
    >>> track_interval([count_tracks(here, here)] * 6).value
    1.0
    """
    parts = _interval_parts(counts, score)
    if baseline is None:
        limits = (-math.inf if score == "mota" else 0.0, 1.0)
        return clip_interval(parts, _ratio_of_parts, blocks=blocks, limits=limits, seed=seed)
    if [clip.n_truth for clip in counts] != [clip.n_truth for clip in baseline]:
        raise MetricError(
            f"expected both builds on the same clips with the same true objects, found {len(counts)} clips with "
            f"{sum(clip.n_truth for clip in counts)} and {len(baseline)} with {sum(clip.n_truth for clip in baseline)}"
        )
    both, width = np.hstack([parts, _interval_parts(baseline, score)]), parts.shape[1]
    return clip_interval(
        both, lambda sums: _ratio_of_parts(sums[:, :width]) - _ratio_of_parts(sums[:, width:]), blocks=blocks, seed=seed
    )


def _interval_parts(counts: Sequence[TrackCounts], score: TrackScore) -> Floats:
    """Numerators, denominators and true objects of each clip, shape (clips, 2 k + 1); those of HOTA give its square."""
    rows = []
    for clip in counts:
        n, seen = clip.n_truth, clip.n_predicted
        if score == "hota":
            rows.append([*clip.hota_association, *(n + seen - clip.hota_matched), n])
        elif score == "mota":
            rows.append([2 * clip.n_matched - seen - clip.n_switches, n, n])
        else:
            rows.append([2 * clip.n_identity, n + seen, n])
    return np.array(rows, dtype=np.float64)


def _ratio_of_parts(sums: Floats) -> Floats:
    """The score of summed parts; NaN without a true object."""
    k = (sums.shape[1] - 1) // 2
    ratios = sums[:, :k] / sums[:, k : 2 * k]
    score: Floats = np.where(sums[:, -1] > 0, (np.sqrt(ratios) if k > 1 else ratios).mean(axis=1), np.nan)
    return score


def _boxes(boxes: ArrayLike, size: int, name: str) -> Floats:
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) if size == 0 else np.asarray(boxes, dtype=np.float64)
    if array.shape != (size, 4):
        raise MetricError(f"expected {name} boxes of shape ({size}, 4), found {array.shape}")
    wrong = ~(np.isfinite(array).all(axis=1) & (array[:, 2:] > 0).all(axis=1))
    if wrong.any():
        raise MetricError(
            f"expected {name} boxes of finite place, width and height above 0, found {np.count_nonzero(wrong)} others, "
            f"the first {array[wrong][0].tolist()}"
        )
    return array


def _by_boxes(truth: Detections, predicted: Detections) -> Overlap:
    true_boxes, seen_boxes = truth.boxes, predicted.boxes
    if true_boxes is None or seen_boxes is None:
        raise MetricError("expected boxes on both sides, found none: pass boxes, or `overlap` for other shapes")
    return lambda rows, columns: box_overlap(true_boxes[rows], seen_boxes[columns])


def _tracks(objects: Detections) -> tuple[Rows, Rows]:
    """The number of each object's track, and the objects of each track."""
    _, codes, sizes = np.unique(objects.track, return_inverse=True, return_counts=True)
    return codes.astype(np.int64), sizes.astype(np.int64)


def _overlapping(truth: Detections, predicted: Detections, frames: Rows, overlap: Overlap) -> _Pairs:
    """Pairs of objects of one frame that overlap at all; others can be no match."""
    parts = []
    for rows, columns in _candidates(truth.frame, predicted.frame, frames):
        found = np.asarray(overlap(rows, columns), dtype=np.float64)
        if found.shape != rows.shape or not np.all((found >= 0) & (found <= 1)):
            raise MetricError(f"expected {len(rows)} overlaps from 0 to 1, found shape {found.shape} or other values")
        some = found > 0
        parts.append(_Pairs(rows[some], columns[some], truth.frame[rows[some]], found[some]))
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return _Pairs(none, none, none, np.zeros(0))
    return _Pairs(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _candidates(true_frame: Rows, seen_frame: Rows, frames: Rows) -> Iterator[tuple[Rows, Rows]]:
    """All pairs of rows of one frame, some frames at a time."""
    true_first, seen_first = np.searchsorted(true_frame, frames), np.searchsorted(seen_frame, frames)
    width = np.diff(seen_first, append=len(seen_frame))
    sizes = np.diff(true_first, append=len(true_frame)) * width
    steps = np.cumsum(sizes) // PAIRS_AT_ONCE
    for step in np.unique(steps):
        here = np.flatnonzero((steps == step) & (sizes > 0))
        size = sizes[here]
        local = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        row, column_ = np.divmod(local, np.repeat(width[here], size))
        if size.size:
            yield np.repeat(true_first[here], size) + row, np.repeat(seen_first[here], size) + column_


def _normalised(pairs: _Pairs) -> Floats:
    """The overlap of each pair, over all overlaps that its two objects have in the frame."""
    if not pairs.overlap.size:
        return pairs.overlap
    of_true = np.bincount(pairs.truth, weights=pairs.overlap)[pairs.truth]
    of_seen = np.bincount(pairs.predicted, weights=pairs.overlap)[pairs.predicted]
    share: Floats = pairs.overlap / (of_true + of_seen - pairs.overlap)
    return share


def _rivals(pairs: _Pairs) -> NDArray[np.bool_]:
    """Whether an object of the pair has another partner to choose."""
    if not pairs.overlap.size:
        return np.zeros(0, dtype=np.bool_)
    rivals: NDArray[np.bool_] = (np.bincount(pairs.truth)[pairs.truth] > 1) | (
        np.bincount(pairs.predicted)[pairs.predicted] > 1
    )
    return rivals


def _frames_of(frame: Rows, chosen: Rows) -> list[Rows]:
    """Split chosen pairs by frame."""
    return np.split(chosen, np.flatnonzero(np.diff(frame[chosen])) + 1) if chosen.size else []


def _assigned(pairs: _Pairs, here: Rows, scores: Floats) -> Rows:
    """Choose among the pairs of one frame those of the highest sum of scores, each object once."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = pairs.truth[here] - pairs.truth[here].min(), pairs.predicted[here] - pairs.predicted[here].min()
    table, index = np.zeros((rows.max() + 1, columns.max() + 1)), np.full((rows.max() + 1, columns.max() + 1), -1)
    table[rows, columns], index[rows, columns] = scores, here
    chosen = index[linear_sum_assignment(table, maximize=True)]
    best: Rows = chosen[chosen >= 0]
    return best


def _best(pairs: _Pairs, scores: Floats) -> Rows:
    """Choose in every frame the pairs of the highest sum of scores, each object once."""
    rivals = _rivals(pairs)
    contested = [_assigned(pairs, here, scores[here]) for here in _frames_of(pairs.frame, np.flatnonzero(rivals))]
    return np.concatenate([np.flatnonzero(~rivals), *contested])


def _hota(overlap: Floats, key: Rows, sizes: Floats, best: Rows) -> tuple[Rows, Floats, Floats]:
    """Matches, their associations and their overlaps at each threshold.

    Args:
        overlap, key: of each pair, and the number of its two tracks.
        sizes: objects of both tracks together, by that number.
        best: the pairs that are matched.
    """
    matched, association, overlaps = np.zeros(19, dtype=np.int64), np.zeros(19), np.zeros(19)
    for index, threshold in enumerate(THRESHOLDS):
        chosen = best[overlap[best] >= threshold - SLACK]
        shared = np.bincount(key[chosen], minlength=len(sizes))
        matched[index] = len(chosen)
        association[index] = (shared**2 / (sizes - shared)).sum()
        overlaps[index] = overlap[chosen].sum()
    return matched, association, overlaps


def _clear(pairs: _Pairs, names: Rows, frames: Rows) -> Rows:
    """Match pairs frame by frame; two tracks that were matched in the frame before come first.

    Args:
        pairs: those that overlap enough.
        names: the number of the two tracks of each.
        frames: those with objects on both sides, ascending.
    """
    rivals = _rivals(pairs)
    is_matched = ~rivals
    first, last = np.searchsorted(pairs.frame, frames), np.searchsorted(pairs.frame, frames, side="right")
    for here in _frames_of(pairs.frame, np.flatnonzero(rivals)):
        at = int(np.searchsorted(frames, pairs.frame[here[0]]))
        before = slice(first[at - 1], last[at - 1]) if at else slice(0, 0)
        continues = np.isin(names[here], names[before][is_matched[before]])
        is_matched[_assigned(pairs, here, KEEP_TRACK * continues + pairs.overlap[here])] = True
    return np.flatnonzero(is_matched)


def _switches(true_track: Rows, seen_track: Rows) -> int:
    """Count matches to another track than the object's last match; the matches come in the order of frames."""
    order = np.argsort(true_track, kind="stable")
    same = true_track[order][1:] == true_track[order][:-1]
    return int(np.count_nonzero(same & (seen_track[order][1:] != seen_track[order][:-1])))


def _identity(agreeing: Rows, true_of: Rows, seen_of: Rows) -> int:
    """Count objects that agree under the best assignment of whole tracks."""
    from scipy.optimize import linear_sum_assignment

    some = agreeing > 0
    if not some.any():
        return 0
    true, rows = np.unique(true_of[some], return_inverse=True)
    seen, columns = np.unique(seen_of[some], return_inverse=True)
    table = np.zeros((len(true), len(seen)))
    table[rows, columns] = agreeing[some]
    return int(table[linear_sum_assignment(table, maximize=True)].sum())


def _scores(counts: TrackCounts) -> TrackScores:
    n, seen, matched = counts.n_truth, counts.n_predicted, counts.hota_matched
    has_truth, has_match = n > 0, bool(matched.any())
    misses, false_positives = n - counts.n_matched, seen - counts.n_matched
    union, some = np.maximum(n + seen - matched, 1), np.maximum(matched, 1)
    hota_at = np.sqrt(counts.hota_association / union)
    return TrackScores(
        hota=float(hota_at.mean()) if has_truth else None,
        deta=float((matched / union).mean()) if has_truth else None,
        assa=float((counts.hota_association / some).mean()) if has_match else None,
        loca=float((counts.hota_overlap / some)[matched > 0].mean()) if has_match else None,
        mota=1 - (misses + false_positives + counts.n_switches) / n if has_truth else None,
        motp=counts.distance / counts.n_matched if counts.n_matched else None,
        idf1=2 * counts.n_identity / (n + seen) if has_truth else None,
        idp=counts.n_identity / seen if has_truth and seen else None,
        idr=counts.n_identity / n if has_truth else None,
        n_false_positives=false_positives,
        n_misses=misses,
        n_switches=counts.n_switches,
        n_truth=n,
        n_predicted=seen,
        n_identity=counts.n_identity,
        n_clips=counts.n_clips,
        n_frames=counts.n_frames,
        hota_at=hota_at if has_truth else None,
        reason=_missing(counts),
    )


def _missing(counts: TrackCounts) -> str | None:
    if not counts.n_truth:
        return "no true object"
    if not counts.n_predicted:
        return "no predicted object"
    if not counts.hota_matched.any():
        return "no match at any overlap"
    return None if counts.n_matched else f"no match at overlap {MATCH_OVERLAP:g}"
