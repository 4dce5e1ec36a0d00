"""Commands that look into what was measured: SQL over the metric tables and the lake, and slices as files."""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import JSON, open_deployment, print_cells, print_document, print_rows, say
from cv_quality.cli.stopping import going_on_after_interrupts
from cv_quality.errors import QueryError
from cv_quality.text import visible

if TYPE_CHECKING:
    from cv_quality.exploration import Answer, Explorer
    from cv_quality.tasks.verification.export import TableFormat

SHOWN_ROWS = 100
"""Rows of an answer that a table for people has; the other forms have all."""
PROMPT, CONTINUED = "cvq> ", "...> "
GOODBYES = ("exit", "quit", r"\q", ".exit", ".quit")
ALL_TABLES = ""


@click.command()
@click.argument("statement", required=False)
@click.option(
    "--tables",
    "table",
    is_flag=False,
    flag_value=ALL_TABLES,
    metavar="[TABLE]",
    help="List the tables with what their rows are, or the columns of one with their meaning.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table, every row of it.")
@JSON
def sql(statement: str | None, table: str | None, as_csv: bool, as_json: bool) -> None:
    """Ask the metric tables and the lake in SQL; nothing can be changed, and no other file be read.

    Without a STATEMENT, statements are read from standard input; on a terminal each ends with a semicolon, and
    `.tables [TABLE]` lists what there is. Tables of the warehouse hold what passed its gates; those of the lake hold
    what lies there, of refused drops too.

    \b
      cvq sql "FROM fct_operating_points"
      cvq sql "SELECT build_id, count(*) FROM attempt_outcomes GROUP BY ALL" --csv > counts.csv
      cvq sql --tables attempt_outcomes
      cvq sql < questions.sql
    """
    from cv_quality.exploration import Explorer, statements

    if as_csv and as_json:
        raise click.UsageError("name one of --csv and --json")
    explorer = Explorer(open_deployment())
    show = _print_json if as_json else _print_csv if as_csv else _print_table
    if table is not None:
        if statement is not None:
            raise click.UsageError("give a statement or --tables, not both")
        _print_declared(explorer, table, as_csv=as_csv, as_json=as_json)
    elif statement is None and sys.stdin.isatty():
        _converse(explorer, show)
    else:
        found = statements(sys.stdin.read() if statement is None else statement)
        if show is not _print_table and len(found) != 1:
            raise click.UsageError(f"--csv and --json print the answer of one statement, found {len(found)}")
        for each in found:
            with explorer.ask(each) as answer:
                show(answer)


