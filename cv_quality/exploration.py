"""Questions in SQL over a deployment: the metric tables of the warehouse, and every table of the lake as a view.

Nothing can be changed from here, and no file but those can be read. Each question opens engine and files of its own,
so it sees what lies there now. What is printed of an answer is decided in `cv_quality.cli`.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cv_quality.errors import QueryError, near
from cv_quality.lake.schema import Table, quoted
from cv_quality.lake.sql import text
from cv_quality.lake.store import typed_faults
from cv_quality.tasks import TASKS, tables_with_conditions
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import duckdb
    import polars as pl

FETCHED_ROWS = 10_000
"""Rows of an answer that are in Python's memory at once."""
_ROWS = "rows of "
_LOCKED = (
    "SET search_path = '{search_path}'",
    "SET TimeZone = 'UTC'",
    "SET temp_directory = {spill}",
    "SET allowed_directories = [{spill}]",
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gives.

    Attributes:
        names: of the columns; two may be called alike.
        rows: read as they are asked for.
    """

    names: tuple[str, ...]
    rows: Iterator[tuple[object, ...]]


@dataclass(frozen=True)
class Explorer:
    """The tables of one deployment, to be asked in SQL."""

    workspace: Workspace

    @cached_property
    def lake_tables(self) -> dict[str, Table]:
        """Every table of the lake by name, with the conditions of all modalities and drops."""
        return {table.name: table for table in tables_with_conditions(self.workspace, TASKS)}

    @contextmanager
    def ask(self, question: str) -> Iterator[Answer]:
        """Answer one question.

        Args:
            question: one statement of SQL that reads: SELECT, FROM, DESCRIBE, SUMMARIZE, SHOW.

        Raises:
            QueryError: it would change something, names a table that is not there, or is no SQL.
        """
        with self._opened() as engine, _in_words():
            _refuse_changes(engine, question)
            self._add_views(engine, self._named(engine, question))
            engine.execute(question)
            names = tuple(column[0] for column in engine.description or ())
            yield Answer(names, _fetched(engine))

    def frame(self, question: str) -> "pl.DataFrame":
        """Answer one question as a data frame, which a notebook shows as a table.

        Raises:
            QueryError: see `ask`.
        """
        import polars as pl

        with self.ask(question) as answer:
            return pl.DataFrame(list(answer.rows), schema=list(answer.names), orient="row", infer_schema_length=None)

    def tables(self) -> list[dict[str, object]]:
        """List the tables that can be asked, with what a row of each is."""
        with self._opened() as engine:
            marts = engine.execute(
                "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'warehouse' ORDER BY ALL"
            ).fetchall()
        lake = ((name, f"One row: {table.grain}.") for name, table in self.lake_tables.items())
        return [
            {"table": name, "of": place, "holds": comment}
            for place, rows in (("warehouse", marts), ("lake", lake))
            for name, comment in rows
        ]

    def columns(self, table: str) -> list[dict[str, object]]:
        """List the columns of a table, with their meaning.

        Raises:
            QueryError: there is no such table.
        """
        with self._opened() as engine, _in_words():
            names = self._known(engine, [table])
            self._add_views(engine, names)
            found = engine.execute(
                "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = ? "
                "ORDER BY column_index",
                names,
            ).fetchall()
        return [{"column": name, "type": kind.lower(), "holds": meaning} for name, kind, meaning in found]

    def _named(self, engine: "duckdb.DuckDBPyConnection", question: str) -> list[str]:
        """The tables that a question names.

        Before there are views DuckDB cannot tell those of a join by USING, whose columns it looks up: then any word
        counts.
        """
        import duckdb

        try:
            return self._known(engine, engine.get_table_names(question))
        except duckdb.BinderException:
            words = set(re.findall(r"\w+", question.lower()))
            return [name for name in self.lake_tables if name.lower() in words]

    def _known(self, engine: "duckdb.DuckDBPyConnection", named: Iterable[str]) -> list[str]:
        """The names as the tables have them; SQL does not tell A from a."""
        system = "SELECT view_name, database_name FROM duckdb_views() UNION SELECT table_name, database_name FROM "
        rows = engine.execute(f"{system} duckdb_tables()").fetchall()
        ours = {name for name, database in rows if database == "warehouse"} | set(self.lake_tables)
        known = {name.lower(): name for name, _ in rows} | {name.lower(): name for name in ours}
        for name in sorted(named):
            if name.lower() not in known:
                warehouse = self.workspace.settings.warehouse
                missing = "" if self._has_warehouse else f", there is no {warehouse} yet (`cvq run` makes it)"
                about = near(name, ours)
                listed = about if about.startswith("did") else "`cvq sql --tables` lists what there is"
                raise QueryError(f"there is no table {name!r}{missing}: {listed}")
        return [known[name.lower()] for name in named]

    @property
    def _has_warehouse(self) -> bool:
        return self.workspace.settings.warehouse.is_file()

    @contextmanager
    def _opened(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open an engine that has no file but the warehouse and what does not fit its memory."""
        import duckdb

        settings = self.workspace.settings
        config: dict[str, str | int | float | list[str]] = {
            "memory_limit": settings.memory_limit,
            "threads": settings.threads,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with (
            tempfile.TemporaryDirectory(prefix="cvq-") as spill,
            _in_words(),
            duckdb.connect(config=config) as engine,
        ):
            if self._has_warehouse:
                engine.execute(f"ATTACH {text(str(settings.warehouse))} AS warehouse (READ_ONLY)")
            path = "memory.main,warehouse.main" if self._has_warehouse else "memory.main"
            for statement in _LOCKED:
                engine.execute(statement.format(search_path=path, spill=text(spill)))
            yield engine

    def _add_views(self, engine: "duckdb.DuckDBPyConnection", names: Iterable[str]) -> None:
        """Make a view, with comments, of each of these that is a table of the lake.

        A table without a file is one without a row, and a column that a file does not have is null. The files are read
        for the engine, which may read none itself: what it may read, it may write with a COPY inside of a SELECT.
        """
        import pyarrow.dataset as ds

        lake = self.workspace.lake
        for table in (self.lake_tables[name] for name in dict.fromkeys(names) if name in self.lake_tables):
            with typed_faults(table.name):
                paths = [str(lake.path(table, key)) for key in lake.keys(table)]
                rows = ds.dataset(paths, schema=table.arrow_schema, format="parquet") if paths else None
            engine.register(_ROWS + table.name, rows or table.arrow_schema.empty_table())
            engine.execute(f"CREATE VIEW {quoted(table.name)} AS FROM {quoted(_ROWS + table.name)}")
            engine.execute(f"COMMENT ON VIEW {quoted(table.name)} IS {text(f'One row: {table.grain}.')}")
            for column in table:
                place = f"{quoted(table.name)}.{quoted(column.name)}"
                engine.execute(f"COMMENT ON COLUMN {place} IS {text(column.meaning)}")


def statements(script: str) -> list[str]:
    """Take a script of SQL apart.

    Raises:
        QueryError: it is no SQL.
    """
    import duckdb

    with _in_words(), duckdb.connect() as engine:
        return [statement.query for statement in engine.extract_statements(script)]


def _refuse_changes(engine: "duckdb.DuckDBPyConnection", question: str) -> None:
    import duckdb

    found = engine.extract_statements(question)
    if len(found) != 1:
        raise QueryError(f"expected one statement, found {len(found)}")
    if found[0].type != duckdb.StatementType.SELECT:
        raise QueryError(
            f"expected a statement that only reads (SELECT, FROM, DESCRIBE, SUMMARIZE; a PIVOT in parentheses after "
            f"FROM), found {found[0].type.name}: nothing can be changed here"
        )


def _fetched(engine: "duckdb.DuckDBPyConnection") -> Iterator[tuple[object, ...]]:
    with _in_words():
        while rows := engine.fetchmany(FETCHED_ROWS):
            yield from rows


@contextmanager
def _in_words() -> Iterator[None]:
    """Make typed errors of what DuckDB says."""
    import duckdb

    try:
        yield
    except duckdb.PermissionException as error:
        raise QueryError(
            f"only the tables of the warehouse and the lake can be read here (`cvq sql --tables`): {_said(error)}"
        ) from error
    except (duckdb.InterruptException, KeyboardInterrupt):
        raise
    except duckdb.Error as error:
        raise QueryError(_said(error)) from error


def _said(error: Exception) -> str:
    """What DuckDB says, without the rest of a paragraph that is for programs."""
    return str(error).replace("\n\n", "\n").strip()
