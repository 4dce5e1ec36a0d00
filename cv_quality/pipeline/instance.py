"""Runs of the jobs in this process, recorded in the deployment's own Dagster instance.

For the demo and for backfills from the command line: the same assets, checks and records as under the daemon, without
a process per run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import copyfile

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from cv_quality.definitions import build_definitions
from cv_quality.errors import DropError, SettingsError, StoreError, near
from cv_quality.freshness import Freshness
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import PRIVATE_FILE, make_private, typed_faults
from cv_quality.pipeline.jobs import job_name
from cv_quality.pipeline.marts import mart_specs
from cv_quality.pipeline.partitions import partition_of
from cv_quality.pipeline.sensors import identity_tags, partitions_for
from cv_quality.planning import Work, all_of, warehouse_due
from cv_quality.runner import Track, work_off
from cv_quality.stage import PUBLISH, REPORT_JOB, Phase, Task, phases_of
from cv_quality.tasks import TASKS, is_published
from cv_quality.workspace import Workspace

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""A step that fails is told by who asked for it; its stack trace is in the instance's record."""


def prepare_home(home: Path) -> Path:
    """Make the instance folder, with its configuration unless one lies there already."""
    own = home / "dagster.yaml"
    with typed_faults(str(home)):
        make_private(home)
        if not own.exists():
            copyfile(Path(__file__).parent / own.name, own)
            own.chmod(PRIVATE_FILE)
    return home


def migrate(home: Path) -> None:
    """Bring the records of an instance to the schema of today's Dagster; nothing changes where they have it.

    Raises:
        SettingsError: this Dagster cannot use them.
    """
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.upgrade()
    except Exception as error:  # Dagster, Alembic, SQLAlchemy and SQLite each raise their own.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        raise SettingsError(
            f"{home}: Dagster {dg.__version__} cannot use the records of runs there ({reason}); "
            "move the folder away, and a new one is made: what was evaluated lies in the lake, not there"
        ) from error


def materialize_due(
    workspace: Workspace, *, track: Track, tasks: Sequence[Task] = TASKS
) -> list[dg.ExecuteInProcessResult]:
    """Run the jobs for everything that is due, in the order of the data; the metric tables once for all builds.

    Args:
        track: shows how far each phase has come.
    """
    with _instance(workspace) as instance:
        jobs = _Jobs(workspace, build_definitions(workspace.settings, tasks), instance, track)
        work_off(workspace, tasks, jobs)
    return jobs.results


def failures(runs: Sequence[dg.ExecuteInProcessResult]) -> list[str]:
    """Say which step of each run that failed did so first, for which key, and why."""
    found = []
    for run in (run for run in runs if not run.success):
        event = next(event for event in run.all_events if event.is_step_failure)
        data, key = event.step_failure_data, run.dagster_run.tags.get(PARTITION_NAME_TAG)
        told = data.user_failure_data.description if data.user_failure_data else None
        error = data.error and (data.error.cause or data.error)
        found.append(f"{event.step_key} of {key}: {told or (error.message.strip() if error else 'no reason')}")
    return found


