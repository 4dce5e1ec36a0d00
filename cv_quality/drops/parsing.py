"""Turns blocks of log lines into typed columns by event kind, and into rejections: every line becomes one of them.

A block that is sound throughout never becomes Python objects: Arrow reads it whole and a few vectorised checks pass
it. Any doubt sends the block line by line to `cv_quality.drops.events`, which knows the reasons. Files are opened and
results written in `cv_quality.drops.ingest`.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from cv_quality.drops.events import judge, refused, too_long
from cv_quality.drops.lines import MAX_LINE_BYTES, Block, Break, LongLine, Piece
from cv_quality.drops.quarantine import Rejection
from cv_quality.drops.schema import INSTANT, MAX_NUMBERS, DropSchema
from cv_quality.lake.schema import Column

_FIRST_MOMENT = pa.scalar(datetime(1, 1, 1, tzinfo=UTC), pa.timestamp("us", "UTC"))
_INSTANT_BYTES = len("2026-09-01T12:00:00.000000Z")
_INSTANT_MARKS = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":", 19: ".", 26: "Z"}
_SAMPLE_LINES = 16
_MAX_DOUBTS = 64
_STOPPED = re.compile(r"in row ([0-9]+)$")
_KIND = re.compile(rb'"kind":"([a-z_]+)"')
_KIND_WITHIN = 256
_IS_BLANK = np.isin(np.arange(256), list(b" \t\n\r\v\f"))
_NEWLINE, _OPEN, _CLOSE = (ord(mark) for mark in "\n{}")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of some lines: typed rows by kind, with the schemas of the drop, and rejections."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def n_valid(self) -> int:
        return sum(table.num_rows for table in self.tables.values())


@dataclass(frozen=True, slots=True)
class LineSource:
    """Where lines come from: the drop, its schema, and the file."""

    drop_id: str
    file: str
    schema: DropSchema


def parse_pieces(pieces: Iterable[Piece], *, source: LineSource, pool: Executor, ahead: int) -> Iterator[Parsed]:
    """Parse the pieces of a file on `pool`; results come in the order of the pieces.

    Args:
        ahead: pieces in flight at most.
    """
    flying: deque[Future[Parsed]] = deque()
    for piece in pieces:
        flying.append(pool.submit(parse_piece, piece, source=source))
        if len(flying) >= ahead:
            yield flying.popleft().result()
    while flying:
        yield flying.popleft().result()


def parse_piece(piece: Piece, *, source: LineSource) -> Parsed:
    """The rows and rejections of one piece of a file; blank lines are neither."""
    if isinstance(piece, LongLine):
        return Parsed(rejections=[too_long(piece.head, number=piece.line, size=piece.size)])
    if isinstance(piece, Break):
        detail = f"the file breaks off in line {piece.line}: {piece.detail}"
        return Parsed(rejections=[Rejection(piece.line, "truncated_file", detail, piece.head, piece.size)])
    if piece.data.isspace():
        return Parsed()
    return _parse_whole(piece, source) or _parse_by_line(piece, source)


def _parse_whole(block: Block, source: LineSource) -> Parsed | None:
    """The fast way; None as soon as the block holds more doubt than a few lines that are plainly broken."""
    lines = _Lines.of(block.data)
    doubts = _misshapen(lines)
    if doubts is None or not _is_utf8(block.data):
        return None
    spans = _read_spans(lines, doubts, source.schema)
    rejections = _judged(block, lines, doubts, source.schema) if spans is not None else None
    if spans is None or rejections is None:
        return None
    tables: dict[str, list[pa.Table]] = {}
    for start, rows in spans:
        typed = _typed_by_kind(rows, block.first_line + start, source)
        if typed is None:
            return None
        for kind, table in typed.items():
            tables.setdefault(kind, []).append(table)
    return Parsed({kind: pa.concat_tables(parts) for kind, parts in tables.items()}, rejections)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Bytes with the places of their lines; an end is the place of the newline."""

    data: bytes
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]

    @classmethod
    def of(cls, data: bytes) -> "_Lines":
        ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE)
        return cls(data, np.concatenate(([0], ends[:-1] + 1)), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def full(self) -> list[int]:
        """The lines that are not blank."""
        is_solid = ~_IS_BLANK[np.frombuffer(self.data, dtype=np.uint8)]
        return np.flatnonzero(np.logical_or.reduceat(is_solid, self.starts)).tolist() if len(self) else []

    def text(self, first: int, last: int) -> bytes:
        """Lines `first` up to, without, `last`."""
        return self.data[self.starts[first] : self.ends[last - 1] + 1]


def _misshapen(lines: _Lines) -> list[int] | None:
    """The few lines that are not `{...}` or are over-long; None if they are many, or if others hold more braces.

    Arrow's reader crashes the process on a bare `null` and lets two objects share a line; with exactly one brace
    pair a line, around the whole line, neither can reach it.
    """
    text = np.frombuffer(lines.data, dtype=np.uint8)
    is_shaped = (text[lines.starts] == _OPEN) & (text[lines.ends - 1] == _CLOSE)
    is_shaped &= lines.ends - lines.starts <= MAX_LINE_BYTES
    odd = np.flatnonzero(~is_shaped).tolist()
    if len(odd) > _MAX_DOUBTS:
        return None
    n_shaped = len(lines) - len(odd)
    others = [text[lines.starts[index] : lines.ends[index]] for index in odd]
    if _count_from(text, _OPEN) - sum(_count_from(other, _OPEN) for other in others) == 2 * n_shaped:
        return odd
    for brace in (_OPEN, _CLOSE):
        if np.count_nonzero(text == brace) - sum(np.count_nonzero(other == brace) for other in others) != n_shaped:
            return None
    return odd


def _read_spans(lines: _Lines, doubts: list[int], schema: DropSchema) -> list[tuple[int, pa.Table]] | None:
    """Read what lies between doubtful lines, as (index of the first line, columns).

    Arrow says in which row it stopped: that line joins `doubts`, and reading goes on around it.
    """
    kind = _likely_kind(lines, schema)
    spans: list[tuple[int, pa.Table]] = []
    bounds = [-1, *doubts, len(lines)]
    pending = [(left + 1, right) for left, right in pairwise(bounds) if left + 1 < right]
    while pending:
        first, last = pending.pop()
        try:
            rows = _read_likely(lines.text(first, last), kind, schema)
        except pa.ArrowInvalid as error:
            stop = _STOPPED.search(str(error))
            if stop is None or len(doubts) >= _MAX_DOUBTS:
                return None
            bad = first + int(stop[1])
            doubts.append(bad)
            pending += [(left, right) for left, right in ((first, bad), (bad + 1, last)) if left < right]
            continue
        if rows.num_rows != last - first:
            return None
        spans.append((first, rows))
    return sorted(spans, key=lambda span: span[0])


def _judged(block: Block, lines: _Lines, doubts: list[int], schema: DropSchema) -> list[Rejection] | None:
    """None if one of the doubtful lines turns out to be sound."""
    rejections = []
    for index in sorted(doubts):
        line = lines.data[lines.starts[index] : lines.ends[index]]
        if not line.strip():
            continue
        verdict = judge(line, number=block.first_line + index, schema=schema)
        if not isinstance(verdict, Rejection):
            return None
        rejections.append(verdict)
    return rejections


def _likely_kind(lines: _Lines, schema: DropSchema) -> str | None:
    sample = lines.starts[:: max(1, len(lines) // _SAMPLE_LINES)].tolist()
    found = {_KIND.search(lines.data, start, start + _KIND_WITHIN) for start in sample}
    kinds = {match[1].decode() if match else "" for match in found}
    return kinds.pop() if len(kinds) == 1 and kinds <= schema.raw.keys() else None


def _read_likely(data: bytes, kind: str | None, schema: DropSchema) -> pa.Table:
    """The columns of `kind` where all lines are of that kind (a fifth faster), else those of all kinds."""
    if kind is not None:
        rows = _read_json(data, schema.wire[kind])
        if pc.unique(rows["kind"]).to_pylist() == [kind]:
            return rows
    return _read_json(data, schema.wide_wire)


def _typed_by_kind(rows: pa.Table, first_line: int, source: LineSource) -> dict[str, pa.Table] | None:
    kinds = pc.unique(rows["kind"]).to_pylist()
    if not set(kinds) <= source.schema.raw.keys():
        return None
    numbers = pa.array(np.arange(first_line, first_line + rows.num_rows, dtype=np.int64))
    tables = {}
    for kind in sorted(kinds):
        mask = pc.equal(rows["kind"], kind) if len(kinds) > 1 else None
        table = _typed(kind, rows, numbers, source, mask=mask)
        if table is None:
            return None
        tables[kind] = table
    return tables


def _count_from(text: NDArray[np.uint8], low: int) -> int:
    """Bytes at or above `low`: in plain ASCII logs that is the braces alone, in one pass instead of two."""
    return int(np.count_nonzero(text >= low))


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse_by_line(block: Block, source: LineSource) -> Parsed:
    rejections: list[Rejection] = []
    sound: dict[str, list[tuple[int, bytes]]] = {}
    lines = _Lines.of(block.data)
    for index in lines.full():
        number, line = block.first_line + index, lines.data[lines.starts[index] : lines.ends[index]]
        verdict = judge(line, number=number, schema=source.schema)
        if isinstance(verdict, Rejection):
            rejections.append(verdict)
        else:
            sound.setdefault(verdict, []).append((number, line))
    tables = {}
    for kind in sorted(sound):
        table, refusals = _sound_lines(kind, sound[kind], source)
        rejections += refusals
        if table.num_rows:
            tables[kind] = table
    return Parsed(tables, sorted(rejections, key=lambda rejection: rejection.line))


def _sound_lines(kind: str, lines: list[tuple[int, bytes]], source: LineSource) -> tuple[pa.Table, list[Rejection]]:
    """Lines that `judge` passed, as one table; when Arrow will not have them together, one by one."""
    table = _lines_to_table(kind, lines, source)
    if isinstance(table, pa.Table):
        return table, []
    tables, refusals = [source.schema.arrow[kind].empty_table()], []
    for number, line in lines:
        single = _lines_to_table(kind, [(number, line)], source)
        if isinstance(single, pa.Table):
            tables.append(single)
        else:
            refusals.append(refused(line, number=number, detail=single))
    return pa.concat_tables(tables), refusals


def _lines_to_table(kind: str, lines: list[tuple[int, bytes]], source: LineSource) -> "pa.Table | str":
    try:
        rows = _read_json(b"\n".join(line for _, line in lines), source.schema.wire[kind])
    except pa.ArrowInvalid as error:
        return str(error)
    if rows.num_rows != len(lines):
        return f"JSON parse error: expected {len(lines)} objects, found {rows.num_rows}"
    numbers = pa.array([number for number, _ in lines], pa.int64())
    table = _typed(kind, rows, numbers, source, mask=None)
    return "a value has another type than its field" if table is None else table


def _read_json(data: bytes, schema: pa.Schema) -> pa.Table:
    return pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


def _typed(
    kind: str, rows: pa.Table, lines: pa.Array, source: LineSource, *, mask: pa.ChunkedArray | None
) -> pa.Table | None:
    """The rows of one kind under their final schema; None when a null, a number or a time is not legal."""
    fields = source.schema.fields[kind]
    chosen = rows.select([column.name for column in fields])
    if mask is not None:
        chosen, lines = chosen.filter(mask), pc.filter(pa.chunked_array([lines]), mask)
    columns = [_legal(column, chosen[column.name]) for column in fields]
    if any(values is None for values in columns):
        return None
    n = chosen.num_rows
    columns += [pa.repeat(source.drop_id, n), pa.repeat(source.file, n), lines]
    return pa.Table.from_arrays(columns, schema=source.schema.arrow[kind])


def _legal(column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    if values.null_count and not column.nullable:
        return None
    if column.kind == "real" and not pc.all(pc.is_finite(values), min_count=0).as_py():
        return None
    if column.kind == "reals":
        return values if _are_numbers(values) else None
    if column.kind != "instant":
        return values
    if not all(_is_full_form(chunk) for chunk in values.chunks):
        is_instant = pc.match_substring_regex(values, f"^{INSTANT}$")
        if not pc.all(is_instant, min_count=0).as_py():
            return None
    try:
        moments = pc.cast(values, column.arrow_type)
    except pa.ArrowInvalid:
        return None
    # Arrow knows a year 0, which no calendar has.
    return None if pc.any(pc.less(moments, _FIRST_MOMENT), min_count=0).as_py() else moments


def _are_numbers(values: pa.ChunkedArray) -> bool:
    """Whether every list holds finite numbers, and no more than a field may."""
    if pc.any(pc.greater(pc.list_value_length(values), MAX_NUMBERS), min_count=0).as_py():
        return False
    numbers = pc.list_flatten(values)
    return not numbers.null_count and bool(pc.all(pc.is_finite(numbers), min_count=0).as_py())


def _is_full_form(texts: pa.StringArray) -> bool:
    """Whether every text has the length and the punctuation of `2026-09-01T12:00:00.000000Z`."""
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if not len(texts) or not (np.diff(offsets) == _INSTANT_BYTES).all():
        return False
    characters = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(-1, _INSTANT_BYTES)
    return all(bool((characters[:, place] == ord(mark)).all()) for place, mark in _INSTANT_MARKS.items())
