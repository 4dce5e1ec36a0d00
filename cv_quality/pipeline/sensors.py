"""What starts runs by itself: completed drops, validated drops that lack scores, builds that lack a report.

What there is to do is asked of `cv_quality.planning`; here it is held against the runs that exist. A run key is the
identity of the work and the number of the attempt: Dagster never repeats a key, so the same work is requested once,
and again only when a finished run left it undone, up to a limit. No sensor keeps a list of what it ever saw.
"""

import hashlib
from collections.abc import Callable, Sequence

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from cv_quality.pipeline.jobs import job_name
from cv_quality.pipeline.marts import mart_specs
from cv_quality.pipeline.partitions import builds_of, drops_of, partition_of
from cv_quality.planning import Work, due, warehouse_due
from cv_quality.stage import REPORT_JOB, Task, phases_of
from cv_quality.workspace import Workspace

IDENTITY_TAG = "cvq/identity"
MAX_ATTEMPTS = 3
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
        def is_given_up(_job: str, work: Work) -> bool:
            return _is_given_up(context, work)

        def plan_marts() -> list[Work]:
            work = warehouse_due(workspace, published, is_given_up=is_given_up)
            return [work] if work else []

        result = _result(context, task, job, lambda: due(workspace, task, job, is_given_up=is_given_up))
        if not published or result.run_requests:
            return result
        return _result(context, task, job, plan_marts, only=[spec.key for spec in mart_specs(published)])

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


def _result(
    context: dg.SensorEvaluationContext,
    task: Task,
    job: str,
    plan: Callable[[], list[Work]],
    *,
    only: Sequence[dg.AssetKey] | None = None,
) -> dg.SensorResult:
    """Request every piece of work that is neither done nor under way nor given up.

    Args:
        task: whose partitions the work is keyed by.
        job: that does it.
        plan: the work that is due now.
        only: the assets to be made, where not all of the job are; they have no partitions.
    """
    at_work = _at_work(context, task, job)  # Before the plan: what ends after it is planned as it was.
    free = [item for item in plan() if partition_of(item.key) not in at_work]
    attempts = {item: attempt for item in free if (attempt := _next_attempt(context, item)) is not None}
    if any(attempt > 1 for attempt in attempts.values()):
        # A run that ended between the plan and the look at the runs has done its work by now.
        due = set(plan())
        attempts = {item: attempt for item, attempt in attempts.items() if item in due}
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{item.identity}:attempt{attempt}",
                tags=identity_tags(item),
                partition_key=None if only else partition_of(item.key),
                asset_selection=only,
            )
            for item, attempt in attempts.items()
        ],
        dynamic_partitions_requests=[
            definition.build_add_request(new)
            for definition, keys in partitions_for(task, list(attempts)).items()
            if (new := sorted({*keys}.difference(context.instance.get_dynamic_partitions(str(definition.name)))))
        ],
    )


def _is_given_up(context: dg.SensorEvaluationContext, work: Work) -> bool:
    """Whether no sensor will request this work any more."""
    records = context.instance.get_run_records(dg.RunsFilter(tags=identity_tags(work)))
    return len(records) >= MAX_ATTEMPTS and all(record.dagster_run.is_finished for record in records)


def _at_work(context: dg.SensorEvaluationContext, task: Task, job: str) -> set[str | None]:
    """The partitions for which another job is under way that makes some of what this one makes."""
    makes = {*phases_of(job)}
    names = {job_name(task, other) for other in task.jobs if other != job and not makes.isdisjoint(phases_of(other))}
    if not names:
        return set()
    records = context.instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY))
    return {run.tags.get(PARTITION_NAME_TAG) for record in records if (run := record.dagster_run).job_name in names}


def _next_attempt(context: dg.SensorEvaluationContext, work: Work) -> int | None:
    """The number of the next attempt, or None when no run should start now.

    Work that is due again after a run that succeeded (a correction taken back, a report deleted) is one more attempt.
    """
    records = context.instance.get_run_records(dg.RunsFilter(tags=identity_tags(work)))
    if any(not record.dagster_run.is_finished for record in records):
        return None
    if len(records) >= MAX_ATTEMPTS:
        context.log.warning(f"{work.identity}: given up after {len(records)} runs; mend it, then launch it")
        return None
    return len(records) + 1
