"""What a terminal and a page show of an evaluation of clips, as rows of text; the document is `to_dict`."""

import math
from collections.abc import Sequence
from functools import partial

from cv_quality.metrics.video.clips import ClipChange, ClipComparison
from cv_quality.tasks.video.evaluation.results import ALL, METRICS, ClipScore, VideoEvaluation
from cv_quality.text import figures, span

DECIMALS = 6


def clip_rows(clips: Sequence[ClipScore]) -> list[dict[str, object]]:
    """List one row for each clip, and for each class of it where there are several."""
    names = [name for name in METRICS if any(name in clip.values for clip in clips)]
    has_classes = any(clip.class_name != ALL for clip in clips)
    counted = [name for name in ("false_positives", "misses", "switches") if any(name in clip.counts for clip in clips)]
    return [
        {
            "clip": clip.clip,
            **({"class": clip.class_name} if has_classes else {}),
            "frames": clip.n_frames,
            **{METRICS[name].label: _value(clip, name) for name in names},
            **{name.replace("_", " "): clip.counts.get(name) for name in counted},
        }
        for clip in clips
        if clip.n_frames or clip.class_name == ALL
    ]


def _value(clip: "ClipScore", name: str) -> str:
    if name not in clip.values:
        return ""
    value = clip.values[name]
    return published(value)


def published(value: float | None) -> str:
    """Write a value with six decimals, as it is compared with published ones.

    >>> published(24.7927132845), published(0.94302), published(float("inf")), published(None)
    ('24.792713', '0.943020', '∞', 'undefined')
    """
    return figures(value) if value is None or not math.isfinite(value) else f"{value:.{DECIMALS}f}"


def summary_rows(found: VideoEvaluation) -> list[dict[str, object]]:
    """List one row for each metric over clips."""
    has_classes = any(item.class_name != ALL for item in found.summaries)
    return [
        {
            "metric": METRICS[item.metric].label,
            **({"class": item.class_name} if has_classes else {}),
            "value": published(item.value),
            "95 % interval": span(item.low, item.high, words=partial(figures, digits=4))
            if item.low is not None
            else "",
            "clips": item.n_clips,
            "left out": item.n_left_out or None,
            "": item.reason or "",
        }
        for item in found.summaries
    ]


def change_rows(found: VideoEvaluation) -> list[dict[str, object]]:
    """List one row for each metric: its change with its interval, and the clips behind it in both directions."""
    return [
        {
            "metric": METRICS[item.metric].label,
            "change": figures(item.comparison.change.value, digits=4),
            "95 % interval": _between(item.comparison),
            "verdict": item.comparison.verdict,
            "worse": len(item.comparison.regressions),
            "better": len(item.comparison.improvements),
            "worst": _extreme(item.comparison.regressions),
            "best": _extreme(item.comparison.improvements),
        }
        for item in found.changes
    ]


def _between(found: ClipComparison) -> str:
    low, high = found.change.low, found.change.high
    return "" if low is None or high is None else span(low, high, words=partial(figures, digits=4))


def _extreme(changes: Sequence[ClipChange]) -> str:
    first = changes[0] if changes else None
    return "" if first is None else f"{first.clip} {figures(first.baseline)} to {figures(first.candidate)}"
