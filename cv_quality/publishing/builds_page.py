"""The page over all builds: verdicts, trends, any two builds on common drops, causes over builds, and editions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.builds import own_drops
from cv_quality.errors import GateFailed, PublishingError, StageError
from cv_quality.lake.store import Store
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.publishing.regressions import Regression, hold_against, published_causes
from cv_quality.reports.drawing import (
    BUILD_INK,
    Chart,
    Row,
    columns,
    number_axis,
    over,
    rate_row,
    specification,
    tips,
)
from cv_quality.reports.history import TaskHistory, Trend
from cv_quality.reports.provenance import Provenance, package_version
from cv_quality.reports.rendering import number, write_page
from cv_quality.stage import Task
from cv_quality.tasks import TASKS
from cv_quality.tasks.history import day_of
from cv_quality.tasks.release.tables import RELEASE_VERDICTS
from cv_quality.tasks.root_causes.tables import SLICE_SEARCHES
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from cv_quality.publishing.publish import Publication

TREND_HEIGHT_PX = 150


@dataclass(frozen=True, slots=True)
class NewestBuild:
    """The newest build of a modality, held against the causes that were published of the others.

    Attributes:
        reason: why it could not be; empty where it was.
    """

    build: str
    regressions: tuple[Regression, ...] = ()
    reason: str = ""


def write_builds_page(workspace: Workspace, store: Store, editions: "Sequence[Publication]", target: Path) -> None:
    """Write the page over all builds to `target`, at once or not at all.

    Args:
        workspace: whose lake is read.
        store: where editions lie.
        editions: that were published, to which the page links.
        target: the file.
    """
    histories = read_histories(workspace)
    charts = {chart.id: chart for place, history in enumerate(histories) for chart in trend_charts(history, place)}
    newest = max((row.day for history in histories for row in history.builds if row.day), default="1970-01-01")
    write_page(
        "publishing/templates/builds.html",
        target,
        histories=histories,
        charts=charts,
        editions=editions,
        newest=[newest_build(workspace, store, editions, history.builds[-1].build) for history in histories],
        rate_text=rate_text,
        provenance=Provenance("cvq publish", package_version(), datetime.fromisoformat(newest).replace(tzinfo=UTC), ()),
    )


def read_histories(workspace: Workspace, tasks: Sequence[Task] = TASKS) -> tuple[TaskHistory, ...]:
    """Read the history of every modality of which builds were judged, the oldest build first.

    Args:
        workspace, tasks: whose builds they are.
    """
    histories = []
    for task in tasks:
        judged = _measured(workspace, task)
        for modality in task.modalities:
            own = judged.get(modality.name, ())
            builds = sorted(own, key=lambda build: (day_of(workspace.lake, own_drops(workspace, build)), build))
            if builds and task.history is not None:
                histories.append(task.history(workspace, builds, modality))
    return tuple(histories)


def _measured(workspace: Workspace, task: Task) -> dict[str, list[str]]:
    """The builds of a task by modality: those that were judged, or where it has no release stage, searched."""
    found: dict[str, list[str]] = {}
    for key in workspace.lake.keys(RELEASE_VERDICTS if RELEASE_VERDICTS.name in task.writers else SLICE_SEARCHES):
        entry = workspace.registry.entry(str(key.build))
        if entry.task == task.name:
            found.setdefault(entry.modality, []).append(entry.build_id)
    return found


def newest_build(workspace: Workspace, store: Store, editions: "Sequence[Publication]", build: str) -> NewestBuild:
    """Hold a build against the causes that were published of others; a list that is none does not end the page.

    Args:
        workspace: whose lake is read.
        store, editions: where editions lie, and which there are.
        build: the newest of its modality.
    """
    entry = workspace.registry.entry(build)
    (task,) = (task for task in TASKS if task.name == entry.task)
    try:
        lists = published_causes(store, editions, entry.modality)
        return NewestBuild(build, hold_against(workspace, task, build, lists))
    except (GateFailed, PublishingError, StageError) as error:
        return NewestBuild(build, reason=str(error))


def trend_charts(history: TaskHistory, place: int) -> Iterable[Chart]:
    """Draw each rate over builds with its interval.

    Args:
        history: whose trends they are.
        place: of the history on the page, for the charts' ids.
    """
    for number_of_trend, trend in enumerate(history.trends):
        yield trend_chart(trend, id=f"trend-{place}-{number_of_trend}")


def trend_chart(trend: Trend, *, id: str) -> Chart:
    """Draw one rate over builds with its interval; an undefined one leaves a gap."""
    import altair as alt

    words = percent if trend.is_rate else number
    rows: list[Row] = [rate_row(rate) | {"build": build, "shown": words(rate.value)} for build, rate in trend.rates]
    order = [build for build, _ in trend.rates]
    x = alt.X("build:N", sort=order, title=None, axis=alt.Axis(labelAngle=0, labelLimit=140))
    axis = number_axis(columns(rows, "low", "high", "value"), words=words)
    y = alt.Y("value:Q", title=None, axis=axis, scale=alt.Scale(zero=trend.is_rate))
    tip = tips({"build": "build", "shown": "value", "interval": "95 % interval", "counts": "counts"})
    base = over(rows).encode(x=x)
    bars = base.mark_rule(strokeWidth=2, color=BUILD_INK).encode(y=alt.Y("low:Q", axis=axis, title=None), y2="high:Q")
    line = base.mark_line(color=BUILD_INK, strokeWidth=1, opacity=0.5).encode(y=y)
    dots = base.mark_point(filled=True, size=70, opacity=1, color=BUILD_INK).encode(y=y, tooltip=tip)
    values = "; ".join(f"{build}: {words(rate.value)}" for build, rate in trend.rates)
    alt_text = f"{trend.name} over builds, with 95 % intervals. {values}."
    return Chart(id, trend.name, alt_text, specification(bars + line + dots, height=TREND_HEIGHT_PX, alt_text=alt_text))


def rate_text(rate: Rate | None) -> str:
    """Write a rate with its counts; words where there is none."""
    if rate is None:
        return "not run"
    if rate.value is None:
        return f"undefined: {rate.reason or 'no trial'}"
    return f"{percent(rate.value)} ({rate.numerator:,} / {rate.denominator:,})"
