"""Judges the rows of logs by a mapping: each becomes an event, or is set aside with file, line and reason."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from cv_quality.drops.doubts import Doubt
from cv_quality.drops.importers.context import TIME, Context
from cv_quality.drops.importers.field_rules import FieldRule
from cv_quality.drops.importers.log_names import LogNames
from cv_quality.drops.importers.log_pictures import PictureSource
from cv_quality.drops.importers.mapping import ContextRule, LogMapping, check_fields
from cv_quality.drops.importers.sources import LINE, LogFile, Refused, decoded, row_text
from cv_quality.drops.importers.spool import BUILD, DAY, DEFINED, MADE, SITE, EventSpool, described, is_filled
from cv_quality.drops.importers.values import read_values, texts_of
from cv_quality.drops.manifest import EARLIEST, LATEST
from cv_quality.drops.schema import DropSchema
from cv_quality.errors import MappingError
from cv_quality.lake.schema import Column, identifier

if TYPE_CHECKING:
    import polars as pl

_UNREADABLE = ("malformed_json", "line_too_long", "too_many_cells", "open_quote", "no_match", "unknown_record")
"""Reasons of rows that have no columns."""


@dataclass
class RowJudge:
    """What a mapping makes of rows.

    Attributes:
        mapping, schema: what columns mean, and what events hold.
        spool: where events go.
        names: of people, devices and sessions.
        builds: that a column may name; any where there are none.
        quarantine: where rows go that do not fit, as JSON lines.
        pictures: that rows may refer to.
        rows: read so far.
        context_rows: of them, those that are no events but their context.
        reasons: rows set aside, by reason.

    Raises:
        MappingError: on creation, when the mapping does not fit the schema.
    """

    mapping: LogMapping
    schema: DropSchema
    spool: EventSpool
    names: LogNames
    quarantine: IO[str]
    pictures: PictureSource | None = None
    builds: Sequence[str] = ()
    rows: int = 0
    context_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    _columns_seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        known = {column.name: column for fields in self.schema.fields.values() for column in fields}
        check_fields(self.mapping, known)
        if self.mapping.kind.constant or self.mapping.kind.levels:
            for kind in self.mapping.kinds:
                self._columns_of(kind)
        for name, rule in self.mapping.fields.items():
            if rule.constant is not None:
                self._check_constant(replace(known[name], nullable=False))
        for context in self.mapping.context:
            for name in context.by:
                if name not in self.mapping.fields:
                    raise MappingError(f"context by {name!r}: map the field, so that events and rows can agree in it")
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
        return self._sources(self.mapping.columns)

    def _sources(self, columns: Sequence[str]) -> list[str]:
        message = self.mapping.message
        own = [name for name in columns if name not in self._inner]
        return list(dict.fromkeys([*own, *([message.column] if message else [])]))

    def sources_of(self, rule: ContextRule) -> list[str]:
        """The columns that a context reads from a log."""
        return self._sources(rule.columns) if rule.files is None else list(rule.columns)

    @cached_property
    def contexts(self) -> list[Context]:
        """The rows of every context, as far as they have been read."""
        return [Context(rule) for rule in self.mapping.context]

    def holds_events(self, name: str) -> bool:
        """Whether a file of that name is one of events, and not of a context alone."""
        return not any(rule.files is not None and fnmatch(name, rule.files) for rule in self.mapping.context)

    def read_context(self, log: LogFile, rules: Sequence[ContextRule]) -> None:
        """Read the rows of a log that say under which conditions events happened.

        Args:
            log: opened as their preset says.
            rules: which rows; without the others, those that none of them takes are set aside.
        """
        columns = list(dict.fromkeys(name for rule in rules for name in self.sources_of(rule)))
        is_own = rules[0].files is not None
        for batch in log.batches(columns):
            if is_own:
                self.rows += len(batch.rows) + len(batch.refused)
                self._refuse(log, batch.refused)
            if batch.rows.is_empty():
                continue
            rows = batch.rows if is_own else self._parted(batch.rows, None)
            is_of, is_refused = self._read_rules(rows, log, rules)
            self.context_rows += int((is_of & ~is_refused).sum())
            if is_own:
                told = [("kind", rows[LINE], Doubt("unknown_kind", "a row of a 'context'", ~is_of))]
                self._set_aside(rows, _told(told, len(rows)), log)

    def require_context(self, first_refusal: str) -> None:
        """Refuse a context of which no row was read, or none that is sound.

        Args:
            first_refusal: of the rows set aside, for the error.
        """
        for context in self.contexts:
            if not context.n_rows:
                where = f"; none of the files is called {context.rule.files}" if context.rule.files else ""
                told = f"no sound row is of it; the first set aside: {first_refusal[:500]}" if first_refusal else ""
                raise MappingError(
                    f"context of {', '.join(context.rule.conditions)}: {told or f'no row is of it{where}'}"
                )

    def judge(self, log: LogFile, *, file_number: int) -> None:
        """Read a log to its end."""
        for batch in log.batches(self.sources):
            self.rows += len(batch.rows) + len(batch.refused)
            self._refuse(log, batch.refused)
            if batch.rows.is_empty():
                continue
            rows = self._parted(batch.rows, log)
            self._columns_seen |= {name for name in rows.columns if rows[name].null_count() < len(rows)}
            for kind, part in self._by_kind(rows, log):
                self._add(kind, part, log, file_number=file_number)

    def require_use(self, first_refusal: str) -> None:
        """Refuse a mapping that no row fits, or that names a column or condition without any value.

        Args:
            first_refusal: of the rows set aside, for the error.
        """
        if not self.rows:
            raise MappingError("expected rows in the logs, found none")
        unused = [column for column in self.mapping.columns if column not in self._columns_seen]
        if unused and self.rows > sum(self.reasons[name] for name in _UNREADABLE):
            raise MappingError(f"column {unused[0]!r}: expected a value in some row, found none in {self.rows:,}")
        if not self.spool.counts:
            told = ", ".join(f"{name} {n:,}" for name, n in self.reasons.most_common())
            raise MappingError(
                f"none of {self.rows:,} rows fits the mapping ({told}); the first: {first_refusal[:500]}"
            )
        for condition in self.mapping.conditions:
            if condition.name not in self.spool.fields_seen:
                raise MappingError(f"condition {condition.name!r} has no value in any event; leave it out")

    @cached_property
    def _inner(self) -> tuple[str, ...]:
        message = self.mapping.message
        if message is None:
            return ()
        if message.pattern is not None:
            return tuple(re.compile(message.pattern).groupindex)
        asked = [*self.mapping.columns, *(name for rule in self.mapping.context for name in rule.columns)]
        return tuple(dict.fromkeys(name for name in asked if name.startswith(f"{message.column}.")))

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

    def _parted(self, rows: "pl.DataFrame", log: LogFile | None) -> "pl.DataFrame":
        """Rows with the columns that a message holds; those whose message does not match are set aside.

        Args:
            rows: as read.
            log: whose rows they are; None leaves those out that do not match, without a word.
        """
        import polars as pl

        message = self.mapping.message
        if message is None:
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
        if log is not None:
            self._set_aside(rows, _told([(message.column, texts, doubt)], len(rows)), log)
        return rows.drop(set(self._inner) & set(rows.columns)).hstack(groups.select(self._inner)).filter(is_match)

    def _by_kind(self, rows: "pl.DataFrame", log: LogFile) -> "Iterator[tuple[str, pl.DataFrame]]":
        rule = self.mapping.kind
        if rule.column is None:
            yield str(rule.constant), rows
            return
        rows = self._without_context(rows)
        column = Column("kind", "text", "kind of the event", levels=self.mapping.kinds)
        kinds, doubts = read_values(rows[rule.column], column, rule)
        told = _told([("kind", rows[rule.column], doubt) for doubt in doubts], len(rows))
        told = told[0].replace("unknown_level", "unknown_kind"), told[1]
        self._set_aside(rows, told, log)
        is_told = told[0].is_null()
        for kind in kinds.filter(is_told).unique(maintain_order=True):
            yield kind, rows.filter((kinds == kind) & is_told)

    def _without_context(self, rows: "pl.DataFrame") -> "pl.DataFrame":
        """Rows but those that are context and were read before."""
        words = [rule.kind[1] for rule in self.mapping.context if rule.files is None and rule.kind]
        words = [word for word in words if word not in self.mapping.kind.levels]
        if not words or self.mapping.kind.column is None:
            return rows
        return rows.filter(~texts_of(rows[self.mapping.kind.column]).is_in(words).fill_null(False))

    def _read_rules(
        self, rows: "pl.DataFrame", log: LogFile, rules: Sequence[ContextRule]
    ) -> "tuple[pl.Series, pl.Series]":
        """Keep the rows of each rule; tells which rows are of any, and which of those are set aside."""
        import polars as pl

        is_of_any = pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(rows))
        is_refused = is_of_any
        for context in self.contexts:
            rule = context.rule
            if not any(rule is item for item in rules):
                continue
            is_of = ~is_refused
            if rule.kind is not None:
                is_of &= (texts_of(rows[rule.kind[0]]) == rule.kind[1]).fill_null(False)
            is_of_any |= is_of
            is_odd = self._keep(context, rows.filter(is_of), log)
            is_refused |= pl.Series(np.isin(np.arange(len(rows)), is_of.arg_true().filter(is_odd).to_numpy()))
        return is_of_any, is_refused

    def _keep(self, context: Context, rows: "pl.DataFrame", log: LogFile) -> "pl.Series":
        """Keep rows whose values are sound, and set the others aside; tells which."""
        import polars as pl

        rule, known = context.rule, {column.name: column for column in self.schema.fields["attempt"]}
        pairs = [(replace(known[name], nullable=True), item) for name, item in {**rule.by, **rule.conditions}.items()]
        pairs += [(Column(TIME, "instant", "time of the row"), rule.time)] if rule.time else []
        values, doubts = list[pl.Series](), list[tuple[str, pl.Series, Doubt]]()
        for column, item in pairs:
            cells = _cells(rows, item)
            if rule.takes.get(column.name) == "count":
                values.append(texts_of(cells).alias(column.name))
                continue
            read, found = read_values(self.names.applied(cells, column, item), column, item)
            values.append(read.alias(column.name))
            doubts += [(column.name, cells, doubt) for doubt in found]
        if rule.time is None:
            values.append(pl.Series(TIME, [None], dtype=pl.Datetime("us", "UTC")).new_from_index(0, len(rows)))
        told = _told(doubts, len(rows))
        self._set_aside(rows, told, log)
        context.add(pl.DataFrame(values).filter(told[0].is_null()))
        return told[0].is_not_null()

    @cached_property
    def _places(self) -> list[tuple[str, Column, FieldRule]]:
        """What tells the drops apart, where columns do."""
        build = identifier("build", "build that the devices ran")
        if self.builds:
            build = replace(build, levels=tuple(self.builds), pattern=None)
        pairs = ((BUILD, build, self.mapping.build), (SITE, Column("site", "text", "where"), self.mapping.site))
        return [(name, column, rule) for name, column, rule in pairs if rule.column is not None]

    def _add(self, kind: str, rows: "pl.DataFrame", log: LogFile, *, file_number: int) -> None:
        import polars as pl

        if rows.is_empty():
            return
        values, doubts = list[pl.Series](), list[tuple[str, pl.Series, Doubt]]()
        for column in self._columns_of(kind):
            rule = self.mapping.fields[column.name]
            cells = _cells(rows, rule)
            read, found = read_values(self.names.applied(cells, column, rule), column, rule)
            values.append(read.alias(column.name))
            doubts += [(column.name, cells, doubt) for doubt in (*found, *self._more_doubts(column.name, read))]
        for name, column, rule in self._places:
            needed = replace(column, nullable=kind in (*DEFINED, "enrol"))
            read, found = read_values(rows[str(rule.column)], needed, rule)
            values.append(read.alias(name))
            builds = () if rule.levels or name == SITE else self.builds
            doubts += [(column.name, rows[str(rule.column)], _of_build(doubt, builds)) for doubt in found]
        told = _told(doubts, len(rows))
        self._set_aside(rows, told, log)
        sound = pl.DataFrame([*values, rows[LINE]]).filter(told[0].is_null())
        if sound.is_empty():
            return
        if kind in ("attempt", "enrol"):
            sound = sound.hstack([found for context in self.contexts for found in context.conditions_of(sound)])
        if self.mapping.has_days and "occurred_at" in sound.columns:
            sound = sound.with_columns(pl.col("occurred_at").dt.to_string("%Y-%m-%d").alias(DAY))
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


def _cells(rows: "pl.DataFrame", rule: FieldRule) -> "pl.Series":
    import polars as pl

    return rows[rule.column] if rule.column else pl.Series([rule.constant]).new_from_index(0, len(rows))


def _of_build(doubt: Doubt, builds: Sequence[str]) -> Doubt:
    """A build that the registry does not know, told as such."""
    if doubt.reason != "unknown_level" or not builds:
        return doubt
    return replace(doubt, reason="unknown_build", expected=f"a build of the model registry ({', '.join(builds)})")


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
