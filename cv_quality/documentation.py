"""The pages of the documentation that follow from the declarations: gates, jobs, and tables with their columns.

`make docs` writes them into `docs/`; a test holds pages and declarations together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cv_quality.lake.schema import Column, Conditions, Table
from cv_quality.modality import dimension_columns
from cv_quality.stage import Task
from cv_quality.tasks import TASKS
from cv_quality.tasks.monitoring.tables import MONITOR_TABLES

DOCS = Path(__file__).resolve().parents[1] / "docs"
KEYS = {"drop": "drop", "build": "build", "build_drop": "build x drop"}


def gates(tasks: Sequence[Task]) -> str:
    """List every gate with its tasks, its key and what it asks beyond the schema, in the order of the data."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for task in tasks:
        for stage in (stage for stage in task.stages if stage.writes):
            found.setdefault((stage.name, KEYS[stage.key], stage.gate), []).append(task.name)
    rows = (f"`{name}` | {', '.join(of)} | {key} | {gate}" for (name, key, gate), of in found.items())
    return _grid("gate | task | key | what it asks beyond the schema", rows)


def jobs(tasks: Sequence[Task]) -> str:
    """List every job with its partitions and the assets that it makes, in the order of the data."""
    found = [(f"{task.name}_{job}", task.of_job(job)) for task in tasks for job in task.jobs]
    rows = (
        f"`{job}` | {KEYS[stages[0].key]} | {_names(asset for stage in stages for asset in stage.assets)}"
        for job, stages in found
    )
    return _grid("job | partition | assets, each after what it is made of", rows)


def _grid(header: str, rows: Iterable[str]) -> str:
    rule = "|---" * (header.count("|") + 1)
    return "\n".join([f"| {header} |", f"{rule}|", *(f"| {row} |" for row in rows)])


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def tables(tasks: Sequence[Task]) -> str:
    """Describe every table: its rows, writer, readers, and columns; then the conditions of every modality."""
    parts: dict[str, str] = {}
    for task in tasks:
        for stage in task.stages:
            for table in stage.writes:
                parts.setdefault(table.name, _table(tasks, stage.name, table))
    parts |= {table.name: _table(tasks, "cvq monitor", table) for table in MONITOR_TABLES}
    conditions = (
        f"### Conditions of {modality.name}\n\n{_columns(dimension_columns(modality, 'banded'))}"
        for task in tasks
        for modality in task.modalities
    )
    return "\n\n".join([*parts.values(), *conditions])


def _table(tasks: Sequence[Task], writer: str, table: Table) -> str:
    stages = [stage for task in tasks for stage in task.stages]
    readers = _names(stage.name for stage in stages if table in (*stage.reads, *stage.reads_if_there))
    where = " It is a metric table of the warehouse, `fct_" + table.name + "`." if table.mart else ""
    read = f"; read by {readers}" if readers else ""
    key = f" A row is identified by {_names(table.unique)}." if table.unique else ""
    more = _FURTHER[table.conditions] if table.conditions else ""
    text = f"One row: {table.grain}. One file per {KEYS[table.key]}, written by `{writer}`{read}.{where}{key}{more}"
    return f"### {table.name}\n\n{text}\n\n{_columns(table)}"


_FURTHER: dict[Conditions, str] = {
    "recorded": " The conditions of the modality are further columns.",
    "measured": " What the modality measures of a sample are further columns.",
    "banded": " The conditions of the modality, and what it measures, are further columns.",
}


def _columns(columns: Iterable[Column]) -> str:
    rows = (f"`{column.name}` | {column.kind} | {'; '.join(_meaning(column))}" for column in columns)
    return _grid("column | type | meaning", rows)


def _meaning(column: Column) -> Iterator[str]:
    yield column.meaning.replace("|", "\\|")
    if column.levels:
        yield f"{'or ' if column.bounds else ''}one of {', '.join(column.levels)}"
    if column.nullable:
        yield "null allowed"


PAGES: dict[str, Callable[[Sequence[Task]], str]] = {"gates.md": gates, "running.md": jobs, "tables.md": tables}
"""Each page with what is written between its two marks."""

BEGIN, END = "<!-- begin: follows from the declarations, `make docs` -->", "<!-- end -->"


def filled(page: str) -> str:
    """Renew the derived part of a page, and return its text."""
    text = (DOCS / page).read_text()
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{PAGES[page](TASKS)}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for name in PAGES:
        (DOCS / name).write_text(filled(name))
