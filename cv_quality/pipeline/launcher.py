"""Launch runs as Dagster does by default, and tell its monitoring which of them have lost their process.

Dagster's own launcher cannot say whether a run still works, so that after a power cut one would be under way for ever.
`dagster.yaml` names this one. What is done about a lost run is Dagster's: it fails, and the sensors ask for it again.
"""

import json
import os
from pathlib import Path

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

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
        """Look for the process of a run; of one on another machine nothing is known, so that it counts as working."""
        events = self._instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        said = [
            (int(str(event.dagster_event.engine_event_data.metadata["pid"].value)), event.timestamp)
            for event in events
            if event.dagster_event and "pid" in event.dagster_event.engine_event_data.metadata
        ]
        is_here = "socket" in json.loads(run.tags.get(GRPC_INFO_TAG, '{"socket": ""}'))
        if not is_here or not said or any(_is_alive(pid, since=since) for pid, since in said):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        numbers = ", ".join(str(pid) for pid in dict(said))
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"its process ({numbers}) is gone")


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
