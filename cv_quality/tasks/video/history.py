"""The history of all builds of video: metrics over builds, any two on the clips that both models were run on."""

from collections.abc import Iterable, Sequence

from cv_quality.builds import own_drops
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.modality import Modality
from cv_quality.reports.history import TaskHistory, Trend
from cv_quality.tasks.history import (
    KeptCounts,
    build_row,
    cell_rates,
    drop_rows,
    grid_of,
    numbers_of,
    pairs_of,
    slice_histories,
)
from cv_quality.tasks.video.clip_scores import WHOLE
from cv_quality.tasks.video.metric_names import HEADLINE, VIDEO_METRICS_BY_NAME
from cv_quality.tasks.video.populations import MISS
from cv_quality.tasks.video.report.wording import is_percentage, title_of, words_of
from cv_quality.tasks.video.tables import CLIP_SCORES, VIDEO_METRICS
from cv_quality.workspace import Workspace

PAIRED = "miss_rate"


def read_history(workspace: Workspace, builds: Sequence[str], modality: Modality) -> TaskHistory:
    """Read the history of builds of video.

    Args:
        workspace: whose lake is read.
        builds: that were measured, the oldest first.
        modality: theirs.
    """
    lake = workspace.lake
    grid = grid_of(workspace, CLIP_SCORES, builds, read_cell)
    drops = sorted({drop for build in builds for drop in own_drops(workspace, build)})
    trends = tuple(trends_of(lake, builds))
    units = {build: rate.denominator for build, rate in trends[0].rates} if trends else {}
    return TaskHistory(
        title="Video",
        unit="clips",
        builds=tuple(build_row(workspace, build, n_units=units.get(build, 0)) for build in builds),
        trends=trends,
        pairs=tuple(pairs_of(grid, builds, metric=PAIRED)),
        paired_rate=title_of(VIDEO_METRICS_BY_NAME[PAIRED]),
        grid=cell_rates(grid),
        slices=tuple(slice_histories(lake, builds, modality, outcome=MISS.name)),
        parity=(),
        drops=drop_rows(lake, drops),
    )


def read_cell(lake: Lake, key: TableKey) -> KeptCounts:
    """Read the frames missed and judged of each clip of one model on one drop."""
    columns = ["stream_id", "metric", "class_name", "numerator", "denominator"]
    rows = lake.read(CLIP_SCORES, key, columns=columns).filter(metric=PAIRED, class_name=WHOLE)
    rows = rows.drop_nulls(["numerator", "denominator"])
    clips = numbers_of(f"{key.drop}/{name}" for name in rows["stream_id"])
    return clips, rows["numerator"].cast(int).to_list(), rows["denominator"].cast(int).to_list()


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
