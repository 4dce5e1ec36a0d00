"""A code location of small work for the tests of the queue: a file each, asked for by a sensor until it is there."""

import os
import time
from pathlib import Path

import dagster as dg

from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.sensors import IDENTITY_TAG, identity_tags, sensor_result
from cv_quality.planning import Work
from cv_quality.tasks.verification.task import VERIFICATION

FOLDER = Path(os.environ["QUEUED_WORK"])
N_RUNS = int(os.environ["QUEUED_RUNS"])


@dg.op
def write_file(context: dg.OpExecutionContext) -> None:
    """Say when it worked, in a file that appears at its end."""
    started = time.time()
    time.sleep(0.3)
    path = FOLDER / context.run_tags[IDENTITY_TAG]
    path.with_suffix(".part").write_text(f"{started} {time.time()}")
    path.with_suffix(".part").rename(path)


@dg.job(executor_def=dg.in_process_executor)
def work() -> None:
    write_file()


@dg.sensor(job=work, minimum_interval_seconds=2, default_status=dg.DefaultSensorStatus.RUNNING)
def work_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask for what is not done, as the sensors of a task do."""
    every = [Work(TableKey(), f"piece {number}") for number in range(N_RUNS)]
    left = [item for item in every if not (FOLDER / identity_tags(item)[IDENTITY_TAG]).exists()]
    return sensor_result(context, VERIFICATION, left)


defs = dg.Definitions(jobs=[work], sensors=[work_sensor])