@click.command()
@click.argument("build")
@click.option("--slice", "rank", type=click.IntRange(min=1), required=True, metavar="N", help="Its rank on the page.")
@click.option("--outcome", default="frr", show_default=True, help="That was searched: frr, fnmr, or one outcome.")
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="A folder that is new or empty.",
)
@click.option("--format", "table_format", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--images", "has_images", is_flag=True, help="Write the images too, of subjects who agreed.")
@click.option(
    "--data-set",
    "is_data_set",
    is_flag=True,
    help="Add passes of the same people outside of the slice, roles, a split by subject, and with --images templates.",
)
@JSON
def export(
    build: str,
    rank: int,
    outcome: str,
    target: Path,
    table_format: "TableFormat",
    has_images: bool,
    is_data_set: bool,
    as_json: bool,
) -> None:
    """Write the attempts of a confirmed slice of a BUILD for other tools: a table, and images of those who agreed.

    \b
      cvq export face-1.2 --slice 1 --to dark
      cvq export face-1.2 --slice 1 --to dark --format parquet --images --data-set
      cvq sql "SELECT outcome, rank, condition FROM failure_slices WHERE finding = 'confirmed'"
    """
    from cv_quality.tasks import TASKS
    from cv_quality.tasks.verification.export import export_slice

    workspace = open_deployment()
    entry = workspace.registry.entry(build)
    (task,) = (task for task in TASKS if task.name == entry.task)
    found = export_slice(
        workspace,
        task,
        build,
        rank=rank,
        target=target,
        outcome=outcome,
        table_format=table_format,
        has_images=has_images,
        is_data_set=is_data_set,
    )
    if as_json:
        print_document(asdict(found) | {"table": str(found.table)})
        return
    say(f"{found.condition}: {found.n_attempts:,} attempts, {found.n_failures:,} of them failures, in {found.table}")
    if has_images:
        say(f"{found.n_images:,} images; {found.n_withheld:,} withheld: no consent of all who are on it, or gone")


def _print_declared(explorer: "Explorer", table: str, *, as_csv: bool, as_json: bool) -> None:
    rows = explorer.columns(table) if table else explorer.tables()
    if as_csv:
        names = list(rows[0])
        _write_csv(names, ([row[name] for name in names] for row in rows))
    else:
        print_rows(rows, as_json=as_json, title=table or "tables")


def _converse(explorer: "Explorer", show: "Callable[[Answer], None]") -> None:
    """Answer statements that are typed, until the end of the input; one that fails ends nothing."""
    import readline  # noqa: F401 - gives `input` a history and keys to edit a line with

    say("End a statement with a semicolon; .tables lists what there is, exit or Ctrl-D ends.", err=True)
    for statement in _typed():
        try:
            if statement.startswith(".tables"):
                _print_declared(explorer, statement.removeprefix(".tables").strip(), as_csv=False, as_json=False)
                continue
            with explorer.ask(statement) as answer:
                show(answer)
        except QueryError as error:
            say(str(error), err=True)


def _typed() -> Iterator[str]:
    """Whole statements, each as soon as its semicolon is typed; Ctrl-C begins one anew."""
    lines: list[str] = []
    while True:
        try:
            with going_on_after_interrupts():
                lines.append(input(CONTINUED if lines else PROMPT))
        except KeyboardInterrupt:
            click.echo()
            lines = []
            continue
        except EOFError:
            click.echo()
            return
        text = "\n".join(lines).strip()
        if text.rstrip(";").rstrip() in GOODBYES:
            return
        if text.startswith(".") or text.endswith(";"):
            yield text.rstrip(";") if text.startswith(".") else text
            lines = []
        elif not text:
            lines = []


def _print_table(answer: "Answer") -> None:
    rows = list(islice(answer.rows, SHOWN_ROWS + 1))
    print_cells(
        [visible(name) for name in answer.names],
        [[visible(_text(value)) for value in row] for row in rows[:SHOWN_ROWS]],
    )
    sys.stdout.flush()
    if len(rows) > SHOWN_ROWS:
        say(f"the first {SHOWN_ROWS} rows; --csv and --json print all", err=True)
    else:
        say(f"{len(rows)} row{'s' * (len(rows) != 1)}", err=True)


def _text(value: object) -> str:
    """A value in a cell: null is empty, and what is nested is written as JSON."""
    if isinstance(value, bool | list | tuple | Mapping):
        return json.dumps(_plain(value), ensure_ascii=False)
    return "" if value is None else str(value.isoformat() if isinstance(value, date) else value)


def _print_csv(answer: "Answer") -> None:
    _write_csv(answer.names, (list(map(_text, row)) for row in answer.rows))


def _write_csv(names: Sequence[str], rows: "Iterator[Sequence[object]]") -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)


def _print_json(answer: "Answer") -> None:
    """Print a list of objects row by row: an answer may be larger than memory."""
    if len(set(answer.names)) < len(answer.names):
        twice = next(name for name in answer.names if answer.names.count(name) > 1)
        raise QueryError(f"two columns are called {twice!r}, which JSON cannot tell apart: name one otherwise with AS")
    separator = "["
    for row in answer.rows:
        document = {name: _plain(value) for name, value in zip(answer.names, row, strict=True)}
        click.echo(f"{separator}\n {json.dumps(document, allow_nan=False)}", nl=False)
        separator = ","
    click.echo("[]" if separator == "[" else "\n]")


def _plain(value: object) -> object:
    """A value as JSON has it: undefined and infinite numbers are null, times are written as ISO 8601 has them."""
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, date) else str(value)
