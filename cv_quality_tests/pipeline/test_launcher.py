"""Dagster's monitoring learns which runs have lost their process, and of which nothing is known."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from cv_quality.pipeline.instance import prepare_home
from cv_quality.pipeline.launcher import _is_alive


def health(home: Path, *processes: int, tags: Mapping[str, str] | None = None) -> WorkerStatus:
    """What the launcher says of a run in which these processes gave their number just now."""
    with dg.DagsterInstance.from_config(str(prepare_home(home))) as instance:
        job = dg.GraphDefinition(name="nothing").to_job()
        run = instance.create_run_for_job(job, tags=tags)
        for process in processes:
            instance.report_engine_event("works", run, EngineEventData.in_process(process))
        return instance.run_launcher.check_run_worker_health(run).status


def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_run_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    assert health(tmp_path, ended()) is WorkerStatus.NOT_FOUND


def test_a_run_works_while_any_process_that_took_it_up_is_there(tmp_path: Path) -> None:
    assert health(tmp_path, os.getpid(), ended()) is WorkerStatus.RUNNING


def test_a_run_that_has_named_no_process_counts_as_working(tmp_path: Path) -> None:
    assert health(tmp_path) is WorkerStatus.RUNNING


def test_of_a_run_on_another_machine_nothing_is_known(tmp_path: Path) -> None:
    tags = {GRPC_INFO_TAG: json.dumps({"host": "elsewhere.example.org", "port": 4000})}
    assert health(tmp_path, ended(), tags=tags) is WorkerStatus.RUNNING


def test_another_process_with_the_number_of_a_lost_one_is_not_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert _is_alive(process.pid, since=time.time())
        assert not _is_alive(process.pid, since=time.time() - 600)


def test_a_process_that_ended_and_that_nobody_took_note_of_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not _is_alive(process.pid, since=time.time())
