"""The key finding on top of a video build's page: what changed, by how much, how sure that is, and where frames fail.

Only words are made here, from records of `cv_quality.tasks.video.report.data`.
"""

import re

from cv_quality.metrics.results import percent
from cv_quality.reports.key_finding import KeyFinding
from cv_quality.tasks.root_causes.report.records import SliceView
from cv_quality.tasks.video.metric_names import HEADLINE
from cv_quality.tasks.video.modality import CONDITIONS, MEASURED
from cv_quality.tasks.video.report.data import ClipMeasure, MetricRow, VideoNumbers
from cv_quality.tasks.video.report.wording import bounds, change_bounds, moved, shown, title_of

LEADING = ("j", "hota", "nme", "ssim", "depth_delta1", "box_f1", "miou", "loss", "display_loss", "deadline_misses")
"""The metric that the finding is about: the first of these with a change, or without a baseline with a value."""
NO_SLICE = "No group of frames is confirmed to fail more than the rest."


def find_video_change(numbers: VideoNumbers, *, first_slice: SliceView | None, was_searched: bool) -> KeyFinding:
    """Say what became of the quality since the baseline, and where frames fail most.

    Args:
        numbers: of the build.
        first_slice: the first confirmed slice of frames; None without one.
        was_searched: whether slices were looked for.
    """
    row = leading(numbers)
    if row is None:
        reason = next((item.build.reason for item in numbers.rows if item.build.reason), "nothing was measured")
        return KeyFinding(f"The data do not suffice for a statement: {reason}.", "unknown")
    where = f" {NO_SLICE}" if was_searched else ""
    if first_slice is not None:
        rest = first_slice.rest_rate
        against = f", against {percent(rest)} of the rest" if rest is not None else ""
        rate = percent(first_slice.rate.value)
        where = f" Frames fail most where {_told(first_slice.condition)}: {rate} of them{against}."
    if row.change is None or numbers.baseline is None:
        value = f"{title_of(row.metric)} is {_with_interval(row, row.build)}"
        return KeyFinding(f"{value}; there is no baseline build to compare with.{where}", "unknown")
    return KeyFinding(f"{_change(row, numbers.baseline)}{_others(numbers, row)}{where}", row.change.direction)


def _told(condition: str) -> str:
    """Write a slice with what its columns are called.

    >>> _told("object_motion_share > 0.01")
    'motion of objects, of the diagonal a frame > 0.01'
    """
    for item in (*CONDITIONS, *MEASURED):
        condition = re.sub(rf"\b{item.name}\b", item.label, condition)
    return condition


def leading(numbers: VideoNumbers) -> MetricRow | None:
    """Choose the metric that the finding is about."""
    by_name = {row.name: row for row in numbers.rows}
    own = [by_name[name] for name in LEADING if name in by_name]
    changed = (row for row in own if row.change and row.change.change.value is not None)
    return next(changed, next((row for row in own if row.build.value is not None), None))


def _change(row: MetricRow, baseline: str) -> str:
    assert row.change is not None
    found, metric = row.change.change, row.metric
    name = title_of(metric)
    clips = f"{row.change.n_regressed:,} got worse, {row.change.n_improved:,} better"
    by = moved(metric, found.value)
    mean = f"{by} on average over {found.n_clips:,} {'clip' if found.n_clips == 1 else 'clips'}"
    sure = _bounds(row, found)
    if row.change.verdict in ("improved", "regressed"):
        return f"{name} {row.change.verdict} against {baseline}: {mean} ({sure}); {clips}."
    if row.change.verdict == "not settled":
        return f"Whether {metric.label} changed against {baseline} is not settled: {mean} ({sure}); {clips}."
    reason = found.reason or "no interval"
    return f"{name} moved against {baseline} by {mean}, which chance may explain ({reason}); {clips}."


def _others(numbers: VideoNumbers, leader: MetricRow) -> str:
    """What else among the headlines is settled."""
    kept = [
        row for row in numbers.rows if row.name in HEADLINE and row.name not in (leader.name, "loss") and row.change
    ]
    parts = []
    for verdict in ("regressed", "improved"):
        names = [row.metric.label for row in kept if row.change and row.change.verdict == verdict]
        if names:
            parts.append(f"{verdict}: {', '.join(names)}")
    return f" Also {'; '.join(parts)}." if parts else ""


def _with_interval(row: MetricRow, found: ClipMeasure) -> str:
    clips = f"over {found.n_clips:,} {'clip' if found.n_clips == 1 else 'clips'}"
    return f"{shown(row.metric, found.value)} {clips} ({_bounds(row, found, is_change=False)})"


def _bounds(row: MetricRow, found: ClipMeasure, *, is_change: bool = True) -> str:
    if found.low is None or found.high is None:
        return found.reason or "no interval"

    return f"95 % interval {(change_bounds if is_change else bounds)(row.metric, found.low, found.high)}"
