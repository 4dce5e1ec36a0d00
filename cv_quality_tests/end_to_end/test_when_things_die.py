"""What is left of a run that is killed, cancelled or lost: nothing that a person must clean up.

The daemon, the UI, its runs and what kills them are the real ones.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import FIRST_DROP, SECOND_DROP
from cv_quality_tests.end_to_end.serving import (
    BACKFILL,
    CANCEL_BACKFILL,
    CELL_ASSETS,
    FINISHED,
    LAUNCH_BACKFILL,
    MARTS,
    SLOW,
    TERMINATE,
    Ui,
    alive,
    descendants,
    power_cut,
    serving,
)
from cv_quality_tests.servers import free_port, wait_until

pytestmark = pytest.mark.nightly
STOPPED_WITHIN = 10.0
"""Seconds in which everything is gone that was told to stop."""


@pytest.fixture
def home(history: History, tmp_path: Path) -> Path:
    """A copy of the deployment in which both drops are done."""
    shutil.copytree(history.home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def ui(home: Path) -> Iterator[Ui]:
    with serving(home, log=home.parent / "ui.log") as (running, _):
        yield running


def test_a_worker_killed_in_the_marts_holds_no_later_run_up(ui: Ui) -> None:
    run, process = ui.launch_in_step(MARTS, "marts")
    os.kill(process, signal.SIGKILL)
    assert ui.wait_for_end(run) == "FAILURE"
    assert ui.wait_for_end(ui.launch(MARTS)) == "SUCCESS"


def test_a_terminated_step_is_canceled_and_not_done_again(ui: Ui) -> None:
    run, process = ui.launch_in_step(MARTS, "marts")
    assert ui.ask(TERMINATE, {"id": run})["terminateRun"]["__typename"] == "TerminateRunSuccess"
    assert ui.wait_for_end(run, seconds=40) == "CANCELED"
    wait_until(lambda: not alive([process]), what="the end of the worker", seconds=60)
    assert [item["runId"] for item in ui.runs()] == [run]


def terminated(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait()


@pytest.mark.parametrize("end", [power_cut, terminated], ids=["power cut", "terminated"])
def test_a_run_lost_with_all_processes_fails_and_is_done_again(
    home: Path, end: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    (home / "reports" / "face-1.2.html").unlink()
    log = home.parent / "ui.log"
    with serving(home, log=log) as (ui, process):
        wait_until(lambda: any(ui.steps(run["runId"]) for run in ui.runs()), what="a run", seconds=SLOW)
        (lost,) = ui.runs("verification_report_build")
        end(process)
    with serving(home, log=log) as (ui, _):
        assert ui.wait_for_end(lost["runId"], seconds=60) == "FAILURE"
        wait_until(lambda: len(ui.runs()) > 1, what="another attempt", seconds=SLOW)
        (again,) = (run for run in ui.runs() if run["runId"] != lost["runId"])
        assert again["partition"] == lost["partition"]
        assert ui.wait_for_end(again["runId"]) == "SUCCESS"
    assert (home / "reports" / "face-1.2.html").is_file()


def test_a_terminated_ui_takes_its_workers_with_it(home: Path) -> None:
    with serving(home, log=home.parent / "ui.log") as (ui, process):
        ui.launch_in_step(MARTS, "marts")
        every = descendants(process.pid)
        assert len(every) > 5
        started = time.monotonic()
        process.terminate()
        wait_until(lambda: process.poll() is not None and not alive(every), what="the end", seconds=60)
        assert time.monotonic() - started < STOPPED_WITHIN


def test_a_second_ui_on_the_same_home_is_refused(ui: Ui) -> None:
    command = [sys.executable, "-m", "cv_quality.cli", "ui", "--port", str(free_port())]
    second = subprocess.run(command, env={**os.environ, "CVQ_HOME": str(ui.home)}, capture_output=True, text=True)
    assert second.returncode == 1
    assert f"another `cvq ui` serves {ui.home / 'dagster'} (process " in second.stderr


def test_a_canceled_backfill_ends_the_runs_that_it_has_started(ui: Ui) -> None:
    builds, drops = ("face-1.1", "face-1.2"), (FIRST_DROP, SECOND_DROP)
    ui.add_partitions("verification_build", builds)
    ui.add_partitions("verification_drop", drops)
    cells = [f"{build}|{drop}" for build in builds for drop in drops]
    assets = [{"path": ["verification", name]} for name in CELL_ASSETS]
    params = {"assetSelection": assets, "partitionNames": cells}
    backfill = ui.ask(LAUNCH_BACKFILL, {"params": params})["launchPartitionBackfill"]["backfillId"]
    wait_until(lambda: any(ui.steps(run["runId"]) for run in ui.runs()), what="a run", seconds=SLOW)
    canceled = ui.ask(CANCEL_BACKFILL, {"id": backfill})["cancelPartitionBackfill"]["__typename"]
    assert canceled == "CancelBackfillSuccess"

    def status() -> str:
        found: str = ui.ask(BACKFILL, {"id": backfill})["partitionBackfillOrError"]["status"]
        return found

    wait_until(lambda: status() == "CANCELED", what="the end of the backfill", seconds=SLOW)
    wait_until(lambda: all(run["status"] in FINISHED for run in ui.runs()), what="the end of its runs", seconds=60)
    assert "CANCELED" in {run["status"] for run in ui.runs()}


def test_a_run_that_two_daemons_take_up_is_done_once(ui: Ui) -> None:
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-m", "cv_quality.definitions"]
    environment = {**os.environ, "CVQ_HOME": str(ui.home), "DAGSTER_HOME": str(ui.home / "dagster")}
    log = ui.home.parent / "daemon.log"
    with log.open("wb") as output:
        second = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: b"Another" in log.read_bytes(), what="the second daemon", seconds=SLOW)
        runs = [ui.launch(MARTS) for _ in range(3)]
        assert {ui.wait_for_end(run) for run in runs} == {"SUCCESS"}
    finally:
        power_cut(second)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", [("run",), ("demo", "--scenario", "tiny")])
def test_a_command_that_is_told_to_stop_does_so_in_words(
    home: Path, command: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    (home / "warehouse.duckdb").unlink()
    program = [sys.executable, "-m", "cv_quality.cli", *command]
    environment = {**os.environ, "CVQ_HOME": str(home), "CVQ_THREADS": "1"}
    with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        wait_until(lambda: any(home.glob(".warehouse.duckdb-*")), what="the marts", seconds=SLOW)
        every = descendants(process.pid)
        started = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - started < STOPPED_WITHIN
    assert f"stopped by {number.name}" in said.decode()
    wait_until(lambda: not alive(every), what="the end of all that it started", seconds=STOPPED_WITHIN)
