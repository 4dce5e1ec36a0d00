"""Events on their way from logs to a drop: kept on disk by kind until all rows have been judged.

What events need and a mapping does not say is made here: names of events and sessions, and the events of the subjects
and devices that attempts name.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cv_quality.drops.importers.sources import LINE
from cv_quality.drops.tables import DEVICE_FIELDS, RAW_TABLES, SUBJECT_FIELDS
from cv_quality.lake.schema import Column

if TYPE_CHECKING:
    import polars as pl

_CONSTANTS: Final[dict[str, str | int | bool]] = {
    "attempt_number": 1,
    "presentation": "bona_fide",
    "device_stage": "matching",
    "is_enrolled": True,
    "is_dropped": False,
    "has_image_consent": False,
    "device_model": "unknown",
}
_COPIES: Final = {"claimed_subject_id": "subject_id", "transaction_id": "event_id", "reference_id": "subject_id"}
MADE: Final = frozenset(["event_id", "session_id", *_CONSTANTS, *_COPIES])
"""Fields that events need and that are made where a mapping has none."""
DEFINED: Final = {"subject": "subject_id", "device": "device_id"}
"""Kinds of event that are made for what other events name, and the name."""
_REFERRED: Final = {"enrol": "reference_id", **DEFINED}
"""Kinds of event that a drop repeats, and by what others refer to them; enrolments first, which name subjects."""
BUILD: Final = "build of the drop"
SITE: Final = "site of the drop"
DAY: Final = "day of the drop"
_ID_CHARACTERS: Final = 128
_RECORDED: Final = ("attempt", "stream_frame")
"""Kinds that make a drop; the others are repeated in every drop that refers to them."""


def described(kind: str) -> tuple[Column, ...]:
    """What events of a kind in `DEFINED` say beside who and when."""
    fields = {"subject": SUBJECT_FIELDS, "device": DEVICE_FIELDS}[kind]
    return tuple(column for column in fields if column.name not in ("event_id", "occurred_at", DEFINED[kind]))


def is_filled(kind: str, name: str) -> bool:
    """Whether events of a kind may lack the field, row by row: when somebody was first seen, consent, model."""
    return kind in DEFINED and name in ("occurred_at", "has_image_consent", "device_model")


class Place(NamedTuple):
    """What tells the drops of an import apart; None where an event that only defines something does not say."""

    build: str | None
    site: str | None
    day: str | None


@dataclass
class EventSpool:
    """Events of all drops of an import, in files of a folder.

    Attributes:
        folder: where they are.
        build, site: of every event, where no column says.
        has_days: whether every day has a drop.
        counts: events by kind.
        fields_seen: that some event has.
    """

    folder: Path
    build: str | None = None
    site: str | None = None
    has_days: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    fields_seen: set[str] = field(default_factory=set)
    _parts: "dict[Place, DropSpool]" = field(default_factory=dict)

    def add(self, kind: str, rows: "pl.DataFrame", *, file_number: int) -> None:
        """Keep events of a kind, completed by what is made.

        Args:
            rows: fields, `LINE`, columns that say something about subjects and devices, and those of the place.
            file_number: of the log, from 1.
        """
        self.counts[kind] += len(rows)
        named = [name for name in (BUILD, SITE, DAY) if name in rows.columns]
        parts = rows.partition_by(named, as_dict=True, include_key=False) if named else {(): rows}
        for key, part in parts.items():
            told = dict(zip(named, key, strict=True))
            place = Place(told.get(BUILD, self.build), told.get(SITE, self.site), told.get(DAY))
            if place not in self._parts:
                folder = self.folder / f"drop-{len(self._parts):06d}"
                folder.mkdir()
                self._parts[place] = DropSpool(folder, place)
            self._parts[place].add(kind, part, file_number=file_number)
            self.fields_seen |= self._parts[place].fields_seen

    def drops(self) -> "list[DropSpool]":
        """The drops, by place, each completed by what it refers to and others define."""
        parts = sorted(self._parts.values(), key=lambda part: tuple(map(str, part.place)))
        whole = [part for part in parts if part.is_placed(has_days=self.has_days)]
        drops = [part for part in whole if part.is_recorded] or whole
        for drop in drops:
            drop.borrow([part for part in parts if part is not drop])
        for part in parts:
            if part not in drops:
                part.hand_over(drops)
        return drops


@dataclass
class DropSpool:
    """Events of one drop.

    Attributes:
        folder: where they are.
        place: build, site and day.
        first, last: times of the first event of its own, and of the last that it has.
        fields_seen: that some event has.
    """

    folder: Path
    place: Place
    first: datetime | None = None
    last: datetime | None = None
    fields_seen: set[str] = field(default_factory=set)
    _named: "dict[str, list[pl.DataFrame]]" = field(default_factory=dict)
    _borrowed: set[tuple[str, str]] = field(default_factory=set)

    @property
    def is_recorded(self) -> bool:
        """Whether something happened in it, beside definitions."""
        return any(self._files(kind) for kind in _RECORDED)

    def is_placed(self, *, has_days: bool) -> bool:
        """Whether build, site and day are known, as far as they are asked for."""
        return self.place.build is not None and self.place.site is not None and (not has_days or bool(self.place.day))

    def add(self, kind: str, rows: "pl.DataFrame", *, file_number: int) -> None:
        """Keep events of a kind, completed by what is made.

        Args:
            rows: fields, `LINE`, and columns that say something about subjects and devices.
            file_number: of the log, from 1.
        """
        if "occurred_at" in rows.columns and isinstance(first := rows["occurred_at"].min(), datetime):
            self.first = min(first, self.first or first)
        rows = self._completed(kind, rows, file_number=file_number)
        if kind not in DEFINED:
            self._note_named(rows)
        own = {column.name for column in RAW_TABLES[kind]}
        about = {column.name for name in DEFINED for column in described(name)} - own
        self._keep(kind, rows.drop(LINE, *(about & set(rows.columns))))

    def _keep(self, kind: str, rows: "pl.DataFrame") -> None:
        if "occurred_at" in rows.columns and isinstance(last := rows["occurred_at"].max(), datetime):
            self.last = max(last, self.last or last)
        self.fields_seen |= {name for name in rows.columns if rows[name].null_count() < len(rows)}
        number = len(self._files(kind))
        rows.write_parquet(self.folder / f"{kind}-{number:06d}.parquet", compression="lz4", statistics=False)

    def borrow(self, others: "Sequence[DropSpool]") -> None:
        """Repeat the enrolments, subjects and devices that events refer to and others define.

        What several others define is taken from the same build, else from the first one.
        """
        import polars as pl

        if not others:
            return
        nearest = sorted(others, key=lambda other: other.place.build != self.place.build)
        for kind, key in _REFERRED.items():
            wanted = self._referred(kind)
            wanted = wanted.filter(~wanted.is_in(self._defined(kind).implode()))
            for other in nearest:
                for path in other._files(kind) if len(wanted) else ():
                    rows = pl.read_parquet(path, glob=False)
                    rows = rows.filter(pl.col(key).is_in(wanted.implode()))
                    if len(rows):
                        self._note_named(rows)
                        self._keep(kind, rows)
                        other._borrowed |= {(kind, name) for name in rows[key]}
                wanted = wanted.filter(~wanted.is_in(self._defined(kind).implode()))
        for kind, key in DEFINED.items():
            own = self._all_named(kind)[key].implode()
            told = [rows.filter(pl.col(key).is_in(own)) for rows in (other._all_named(kind) for other in nearest)]
            self._named[kind] += [rows for rows in told if rows.width > 1]

    def hand_over(self, drops: "Sequence[DropSpool]") -> None:
        """Give the definitions that no drop refers to to the first drop of the same build, else the first one."""
        import polars as pl

        heir = min(drops, key=lambda drop: drop.place.build != self.place.build)
        for kind, key in _REFERRED.items():
            taken = [name for borrowed, name in self._borrowed if borrowed == kind]
            for path in self._files(kind):
                rows = pl.read_parquet(path, glob=False).filter(~pl.col(key).is_in(taken))
                if len(rows):
                    heir._note_named(rows)
                    heir._keep(kind, rows)

    def _referred(self, kind: str) -> "pl.Series":
        """What events of the drop refer to of a kind."""
        import polars as pl

        if kind in DEFINED:
            return self._all_named(kind)[DEFINED[kind]].drop_nulls().unique(maintain_order=True)
        names = [pl.Series("name", dtype=pl.String)]
        for path in self._files("attempt"):
            known = pl.read_parquet_schema(path)
            column = "reference_id" if "reference_id" in known else "claimed_subject_id"
            names.append(pl.read_parquet(path, columns=[column], glob=False)[column].drop_nulls().unique())
        return pl.concat([found.alias("name") for found in names]).unique(maintain_order=True)

    def _defined(self, kind: str) -> "pl.Series":
        import polars as pl

        key = _REFERRED[kind]
        parts = [pl.read_parquet(path, columns=[key], glob=False)[key] for path in self._files(kind)]
        return pl.concat(parts).unique() if parts else pl.Series(dtype=pl.String)

    def events(self, kind: str, *, since: datetime) -> "Iterator[pl.DataFrame]":
        """Read the events of a kind again, and make those that are missing; what has no time happens at `since`."""
        import polars as pl

        for path in self._files(kind):
            rows = pl.read_parquet(path, glob=False)
            if "occurred_at" not in rows.columns:
                rows = rows.with_columns(occurred_at=pl.lit(None, _moment()))
            if kind == "attempt" and "reference_id" not in rows.columns:
                claimed = pl.col("claimed_subject_id")
                rows = rows.with_columns(reference_id=pl.when(claimed.is_in(self._enrolled.implode())).then(claimed))
            yield rows.with_columns(pl.col("occurred_at").fill_null(since))
        if kind in DEFINED:
            made = self._named_only(kind)
            if len(made):
                yield made.with_columns(occurred_at=pl.lit(since, _moment()))

    def frames(self) -> set[str]:
        """The images that events refer to."""
        import polars as pl

        found = set[str]()
        for path in self.folder.glob("*.parquet"):
            if "frame" in pl.read_parquet_schema(path):
                found |= set(pl.read_parquet(path, columns=["frame"], glob=False)["frame"].drop_nulls())
        return found

    @cached_property
    def _enrolled(self) -> "pl.Series":
        """The references that enrolments define; asked for when all of them are kept."""
        return self._defined("enrol")

    def _files(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind}-*.parquet"))

    def contradictions(self) -> Iterator[str]:
        """Say where rows tell different things of one subject or device; the first is taken."""
        import polars as pl

        for kind, key in DEFINED.items():
            rows = self._all_named(kind)
            for column in described(kind):
                if column.name in rows.columns:
                    counts = rows.drop_nulls(column.name).group_by(key).agg(pl.col(column.name).n_unique())
                    n = int((counts[column.name] > 1).sum())
                    if n:
                        yield f"{n:,} {kind}{'' if n == 1 else 's'} with more than one {column.name}: the first counts"

    def _completed(self, kind: str, rows: "pl.DataFrame", *, file_number: int) -> "pl.DataFrame":
        import polars as pl

        needed = [column.name for column in RAW_TABLES[kind] if not column.nullable]
        for name in needed:
            if name in rows.columns:
                if is_filled(kind, name) and name in _CONSTANTS:
                    rows = rows.with_columns(pl.col(name).fill_null(pl.lit(_CONSTANTS[name])))
                continue
            if name == "event_id":
                made = pl.format("{}-{}", pl.lit(file_number), LINE)
            elif name == "session_id":
                day = pl.col("occurred_at").dt.to_string("%Y-%m-%d")
                made = pl.format("{}-{}", pl.col("subject_id").str.slice(0, _ID_CHARACTERS - 11), day)
            elif name in _COPIES:
                made = pl.col(_COPIES[name])
            elif name in _CONSTANTS:
                made = pl.lit(_CONSTANTS[name], pl.Int64() if name == "attempt_number" else None)
            else:
                continue
            rows = rows.with_columns(made.alias(name))
        return rows

    def _note_named(self, rows: "pl.DataFrame") -> None:
        import polars as pl

        for kind, key in DEFINED.items():
            if key in rows.columns:
                about = [column.name for column in described(kind) if column.name in rows.columns]
                self._named.setdefault(kind, []).append(rows.select(key, *about).unique(maintain_order=True))
        if "claimed_subject_id" in rows.columns:
            claimed = rows.select(pl.col("claimed_subject_id").alias("subject_id")).unique(maintain_order=True)
            self._named.setdefault("subject", []).append(claimed)

    def _all_named(self, kind: str) -> "pl.DataFrame":
        import polars as pl

        parts = self._named.get(kind, [])
        rows = pl.concat(parts, how="diagonal") if parts else pl.DataFrame(schema={DEFINED[kind]: pl.String})
        rows = rows.unique(maintain_order=True)
        self._named[kind] = [rows]
        return rows

    def _named_only(self, kind: str) -> "pl.DataFrame":
        """Subjects or devices that no event defines, with the first that is said of each."""
        import polars as pl

        key, rows = DEFINED[kind], self._all_named(kind)
        rows = rows.filter(~pl.col(key).is_in(self._defined(kind).implode()))
        first = rows.group_by(key, maintain_order=True).agg(pl.all().drop_nulls().first()).sort(key)
        for name in ("has_image_consent", "device_model"):
            if name in {column.name for column in described(kind)}:
                default = pl.lit(_CONSTANTS[name])
                filled = pl.col(name).fill_null(default) if name in first.columns else default
                first = first.with_columns(filled.alias(name))
        return first.with_columns(event_id=pl.format("{}-{}", pl.lit(f"made-{kind}"), pl.int_range(1, pl.len() + 1)))


def _moment() -> "pl.Datetime":
    import polars as pl

    return pl.Datetime("us", "UTC")
