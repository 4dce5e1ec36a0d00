"""Answers of databases as logs: a query to a DuckDB file or a PostgreSQL server, both opened for reading only.

The answer lies in a file of its own while its rows are judged: Parquet from DuckDB, CSV from PostgreSQL, which are read
as in `cv_quality.drops.importers.sources`. A password in an address is neither printed nor written.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cv_quality.drops.importers.sources import LogFile, opened_log
from cv_quality.errors import TableError
from cv_quality.extras import installing

_SERVER: Final = re.compile(r"^postgres(ql)?://")
_MAGIC: Final = b"DUCK"
_MAGIC_WITHIN: Final = 16
_FETCHED_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A question whose answer is a log.

    Attributes:
        sql: one statement that reads.
        database: a DuckDB file, or the address of a PostgreSQL server.
    """

    sql: str
    database: str

    def __repr__(self) -> str:
        return f"LogQuery({self.sql!r}, {self.shown!r})"

    @property
    def shown(self) -> str:
        """The database without a password."""
        return re.sub(r"(?i)(password=)[^&\s]*", r"\1***", re.sub(r"^(\w+://[^:/@]*):.*@", r"\1:***@", self.database))


@contextmanager
def queried_log(query: LogQuery) -> Iterator[LogFile]:
    """Ask a database, and open its answer as a log.

    Raises:
        TableError: no such database, the statement cannot be answered or would change something, or there is no row.
    """
    with tempfile.TemporaryDirectory(prefix="cvq-query-", ignore_cleanup_errors=True) as folder:
        ask = _ask_server if _SERVER.match(query.database) else _ask_file
        answer = ask(query, Path(folder) / "answer")
        with opened_log(answer) as log:
            # The file is not there when somebody reads where a row came from.
            yield replace(log, path=Path(f"query of {Path(query.shown).name}"), source=answer, notes=())


def _ask_file(query: LogQuery, answer: Path) -> Path:
    import duckdb
    import pyarrow.parquet as pq

    path = Path(query.database)
    if not path.is_file() or _MAGIC not in path.open("rb").read(_MAGIC_WITHIN):
        found = "a file of another kind" if path.is_file() else "no such file"
        raise TableError(f"{query.shown}: expected a DuckDB file, or postgresql://user@host/name, found {found}")
    try:
        with duckdb.connect(query.database, read_only=True) as engine:
            engine.execute("SET TimeZone = 'UTC'")
            statements = engine.extract_statements(query.sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise TableError(f"{query.shown}: expected one SELECT, found {query.sql[:200]!r}")
            engine.execute("SET enable_external_access = false")
            batches = engine.sql(statements[0]).to_arrow_reader(_FETCHED_ROWS)
            with pq.ParquetWriter(answer, batches.schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
    except duckdb.Error as error:
        raise TableError(f"{query.shown}: {error}") from error
    return answer


def _ask_server(query: LogQuery, answer: Path) -> Path:
    """Copy the answer as CSV: as the server writes its values, and without any of them in memory."""
    try:
        import psycopg
    except ImportError as error:
        raise TableError(
            f"{query.shown}: PostgreSQL is read through psycopg; install it with: {installing('postgres')}"
        ) from error
    try:
        options = "-c default_transaction_read_only=on -c timezone=UTC -c datestyle=ISO"
        with psycopg.connect(query.database, options=options, connect_timeout=20) as server, server.cursor() as cursor:
            question = query.sql.strip().rstrip(";")
            # Only what is one whole statement by itself stays within the brackets.
            parsed = server.pgconn.prepare(b"", question.encode())
            if parsed.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.ProgrammingError(parsed.error_message.decode().removeprefix("ERROR:").strip())
            statement = f"COPY (\n{question}\n) TO STDOUT (FORMAT csv, HEADER)"
            with answer.open("wb") as file, cursor.copy(statement) as rows:
                for block in rows:
                    file.write(block)
    except psycopg.Error as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise TableError(f"{query.shown}: {_without_secret(told[0], query.database)}") from error
    return answer


def _without_secret(text: str, database: str) -> str:
    for secret in re.findall(r"^\w+://[^:/@]*:(.*)@|(?i:password=)([^&\s]*)", database):
        for part in filter(None, secret):
            text = text.replace(part, "***")
    return text
