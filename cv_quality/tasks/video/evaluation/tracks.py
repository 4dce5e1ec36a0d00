"""Tracks of text files against tracks of the truth, as MOTChallenge scores them: sums over clips before any ratio.

Boxes of the truth that do not count are left out; predicted ones that lie on a distractor of it are, too, as in the
benchmark's own code (TrackEval, `MotChallenge2DBox`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.importers.video_frames import require_same_base
from cv_quality.drops.importers.video_tracks import BoxTable, read_boxes
from cv_quality.errors import DuplicateTrack, LayoutError, MetricError
from cv_quality.metrics.video.clips import ClipInterval, clip_mean
from cv_quality.metrics.video.tracks import (
    MATCH_OVERLAP,
    SLACK,
    Detections,
    TrackCounts,
    TrackScore,
    box_overlap,
    count_tracks,
    detections,
    track_interval,
)
from cv_quality.tasks.video.evaluation.pairing import ClipPair
from cv_quality.tasks.video.evaluation.results import ALL, ClipScore

TRACK_METRICS = ("hota", "deta", "assa", "mota", "motp", "idf1", "idp", "idr")
SUMMED: Sequence[TrackScore] = ("hota", "mota", "idf1")
"""Metrics whose intervals are of sums over clips."""


class TrackedClip:
    """The counts of one clip, and what is said of it.

    Args:
        pair: the clip.
        shift: what is added to frame numbers of the prediction.

    Raises:
        LayoutError: a side has no tracks, or counts frames from another number.
        DuplicateTrack: a track has two boxes in a frame.
        MetricError: a box has no area.
    """

    def __init__(self, pair: ClipPair, *, shift: int | None) -> None:
        self.name = pair.name
        if pair.truth.boxes is None:
            raise LayoutError(
                f"clip {pair.name}: expected gt.txt in the truth, found {pair.truth.words() or 'nothing'}"
            )
        path = pair.prediction.boxes or pair.prediction.detections
        if path is None:
            found = pair.prediction.words() or "nothing"
            raise LayoutError(f"clip {pair.name}: expected a text file of tracks in the prediction, found {found}")
        truth, prediction = read_boxes(pair.truth.boxes), read_boxes(path)
        if len(prediction) and (prediction.track < 0).all():
            raise LayoutError(f"{path}: expected tracks, found detections whose track is -1: give a tracker's result")
        frames = prediction.frame + (shift or 0)
        if shift is None and len(prediction) and len(truth) and frames.min() == 0 and truth.frame.min() >= 1:
            require_same_base(
                [0, int(frames.max())], [1, int(max(truth.frame.max(), frames.max() + 1))], clip=pair.name
            )
        is_on_distractor = _on_distractors(truth, prediction, frames)
        n_frames = max(int(truth.frame.max(initial=0)), (pair.truth.info.n_frames or 0) if pair.truth.info else 0)
        n_beyond = int((frames > n_frames).sum())
        self.warnings = _said(truth, is_on_distractor, n_beyond=n_beyond, clip=pair.name)
        true = _checked(pair.truth.boxes, truth.frame, truth, truth.is_counted, name="true")
        self.counts = count_tracks(true, _checked(path, frames, prediction, ~is_on_distractor, name="predicted"))

    def score(self) -> ClipScore:
        """Scores of this clip alone."""
        return track_score(self.name, self.counts)


def _said(truth: BoxTable, is_on_distractor: NDArray[np.bool_], *, n_beyond: int, clip: str) -> list[str]:
    n_out, n_distractors = int((~truth.is_counted).sum()), int(is_on_distractor.sum())
    texts = [f"{n_out:,} boxes of the truth do not count (flag 0, or no pedestrian)"] if n_out else []
    if n_distractors:
        texts.append(f"{n_distractors:,} predicted boxes on distractors of the truth are left out")
    if n_beyond:
        texts.append(f"{n_beyond:,} predicted boxes are in frames after the last one of the truth, and wrong")
    if not truth.is_counted.any():
        texts.append("the truth has no object")
    return [f"clip {clip}: {text}" for text in texts]


def _checked(
    path: Path, frames: NDArray[np.int64], table: BoxTable, chosen: NDArray[np.bool_], *, name: str
) -> Detections:
    try:
        return detections(frames[chosen], table.track[chosen], table.boxes[chosen], name=name)
    except DuplicateTrack as error:
        raise DuplicateTrack(f"{path}: {error}", frame=error.frame, track=error.track) from error
    except MetricError as error:
        raise MetricError(f"{path}: {error}") from error


def _on_distractors(truth: BoxTable, prediction: BoxTable, frames: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Predicted boxes that match a distractor, where every box of the truth can be matched once."""
    from scipy.optimize import linear_sum_assignment

    found = np.zeros(len(prediction), np.bool_)
    if not truth.is_distractor.any():
        return found
    for frame in np.unique(truth.frame[truth.is_distractor]):
        true, seen = np.flatnonzero(truth.frame == frame), np.flatnonzero(frames == frame)
        if not len(seen):
            continue
        rows, columns = np.meshgrid(true, seen, indexing="ij")
        overlap = box_overlap(truth.boxes[rows.ravel()], prediction.boxes[columns.ravel()]).reshape(rows.shape)
        overlap[overlap < MATCH_OVERLAP - SLACK] = 0
        one, other = linear_sum_assignment(overlap, maximize=True)
        is_match = (overlap[one, other] > 0) & truth.is_distractor[true[one]]
        found[seen[other[is_match]]] = True
    return found


def track_score(clip: str, counts: TrackCounts) -> ClipScore:
    """Take the ratios of counts, of one clip or of several.

    Args:
        clip: the name of what was counted.
        counts: of it.
    """
    scores = counts.scores()
    return ClipScore(
        clip=clip,
        class_name=ALL,
        n_frames=scores.n_frames,
        values={name: getattr(scores, name) for name in TRACK_METRICS},
        counts={
            "false_positives": scores.n_false_positives,
            "misses": scores.n_misses,
            "switches": scores.n_switches,
            "objects": scores.n_truth,
            "predicted": scores.n_predicted,
        },
        frames={},
        reason=scores.reason,
    )


def summarised(metric: str, counts: Sequence[TrackCounts]) -> ClipInterval:
    """Bound a metric over clips from sums, or, where it has no interval of its own, the mean over clips.

    Args:
        metric: one of `TRACK_METRICS`.
        counts: of each clip.
    """
    for name in SUMMED:
        if metric == name:
            return track_interval(counts, score=name)
    values = [getattr(clip.scores(), metric) for clip in counts]
    return clip_mean([np.nan if value is None else value for value in values])
