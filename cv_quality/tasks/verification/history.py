"""The history of all builds of verification: rates over builds, any two on the drops that both were run on."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.modality import Modality
from cv_quality.reports.history import PairRow, TaskHistory, Trend
from cv_quality.reports.rates import Change, Direction, read_rate
from cv_quality.studies.comparison import compare_rates
from cv_quality.tasks.history import build_row, drop_rows, slice_histories
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.populations import FRR
from cv_quality.tasks.verification.report.data import point_rate
from cv_quality.tasks.verification.tables import INTERVALS, METRIC_COUNTS, OPERATING_POINTS, PARITY
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

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


def grid_of(lake: Lake, builds: Sequence[str]) -> dict[str, dict[str, "pl.DataFrame"]]:
    """Read the counts by subject of every model on every drop, backfilled cells too."""
    found: dict[str, dict[str, pl.DataFrame]] = {}
    for key in lake.keys(METRIC_COUNTS):
        if key.build not in builds:
            continue
        rows = lake.read(METRIC_COUNTS, key).filter(metric=PAIRED, dimension=WHOLE)
        found.setdefault(str(key.build), {})[str(key.drop)] = rows.select("subject_id", "numerator", "denominator")
    return found


def cell_rates(grid: Mapping[str, Mapping[str, "pl.DataFrame"]]) -> dict[str, dict[str, Rate]]:
    """Estimate the rate of every cell of the grid."""
    return {model: {drop: _rate([rows]) for drop, rows in cells.items()} for model, cells in grid.items()}


def pairs_of(grid: Mapping[str, Mapping[str, "pl.DataFrame"]], builds: Sequence[str]) -> Iterable[PairRow]:
    """Compare any two builds on the drops that both models were run on.

    Args:
        grid: as `grid_of` reads it.
        builds: the oldest first.
    """
    for before, after in combinations([build for build in builds if build in grid], 2):
        common = sorted(grid[before].keys() & grid[after].keys())
        if common:
            one, other = ([grid[build][drop] for drop in common] for build in (before, after))
            yield PairRow(before, after, len(common), _rate(one), _rate(other), _direction(one, other))


def _rate(parts: Sequence["pl.DataFrame"]) -> Rate:
    rows = _by_subject(parts)
    return clustered_rate(rows["numerator"], rows["denominator"])


def _by_subject(parts: Sequence["pl.DataFrame"]) -> "pl.DataFrame":
    import polars as pl

    return pl.concat(parts).group_by("subject_id").agg(pl.col("numerator", "denominator").sum()).sort("subject_id")


def _direction(before: Sequence["pl.DataFrame"], after: Sequence["pl.DataFrame"]) -> Direction:
    """Worse or better where the 95 % interval of the paired difference excludes 0."""
    rows = _by_subject(before).join(_by_subject(after), on="subject_id", how="full", suffix="_after", coalesce=True)
    counted = rows.fill_null(0)
    one, other = (
        (counted[f"numerator{suffix}"].to_numpy(), counted[f"denominator{suffix}"].to_numpy())
        for suffix in ("", "_after")
    )
    found = compare_rates(PAIRED, one, other)
    return Change(found.low, found.high).direction


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
    lake, grid = workspace.lake, grid_of(workspace.lake, builds)
    drops = sorted({drop for cells in grid.values() for drop in cells})
    units = {build: sum_of_subjects(cells) for build, cells in grid.items()}
    return TaskHistory(
        title=f"{modality.name.capitalize()} verification",
        unit="subjects",
        builds=tuple(build_row(workspace, build, n_units=units.get(build, 0)) for build in builds),
        trends=tuple(trends_of(lake, builds)),
        pairs=tuple(pairs_of(grid, builds)),
        paired_rate=TRENDS[PAIRED],
        grid=cell_rates(grid),
        slices=tuple(slice_histories(lake, builds, modality, outcome=FRR.name)),
        parity=tuple(parity_of(lake, builds)),
        drops=drop_rows(lake, drops),
    )


def sum_of_subjects(cells: Mapping[str, "pl.DataFrame"]) -> int:
    """Count the subjects of all drops of a model."""
    return _by_subject(list(cells.values())).height
