"""What an evaluation of clips comes to: scores by clip and class, means over clips, changes from a baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cv_quality.metrics.results import Result
from cv_quality.metrics.video.clips import ClipComparison

EvaluationKind = Literal["masks", "instances", "tracks", "images"]
ALL: Final = "all"
"""Class of a clip as a whole."""


@dataclass(frozen=True, slots=True)
class MetricWords:
    """How a metric is called, and which way is better."""

    label: str
    is_higher_better: bool = True


METRICS: Final[Mapping[str, MetricWords]] = {
    "j_mean": MetricWords("J"),
    "j_recall": MetricWords("J recall"),
    "j_decay": MetricWords("J decay", is_higher_better=False),
    "f_mean": MetricWords("F"),
    "f_recall": MetricWords("F recall"),
    "f_decay": MetricWords("F decay", is_higher_better=False),
    "jf_mean": MetricWords("J&F"),
    "pooled_iou": MetricWords("pooled IoU"),
    "flicker": MetricWords("flicker", is_higher_better=False),
    "tc": MetricWords("TC"),
    "tc_ceiling": MetricWords("TC of the truth"),
    "tc_ratio": MetricWords("TC / truth's"),
    "hota": MetricWords("HOTA"),
    "deta": MetricWords("DetA"),
    "assa": MetricWords("AssA"),
    "mota": MetricWords("MOTA"),
    "motp": MetricWords("MOTP", is_higher_better=False),
    "idf1": MetricWords("IDF1"),
    "idp": MetricWords("IDP"),
    "idr": MetricWords("IDR"),
    "psnr_db": MetricWords("PSNR of mean, dB"),
    "psnr_mean_db": MetricWords("mean PSNR, dB"),
    "ssim_ffmpeg": MetricWords("SSIM (ffmpeg)"),
    "ssim_gaussian": MetricWords("SSIM (gaussian)"),
}


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
    is_higher_better: bool
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
