"""Does what is left to do, stage by stage, in one process and without an orchestrator.

What is left is asked of `cv_quality.planning`; Dagster runs the same stages as assets (`cv_quality.pipeline`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import wraps
from typing import Protocol

from cv_quality.builds import modality_of
from cv_quality.errors import CvQualityError, DropError, GateFailed, StoreError
from cv_quality.freshness import Freshness, StageContext, remember
from cv_quality.gates.verdicts import Failure, refusal, write_failure, write_verdict
from cv_quality.lake.dbt_models import warehouse_tables
from cv_quality.lake.lake import TableKey
from cv_quality.planning import Work, due
from cv_quality.stage import JOBS, PUBLISH, Phase, Stage, StageResult, Task, phases_of
from cv_quality.tasks import TASKS, publish_marts, tables_of
from cv_quality.workspace import Workspace


class Track(Protocol):
    """Something that shows how far a loop has come, such as `rich.progress.Progress.track`."""

    def __call__(self, sequence: Sequence[Work], /, *, description: str) -> Iterable[Work]: ...


@dataclass(slots=True)
class Done:
    """What was done, in order, and what could not be: the key and the typed error."""

    results: list[StageResult] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return not self.refused and all(result.passed for result in self.results)


RunStage = Callable[[Workspace, Task, Stage, TableKey], StageResult]


def _records_failure(run: RunStage) -> RunStage:
    """Record a typed error that ends an attempt without a verdict, for whoever asks why the stage is still due."""

    @wraps(run)
    def recorded(workspace: Workspace, task: Task, stage: Stage, key: TableKey) -> StageResult:
        try:
            return run(workspace, task, stage, key)
        except (StoreError, GateFailed, DropError):
            raise
        except CvQualityError as error:
            with suppress(CvQualityError):
                identity = Freshness(workspace, task).identity(stage, key)
                write_failure(workspace.lake, stage.name, key, Failure(f"{type(error).__name__}: {error}", identity))
            raise

    return recorded


@_records_failure
def run_stage(workspace: Workspace, task: Task, stage: Stage, key: TableKey) -> StageResult:
    """Run one stage for one key: require what it reads, do the work, judge what it wrote.

    Args:
        workspace: whose lake is read and written.
        task, stage, key: what is done.

    Raises:
        GateFailed: something that it reads has not passed its gate, or has changed since.
        DropError: a drop as a whole cannot be trusted; nothing of it is written but the verdict that refuses it.
    """
    from cv_quality.gates.runner import run_gate

    started = time.perf_counter()
    context = StageContext(Freshness(workspace, task), key)
    identity = context.freshness.require(stage, key)
    try:
        done = stage.run(context)
    except DropError as error:
        if stage.source:
            write_verdict(workspace.lake, refusal(stage.name, key, error, delivery=identity))
        raise
    numbers = dict(_flat(done if isinstance(done, Mapping) else asdict(done)))
    verdict = None
    if stage.writes:
        verdict = run_gate(
            workspace.lake,
            stage.suite(modality_of(workspace, key)),
            key,
            threads=context.threads,
            memory_limit=workspace.settings.memory_limit,
            delivery=identity,
        )
    else:
        remember(workspace, stage, key, identity)
    return StageResult(stage.name, str(key), numbers, time.perf_counter() - started, verdict)


def run_due(workspace: Workspace, *, track: Track, tasks: Sequence[Task] = TASKS) -> Done:
    """Take in, score and report everything that is due; one refused key does not keep the others from being done.

    Args:
        track: shows how far each phase has come.

    Raises:
        StoreError: a store cannot be reached; everything else that is wrong is in the result.
    """
    run = _Run(workspace, track)
    for task in tasks:
        for job in JOBS[:-1]:
            for phase in phases_of(job):
                run.phase(task, phase, due(workspace, task, job))
    builds = {task.name: due(workspace, task, JOBS[-1]) for task in tasks}
    *before, report, maps = phases_of(JOBS[-1])
    for task in tasks:
        for phase in before:
            builds[task.name] = run.phase(task, phase, builds[task.name])
    if (any(builds.values()) or run.wrote_for_warehouse(tasks)) and run.publish(tasks):
        run.each(tasks, report, builds)
        if run.each(tasks, maps, builds) and run.publish(tasks):
            run.each(tasks, report, builds)
    return run.done


@dataclass(frozen=True, slots=True)
class _Run:
    workspace: Workspace
    track: Track
    done: Done = field(default_factory=Done)

    def phase(self, task: Task, phase: Phase, work: Sequence[Work]) -> list[Work]:
        """Run what has not passed of a phase, key by key; returns the keys for which no stage was refused."""
        stages = task.of_phase(phase.name)
        return [item for item in self.track(work, description=phase.label) if self._stages(task, stages, item.key)]

    def each(self, tasks: Sequence[Task], phase: Phase, work: Mapping[str, Sequence[Work]]) -> bool:
        """Run a phase for the work of every task, by its name; returns whether anything was left to do."""
        before = len(self.done.results)
        for task in tasks:
            if task.of_phase(phase.name):
                self.phase(task, phase, work[task.name])
        return len(self.done.results) > before

    def _stages(self, task: Task, stages: Sequence[Stage], key: TableKey) -> bool:
        steps = (
            run_stage(self.workspace, task, stage, key)
            for stage in stages
            if Freshness(self.workspace, task).state(stage, key) != "passed" or stage.source
        )
        return self._take(steps, str(key))

    def publish(self, tasks: Sequence[Task]) -> bool:
        """Build the metric tables; returns whether they stand."""
        work = self.track([Work(TableKey(), "warehouse")], description=PUBLISH)
        return self._take((publish_marts(self.workspace, tasks) for _ in work), "warehouse")

    def wrote_for_warehouse(self, tasks: Sequence[Task]) -> bool:
        read = {table.name for table in warehouse_tables(tables_of(tasks).values())}
        writers = {task.writers[name].name for task in tasks for name in read if name in task.writers}
        return any(result.passed and result.stage in writers for result in self.done.results)

    def _take(self, steps: Iterator[StageResult], key: str) -> bool:
        """Take the steps up to the first that is refused; returns whether none was."""
        try:
            for result in steps:
                self.done.results.append(result)
                if not result.passed:
                    return False
        except StoreError:
            raise
        except CvQualityError as error:
            self.done.refused.append(f"{key}: {type(error).__name__}: {error}")
            return False
        return True


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, int | float | str]]:
    """The plain numbers of a summary, nested ones by dotted name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat({str(key): item for key, item in value.items()}, f"{prefix}{name}.")
        elif isinstance(value, int | float | str):
            yield f"{prefix}{name}", value
