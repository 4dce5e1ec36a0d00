"""Watching builds: of each task one asset over all monitors that were declared, its check, and a sensor for new drops.

What is claimed of a build is declared by `cvq monitor`; how it is watched is in `cv_quality.tasks.monitoring`.
"""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from cv_quality.errors import MonitorError
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.running import Event, retrying_unreachable_stores
from cv_quality.pipeline.sensors import INTERVAL_SECONDS, sensor_result
from cv_quality.planning import Work
from cv_quality.stage import Task, asset_of
from cv_quality.tasks.monitoring.state import declared_builds, pending_identity, update_monitor
from cv_quality.tasks.monitoring.watched import WATCHED
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

CHECK = "no_alarm"


def monitoring_asset(task: Task) -> dg.AssetsDefinition:
    """Define the asset that counts new drops for every declared monitor of a task, and the check for alarms."""
    key = _key(task)

    @dg.asset(
        key=key,
        deps=[[task.name, asset_of(WATCHED[task.name].table)]],
        group_name=f"{task.name}_monitor",
        description="What is known of every watched build after each look: e-values and alarms.",
        kinds={"parquet"},
        check_specs=[dg.AssetCheckSpec(CHECK, asset=key, description="No watched build has an alarm.")],
    )
    def monitoring(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
        with retrying_unreachable_stores(context):
            states, alarms = _looked(workspace, task)
        yield dg.MaterializeResult(asset_key=key, metadata={"builds": len(states), "states": states})
        yield dg.AssetCheckResult(
            passed=not alarms, asset_key=key, check_name=CHECK, metadata={"alarms": alarms, "states": states}
        )

    return monitoring


def _key(task: Task) -> dg.AssetKey:
    return dg.AssetKey([task.name, "monitoring"])


def _job(task: Task) -> str:
    return f"{task.name}_watch_builds"


def _looked(workspace: Workspace, task: Task) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The state of every watched build, and what its alarms say."""
    states: dict[str, str] = {}
    alarms: dict[str, list[str]] = {}
    for build in declared_builds(workspace.lake, task.name):
        try:
            found = update_monitor(workspace, build)
        except MonitorError as error:
            states[build] = f"cannot be watched: {error}"
            continue
        states[build] = found.verdict
        said = [text for rate, text in zip(found.ordered, found.sentences, strict=True) if rate.is_alarm]
        if said:
            alarms[build] = said
    return states, alarms


def monitoring_job(task: Task) -> "UnresolvedAssetJobDefinition":
    """Define the job that looks at all watched builds of a task."""
    about = f"{task.title}: Every watched build, with the drops that came since the last look."
    return dg.define_asset_job(_job(task), selection=dg.AssetSelection.assets(_key(task)), description=about)


def monitoring_sensor(task: Task) -> dg.SensorDefinition:
    """Define the sensor that requests a look when a watched build has a measured drop that was not counted."""

    @dg.sensor(
        name=f"{task.name}_watched_build_sensor",
        job_name=_job(task),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at watched builds that have measured drops which were not counted.",
    )
    def sensor(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
        pending = [pending_identity(workspace, build) for build in declared_builds(workspace.lake, task.name)]
        digest = hashlib.sha256("\n".join(filter(None, pending)).encode()).hexdigest()[:32]
        work = [Work(TableKey(), f"monitors@{digest}")] if any(pending) else []
        return sensor_result(context, task, work, only=[_key(task)])

    return sensor