def backfill_grid(
    workspace: Workspace, *, builds: Sequence[str], drops: Sequence[str], track: Track
) -> list[dict[str, object]]:
    """Score each of `builds` on each of `drops` of the first task, whether or not it was done before.

    Args:
        workspace: whose lake and registry are used.
        builds, drops: the sides of the grid; all of them when none is named.
        track: shows how far the scoring has come.

    Raises:
        DropError: a drop is not validated in the lake; the near ones are named. Or there is none.
        RegistryError: a build is not in the registry; the near ones are named.
    """
    task = TASKS[0]
    freshness = Freshness(workspace, task)
    *_, last = task.of_phase("ingest")
    validated = [drop for drop in freshness.drops if freshness.state(last, TableKey(drop=drop)) == "passed"]
    for drop in drops:
        if drop not in validated:
            raise DropError(f"drop {drop!r} is not validated in the lake: {near(drop, validated)}")
    if not validated:
        raise DropError(
            f"nothing to score: no drop in {workspace.lake.store.uri} is validated; `cvq run` takes drops in"
        )
    for build in builds:
        workspace.registry.entry(build)
    chosen_drops, chosen_builds = drops or validated, builds or workspace.registry.build_ids()
    work = [
        Work(TableKey(build=build, drop=drop), f"backfill {build}|{drop}")
        for build in sorted(chosen_builds)
        for drop in sorted(chosen_drops)
    ]
    with _instance(workspace) as instance:
        jobs = _Jobs(workspace, build_definitions(workspace.settings), instance, track)
        runs = jobs.run(task, "evaluate_build_on_drop", work, label="score the grid")
    return [
        {
            "build": item.key.build,
            "drop": item.key.drop,
            "run": run.run_id,
            "succeeded": run.success,
            "why": "; ".join(failures([run])),
        }
        for item, run in zip(work, runs, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Jobs:
    """Work done as runs of the instance.

    Attributes:
        results: of every run, in order.
    """

    workspace: Workspace
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    track: Track
    results: list[dg.ExecuteInProcessResult] = field(default_factory=list)

    def run(
        self,
        task: Task,
        job: str,
        work: Sequence[Work],
        *,
        label: str,
        only: Sequence[dg.AssetKey] | None = None,
        is_attempt: bool = True,
    ) -> list[dg.ExecuteInProcessResult]:
        """One run of a task's job, or of `only` these of its assets, for each piece of work.

        Args:
            is_attempt: whether the run counts as an attempt at the work; a first part of it does not.
        """
        for definition, keys in partitions_for(task, work).items():
            self.instance.add_dynamic_partitions(str(definition.name), keys)
        resolved = self.definitions.resolve_job_def(job_name(task, job))
        runs = [
            resolved.execute_in_process(
                partition_key=partition_of(item.key),
                instance=self.instance,
                asset_selection=only,
                tags=identity_tags(item) if is_attempt else {},
                run_config=QUIET,
                raise_on_error=False,
            )
            for item in self.track(work, description=label)
        ]
        self.results.extend(runs)
        return runs

    def phase(self, task: Task, phase: Phase, work: Sequence[Work]) -> list[Work]:
        """Materialize the assets of one phase of a task; returns the work whose run succeeded."""
        only = [dg.AssetKey([task.name, asset]) for stage in task.of_phase(phase.name) for asset in stage.assets]
        is_last = phase == [one for one in phases_of(phase.job) if one.job == phase.job][-1]
        runs = self.run(task, phase.job, work, label=phase.label, only=only, is_attempt=is_last)
        return [item for item, run in zip(work, runs, strict=True) if run.success]

    def publish(self, tasks: Sequence[Task], work: Mapping[str, Sequence[Work]]) -> bool:
        """Materialize the metric tables, once and for a build that can bring them, where they are not the lake's."""
        if is_published(self.workspace, tasks):
            return True
        keyed = [(task, item) for task in tasks for item in work[task.name]]
        looks = [Freshness(self.workspace, task) for task in tasks]
        if not keyed and (alone := warehouse_due(looks, given_up=all_of)):
            keyed = [(tasks[0], alone)]
        only = [spec.key for spec in mart_specs(tasks)]
        publish = partial(self.run, job=REPORT_JOB, label=PUBLISH, only=only, is_attempt=False)
        return all(run.success for task, item in keyed[:1] for run in publish(task, work=[item]))


@contextmanager
def _instance(workspace: Workspace) -> Iterator[dg.DagsterInstance]:
    """Open the deployment's instance.

    Raises:
        StoreError: its database cannot be read or written.
    """
    from sqlalchemy.exc import DBAPIError

    home = workspace.settings.dagster_home
    try:
        with dg.DagsterInstance.from_config(str(prepare_home(home))) as instance:
            yield instance
    except DBAPIError as error:
        raise StoreError(
            f"{home}: the database of the Dagster instance cannot be used: {error.orig}; check that there is room, "
            "that the folder may be written, and that its files were not changed"
        ) from error
