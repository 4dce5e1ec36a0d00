"""What every command shares: the deployment, the `--json` option, what is printed, progress bars beside it.

Names and messages may come from a drop: everything for people is printed here, where no character of theirs reaches
the terminal as a command. No command lives here; each group of them has a module of its own.
"""

import json
import logging
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cv_quality.cli.progress import lines_without_terminal
from cv_quality.errors import SliceError, StoreError, TableError
from cv_quality.settings import Settings
from cv_quality.text import figures, lines_of, visible, visible_lines

if TYPE_CHECKING:
    from rich.progress import Progress

    from cv_quality.cluster.running import Cluster
    from cv_quality.stage import StageResult
    from cv_quality.workspace import Workspace

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
CLUSTER = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Hand keys to a cluster: local, tcp://HOST:PORT, slurm://PARTITION. Default: CVQ_CLUSTER, or this process.",
)
FILE = click.Path(dir_okay=False, path_type=Path)
"""A file to be written."""


class _Page(click.Path):
    """A page to be written; that its charts cannot be drawn is said before the work, not after it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if find_spec("altair") is None:
            raise ModuleNotFoundError("pages need Altair", name="altair")
        return super().convert(value, param, ctx)


PAGE = _Page(dir_okay=False, path_type=Path)


def open_deployment(*, cluster: str | None = None) -> "Workspace":
    """Open the stores that the settings name, with another cluster if one is named."""
    from cv_quality.tasks import open_workspace

    settings = Settings.from_environment()
    return open_workspace(replace(settings, cluster=cluster or settings.cluster))


@contextmanager
def chosen_engine(workspace: "Workspace") -> "Iterator[Cluster | None]":
    """Open the cluster of the settings; None where they name none."""
    if workspace.settings.cluster is None:
        yield None
        return
    from cv_quality.cluster.running import opened

    with opened(workspace, workspace.settings.cluster) as cluster:
        yield cluster


def say(text: str, *, err: bool = False) -> None:
    """Print a message for people; a line is never wrapped, so that a path in it can be copied."""
    click.echo(visible_lines(text), err=err)


def print_document(document: object) -> None:
    """Print one JSON document as the standard has it: no NaN, no Infinity."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, title: str) -> None:
    """Print rows of equal keys as a table or as a JSON list.

    Args:
        rows: one mapping a row; a column without any value is left out of a table.
        as_json: print a list of objects, other types as text.
        title: above the table.
    """
    if as_json:
        click.echo(json.dumps(list(rows), indent=1, default=str))
        return
    if not rows:
        say(f"{title}: none")
        return
    say(title)
    texts = [{name: _cell(value) for name, value in row.items()} for row in rows]
    names = [name for name in rows[0] if any(row[name] for row in texts)]
    print_cells([visible(name) for name in names], [[row[name] for name in names] for row in texts])


def print_cells(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of texts that are safe for a terminal below the names of their columns."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo("\n".join(lines_of([names, *rows], width=width)))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return figures(value) if isinstance(value, int | float) and not isinstance(value, bool) else visible(str(value))


def stage_rows(results: "Sequence[StageResult]", *, as_json: bool) -> list[dict[str, object]]:
    """Summarise what stages did as rows: gate, seconds and numbers; for people without sentences and digests."""
    return [
        {
            "stage": result.stage,
            "key": result.key,
            "gate": "passed" if result.passed else "REFUSED",
            "seconds": round(result.seconds, 2),
            "numbers": result.numbers if as_json else _numbers(result.numbers),
        }
        for result in results
    ]


def _numbers(numbers: "Mapping[str, int | float | str]") -> str:
    return ", ".join(f"{name} {figures(value)}" for name, value in numbers.items() if not isinstance(value, str))


@contextmanager
def writing(page: Path) -> Iterator[None]:
    """Name the page and its option where it cannot be written."""
    try:
        yield
    except (OSError, StoreError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__ or error
        told = (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
        raise click.BadParameter(f"{page} cannot be written: {told}", param_hint="'--report'") from error


@contextmanager
def naming(*tables: Path) -> Iterator[None]:
    """Name the tables in an error about what they hold."""
    try:
        yield
    except (SliceError, TableError) as error:
        names = " and ".join(map(str, tables))
        raise type(error)(
            str(error) if any(str(table) in str(error) for table in tables) else f"{names}: {error}"
        ) from error


class VisibleFormatter(logging.Formatter):
    """Formats log records without characters that steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(super().format(record))


def command_line() -> str:
    """Write the command that runs, with what it was given, so that it can be given again."""
    context, words = click.get_current_context(), list[str]()
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        given = [item for item in (value if isinstance(value, tuple | list) else [value]) if item not in (None, False)]
        if isinstance(parameter, click.Argument):
            words += map(str, given)
        elif given and value != parameter.default:
            words += (
                [parameter.opts[0]]
                if value is True
                else [text for item in given for text in (parameter.opts[0], str(item))]
            )
    names, group = list[str](), context
    while group.parent is not None:
        names, group = [str(group.info_name), *names], group.parent
    return shlex.join(["cvq", *names, *words])


@contextmanager
def progress_bars() -> "Iterator[Progress]":
    """Show progress bars on standard error, so that standard output stays clean; lines where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    description = TextColumn("{task.description:<24}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress, lines_without_terminal(progress):
        yield progress


@contextmanager
def endless_bar(description: str) -> Iterator[None]:
    """Show a bar without an end, for what cannot say how far it has come."""
    with progress_bars() as progress:
        progress.add_task(description, total=None)
        yield
