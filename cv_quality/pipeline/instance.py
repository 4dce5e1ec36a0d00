"""Runs of the jobs in this process, recorded in the deployment's own Dagster instance.

For the demo and for backfills from the command line: the same assets, checks and records as under the daemon, without
a process per run.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.tags import PARTITION_NAME_TAG

from cv_quality.definitions import build_definitions
from cv_quality.errors import ClusterError, DropError, SettingsError, StoreError, near
from cv_quality.freshness import Freshness
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import atomic_path, make_private, typed_faults
from cv_quality.pipeline.batches import Batches, batch_job_name, batch_jobs, why
from cv_quality.pipeline.jobs import job_name
from cv_quality.pipeline.marts import mart_specs
from cv_quality.pipeline.partitions import partition_of
from cv_quality.pipeline.sensors import identity_tags, partitions_for
from cv_quality.planning import Work, all_of, warehouse_due
from cv_quality.runner import Engine, KeyDone, Track, work_off
from cv_quality.stage import PHASES, PUBLISH, REPORT_JOB, Phase, Task, phases_of
from cv_quality.tasks import TASKS, is_published
from cv_quality.workspace import Workspace

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""A step that fails is told by who asked for it; its stack trace is in the instance's record."""


DEFAULTS = Path(__file__).parent / "dagster.yaml"
FORMER_DEFAULTS = frozenset(
    {
        "175587a8ed815d4aeccca287069492fcd5a113895fda767374bd1924b3873499",
        "57ccdfc0eac576764176293483d8f9a59af0f97533212b7bde084450f0fd0a39",
        "2865011f1b3cb362543198c2384ca19878b0faafdc702ba5f6b88ae54e74e89e",
    }
)
"""sha256 of what `DEFAULTS` was in former versions: a home that still has such a file gets today's."""


def prepare_home(home: Path) -> Path:
    """Make the instance folder, with today's configuration unless somebody changed the one that lies there."""
    own = home / DEFAULTS.name
    with typed_faults(str(home)):
        make_private(home)
        if not own.exists() or hashlib.sha256(own.read_bytes()).hexdigest() in FORMER_DEFAULTS:
            with atomic_path(own) as new:
                new.write_bytes(DEFAULTS.read_bytes())
    return home


def is_configured_by_hand(home: Path) -> bool:
    """Tell whether somebody changed the configuration of an instance, so that it is not renewed."""
    return (home / DEFAULTS.name).read_bytes() != DEFAULTS.read_bytes()


def migrate(home: Path) -> None:
    """Bring the records of an instance to the schema of today's Dagster; nothing is looked through where they have it.

    Raises:
        SettingsError: this Dagster cannot use them.
    """
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            if isinstance(instance.event_log_storage, SqliteEventLogStorage):
                # An upgrade opens the log of every run, five a second, and the index last.
                if not all(found == wanted for found, wanted in _schemas(instance)):
                    instance.upgrade()
            else:
                require_schema(instance, home)
    except SettingsError:
        raise
    except Exception as error:  # Dagster, Alembic, SQLAlchemy and SQLite each raise their own.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        raise SettingsError(
            f"{home}: Dagster {dg.__version__} cannot use the records of runs there ({reason}); "
            "move the folder away, and a new one is made: what was evaluated lies in the lake, not there"
        ) from error


def require_schema(instance: dg.DagsterInstance, home: Path) -> None:
    """Refuse a database that several processes share and whose schema is not that of today's Dagster.

    It is not brought up to date here, under the feet of others that work with it.

    Args:
        instance: whose database.
        home: its folder.

    Raises:
        SettingsError: says what to do.
    """
    if isinstance(instance.event_log_storage, SqliteEventLogStorage):
        return
    for found, wanted in _schemas(instance):
        if found != wanted:
            raise SettingsError(
                f"{home}: the database of the Dagster instance has schema {found or 'none'}, Dagster {dg.__version__} "
                f"expects {wanted}; end the daemon, the web server and all runs, make a backup, then "
                f"`DAGSTER_HOME={home} dagster instance migrate`; of a newer schema, install its Dagster"
            )


def _schemas(instance: dg.DagsterInstance) -> list[tuple[object, object]]:
    """The schema that each storage of an instance has, and the one that today's Dagster expects."""
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    return [storage.alembic_version() or (None, None) for storage in storages if storage]


def materialize_due(
    workspace: Workspace, *, track: Track, tasks: Sequence[Task] = TASKS, engine: Engine | None = None
) -> list[dg.ExecuteInProcessResult]:
    """Run the jobs for everything that is due, in the order of the data; the metric tables once for all builds.

    Args:
        track: shows how far each phase has come.
        engine: does all keys of a phase in one run; without one each key has a run of its own.
    """
    with opened(workspace) as instance:
        jobs = _Jobs(workspace, build_definitions(workspace.settings, tasks), instance, track, engine)
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
        of_key = f" of {key}" if key else ""
        found.append(f"{event.step_key}{of_key}: {told or (error.message.strip() if error else 'no reason')}")
    return found


