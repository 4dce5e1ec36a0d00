"""Commands over the chain from drops to reports, without an orchestrator: what there is, what is left, and doing it."""

import sys

import click

from cv_quality.cli.common import JSON, open_deployment, print_rows, progress_bars, stage_row


@click.command()
@JSON
def status(as_json: bool) -> None:
    """Show what has arrived, what passed its gates, and what is left to do."""
    from cv_quality.planning import drop_states
    from cv_quality.tasks import TASKS

    workspace = open_deployment()
    rows = [
        {
            "drop": state.drop,
            "build": state.build or "",
            "validated": state.validated,
            "scored": ", ".join(f"{build}: {scored}" for build, scored in state.scored.items()),
            "report": str(state.report or ""),
        }
        for task in TASKS
        for state in drop_states(workspace, task)
    ]
    print_rows(rows, as_json=as_json, title="drops")


@click.command()
@JSON
def run(as_json: bool) -> None:
    """Do everything that is left to do: take drops in, score them, report builds.

    Work that a gate refused is left alone until a corrected drop arrives. Exit code 1 when anything was refused.
    """
    from cv_quality.runner import run_due

    with progress_bars() as progress:
        done = run_due(open_deployment(), track=progress.track)
    print_rows([stage_row(result) for result in done.results], as_json=as_json, title="stages run")
    for message in done.refused:
        click.echo(f"refused: {message}", err=True)
    if not done.succeeded:
        sys.exit(1)


@click.command()
@click.argument("drop")
@click.option("--limit", default=20, show_default=True, help="Rows to show.")
@JSON
def quarantine(drop: str, limit: int, as_json: bool) -> None:
    """Show the rows of a DROP that were rejected: file, line, reason and what was found."""
    import polars as pl

    from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE
    from cv_quality.lake.lake import TableKey

    lake = open_deployment().lake
    tables = [table for table in (QUARANTINE_PARSE, QUARANTINE_VALIDATE) if lake.has(table, TableKey(drop=drop))]
    if not tables:
        raise click.ClickException(f"drop {drop} has not been taken in; see `cvq status`")
    columns = ("stage", "source_file", "source_line", "event_kind", "reason", "detail")
    rows = pl.concat([lake.read(table, TableKey(drop=drop), columns=columns) for table in tables])
    print_rows(rows.head(limit).to_dicts(), as_json=as_json, title=f"quarantined: {rows.height} rows")


@click.command()
@JSON
def models(as_json: bool) -> None:
    """List the builds of the model registry."""
    registry = open_deployment().registry
    rows = [
        {
            "build": entry.build_id,
            "follows": entry.follows or "",
            "modality": entry.modality,
            "format": getattr(entry, "format", ""),
            "file": getattr(entry, "file", ""),
            "threshold": entry.decision_threshold,
            "sha256": entry.sha256[:12],
        }
        for entry in map(registry.entry, registry.build_ids())
    ]
    print_rows(rows, as_json=as_json, title=f"registry {registry.uri}")


@click.command()
@click.argument("build")
@JSON
def report(build: str, as_json: bool) -> None:
    """Write the failure report of one BUILD against its baseline again."""
    from cv_quality.lake.lake import TableKey
    from cv_quality.runner import run_stage
    from cv_quality.tasks import TASKS

    workspace = open_deployment()
    entry = workspace.registry.entry(build)
    (task,) = (task for task in TASKS if task.name == entry.task)
    (stage,) = task.of_phase("report")
    result = run_stage(workspace, task, stage, TableKey(build=build))
    print_rows([stage_row(result)], as_json=as_json, title="report")
