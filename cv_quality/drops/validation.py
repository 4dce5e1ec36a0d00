"""Finds the events of a drop that make no sense: out of range, outside the recording, repeated, or about nobody known.

The rules are generated from the drop's schema (`cv_quality.drops.schema`) and run in DuckDB over the raw files; a table
without a rejected row is published as it is. Whether too much was rejected is for `cv_quality.gates` to say.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cv_quality.drops.lines import Block, HashingReader, read_pieces
from cv_quality.drops.quarantine import QuarantineWriter, Rejection
from cv_quality.drops.rules import RowRule, rules_of
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX, MEDIA_INDEX, QUARANTINE_VALIDATE
from cv_quality.drops.tablewriter import TableWriter
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Kind, Table, quoted
from cv_quality.lake.sql import escaped_glob, read_parquet
from cv_quality.lake.store import Store

if TYPE_CHECKING:
    import duckdb

_FETCH_ROWS = 10_000
_DEFINED = {
    "subject": ("subject_id",),
    "device": ("device_id",),
    "clip": ("stream_id",),
    "mask_class": ("label",),
    "stream_frame": ("stream_id", "frame_number"),
    "box": ("stream_id", "frame_number", "source", "track_id"),
    "landmarks": ("stream_id", "frame_number", "source"),
}
"""Kinds of which a drop holds one event per key: the first sound one counts."""


@dataclass(frozen=True, slots=True)
class ValidationSummary:
    """What validating a drop gave.

    Attributes:
        rows: sound rows by event kind.
        rejected: rejected rows by event kind, then by reason.
    """

    drop_id: str
    rows: dict[str, int]
    rejected: dict[str, dict[str, int]]

    @property
    def rows_valid(self) -> int:
        return sum(self.rows.values())

    @property
    def rows_rejected(self) -> int:
        return sum(count for reasons in self.rejected.values() for count in reasons.values())


def validate_drop(
    *,
    landing: Store,
    lake: Lake,
    drop_id: str,
    schema: DropSchema,
    threads: int = 2,
    memory_limit: str = "600MB",
) -> ValidationSummary:
    """Split a drop's raw rows into sound rows by kind and `QUARANTINE_VALIDATE`; every raw row is in one of them.

    The first rule that a row breaks gives its reason, in the order of `rules_of`.

    Args:
        landing: read again for the text of rejected rows only.
        lake: where the raw tables lie and the sound rows go.
        schema: of the drop's events.
        threads, memory_limit: DuckDB's; beyond the limit, in DuckDB's notation, it works on disk.

    Raises:
        MissingTable: the drop has not been ingested.
    """
    key = TableKey(drop=drop_id)
    with _connected(lake, key, schema, threads=threads, memory_limit=memory_limit) as connection:
        _reject(connection, schema)
        rejected = _rejected_counts(connection, schema)
        _write_quarantine(connection, landing=landing, lake=lake, key=key)
        rows = {kind: _write_sound(connection, kind, schema=schema, lake=lake, key=key) for kind in schema.raw}
    return ValidationSummary(drop_id=drop_id, rows=rows, rejected=rejected)


@contextmanager
def _connected(
    lake: Lake, key: TableKey, schema: DropSchema, *, threads: int, memory_limit: str
) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A database in memory with views `raw_<kind>` and of the indices and files, and an empty table `rejected`."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="cvq-duckdb-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": memory_limit,
            "temp_directory": folder,
        }
        with duckdb.connect(config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            tables = {f"raw_{kind}": table for kind, table in schema.raw.items()}
            tables |= {table.name: table for table in (FRAME_INDEX, DROP_FILES)}
            if schema.has_media:
                tables[MEDIA_INDEX.name] = MEDIA_INDEX
            for view, table in tables.items():
                path = lake.path(table, key)
                rows = read_parquet([escaped_glob(path)])
                connection.execute(f"CREATE VIEW {view} AS FROM {rows} {_later(table, path)}")
            connection.execute(
                "CREATE TABLE rejected (kind VARCHAR, source_file VARCHAR, source_line BIGINT, event_id VARCHAR,"
                " reason VARCHAR, detail VARCHAR)"
            )
            yield connection


_SQL_TYPES: dict[Kind, str] = {"text": "VARCHAR", "integer": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN"}


def _later(table: Table, path: Path) -> str:
    """SQL that adds the columns of today to a file from before they were declared, with null."""
    known = set(pq.read_schema(path).names)
    missing = (column for column in table if column.nullable and column.name not in known)
    later = ", ".join(f"NULL::{_SQL_TYPES[column.kind]} AS {quoted(column.name)}" for column in missing)
    return f"UNION ALL BY NAME (SELECT {later} WHERE false)" if later else ""


def _reject(connection: "duckdb.DuckDBPyConnection", schema: DropSchema) -> None:
    """Fill `rejected`, kind by kind, so that a reference to a rejected event is a reference to nothing."""
    row = connection.execute("SELECT any_value(protocol) FROM drop_files").fetchone()
    protocol = str(row[0]) if row else ""
    events = " UNION ALL ".join(f"SELECT source_file, source_line, event_id FROM raw_{kind}" for kind in schema.raw)
    connection.execute(_REPEATED_SQL.format(events=events))
    has_repeats = connection.execute("SELECT 1 FROM repeated LIMIT 1").fetchone() is not None
    for kind in schema.raw:
        rules = rules_of(kind, schema.fields[kind], protocol=protocol, has_repeats=has_repeats)
        connection.execute(_rejection_sql(kind, rules))
        if kind in _DEFINED:
            connection.execute(_redefined_sql(kind, _DEFINED[kind]))
        if schema.modality.instance and kind in _CONTRADICTED_SQL:
            connection.execute(_CONTRADICTED_SQL[kind].format(instance=schema.modality.instance))
        if kind == "presentation":
            connection.execute(_TWO_SPECIES_SQL)
        if kind in _KNOWN_SQL:
            connection.execute(_KNOWN_SQL[kind].format(sound=_SOUND_SQL.format(kind=kind)))


_REPEATED_SQL = """
CREATE TABLE repeated AS
WITH hashes AS (SELECT hash(event_id) AS h FROM ({events}) GROUP BY h HAVING count(*) > 1),
     suspects AS (SELECT * FROM ({events}) WHERE hash(event_id) IN (SELECT h FROM hashes)),
     numbered AS (
         SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY source_file, source_line) AS n FROM suspects)
