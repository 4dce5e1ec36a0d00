"""Does what is left to do, stage by stage, in one process and without an orchestrator.

What is left is asked of `cv_quality.planning`; Dagster runs the same stages as assets (`cv_quality.pipeline`).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from cv_quality.builds import modality_of
from cv_quality.errors import CvQualityError, DropError, StoreError
from cv_quality.freshness import Freshness, remember
from cv_quality.gates.verdicts import refusal, write_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.planning import Work, due
from cv_quality.stage import PUBLISH, Phase, Stage, StageResult, Task, phases_of
from cv_quality.tasks import TASKS, publish_marts
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


def run_stage(workspace: Workspace, task: Task, stage: Stage, key: TableKey) -> StageResult:
    """Run one stage for one key: require what it reads, do the work, judge what it wrote.

    Raises:
        GateFailed: something that it reads has not passed its gate, or has changed since.
        DropError: a drop as a whole cannot be trusted; nothing of it is written but the verdict that refuses it.
    """
    from cv_quality.gates.runner import run_gate

    started = time.perf_counter()
    identity = Freshness(workspace, task).require(stage, key)
    try:
        done = stage.run(workspace, key)
    except DropError as error:
        if stage.source:
            write_verdict(workspace.lake, refusal(stage.name, key, error, delivery=identity))
        raise
    numbers = dict(_flat(done if isinstance(done, Mapping) else asdict(done)))
    verdict = None
    if stage.writes:
        settings, modality = workspace.settings, modality_of(workspace, key)
        verdict = run_gate(
            workspace.lake,
            stage.suite(modality),
            key,
            threads=settings.threads,
            memory_limit=settings.memory_limit,
            delivery=identity,
        )
    else:
        remember(workspace, stage, key, identity)
    return StageResult(stage.name, str(key), numbers, time.perf_counter() - started, verdict)


def run_due(workspace: Workspace, *, track: Track, tasks: Sequence[Task] = TASKS) -> Done:
    """Take in, score and report everything that is due; one refused key does not keep the others from being done.

    Raises:
        StoreError: a store cannot be reached; everything else that is wrong is in the result.
    """
    done = Done()
    for task in tasks:
        for job in ("ingest_drop", "evaluate_build_on_drop"):
            for phase in phases_of(job):
                _run_phase(workspace, task, phase, due(workspace, task, job), done=done, track=track)
    builds = {task.name: due(workspace, task, "report_build") for task in tasks}
    before, (last,) = phases_of("report_build")[:-1], phases_of("report_build")[-1:]
    for task in tasks:
        for phase in before:
            builds[task.name] = _run_phase(workspace, task, phase, builds[task.name], done=done, track=track)
    if not any(builds.values()):
        return done
    warehouse = Work(TableKey(), "warehouse")
    if [item for item in track([warehouse], description=PUBLISH) if _publish(workspace, tasks, done)]:
        for task in tasks:
            _run_phase(workspace, task, last, builds[task.name], done=done, track=track)
    return done


def _run_phase(
    workspace: Workspace, task: Task, phase: Phase, work: Sequence[Work], *, done: Done, track: Track
) -> list[Work]:
    """Run the stages of a phase for each piece of work; returns those for which none was refused."""
    stages = task.of_phase(phase.name)

    def run(key: TableKey) -> Iterator[StageResult]:
        return (run_stage(workspace, task, stage, key) for stage in stages)

    return [
        item
        for item in track(work, description=phase.label)
        if _attempt(lambda key=item.key: run(key), str(item.key), done)  # type: ignore[misc]
    ]


def _publish(workspace: Workspace, tasks: Sequence[Task], done: Done) -> bool:
    return _attempt(lambda: iter([publish_marts(workspace, tasks)]), "warehouse", done)


def _attempt(steps: Callable[[], Iterator[StageResult]], key: str, done: Done) -> bool:
    """Take the steps up to the first that is refused; returns whether none was."""
    try:
        for result in steps():
            done.results.append(result)
            if not result.passed:
                return False
    except StoreError:
        raise
    except CvQualityError as error:
        done.refused.append(f"{key}: {type(error).__name__}: {error}")
        return False
    return True


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, int | float | str]]:
    """The plain numbers of a summary, nested ones by dotted name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat({str(key): item for key, item in value.items()}, f"{prefix}{name}.")
        elif isinstance(value, int | float | str):
            yield f"{prefix}{name}", value
