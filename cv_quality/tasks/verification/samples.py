"""What the metrics read of a drop: its facts, its references and its probes as templates.

Only samples that can be compared come out of here: a template exists, and the attempt reached matching. What is
compared with what is decided in `cv_quality.tasks.verification.comparisons` and `impostors`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from cv_quality.drops.tables import DROP_FILES, VALIDATED_ATTEMPTS
from cv_quality.errors import MetricError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.pairs import TemplateArray
from cv_quality.tasks.verification.modality import Comparator
from cv_quality.tasks.verification.tables import EMBEDDINGS

if TYPE_CHECKING:
    import polars as pl

Protocol = Literal["enrolled", "all_pairs"]
BONA_FIDE = "bona_fide"
REACHED_MATCHING = "matching"
TEMPLATE_COLUMNS = ("embedding", "code")


@dataclass(frozen=True, slots=True)
class DropFacts:
    """What a drop is: the build that recorded it, and how its references and probes are paired."""

    drop: str
    build: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class Templates:
    """Templates with who they belong to.

    Attributes:
        rows: one row per template; a reference has `reference_id`, `subject_id`, `instance`, `frame`; a probe has
            the columns of its attempt, and `instance`.
        vectors: as the comparator takes them, shape (rows, ...).
    """

    rows: "pl.DataFrame"
    vectors: TemplateArray

    def __len__(self) -> int:
        return len(self.vectors)

    def where(self, predicate: "pl.Expr") -> "Templates":
        """Keep the templates whose rows fulfil a predicate."""
        mask = self.rows.select(predicate).to_series()
        return Templates(self.rows.filter(mask), self.vectors[mask.to_numpy()])


def drop_facts(lake: Lake, drop: str) -> DropFacts:
    """The facts of one drop.

    Raises:
        MissingTable: the drop was never parsed.
        MetricError: its file table is empty.
    """
    rows = lake.read(DROP_FILES, TableKey(drop=drop), columns=["build_id", "protocol"])
    if rows.is_empty():
        raise MetricError(f"drop {drop} lists no file: parse it again")
    build, protocol = rows.row(0)
    return DropFacts(drop, build, cast(Protocol, protocol))


def references(lake: Lake, *, build: str, drop: str, comparator: Comparator) -> Templates:
    """Fuse the enrolled samples of each `reference_id`, and sort by it; one that has no template is left out.

    Args:
        build: whose model made the templates.
        drop: the drop that enrolled them.
        comparator: knows how samples become one template.
    """
    import polars as pl

    columns = ["role", "status", "reference_id", "subject_id", "instance", "frame", *TEMPLATE_COLUMNS, "sample_id"]
    rows = lake.read(EMBEDDINGS, TableKey(build=build, drop=drop), columns=columns)
    rows = rows.filter(role="reference", status="ok").drop_nulls("reference_id").sort("reference_id", "sample_id")
    heads = rows.select("reference_id", "subject_id", "instance", "frame")
    if rows.is_empty():
        return Templates(heads, np.empty((0, 0)))
    starts = rows.with_row_index().group_by("reference_id").agg(pl.col("index").min())["index"].sort().to_numpy()
    vectors, is_usable = comparator.fuse(comparator.read(rows), starts)
    return Templates(heads[starts].filter(pl.Series(is_usable)), vectors)


def probes(lake: Lake, *, build: str, drop: str, comparator: Comparator) -> Templates:
    """The attempts that reached matching and have a template, sorted by `event_id`, with the attempt's columns.

    An attempt that failed earlier on the device is a failure to acquire (or a liveness decision), not a comparison.
    """

    columns = ["role", "status", "sample_id", "instance", *TEMPLATE_COLUMNS]
    samples = lake.read(EMBEDDINGS, TableKey(build=build, drop=drop), columns=columns)
    samples = samples.filter(role="probe", status="ok").drop("role", "status").rename({"sample_id": "event_id"})
    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop)).filter(device_stage=REACHED_MATCHING)
    rows = attempts.join(samples, on="event_id").sort("event_id")
    vectors = np.empty((0, 0)) if rows.is_empty() else comparator.read(rows)
    return Templates(rows.drop(TEMPLATE_COLUMNS), vectors)
