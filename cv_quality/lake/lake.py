"""The lake: one atomic Parquet file per table and partition key, checked against the schema on the way in.

Paths are handed on, not frames: `path` gives a local file for any engine. Verdicts and other small JSON objects are
written through `store` by those who own them. Tables are declared beside their writers.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cv_quality.errors import DamagedTable, MissingTable, ObjectNotFound, SchemaError
from cv_quality.lake.schema import Table
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import ObjectInfo, Store

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

ROW_GROUP_ROWS = 122_880
_PARTS = {"drop": (False, True), "build": (True, False), "build_drop": (True, True)}
"""Whether a key of the grain names a build, and a drop."""


class TableKey(NamedTuple):
    """The partition that one file of a table belongs to: a drop, a build, or a build on a drop."""

    build: str | None = None
    drop: str | None = None

    def __str__(self) -> str:
        return f"{self.build}/{self.drop}" if self.build and self.drop else self.build or self.drop or ""


class Lake:
    """Tables in a store.

    Attributes:
        written: the files that this object has published last, by object key.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written: dict[str, ObjectInfo] = {}
        self._digests: dict[tuple[str, object], str] = {}

    def object_key(self, table: Table, key: TableKey) -> str:
        """Name the object of a table's file: `<table>/<build>/<drop>.parquet`, as far as the table is keyed."""
        if (bool(key.build), bool(key.drop)) != _PARTS[table.key]:
            raise SchemaError(f"table {table.name} is keyed by {table.key}, found key {key}")
        return f"{table.name}/{key}.parquet"

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
                f"{table.name} has no rows for {key} ({object_key}): `cvq run` makes them, or materialize the asset "
                "that writes them"
            ) from error

    def keys(self, table: Table, survey: "Survey | None" = None) -> list[TableKey]:
        """List every key that the table has a file for, sorted; what else lies in its folder is none of its files.

        Args:
            table: whose files.
            survey: a look at the lake that others share.
        """
        names = [name.removeprefix(f"{table.name}/") for name in (survey or Survey(self.store)).list(table.name)]
        grain = table.key.split("_")
        parts = sorted(name.removesuffix(".parquet").split("/") for name in names if name.endswith(".parquet"))
        return [TableKey(**dict(zip(grain, part, strict=True))) for part in parts if len(part) == len(grain)]

    def read(self, table: Table, key: TableKey, *, columns: Sequence[str] | None = None) -> "pl.DataFrame":
        """Read the table's rows.

        Raises:
            MissingTable: no stage has written it yet.
            DamagedTable: its file is not readable, or has other columns.
        """
        import polars as pl

        with self._opened(table, key) as path:
            return pl.read_parquet(path, columns=list(columns) if columns else None, glob=False)

    def has_columns(self, table: Table, key: TableKey) -> bool:
        """Tell whether the table's file lies there with the columns that the table declares."""
        import pyarrow.parquet as pq

        with suppress(MissingTable, DamagedTable), self._opened(table, key) as path:
            return set(pq.read_schema(path).names) == set(table.names)
        return False

    def first(self, table: Table, key: TableKey, *, columns: Sequence[str]) -> "dict[str, object] | None":
        """Read the first row of the table's file, of these columns; None when it has no row.

        A nullable column that a file of an earlier release does not have is null.

        Raises:
            MissingTable: no stage has written it yet.
            DamagedTable: its file is not readable, or has other columns.
        """
        import pyarrow.parquet as pq

        absent = dict.fromkeys(name for name in columns if table.column(name).nullable)
        with self._opened(table, key) as path, pq.ParquetFile(path) as file:
            read = [name for name in columns if name not in absent or name in file.schema_arrow.names]
            batch = next(file.iter_batches(batch_size=1, columns=read, use_threads=False), None)
        return None if batch is None or not batch.num_rows else absent | dict(batch.to_pylist()[0])

    def digest(self, object_key: str, info: ObjectInfo) -> str:
        """Compute the sha256 of a file as it lies there; once, for as long as it is not written again."""
        known = self._digests.get((object_key, info.mark))
        if known is None:
            with self.store.local(object_key).open("rb") as file:
                known = self._digests[object_key, info.mark] = hashlib.file_digest(file, "sha256").hexdigest()
        return known

    @contextmanager
    def _opened(self, table: Table, key: TableKey) -> Iterator[Path]:
        import polars as pl
        import pyarrow as pa

        try:
            yield self.path(table, key)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError) as error:
            raise DamagedTable(
                f"{self.object_key(table, key)} in the lake {self.store.uri} is damaged, or of another release: "
                f"{str(error).splitlines()[0]}. `cvq run` makes it anew"
            ) from error

    def scan(self, table: Table, keys: Sequence[TableKey]) -> "pl.LazyFrame":
        """Scan the rows of several keys as one lazy frame; it is empty, with the table's columns, for no key.

        A nullable column that only some files have, such as a condition that not every drop declares, is null in the
        others; columns that the table does not have are left out.

        Raises:
            MissingTable: no stage has written one of them yet.
            DamagedTable: a file is not readable, or lacks a column that may not be null.
        """
        import polars as pl

        empty = pl.DataFrame(table.arrow_schema.empty_table())
        if not keys:
            return empty.lazy()
        paths = [self._path_with_required(table, key) for key in keys]
        return pl.scan_parquet(paths, glob=False, schema=empty.schema, missing_columns="insert", extra_columns="ignore")

    def _path_with_required(self, table: Table, key: TableKey) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._opened(table, key) as path:
            missing = {column.name for column in table if not column.nullable}.difference(pq.read_schema(path).names)
            if missing:
                raise pa.ArrowInvalid(f"it has no column {', '.join(sorted(missing))}")
            return path

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
        with staging_folder(self.store.staging, prefix="cvq-") as folder:
            path = folder / "part.parquet"
            yield path
            self.written[object_key] = self.store.put_file(object_key, path)


class Survey:
    """What lies in a store, as of one look: a folder of which two files are asked about is listed as a whole."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: dict[str, tuple[str, ObjectInfo | None]] = {}
        self._listed: dict[str, dict[str, ObjectInfo]] = {}

    def info(self, object_key: str) -> ObjectInfo | None:
        folder = object_key.rpartition("/")[0]
        listed = self._listed.get(folder)
        if listed is not None:
            return listed.get(object_key)
        name, info = self._asked.get(folder) or (object_key, self._store.info(object_key))
        if name == object_key:
            self._asked[folder] = name, info
            return info
        return self.list(folder).get(object_key)

    def lacks(self, object_key: str) -> bool:
        """Tell whether the folder of a file was listed without it."""
        listed = self._listed.get(object_key.rpartition("/")[0])
        return listed is not None and object_key not in listed

    def list(self, folder: str) -> dict[str, ObjectInfo]:
        """List every file below a folder, by object key."""
        if folder not in self._listed:
            found = {info.key: info for info in self._store.list(folder)}
            if not folder:
                for key, info in found.items():
                    self._listed.setdefault(key.partition("/")[0], {})[key] = info
            self._listed[folder] = found
        return self._listed[folder]


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
