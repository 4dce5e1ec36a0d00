"""The metrics of video: what each is, which way it is better, and how the values of clips become one of a build.

`clip_scores`, `video_metrics` and `video_changes` write these names. Their formulas are in `cv_quality.metrics.video`.
"""

import math
from dataclasses import dataclass
from typing import Literal

Topic = Literal["quality", "stability", "tracks", "time", "display"]
How = Literal["mean", "rate", "tracks", "percentile", "slope"]
"""How clips become one value.

- mean: of the clips' values, each clip counting once.
- rate: the clips' numerators over their denominators.
- tracks: sums of counts before any ratio.
- percentile: of the frames of all clips, by clip.
- slope: sums of products over the clips before the ratio.
"""
Unit = Literal["share", "ms", "px", "mm", "dB", "count", "fps/min", "fps/°C"]


@dataclass(frozen=True, slots=True)
class VideoMetric:
    """One metric.

    Attributes:
        name: as tables write it.
        label: for people.
        meaning: one line for people.
        topic: which group of a report it belongs to.
        unit: of the value; a share lies within 0 and 1.
        is_higher_better: None of what is neither good nor bad.
        how: how clips become one value.
        frame: the column of `frame_scores` whose mean over frames it is; such metrics are broken down by conditions.
        is_of_device: whether it tells of the device that recorded the clip, and of no model that was run again.
    """

    name: str
    label: str
    meaning: str
    topic: Topic
    unit: Unit
    is_higher_better: bool | None
    how: How = "mean"
    frame: str | None = None
    is_of_device: bool = False

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value possible."""
        if self.name in ("j_decay", "f_decay", "display_lateness"):
            return -1.0, 1.0
        if self.unit == "share" and self.name not in ("mota", "nme", "ssim", "tc_ratio", *_UNBOUNDED_DEPTH):
            return 0.0, 1.0
        return (-math.inf if self.name in _SIGNED else 0.0), math.inf


_UNBOUNDED_DEPTH = ("depth_abs_rel", "depth_abs_rel_scaled")
_SIGNED = ("mota", "ssim", "psnr_db", "psnr_of_mean_db", "rate_per_minute", "rate_per_degree")


def _quality(
    name: str, label: str, meaning: str, *, higher: bool, unit: Unit = "share", frame: bool = True
) -> VideoMetric:
    return VideoMetric(name, label, meaning, "quality", unit, higher, frame=name if frame else None)


def _tracks(name: str, label: str, meaning: str, *, how: How = "mean") -> VideoMetric:
    return VideoMetric(name, label, meaning, "tracks", "share", is_higher_better=True, how=how, is_of_device=True)


def _time(name: str, label: str, meaning: str, unit: Unit, how: How, *, frame: str | None = None) -> VideoMetric:
    return VideoMetric(name, label, meaning, "time", unit, how == "slope", how, frame, is_of_device=True)


_ALL = (
    _quality("loss", "loss", "1 - J, 1 - F1, NME, 1 - delta1 or 1 - SSIM of a frame, mean over frames", higher=False),
    VideoMetric(
        "miss_rate",
        "frames missed",
        "frames whose quality is below the requirement, or that have a picture and no output, of those with a truth",
        "quality",
        "share",
        is_higher_better=False,
        how="rate",
        frame="is_miss",
    ),
    VideoMetric(
        "no_output",
        "frames without output",
        "frames with a truth for which there is no output, of those with a truth",
        "quality",
        "share",
        is_higher_better=False,
        how="rate",
    ),
    _quality("j", "J", "region IoU, mean over the classes or objects of a frame, then over frames", higher=True),
    _quality("f", "F", "boundary F, mean over the classes or objects of a frame, then over frames", higher=True),
    _quality("jf", "J&F", "mean of J and F", higher=True, frame=False),
    _quality("miou", "mIoU", "IoU pooled over the clip, mean over its classes", higher=True, frame=False),
    _quality("j_recall", "J recall", "frames with J above .5, mean over classes (DAVIS)", higher=True, frame=False),
    _quality(
        "j_decay", "J decay", "J of the first quarter less the last, mean over classes", higher=False, frame=False
    ),
    _quality("f_recall", "F recall", "frames with F above .5, mean over classes (DAVIS)", higher=True, frame=False),
    _quality(
        "f_decay", "F decay", "F of the first quarter less the last, mean over classes", higher=False, frame=False
    ),
    VideoMetric(
        "unmapped_pixels",
        "pixels beyond the class map",
        "pixels of the truth whose label is in no class, ignored, of all pixels of the truth",
        "quality",
        "share",
        is_higher_better=None,
        how="rate",
    ),
    VideoMetric(
        "box_f1",
        "box F1",
        "boxes matched at IoU .5, mean over frames",
        "quality",
        "share",
        is_higher_better=True,
        frame="box_f1",
        is_of_device=True,
    ),
    VideoMetric(
        "duplicate_tracks",
        "frames with a track twice",
        "frames in which a track has two boxes, left out of all scores of boxes, of all frames",
        "tracks",
        "share",
        is_higher_better=None,
        how="rate",
        is_of_device=True,
    ),
    _quality("nme", "NME", "error of landmarks by the interocular distance, mean over frames", higher=False),
    _quality("psnr_db", "PSNR, mean of dB", "luma against the reference, mean over frames", higher=True, unit="dB"),
    _quality(
        "psnr_of_mean_db",
        "PSNR, dB of mean",
        "of the mean squared error of the clip",
        higher=True,
        unit="dB",
        frame=False,
    ),
    _quality("ssim", "SSIM (gaussian)", "luma against the reference, gaussian window, mean over frames", higher=True),
    _quality("depth_abs_rel", "depth AbsRel", "mean |d - t| / t of metric depth, mean over frames", higher=False),
    _quality("depth_delta1", "depth delta1", "pixels within 25 % of the true depth, mean over frames", higher=True),
    _quality(
        "depth_rmse_mm", "depth RMSE", "root mean square error, mean over frames", higher=False, unit="mm", frame=False
    ),
    _quality(
        "depth_abs_rel_scaled",
        "depth AbsRel, scaled",
        "the same after each frame is scaled by its median: depth without a scale",
        higher=False,
        frame=False,
    ),
    VideoMetric(
        "tc",
        "temporal consistency",
        "output warped from the frame before against this one, IoU pooled over the clip, mean over classes",
        "stability",
        "share",
        is_higher_better=True,
    ),
    VideoMetric(
        "tc_ceiling",
        "TC of the truth",
        "the same of the truth: what the flow lets a perfect output reach",
        "stability",
        "share",
        is_higher_better=None,
    ),
    VideoMetric(
        "tc_ratio",
        "TC by its ceiling",
        "temporal consistency by that of the truth; above 1 the output is steadier than the truth, as one that lags is",
        "stability",
        "share",
        is_higher_better=None,
    ),
    VideoMetric(
        "flicker",
        "flicker",
        "pixels whose correctness changes from frame to frame, of the valid ones",
        "stability",
        "share",
        is_higher_better=False,
    ),
    VideoMetric(
        "jitter_px", "jitter", "rms of the second difference of landmarks", "stability", "px", is_higher_better=False
    ),
    VideoMetric(
        "jitter_error_px",
        "jitter of the error",
        "the same of landmarks less the truth: motion of the scene is left out",
        "stability",
        "px",
        is_higher_better=False,
    ),
    _tracks("hota", "HOTA", "higher-order tracking accuracy, mean over overlaps .05 to .95", how="tracks"),
    _tracks("mota", "MOTA", "1 - (false positives + misses + switches) / true objects, at overlap .5", how="tracks"),
    _tracks("idf1", "IDF1", "F1 of identities at overlap .5", how="tracks"),
    _tracks("deta", "DetA", "detection part of HOTA"),
    _tracks("assa", "AssA", "association part of HOTA"),
    VideoMetric(
        "id_switches",
        "identity switches",
        "matches to another track than the object's last one, a clip",
        "tracks",
        "count",
        is_higher_better=False,
        is_of_device=True,
    ),
    _time("latency_p50_ms", "latency p50", "capture to result; a dropped frame is infinite", "ms", "percentile"),
    _time("latency_p95_ms", "latency p95", "capture to result; a dropped frame is infinite", "ms", "percentile"),
    _time("latency_p99_ms", "latency p99", "capture to result; a dropped frame is infinite", "ms", "percentile"),
    _time("deadline_misses", "deadline misses", "late or dropped, of frames due", "share", "rate", frame="is_late"),
    _time("late", "late", "results after the deadline, of frames due", "share", "rate"),
    _time("dropped", "dropped", "frames without a result or a log line, of frames due", "share", "rate"),
    _time("duplicated", "duplicated", "further log lines of a frame, of all lines", "share", "rate"),
    _time("untimed", "untimed", "log lines whose times are missing or contradict each other", "share", "rate"),
    _time("jank", "jank", "results on for longer than 2 periods, of all", "share", "rate"),
    _time("freezes", "freezes", "results on for longer than 3 periods, of all", "share", "rate"),
    _time("frozen_ms", "frozen", "sum of the freezes of a clip", "ms", "mean"),
    _time("rate_per_minute", "rate drift", "change of the rate of results with time", "fps/min", "slope"),
    _time("rate_per_degree", "rate over heat", "change of the rate of results with temperature", "fps/°C", "slope"),
    VideoMetric(
        "display_loss",
        "loss on the screen",
        "what was shown at each refresh against the truth of that moment: algorithm + lateness",
        "display",
        "share",
        is_higher_better=False,
    ),
    VideoMetric(
        "display_algorithm",
        "of it, algorithm",
        "the loss without any latency",
        "display",
        "share",
        is_higher_better=False,
    ),
    VideoMetric(
        "display_lateness",
        "of it, lateness",
        "what holding older results adds",
        "display",
        "share",
        is_higher_better=False,
    ),
    VideoMetric(
        "display_held",
        "refreshes held",
        "refreshes that show an older frame than that of the moment",
        "display",
        "share",
        is_higher_better=False,
        how="rate",
        is_of_device=True,
    ),
    VideoMetric(
        "display_hota",
        "HOTA on the screen",
        "HOTA of the objects shown at each refresh",
        "display",
        "share",
        is_higher_better=True,
        is_of_device=True,
    ),
)
VIDEO_METRICS_BY_NAME: dict[str, VideoMetric] = {metric.name: metric for metric in _ALL}
"""Every metric, in the order of a report."""
HEADLINE = (
    "loss",
    "miss_rate",
    "j",
    "f",
    "miou",
    "tc",
    "flicker",
    "hota",
    "nme",
    "ssim",
    "deadline_misses",
    "display_loss",
)
"""What a summary names, as far as there is any of it."""
