"""What starts runs by itself: completed drops, validated drops that lack scores, builds that lack a report.

What there is to do is asked of `cv_quality.planning`; here it is held against the runs that exist. A run key is the
identity of the work and the number of the attempt: Dagster never repeats a key, so the same work is requested once,
and again only when a finished run left it undone, up to a limit of failures in a row. A run that somebody terminated is
not requested again. No sensor keeps a list of what it ever saw.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import takewhile

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG

from cv_quality.freshness import Freshness
from cv_quality.pipeline.jobs import job_name
from cv_quality.pipeline.marts import mart_specs
from cv_quality.pipeline.partitions import builds_of, drops_of, partition_of
from cv_quality.planning import Work, due, due_now, warehouse_due
from cv_quality.stage import REPORT_JOB, Task, phases_of
from cv_quality.workspace import Workspace

IDENTITY_TAG = "cvq/identity"
MAX_ATTEMPTS = 3
MAX_REQUESTS = 100
"""Runs that one tick requests at most; the next ticks request the rest, in order."""
_IDENTITIES_A_QUERY = 500
_ATTEMPT = ":attempt"
FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNDER_WAY = [status for status in dg.DagsterRunStatus if status not in FINISHED]
INTERVAL_SECONDS = 2
"""The daemon looks every 5 s; a sensor that asks for exactly that comes a moment early and waits for 10."""


def task_sensors(task: Task, tasks: Sequence[Task]) -> list[dg.SensorDefinition]:
    """Define one sensor for each job of the task; the first task's that reports looks after the metric tables too."""
    return [_sensor(task, job, tasks if (task, job) == (tasks[0], REPORT_JOB) else ()) for job in task.jobs]


def _sensor(task: Task, job: str, published: Sequence[Task]) -> dg.SensorDefinition:
    name, description = _SENSORS[job]

    @dg.sensor(
        name=f"{task.name}_{name}",
        job_name=job_name(task, job),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def sensor(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
        at_work = partitions_at_work(context, task, job)  # Before the look: what ends after it is planned as it was.
        looks = [Freshness(workspace, other) for other in (task, *(other for other in published if other is not task))]
        given_up = partial(_given_up, context.instance)
        work = free_work(due_now(looks[0], job, given_up=given_up), at_work)
        result = sensor_result(context, task, work, look_again=lambda: due(workspace, task, job, given_up=given_up))
        if not published or result.run_requests:
            return result
        alone = warehouse_due(looks, given_up=given_up)
        work = free_work([alone] if alone else [], at_work)
        return sensor_result(context, task, work, only=[spec.key for spec in mart_specs(published)])

    return sensor


_SENSORS = {
    "ingest_drop": (
        "completed_drop_sensor",
        "Requests one run for every completed drop; a corrected manifest is a new identity.",
    ),
    "evaluate_build_on_drop": (
        "validated_drop_sensor",
        "Scores every validated drop with its own build's model and with the baseline's.",
    ),
    "report_build": (
        "measured_build_sensor",
        "Reports a build once all its drops are scored, and again when they changed.",
    ),
    "draw_maps": (
        "reported_build_sensor",
        "Draws the maps of a reported build's failures, and writes its page again with them.",
    ),
}


def identity_tags(work: Work) -> dict[str, str]:
    """Make the tag by which a run is recognised as the run of this work; tag values are short, so a digest."""
    return {IDENTITY_TAG: hashlib.sha256(work.identity.encode()).hexdigest()[:32]}


def partitions_for(task: Task, work: Sequence[Work]) -> dict[dg.DynamicPartitionsDefinition, list[str]]:
    """List the dynamic partitions that must exist before the work can run."""
    return {
        drops_of(task.name): sorted({item.key.drop for item in work if item.key.drop}),
        builds_of(task.name): sorted({item.key.build for item in work if item.key.build}),
    }


def sensor_result(
    context: dg.SensorEvaluationContext,
    task: Task,
    work: Sequence[Work],
    *,
    job: str | None = None,
    look_again: Callable[[], list[Work]] | None = None,
    only: Sequence[dg.AssetKey] | None = None,
) -> dg.SensorResult:
    """Request the first pieces of work that are neither under way nor given up.

    Args:
        task: whose partitions the work is keyed by.
        work: that is due.
        job: the name of the one to run, where the sensor launches several.
        look_again: plans what is due now.
        only: the assets to be made, where not all of the job are; they have no partitions.
    """
    attempts = _next_attempts(context, work)
    if look_again and any(attempt > 1 for attempt in attempts.values()):
        # A run that ended between the plan and the look at the runs has done its work by now.
        still = {*look_again()}
        attempts = {item: attempt for item, attempt in attempts.items() if item in still}
    return dg.SensorResult(
        skip_reason=None if attempts else _idle(work),
        run_requests=[
            dg.RunRequest(
                run_key=f"{item.identity}{_ATTEMPT}{attempt}",
                job_name=job,
                tags=identity_tags(item),
                partition_key=None if only else partition_of(item.key),
                asset_selection=only,
            )
            for item, attempt in attempts.items()
        ],
        dynamic_partitions_requests=[
            definition.build_add_request(new)
            for definition, keys in partitions_for(task, list(attempts)).items()
            if keys and (new := sorted({*keys}.difference(_partitions(context.instance, definition))))
        ],
    )


def _idle(work: Sequence[Work]) -> str:
    """Say why nothing is requested."""
    if not work:
        return "nothing is due that is not under way"
    return f"{len(work):,} due, all of them under way or given up: `cvq why KEY` says what one lacks"


def _partitions(instance: dg.DagsterInstance, definition: dg.DynamicPartitionsDefinition) -> Sequence[str]:
    return instance.get_dynamic_partitions(str(definition.name))


def free_work(work: Sequence[Work], at_work: Collection[str | None]) -> list[Work]:
    """Leave out the work on whose partition something is at work."""
    return [item for item in work if partition_of(item.key) not in at_work]


def partitions_at_work(context: dg.SensorEvaluationContext, task: Task, job: str) -> set[str | None]:
    """List the partitions for which a job is under way that makes some of what this one makes, or this one itself.

    What is left to do of a key changes with every stage of a run, and with it the identity of the work.
    """
    makes = {*phases_of(job)}
    names = {job_name(task, other) for other in task.jobs if not makes.isdisjoint(phases_of(other))}
    records = context.instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY))
    return {run.tags.get(PARTITION_NAME_TAG) for record in records if (run := record.dagster_run).job_name in names}


