"""Launch runs as Dagster does by default, and tell its monitoring which of them have lost their process.

Dagster's own launcher cannot say whether a run still works, so that after a power cut one would be under way for ever.
`dagster.yaml` names this one. What is done about a lost run is Dagster's: it fails, and the sensors ask for it again.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import GetCurrentRunsResult
from dagster_shared.serdes import deserialize_value

from cv_quality.lake.store import PRIVATE_FILE, make_private

CLOCK_SLACK_SECONDS = 5.0
"""How far the clock may have been set forward since a process said its number, before it is taken for another one."""


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Launches each run once, in a process of the code server, and looks whether that is alive."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run once: of two daemons that take it up, the second one's process would end at once and fail it."""
        folder = Path(self._instance.storage_directory()) / context.dagster_run.run_id
        make_private(folder)
        launched = folder / "launched"
        try:
            launched.touch(PRIVATE_FILE, exist_ok=False)
        except FileExistsError:
            return
        try:
            super().launch_run(context)
        except BaseException:
            launched.unlink()
            raise

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Look for the process of a run: here by its number, elsewhere by asking the code server that started it.

        Of a run whose code server does not answer nothing is known, so that it counts as working.
        """
        server = json.loads(run.tags.get(GRPC_INFO_TAG, '{"socket": ""}'))
        if "socket" not in server:
            return _asked(server, run)
        events = self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        said = [
            (int(str(event.dagster_event.engine_event_data.metadata["pid"].value)), event.timestamp)
            for event in events
            if event.dagster_event and "pid" in event.dagster_event.engine_event_data.metadata
        ]
        if not said or any(_is_alive(pid, since=since) for pid, since in said):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        numbers = ", ".join(str(pid) for pid in dict(said))
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"its process ({numbers}) is gone")


def _asked(server: Mapping[str, Any], run: dg.DagsterRun) -> CheckRunHealthResult:
    """Ask a code server on another machine, or in another container, whether it still works on a run."""
    client = DagsterGrpcClient(host=server["host"], port=server.get("port"), use_ssl=bool(server.get("use_ssl", False)))
    try:
        found = deserialize_value(client.get_current_runs(), GetCurrentRunsResult)
    except DagsterUserCodeUnreachableError:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    if run.run_id in found.current_runs or found.serializable_error_info:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"the code server at {server['host']} does not work on it")


def _is_alive(pid: int, *, since: float) -> bool:
    """Whether a process is there that already was at a time; another one may have got its number later.

    Args:
        pid: its number.
        since: when it said so, in Unix seconds.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except FileNotFoundError:
        return not Path("/proc/stat").exists()
    started = int(boot.split()[1]) + int(fields[18]) / os.sysconf("SC_CLK_TCK")
    return state != "Z" and started < since + CLOCK_SLACK_SECONDS
