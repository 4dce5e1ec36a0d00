"""`cvq`: the chain and the evaluation of score files from the command line, thin over the functions that do the work.

Only arguments, tables and progress bars live here. Results go to standard output (`--json` for scripts), everything
else to standard error.
"""

import atexit
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import click

from cv_quality.errors import CvQualityError
from cv_quality.scores.score_set import Polarity
from cv_quality.scores.source import Format
from cv_quality.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from cv_quality.drops.importers.faces import Layout
    from cv_quality.drops.manifest import Protocol
    from cv_quality.scores.evaluation import Evaluation
    from cv_quality.scores.source import Sentinel
    from cv_quality.stage import StageResult
    from cv_quality.workspace import Workspace

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")


class TypedErrors(click.Group):
    """Typed errors end the command with their message and exit code 1; a traceback is for defects of ours."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except CvQualityError as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from error


@atexit.register
def _quiet_exit() -> None:
    """DuckDB's binding lists what lives at interpreter exit on standard error once Great Expectations is loaded."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@click.group(cls=TypedErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cv-quality")
@click.option("-v", "--verbose", is_flag=True, help="Log what the package does.")
def main(verbose: bool) -> None:
    """Evaluate computer-vision algorithms on devices, from raw logs to failure reports.

    \b
    A tour, in the order of the data:
      cvq demo                     simulate three builds of a face verifier, evaluate and report them
      cvq simulate tiny            drops of a simulated fleet, with a known cause of failure
      cvq import faces DIR         a folder of face images as a drop
      cvq status                   what has arrived, what passed its gates, what is left to do
      cvq run                      do everything that is left to do, without an orchestrator
      cvq quarantine DROP          the rows that were rejected, and why
      cvq evaluate FILES...        score files of any tool: rates, intervals and curves, without drops or builds
      cvq slices TABLE             which slices of any table fail more, and what only looks as if
      cvq attribute BEFORE AFTER   what a change between two tables is made of
      cvq models                   the builds of the model registry
      cvq report BUILD             write the failure report of one build again
      cvq backfill                 score historical builds over a grid of drops
      cvq ui                       the same as assets, checks and sensors in the Dagster UI

    Locations come from CVQ_* variables; everything lies under .cvq unless they say otherwise.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(message)s")


@main.command()
@click.argument("scenario", default="demo")
@click.option("--seed", type=int, help="In place of the scenario's own seed.")
@JSON
def simulate(scenario: str, seed: int | None, as_json: bool) -> None:
    """Render a fleet's drops into the landing area.

    SCENARIO is the name of a packaged scenario (demo, tiny) or a YAML file. Failures come out of running each build's
    own model on the rendered pixels; what was planted is written beside the drops as truth-<scenario>.json.
    """
    drops = _simulate(_workspace(), scenario, seed=seed)
    _print_rows([{"drop": drop} for drop in drops], as_json=as_json, title="simulated drops")


@main.group(name="import")
def import_() -> None:
    """Turn foreign data into drops."""


@import_.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--build", required=True, help="The registry's build that the drop is evaluated with.")
@click.option("--site", help="Where the images were taken; by default the folder's name.")
@click.option("--drop-id", help="Name of the drop; by default made of date, build and site.")
@click.option(
    "--layout",
    type=click.Choice(["auto", "folders", "file_names"]),
    default="auto",
    show_default=True,
    help="One folder per identity (AT&T/ORL), or identity and condition in the file name (Yale).",
)
@click.option(
    "--protocol",
    type=click.Choice(["all_pairs", "enrolled"]),
    default="all_pairs",
    show_default=True,
    help="Every image is reference and probe, or the first images of each identity are enrolled.",
)
@click.option("--enrol-first", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option("--consent", is_flag=True, help="The subjects agreed that reports may show their images.")
@JSON
def faces(
    folder: Path,
    build: str,
    site: str | None,
    drop_id: str | None,
    layout: "Layout",
    protocol: "Protocol",
    enrol_first: int,
    consent: bool,
    as_json: bool,
) -> None:
    """Turn a FOLDER of face images into a drop."""
    from cv_quality.drops.importers.faces import import_faces

    workspace = _workspace()
    workspace.registry.entry(build)
    drop = import_faces(
        folder,
        landing=workspace.landing,
        modality=workspace.modality("face"),
        drop_id=drop_id,
        build_id=build,
        layout=layout,
        protocol=protocol,
        enrol_first_n=enrol_first,
        site=site or folder.resolve().name,
        has_image_consent=consent,
    )
    _print_rows([{"drop": drop}], as_json=as_json, title="imported")


@main.command()
@JSON
def status(as_json: bool) -> None:
    """Show what has arrived, what passed its gates, and what is left to do."""
    from cv_quality.planning import drop_states
    from cv_quality.tasks import TASKS

    workspace = _workspace()
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
    _print_rows(rows, as_json=as_json, title="drops")


@main.command()
@JSON
def run(as_json: bool) -> None:
    """Do everything that is left to do: take drops in, score them, report builds.

    Work that a gate refused is left alone until a corrected drop arrives. Exit code 1 when anything was refused.
    """
    from cv_quality.runner import run_due

    with _progress() as progress:
        done = run_due(_workspace(), track=progress.track)
    _print_rows([_stage_row(result) for result in done.results], as_json=as_json, title="stages run")
    for message in done.refused:
        click.echo(f"refused: {message}", err=True)
    if not done.succeeded:
        sys.exit(1)


@main.command()
@click.argument("drop")
@click.option("--limit", default=20, show_default=True, help="Rows to show.")
@JSON
def quarantine(drop: str, limit: int, as_json: bool) -> None:
    """Show the rows of a DROP that were rejected: file, line, reason and what was found."""
    import polars as pl

    from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE
    from cv_quality.lake.lake import TableKey

    lake = _workspace().lake
    tables = [table for table in (QUARANTINE_PARSE, QUARANTINE_VALIDATE) if lake.has(table, TableKey(drop=drop))]
    if not tables:
        raise click.ClickException(f"drop {drop} has not been taken in; see `cvq status`")
    columns = ("stage", "source_file", "source_line", "event_kind", "reason", "detail")
    rows = pl.concat([lake.read(table, TableKey(drop=drop), columns=columns) for table in tables])
    _print_rows(rows.head(limit).to_dicts(), as_json=as_json, title=f"quarantined: {rows.height} rows")


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--fmr", "targets", type=float, multiple=True, help="Highest FMR allowed; repeatable. [0.1 to 1e-6]")
@click.option("--threshold", type=float, help="Give both rates at this decision threshold as well.")
@click.option("--format", "format_", type=click.Choice(get_args(Format)), help="Of every file. [told from the content]")
@click.option(
    "--polarity", type=click.Choice(get_args(Polarity)), help="What a high score means. [told from the scores]"
)
@click.option("--sentinel", default="detect", show_default=True, help="A value that means 'no score', or 'keep'.")
@click.option("--genuine-pattern", metavar="REGEX", help="Ids of bona fide samples, where a JSON file cannot tell.")
@click.option("--skip-broken", is_flag=True, help="Set broken lines apart, counted, and go on.")
@click.option("--replicates", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page with the curves.")
@JSON
def evaluate(
    files: Sequence[Path],
    targets: Sequence[float],
    threshold: float | None,
    format_: Format | None,
    polarity: Polarity | None,
    sentinel: str,
    genuine_pattern: str | None,
    skip_broken: bool,
    replicates: int,
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Evaluate score FILES of verification: error rates with intervals, and the curve.

    \b
    Reads what other tools write, told apart by content:
      CSV or Parquet with columns score, is_genuine and optionally subject_a, subject_b, group_a, group_b,
      quality_a, quality_b
      bob's 2-, 4- and 5-column files, pyeer's lists and histograms, similarity matrices (CSV, BEE)
      JSON of id and score, NumPy arrays

    Two lists named alike but for "genuine" and "impostor" (or true and false) are one score set; every other file is a
    set of its own. Where subjects are named, the intervals respect that comparisons of one person are alike.

    \b
      cvq evaluate scores.csv --report scores.html
      cvq evaluate exp1_true.txt exp1_false.txt --fmr 1e-3 --fmr 1e-4
      cvq evaluate face-C.csv --sentinel keep --json
    """
    from cv_quality.scores.evaluation import FMR_TARGETS
    from cv_quality.scores.evaluation import evaluate as evaluate_set
    from cv_quality.scores.grouping import group_files
    from cv_quality.scores.reading import read_scores

    groups, evaluated = group_files(files), []
    with _progress() as progress:
        for group in progress.track(groups, description="score sets"):
            scores = read_scores(
                group.paths,
                format=format_,
                polarity=polarity,
                sentinel=_sentinel(sentinel),
                on_error="skip" if skip_broken else "raise",
                genuine_pattern=genuine_pattern,
            )
            found = evaluate_set(
                scores,
                name=group.name,
                fmr_targets=targets or FMR_TARGETS,
                threshold=threshold,
                replicates=replicates,
                seed=seed,
            )
            evaluated.append((scores, found))
    if report is not None:
        from cv_quality.reports.evaluation_page import write_evaluation_report

        write_evaluation_report(evaluated, target=report)
    _print_evaluations([found for _, found in evaluated], as_json=as_json)


