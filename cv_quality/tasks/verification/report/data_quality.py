"""The quality of the data behind a report: rows in, kept and rejected per drop, repeated images, and gate verdicts.

Counts, codes and one example of a reason only; never a row as delivered, which may hold biometric data. The numbers of
the evaluation itself are in `cv_quality.tasks.verification.report.facts`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX, QUARANTINE_PARSE, QUARANTINE_VALIDATE
from cv_quality.gates.verdicts import Verdict, read_verdict
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.tasks.verification.report.facts import Scope

if TYPE_CHECKING:
    import polars as pl

DETAIL_CHARACTERS = 200
REPEATS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Delivery:
    """One drop's rows: found, parsed, and rejected by stage."""

    drop_id: str
    site: str
    protocol: str
    rows_in: int
    rows_valid: int
    rejected_parsing: int
    rejected_validating: int


@dataclass(frozen=True, slots=True)
class Reason:
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

    deliveries: tuple[Delivery, ...]
    reasons: tuple[Reason, ...]
    repeated: tuple[RepeatedFrame, ...]
    n_repeated: int
    verdicts: tuple[Verdict, ...]


def read_data_quality(lake: Lake, *, scope: Scope) -> DataQuality:
    """What the drops of the build brought, and what the gates said about it."""
    repeated = _repeated(lake, scope=scope)
    return DataQuality(
        deliveries=tuple(_delivery(lake, drop=drop) for drop in scope.drops),
        reasons=_reasons(lake, scope=scope),
        repeated=repeated[:REPEATS_SHOWN],
        n_repeated=len(repeated),
        verdicts=_verdicts(lake, scope=scope),
    )


def _delivery(lake: Lake, *, drop: str) -> Delivery:
    import polars as pl

    key = TableKey(drop=drop)
    files = lake.read(DROP_FILES, key)
    totals = files.select(pl.col("rows_in", "rows_valid", "rows_quarantined").sum()).row(0)
    return Delivery(
        drop_id=drop,
        site=files["site"][0],
        protocol=files["protocol"][0],
        rows_in=totals[0],
        rows_valid=totals[1],
        rejected_parsing=totals[2],
        rejected_validating=lake.read(QUARANTINE_VALIDATE, key, columns=["reason"]).height,
    )


def _reasons(lake: Lake, *, scope: Scope) -> tuple[Reason, ...]:
    import polars as pl

    group = ("drop_id", "stage", "event_kind", "reason")
    rows = (
        pl.concat([_present(lake, table, scope=scope) for table in (QUARANTINE_PARSE, QUARANTINE_VALIDATE)])
        .select(
            "stage",
            "reason",
            "detail",
            "drop_id",
            "source_file",
            "source_line",
            event_kind=pl.col("event_kind").fill_null("unknown"),
        )
        .sort("source_file", "source_line")
        .group_by(group, maintain_order=True)
        .agg(pl.len().alias("n_rows"), pl.col("detail").first().alias("example"))
        .sort("drop_id", "n_rows", "stage", "event_kind", "reason", descending=[False, True, False, False, False])
        .collect()
    )
    return tuple(Reason(**{**row, "example": _shortened(row["example"])}) for row in rows.iter_rows(named=True))


def _present(lake: Lake, table: Table, *, scope: Scope) -> "pl.LazyFrame":
    return lake.scan(table, [TableKey(drop=drop) for drop in scope.drops])


def _shortened(detail: str) -> str:
    return detail if len(detail) <= DETAIL_CHARACTERS else f"{detail[:DETAIL_CHARACTERS]}…"


def _repeated(lake: Lake, *, scope: Scope) -> tuple[RepeatedFrame, ...]:
    import polars as pl

    rows = (
        lake.scan(FRAME_INDEX, [TableKey(drop=drop) for drop in scope.drops])
        .group_by("drop_id", "sha256")
        .agg(pl.col("frame").unique().sort().alias("frames"))
        .filter(pl.col("frames").list.len() > 1)
        .sort("drop_id", pl.col("frames").list.first())
        .collect()
    )
    return tuple(
        RepeatedFrame(drop_id=row["drop_id"], frames=tuple(row["frames"]), sha256=row["sha256"])
        for row in rows.iter_rows(named=True)
    )


def _verdicts(lake: Lake, *, scope: Scope) -> tuple[Verdict, ...]:
    keys = [
        *(TableKey(drop=drop) for drop in scope.drops),
        *(key for model in scope.models for key in scope.grid(model)),
        TableKey(build=scope.build),
    ]
    from cv_quality.tasks.verification.task import VERIFICATION

    found = (read_verdict(lake, stage.name, key) for stage in VERIFICATION.stages for key in keys)
    return tuple(verdict for verdict in found if verdict is not None)