def backfill_grid(
    workspace: Workspace, *, builds: Sequence[str], drops: Sequence[str], track: Track, engine: Engine | None = None
) -> list[dict[str, object]]:
    """Score each of `builds` on each of `drops` of its task, whether or not it was done before.

    Args:
        workspace: whose lake and registry are used.
        builds, drops: the sides of the grid; all of them when none is named.
        track: shows how far the scoring has come.
        engine: does all cells of a task in one run, again; without one each cell has a run of its own.

    Raises:
        DropError: a drop is not validated in the lake; the near ones are named. Or there is none.
        RegistryError: a build is not in the registry; the near ones are named.
    """
    tasks = {build: workspace.registry.entry(build).task for build in builds or workspace.registry.build_ids()}
    validated = {task.name: _validated_drops(Freshness(workspace, task)) for task in TASKS}
    known = sorted(drop for found in validated.values() for drop in found)
    for drop in drops:
        if drop not in known:
            raise DropError(f"drop {drop!r} is not validated in the lake: {near(drop, known)}")
    grid = [
        (
            task,
            [
                Work(TableKey(build=build, drop=drop), f"backfill {build}|{drop}")
                for build in sorted(build for build, name in tasks.items() if name == task.name)
                for drop in validated[task.name]
                if not drops or drop in drops
            ],
        )
        for task in TASKS
    ]
    if not any(work for _, work in grid):
        raise DropError(
            f"nothing to score: no drop in {workspace.lake.store.uri} is validated; `cvq run` takes drops in"
        )
    cells: list[tuple[Work, dg.ExecuteInProcessResult, bool, str]] = []
    with opened(workspace) as instance:
        jobs = _Jobs(workspace, build_definitions(workspace.settings), instance, track, engine)
        for task, work in grid:
            if work and engine:
                run, done = jobs.batch(task, PHASES["score"], work)
                cells += [(item, run, one.succeeded, why(one)) for item, one in zip(work, done, strict=True)]
            elif work:
                runs = jobs.run(task, "evaluate_build_on_drop", work, label="score the grid")
                cells += [
                    (item, run, run.success, "; ".join(failures([run]))) for item, run in zip(work, runs, strict=True)
                ]
    return [
        {"build": item.key.build, "drop": item.key.drop, "run": run.run_id, "succeeded": succeeded, "why": reason}
        for item, run, succeeded, reason in cells
    ]


def _validated_drops(freshness: Freshness) -> list[str]:
    *_, last = freshness.task.of_phase("ingest")
    return sorted(drop for drop in freshness.drops if freshness.state(last, TableKey(drop=drop)) == "passed")


@dataclass(frozen=True, slots=True)
class _Jobs:
    """Work done as runs of the instance.

    Attributes:
        engine: does many keys in one run, if there is one.
        results: of every run, in order.
    """

    workspace: Workspace
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    track: Track
    engine: Engine | None = None
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
            _unless_interrupted(
                resolved.execute_in_process(
                    partition_key=partition_of(item.key),
                    instance=self.instance,
                    asset_selection=only,
                    tags=identity_tags(item) if is_attempt else {},
                    run_config=QUIET,
                    raise_on_error=False,
                )
            )
            for item in self.track(work, description=label)
        ]
        self.results.extend(runs)
        return runs

    def batch(self, task: Task, phase: Phase, work: Sequence[Work]) -> tuple[dg.ExecuteInProcessResult, list[KeyDone]]:
        """One run of a phase for all of the work; returns it, and what was done of each piece, in its order.

        Raises:
            CvQualityError: the run ended before all was done.
        """
        for definition, keys in partitions_for(task, work).items():
            self.instance.add_dynamic_partitions(str(definition.name), keys)
        batches = Batches(self.engine, self.track)
        (job,) = (job for job in batch_jobs(task) if job.name == batch_job_name(task, phase))
        (op,) = job.graph.node_dict
        config = {"ops": {op: {"config": {"partitions": [str(partition_of(item.key)) for item in work]}}}}
        run = _unless_interrupted(
            job.execute_in_process(
                instance=self.instance,
                resources={"workspace": self.workspace, "batches": batches},
                run_config={**QUIET, **config},
                raise_on_error=False,
            )
        )
        self.results.append(run)
        if len(batches.done) != len(work):
            raise ClusterError("; ".join(failures([run])))
        return run, batches.done

    def phase(self, task: Task, phase: Phase, work: Sequence[Work]) -> list[Work]:
        """Materialize the assets of one phase of a task; returns the work for which that succeeded."""
        if self.engine:
            _, done = self.batch(task, phase, work)
            return [item for item, one in zip(work, done, strict=True) if one.succeeded]
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


def _unless_interrupted(run: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    """Hand on a run that came to its end; Dagster swallows what interrupts one, and the next would be begun.

    Raises:
        KeyboardInterrupt: the process was told to stop.
    """
    ends = (
        event.event_specific_data for event in run.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE
    )
    reasons = (end.failure_reason for end in ends if isinstance(end, JobFailureData))
    if RunFailureReason.UNEXPECTED_TERMINATION in reasons:
        raise KeyboardInterrupt
    return run


@contextmanager
def opened(workspace: Workspace) -> Iterator[dg.DagsterInstance]:
    """Open the deployment's instance.

    Raises:
        StoreError: its database cannot be read or written.
    """
    from sqlalchemy.exc import DBAPIError

    home = workspace.settings.dagster_home
    try:
        with dg.DagsterInstance.from_config(str(prepare_home(home))) as instance:
            require_schema(instance, home)
            yield instance
    except DBAPIError as error:
        raise StoreError(
            f"{home}: the database of the Dagster instance cannot be used: {error.orig}; check that there is room, "
            "that the folder may be written, and that its files were not changed"
        ) from error
