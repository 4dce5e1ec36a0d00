"""The jobs that sensors, backfills and people launch: one per task and partition space, in the order of the data."""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from cv_quality.pipeline.marts import mart_specs
from cv_quality.stage import Task, phases_of


def job_name(task: Task, job: str) -> str:
    return f"{task.name}_{job}"


def task_jobs(task: Task, tasks: Sequence[Task]) -> Iterator[UnresolvedAssetJobDefinition]:
    """Define the jobs of a task, each of the stages of its phases; those that report make the metric tables too."""
    for job in task.jobs:
        phases = phases_of(job)
        keys = [dg.AssetKey([task.name, asset]) for stage in task.of_job(job) for asset in stage.assets]
        if any(phase.reads_warehouse for phase in phases):
            keys += [spec.key for spec in mart_specs(tasks)]
        name, about = job_name(task, job), f"{task.title}: {phases[0].about}"
        yield dg.define_asset_job(
            name, selection=dg.AssetSelection.assets(*keys), description=about, tags={"task": task.name}
        )
