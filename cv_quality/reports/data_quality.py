"""The quality of the data behind a report: rows in, kept and rejected per drop, repeated images, and gate verdicts.

Counts, codes and one example of a reason only; never a row as delivered, which may hold biometric data. Any task's page
may have this section.
"""

from dataclasses import dataclass
from datetime import datetime

from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX, QUARANTINE_PARSE, QUARANTINE_VALIDATE
from cv_quality.gates.verdicts import Verdict, read_verdict
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.reports.queries import Query, quarantine_query
from cv_quality.reports.section import ReportSource, Section

DETAIL_CHARACTERS = 200
REPEATS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class DropRows:
    """One drop's rows: found, parsed, and rejected by stage."""

    drop_id: str
    build_id: str
    site: str
    protocol: str
    captured_until: datetime
    rows_in: int
    rows_valid: int
    rejected_parsing: int
    rejected_validating: int

    @property
    def n_rejected(self) -> int:
        return self.rejected_parsing + self.rejected_validating

    @property
    def rejected_share(self) -> float:
        return self.n_rejected / self.rows_in if self.rows_in else 0.0


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """Why rows of one drop were rejected, how many, and the detail of the first of them."""

    drop_id: str
    stage: str
    event_kind: str
    reason: str
    n_rows: int
    example: str


@dataclass(frozen=True, slots=True)
class RepeatedFrame:
    """Names of one drop that hold byte for byte the same image."""

    drop_id: str
    frames: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class DataQuality:
    """All of it; `repeated` is cut at REPEATS_SHOWN, `n_repeated` is not."""

    drops: tuple[DropRows, ...]
    rejections: tuple[RejectedRows, ...]
    repeated: tuple[RepeatedFrame, ...]
    n_repeated: int
    verdicts: tuple[Verdict, ...]
    query: Query


def read_data_quality(source: ReportSource) -> DataQuality:
    """Read what the drops of the build brought, and what the gates said about it."""
    scope = source.scope
    drops = [TableKey(drop=drop) for drop in scope.drops]
    keys = [*drops, *(key for model in scope.models for key in scope.grid(model)), TableKey(build=scope.build)]
    verdicts = (read_verdict(source.lake, gate, key) for gate in source.gates for key in keys)
    repeated = _repeated(source.lake, drops)
    return DataQuality(
        drops=tuple(read_drop_rows(source.lake, key) for key in drops),
        rejections=_rejections(source.lake, drops),
        repeated=repeated[:REPEATS_SHOWN],
        n_repeated=len(repeated),
        verdicts=tuple(verdict for verdict in verdicts if verdict is not None),
        query=quarantine_query(scope.drops),
    )


def read_drop_rows(lake: Lake, key: TableKey) -> DropRows:
    """Read what a drop brought; of one that was not validated, what parsing rejected."""
    import polars as pl

    is_validated = lake.has(QUARANTINE_VALIDATE, key)
    files = lake.read(DROP_FILES, key)
    totals = files.select(pl.col("rows_in", "rows_valid", "rows_quarantined").sum()).row(0)
    return DropRows(
        drop_id=str(key.drop),
        build_id=files["build_id"][0],
        site=files["site"][0],
        protocol=files["protocol"][0],
        captured_until=files["captured_until"].max(),  # type: ignore[arg-type]
        rows_in=totals[0],
        rows_valid=totals[1],
        rejected_parsing=totals[2],
        rejected_validating=lake.read(QUARANTINE_VALIDATE, key, columns=["reason"]).height if is_validated else 0,
    )


def _rejections(lake: Lake, drops: list[TableKey]) -> tuple[RejectedRows, ...]:
    import polars as pl

    group = ("drop_id", "stage", "event_kind", "reason")
    detail = pl.col("detail")
    shortened = pl.when(detail.str.len_chars() <= DETAIL_CHARACTERS).then(detail)
    rows = (
        pl.concat([lake.scan(table, drops) for table in (QUARANTINE_PARSE, QUARANTINE_VALIDATE)])
        .select(
            "stage",
            "reason",
            "drop_id",
            "source_file",
            "source_line",
            event_kind=pl.col("event_kind").fill_null("unknown"),
            example=shortened.otherwise(detail.str.head(DETAIL_CHARACTERS) + "…"),
        )
        .sort("source_file", "source_line")
        .group_by(group, maintain_order=True)
        .agg(pl.len().alias("n_rows"), pl.col("example").first())
        .sort("drop_id", "n_rows", "stage", "event_kind", "reason", descending=[False, True, False, False, False])
        .collect()
    )
    return tuple(RejectedRows(**row) for row in rows.iter_rows(named=True))


def _repeated(lake: Lake, drops: list[TableKey]) -> tuple[RepeatedFrame, ...]:
    import polars as pl

    rows = (
        lake.scan(FRAME_INDEX, drops)
        .group_by("drop_id", "sha256")
        .agg(pl.col("frame").unique().sort().alias("frames"))
        .filter(pl.col("frames").list.len() > 1)
        .sort("drop_id", pl.col("frames").list.first())
        .collect()
    )
    return tuple(RepeatedFrame(row["drop_id"], tuple(row["frames"]), row["sha256"]) for row in rows.to_dicts())


DATA_QUALITY = Section("data", "Data quality", read_data_quality, "reports/templates/data_quality.html")
