"""Writes one table of the lake piece by piece, in row groups of even size, so that memory stays flat.

Whole frames are written by `cv_quality.lake.lake.Lake.write`; this is for tables that are larger than memory.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cv_quality.lake.lake import ROW_GROUP_ROWS
from cv_quality.lake.schema import Table

_GROUP_BYTES = 48 << 20


class TableWriter:
    """Appends Arrow tables with the schema of `table` to the Parquet file at `path`; `close` completes it.

    A full row group is written by a thread of the writer's own, one at a time, while the next one is gathered.
    """

    def __init__(self, table: Table, path: Path) -> None:
        self.schema = table.arrow_schema
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._writing: Future[None] | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self.n_rows = 0

    def add(self, rows: pa.Table) -> None:
        self._pending.append(rows)
        self._pending_rows += rows.num_rows
        self._pending_bytes += rows.nbytes
        self.n_rows += rows.num_rows
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= _GROUP_BYTES:
            self._flush()

    def end_group(self, *, least_rows: int) -> None:
        """Let the next rows begin a row group, where those at hand are enough to be one."""
        if self._pending_rows >= least_rows:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._wait()
        self._thread.shutdown()
        (self._writer or self._open(self.schema.empty_table())).close()

    def _flush(self) -> None:
        self._wait()
        if self._pending_rows:
            group = pa.concat_tables(self._pending)
            self._writer = self._writer or self._open(group)
            self._writing = self._thread.submit(self._writer.write_table, group, row_group_size=group.num_rows)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def _open(self, first: pa.Table) -> pq.ParquetWriter:
        """Open the file; a dictionary of values that hardly repeat would cost a fifth of the writing, and space."""
        plain = (
            field.name
            for field in first.schema
            if not (pa.types.is_nested(field.type) or pa.types.is_binary(field.type))
        )
        repeats = [name for name in plain if 2 * pc.count_distinct(first[name]).as_py() <= first.num_rows]
        return pq.ParquetWriter(self._path, self.schema, compression="zstd", use_dictionary=repeats)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
        self._writing = None
