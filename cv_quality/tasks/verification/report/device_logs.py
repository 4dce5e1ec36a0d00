"""What the devices logged themselves: how long a decision took, and how near their scores are to the lab's.

Aggregated from the lake; how it looks is in `cv_quality.tasks.verification.report.charts`.
"""

from dataclasses import dataclass

from cv_quality.modality import Dimension, of_modality
from cv_quality.reports.curves import HistogramBin, filled_bins
from cv_quality.reports.queries import Query, any_of, literal
from cv_quality.reports.rates import MIN_ERRORS
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.dimensions import dimensions_of
from cv_quality.tasks.verification.report.data import level_order
from cv_quality.tasks.verification.report.wording import comparator_of
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COMPARISONS

LATENCY_DIMENSIONS = ("device_model", "thermal_state")
"""What latency is broken down by, as far as the modality records it."""
PARITY_BINS = 41


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in ms of one group; None where fewer than five attempts lie beyond the percentile."""

    level: str
    n: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class LatencyGroups:
    """Latency by one dimension, with its query."""

    dimension: Dimension
    groups: tuple[Latency, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class Parity:
    """Device score minus re-inferred score, over comparisons where both come from the same build.

    Attributes:
        n_flipped: comparisons of which only one of the two scores is accepted.
    """

    n: int
    mean_difference: float
    largest_difference: float
    n_flipped: int
    bins: tuple[HistogramBin, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class DeviceLogs:
    """Latency by every dimension that has one; parity is None when no device score was logged."""

    latency: tuple[LatencyGroups, ...]
    parity: Parity | None


def read_device_logs(source: ReportSource) -> DeviceLogs:
    """Read latency and parity of the build on its drops."""
    recorded = {item.name: item for item in dimensions_of(source.modality)}
    found = [_read_latency(source, recorded[name]) for name in LATENCY_DIMENSIONS if name in recorded]
    return DeviceLogs(tuple(item for item in found if item.groups), _read_parity(source))


def _read_latency(source: ReportSource, dimension: Dimension) -> LatencyGroups:
    import polars as pl

    scope, name, order, latency = source.scope, dimension.name, level_order(dimension), pl.col("device_latency_ms")
    rows = (
        source.lake.scan(of_modality(ATTEMPT_OUTCOMES, source.modality), scope.grid(scope.build))
        .filter(latency.is_not_null() & pl.col(name).is_not_null())
        .group_by(name)
        .agg(pl.len().alias("n"), *(latency.quantile(q, "linear").alias(str(q)) for q in (0.5, 0.95, 0.99)))
        .collect()
    )
    groups = tuple(
        Latency(row[name], row["n"], *(supported(row[str(q)], n=row["n"], quantile=q) for q in (0.5, 0.95, 0.99)))
        for row in sorted(rows.to_dicts(), key=lambda row: order(row[name]))
    )
    return LatencyGroups(dimension, groups, _latency_query(scope, name))


def supported(value: float, *, n: int, quantile: float) -> float | None:
    """Keep a percentile beyond which at least five values lie.

    Args:
        value: the percentile.
        n: values in all.
        quantile: which percentile it is, between 0 and 1.

    >>> supported(9.0, n=100, quantile=0.95), supported(9.0, n=99, quantile=0.95)
    (9.0, None)
    """
    return value if n * (1 - quantile) >= MIN_ERRORS - 1e-9 else None


def _latency_query(scope: Scope, name: str) -> Query:
    """The warehouse has percentiles of all dimensions together, which cannot be turned into percentiles of one."""
    return Query(
        warehouse=None,
        lake=f"SELECT {name}, count(*) AS n,\n"
        "       quantile_cont(device_latency_ms, [0.5, 0.95, 0.99]) AS p50_p95_p99_ms\n"
        f"FROM read_parquet({literal(f'{ATTEMPT_OUTCOMES.name}/{scope.build}/*.parquet')})\n"
        f"WHERE drop_id IN {any_of(scope.drops)}\n"
        f"  AND device_latency_ms IS NOT NULL AND {name} IS NOT NULL\n"
        f"GROUP BY {name} ORDER BY {name};",
    )


def _read_parity(source: ReportSource) -> Parity | None:
    import numpy as np
    import polars as pl

    scope, threshold = source.scope, source.entry.decision_threshold
    is_accepted = [comparator_of(source).accepts(pl.col(name), threshold) for name in ("score", "device_score")]
    rows = (
        source.lake.scan(COMPARISONS, scope.grid(scope.build))
        .filter(pl.col("is_parity_expected") & pl.col("device_score").is_not_null())
        .select(difference=pl.col("device_score") - pl.col("score"), is_flipped=is_accepted[0] != is_accepted[1])
        .collect()
    )
    if rows.is_empty():
        return None
    difference = rows["difference"].to_numpy()
    reach = max(float(np.abs(difference).max()), 1e-6)
    edges = np.linspace(-reach, reach, PARITY_BINS + 1)
    return Parity(
        n=rows.height,
        mean_difference=float(np.abs(difference).mean()),
        largest_difference=float(np.abs(difference).max()),
        n_flipped=int(rows["is_flipped"].sum()),
        bins=filled_bins(edges, np.histogram(difference, edges)[0]),
        query=_parity_query(scope.build),
    )


def _parity_query(build: str) -> Query:
    return Query(
        warehouse="SELECT sum(n) AS n, sum(n * mean_abs_difference) / sum(n) AS mean_difference,\n"
        "       max(max_abs_difference) AS largest_difference\n"
        f"FROM fct_parity WHERE build_id = {literal(build)};",
        lake="SELECT count(*) AS n, avg(abs(score - device_score)) AS mean_difference,\n"
        "       max(abs(score - device_score)) AS largest_difference\n"
        f"FROM read_parquet({literal(f'{COMPARISONS.name}/{build}/*.parquet')})\n"
        "WHERE is_parity_expected AND device_score IS NOT NULL;",
    )
