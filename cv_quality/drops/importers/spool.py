"""Events on their way from logs to a drop: kept on disk by kind until all rows have been judged.

What events need and a mapping does not say is made here: names of events and sessions, and the events of the subjects
and devices that attempts name.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
    "has_image_consent": False,
    "device_model": "unknown",
}
_COPIES: Final = {"claimed_subject_id": "subject_id", "transaction_id": "event_id", "reference_id": "subject_id"}
MADE: Final = frozenset(["event_id", "session_id", *_CONSTANTS, *_COPIES])
"""Fields that events need and that are made where a mapping has none."""
DEFINED: Final = {"subject": "subject_id", "device": "device_id"}
"""Kinds of event that are made for what other events name, and the name."""
_ID_CHARACTERS: Final = 128


def described(kind: str) -> tuple[Column, ...]:
    """What events of a kind in `DEFINED` say beside who and when."""
    fields = {"subject": SUBJECT_FIELDS, "device": DEVICE_FIELDS}[kind]
    return tuple(column for column in fields if column.name not in ("event_id", "occurred_at", DEFINED[kind]))


def is_filled(kind: str, name: str) -> bool:
    """Whether events of a kind may lack the field, row by row: when somebody was first seen, consent, model."""
    return kind in DEFINED and name in ("occurred_at", "has_image_consent", "device_model")


@dataclass
class EventSpool:
    """Events in files of a folder.

    Attributes:
        folder: where they are.
        counts: events by kind.
        first, last: times of the events.
    """

    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    _named: dict[str, "list[pl.DataFrame]"] = field(default_factory=dict)

    def add(self, kind: str, rows: "pl.DataFrame", *, file_number: int) -> None:
        """Keep events of a kind, completed by what is made.

        Args:
            rows: fields, `LINE`, and columns that say something about subjects and devices.
            file_number: of the log, from 1.
        """
        if "occurred_at" in rows.columns:
            first, last = rows["occurred_at"].min(), rows["occurred_at"].max()
            if isinstance(first, datetime) and isinstance(last, datetime):
                self.first, self.last = min(first, self.first or first), max(last, self.last or last)
        rows = self._completed(kind, rows, file_number=file_number)
        if kind not in DEFINED:
            self._note_named(rows)
        own = {column.name for column in RAW_TABLES[kind]}
        about = {column.name for name in DEFINED for column in described(name)} - own
        number = len(self._files(kind))
        kept = rows.drop(LINE, *(about & set(rows.columns)))
        kept.write_parquet(self.folder / f"{kind}-{number:06d}.parquet", compression="lz4", statistics=False)
        self.counts[kind] += len(rows)

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
                self.counts[kind] += len(made)
                yield made.with_columns(occurred_at=pl.lit(since, _moment()))

    @cached_property
    def _enrolled(self) -> "pl.Series":
        """The references that enrolments define; asked for when all of them are kept."""
        import polars as pl

        parts = [pl.read_parquet(path, columns=["reference_id"])["reference_id"] for path in self._files("enrol")]
        return pl.concat(parts).unique() if parts else pl.Series(dtype=pl.String)

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
        defined: Sequence[pl.Series] = [
            pl.read_parquet(path, columns=[key], glob=False)[key] for path in self._files(kind)
        ]
        if defined:
            rows = rows.filter(~pl.col(key).is_in(pl.concat(defined).unique().implode()))
        first = rows.group_by(key, maintain_order=True).agg(pl.all().drop_nulls().first()).sort(key)
        for name in ("has_image_consent", "device_model"):
            if name in {column.name for column in described(kind)}:
                default = pl.lit(_CONSTANTS[name])
                filled = pl.col(name).fill_null(default) if name in first.columns else default
                first = first.with_columns(filled.alias(name))
        return first.with_columns(event_id=pl.format("{}-{}", pl.lit(f"made-{kind}"), pl.int_range(1, pl.len() + 1)))


def window_of(spool: EventSpool) -> tuple[datetime, datetime]:
    """The recording window from the first event to the last one."""
    assert spool.first is not None
    assert spool.last is not None
    return spool.first, spool.last + timedelta(seconds=1)


def _moment() -> "pl.Datetime":
    import polars as pl

    return pl.Datetime("us", "UTC")
