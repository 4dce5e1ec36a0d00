"""Metrics of a build over its clips, compared with its baseline: the stage `measure_video`."""

from dataclasses import dataclass

from cv_quality.freshness import StageContext


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """What was measured of a build.

    Attributes:
        clips: of its own drops.
        metric_rows, change_rows, clip_change_rows, replay_rows: rows of the four tables.
        improved, regressed: metrics whose change is settled.
    """

    build: str
    clips: int
    metric_rows: int
    change_rows: int
    clip_change_rows: int
    replay_rows: int
    improved: int
    regressed: int


def measure_video(context: StageContext) -> VideoSummary:
    """Measure a build's clips and its baseline's, and write `video_metrics`, `video_changes` and what they rest on."""
    raise NotImplementedError
