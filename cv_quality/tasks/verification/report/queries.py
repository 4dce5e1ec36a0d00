"""The SQL that reproduces a number of the report, for the warehouse and for the lake's Parquet files.

Text only: nothing here runs a query. Table and column names are those of `cv_quality.lake.tables`; the warehouse holds
the same rows under `fct_<table>`.
"""

from dataclasses import dataclass

from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE
from cv_quality.lake.schema import Table
from cv_quality.tasks.root_causes.tables import (
    CHANGE_ATTRIBUTION,
    EXAMPLES,
    FAILURE_CLUSTERS,
    FAILURE_SLICES,
    SLICE_SEARCHES,
    SLICE_TRENDS,
)
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    COMPARISONS,
    COUNTERFACTUALS,
    DIFFERENTIALS,
    EXPLANATIONS,
    INTERVALS,
    OPERATING_POINTS,
    OUTCOME_WATERFALL,
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


def slices_query(build: str, *, finding: str, outcome: str) -> Query:
    """What the search found of one kind: confirmed slices, those of too few subjects, or values explained away."""
    return _both(
        FAILURE_SLICES,
        build=build,
        columns="rank, condition, where_json, rate, low, high, numerator, denominator, rest_rate, support,\n"
        "       n_subjects, p_adjusted, share_of_failures, adjusted_odds_ratio, adjusted_for, rate_after, explained_by",
        where=f"outcome = {literal(outcome)} AND finding = {literal(finding)}",
        order="rank",
    )


def searches_query(build: str) -> Query:
    """Every search for slices of the build, with its conclusion."""
    columns = "outcome, n_attempts, n_subjects, n_failures, base_rate, n_slices, conclusion, skipped_json, seed"
    return _both(SLICE_SEARCHES, build=build, columns=columns, where="true", order="outcome")


def trend_query(build: str, *, outcome: str, rank: int) -> Query:
    """The rate of one slice in every build of the line."""
    return _both(
        SLICE_TRENDS,
        build=build,
        columns="trend_build_id, value, numerator, denominator, low, high, method, n_subjects, reason",
        where=f"outcome = {literal(outcome)} AND rank = {rank}",
    )


def outcomes_query(build: str, *, rank: int) -> Query:
    """Where the attempts of one slice, and all attempts, ended under each model."""
    return _lake_only(
        OUTCOME_WATERFALL,
        build=build,
        columns="model_build_id, slice_rank, outcome, n_attempts, n_genuine, n_attempts / n_genuine AS share",
        where=f"slice_rank IN (0, {rank})",
        order="model_build_id, slice_rank, outcome",
    )


def exemplars_query(build: str, *, outcome: str, rank: int) -> Query:
    """The attempts that show what one slice is about."""
    return _lake_only(
        EXAMPLES,
        build=build,
        columns="role, position, drop_id, attempt_id, subject_id, score, partner_drop_id, partner_attempt_id,\n"
        "       difference",
        where=f"outcome = {literal(outcome)} AND rank = {rank}",
        order="role, position",
    )


def explanations_query(build: str, *, rank: int) -> Query:
    """Whether the maps of one slice passed their checks."""
    return _lake_only(
        EXPLANATIONS,
        build=build,
        columns="method, n_failures, n_passes, n_subjects, pointing, deletion, deletion_random, insertion,\n"
        "       insertion_random, randomisation, is_shown, reason",
        where=f"rank = {rank}",
        order="method",
    )


def counterfactuals_query(build: str, *, rank: int) -> Query:
    """What one change does to the failures of one slice."""
    return _both(
        COUNTERFACTUALS,
        build=build,
        columns="change, source, n_attempts, n_accepted, score_before, score_after, value, low, high, method, reason",
        where=f"rank = {rank}",
        order="value DESC",
    )


def clusters_query(build: str) -> Query:
    """Clusters of attempts in an embedding whose failures were confirmed."""
    return _both(
        FAILURE_CLUSTERS,
        build=build,
        columns="cluster, embedding_source, is_described, condition, precision, recall, rate, low, high, numerator,\n"
        "       denominator, rest_rate, support, n_subjects, p_adjusted, share_of_failures",
        where="true",
        order="cluster",
    )


def attribution_query(build: str) -> Query:
    """The change of the FRR against the baseline, part by part."""
    return _both(
        CHANGE_ATTRIBUTION,
        build=build,
        columns="comparison, part, condition, failures_before, attempts_before, failures_after, attempts_after,\n"
        "       failures_before / attempts_before AS before, failures_after / attempts_after AS after,\n"
        "       mix, mix_low, mix_high, rate, rate_low, rate_high, change, change_low, change_high, method, reason",
        where="true",
        order="comparison, part",
    )


def _both(table: Table, *, build: str, columns: str, where: str, order: str = "") -> Query:
    ordered = f"\nORDER BY {order}" if order else ""
    return Query(
        warehouse=f"SELECT {columns}\nFROM fct_{table.name}\nWHERE build_id = {literal(build)} AND {where}{ordered};",
        lake=_lake_only(table, build=build, columns=columns, where=where, order=order).lake,
    )


def _lake_only(table: Table, *, build: str, columns: str, where: str, order: str = "") -> Query:
    """A query for a table that the warehouse has no mart of."""
    condition = "" if where == "true" else f"\nWHERE {where}"
    ordered = f"\nORDER BY {order}" if order else ""
    source = f"read_parquet({literal(f'{table.name}/{build}.parquet')})"
    return Query(warehouse=None, lake=f"SELECT {columns}\nFROM {source}{condition}{ordered};")


def _list(values: tuple[str, ...]) -> str:
    return ", ".join(literal(value) for value in values)
