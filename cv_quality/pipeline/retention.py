"""What of the instance's old runs may go: all of one of which no asset shows anything, the log of any other.

A run that made what an asset shows keeps its record and what it says of assets, so that what was done shows as done.
What sensors looked at is purged by the daemon (`dagster.yaml`).
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqliteEventLogStorage

RECORDS_A_PAGE = 1000


@dataclass(frozen=True, slots=True)
class OldRun:
    """A finished run that began long ago.

    Attributes:
        is_shown: whether an asset shows what it made.
        files: its log and what its steps printed; none where they went before.
        size: of the files, in bytes.
    """

    run_id: str
    is_shown: bool
    files: tuple[Path, ...]
    size: int


def old_runs(instance: dg.DagsterInstance, *, before: datetime) -> list[OldRun]:
    """List the runs that ended before a time and of which there is something to forget."""
    shown = _shown_runs(instance)
    found = (_old_run(instance, run, is_shown=run in shown) for run in _ended_before(instance, before))
    return [run for run in found if run.files or not run.is_shown]


def forget(instance: dg.DagsterInstance, run: OldRun) -> None:
    """Delete the files of a run, and what else the instance knows of it unless that is shown."""
    log = instance.event_log_storage
    if not run.is_shown and isinstance(log, SqliteEventLogStorage):
        # `delete_run` would open the file of the run, which takes a fifth of a second, only to empty it.
        instance.run_storage.delete_run(run.run_id)
        with log.index_connection() as connection:
            log.delete_events_for_run(connection, run.run_id)
    elif not run.is_shown:
        instance.delete_run(run.run_id)
    for path in run.files:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _ended_before(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    asked = dg.RunsFilter(statuses=FINISHED_STATUSES, updated_before=before)
    cursor = None
    while records := instance.get_run_records(asked, limit=RECORDS_A_PAGE, cursor=cursor):
        yield from (record.dagster_run.run_id for record in records)
        cursor = records[-1].dagster_run.run_id


def _shown_runs(instance: dg.DagsterInstance) -> set[str]:
    """The runs that made the last materialization of an asset, or of a partition of one."""
    made = dg.DagsterEventType.ASSET_MATERIALIZATION
    shown = set()
    for asset in instance.all_asset_keys():
        if last := instance.get_latest_materialization_event(asset):
            shown.add(last.run_id)
        numbers = list(instance.event_log_storage.get_latest_storage_id_by_partition(asset, made).values())
        for start in range(0, len(numbers), RECORDS_A_PAGE):
            asked = dg.AssetRecordsFilter(asset_key=asset, storage_ids=numbers[start : start + RECORDS_A_PAGE])
            shown |= {record.run_id for record in instance.fetch_materializations(asked, limit=RECORDS_A_PAGE).records}
    return shown


def _old_run(instance: dg.DagsterInstance, run_id: str, *, is_shown: bool) -> OldRun:
    files = [Path(instance.storage_directory()) / run_id]
    if isinstance(log := instance.event_log_storage, SqliteEventLogStorage):
        path = Path(log.path_for_shard(run_id))
        files += [path, *(path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm"))]
    there = tuple(path for path in files if path.exists())
    return OldRun(run_id, is_shown, there, sum(map(_size, there)))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