SELECT source_file, source_line FROM numbered WHERE n > 1
"""
"""Hashes first: they are a third of the memory of ids, and mostly they prove that nothing is repeated."""


def _redefined_sql(kind: str, columns: Sequence[str]) -> str:
    key = ", ".join(columns)
    found = " || ', ' || ".join(columns)
    return f"""
INSERT INTO rejected
SELECT '{kind}', source_file, source_line, event_id, 'duplicate_{kind}',
       '{key}: expected one event per drop, found ' || {found} || ' again'
FROM raw_{kind} ANTI JOIN rejected USING (source_file, source_line)
QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY source_file, source_line) > 1
"""


_SOUND_SQL = "raw_{kind} ANTI JOIN rejected USING (source_file, source_line)"

_KNOWN_SQL = {
    "subject": "CREATE TABLE known_subjects AS SELECT DISTINCT subject_id AS name FROM {sound}",
    "device": "CREATE TABLE known_devices AS SELECT DISTINCT device_id AS name FROM {sound}",
    "enrol": "CREATE TABLE known_references AS SELECT DISTINCT reference_id AS name FROM {sound}",
    "clip": "CREATE TABLE known_streams AS SELECT DISTINCT stream_id AS name FROM {sound}",
}


_CONTRADICTED_SQL = {
    "enrol": """
INSERT INTO rejected
SELECT 'enrol', source_file, source_line, event_id, 'mixed_reference',
       '{instance}: expected ' || own || ' as of the reference ' || reference_id || ' before, found ' || {instance}
FROM (SELECT *, first_value({instance}) OVER (PARTITION BY reference_id ORDER BY source_file, source_line) AS own
      FROM raw_enrol ANTI JOIN rejected USING (source_file, source_line)
      WHERE {instance} IS NOT NULL AND {instance} <> 'unknown')
WHERE {instance} <> own
""",
    "attempt": """
INSERT INTO rejected
SELECT 'attempt', source_file, source_line, event_id, 'other_instance',
       '{instance}: expected ' || own || ' as of the claimed reference ' || reference_id || ', found ' || {instance}
FROM raw_attempt
JOIN (SELECT reference_id, any_value({instance}) AS own
      FROM raw_enrol ANTI JOIN rejected USING (source_file, source_line)
      WHERE {instance} IS NOT NULL AND {instance} <> 'unknown' GROUP BY reference_id) USING (reference_id)
ANTI JOIN rejected USING (source_file, source_line)
WHERE {instance} <> 'unknown' AND {instance} <> own
""",
}
"""One reference is of one instance of its subject, and an attempt claims its own: what says otherwise is rejected."""


_TWO_SPECIES_SQL = """
INSERT INTO rejected
SELECT 'presentation', source_file, source_line, event_id, 'mixed_artefact',
       'pai_species: expected ' || own || ' as of the artefact ' || artefact_id || ' before, found ' || pai_species
FROM (SELECT *, first_value(pai_species) OVER (PARTITION BY artefact_id ORDER BY source_file, source_line) AS own
      FROM raw_presentation ANTI JOIN rejected USING (source_file, source_line) WHERE artefact_id IS NOT NULL)
