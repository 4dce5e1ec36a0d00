"""The briefing of a video build: what became of the quality of the picture, and of being in time."""

from collections.abc import Iterable, Mapping, Sequence

from cv_quality.metrics.rates import NO_TRIAL, Rate
from cv_quality.reports.briefing import Briefing, Figure, Point, RateChange
from cv_quality.reports.data_quality import DATA_QUALITY
from cv_quality.reports.rates import Change, RatePair
from cv_quality.reports.section import PageContent, ReportSource
from cv_quality.tasks.briefing import (
    cause_point,
    causes_of,
    headline,
    how_often,
    limits_of,
    next_step,
    open_questions,
    quality_point,
    standing_of,
)
from cv_quality.tasks.release.section import RELEASE
from cv_quality.tasks.video.metric_names import HEADLINE
from cv_quality.tasks.video.report.data import ClipMeasure, MetricRow, VideoNumbers, read_overview
from cv_quality.tasks.video.report.key_finding import leading
from cv_quality.tasks.video.report.sections import DEVICES, NUMBERS, ROOT_CAUSES
from cv_quality.tasks.video.report.wording import change_bounds, is_percentage, moved, shown, title_of
from cv_quality.tasks.video.tables import VIDEO_METRICS

CHANGES_SHOWN = 6
MISSES = "miss_rate"
INTERVAL_TERM = "Made so that it holds the true value in 95 of 100 such studies, counted by clips"


def brief_video(content: PageContent, source: ReportSource) -> Briefing:
    """Brief on a build of video from what the sections of its page read."""
    scope, overview, numbers = source.scope, read_overview(source), content.of(NUMBERS)
    release, causes_read = content.data.get(RELEASE.id), content.of(ROOT_CAUSES).causes
    row, baseline = _first(numbers), numbers.baseline
    limits = limits_of(release)
    changes = tuple(_change(item, source, limits) for item in _chosen(numbers, row))
    standing = standing_of(release, changes[0] if changes else None)
    causes = causes_of(causes_read, source.modality, build=scope.build, failing="below the requirement")
    return Briefing(
        build=scope.build,
        baseline=baseline,
        subject_matter=f"{source.modality.name} processing",
        standing=standing,
        headline=headline(scope.build, baseline, standing, _in_short(row)),
        impact=_impact(row, baseline, changes),
        cause=cause_point(causes_read, causes),
        gain=causes[0].gain if causes else None,
        groups=Point(
            f"{overview.n_devices:,} {'device' if overview.n_devices == 1 else 'devices'} recorded the clips; "
            "how models of device differ is told beside.",
            section=DEVICES.id,
        ),
        quality=quality_point(content.of(DATA_QUALITY)),
        next_step=next_step(scope.build, standing, causes, release),
        changes=changes,
        causes=causes,
        group_lines=(),
        terms={
            **{title_of(item.metric): item.metric.meaning for item in _chosen(numbers, row)},
            "95 % interval": INTERVAL_TERM,
        },
        n_subjects=overview.n_clips,
        n_attempts=overview.n_frames,
        drops=scope.drops,
        sites=overview.sites,
        captured_from=overview.captured_from,
        captured_until=overview.captured_until,
        commands=(f"cvq report {scope.build}", f"cvq release {scope.build}"),
        trials="frames",
        units="clips",
        thin=open_questions(release, causes_read, source.modality),
    )


def _first(numbers: VideoNumbers) -> MetricRow | None:
    """The frames that miss the requirement, which people understand; without one, what the key finding is about."""
    misses = (row for row in numbers.rows if row.name == MISSES and row.build.value is not None)
    return next(misses, leading(numbers))


def _chosen(numbers: VideoNumbers, first: MetricRow | None) -> Sequence[MetricRow]:
    """The metric that the finding is about, and the other headlines that have a value and a direction."""
    known = [
        row
        for row in numbers.rows
        if row.build.value is not None and row.metric.is_higher_better is not None and row.name in HEADLINE
    ]
    return ([first] if first else []) + [row for row in known if row is not first][: CHANGES_SHOWN - 1]


def _change(row: MetricRow, source: ReportSource, limits: Mapping[str, float]) -> RateChange:
    found = row.change.change if row.change else None
    pair = RatePair(
        _as_rate(row.build),
        _as_rate(row.baseline) if row.baseline else None,
        change=Change(found.low, found.high, found.value) if found else None,
    )
    return RateChange(
        title_of(row.metric),
        pair,
        limits.get(row.name),
        tuple(_figures(row, source)),
        is_rate=is_percentage(row.metric),
        unit="" if row.metric.unit in ("share", "count") else row.metric.unit,
        higher_is_better=bool(row.metric.is_higher_better),
    )


def _figures(row: MetricRow, source: ReportSource) -> Iterable[Figure]:
    for model, measure in ((source.scope.build, row.build), (source.scope.baseline, row.baseline)):
        if model is not None and measure is not None and measure.value is not None:
            where: dict[str, object] = {"build_id": source.scope.build, "model_build_id": model, "metric": row.name}
            where |= {"dimension": "all", "level": "all"}
            yield Figure(f"{row.metric.label} of {model}", _as_rate(measure), VIDEO_METRICS.name, where, "value")


def _as_rate(measure: ClipMeasure) -> Rate:
    """A value over clips, which count as its trials."""
    return Rate(
        measure.value,
        0,
        measure.n_clips,
        measure.low,
        measure.high,
        measure.method,
        measure.n_clips,
        measure.reason or (NO_TRIAL.reason if measure.value is None else None),
        None,
    )


def _in_short(row: MetricRow | None) -> str:
    if row is None:
        return "nothing could be measured"
    value = shown(row.metric, row.build.value)
    told = f"{value} of frames are missed" if row.name == MISSES else f"{row.metric.label} is {value}"
    before = row.baseline.value if row.baseline else None
    return told if before is None else f"{told}, {shown(row.metric, before)} before"


def _impact(row: MetricRow | None, baseline: str | None, changes: Sequence[RateChange]) -> Point:
    if row is None:
        return Point("The quality of the picture is not known: nothing could be measured.", section=NUMBERS.id)
    clips = f"over {row.build.n_clips:,} clips"
    value = shown(row.metric, row.build.value)
    text = f"{title_of(row.metric)} ({row.metric.meaning}) is {value} {clips}"
    if row.name == MISSES:
        often = how_often(_as_rate(row.build))
        text = f"Of the frames {often} missed. These are {row.metric.meaning}: {value} {clips}"
    if row.change is not None and row.change.change.value is not None:
        found = row.change.change
        sure = change_bounds(row.metric, found.low, found.high) if found.low is not None else "no interval"
        text += (
            f", {moved(row.metric, found.value)} against {baseline} on the same clips (95 % interval {sure}); "
            f"{row.change.n_regressed:,} clips got worse, {row.change.n_improved:,} better"
        )
    return Point(f"{text}.", changes[0].figures if changes else (), NUMBERS.id)
