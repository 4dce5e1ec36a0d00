"""Writes drops: events as compressed JSON lines, frames as tar shards, the manifest last.

The same calls give the same bytes. Used by simulations, importers and tests; what an event may hold is derived in
`cv_quality.drops.schema`, and how a drop is read again is told in `cv_quality.drops.ingest`.
"""

import hashlib
import io
import math
import re
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import msgspec

from cv_quality.drops.conditions import DeclaredCondition, with_conditions
from cv_quality.drops.device_scores import DeviceScores, with_device_scores
from cv_quality.drops.doubts import broken_rules
from cv_quality.drops.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    Protocol,
    encode_manifest,
    format_instant,
)
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import MEDIA_CONTENTS
from cv_quality.errors import SchemaError, near
from cv_quality.lake.schema import Column, Kind
from cv_quality.lake.store import Store, open_store
from cv_quality.modality import Modality

if TYPE_CHECKING:
    import polars as pl

Scalar = str | int | float | bool | datetime | Sequence[float] | None

_FLUSH_BYTES = 1 << 20
_BULK_ROWS = 50_000
_INSTANT_FORM = "%Y-%m-%dT%H:%M:%S%.6fZ"
_PYTHON_TYPES: dict[Kind, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "real": (float, int),
    "flag": (bool,),
    "reals": (list, tuple),
    "instant": (datetime, str),
}


