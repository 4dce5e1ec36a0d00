"""SQL that reproduces a number of a page, for the warehouse and for the lake's Parquet files.

Text only: nothing here runs a query. Columns are those that the tables declare; the warehouse holds the rows of a table
under `fct_<table>`.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE
from cv_quality.lake.schema import Table

Value = str | float
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Query:
    """One question asked twice: of the DuckDB warehouse, and of the lake (run it in the lake's root folder)."""

    warehouse: str | None
    lake: str


def literal(value: Value) -> str:
    """Write a value as SQL text, quotes doubled.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def any_of(values: Sequence[Value]) -> str:
    """Write values as a list of SQL.

    >>> any_of(("a", 1))
    "('a', 1)"
    """
    return f"({', '.join(literal(value) for value in values)})"


def rows_query(
    table: Table,
    *,
    build: str,
    where: Mapping[str, Value | tuple[Value, ...] | None],
    order: Sequence[str] = (),
    expressions: Sequence[str] = (),
    mart: str | None = None,
) -> Query:
    """Write the query of a build's rows of a table: all columns but those that the condition fixes.

    Args:
        where: the value of a column, None for null, or several values one of which it has.
        order: columns to sort by.
        expressions: what is selected besides.
        mart: the table of the warehouse that has the rows, if not the one that follows from the declaration.
    """
    fixed = {"build_id", *(name for name, value in where.items() if not isinstance(value, tuple))}
    shown = (column for column in table if column.kind != "vector" and not column.is_lake_only)
    columns = [column.name for column in shown if column.name not in fixed]
    select = textwrap.fill(f"SELECT {', '.join((*columns, *expressions))}", WIDTH, subsequent_indent=" " * 7)
    conditions = [_condition(name, value) for name, value in where.items()]
    end = f"\nORDER BY {', '.join(order)};" if order else ";"

    def query(source: str, conditions: Sequence[str]) -> str:
        return f"{select}\nFROM {source}" + (f"\nWHERE {' AND '.join(conditions)}" if conditions else "") + end

    mart = mart or (f"fct_{table.name}" if table.mart else None)
    return Query(
        warehouse=query(mart, [f"build_id = {literal(build)}", *conditions]) if mart else None,
        lake=query(f"read_parquet({literal(f'{table.name}/{build}.parquet')})", conditions),
    )


def _condition(name: str, value: Value | tuple[Value, ...] | None) -> str:
    if value is None:
        return f"{name} IS NULL"
    return f"{name} IN {any_of(value)}" if isinstance(value, tuple) else f"{name} = {literal(value)}"


def quarantine_query(drops: tuple[str, ...]) -> Query:
    """Write the query of the drops' rejected rows by stage and reason."""
    where = f"WHERE drop_id IN {any_of(drops)}\n"
    order = "ORDER BY drop_id, stage, reason, event_kind;"
    columns = "drop_id, stage, reason, event_kind"
    files = f"['{QUARANTINE_PARSE.name}/*.parquet', '{QUARANTINE_VALIDATE.name}/*.parquet']"
    return Query(
        warehouse=f"SELECT {columns}, n_rows\nFROM fct_quarantine\n{where}{order}",
        lake=f"SELECT {columns}, count(*) AS n_rows\nFROM read_parquet({files})\n{where}GROUP BY {columns}\n{order}",
    )
