"""The history of all builds of a task, as far as every task has it: verdicts, slices over builds, and drops."""

from collections.abc import Iterable

from cv_quality.builds import own_drops
from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.modality import Modality
from cv_quality.reports.data_quality import DropRows, read_drop_rows
from cv_quality.reports.history import BuildRow, SliceHistory
from cv_quality.reports.rates import read_rate
from cv_quality.tasks.briefing import slice_words
from cv_quality.tasks.release.tables import OVERALL, RELEASE_VERDICTS
from cv_quality.tasks.root_causes.slices import read_confirmed
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES, SLICE_TRENDS
from cv_quality.workspace import Workspace

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
