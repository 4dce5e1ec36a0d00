"""Does what is left to do, stage by stage, in this process or wherever an engine does it, without an orchestrator.

What is left is asked of `cv_quality.planning`; `cv_quality.cluster` is an engine that hands keys to other processes;
Dagster runs the same stages as assets (`cv_quality.pipeline`).
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


@dataclass(frozen=True, slots=True)
class KeyDone:
    """What was done for one key, in order, and the typed error that ended it, if one did."""

    key: TableKey
    results: tuple[StageResult, ...] = ()
    refused: str = ""

    @property
    def succeeded(self) -> bool:
        return not self.refused and all(result.passed for result in self.results)


@dataclass(slots=True)
class Done:
    """What was done, in order, and what could not be: the key and the typed error."""

    results: list[StageResult] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        return not self.refused and all(result.passed for result in self.results)

    def take(self, done: KeyDone, *, name: str) -> bool:
        """Add what was done for a key, under a name for people; returns whether nothing was refused."""
        self.results += done.results
        if done.refused:
            self.refused.append(f"{name}: {done.refused}")
        return done.succeeded


class Engine(Protocol):
    """Something that runs a phase for keys, all of them, and yields what was done of each as soon as it is done."""

    def __call__(self, task: Task, phase: Phase, keys: Sequence[TableKey]) -> Iterator[KeyDone]: ...


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


def run_phase(workspace: Workspace, task: Task, phase: Phase, key: TableKey, *, is_again: bool = False) -> KeyDone:
    """Run the stages of a phase that have not passed for a key, up to the first that is refused.

    Args:
        workspace, task, phase, key: what is done.
        is_again: run those that have passed, too.

    Raises:
        StoreError: a store cannot be reached; everything else that is wrong is in the result.
    """
    steps = (
        run_stage(workspace, task, stage, key)
        for stage in task.of_phase(phase.name)
        if is_again
        or (freshness := Freshness(workspace, task)).state(stage, key) != "passed"
        or freshness.is_overtaken(stage, key)
    )
    return _taken(steps, key)


def _taken(steps: Iterator[StageResult], key: TableKey) -> KeyDone:
    """Take the steps up to the first that is refused."""
    results: list[StageResult] = []
    try:
        for result in steps:
            results.append(result)
            if not result.passed:
                break
    except CvQualityError as error:
        if stops_a_run(error):
            raise
        return KeyDone(key, tuple(results), f"{type(error).__name__}: {error}")
    return KeyDone(key, tuple(results))


def in_this_process(workspace: Workspace) -> Engine:
    """Make the engine that runs key after key here."""

    def engine(task: Task, phase: Phase, keys: Sequence[TableKey]) -> Iterator[KeyDone]:
        return (run_phase(workspace, task, phase, key) for key in keys)

    return engine


def run_due(workspace: Workspace, *, track: Track, tasks: Sequence[Task] = TASKS, engine: Engine | None = None) -> Done:
    """Take in, score and report everything that is due; one refused key does not keep the others from being done.

    Args:
        track: shows how far each phase has come.
        engine: runs the phases; in this process where none is given.

    Raises:
        StoreError: a store cannot be reached; everything else that is wrong is in the result.
        ClusterError: the cluster of the engine is gone; what was done stays.
    """
    run = _Run(workspace, track, engine or in_this_process(workspace))
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


def tracked(engine: Engine, task: Task, phase: Phase, work: Sequence[Work], *, track: Track) -> list[KeyDone]:
    """Run a phase for some work, shown as it is done; returns what was done in the order of the work."""
    done = engine(task, phase, [item.key for item in work])
    by_key = {one.key: one for _, one in zip(track(work, description=phase.label), done, strict=True)}
    return [by_key[item.key] for item in work]


@dataclass(frozen=True, slots=True)
class _Run:
    workspace: Workspace
    track: Track
    engine: Engine
    done: Done = field(default_factory=Done)

    def phase(self, task: Task, phase: Phase, work: Sequence[Work]) -> list[Work]:
        """Run what has not passed of a phase, key by key; returns the keys for which no stage was refused."""
        done = tracked(self.engine, task, phase, work, track=self.track)
        return [item for item, one in zip(work, done, strict=True) if self.done.take(one, name=str(one.key))]

    def publish(self, tasks: Sequence[Task], work: Mapping[str, Sequence[Work]]) -> bool:  # noqa: ARG002 - a Worker's
        """Build the metric tables where they are not those of the lake; returns whether they stand."""
        if is_published(self.workspace, tasks):
            return True
        shown = self.track([Work(TableKey(), "warehouse")], description=PUBLISH)
        done = _taken((publish_marts(self.workspace, tasks) for _ in shown), TableKey())
        return self.done.take(done, name="warehouse")


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, int | float | str]]:
    """The plain numbers of a summary, nested ones by dotted name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat({str(key): item for key, item in value.items()}, f"{prefix}{name}.")
        elif isinstance(value, int | float | str):
            yield f"{prefix}{name}", value
