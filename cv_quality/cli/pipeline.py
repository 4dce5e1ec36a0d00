"""Commands that go through Dagster: the demo, backfills, and the UI."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cv_quality.cli.common import JSON, open_deployment, print_rows, progress_bars
from cv_quality.cli.drops import simulate_drops
from cv_quality.settings import Settings


@click.command()
@click.option("--build", "builds", multiple=True, help="A build of the grid; repeatable. Default: every known build.")
@click.option("--drop", "drops", multiple=True, help="A drop of the grid; repeatable. Default: every validated drop.")
@JSON
def backfill(builds: Sequence[str], drops: Sequence[str], as_json: bool) -> None:
    """Score builds on drops over the whole grid, as runs of the Dagster instance."""
    from cv_quality.pipeline.instance import backfill_grid

    with progress_bars() as progress:
        cells = backfill_grid(open_deployment(), builds=builds, drops=drops, track=progress.track)
    print_rows(cells, as_json=as_json, title="grid")
    if not all(cell["succeeded"] for cell in cells):
        sys.exit(1)


@click.command()
@click.option("--scenario", default="demo", show_default=True, help="Packaged scenario or YAML file to simulate.")
def demo(scenario: str) -> None:
    """Simulate a fleet, evaluate every drop and build through Dagster, and report.

    What has been done already is not done again, so a second call takes seconds.
    """
    from rich.console import Console

    from cv_quality.builds import drop_builds
    from cv_quality.drops.manifest import completed_drops
    from cv_quality.planning import due
    from cv_quality.simulation.scenario import drop_plans, load_scenario
    from cv_quality.stage import JOBS
    from cv_quality.tasks import TASKS

    workspace = open_deployment()
    planned = {plan.drop_id for plan in drop_plans(load_scenario(scenario))}
    if planned - {drop.drop_id for drop in completed_drops(workspace.landing)}:
        simulate_drops(workspace, scenario, seed=None)
    if any(due(workspace, task, job) for task in TASKS for job in JOBS):
        from cv_quality.pipeline.instance import materialize_due

        with progress_bars() as progress:
            materialize_due(workspace, track=progress.track)
    console = Console()
    console.print(f"\nmetric tables   {workspace.settings.warehouse}")
    for build in sorted(set(drop_builds(workspace).values())):
        console.print(f"failure report  {workspace.report_path(build)}")
    console.print("next            [bold]make ui[/bold] shows the assets, checks and runs in Dagster")


@click.command()
@click.option("--port", default=3000, show_default=True)
def ui(port: int) -> None:
    """Serve the Dagster UI and daemon on 127.0.0.1, the sensors on, until interrupted."""
    from cv_quality.pipeline.instance import prepare_home

    settings = Settings.from_environment()
    environment = settings.subprocess_environment(DAGSTER_HOME=str(prepare_home(settings.dagster_home)))
    program = str(Path(sys.executable).parent / "dagster")
    arguments = ["dev", "--module-name", "cv_quality.definitions", "--host", "127.0.0.1", "--port", str(port)]
    # A shell's & hands on SIGINT ignored, and `dagster dev` then stops at no signal at all.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.execve(program, [program, *arguments], environment)
