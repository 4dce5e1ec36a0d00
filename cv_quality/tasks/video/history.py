"""The history of all builds of video: metrics over builds. Two builds are compared by `cvq compare`, clip by clip."""

from collections.abc import Iterable, Sequence

from cv_quality.builds import own_drops
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.modality import Modality
from cv_quality.reports.history import TaskHistory, Trend
from cv_quality.tasks.history import build_row, drop_rows, slice_histories
from cv_quality.tasks.video.metric_names import HEADLINE
from cv_quality.tasks.video.populations import MISS
from cv_quality.tasks.video.report.wording import is_percentage, title_of, words_of
from cv_quality.tasks.video.tables import VIDEO_METRICS
from cv_quality.workspace import Workspace


def read_history(workspace: Workspace, builds: Sequence[str], modality: Modality) -> TaskHistory:
    """Read the history of builds of video.

    Args:
        workspace: whose lake is read.
        builds: that were measured, the oldest first.
        modality: theirs.
    """
    lake = workspace.lake
    drops = sorted({drop for build in builds for drop in own_drops(workspace, build)})
    trends = tuple(trends_of(lake, builds))
    units = {build: rate.denominator for build, rate in trends[0].rates} if trends else {}
    return TaskHistory(
        title="Video",
        unit="clips",
        builds=tuple(build_row(workspace, build, n_units=units.get(build, 0)) for build in builds),
        trends=trends,
        pairs=(),
        paired_rate="",
        grid={},
        slices=tuple(slice_histories(lake, builds, modality, outcome=MISS.name)),
        parity=(),
        drops=drop_rows(lake, drops),
    )


def trends_of(lake: Lake, builds: Sequence[str]) -> Iterable[Trend]:
    """Read the headline metrics of each build's own model, a trend for each."""
    found: dict[str, list[tuple[str, Rate]]] = {name: [] for name in HEADLINE}
    for build in builds:
        key = TableKey(build=build)
        if not lake.has(VIDEO_METRICS, key):
            continue
        for row in lake.read(VIDEO_METRICS, key).filter(model_build_id=build, dimension="all").to_dicts():
            if row["metric"] in found and row["value"] is not None:
                rate = Rate(
                    row["value"], 0, row["n_clips"], row["low"], row["high"], row["method"], row["n_clips"], None, None
                )
                found[row["metric"]].append((build, rate))
    for name, rates in found.items():
        if rates:
            metric = words_of(name)
            yield Trend(title_of(metric), tuple(rates), is_rate=is_percentage(metric))
