"""How long a decision took, as the devices logged it; whether their scores agree is told in `parity`, beside this.

Aggregated from the lake; how it looks is in `cv_quality.tasks.verification.report.charts`.
"""

from dataclasses import dataclass

from cv_quality.modality import Dimension, of_modality
from cv_quality.reports.queries import Query, any_of, literal
from cv_quality.reports.rates import MIN_ERRORS
from cv_quality.reports.scope import Scope
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.dimensions import dimensions_of
from cv_quality.tasks.verification.report.data import level_order
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES

LATENCY_DIMENSIONS = ("device_model", "thermal_state")
"""What latency is broken down by, as far as the modality records it."""


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


def read_latency(source: ReportSource) -> tuple[LatencyGroups, ...]:
    """Read the latency of the build on its drops, by every dimension that has one."""
    recorded = {item.name: item for item in dimensions_of(source.modality)}
    found = [_read_latency(source, recorded[name]) for name in LATENCY_DIMENSIONS if name in recorded]
    return tuple(item for item in found if item.groups)


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
