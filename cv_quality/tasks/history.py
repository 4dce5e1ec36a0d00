"""The history of all builds of a task, as far as every task has it: verdicts, slices, drops, and any two builds."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cv_quality.builds import own_drops
from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import Lake, Survey, TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.modality import Modality
from cv_quality.reports.data_quality import DropRows, read_drop_rows
from cv_quality.reports.history import BuildRow, PairRow, SliceHistory
from cv_quality.reports.rates import Change, Direction, read_rate
from cv_quality.studies.comparison import compare_rates
from cv_quality.tasks.briefing import slice_words
from cv_quality.tasks.release.tables import OVERALL, RELEASE_VERDICTS
from cv_quality.tasks.root_causes.slices import read_confirmed
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES, SLICE_TRENDS
from cv_quality.workspace import Workspace

KeptCounts = tuple[list[int], list[int], list[int]]
"""Units, as numbers, with the errors and the trials of each."""
NOT_JUDGED = "not judged"
"""The verdict on a build of a task that asks no release policy."""


def build_row(workspace: Workspace, build: str, *, n_units: int) -> BuildRow:
    """Put a build in a line.

    Args:
        workspace, build: read from, of the build.
        n_units: what it was measured on.
    """
    drops, (verdict, reason) = own_drops(workspace, build), _verdict(workspace.lake, TableKey(build=build))
    return BuildRow(
        build=build,
        follows=workspace.registry.entry(build).follows,
        day=day_of(workspace.lake, drops),
        n_drops=len(drops),
        n_units=n_units,
        verdict=verdict,
        reason=reason,
    )


def _verdict(lake: Lake, key: TableKey) -> tuple[str, str]:
    """The verdict of the release policy on a build, and why; a task without a release stage has none."""
    if not lake.has(RELEASE_VERDICTS, key):
        return NOT_JUDGED, "no release policy was asked"
    (row,) = lake.read(RELEASE_VERDICTS, key).filter(requirement=OVERALL).to_dicts()
    return row["verdict"], row["reason"]


def day_of(lake: Lake, drops: Iterable[str]) -> str:
    """Tell the day of the newest data of drops; empty without any."""
    import polars as pl

    keys = [TableKey(drop=drop) for drop in drops]
    newest = lake.scan(DROP_FILES, keys).select(pl.col("captured_until").max()).collect().item()
    return f"{newest:%Y-%m-%d}" if newest else ""


def slice_histories(lake: Lake, builds: Iterable[str], modality: Modality, *, outcome: str) -> Iterable[SliceHistory]:
    """Read the confirmed slices of all builds with their rates over builds, the oldest first.

    Args:
        lake, builds: read from, of these builds.
        modality: what columns are called.
        outcome: that was sought.
    """
    for build in builds:
        key = TableKey(build=build)
        if not (lake.has(FAILURE_SLICES, key) and lake.has(SLICE_TRENDS, key)):
            continue
        trends = lake.read(SLICE_TRENDS, key).filter(outcome=outcome)
        for rank, where, _ in read_confirmed(lake, build, outcome):
            own = [(item["trend_build_id"], read_rate(item)) for item in trends.filter(rank=rank).to_dicts()]
            yield SliceHistory(build, slice_words(where, modality), tuple(reversed(own)))


def drop_rows(lake: Lake, drops: Iterable[str]) -> tuple[DropRows, ...]:
    """Read what each drop brought."""
    return tuple(read_drop_rows(lake, TableKey(drop=drop)) for drop in drops)


@dataclass(frozen=True, slots=True, eq=False)
class CellCounts:
    """Errors and trials of the units (subjects, clips) of one model on one drop.

    Attributes:
        units: a number for each, the same in every cell.
    """

    units: NDArray[np.uint64]
    errors: NDArray[np.int64]
    trials: NDArray[np.int64]


Grid = Mapping[str, Mapping[str, CellCounts]]
"""Cells by model and drop."""


def grid_of(
    workspace: Workspace, table: Table, builds: Sequence[str], read: Callable[[Lake, TableKey], KeptCounts]
) -> dict[str, dict[str, CellCounts]]:
    """Read the counts by unit of every model on every drop, backfilled cells too.

    A cell whose file lies as it lay before is not read again: what a publication costs grows with new data.

    Args:
        workspace: whose lake is read, and what was read of it before.
        table: whose files are the cells.
        builds: those wanted.
        read: reads one of them.
    """
    lake, survey, wanted = workspace.lake, Survey(workspace.lake.store), set(builds)
    found: dict[str, dict[str, CellCounts]] = {}
    for key in lake.keys(table, survey):
        info = survey.info(lake.object_key(table, key))
        if key.build in wanted and info is not None:
            counts = workspace.cells.value(info, partial(read, lake, key))
            found.setdefault(str(key.build), {})[str(key.drop)] = CellCounts(
                np.array(counts[0], np.uint64), np.array(counts[1], np.int64), np.array(counts[2], np.int64)
            )
    workspace.cells.save(survey)
    return found


def numbers_of(units: Iterable[str]) -> list[int]:
    """Number units by their names, the same in every cell, so that no pseudonym is kept.

    >>> numbers_of(["s-1"]) == numbers_of(["s-1"]), numbers_of(["s-1"]) == numbers_of(["s-2"])
    (True, False)
    """
    return [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in units]


def n_units(cells: Mapping[str, CellCounts]) -> int:
    """Count the units of all drops of a model."""
    return int(_added(cells.values()).units.size)


def cell_rates(grid: Grid) -> dict[str, dict[str, Rate]]:
    """Estimate the rate of every cell of the grid."""
    return {model: {drop: _rate(_added([cell])) for drop, cell in cells.items()} for model, cells in grid.items()}


def pairs_of(grid: Grid, builds: Sequence[str], *, metric: str) -> Iterable[PairRow]:
    """Compare any two builds on the drops that both models were run on.

    Args:
        grid: as `grid_of` reads it.
        builds: the oldest first.
        metric: that was counted.
    """
    for before, after in combinations([build for build in builds if build in grid], 2):
        common = sorted(grid[before].keys() & grid[after].keys())
        if common:
            one, other = (_added([grid[build][drop] for drop in common]) for build in (before, after))
            yield PairRow(before, after, len(common), _rate(one), _rate(other), _direction(metric, one, other))


def _added(cells: Iterable[CellCounts]) -> CellCounts:
    """Add the counts of cells, unit by unit."""
    parts = list(cells)
    units, place = np.unique(np.concatenate([part.units for part in parts]), return_inverse=True)
    errors, trials = (
        np.bincount(place, np.concatenate([getattr(part, name) for part in parts]), units.size).astype(np.int64)
        for name in ("errors", "trials")
    )
    return CellCounts(units, errors, trials)


def _rate(counts: CellCounts) -> Rate:
    return clustered_rate(counts.errors, counts.trials)


def _direction(metric: str, before: CellCounts, after: CellCounts) -> Direction:
    """Worse or better where the 95 % interval of the paired difference excludes 0."""
    units = np.union1d(before.units, after.units)
    sides = []
    for side in (before, after):
        counts = np.zeros((2, units.size), np.int64)
        counts[:, np.searchsorted(units, side.units)] = side.errors, side.trials
        sides.append((counts[0], counts[1]))
    found = compare_rates(metric, *sides)
    return Change(found.low, found.high).direction
