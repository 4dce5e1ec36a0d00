"""Frames and clips of a drop scored under one model: the stage `score_frames`."""

from dataclasses import dataclass

from cv_quality.freshness import StageContext


@dataclass(frozen=True, slots=True)
class FrameScoreSummary:
    """What was scored of a drop under one model.

    Attributes:
        clips, frames: of the drop.
        scored: frames with a quality.
        misses: frames below the requirement.
        late: frames after their deadline, or without a result.
        loss: mean over the scored frames; None without one.
    """

    build: str
    drop: str
    clips: int
    frames: int
    scored: int
    misses: int
    late: int
    loss: float | None


def score_frames(context: StageContext) -> FrameScoreSummary:
    """Score the outputs of a drop against its truth, and write `frame_scores`, `clip_scores` and `track_counts`."""
    raise NotImplementedError
