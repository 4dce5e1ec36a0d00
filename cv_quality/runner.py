"""Does what is left to do, stage by stage, in one process and without an orchestrator.

What is left is asked of `cv_quality.planning`; Dagster runs the same stages as assets (`cv_quality.pipeline`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import wraps
from typing import Protocol

from cv_quality.builds import drop_description, modality_of
from cv_quality.errors import (
    CvQualityError,
    DropError,
    DropIncomplete,
    GateFailed,
    LakeChanged,
    StoreError,
    stops_a_run,
)
from cv_quality.freshness import Freshness, StageContext, remember
from cv_quality.gates.verdicts import Failure, Origin, Verdict, forget_failure, refusal, write_failure, write_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import typed_faults
from cv_quality.planning import Work, all_of, due_now
from cv_quality.stage import JOBS, PUBLISH, Phase, Stage, StageResult, Task, phases_of
from cv_quality.tasks import TASKS, is_published, publish_marts
from cv_quality.telemetry import Attempt, observed
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
            result = run(workspace, task, stage, key)
        except (StoreError, GateFailed, DropError):
            raise
        except CvQualityError as error:
            with suppress(CvQualityError):
                identity = Freshness(workspace, task).identity(stage, key)
                write_failure(workspace.lake, stage.name, key, Failure(f"{type(error).__name__}: {error}", identity))
            raise
        forget_failure(workspace.lake, stage.name, key)
        return result

    return recorded


def _observed(run: RunStage) -> RunStage:
    """Tell machines how each attempt at a stage ended, where the settings say so."""

    @wraps(run)
    def told(workspace: Workspace, task: Task, stage: Stage, key: TableKey) -> StageResult:
        attempt = Attempt(task.name, stage.name, str(key))
        return observed(workspace.settings, attempt, lambda: run(workspace, task, stage, key))

    return told


@_observed
@_records_failure
def run_stage(workspace: Workspace, task: Task, stage: Stage, key: TableKey) -> StageResult:
    """Run one stage for one key: require what it reads, do the work, judge what it wrote.

    Args:
        workspace: whose lake is read and written.
        task, stage, key: what is done.

    Raises:
        GateFailed: something that it reads has not passed its gate, or has changed since.
        DropError: a drop as a whole cannot be trusted; nothing of it is written but the verdict that refuses it.
        LakeChanged: what it read or wrote was changed by somebody else meanwhile; the stage stays due.
        StoreError: the lake cannot be written.
    """
    started = time.perf_counter()
    context = StageContext(Freshness(workspace, task), key)
    read = context.freshness.require(stage, key)
    origin = Origin(
        read.identity, context.freshness.about(key) if stage.source else {}, stage.source_files(workspace, key)
    )

    def confirm() -> None:
        """Compare what was read with what lies there now."""
        now = Freshness(workspace, task).reading(stage, key)
        if now != read and now.identity:
            raise LakeChanged(
                f"what stage {stage.name!r} reads for {key} was changed while it worked: its result is not judged, "
                "and it is due again"
            )

    try:
        with typed_faults(f"stage {stage.name!r} for {key}"):
            done = stage.run(context)
            verdict = _judge(context, stage, origin, confirm) if stage.writes else None
    except DropIncomplete:
        raise
    except DropError as error:
        if stage.source:
            write_verdict(workspace.lake, refusal(stage.name, key, error, origin))
        raise
    except CvQualityError:
        raise
    except Exception:
        confirm()
        raise
    if not stage.writes:
        confirm()
        remember(workspace, stage, key, read.identity)
    numbers = dict(_flat(done if isinstance(done, Mapping) else asdict(done)))
    return StageResult(stage.name, str(key), numbers, time.perf_counter() - started, verdict)


def _judge(context: StageContext, stage: Stage, origin: Origin, confirm: Callable[[], None]) -> Verdict:
    from cv_quality.gates.runner import run_gate

    workspace, key = context.workspace, context.key
    if stage.source:
        origin = replace(origin, about=drop_description(workspace, key))
    return run_gate(
        workspace.lake,
        stage.suite(modality_of(workspace, key)),
        key,
        threads=context.threads,
        memory_limit=workspace.settings.memory_limit,
        origin=origin,
        confirm=confirm,
    )


def run_due(workspace: Workspace, *, track: Track, tasks: Sequence[Task] = TASKS) -> Done:
    """Take in, score and report everything that is due; one refused key does not keep the others from being done.

    Args:
        track: shows how far each phase has come.

    Raises:
        StoreError: a store cannot be reached; everything else that is wrong is in the result.
    """
    run = _Run(workspace, track)
    work_off(workspace, tasks, run)
    return run.done


class Worker(Protocol):
    """Something that does what is planned: in this process, or as runs of Dagster."""

    def phase(self, task: Task, phase: Phase, work: Sequence[Work]) -> list[Work]:
        """Run a phase of a task for some work; returns that for which nothing was refused."""

    def publish(self, tasks: Sequence[Task], work: Mapping[str, Sequence[Work]]) -> bool:
        """Build the metric tables where they are not those of the lake; returns whether they stand."""


def work_off(workspace: Workspace, tasks: Sequence[Task], worker: Worker) -> None:
    """Have everything done that is due, in the order of the data.

    What a job has to do is planned once the jobs before it are done; nothing is reported on tables that do not stand.

    Args:
        workspace, tasks: what is looked at.
        worker: does it.
    """
    looks: list[Freshness] = []
    for job in JOBS:
        looks = looks or [Freshness(workspace, task) for task in tasks]
        work = {look.task.name: due_now(look, job, given_up=all_of) for look in looks}
        if any(work.values()):
            looks = []
        for phase in phases_of(job):
            if phase.reads_warehouse and not worker.publish(tasks, work):
                return
            for task in tasks:
                planned = work[task.name]
                if planned and task.of_phase(phase.name):
                    work[task.name] = worker.phase(task, phase, planned)


@dataclass(frozen=True, slots=True)
class _Run:
    workspace: Workspace
    track: Track
    done: Done = field(default_factory=Done)

    def phase(self, task: Task, phase: Phase, work: Sequence[Work]) -> list[Work]:
        """Run what has not passed of a phase, key by key; returns the keys for which no stage was refused."""
        stages = task.of_phase(phase.name)
        return [item for item in self.track(work, description=phase.label) if self._stages(task, stages, item.key)]

    def _stages(self, task: Task, stages: Sequence[Stage], key: TableKey) -> bool:
        steps = (
            run_stage(self.workspace, task, stage, key)
            for stage in stages
            if (freshness := Freshness(self.workspace, task)).state(stage, key) != "passed"
            or freshness.is_overtaken(stage, key)
        )
        return self._take(steps, str(key))

    def publish(self, tasks: Sequence[Task], work: Mapping[str, Sequence[Work]]) -> bool:  # noqa: ARG002 - a Worker's
        """Build the metric tables where they are not those of the lake; returns whether they stand."""
        if is_published(self.workspace, tasks):
            return True
        shown = self.track([Work(TableKey(), "warehouse")], description=PUBLISH)
        return self._take((publish_marts(self.workspace, tasks) for _ in shown), "warehouse")

    def _take(self, steps: Iterator[StageResult], key: str) -> bool:
        """Take the steps up to the first that is refused; returns whether none was."""
        try:
            for result in steps:
                self.done.results.append(result)
                if not result.passed:
                    return False
        except CvQualityError as error:
            if stops_a_run(error):
                raise
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
