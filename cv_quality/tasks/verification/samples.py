"""What the metrics read of a drop: its facts, its references and its probes as matrices of unit vectors.

Only samples that can be compared come out of here: a template exists, and the attempt reached matching. What is
compared with what is decided in `cv_quality.tasks.verification.comparisons` and `impostors`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.tables import DROP_FILES, VALIDATED_ATTEMPTS
from cv_quality.errors import MetricError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.verification.tables import EMBEDDINGS

if TYPE_CHECKING:
    import polars as pl

Protocol = Literal["enrolled", "all_pairs"]
BONA_FIDE = "bona_fide"
REACHED_MATCHING = "matching"


@dataclass(frozen=True, slots=True)
class DropFacts:
    """What a drop is: the build that recorded it, and how its references and probes are paired."""

    drop: str
    build: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class Templates:
    """Unit vectors with who they belong to.

    Attributes:
        rows: one row per template; a reference has `reference_id`, `subject_id`, `frame`; a probe has the columns of
            its attempt.
        vectors: float64, unit norm, shape (rows, dimension).
    """

    rows: "pl.DataFrame"
    vectors: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.vectors)


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


def own_drops(lake: Lake, build: str) -> list[str]:
    """The drops that were recorded with `build`, in the order of their ids."""
    drops = [key.drop for key in lake.keys(DROP_FILES) if key.drop is not None]
    return [drop for drop in drops if drop_facts(lake, drop).build == build]


def references(lake: Lake, *, build: str, drop: str) -> Templates:
    """One reference per `reference_id`, sorted by it: the mean of its unit vectors, brought back to unit norm.

    A reference whose vectors cancel to nothing has no direction, and is left out.
    """
    import polars as pl

    columns = ["role", "status", "reference_id", "subject_id", "frame", "embedding", "sample_id"]
    rows = lake.read(EMBEDDINGS, TableKey(build=build, drop=drop), columns=columns)
    rows = rows.filter(role="reference", status="ok").drop_nulls("reference_id").sort("reference_id", "sample_id")
    if rows.is_empty():
        return _without_template(rows.select("reference_id", "subject_id", "frame"))
    starts = rows.with_row_index().group_by("reference_id").agg(pl.col("index").min())["index"].sort().to_numpy()
    sums = np.add.reduceat(_unit(_matrix(rows["embedding"])), starts, axis=0)
    is_usable = np.linalg.norm(sums, axis=1) > np.finfo(np.float32).eps
    heads = rows[starts].select("reference_id", "subject_id", "frame").filter(pl.Series(is_usable))
    return Templates(heads, _unit(sums[is_usable]))


def probes(lake: Lake, *, build: str, drop: str) -> Templates:
    """The attempts that reached matching and have a template, sorted by `event_id`, with the attempt's columns.

    An attempt that failed earlier on the device is a failure to acquire (or a liveness decision), not a comparison.
    """
    import polars as pl

    key = TableKey(build=build, drop=drop)
    samples = lake.read(EMBEDDINGS, key, columns=["role", "status", "sample_id", "embedding"])
    samples = samples.filter(role="probe", status="ok").select(pl.col("sample_id").alias("event_id"), "embedding")
    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop)).filter(device_stage=REACHED_MATCHING)
    rows = attempts.join(samples, on="event_id").sort("event_id")
    if rows.is_empty():
        return _without_template(rows.drop("embedding"))
    return Templates(rows.drop("embedding"), _unit(_matrix(rows["embedding"])))


def _matrix(column: "pl.Series") -> NDArray[np.float64]:
    lengths = column.list.len().unique()
    if len(lengths) != 1:
        raise MetricError(f"templates of one build differ in length: {sorted(lengths.to_list())}; run inference again")
    return column.explode().to_numpy().astype(np.float64).reshape(len(column), -1)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _without_template(rows: "pl.DataFrame") -> Templates:
    return Templates(rows, np.empty((0, 0)))
