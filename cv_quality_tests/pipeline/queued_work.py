"""A code location of small work for the tests of the queue: a file each, asked for by a sensor until it is there."""

import os
import time
from pathlib import Path

import dagster as dg

FOLDER = Path(os.environ["QUEUED_WORK"])
N_RUNS = int(os.environ["QUEUED_RUNS"])
IDENTITY_TAG = os.environ["QUEUED_TAG"]


@dg.asset
def written(context: dg.AssetExecutionContext) -> None:
    """Work for a moment, then leave an empty file."""
    time.sleep(1)
    (FOLDER / context.run.tags[IDENTITY_TAG]).touch()


work = dg.define_asset_job("work", selection=[written], executor_def=dg.in_process_executor)


@dg.sensor(job=work, minimum_interval_seconds=2, default_status=dg.DefaultSensorStatus.RUNNING)
def work_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask for what is not done, as the sensors of a task do."""
    # Each run is a process that imports this module, and needs none of these.
    from cv_quality.lake.lake import TableKey
    from cv_quality.pipeline.sensors import identity_tags, sensor_result
    from cv_quality.planning import Work
    from cv_quality.tasks.verification.task import VERIFICATION

    every = [Work(TableKey(), f"piece {number}") for number in range(N_RUNS)]
    left = [item for item in every if not (FOLDER / identity_tags(item)[IDENTITY_TAG]).exists()]
    return sensor_result(context, VERIFICATION, left, only=[written.key])


defs = dg.Definitions(assets=[written], jobs=[work], sensors=[work_sensor])