WHERE pai_species <> own
"""
"""An artefact is of one species: a presentation that says otherwise is rejected."""


def _rejection_sql(kind: str, rules: Sequence[RowRule]) -> str:
    """One scan: the number of the first broken rule a row, and the text only for rows that broke one."""
    number = " ".join(f"WHEN {rule.condition} THEN {index}" for index, rule in enumerate(rules))
    reason = " ".join(f"WHEN {index} THEN '{rule.reason}'" for index, rule in enumerate(rules))
    detail = " ".join(f"WHEN {index} THEN {rule.detail}" for index, rule in enumerate(rules))
    return f"""
INSERT INTO rejected
SELECT '{kind}', source_file, source_line, event_id, CASE rule {reason} END, left(CASE rule {detail} END, 500)
FROM (SELECT *, CASE {number} END AS rule FROM raw_{kind}) WHERE rule IS NOT NULL
"""


def _rejected_counts(connection: "duckdb.DuckDBPyConnection", schema: DropSchema) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {kind: {} for kind in schema.raw}
    rows = connection.execute("SELECT kind, reason, count(*) FROM rejected GROUP BY ALL ORDER BY ALL").fetchall()
    for kind, reason, count in rows:
        counts[kind][reason] = count
    return counts


def _write_quarantine(connection: "duckdb.DuckDBPyConnection", *, landing: Store, lake: Lake, key: TableKey) -> None:
    drop_id = str(key.drop)
    files = connection.execute("SELECT DISTINCT source_file FROM rejected ORDER BY source_file").fetchall()
    with lake.writing(QUARANTINE_VALIDATE, key) as path:
        writer = QuarantineWriter(QUARANTINE_VALIDATE, path, drop_id=drop_id, stage="validate")
        for (name,) in files:
            found = connection.execute(
                "SELECT source_line, kind, event_id, reason, detail FROM rejected WHERE source_file = ? ORDER BY ALL",
                [name],
            )
            writer.add(name, _with_text(landing.local(f"{drop_id}/{name}"), found))
        writer.close()


def _with_text(path: Path, found: "duckdb.DuckDBPyConnection") -> Iterator[Rejection]:
    """The rejections of one file, in the order of its lines, each with the line as delivered."""
    wanted = _fetched(found)
    row = next(wanted, None)
    with path.open("rb") as file:
        for piece in read_pieces(path, HashingReader(file)):
            if row is None:
                return
            if not isinstance(piece, Block) or row[0] >= piece.first_line + piece.data.count(b"\n"):
                continue
            lines = piece.data.split(b"\n")
            while row is not None and row[0] - piece.first_line < len(lines) - 1:
                raw = lines[row[0] - piece.first_line]
                number, kind, event_id, reason, detail = row
                yield Rejection(number, reason, detail, raw, len(raw), event_kind=kind, event_id=event_id)
                row = next(wanted, None)


def _fetched(found: "duckdb.DuckDBPyConnection") -> Iterator[tuple[int, str, str, str, str]]:
    while rows := found.fetchmany(_FETCH_ROWS):
        yield from rows


def _write_sound(
    connection: "duckdb.DuckDBPyConnection", kind: str, *, schema: DropSchema, lake: Lake, key: TableKey
) -> int:
    """Publish the rows of one kind that were not rejected; returns how many."""
    raw, table = lake.path(schema.raw[kind], key), schema.validated[kind]
    lines = _rejected_lines(connection, kind)
    with lake.writing(table, key) as path:
        if not lines and lake.has_columns(schema.raw[kind], key):
            shutil.copyfile(raw, path)
            return int(pq.read_metadata(raw).num_rows)
        writer = TableWriter(table, path)
        with pq.ParquetFile(raw) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, use_threads=False)
                writer.add(_of_today(rows, table).filter(_is_sound(rows, lines)))
        writer.close()
        return writer.n_rows


def _of_today(rows: pa.Table, table: Table) -> pa.Table:
    missing = [column for column in table if column.nullable and column.name not in rows.column_names]
    for column in missing:
        rows = rows.append_column(column.name, pa.nulls(len(rows), column.arrow_type))
    return rows.select(table.names).cast(table.arrow_schema) if missing else rows


def _rejected_lines(connection: "duckdb.DuckDBPyConnection", kind: str) -> dict[str, NDArray[np.int64]]:
    rejected = "FROM rejected WHERE kind = ?"
    names = connection.execute(f"SELECT DISTINCT source_file {rejected}", [kind]).fetchall()
    sql = f"SELECT source_line {rejected} AND source_file = ?"
    return {name: connection.execute(sql, [kind, name]).fetchnumpy()["source_line"] for (name,) in names}


def _is_sound(rows: pa.Table, lines: dict[str, NDArray[np.int64]]) -> pa.Array:
    numbers = rows["source_line"].to_numpy()
    is_rejected = np.zeros(rows.num_rows, dtype=bool)
    for name in pc.unique(rows["source_file"]).to_pylist():
        if name in lines:
            is_rejected |= pc.equal(rows["source_file"], name).to_numpy() & np.isin(numbers, lines[name])
    return pa.array(~is_rejected)
