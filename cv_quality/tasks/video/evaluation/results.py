"""What an evaluation of clips comes to: scores by clip and class, means over clips, changes from a baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cv_quality.metrics.results import Result
from cv_quality.metrics.video.clips import ClipComparison
from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME, VideoMetric

EvaluationKind = Literal["masks", "instances", "tracks", "images"]
ALL: Final = "all"
"""Class of a clip as a whole."""


_OWN = (
    VideoMetric("motp", "MOTP", "mean 1 - overlap of matches", "tracks", "share", is_higher_better=False),
    VideoMetric("idp", "IDP", "precision of identities", "tracks", "share", is_higher_better=True),
    VideoMetric("idr", "IDR", "recall of identities", "tracks", "share", is_higher_better=True),
    VideoMetric(
        "ssim_ffmpeg", "SSIM (ffmpeg)", "luma, squares of 8 x 8 as ffmpeg's filter", "quality", "count", True, "mean"
    ),
    VideoMetric("vmaf", "VMAF", "0 to 100, libvmaf's own model, mean over frames", "quality", "count", True, "mean"),
)
_SHOWN = (
    *("j", "j_recall", "j_decay", "f", "f_recall", "f_decay", "jf", "miou", "flicker", "tc", "tc_ceiling", "tc_ratio"),
    *("hota", "deta", "assa", "mota", "motp", "idf1", "idp", "idr"),
    *("psnr_of_mean_db", "psnr_db", "ssim_ffmpeg", "ssim", "vmaf"),
)
METRICS: Final[Mapping[str, VideoMetric]] = {
    name: (VIDEO_METRICS_BY_NAME | {item.name: item for item in _OWN})[name] for name in _SHOWN
}
"""In the order of tables."""


@dataclass(frozen=True, slots=True)
class ClipScore(Result):
    """Scores of one clip, as a whole or of one class or object of it.

    Attributes:
        class_name: "all", or the class or object.
        n_frames: frames that were scored.
        values: by metric, see `METRICS`; None where it is undefined.
        counts: of what the values come from.
        frames: values of each frame, by metric; empty but for "all".
        numbers: of these frames.
        reason: why a value is None.
    """

    clip: str
    class_name: str
    n_frames: int
    values: Mapping[str, float | None]
    counts: Mapping[str, int]
    frames: Mapping[str, tuple[float | None, ...]]
    numbers: tuple[int, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MetricSummary(Result):
    """A metric over clips.

    Attributes:
        value: mean over clips, each counting once; of tracks from sums over clips.
        low, high: 95 % bounds by clip; None below five clips.
        n_clips, n_left_out: clips with a value, and without.
        reason: why there is no value, or no bounds.
    """

    metric: str
    class_name: str
    is_higher_better: bool | None
    value: float | None
    low: float | None
    high: float | None
    n_clips: int
    n_left_out: int
    method: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class MetricChange(Result):
    """A metric against the baseline's, paired by clip; `comparison` has both signs."""

    metric: str
    is_higher_better: bool
    comparison: ClipComparison


@dataclass(frozen=True, slots=True)
class VideoEvaluation(Result):
    """One evaluation.

    Attributes:
        kind: what was scored.
        prediction, truth, baseline: as given.
        clips: scores by clip and class, the whole clip first.
        summaries: over clips.
        changes: from the baseline.
        notes: what was understood and how it was scored.
        warnings: what may mislead.
    """

    kind: EvaluationKind
    prediction: str
    truth: str
    baseline: str | None
    clips: tuple[ClipScore, ...]
    summaries: tuple[MetricSummary, ...]
    changes: tuple[MetricChange, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
