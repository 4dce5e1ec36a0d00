"""The code location: what `workspace.yaml` loads.

`build_definitions` makes a fresh set for any settings and tasks, so tests and the command line use the same one as the
UI. The environment is read when Dagster asks for `defs`, not when this module is imported.
"""

from collections.abc import Sequence

import dagster as dg

from cv_quality.pipeline.arrivals import arrivals_sensor
from cv_quality.pipeline.assets import task_assets
from cv_quality.pipeline.batches import Batches, batch_jobs
from cv_quality.pipeline.digest import digest_job, digest_schedule
from cv_quality.pipeline.failures import failed_run_sensor
from cv_quality.pipeline.jobs import task_jobs
from cv_quality.pipeline.marts import marts_asset
from cv_quality.pipeline.monitoring import monitoring_asset, monitoring_job, monitoring_sensor
from cv_quality.pipeline.publishing import publishing_asset, publishing_job
from cv_quality.pipeline.sensors import task_sensors
from cv_quality.settings import Settings
from cv_quality.stage import Task
from cv_quality.tasks import TASKS, open_workspace
from cv_quality.tasks.monitoring.watched import watched_tasks


def build_definitions(settings: Settings, tasks: Sequence[Task] = TASKS) -> dg.Definitions:
    """Build the assets, checks, jobs, schedules and sensors of the tasks over the stores of `settings`."""
    watched = watched_tasks(tasks)
    return dg.Definitions(
        assets=[
            *(asset for task in tasks for asset in task_assets(task, tasks, owners=settings.owners)),
            marts_asset(tasks, owners=settings.owners),
            *(publishing_asset(task) for task in tasks if task.brief),
            *(monitoring_asset(task) for task in watched),
        ],
        jobs=[
            *(job for task in tasks for job in task_jobs(task, tasks)),
            *(publishing_job(task) for task in tasks if task.brief),
            *(monitoring_job(task) for task in watched),
            digest_job,
            *(job for task in tasks if settings.cluster for job in batch_jobs(task)),
        ],
        schedules=[digest_schedule],
        sensors=[
            failed_run_sensor,
            *(sensor for task in tasks for sensor in task_sensors(task, tasks)),
            *(monitoring_sensor(task) for task in watched),
            *([arrivals_sensor(settings.landing_queue, tasks)] if settings.landing_queue else []),
        ],
        resources={"workspace": open_workspace(settings, tasks), "batches": Batches()},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(Settings.from_environment())
