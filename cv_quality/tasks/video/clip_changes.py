"""A build against its baseline, paired by clip: both models on the same clips, or devices that filmed the same scenes.

What a device did, such as its latency and its tracks, no model run again can tell: there each build's own clips are
paired by the scene that they name, where both builds filmed it once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.metrics.video.clips import ClipComparison, compare_clips
from cv_quality.tasks.video.clip_scores import WHOLE, finite
from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME, VideoMetric

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, object]
TOLERANCE = 1e-12
"""Changes up to it are rounding."""
NO_PAIR = (
    "insufficient: no clip under both builds; where devices recorded, clips are paired by a scene that each has once"
)


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A build that is compared.

    Attributes:
        baseline: with which one.
        scores, clips: the build's own, with `clip_key`.
    """

    baseline: str
    scores: "pl.DataFrame"
    clips: "pl.DataFrame"


def change_rows(
    own: Compared,
    *,
    same_clips: "pl.DataFrame | None",
    other_clips: "tuple[pl.DataFrame, pl.DataFrame] | None",
) -> tuple[list[Row], list[Row]]:
    """Compare every metric that has a direction; returns rows of `video_changes` and of `clip_changes`.

    Args:
        own: the build.
        same_clips: scores of the baseline's model on the same clips; None where devices recorded both builds.
        other_clips: scores and clips of the baseline's own drops; None where it has none.
    """
    changes: list[Row] = []
    by_clip: list[Row] = []
    names = {str(row["clip_key"]): row for row in own.clips.iter_rows(named=True)}
    scenes = _scenes(own.clips)
    for metric in VIDEO_METRICS_BY_NAME.values():
        candidate = _values(own.scores, metric)
        if metric.is_higher_better is None or not candidate:
            continue
        if metric.is_of_device or same_clips is None:
            if other_clips is None:
                continue
            before, clip_of = _by_scene(_values(other_clips[0], metric), _scenes(other_clips[1])), _reversed(scenes)
            candidate = _by_scene(candidate, scenes)
        else:
            before, clip_of = _values(same_clips, metric), {name: name for name in candidate}
        head: Row = {"baseline_build_id": own.baseline, "metric": metric.name}
        if not before.keys() & candidate.keys():
            changes.append(head | _nothing(metric, n_left_out=len(before.keys() | candidate.keys())))
            continue
        found = compare_clips(before, candidate, tolerance=TOLERANCE, is_higher_better=metric.is_higher_better)
        changes.append(head | _change(metric, found))
        for name in sorted(before.keys() & candidate.keys()):
            one, other = before[name], candidate[name]
            if one is not None and other is not None:
                clip = names[clip_of[name]]
                place: Row = {"drop_id": clip["drop_id"], "stream_id": clip["stream_id"]}
                by_clip.append(head | place | {"baseline": one, "candidate": other, "change": other - one})
    return changes, by_clip


def _values(scores: "pl.DataFrame", metric: VideoMetric) -> dict[str, float | None]:
    rows = scores.filter(metric=metric.name, class_name=WHOLE)
    return dict(rows.select("clip_key", "value").iter_rows())


def _scenes(clips: "pl.DataFrame") -> dict[str, str]:
    """The scene of each clip whose scene no other clip of the build has."""
    rows = clips.drop_nulls("scene")
    rows = rows.filter(rows["scene"].is_duplicated().not_())
    return dict(rows.select("clip_key", "scene").iter_rows())


def _by_scene(values: Mapping[str, float | None], scenes: Mapping[str, str]) -> dict[str, float | None]:
    return {scenes[clip]: value for clip, value in values.items() if clip in scenes}


def _reversed(scenes: Mapping[str, str]) -> dict[str, str]:
    return {scene: clip for clip, scene in scenes.items()}


def _change(metric: VideoMetric, found: ClipComparison) -> Row:
    change = found.change
    return {
        "is_higher_better": metric.is_higher_better,
        "value": finite(change.value),
        "low": finite(change.low),
        "high": finite(change.high),
        "n_clips": change.n_clips,
        "n_left_out": len(found.unpaired) + len(found.undefined),
        "method": change.method,
        "reason": change.reason,
        "n_improved": len(found.improvements),
        "n_regressed": len(found.regressions),
        "verdict": found.verdict,
    }


def _nothing(metric: VideoMetric, *, n_left_out: int) -> Row:
    return {
        "is_higher_better": metric.is_higher_better,
        "n_clips": 0,
        "n_left_out": n_left_out,
        "reason": NO_PAIR,
        "n_improved": 0,
        "n_regressed": 0,
        "verdict": "insufficient",
    }
