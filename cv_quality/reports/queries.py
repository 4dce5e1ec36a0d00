"""The SQL that reproduces a number of the report, for the warehouse and for the lake's Parquet files.

Text only: nothing here runs a query. Table and column names are those of `cv_quality.lake.tables`; the warehouse holds
the same rows under `fct_<table>`.
"""

from dataclasses import dataclass

from cv_quality.lake.schema import Table
from cv_quality.lake.tables import (
    ATTEMPT_OUTCOMES,
    COMPARISONS,
    DIFFERENTIALS,
    INTERVALS,
    OPERATING_POINTS,
    QUARANTINE_PARSE,
    QUARANTINE_VALIDATE,
)


@dataclass(frozen=True, slots=True)
class Query:
    """One question asked twice: of the DuckDB warehouse, and of the lake (run it in the lake's root folder)."""

    warehouse: str | None
    lake: str


def literal(value: str | float) -> str:
    """A value as SQL text, quotes doubled.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def operating_point_query(build: str, *, models: tuple[str, ...], point: str, target: float | None) -> Query:
    """The row of one operating point for each model."""
    wanted = f"fmr_target = {target!r}" if target is not None else "fmr_target IS NULL"
    return _both(
        OPERATING_POINTS,
        build=build,
        columns="model_build_id, threshold, eer, eer_low, eer_high, fmr, fmr_low, fmr_high, n_false_matches,\n"
        "       n_impostor, fnmr, fnmr_low, fnmr_high, n_false_non_matches, n_genuine, method, reason",
        where=f"model_build_id IN ({_list(models)}) AND point = {literal(point)} AND {wanted}",
    )


def interval_query(build: str, *, models: tuple[str, ...], metric: str, dimension: str) -> Query:
    """One rate with its interval at every level of a dimension for each model."""
    return _both(
        INTERVALS,
        build=build,
        columns="model_build_id, level, value, numerator, denominator, low, high, method, n_effective,\n"
        "       n_subjects, reason",
        where=f"model_build_id IN ({_list(models)}) AND metric = {literal(metric)}\n"
        f"  AND dimension = {literal(dimension)}",
    )


def differentials_query(build: str, *, models: tuple[str, ...], attribute: str) -> Query:
    """The rates of every group of one attribute for each model, held against those of all."""
    return _both(
        DIFFERENTIALS,
        build=build,
        columns="model_build_id, metric, level, other_level, value, numerator, denominator, low, high, method,\n"
        "       n_effective, ratio, ratio_low, ratio_high, verdict, reason",
        where=f"model_build_id IN ({_list(models)}) AND attribute = {literal(attribute)}",
    )


def latency_query(build: str, *, drops: tuple[str, ...], dimension: str) -> Query:
    """Median and tail of the latency in the devices' logs by device model or thermal state.

    The warehouse has percentiles of both together, which cannot be turned into percentiles of one.
    """
    return Query(
        warehouse=None,
        lake=f"SELECT {dimension}, count(*) AS n,\n"
        "       quantile_cont(device_latency_ms, [0.5, 0.95, 0.99]) AS p50_p95_p99_ms\n"
        f"FROM read_parquet({literal(f'{ATTEMPT_OUTCOMES.name}/{build}/*.parquet')})\n"
        f"WHERE drop_id IN ({_list(drops)})\n"
        f"  AND device_latency_ms IS NOT NULL AND {dimension} IS NOT NULL\n"
        f"GROUP BY {dimension} ORDER BY {dimension};",
    )


def parity_query(build: str) -> Query:
    """Agreement of the device's scores with the re-inference of the same build."""
    return Query(
        warehouse="SELECT sum(n) AS n, sum(n * mean_abs_difference) / sum(n) AS mean_difference,\n"
        "       max(max_abs_difference) AS largest_difference\n"
        f"FROM fct_parity WHERE build_id = {literal(build)};",
        lake="SELECT count(*) AS n, avg(abs(score - device_score)) AS mean_difference,\n"
        "       max(abs(score - device_score)) AS largest_difference\n"
        f"FROM read_parquet({literal(f'{COMPARISONS.name}/{build}/*.parquet')})\n"
        "WHERE is_parity_expected AND device_score IS NOT NULL;",
    )


def quarantine_query(drops: tuple[str, ...]) -> Query:
    """Rejected rows of the drops by stage and reason."""
    where = f"WHERE drop_id IN ({_list(drops)})\n"
    order = "ORDER BY drop_id, stage, reason, event_kind;"
    columns = "drop_id, stage, reason, event_kind"
    files = f"['{QUARANTINE_PARSE.name}/*.parquet', '{QUARANTINE_VALIDATE.name}/*.parquet']"
    return Query(
        warehouse=f"SELECT {columns}, n_rows\nFROM fct_quarantine\n{where}{order}",
        lake=f"SELECT {columns}, count(*) AS n_rows\nFROM read_parquet({files})\n{where}GROUP BY {columns}\n{order}",
    )


def _both(table: Table, *, build: str, columns: str, where: str) -> Query:
    return Query(
        warehouse=f"SELECT {columns}\nFROM fct_{table.name}\nWHERE build_id = {literal(build)} AND {where};",
        lake=f"SELECT {columns}\nFROM read_parquet({literal(f'{table.name}/{build}.parquet')})\nWHERE {where};",
    )


def _list(values: tuple[str, ...]) -> str:
    return ", ".join(literal(value) for value in values)
