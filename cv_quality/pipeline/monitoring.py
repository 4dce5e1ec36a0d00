"""Watching builds: one asset over all monitors that were declared, its check, and the sensor that looks at new drops.

What is claimed of a build is declared by `cvq monitor`; how it is watched is in
`cv_quality.tasks.verification.monitoring`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from cv_quality.errors import MonitorError
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.running import Event, retrying_unreachable_stores
from cv_quality.pipeline.sensors import INTERVAL_SECONDS, sensor_result
from cv_quality.planning import Work
from cv_quality.stage import Task, asset_of
from cv_quality.tasks.verification.monitoring import declared_builds, pending_identity, update_monitor
from cv_quality.tasks.verification.tables import METRIC_COUNTS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

KEY = dg.AssetKey([VERIFICATION.name, "monitoring"])
JOB = f"{VERIFICATION.name}_watch_builds"
CHECK = "no_alarm"


def is_watched(tasks: Sequence[Task]) -> bool:
    """Tell whether the task whose builds can be watched is among them."""
    return any(task.name == VERIFICATION.name for task in tasks)


def monitoring_asset() -> dg.AssetsDefinition:
    """Define the asset that counts new drops for every declared monitor, and the check that none has an alarm."""

    @dg.asset(
        key=KEY,
        deps=[[VERIFICATION.name, asset_of(METRIC_COUNTS)]],
        group_name=f"{VERIFICATION.name}_monitor",
        description="What is known of every watched build after each look: e-values and alarms.",
        kinds={"parquet"},
        check_specs=[dg.AssetCheckSpec(CHECK, asset=KEY, description="No watched build has an alarm.")],
    )
    def monitoring(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
        with retrying_unreachable_stores(context):
            states, alarms = _looked(workspace)
        yield dg.MaterializeResult(asset_key=KEY, metadata={"builds": len(states), "states": states})
        yield dg.AssetCheckResult(
            passed=not alarms, asset_key=KEY, check_name=CHECK, metadata={"alarms": alarms, "states": states}
        )

    return monitoring


def _looked(workspace: Workspace) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The state of every watched build, and what its alarms say."""
    states: dict[str, str] = {}
    alarms: dict[str, list[str]] = {}
    for build in declared_builds(workspace.lake):
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


def monitoring_job() -> "UnresolvedAssetJobDefinition":
    """Define the job that looks at all watched builds."""
    about = f"{VERIFICATION.title}: Every watched build, with the drops that came since the last look."
    return dg.define_asset_job(JOB, selection=dg.AssetSelection.assets(KEY), description=about)


def monitoring_sensor() -> dg.SensorDefinition:
    """Define the sensor that requests a look when a watched build has a measured drop that was not counted."""

    @dg.sensor(
        name=f"{VERIFICATION.name}_watched_build_sensor",
        job_name=JOB,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at watched builds that have measured drops which were not counted.",
    )
    def sensor(context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]) -> dg.SensorResult:
        pending = [pending_identity(workspace, build) for build in declared_builds(workspace.lake)]
        digest = hashlib.sha256("\n".join(filter(None, pending)).encode()).hexdigest()[:32]
        work = [Work(TableKey(), f"monitors@{digest}")] if any(pending) else []
        return sensor_result(context, VERIFICATION, work, only=[KEY])

    return sensor
