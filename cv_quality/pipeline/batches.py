"""Many keys in one run: handed to a cluster together, each with materializations, checks and a failure of its own.

There is such a job for each phase of each task where the settings name a cluster. How keys are handed out is in
`cv_quality.cluster`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg

from cv_quality.cluster.running import opened
from cv_quality.pipeline.partitions import partition_of, table_key
from cv_quality.pipeline.running import asking, check_result, materialized, retrying_unreachable_stores
from cv_quality.planning import Work
from cv_quality.runner import Engine, KeyDone, Track, tracked
from cv_quality.stage import PHASES, Phase, Task
from cv_quality.text import visible_lines
from cv_quality.workspace import Workspace

REASONS = 20
"""Refused keys that the failure of a run names; the others are in its log."""


class Keys(dg.Config):
    """What a run of a batch is of.

    Attributes:
        partitions: as Dagster names them.
    """

    partitions: list[str]


@dataclass(frozen=True, slots=True)
class Batches:
    """How batches are done.

    Attributes:
        engine: does them; one that is opened by each run for itself when None.
        track: shows how far a run has come.
        done: what was done, of the last run.
    """

    engine: Engine | None = None
    track: Track = lambda work, *, description: work  # noqa: ARG005 - shows nothing
    done: list[KeyDone] = field(default_factory=list)


def batch_job_name(task: Task, phase: Phase) -> str:
    return f"{task.name}_{phase.name}_batch"


def batch_jobs(task: Task) -> Iterator[dg.JobDefinition]:
    """Define a job for each phase of a task."""
    for phase in PHASES.values():
        if task.of_phase(phase.name):
            yield _batch_job(task, phase)


def _batch_job(task: Task, phase: Phase) -> dg.JobDefinition:
    @dg.op(name=f"{task.name}_{phase.name}_keys")
    def do_keys(
        context: dg.OpExecutionContext,
        config: Keys,
        workspace: dg.ResourceParam[Workspace],
        batches: dg.ResourceParam[Batches],
    ) -> None:
        keys = [table_key(partition, task=task, key=phase.key) for partition in config.partitions]
        with retrying_unreachable_stores(context), _engine(workspace, batches) as engine:
            work = [Work(key, str(key)) for key in keys]
            batches.done[:] = tracked(engine, task, phase, work, track=batches.track)
        for one in batches.done:
            _record(context, workspace, task, one)
        _fail_if_refused(batches.done)

    @dg.job(
        name=batch_job_name(task, phase),
        description=f"{task.title}: {phase.label}, many keys in one run, on the cluster of the settings.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        do_keys()

    return job


@contextmanager
def _engine(workspace: Workspace, batches: Batches) -> Iterator[Engine]:
    if batches.engine:
        yield batches.engine
        return
    with opened(workspace, workspace.settings.cluster or "local") as cluster:
        yield cluster


def _record(context: dg.OpExecutionContext, workspace: Workspace, task: Task, done: KeyDone) -> None:
    """Log what was done of a key as Dagster logs a run of it alone."""
    partition = partition_of(done.key)
    for result in done.results:
        stage = task.stage(result.stage)
        assets = materialized(workspace, task, stage, done.key, result)
        for asset, metadata in assets.items():
            context.log_event(dg.AssetMaterialization(asset, partition=partition, metadata=metadata))
        if result.verdict:
            check = check_result(result.verdict, asset=next(iter(assets)), name=f"{stage.name}_gate")
            evaluation = dg.AssetCheckEvaluation(
                asset_key=next(iter(assets)),
                check_name=f"{stage.name}_gate",
                passed=check.passed,
                metadata=check.metadata,
                description=check.description,
                blocking=True,
                partition=partition,
            )
            context.log_event(evaluation)  # type: ignore[arg-type] # Taken all the same, as the context's source says.
    if done.refused:
        context.log.error(visible_lines(f"{done.key}: {done.refused}"))


def why(done: KeyDone) -> str:
    """Say why a key could not be done; empty where it was."""
    if done.refused:
        return visible_lines(f"{done.key}: {done.refused}")
    refused = (result.stage for result in done.results if not result.passed)
    return "".join(f"{done.key}: refused by gate {stage}" for stage in refused)


def _fail_if_refused(done: Sequence[KeyDone]) -> None:
    reasons = [reason for one in done if (reason := why(one))]
    if reasons:
        more = f"; and {len(reasons) - REASONS} more" if len(reasons) > REASONS else ""
        raise dg.Failure(
            f"{len(reasons)} of {len(done)} keys could not be done: {'; '.join(reasons[:REASONS])}{more}",
            metadata={"more": asking("KEY")},
            allow_retries=False,
        )
