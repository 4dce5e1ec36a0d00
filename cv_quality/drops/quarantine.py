"""Rejected rows: why, and the row as it was delivered, written as they come.

The reasons are given in `cv_quality.drops.parsing`, `frames` and `validation`; this module only keeps and writes
them, under the schema of `QUARANTINE_PARSE` and `QUARANTINE_VALIDATE`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from cv_quality.drops.lines import RAW_BYTES
from cv_quality.drops.tablewriter import TableWriter
from cv_quality.lake.schema import Table

Stage = Literal["parse", "validate"]
_BATCH_BYTES, _BATCH_ROWS = 8 << 20, 20_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """One rejected row.

    Attributes:
        line: line number or member number in the file, from 1.
        reason: machine-readable code.
        detail: what was expected and what was found.
        raw: the row as delivered, cut at 64 KiB; None for an image.
        raw_bytes: length of the row as delivered.
        event_kind, event_id: where they could be told; the kind of an image is "frame".
    """

    line: int
    reason: str
    detail: str
    raw: bytes | None
    raw_bytes: int
    event_kind: str | None = None
    event_id: str | None = None


class QuarantineWriter:
    """Appends rejections to one Parquet file."""

    def __init__(self, table: Table, path: Path, *, drop_id: str, stage: Stage) -> None:
        self._writer = TableWriter(table, path)
        self._schema = table.arrow_schema
        self._drop_id = drop_id
        self._stage = stage
        self._rows: list[dict[str, str | int | None]] = []
        self._bytes = 0

    def add(self, source_file: str, rejections: Iterable[Rejection]) -> None:
        for rejection in rejections:
            self._rows.append(self._row(source_file, rejection))
            self._bytes += min(rejection.raw_bytes, RAW_BYTES)
            if self._bytes > _BATCH_BYTES or len(self._rows) >= _BATCH_ROWS:
                self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _row(self, source_file: str, rejection: Rejection) -> dict[str, str | int | None]:
        return {
            "drop_id": self._drop_id,
            "source_file": source_file,
            "source_line": rejection.line,
            "stage": self._stage,
            "event_kind": rejection.event_kind,
            "event_id": rejection.event_id,
            "reason": rejection.reason,
            "detail": rejection.detail,
            "raw": None if rejection.raw is None else printable(rejection.raw[:RAW_BYTES]),
            "raw_bytes": rejection.raw_bytes,
        }

    def _flush(self) -> None:
        if self._rows:
            self._writer.add(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def printable(raw: bytes) -> str:
    r"""The bytes as text, those that are no UTF-8 escaped.

    >>> printable(b"caf\xe9")
    'caf\\xe9'
    """
    return raw.decode("utf-8", errors="backslashreplace")
