"""The history of all builds of verification: rates over builds, any two on the drops that both were run on."""

from collections.abc import Iterable, Mapping, Sequence

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.modality import Modality
from cv_quality.reports.history import TaskHistory, Trend
from cv_quality.reports.rates import read_rate
from cv_quality.tasks.history import (
    KeptCounts,
    build_row,
    cell_rates,
    drop_rows,
    grid_of,
    n_units,
    numbers_of,
    pairs_of,
    slice_histories,
)
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.populations import FRR
from cv_quality.tasks.verification.report.data import point_rate
from cv_quality.tasks.verification.tables import INTERVALS, METRIC_COUNTS, OPERATING_POINTS, PARITY
from cv_quality.workspace import Workspace

TRENDS: Mapping[str, str] = {
    "frr": "Genuine attempts rejected (FRR)",
    "far": "Impostor attempts accepted (FAR)",
    "fta": "Attempts without a usable sample (FTA)",
}
PAIRED = "frr"


def trends_of(lake: Lake, builds: Sequence[str]) -> Iterable[Trend]:
    """Read the rates of each build's own model on its own drops, a trend for each."""
    rows = {
        build: lake.read(INTERVALS, TableKey(build=build)).filter(dimension=WHOLE, model_build_id=build).to_dicts()
        for build in builds
        if lake.has(INTERVALS, TableKey(build=build))
    }
    for metric, name in TRENDS.items():
        own = tuple(
            (build, read_rate(row)) for build, found in rows.items() for row in found if row["metric"] == metric
        )
        if own:
            yield Trend(name, own)
    points = {
        build: lake.read(OPERATING_POINTS, TableKey(build=build)).filter(model_build_id=build).to_dicts()
        for build in rows
        if lake.has(OPERATING_POINTS, TableKey(build=build))
    }
    at_threshold = tuple(
        (build, point_rate(row, "fnmr"))
        for build, found in points.items()
        for row in found
        if row["point"] == "decision_threshold"
    )
    if at_threshold:
        yield Trend("Genuine comparisons rejected at the decision threshold (FNMR)", at_threshold)


def read_cell(lake: Lake, key: TableKey) -> KeptCounts:
    """Read the errors and trials of each subject of one model on one drop."""
    columns = ["metric", "dimension", "subject_id", "numerator", "denominator"]
    rows = lake.read(METRIC_COUNTS, key, columns=columns).filter(metric=PAIRED, dimension=WHOLE)
    return numbers_of(rows["subject_id"]), rows["numerator"].to_list(), rows["denominator"].to_list()


def parity_of(lake: Lake, builds: Sequence[str]) -> Iterable[tuple[str, Rate]]:
    """Read the share of decisions that devices and the lab take otherwise, by build."""
    for build in builds:
        key = TableKey(build=build)
        for row in lake.read(PARITY, key).filter(dimension=WHOLE).to_dicts() if lake.has(PARITY, key) else []:
            yield build, read_rate(row)


def read_history(workspace: Workspace, builds: Sequence[str], modality: Modality) -> TaskHistory:
    """Read the history of builds of one modality.

    Args:
        workspace: whose lake is read.
        builds: that were measured, the oldest first.
        modality: theirs.
    """
    lake, grid = workspace.lake, grid_of(workspace, METRIC_COUNTS, builds, read_cell)
    drops = sorted({drop for cells in grid.values() for drop in cells})
    units = {build: n_units(cells) for build, cells in grid.items()}
    return TaskHistory(
        title=f"{modality.name.capitalize()} verification",
        unit="subjects",
        builds=tuple(build_row(workspace, build, n_units=units.get(build, 0)) for build in builds),
        trends=tuple(trends_of(lake, builds)),
        pairs=tuple(pairs_of(grid, builds, metric=PAIRED)),
        paired_rate=TRENDS[PAIRED],
        grid=cell_rates(grid),
        slices=tuple(slice_histories(lake, builds, modality, outcome=FRR.name)),
        parity=tuple(parity_of(lake, builds)),
        drops=drop_rows(lake, drops),
    )
