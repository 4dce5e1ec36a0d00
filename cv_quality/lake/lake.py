"""The lake: one atomic Parquet file per table and partition key, checked against the schema on the way in.

Paths are handed on, not frames: `path` gives a local file for any engine. Verdicts and other small JSON objects are
written through `store` by those who own them. Tables are declared beside their writers.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.errors import MissingTable, ObjectNotFound, SchemaError
from cv_quality.lake.schema import Table
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import Store

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

ROW_GROUP_ROWS = 122_880


@dataclass(frozen=True, slots=True)
class TableKey:
    """The partition that one file of a table belongs to: a drop, a build, or a build on a drop."""

    build: str | None = None
    drop: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.build, self.drop) if part)


class Lake:
    """Tables in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def object_key(self, table: Table, key: TableKey) -> str:
        """Name the object of a table's file: `<table>/<build>/<drop>.parquet`, as far as the table is keyed."""
        parts = {"drop": (key.drop,), "build": (key.build,), "build_drop": (key.build, key.drop)}[table.key]
        if None in parts or str(key) != "/".join(str(part) for part in parts):
            raise SchemaError(f"table {table.name} is keyed by {table.key}, found key {key}")
        return f"{table.name}/{'/'.join(str(part) for part in parts)}.parquet"

    def has(self, table: Table, key: TableKey) -> bool:
        return self.store.exists(self.object_key(table, key))

    def path(self, table: Table, key: TableKey) -> Path:
        """Return a local file with the table's rows.

        Raises:
            MissingTable: no stage has written it yet.
        """
        object_key = self.object_key(table, key)
        try:
            return self.store.local(object_key)
        except ObjectNotFound as error:
            raise MissingTable(
                f"{table.name} has no rows for {key}: materialize the asset that writes it first ({object_key})"
            ) from error

    def keys(self, table: Table) -> list[TableKey]:
        """List every key that the table has a file for, sorted."""
        names = [info.key.removeprefix(f"{table.name}/") for info in self.store.list(f"{table.name}/")]
        parts = sorted(name.removesuffix(".parquet").split("/") for name in names)
        return [TableKey(**dict(zip(table.key.split("_"), part, strict=False))) for part in parts]

    def read(self, table: Table, key: TableKey, *, columns: Sequence[str] | None = None) -> "pl.DataFrame":
        import polars as pl

        return pl.read_parquet(self.path(table, key), columns=list(columns) if columns else None)

    def has_columns(self, table: Table, key: TableKey) -> bool:
        """Tell whether the table's file lies there with the columns that the table declares."""
        import pyarrow.parquet as pq

        return self.has(table, key) and set(pq.read_schema(self.path(table, key)).names) == set(table.names)

    def first(self, table: Table, key: TableKey, *, columns: Sequence[str]) -> "dict[str, object] | None":
        """Read the first row of the table's file, of these columns; None when it has no row."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path(table, key)) as file:
            batch = next(file.iter_batches(batch_size=1, columns=list(columns), use_threads=False), None)
        return None if batch is None or not batch.num_rows else dict(batch.to_pylist()[0])

    def scan(self, table: Table, keys: Sequence[TableKey]) -> "pl.LazyFrame":
        """Scan the rows of several keys as one lazy frame; it is empty, with the table's columns, for no key."""
        import polars as pl

        if not keys:
            return pl.DataFrame(table.arrow_schema.empty_table()).lazy()
        return pl.scan_parquet([self.path(table, key) for key in keys])

    def write(self, table: Table, key: TableKey, rows: "pl.DataFrame | pa.Table") -> int:
        """Replace the table's file for `key`; returns the number of rows.

        Raises:
            SchemaError: columns, types or nulls are not those that the table declares.
        """
        import pyarrow.parquet as pq

        arrow = conform(table, rows)
        with self.writing(table, key) as path:
            pq.write_table(arrow, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)
        return int(arrow.num_rows)

    @contextmanager
    def writing(self, table: Table, key: TableKey) -> Iterator[Path]:
        """Give a local path to fill by any engine, published as the table's file when the block ends well."""
        object_key = self.object_key(table, key)
        root = getattr(self.store, "root", None)
        staging: AbstractContextManager[Path | str] = (
            staging_folder(root / ".staging", prefix="cvq-")
            if isinstance(root, Path)
            else tempfile.TemporaryDirectory(prefix="cvq-")
        )
        with staging as folder:
            path = Path(folder) / "part.parquet"
            yield path
            self.store.put_file(object_key, path)


def conform(table: Table, rows: "pl.DataFrame | pa.Table") -> "pa.Table":
    """Cast rows to an Arrow table with exactly the schema of `table`, columns in its order.

    Raises:
        SchemaError: a column is missing or unknown, a value does not fit its type, or null stands where none may.
    """
    import pyarrow as pa

    arrow = rows if isinstance(rows, pa.Table) else rows.to_arrow()
    missing, unknown = set(table.names) - set(arrow.column_names), set(arrow.column_names) - set(table.names)
    if missing or unknown:
        raise SchemaError(f"table {table.name}: missing columns {sorted(missing)}, unknown {sorted(unknown)}")
    try:
        return arrow.select(table.names).cast(table.arrow_schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise SchemaError(f"table {table.name}: a value does not fit its column: {error}") from error
