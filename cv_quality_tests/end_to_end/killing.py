"""Processes that kill themselves in the middle of a stage, as a power cut would: no handler runs, nothing is tidied.

Each runs in a process forked from a server that has the heavy libraries loaded, so a death costs a second.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from cv_quality import runner, tasks
from cv_quality.lake import warehouse
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import LocalStore, S3Store, open_store
from cv_quality.settings import Settings
from cv_quality.stage import Stage, StageResult, Task
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace, quietly
from cv_quality_tests.drops import small_drops

Moment = Literal["before the first write", "after the first write"]
MOMENTS: tuple[Moment, ...] = ("before the first write", "after the first write")
STAGES = (
    "parse",
    "validate",
    "infer",
    "compare",
    "measure",
    "impostors",
    "measure_build",
    "measure_instances",
    "release",
    "slices",
    "attribution",
    "clusters",
    "publish_marts",
    "report",
    "explanations",
)
"""Of verification, in the order in which they are done."""
HEAVY = (
    "cv_quality_tests.end_to_end.killing",
    "cv_quality.tasks.verification.report.page",
    "duckdb_engine",
    "great_expectations.expectations",
    "torch._dynamo",
    "torch._inductor",
    "torch.export",
    "torch.onnx",
)

_server = multiprocessing.get_context("forkserver")


def exit_code_of(target: Callable[..., None], *arguments: object) -> int | None:
    """Run `target` in a process of its own; minus the number of the signal that ended it, or 0."""
    _server.set_forkserver_preload(list(HEAVY))
    process = _server.Process(target=target, args=arguments)
    process.start()
    process.join(timeout=300)
    return process.exitcode


def run_until(home: Path, stage: str, moment: Moment, environment: Mapping[str, str] | None = None) -> None:
    """Do what is due, and die the first time that `stage` is at the given moment of publishing something.

    Args:
        home: of the deployment, where its `environment` does not say all.
    """
    original, publish = runner.run_stage, tasks.publish_marts

    def dying(workspace: Workspace, task: Task, which: Stage, key: TableKey) -> StageResult:
        if which.name == stage:
            _die_when_publishing(moment)
        return original(workspace, task, which, key)

    def publishing(workspace: Workspace, every: Sequence[Task]) -> StageResult:
        if stage == "publish_marts":
            _die_when_publishing(moment)
        return publish(workspace, every)

    setattr(runner, "run_stage", dying)  # noqa: B010 - the names are the module's own imports
    setattr(runner, "publish_marts", publishing)  # noqa: B010
    settings = Settings.from_environment(environment) if environment else None
    runner.run_due(tasks.open_workspace(settings) if settings else open_workspace(home), track=quietly)


def deliver_until(landing: Path, moment: Moment) -> None:
    """Write a drop over the one that lies there, and die with its events published and its manifest not."""
    with small_drops.drop_writer(open_store(str(landing)), events_per_file=1) as writer:
        writer.add_event("device", **small_drops.DEVICE)
        _die_when_publishing(moment)
        writer.add_event("subject", **small_drops.SUBJECT)


def _die_when_publishing(moment: Moment) -> None:
    """From here on, the first object put, report or warehouse ends the process."""
    puts = [(store, name) for store in (LocalStore, S3Store) for name in ("put_file", "write_bytes")]
    for owner, name in (*puts, (warehouse, "_run_dbt")):
        setattr(owner, name, _fatal(getattr(owner, name), moment))


def _fatal(function: Callable[..., object], moment: Moment) -> Callable[..., object]:
    def fatal(*arguments: object, **options: object) -> object:
        if moment == "after the first write":
            function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    return fatal
