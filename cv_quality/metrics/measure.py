"""A build's rates over all its drops, with intervals, and its operating points over all cross-subject pairs.

Reads counts and comparisons, writes the tables `intervals` and `operating_points`. How a rate gets its interval is in
`cv_quality.metrics.rates`; how a threshold is found in `cv_quality.metrics.verification` and
`cv_quality.metrics.impostors`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.tables import INTERVALS, METRIC_COUNTS, METRICS
from cv_quality.metrics.counts import WHOLE
from cv_quality.metrics.rates import clustered_rate

if TYPE_CHECKING:
    import polars as pl

GROUP = ("metric", "dimension", "level")


@dataclass(frozen=True, slots=True)
class MeasureSummary:
    """What was measured of a build: rows of each table, and (model build, metric) -> rate over everything."""

    build: str
    interval_rows: int
    rates: dict[tuple[str, str], float]


def measure_build(lake: Lake, *, build: str, model_builds: Sequence[str], drops: Sequence[str]) -> MeasureSummary:
    """Rates of a build's own drops, scored by each of `model_builds` (itself and its baseline).

    Raises:
        MissingTable: a drop is not counted for one of the models.
    """
    import polars as pl

    parts = [_intervals(lake, build=build, model_build=model, drops=drops) for model in model_builds]
    rows = pl.concat(parts)
    written = lake.write(INTERVALS, TableKey(build=build), rows)
    whole = rows.filter(pl.col("dimension") == WHOLE).drop_nulls("value")
    rates = {(model, metric): rate for model, metric, rate in whole.select("model_build_id", "metric", "value").rows()}
    return MeasureSummary(build, written, rates)


def _intervals(lake: Lake, *, build: str, model_build: str, drops: Sequence[str]) -> "pl.DataFrame":
    """One row per metric, dimension and level: the drops' counts added up by subject, as a rate."""
    import polars as pl

    counts = lake.scan(METRIC_COUNTS, [TableKey(build=model_build, drop=drop) for drop in drops])
    counts = counts.group_by(*GROUP, "subject_id").agg(pl.col("numerator", "denominator").sum())
    groups = counts.sort(*GROUP, "subject_id").group_by(*GROUP, maintain_order=True)
    levels = groups.agg("numerator", "denominator").collect()
    overall = {row["metric"]: _share(row) for row in levels.filter(dimension=WHOLE).iter_rows(named=True)}
    untried = [{"metric": metric, "dimension": WHOLE, "level": WHOLE} for metric in METRICS if metric not in overall]
    rows = [_interval(row, overall[str(row["metric"])]) for row in levels.iter_rows(named=True)]
    rows += [row | asdict(clustered_rate([], [])) for row in untried]
    head = {"build_id": build, "model_build_id": model_build}
    return pl.DataFrame([head | row for row in rows], schema=_polars_schema())


def _share(row: dict[str, object]) -> float:
    errors, trials = row["numerator"], row["denominator"]
    assert isinstance(errors, list)
    assert isinstance(trials, list)
    return float(sum(errors) / sum(trials))


def _interval(row: dict[str, object], overall: float) -> dict[str, object]:
    trials = row["denominator"]
    assert isinstance(trials, list)
    rate = clustered_rate(row["numerator"], trials, expected_errors=overall * sum(trials))  # type: ignore[arg-type]
    return {name: row[name] for name in GROUP} | asdict(rate)


def _polars_schema() -> "pl.Schema":
    import polars as pl

    empty = pl.from_arrow(INTERVALS.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty.schema
