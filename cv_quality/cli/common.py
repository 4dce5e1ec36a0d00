"""What every command shares: the deployment, the `--json` option, tables on standard output, progress bars beside it.

No command lives here; each group of them has a module of its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from cv_quality.stage import StageResult
    from cv_quality.workspace import Workspace

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
PAGE = click.Path(dir_okay=False, path_type=Path)
"""A page to be written."""


def open_deployment() -> "Workspace":
    """Open the stores that the CVQ_* variables name."""
    from cv_quality.tasks import open_workspace

    return open_workspace(Settings.from_environment())


def print_document(document: object) -> None:
    """Print one JSON document as the standard has it: no NaN, no Infinity."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, title: str) -> None:
    """Print rows of equal keys as a table or as a JSON list.

    Args:
        rows: one mapping a row; "nothing" is the only column where there is none.
        as_json: print a list of objects, other types as text.
        title: above the table.
    """
    if as_json:
        click.echo(json.dumps(list(rows), indent=1, default=str))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ["nothing"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


def stage_row(result: "StageResult") -> dict[str, object]:
    """Summarise what a stage did as a row: gate, seconds and numbers."""
    return {
        "stage": result.stage,
        "key": result.key,
        "gate": "passed" if result.passed else "FAILED",
        "seconds": round(result.seconds, 2),
        "numbers": " ".join(f"{name}={value}" for name, value in result.numbers.items()),
    }


@contextmanager
def progress_bars() -> "Iterator[Progress]":
    """Show progress bars on standard error, so that standard output stays clean for scripts."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


@contextmanager
def endless_bar(description: str) -> Iterator[None]:
    """Show a bar without an end, for what cannot say how far it has come."""
    with progress_bars() as progress:
        progress.add_task(description, total=None)
        yield
