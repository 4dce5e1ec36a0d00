"""`cvq ui` as a process of its own: what its GraphQL answers, and the runs that it works on.

Each one listens on 127.0.0.1 on a free port and is stopped by its own process id. Nothing here is a test.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from cv_quality.pipeline.marts import mart_specs
from cv_quality.tasks import TASKS
from cv_quality_tests.servers import answers, free_port, wait_until

SLOW = 240
"""Seconds that anything here may take on a machine that is busy with other tests."""
FINISHED = ("SUCCESS", "FAILURE", "CANCELED")
CELL_ASSETS = ("embeddings", "comparisons", "attempt_outcomes", "metric_counts")
MARTS = [list(spec.key.path) for spec in mart_specs(TASKS)]

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ui:
    """A running UI and the deployment behind it."""

    port: int
    home: Path
    log: Path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ask(self, query: str, variables: Mapping[str, object] | None = None) -> Answer:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        request = urllib.request.Request(self.url("/graphql"), data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            decoded: Answer = json.load(answer)
        assert "errors" not in decoded, decoded["errors"]
        data: Answer = decoded["data"]
        return data

    def runs(self, job: str | None = None) -> list[Answer]:
        """The runs of a job, the latest first."""
        answer = self.ask(RUNS, {"filter": {"pipelineName": job} if job else {}})
        return [run | {"partition": _partition(run)} for run in answer["runsOrError"]["results"]]

    def wait_for_runs(self, job: str, *, count: int) -> list[Answer]:
        """The runs of a job, once at least so many have succeeded; a failed one fails the test at once."""
        found: list[Answer] = []

        def are_done() -> bool:
            found[:] = self.runs(job)
            assert not [run for run in found if run["status"] in ("FAILURE", "CANCELED")], found
            return len([run for run in found if run["status"] == "SUCCESS"]) >= count

        wait_until(are_done, what=f"{count} finished runs of {job}", seconds=SLOW, every=0.25)
        return found

    def status(self, run: str) -> str:
        found: str = self.ask(STATUS, {"id": run})["runOrError"]["status"]
        return found

    def wait_for_end(self, run: str, *, seconds: float = SLOW) -> str:
        """How a run ended."""
        wait_until(lambda: self.status(run) in FINISHED, what=f"the end of run {run}", seconds=seconds, every=0.25)
        return self.status(run)

    def launch(self, assets: list[list[str]]) -> str:
        """Start a run of these assets, as a click on *Materialize* does."""
        selector = {
            "repositoryLocationName": "cv_quality.definitions",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": path} for path in assets],
        }
        launched = self.ask(LAUNCH, {"params": {"selector": selector, "runConfigData": {}}})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run: str = launched["run"]["runId"]
        return run

    def launch_in_step(self, assets: list[list[str]], step: str) -> tuple[str, int]:
        """Start a run and wait until it works on a step; returns its id and the number of its process."""
        run = self.launch(assets)
        wait_until(lambda: step in self.steps(run), what=f"step {step}", seconds=SLOW, every=0.1)
        return run, self.process(run)

    def add_partitions(self, name: str, keys: Sequence[str]) -> None:
        """Make dynamic partitions, as the sensors do."""
        with dg.DagsterInstance.from_config(str(self.home / "dagster")) as instance:
            instance.add_dynamic_partitions(name, keys)

    def steps(self, run: str) -> set[str]:
        """The steps that a run has begun."""
        return {record.step_key or "" for record in self._events(run, dg.DagsterEventType.STEP_START)}

    def process(self, run: str) -> int:
        """The number of the process that a run works in."""
        first = self._events(run, dg.DagsterEventType.ENGINE_EVENT)
        numbers = [
            str(record.dagster_event.engine_event_data.metadata["pid"].value)
            for record in first
            if record.dagster_event and "pid" in record.dagster_event.engine_event_data.metadata
        ]
        return int(numbers[0])

    def _events(self, run: str, kind: dg.DagsterEventType) -> list[dg.EventLogEntry]:
        with dg.DagsterInstance.from_config(str(self.home / "dagster")) as instance:
            return list(instance.all_logs(run, of_type=kind))

    def deliver(self, landing: Path, drop: str) -> float:
        """Put a drop into the landing area, its manifest last; returns when it was complete, in Unix seconds."""
        target = self.home / "landing" / drop
        target.mkdir(parents=True)
        for file in sorted((landing / drop).iterdir(), key=lambda file: file.name == "manifest.json"):
            shutil.copyfile(file, target / f".{file.name}")
            (target / f".{file.name}").rename(target / file.name)
        return (target / "manifest.json").stat().st_mtime


STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
TERMINATE = "mutation Terminate($id: String!) { terminateRun(runId: $id) { __typename } }"
CANCEL_BACKFILL = "mutation Cancel($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"
RUNS = """
query Runs($filter: RunsFilter!) {
  runsOrError(filter: $filter) {
    ... on Runs { results { runId jobName status creationTime startTime endTime tags { key value } } }
  }
}
"""
LAUNCH_BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status numPartitions } }
}
"""
MATERIALIZED = """
query Materialized($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode { assetMaterializations(limit: 100) { partition timestamp } }
  }
}
"""


def _partition(run: Answer) -> str | None:
    return next((tag["value"] for tag in run["tags"] if tag["key"] == "dagster/partition"), None)


@contextmanager
def serving(home: Path, *, log: Path, port: int | None = None) -> Iterator[tuple[Ui, "subprocess.Popen[bytes]"]]:
    """Serve a deployment with `cvq ui`; yields it with the process, which may be ended before.

    Args:
        home: the deployment's folder.
        log: gets what it says, after what is there.
        port: a free one when none is given.
    """
    running = Ui(port or free_port(), home, log)
    command = [str(Path(sys.executable).parent / "cvq"), "ui", "--port", str(running.port)]
    environment = {**os.environ, "CVQ_HOME": str(home), "CVQ_THREADS": "1"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=home.parent)
        try:
            wait_until(
                lambda: process.poll() is not None or answers(running.port, "/server_info"), what="the UI", seconds=SLOW
            )
            assert process.poll() is None, log.read_text()
            yield running, process
        finally:
            process.terminate()
            process.wait(timeout=60)


def descendants(process: int) -> list[int]:
    """The numbers of a process and of all that it started, as far as their starters live."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [process]
    for number in found:
        found += children.get(number, [])
    return found


def alive(processes: list[int]) -> list[int]:
    """Those of the processes that still are there."""
    states = {number: Path(f"/proc/{number}/stat") for number in processes}
    left = []
    for number, state in states.items():
        with suppress(OSError):
            if not state.read_text().rpartition(")")[2].split()[0].startswith("Z"):
                left.append(number)
    return left


def power_cut(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it started at once."""
    every = descendants(process.pid)
    for number in every:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not alive(every), what="the end of every process", seconds=60)
