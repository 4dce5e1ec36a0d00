"""Commands that go through Dagster: the demo, backfills, and the UI."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import (
    CLUSTER,
    JSON,
    chosen_engine,
    open_deployment,
    print_rows,
    progress_bars,
    say,
)
from cv_quality.cli.drops import simulate_drops
from cv_quality.cli.stopping import going_on_after_interrupts
from cv_quality.errors import SettingsError
from cv_quality.lake.store import PRIVATE_FILE, typed_faults
from cv_quality.settings import Settings

if TYPE_CHECKING:
    from cv_quality.workspace import Workspace


@click.command()
@click.option("--build", "builds", multiple=True, help="A build of the grid; repeatable. Default: every known build.")
@click.option("--drop", "drops", multiple=True, help="A drop of the grid; repeatable. Default: every validated drop.")
@CLUSTER
@JSON
def backfill(builds: Sequence[str], drops: Sequence[str], cluster: str | None, as_json: bool) -> None:
    """Score builds on drops over the whole grid, as runs of the Dagster instance: one a cell, or one on a cluster.

    Exit code 1 where a cell could not be scored.
    """
    from cv_quality.pipeline.instance import backfill_grid

    workspace = open_deployment(cluster=cluster)
    with chosen_engine(workspace) as engine, progress_bars() as progress:
        again = engine.again() if engine else None
        cells = backfill_grid(workspace, builds=builds, drops=drops, track=progress.track, engine=again)
    print_rows(cells, as_json=as_json, title="grid")
    if failed := sum(not cell["succeeded"] for cell in cells):
        say(f"{failed} of {len(cells)} cells could not be scored", err=True)
        sys.exit(1)


@click.command()
@click.option("--scenario", default="demo", show_default=True, help="Packaged scenario or YAML file to simulate.")
@CLUSTER
def demo(scenario: str, cluster: str | None) -> None:
    """Simulate a fleet, evaluate every drop and build through Dagster, and report.

    What has been done already is not done again, so a second call takes seconds. Exit code 1 where something could not
    be done.
    """
    from cv_quality.drops.manifest import completed_drops
    from cv_quality.freshness import Freshness
    from cv_quality.planning import due_now, warehouse_due
    from cv_quality.simulation.load import load_any_scenario
    from cv_quality.simulation.studies import drop_ids
    from cv_quality.stage import JOBS
    from cv_quality.tasks import TASKS

    workspace = open_deployment(cluster=cluster)
    planned = set(drop_ids(load_any_scenario(scenario)))
    if planned - {drop.drop_id for drop in completed_drops(workspace.landing)}:
        simulate_drops(workspace, scenario, seed=None)
    failed: list[str] = []
    looks = [Freshness(workspace, task) for task in TASKS]
    if any(due_now(look, job) for look in looks for job in JOBS) or warehouse_due(looks):
        from cv_quality.pipeline.instance import failures, materialize_due

        with chosen_engine(workspace) as engine, progress_bars() as progress:
            failed = failures(materialize_due(workspace, track=progress.track, engine=engine))
    _conclude(workspace, failed)


def _conclude(workspace: "Workspace", failed: Sequence[str]) -> None:
    """Name what is there to look at, or what keeps it from being there; exit code 1 then."""
    from cv_quality.builds import drop_builds
    from cv_quality.refusals import hindrances
    from cv_quality.tasks import is_published

    if is_published(workspace):
        say(f"\nmetric tables   {workspace.settings.warehouse}")
    for page in (workspace.report_path(build) for build in sorted(set(drop_builds(workspace).values()))):
        if page.is_file():
            say(f"failure report  {page}")
    wrong = [*failed, *(f"{item.stage} of {item.key}: {item.headline}" for item in hindrances(workspace))]
    for reason in wrong:
        say(f"not done: {reason}", err=True)
    if wrong:
        say("not everything could be done; `cvq why KEY` says more of a drop or a build", err=True)
        sys.exit(1)
    say("next            `make ui` shows the assets, checks and runs in Dagster")


HOST = "127.0.0.1"
GRACE_SECONDS = 3.0
"""How long Dagster's processes have to end by themselves before they are killed."""


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def ui(port: int) -> None:
    """Serve the Dagster UI and daemon on 127.0.0.1, the sensors on, until interrupted."""
    _require_free(port)
    from cv_quality.pipeline.instance import is_configured_by_hand, migrate, prepare_home

    settings = Settings.from_environment()
    home = prepare_home(settings.dagster_home)
    lock = _only_ui(home)
    if is_configured_by_hand(home):
        say(f"{home / 'dagster.yaml'} was changed by hand and stays; docs/when-things-die.md says what it should have")
    migrate(home)
    program = str(Path(sys.executable).parent / "dagster")
    arguments = ["dev", "--module-name", "cv_quality.definitions", "--host", HOST, "--port", str(port)]
    environment = settings.subprocess_environment(DAGSTER_HOME=str(home))
    if code := _supervise([program, *arguments], environment, inherited=lock):
        raise click.ClickException(f"Dagster ended by itself with exit code {code}; what it said stands above")


def _only_ui(home: Path) -> int:
    """Take the lock of the instance's daemon; returns its descriptor, to be inherited: who holds it keeps the lock.

    Raises:
        StoreError: the lock cannot be written.
        SettingsError: another daemon has it: two would start every run twice.
    """
    path = home / "ui.lock"
    with typed_faults(str(path)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(descriptor, 100).decode(errors="replace").strip()
            raise SettingsError(
                f"another `cvq ui` serves {home}{f' ({other})' if other else ''}: use that one, or end it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}\n".encode())
    return descriptor


def _require_free(port: int) -> None:
    """Refuse a port that something answers on: Dagster would say so in a traceback, and end by itself."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise click.BadParameter(
                f"port {port} of {HOST} cannot be used ({error.strerror}); end what uses it, or name another",
                param_hint="'--port'",
            ) from error


def _supervise(command: Sequence[str], environment: Mapping[str, str], *, inherited: int) -> int:
    """Run a program until it ends or this process is told to; no process that it started outlives it.

    `dagster dev` leaves its code servers, and the runs that they work on, to themselves when it is terminated. They
    share its session, so they are interrupted, and after a while killed, together.

    Args:
        command, environment: of the program.
        inherited: a descriptor that stays open in it.
    """
    process = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=(inherited,))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with going_on_after_interrupts():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)
        try:
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
