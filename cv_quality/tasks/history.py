"""The history of all builds of a task, as far as every task has it: verdicts, slices over builds, and drops."""

import json
from collections.abc import Iterable

from cv_quality.builds import own_drops
from cv_quality.drops.tables import DROP_FILES, QUARANTINE_VALIDATE
from cv_quality.error_analysis.slices import Slice
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.modality import Modality
from cv_quality.reports.history import BuildRow, DropRow, SliceHistory
from cv_quality.reports.rates import read_rate
from cv_quality.tasks.briefing import slice_words
from cv_quality.tasks.release.tables import OVERALL, RELEASE_VERDICTS
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES, SLICE_TRENDS
from cv_quality.workspace import Workspace


def build_row(workspace: Workspace, build: str, *, n_units: int) -> BuildRow:
    """Put a build in a line.

    Args:
        workspace, build: read from, of the build.
        n_units: what it was measured on.
    """
    lake, key = workspace.lake, TableKey(build=build)
    verdicts = lake.read(RELEASE_VERDICTS, key).filter(requirement=OVERALL).to_dicts() if has(lake, build) else []
    return BuildRow(
        build=build,
        follows=workspace.registry.entry(build).follows,
        day=day_of(workspace, build),
        n_drops=len(own_drops(workspace, build)),
        n_units=n_units,
        verdict=verdicts[0]["verdict"] if verdicts else None,
        reason=verdicts[0]["reason"] if verdicts else "not judged",
    )


def day_of(workspace: Workspace, build: str) -> str:
    """Tell the day of a build's newest data; empty without any."""
    import polars as pl

    drops = [TableKey(drop=drop) for drop in own_drops(workspace, build)]
    newest = workspace.lake.scan(DROP_FILES, drops).select(pl.col("captured_until").max()).collect().item()
    return f"{newest:%Y-%m-%d}" if newest else ""


def has(lake: Lake, build: str) -> bool:
    """Tell whether the release policy was asked about a build."""
    return lake.has(RELEASE_VERDICTS, TableKey(build=build))


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
        for row in lake.read(FAILURE_SLICES, key).filter(outcome=outcome, finding="confirmed").sort("rank").to_dicts():
            own = [item for item in trends.to_dicts() if item["rank"] == row["rank"]]
            rates = [(item["trend_build_id"], read_rate(item)) for item in own]
            condition = slice_words(Slice.from_list(json.loads(row["where_json"])), modality)
            yield SliceHistory(build, condition, tuple(reversed(rates)))


def drop_rows(lake: Lake, drops: Iterable[str]) -> Iterable[DropRow]:
    """Read how many rows each drop brought, and how many of them were set aside."""
    for drop in drops:
        files, key = lake.read(DROP_FILES, TableKey(drop=drop)), TableKey(drop=drop)
        late = (
            lake.read(QUARANTINE_VALIDATE, key, columns=["reason"]).height if lake.has(QUARANTINE_VALIDATE, key) else 0
        )
        yield DropRow(
            drop, str(files["site"][0]), int(files["rows_in"].sum()), int(files["rows_quarantined"].sum()) + late
        )
