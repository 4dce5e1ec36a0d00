"""dbt's models of the lake's tables, generated: sources, staging models, and a fact for each table marked as a mart.

They are written beside the hand-written models of `dbt_project/` and never committed. Which files a source reads, and
how dbt is run, is decided in `cv_quality.lake.warehouse`.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from cv_quality.lake.schema import Column, Table
from cv_quality.lake.sql import text

_PACKAGE = Path(__file__).resolve().parents[1]
DBT_PROJECT = next((path for path in (_PACKAGE / "dbt_project",) if path.is_dir()), _PACKAGE.parent / "dbt_project")
"""Within the package where it is installed from a wheel, beside it in a checkout."""

VERDICTS = "verdicts"
"""The folder of the gates' verdicts: one JSON object per gate and key."""

VERDICT_COLUMNS = {
    "gate": "varchar",
    "key": "varchar",
    "passed": "boolean",
    "expectations": 'struct(name varchar, "table" varchar, passed boolean, is_warning boolean, n_unexpected bigint)[]',
}
"""What the warehouse reads of a verdict; the examples, which name attempts, are left out."""


def warehouse_tables(tables: Iterable[Table], project_dir: Path = DBT_PROJECT) -> list[Table]:
    """List the tables that the warehouse reads: the marts, and those that a hand-written model refers to."""
    read = {ref for refs in _hand_written(project_dir).values() for ref in refs}
    return [table for table in tables if table.mart or f"stg_{table.name}" in read]


def mart_sources(tables: Collection[Table]) -> dict[str, list[str]]:
    """Name the lake tables that each mart reads, through other models too."""
    written, names = _hand_written(DBT_PROJECT), {table.name for table in tables}

    def read(model: str) -> set[str]:
        if model in written:
            return {name for ref in written[model] for name in read(ref)}
        return {re.sub("^(stg|fct)_", "", model)} & names

    marts = {*written, *(f"fct_{table.name}" for table in tables if table.mart)}
    return {mart: sorted(read(mart)) for mart in sorted(marts)}


def _hand_written(project_dir: Path) -> dict[str, list[str]]:
    """What each refers to."""
    paths = (project_dir / "models").rglob("*.sql")
    return {path.stem: re.findall(r"ref\(['\"]([a-z0-9_]+)['\"]\)", path.read_text()) for path in paths}


def row_by_row(tables: Iterable[Table]) -> dict[str, str]:
    """Name what each model that keeps every row is made of: a table of the lake, or the verdicts."""
    return {f"fct_{table.name}": table.name for table in tables if table.mart} | {"fct_gate_verdicts": VERDICTS}


def read_verdicts(patterns: Iterable[str]) -> str:
    """Write the reading of verdicts in SQL."""
    # dbt-duckdb formats the location as a Python template, so a struct literal in braces cannot stand in it.
    columns = ", ".join(f"{name} := '{kind}'" for name, kind in VERDICT_COLUMNS.items())
    return f"read_json([{', '.join(map(text, patterns))}], columns = struct_pack({columns}))"


def write_models(folder: Path, *, tables: Sequence[Table], reads: Mapping[str, str]) -> None:
    """Write the models that follow from the tables.

    Args:
        folder: one of the dbt project's folders of models.
        tables: those that the warehouse reads.
        reads: the SQL that reads each table, and the verdicts.
    """
    (staging := folder / "staging").mkdir()
    (marts := folder / "marts").mkdir()
    sources = [*(_source(table, reads[table.name]) for table in tables), _verdicts(reads[VERDICTS])]
    schema = {
        "version": 2,
        "sources": [{"name": "lake", "description": "The lake, the system of record", "tables": sources}],
        "models": [_fact(table) for table in tables if table.mart],
    }
    (folder / "models.yml").write_text(json.dumps(schema, indent=1))
    (staging / f"stg_{VERDICTS}.sql").write_text(_select(f"source('lake', '{VERDICTS}')"))
    for table in tables:
        hidden = [column.name for column in table if column.is_lake_only]
        (staging / f"stg_{table.name}.sql").write_text(_select(f"source('lake', '{table.name}')", exclude=hidden))
        if table.mart:
            (marts / f"fct_{table.name}.sql").write_text(_select(f"ref('stg_{table.name}')"))


def _select(relation: str, *, exclude: Sequence[str] = ()) -> str:
    columns = "* exclude ({})".format(", ".join(f'"{name}"' for name in exclude)) if exclude else "*"
    return f"select {columns} from {{{{ {relation} }}}}\n"


def _source(table: Table, read: str) -> dict[str, object]:
    return {
        "name": table.name,
        "description": f"One row: {table.grain}. One file per {table.key.replace('_', ' and ')}.",
        "config": _location(read),
        "columns": [_described(column) for column in table],
    }


def _verdicts(read: str) -> dict[str, object]:
    return {
        "name": VERDICTS,
        "description": "One row: a gate's verdict on one key. One JSON object per gate and key.",
        "config": _location(read),
    }


def _location(read: str) -> dict[str, object]:
    """Where dbt-duckdb finds a source: a literal of Jinja, which renders it, of a Python template, which it is then."""
    template = read.replace("{", "{{").replace("}", "}}")
    literal = template.replace("\\", r"\\").replace("'", r"\'")
    return {"meta": {"external_location": f"{{{{ '{literal}' }}}}"}}


def _fact(table: Table) -> dict[str, object]:
    """A table row by row; a gate judges one file, so only here can it show that no two files share a row."""
    key = {"unique_key": {"arguments": {"columns": list(table.mart_key)}}}
    return {
        "name": f"fct_{table.name}",
        "description": f"One row: {table.grain}.",
        "columns": [_described(column) for column in table if not column.is_lake_only],
        "data_tests": [key] if table.unique else [],
    }


def _described(column: Column) -> dict[str, str]:
    return {"name": column.name, "description": column.meaning + "; null allowed" * column.nullable}
