"""What of each task's builds can be watched, and where its counts come from: this is their only list.

Whoever can be told apart is bet on once: a subject with his attempts, or with his clips. A clip of nobody stands for
the scene that it names, where that has one clip in its drop, so that a scene filmed again is known to return; else for
itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cv_quality.drops.tables import CLIPS
from cv_quality.errors import near
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.stage import Stage, Task
from cv_quality.studies.monitoring import WHOLE
from cv_quality.tasks.verification.build_metrics import BETWEEN_SUBJECTS
from cv_quality.tasks.verification.stages import MEASURE
from cv_quality.tasks.verification.tables import METRIC_COUNTS, METRICS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.tasks.video.build_metrics import BY_CLIP
from cv_quality.tasks.video.metric_names import VIDEO_METRICS_BY_NAME
from cv_quality.tasks.video.stages import SCORE_FRAMES
from cv_quality.tasks.video.tables import CLIP_SCORES, FRAME_SCORES
from cv_quality.tasks.video.task import VIDEO

if TYPE_CHECKING:
    import polars as pl

COUNTED = ("metric", "dimension", "level", "subject_id", "errors", "trials")


@dataclass(frozen=True, slots=True)
class WatchedTask:
    """A task whose builds can be watched.

    Attributes:
        metrics: that can be watched, the usual one first.
        of_device: those that tell of the device that recorded, and of no model that is run again.
        others: why others cannot be watched.
        stage, table: that counts a drop under a model, and its counts.
        counts: errors and trials of everybody in some drops under a model, in the columns COUNTED: of which metrics, at
            which dimensions.
        units: who is bet on, in words.
    """

    task: Task
    metrics: tuple[str, ...]
    stage: Stage
    table: Table
    counts: "Callable[[Lake, str, Sequence[str], Sequence[str], Sequence[str]], pl.DataFrame]"
    units: str = "subjects"
    of_device: frozenset[str] = frozenset()
    others: Mapping[str, str] = field(default_factory=dict)

    def refusal(self, metrics: Sequence[str], *, is_change: bool) -> str:
        """Say why some metrics cannot be watched; empty where they can.

        Args:
            metrics: to be watched.
            is_change: whether the change against a baseline is, too.
        """
        unknown = [metric for metric in metrics if metric not in self.metrics]
        if unknown:
            said = [f"{metric}: {self.others[metric]}" for metric in unknown if metric in self.others]
            why = "; ".join(said) or near(unknown[0], self.metrics)
            return f"{', '.join(unknown)} cannot be watched; {why}; one of {', '.join(self.metrics)}"
        told = [metric for metric in metrics if metric in self.of_device]
        if told and is_change:
            return (
                f"{', '.join(told)}: the device that recorded did that, and no baseline can be asked again; "
                "watch its level by --target"
            )
        return ""


def _attempts(
    lake: Lake, model: str, drops: Sequence[str], metrics: Sequence[str], dimensions: Sequence[str]
) -> "pl.DataFrame":
    """Errors and trials of subjects."""
    import polars as pl

    rows = lake.scan(METRIC_COUNTS, [TableKey(build=model, drop=drop) for drop in drops])
    rows = rows.filter(pl.col("metric").is_in(metrics), pl.col("dimension").is_in(dimensions))
    return rows.select(*COUNTED[:4], errors="numerator", trials="denominator").collect()


def _clips(
    lake: Lake, model: str, drops: Sequence[str], metrics: Sequence[str], dimensions: Sequence[str]
) -> "pl.DataFrame":
    """Frames that failed, and frames, of whoever is filmed."""
    import polars as pl

    clip, keys = ["drop_id", "stream_id"], [TableKey(build=model, drop=drop) for drop in drops]
    scores = lake.scan(CLIP_SCORES, keys).filter(pl.col("metric").is_in(metrics), class_name=WHOLE)
    counts = scores.filter(pl.col("denominator") > 0).select(*clip, "metric", "numerator", "denominator").collect()
    has_one = pl.col("stream_id").count().over("drop_id", "scene") == 1
    scene = pl.when(has_one & pl.col("scene").is_not_null()).then("scene " + pl.col("scene"))
    alone = pl.format("clip {}/{}", *clip)
    filmed = lake.scan(CLIPS, [TableKey(drop=drop) for drop in drops])
    who = filmed.select(*clip, pl.coalesce("subject_id", scene, alone).alias("subject_id")).collect()
    levels = [who.select(*clip, dimension=pl.lit(WHOLE), level=pl.lit(WHOLE))]
    asked = [name for name in BY_CLIP if name in dimensions]
    if asked:
        of_clips = lake.scan(FRAME_SCORES, keys).select(*clip, *asked).unique().collect()
        levels += [
            of_clips.select(*clip, dimension=pl.lit(name), level=pl.col(name)).drop_nulls().unique() for name in asked
        ]
    rows = counts.join(who, on=clip).join(pl.concat(levels), on=clip)
    whole = pl.col("numerator", "denominator").cast(pl.Int64)
    return rows.with_columns(whole).rename({"numerator": "errors", "denominator": "trials"}).select(COUNTED)


_RATES = [
    metric for metric in VIDEO_METRICS_BY_NAME.values() if metric.how == "rate" and metric.is_higher_better is False
]
_NO_SUBJECT = "a rate between two people is no one subject's own"
ATTEMPTS = WatchedTask(
    task=VERIFICATION,
    metrics=("frr", *(metric for metric in METRICS if metric not in {"frr", *BETWEEN_SUBJECTS})),
    stage=MEASURE,
    table=METRIC_COUNTS,
    counts=_attempts,
    others=dict.fromkeys(BETWEEN_SUBJECTS, _NO_SUBJECT),
)
CLIP_RATES = WatchedTask(
    task=VIDEO,
    metrics=tuple(metric.name for metric in _RATES),
    stage=SCORE_FRAMES,
    table=CLIP_SCORES,
    counts=_clips,
    units="subjects or clips",
    of_device=frozenset(metric.name for metric in _RATES if metric.is_of_device),
    others={
        name: "no rate of failing frames" for name in VIDEO_METRICS_BY_NAME if name not in {m.name for m in _RATES}
    },
)
WATCHED: dict[str, WatchedTask] = {watched.task.name: watched for watched in (ATTEMPTS, CLIP_RATES)}
"""Every task whose builds can be watched, by name."""


def watched_tasks(tasks: Sequence[Task]) -> list[Task]:
    """List those of some tasks whose builds can be watched."""
    return [task for task in tasks if task.name in WATCHED]
