"""Queries of a page name what the tables declare, and a value of the data cannot leave its literal."""

import duckdb
import pytest

from cv_quality.lake.schema import Column, Table
from cv_quality.reports.queries import literal, rows_query

RATES = Table(
    "rates",
    "build",
    "rate",
    (
        Column("build_id", "text", "the build"),
        Column("metric", "text", "the rate"),
        Column("level", "text", "the level", nullable=True),
        Column("value", "real", "its value"),
        Column("map", "vector", "pixels"),
        Column("note_json", "text", "for machines", is_lake_only=True),
    ),
    unique=("metric", "level"),
    mart=True,
)


@pytest.mark.parametrize("name", ["it's", "'; DROP TABLE fct_intervals; --"])
def test_a_quote_cannot_leave_a_literal(name: str) -> None:
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {literal(name)}").fetchall() == [(name,)]


def test_what_a_condition_fixes_or_the_table_hides_is_not_selected() -> None:
    query = rows_query(RATES, build="a", where={"metric": "fnmr", "level": None}, order=("value DESC",))
    assert query.lake == (
        "SELECT value\nFROM read_parquet('rates/a.parquet')\nWHERE metric = 'fnmr' AND level IS NULL\n"
        "ORDER BY value DESC;"
    )


def test_one_of_several_values_is_selected_and_the_warehouse_is_asked_for_the_build() -> None:
    query = rows_query(RATES, build="a", where={"metric": ("fnmr", "fmr")}, expressions=("value * 100 AS share",))
    assert query.warehouse == (
        "SELECT metric, level, value, value * 100 AS share\nFROM fct_rates\n"
        "WHERE build_id = 'a' AND metric IN ('fnmr', 'fmr');"
    )


def test_without_a_condition_every_row_of_the_build_is_asked_for() -> None:
    query = rows_query(RATES, build="a", where={})
    assert query.lake == "SELECT metric, level, value\nFROM read_parquet('rates/a.parquet');"