def _sentinel(text: str) -> "Sentinel":
    if text in ("detect", "keep"):
        return cast("Sentinel", text)
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is neither a number nor detect nor keep", param_hint="--sentinel"
        ) from error


def _print_evaluations(evaluations: "Sequence[Evaluation]", *, as_json: bool) -> None:
    """One document for one score set, a list of them for several; or a table each."""
    if as_json:
        documents = [evaluation.to_dict() for evaluation in evaluations]
        click.echo(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1, allow_nan=False))
        return
    from cv_quality.scores.summary import headline, point_rows

    for evaluation in evaluations:
        _print_rows(point_rows(evaluation), as_json=False, title=headline(evaluation))
        for warning in evaluation.warnings:
            click.echo(f"warning: {warning}", err=True)


SUBJECT = click.option("--subject", metavar="COL", help="Whose row it is; rows of one subject are not independent.")
COLUMNS = click.option(
    "--columns", multiple=True, metavar="COL[,COL...]", help="Where to look for conditions; repeatable. [all others]"
)


@main.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--outcome", required=True, metavar="COL", help="True or 1 where a row failed, or a loss as a number.")
@SUBJECT
@COLUMNS
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the split of the subjects.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page of what was found.")
@JSON
def slices(
    table: Path,
    outcome: str,
    subject: str | None,
    columns: Sequence[str],
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Find the slices of a TABLE (CSV or Parquet) that fail more than the rest.

    A slice is a conjunction of conditions on the columns: values, values joined, thresholds, missing. Half of the
    subjects propose slices, the other half confirm them, and the other way round; what is printed held on subjects that
    did not propose it, at a level of 0.5 % for the whole table. What only keeps company with a slice is listed apart.

    \b
      cvq slices attempts.parquet --outcome failed --subject subject_id
      cvq slices attempts.csv --outcome failed --subject subject_id --columns light,lens,eyewear --report why.html
      cvq slices frames.csv --outcome error_px --json
    """
    from cv_quality.error_analysis.discovery import find_slices
    from cv_quality.error_analysis.reading import opened_table

    with opened_table(table) as rows, _working("searching for slices"):
        found = find_slices(
            rows,
            outcome=outcome,
            subject=subject,
            columns=_names(columns, rows.collect_schema().names()),
            seed=seed,
            threads=Settings.from_environment().threads,
        )
    if report is not None:
        from cv_quality.reports.slices_page import write_slices_report

        write_slices_report(found, title=table.name, target=report)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1, allow_nan=False))
        return
    from cv_quality.error_analysis.summary import slice_rows

    _print_rows(slice_rows(found), as_json=False, title=f"{table.name}: {found.n_rows:,} rows")
    away, few = found.explained_away, found.insufficient
    for sentence in (*(item.sentence for item in away), *(item.sentence for item in few), found.conclusion):
        click.echo(sentence)


@main.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--outcome", required=True, metavar="COL", help="True or 1 where a row failed, or a loss as a number.")
@SUBJECT
@COLUMNS
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page with the waterfall."
)
@JSON
def attribute(
    before: Path,
    after: Path,
    outcome: str,
    subject: str | None,
    columns: Sequence[str],
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """Explain the change of a failure rate from the table BEFORE to the table AFTER.

    Slices are found in both tables; each accounts for a part of the change, since it became more frequent (mix) or
    fails more often (rate). The parts add up to the change exactly; their intervals resample subjects, in pairs where
    a subject is in both tables.

    \b
      cvq attribute build-1.parquet build-2.parquet --outcome failed --subject subject_id
    """
    from cv_quality.error_analysis.attribution import attribute_tables
    from cv_quality.error_analysis.reading import opened_table

    with opened_table(before) as old, opened_table(after) as new, _working("attributing the change"):
        found = attribute_tables(
            old.collect(),
            new.collect(),
            outcome=outcome,
            subject=subject,
            columns=_names(columns, new.collect_schema().names()),
            seed=seed,
        )
    if report is not None:
        from cv_quality.reports.attribution_page import write_attribution_report

        write_attribution_report(found, title=f"{before.name} to {after.name}", target=report)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1, allow_nan=False))
        return
    from cv_quality.error_analysis.summary import part_rows

    _print_rows(part_rows(found), as_json=False, title=f"{before.name} to {after.name}")
    click.echo(found.conclusion)


def _names(columns: Sequence[str], known: Sequence[str]) -> list[str] | None:
    """Column names given one by one or joined by commas; None for none. A known name with a comma is left whole."""
    names = [name for item in columns for name in ([item] if item in known else item.split(","))]
    return [name.strip() if name not in known else name for name in names if name.strip()] or None


@main.command()
@JSON
def models(as_json: bool) -> None:
    """List the builds of the model registry."""
    registry = _workspace().registry
    entries = [registry.entry(build) for build in registry.build_ids()]
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
        for entry in entries
    ]
    _print_rows(rows, as_json=as_json, title=f"registry {registry.uri}")


@main.command()
@click.argument("build")
@JSON
def report(build: str, as_json: bool) -> None:
    """Write the failure report of one BUILD against its baseline again."""
    from cv_quality.lake.lake import TableKey
    from cv_quality.runner import run_stage
    from cv_quality.tasks import task_of

    workspace = _workspace()
    task = task_of(workspace.registry.entry(build).modality)
    (stage,) = task.of_phase("report")
    result = run_stage(workspace, task, stage, TableKey(build=build))
    _print_rows([_stage_row(result)], as_json=as_json, title="report")


@main.command()
@click.option("--build", "builds", multiple=True, help="A build of the grid; repeatable. Default: every known build.")
@click.option("--drop", "drops", multiple=True, help="A drop of the grid; repeatable. Default: every validated drop.")
@JSON
def backfill(builds: Sequence[str], drops: Sequence[str], as_json: bool) -> None:
    """Score builds on drops over the whole grid, as runs of the Dagster instance."""
    from cv_quality.pipeline.instance import backfill_grid

    with _progress() as progress:
        cells = backfill_grid(_workspace(), builds=builds, drops=drops, track=progress.track)
    _print_rows(cells, as_json=as_json, title="grid")
    if not all(cell["succeeded"] for cell in cells):
        sys.exit(1)


@main.command()
@click.option("--scenario", default="demo", show_default=True, help="Packaged scenario or YAML file to simulate.")
def demo(scenario: str) -> None:
    """Simulate a fleet, evaluate every drop and build through Dagster, and report.

    What has been done already is not done again, so a second call takes seconds.
    """
    from cv_quality.builds import drop_builds
    from cv_quality.planning import is_anything_due
    from cv_quality.tasks import TASKS

    workspace = _workspace()
    if _missing_drops(workspace, scenario):
        _simulate(workspace, scenario, seed=None)
    if is_anything_due(workspace, TASKS):
        from cv_quality.pipeline.instance import materialize_due

        with _progress() as progress:
            materialize_due(workspace, track=progress.track)
    console = _console()
    console.print(f"\nmetric tables   {workspace.settings.warehouse}")
    for build in sorted(set(drop_builds(workspace).values())):
        console.print(f"failure report  {workspace.report_path(build)}")
    console.print("next            [bold]make ui[/bold] shows the assets, checks and runs in Dagster")


@main.command()
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


def _workspace() -> "Workspace":
    from cv_quality.tasks import open_workspace

    return open_workspace(Settings.from_environment())


def _simulate(workspace: "Workspace", scenario: str, *, seed: int | None) -> list[str]:
    from cv_quality.simulation.scenario import drop_plans, load_scenario
    from cv_quality.simulation.simulate import simulate as write_drops

    plan = load_scenario(scenario)
    with _progress() as progress:
        task = progress.add_task(f"render {plan.name}", total=len(drop_plans(plan)))
        return write_drops(
            plan,
            landing=workspace.landing,
            registry=workspace.registry,
            seed=seed,
            progress=lambda *_: progress.advance(task),
        )


def _missing_drops(workspace: "Workspace", scenario: str) -> set[str]:
    from cv_quality.drops.manifest import completed_drops
    from cv_quality.simulation.scenario import drop_plans, load_scenario

    planned = {plan.drop_id for plan in drop_plans(load_scenario(scenario))}
    return planned - {drop.drop_id for drop in completed_drops(workspace.landing)}


def _stage_row(result: "StageResult") -> dict[str, object]:
    numbers = " ".join(f"{name}={value}" for name, value in result.numbers.items())
    return {
        "stage": result.stage,
        "key": result.key,
        "gate": "passed" if result.passed else "FAILED",
        "seconds": round(result.seconds, 2),
        "numbers": numbers,
    }


def _print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, title: str) -> None:
    if as_json:
        click.echo(json.dumps(list(rows), indent=1, default=str))
        return
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ["nothing"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    _console().print(table)


def _console() -> "Console":
    from rich.console import Console

    return Console()


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A progress bar on standard error, so that standard output stays clean for scripts."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


@contextmanager
def _working(description: str) -> Iterator[None]:
    """A bar without an end on standard error, for what cannot say how far it has come."""
    with _progress() as progress:
        progress.add_task(description, total=None)
        yield


if __name__ == "__main__":
    main()
