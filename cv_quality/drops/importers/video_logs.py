"""Reads what a device logged of one clip frame by frame: a table of any dialect, a row for each frame.

Columns are fields of stream frames and conditions of the modality, by their own names or some that others use. Dialects
are the business of `cv_quality.tables`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cv_quality.drops.schema import DropSchema
from cv_quality.drops.writer import Scalar, wire_value
from cv_quality.errors import LayoutError, SchemaError, TableError
from cv_quality.lake.schema import Column
from cv_quality.modality import Modality
from cv_quality.tables.reading import opened_table

NUMBER: Final = "frame_number"
OTHER_NAMES: Final[Mapping[str, str]] = {
    "frame": NUMBER,
    "number": NUMBER,
    "index": NUMBER,
    "dropped": "is_dropped",
    "lux": "illuminance_lux",
    "temperature": "temperature_c",
    "power": "power_mw",
    "thermal": "thermal_state",
    "latency": "latency_ms",
    "deadline": "deadline_ms",
    "pts_ms": "clip_time_ms",
}
_GIVEN: Final = frozenset({"event_id", "occurred_at", "stream_id", "device_id", "frame"})
"""Fields that the import itself sets."""


@dataclass(frozen=True, slots=True)
class FrameLog:
    """The rows of a log.

    Attributes:
        rows: fields by the number of the frame, as the file counts them.
        unread: columns that are no field.
        notes: how the table was read.
    """

    rows: Mapping[int, Mapping[str, Scalar]]
    unread: tuple[str, ...]
    notes: tuple[str, ...]


def read_frame_log(path: Path, *, modality: Modality) -> FrameLog:
    """Read the log beside a clip.

    Args:
        path: the table.
        modality: whose conditions it may have.

    Raises:
        LayoutError: it has no column of frame numbers, one number twice, or a value that does not fit its field.
    """
    known = {column.name: column for column in DropSchema(modality).fields["stream_frame"] if column.name not in _GIVEN}
    try:
        with opened_table(path) as table:
            rows, notes = table.rows.collect(), table.notes
    except TableError as error:
        raise LayoutError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    names = {name: _field(name, known) for name in rows.columns}
    taken = {field: name for name, field in names.items() if field is not None}
    if NUMBER not in taken:
        raise LayoutError(f"{path}: expected a column {NUMBER}, found {', '.join(rows.columns)}")
    found: dict[int, Mapping[str, Scalar]] = {}
    for place, row in enumerate(rows.iter_rows(named=True), start=1):
        fields = _fields({field: row[name] for field, name in taken.items()}, known, where=f"{path}, row {place}")
        number = fields.pop(NUMBER)
        if not isinstance(number, int) or number in found:
            raise LayoutError(f"{path}, row {place}: expected each {NUMBER} once, as a whole number, found {number!r}")
        found[number] = fields
    return FrameLog(found, tuple(name for name, field in names.items() if field is None), notes)


def _field(name: str, known: Mapping[str, Column]) -> str | None:
    plain = name.strip().lower().replace(" ", "_")
    field = OTHER_NAMES.get(plain, plain)
    return field if field in known else None


def _fields(cells: Mapping[str, object], known: Mapping[str, Column], *, where: str) -> dict[str, Scalar]:
    """The cells as fields have them; one that is empty is left out."""
    fields: dict[str, Scalar] = {}
    for name, cell in cells.items():
        if cell is None:
            continue
        value = _typed(cell, known[name])
        try:
            wire_value("stream_frame", known[name], value)
        except SchemaError as error:
            raise LayoutError(f"{where}: {error}") from error
        fields[name] = value
    return fields


def _typed(cell: object, column: Column) -> Scalar:
    if column.kind == "flag" and isinstance(cell, int | float) and cell in (0, 1):
        return bool(cell)
    if column.kind == "integer" and isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if column.kind == "text":
        return str(cell)
    return cell if isinstance(cell, str | int | float | bool) else str(cell)


def logged_columns(logs: Sequence[FrameLog]) -> tuple[str, ...]:
    """Name the fields that any of some logs has."""
    return tuple(dict.fromkeys(name for log in logs for row in log.rows.values() for name in row))
