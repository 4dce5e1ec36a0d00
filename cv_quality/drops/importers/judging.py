"""Judges the rows of logs by a mapping: each becomes an event, or is set aside with file, line and reason."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cv_quality.drops.doubts import Doubt
from cv_quality.drops.importers.log_pictures import PictureSource
from cv_quality.drops.importers.mapping import LogMapping, check_fields
from cv_quality.drops.importers.sources import LINE, LogFile, Refused, decoded, row_text
from cv_quality.drops.importers.spool import DEFINED, MADE, EventSpool, described, is_filled
from cv_quality.drops.importers.values import read_values, texts_of
from cv_quality.drops.manifest import EARLIEST, LATEST
from cv_quality.drops.schema import DropSchema
from cv_quality.errors import MappingError
from cv_quality.lake.schema import Column

if TYPE_CHECKING:
    import polars as pl

_UNREADABLE = ("malformed_json", "line_too_long")


@dataclass
class RowJudge:
    """What a mapping makes of rows.

    Attributes:
        mapping, schema: what columns mean, and what events hold.
        spool: where events go.
        quarantine: where rows go that do not fit, as JSON lines.
        pictures: that rows may refer to.
        rows: read so far.
        reasons: rows set aside, by reason.
        frames: that events refer to.

    Raises:
        MappingError: on creation, when the mapping does not fit the schema.
    """

    mapping: LogMapping
    schema: DropSchema
    spool: EventSpool
    quarantine: IO[str]
    pictures: PictureSource | None = None
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    frames: set[str] = field(default_factory=set)
    _columns_seen: set[str] = field(default_factory=set)
    _fields_seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        known = {column.name: column for fields in self.schema.fields.values() for column in fields}
        check_fields(self.mapping, known)
        if self.mapping.kind.constant or self.mapping.kind.levels:
            for kind in self.mapping.kinds:
                self._columns_of(kind)
        for name, rule in self.mapping.fields.items():
            if rule.constant is not None:
                self._check_constant(replace(known[name], nullable=False))
        _ = self.window

    @cached_property
    def window(self) -> tuple[datetime, datetime] | None:
        """The recording window that the mapping says."""
        if self.mapping.window is None:
            return None
        try:
            since, until = (datetime.fromisoformat(text) for text in self.mapping.window)
        except ValueError as error:
            raise MappingError(f"window: expected times as 2026-09-01T00:00:00Z: {error}") from error
        if since.tzinfo is None or until.tzinfo is None or not since < until:
            raise MappingError("window: expected 'from' before 'until', both with an offset from UTC")
        return since, until

    @cached_property
    def sources(self) -> list[str]:
        """The columns that are read from the log itself."""
        message = self.mapping.message
        own = [name for name in self.mapping.columns if name not in self._inner]
        return list(dict.fromkeys([*own, *([message.column] if message else [])]))

    def judge(self, log: LogFile, *, file_number: int) -> None:
        """Read a log to its end."""
        for batch in log.batches(self.sources):
            self.rows += len(batch.rows) + len(batch.refused)
            self._refuse(log, batch.refused)
            rows = self._parted(batch.rows, log)
            self._columns_seen |= {name for name in rows.columns if rows[name].null_count() < len(rows)}
            for kind, part in self._by_kind(rows, log):
                self._add(kind, part, log, file_number=file_number)

    def require_use(self, first_refusal: str) -> None:
        """Refuse a mapping that no row fits, or that names a column or condition without any value.

        Args:
            first_refusal: of the rows set aside, for the error.
        """
        unused = [column for column in self.mapping.columns if column not in self._columns_seen]
        if unused and self.rows > sum(self.reasons[name] for name in _UNREADABLE):
            raise MappingError(f"column {unused[0]!r}: expected a value in some row, found none in {self.rows:,}")
        if not self.spool.counts:
            told = ", ".join(f"{name} {n:,}" for name, n in self.reasons.most_common()) or "there is none"
            raise MappingError(
                f"none of {self.rows:,} rows fits the mapping ({told}); the first: {first_refusal[:500]}"
            )
        for condition in self.mapping.conditions:
            if condition.name not in self._fields_seen:
                raise MappingError(f"condition {condition.name!r} has no value in any event; leave it out")

    @cached_property
    def _inner(self) -> tuple[str, ...]:
        message = self.mapping.message
        if message is None:
            return ()
        if message.pattern is not None:
            return tuple(re.compile(message.pattern).groupindex)
        return tuple(name for name in self.mapping.columns if name.startswith(f"{message.column}."))

    def _columns_of(self, kind: str) -> list[Column]:
        """The columns that are read for events of a kind; one that it needs is mapped or made."""
        for column in self.schema.fields[kind]:
            is_made = column.name in MADE or is_filled(kind, column.name)
            if not column.nullable and column.name not in self.mapping.fields and not is_made:
                raise MappingError(
                    f"events of kind {kind} need the field {column.name!r} ({column.meaning}): "
                    "map a column to it, or a 'constant'"
                )
        own = [column for column in self.schema.fields[kind] if column.name in self.mapping.fields]
        own = [replace(column, nullable=column.nullable or is_filled(kind, column.name)) for column in own]
        names = {column.name for column in own}
        about = [] if kind in DEFINED else [column for defined in DEFINED for column in described(defined)]
        mapped = [c for c in about if c.name in self.mapping.fields and c.name not in names]
        return own + [replace(column, nullable=True) for column in mapped]

    def _check_constant(self, column: Column) -> None:
        import polars as pl

        rule = self.mapping.fields[column.name]
        for doubt in read_values(pl.Series([rule.constant]), column, rule)[1]:
            if doubt.rows.any():
                raise MappingError(f"field {column.name!r}: expected {doubt.expected}, found {rule.constant!r}")

    def _refuse(self, log: LogFile, refused: Sequence[Refused]) -> None:
        for item in refused:
            self.reasons[item.reason] += 1
            said = {"file": str(log.path), "line": item.line, "reason": item.reason, "detail": item.detail}
            self.quarantine.write(row_text({**said, "text": item.text}) + "\n")

    def _set_aside(self, rows: "pl.DataFrame", told: "tuple[pl.Series, pl.Series]", log: LogFile) -> None:
        is_bad = told[0].is_not_null()
        if not is_bad.any():
            return
        pairs = zip(told[0].filter(is_bad), told[1].filter(is_bad), strict=True)
        for row, (reason, detail) in zip(rows.filter(is_bad).iter_rows(named=True), pairs, strict=True):
            self.reasons[reason] += 1
            said = {"file": str(log.path), "line": row[LINE], "reason": reason, "detail": detail}
            given = {name: value for name, value in row.items() if name != LINE and value is not None}
            self.quarantine.write(row_text({**said, "row": given}) + "\n")

    def _parted(self, rows: "pl.DataFrame", log: LogFile) -> "pl.DataFrame":
        """Rows with the columns that a message holds; those whose message does not match are set aside."""
        import polars as pl

        message = self.mapping.message
        if message is None or rows.is_empty():
            return rows
        texts = texts_of(rows[message.column])
        if message.pattern is None:
            inner = [name.removeprefix(f"{message.column}.") for name in self._inner]
            return rows.hstack(decoded(texts, inner).rename(lambda name: f"{message.column}.{name}"))
        try:
            groups = texts.str.extract_groups(message.pattern).struct.unnest()
            is_match = texts.str.contains(message.pattern).fill_null(False)
        except pl.exceptions.PolarsError as error:
            raise MappingError(f"message: the pattern cannot be read: {error}") from error
        doubt = Doubt("no_match", "text that the message's pattern matches", ~is_match)
        self._set_aside(rows, _told([(message.column, texts, doubt)], len(rows)), log)
        return rows.drop(set(self._inner) & set(rows.columns)).hstack(groups.select(self._inner)).filter(is_match)

    def _by_kind(self, rows: "pl.DataFrame", log: LogFile) -> "Iterator[tuple[str, pl.DataFrame]]":
        rule = self.mapping.kind
        if rule.column is None:
            yield str(rule.constant), rows
            return
        column = Column("kind", "text", "kind of the event", levels=self.mapping.kinds)
        kinds, doubts = read_values(rows[rule.column], column, rule)
        told = _told([("kind", rows[rule.column], doubt) for doubt in doubts], len(rows))
        told = told[0].replace("unknown_level", "unknown_kind"), told[1]
        self._set_aside(rows, told, log)
        is_told = told[0].is_null()
        for kind in kinds.filter(is_told).unique(maintain_order=True):
            yield kind, rows.filter((kinds == kind) & is_told)

    def _add(self, kind: str, rows: "pl.DataFrame", log: LogFile, *, file_number: int) -> None:
        import polars as pl

        if rows.is_empty():
            return
        values, doubts = list[pl.Series](), list[tuple[str, pl.Series, Doubt]]()
        for column in self._columns_of(kind):
            rule = self.mapping.fields[column.name]
            cells = rows[rule.column] if rule.column else pl.Series([rule.constant]).new_from_index(0, len(rows))
            read, found = read_values(cells, column, rule)
            values.append(read.alias(column.name))
            doubts += [(column.name, cells, doubt) for doubt in (*found, *self._more_doubts(column.name, read))]
        told = _told(doubts, len(rows))
        self._set_aside(rows, told, log)
        sound = pl.DataFrame([*values, rows[LINE]]).filter(told[0].is_null())
        if sound.is_empty():
            return
        self._fields_seen |= {name for name in sound.columns if sound[name].null_count() < len(sound)}
        if "frame" in sound.columns:
            self.frames |= set(sound["frame"].drop_nulls())
        self.spool.add(kind, sound, file_number=file_number)

    def _more_doubts(self, name: str, values: "pl.Series") -> Iterator[Doubt]:
        if name == "occurred_at":
            since, until = self.window or (EARLIEST, LATEST)
            is_out = ((values < since) | (values > until)).fill_null(False)
            reason = "outside_window" if self.window else "bad_time"
            yield Doubt(reason, f"a time from {since.isoformat()} to {until.isoformat()}", is_out)
        elif name == "frame" and self.pictures is not None:
            known = values.unique().drop_nulls()
            lost = [frame for frame in known if frame not in self.pictures.names]
            yield Doubt("missing_frame", "the name of an image of 'frames'", values.is_in(lost).fill_null(False))


def _told(doubts: "Sequence[tuple[str, pl.Series, Doubt]]", n_rows: int) -> "tuple[pl.Series, pl.Series]":
    """The first reason, and what was expected and found, of every row that does not fit; null where it does."""
    import polars as pl

    reasons = pl.Series([None], dtype=pl.String).new_from_index(0, n_rows)
    details = reasons
    for name, cells, doubt in doubts:
        is_new = doubt.rows.fill_null(False) & reasons.is_null()
        if is_new.any():
            reasons = reasons.set(is_new, doubt.reason)
            found = texts_of(cells).str.slice(0, 200).fill_null("nothing")
            details = (f"{name}: expected {doubt.expected}, found " + found).zip_with(is_new, details)
    return reasons, details


def first_line(path: Path) -> str:
    """The first row that was set aside."""
    with path.open(encoding="utf-8") as lines:
        return lines.readline().strip()