class DropWriter:
    """Writes one drop; a context manager.

    The manifest is written when the block ends well, and never when it raises: without it there is no drop. A drop
    of the same name is replaced: its manifest goes first, files that the new manifest does not name go last.

    Args:
        landing: where drops arrive: a folder, an S3 address or a store.
        modality: whose conditions enrolments and attempts may have.
        captured_from, captured_until: the recording window, both ends included, with a time zone.
        conditions: further ones that enrolments and attempts may have.
        device_scores: on which scale the devices score; that of the modality by default.
        events_per_file, frames_per_shard: lines or images after which the next file begins.

    Raises:
        DropError: on leaving, when the manifest would break a rule of the contract.
    """

    def __init__(
        self,
        landing: Store | str | Path,
        *,
        modality: Modality,
        drop_id: str,
        build_id: str,
        site: str,
        protocol: Protocol,
        captured_from: datetime,
        captured_until: datetime,
        conditions: Sequence[DeclaredCondition] = (),
        device_scores: DeviceScores | None = None,
        events_per_file: int = 250_000,
        frames_per_shard: int = 5_000,
    ) -> None:
        self._landing = open_store(str(landing), is_confined=True) if isinstance(landing, str | Path) else landing
        self._header = Manifest(
            schema_version=schema_version(modality, is_declared=bool(conditions or device_scores)),
            drop_id=drop_id,
            build_id=build_id,
            site=site,
            modality=modality.name,
            protocol=protocol,
            captured_from=captured_from,
            captured_until=captured_until,
            files=(),
            manifest_sha256="",
            conditions=tuple(conditions),
            device_scores=device_scores,
        )
        encode_manifest(self._header)
        fields = DropSchema(with_device_scores(with_conditions(modality, conditions), device_scores)).fields
        self._fields = {kind: {column.name: column for column in columns} for kind, columns in fields.items()}
        self._events_per_file = events_per_file
        self._frames_per_shard = frames_per_shard
        self._files: list[FileEntry] = []
        self._frames: set[str] = set()
        self._media: set[tuple[str, str]] = set()
        self._shards: dict[str, _FramesFile] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._events: _EventsFile | None = None
        self._shard: _FramesFile | None = None

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="cvq-drop-")
        self._landing.delete(f"{self._header.drop_id}/{MANIFEST}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._publish()
        finally:
            assert self._folder is not None
            self._folder.cleanup()

    def add_event(self, kind: str, **fields: Scalar) -> None:
        """Append one event; fields that are None are left out, times may be given as datetime or in the wire form.

        Raises:
            SchemaError: the kind or a field is unknown, a required field is missing, or a value has another type, or is
                not in the range, the levels or the form that are declared.
        """
        line = msgspec.json.encode(self._event(kind, fields))
        if self._events is None or self._events.rows >= self._events_per_file:
            self._finish(self._events)
            self._events = _EventsFile(self._next_path("events", ".jsonl.zst"))
        self._events.add(line)

    def add_events(self, kind: str, rows: "pl.DataFrame") -> None:
        """Append events of one kind, as many as there are rows; a null is a field left out.

        Raises:
            SchemaError: as of `add_event`, the kind, a column or a value is not one of the drop.
        """
        lines = _lines(kind, rows, known=self._known(kind, rows.columns))
        for start in range(0, len(lines), _BULK_ROWS):
            if self._events is None or self._events.rows >= self._events_per_file:
                self._finish(self._events)
                self._events = _EventsFile(self._next_path("events", ".jsonl.zst"))
            piece = lines.slice(start, _BULK_ROWS)
            self._events.add_all(piece.write_ndjson().encode(), n=len(piece))

    def add_frame(self, name: str, data: bytes) -> None:
        """Append one encoded image under the name that events refer to.

        Raises:
            SchemaError: the name is no safe relative path, or was used before.
        """
        if not is_safe_member(name):
            raise SchemaError(f"frame {name!r}: expected a relative path without '..', backslash or control characters")
        if name in self._frames:
            raise SchemaError(f"frame {name!r}: expected each name once in a drop, found it again")
        self._frames.add(name)
        if self._shard is None or self._shard.rows >= self._frames_per_shard:
            self._finish(self._shard)
            self._shard = _FramesFile(self._next_path("frames", ".tar"))
        self._shard.add(name, data)

    def add_media(self, content: str, name: str, data: bytes) -> None:
        """Append a video file, or a picture `<stream_id>/<frame_number>.png` of ground truth or of a device's results.

        Args:
            content: one of `MEDIA_CONTENTS`.
            name: of the member.
            data: its bytes.

        Raises:
            SchemaError: the drop's modality has no such content, the name is no safe relative path, or was used before.
        """
        if content not in MEDIA_CONTENTS or "clip" not in self._fields:
            allowed = MEDIA_CONTENTS if "clip" in self._fields else ()
            raise SchemaError(f"content {content!r} of modality {self._header.modality}: {near(content, allowed)}")
        if not is_safe_member(name):
            raise SchemaError(f"{content} {name!r}: expected a relative path without '..', backslash or controls")
        if (content, name) in self._media:
            raise SchemaError(f"{content} {name!r}: expected each name once in a drop, found it again")
        self._media.add((content, name))
        shard = self._shards.get(content)
        if shard is None or shard.rows >= self._frames_per_shard:
            self._finish(shard)
            shard = self._shards[content] = _FramesFile(self._next_path(content, ".tar"))
        shard.add(name, data)

    def _event(self, kind: str, fields: dict[str, Scalar]) -> dict[str, Scalar]:
        known = self._known(kind, fields)
        given = {name: wire_value(kind, column, fields.get(name)) for name, column in known.items()}
        return {"kind": kind, **{name: value for name, value in given.items() if value is not None}}

    def _known(self, kind: str, names: Iterable[str]) -> dict[str, Column]:
        known = self._fields.get(kind)
        if known is None:
            raise SchemaError(f"event kind {kind!r} is unknown: {near(kind, self._fields)}")
        for name in names:
            if name not in known:
                raise SchemaError(f"{kind} event has no field {name!r}: {near(name, known)}")
        return known

    def _next_path(self, content: str, suffix: str) -> Path:
        assert self._folder is not None, "DropWriter is a context manager: use it in a with statement"
        number = sum(entry.content == content for entry in self._files)
        return Path(self._folder.name) / f"{content}-{number:05d}{suffix}"

    def _finish(self, file: "_EventsFile | _FramesFile | None") -> None:
        if file is None:
            return
        file.close()
        with file.path.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        self._files.append(FileEntry(file.path.name, file.path.stat().st_size, digest, file.rows))
        self._landing.put_file(f"{self._header.drop_id}/{file.path.name}", file.path)

    def _publish(self) -> None:
        self._finish(self._events)
        for shard in (self._shard, *self._shards.values()):
            self._finish(shard)
        folder = f"{self._header.drop_id}/"
        named = {entry.name for entry in self._files}
        for info in self._landing.list(folder):
            if info.key.removeprefix(folder) not in named:
                self._landing.delete(info.key)
        files = tuple(sorted(self._files, key=lambda entry: entry.name))
        self._landing.write_bytes(f"{folder}{MANIFEST}", encode_manifest(replace(self._header, files=files)))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def schema_version(modality: Modality, *, is_declared: bool) -> int:
    """Choose the version of the contract that a drop needs.

    Args:
        modality: of the drop.
        is_declared: whether it declares conditions or a scale of scores.
    """
    return 3 if {"clip", "presentation"} & set(modality.event_kinds) else 2 if is_declared else 1


def is_safe_member(name: str) -> bool:
    """Whether a tar member's name is a plain relative path that cannot leave its folder.

    >>> is_safe_member("frames/000001.png"), is_safe_member("../000001.png")
    (True, False)
    """
    parts = PurePosixPath(name).parts
    return (
        0 < len(name) <= 255
        and not name.startswith("/")
        and ".." not in parts
        and str(PurePosixPath(name)) == name
        and "\\" not in name
        and name.isprintable()
    )


class _EventsFile:
    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        self.rows = 0
        self._buffer = bytearray()
        self._file = path.open("wb")
        self._stream = pa.CompressedOutputStream(self._file, "zstd")

    def add(self, line: bytes) -> None:
        self._buffer += line
        self._buffer += b"\n"
        self.rows += 1
        if len(self._buffer) >= _FLUSH_BYTES:
            self._flush()

    def add_all(self, lines: bytes, *, n: int) -> None:
        self._buffer += lines
        self.rows += n
        self._flush()

    def close(self) -> None:
        self._flush()
        self._stream.close()
        self._file.close()

    def _flush(self) -> None:
        self._stream.write(bytes(self._buffer))
        self._buffer.clear()


class _FramesFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        self.rows += 1

    def close(self) -> None:
        self._tar.close()


def _lines(kind: str, rows: "pl.DataFrame", *, known: Mapping[str, Column]) -> "pl.DataFrame":
    """Check rows, and put them as they are written: fields in their order, times in the wire form."""
    import polars as pl

    columns = []
    for name, column in known.items():
        values = rows[name] if name in rows.columns else pl.Series(name, [None] * len(rows))
        if values.null_count() == len(values) and column.nullable:
            continue
        if not column.nullable and values.null_count():
            raise SchemaError(f"{kind} event: expected field {name!r} ({column.meaning}), found none")
        if not _is_of(values.dtype, column):
            raise SchemaError(f"{kind} event, field {name!r}: expected {column.kind} values, found {values.dtype}")
        for doubt in broken_rules(values, column):
            found = values.filter(doubt.rows)[0]
            raise SchemaError(f"{kind} event, field {name!r}: expected {doubt.expected}, found {found!r}")
        columns.append(values.dt.to_string(_INSTANT_FORM) if column.kind == "instant" else values)
    return pl.DataFrame([pl.Series("kind", [kind]).new_from_index(0, len(rows)), *columns])


def _is_of(found: "pl.DataType", column: Column) -> bool:
    import polars as pl

    if column.kind == "instant":
        return isinstance(found, pl.Datetime) and found.time_zone == "UTC"
    wanted = {"text": found == pl.String, "flag": found == pl.Boolean, "integer": found.is_integer()}
    return wanted.get(column.kind, found.is_numeric())


def wire_value(kind: str, column: Column, value: Scalar) -> Scalar:
    """Check a field's value against its declaration, and write it as events have it.

    Args:
        kind: of the event, for errors.
        column: what is declared.
        value: given.

    Raises:
        SchemaError: it is of another type, or not in the range, the levels or the form that are declared.
    """
    if value is None:
        if not column.nullable:
            raise SchemaError(f"{kind} event: expected field {column.name!r} ({column.meaning}), found none")
        return None
    fits = isinstance(value, _PYTHON_TYPES[column.kind]) and (column.kind == "flag" or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise SchemaError(f"{kind} event, field {column.name!r}: expected a {column.kind} value, found {value!r}")
    if column.kind == "reals" and not all(map(_is_finite, cast("Sequence[float]", value))):
        raise SchemaError(f"{kind} event, field {column.name!r}: expected finite numbers, found {value!r}")
    problem = _forbidden(column, value)
    if problem:
        raise SchemaError(f"{kind} event, field {column.name!r}: expected {problem}, found {value!r}")
    return format_instant(value) if isinstance(value, datetime) else value


def _forbidden(column: Column, value: Scalar) -> str | None:
    """What the column's declaration expects, where the value is not that."""
    if isinstance(value, str):
        if column.levels and value not in column.levels:
            return f"one of {', '.join(column.levels)}"
        if column.pattern and not re.fullmatch(column.pattern, value):
            return f"text that matches {column.pattern}"
    elif isinstance(value, int | float):
        low, high = column.low, column.high
        if (low is not None and value < low) or (high is not None and value > high):
            return f"a number from {'unbounded' if low is None else low} to {'unbounded' if high is None else high}"
    return None