def _next_attempts(context: dg.SensorEvaluationContext, work: Sequence[Work]) -> dict[Work, int]:
    """Number the next attempts at the first pieces of work that should start now, in order.

    Work that is due again after a run that succeeded (a correction taken back, a report deleted) is tried as often as
    if it were new.
    """
    attempts: dict[Work, int] = {}
    given_up: list[Work] = []
    for item, runs in _runs_of(context.instance, work):
        if any(not run.is_finished for run in runs):
            continue
        if _is_given_up(runs):
            given_up.append(item)
            continue
        attempts[item] = 1 + max([len(runs), *map(_number, runs)])
        if len(attempts) == MAX_REQUESTS:
            break
    if given_up:
        context.log.warning(
            f"given up, {len(given_up)} in all: {', '.join(str(item.key) for item in given_up[:3])}: {MAX_ATTEMPTS} "
            "runs failed, or somebody terminated the last one; mend what `cvq why` names, then launch it"
        )
    return attempts


def _given_up(instance: dg.DagsterInstance, work: Sequence[Work]) -> Collection[Work]:
    """Which work no sensor will request any more."""
    return {
        item for item, runs in _runs_of(instance, work) if all(run.is_finished for run in runs) and _is_given_up(runs)
    }


def _runs_of(instance: dg.DagsterInstance, work: Sequence[Work]) -> Iterator[tuple[Work, list[dg.DagsterRun]]]:
    """Give each piece of work with its runs, the latest first."""
    for start in range(0, len(work), _IDENTITIES_A_QUERY):
        items = {identity_tags(item)[IDENTITY_TAG]: item for item in work[start : start + _IDENTITIES_A_QUERY]}
        runs: dict[str, list[dg.DagsterRun]] = {tag: [] for tag in items}
        for record in instance.get_run_records(dg.RunsFilter(tags={IDENTITY_TAG: list(items)})):
            runs[record.dagster_run.tags[IDENTITY_TAG]].append(record.dagster_run)
        yield from ((item, runs[tag]) for tag, item in items.items())


def _is_given_up(runs: Sequence[dg.DagsterRun]) -> bool:
    """Whether the last run was terminated by somebody, or as many as are allowed failed since one succeeded."""
    if runs and runs[0].status == dg.DagsterRunStatus.CANCELED:
        return True
    failed = list(takewhile(lambda run: run.status != dg.DagsterRunStatus.SUCCESS, runs))
    return len(failed) >= MAX_ATTEMPTS


def _number(run: dg.DagsterRun) -> int:
    """The number of the attempt that a run was requested as; of one that no sensor requested 0."""
    number = run.tags.get(RUN_KEY_TAG, "").rpartition(_ATTEMPT)[2]
    return int(number) if number.isdecimal() else 0
