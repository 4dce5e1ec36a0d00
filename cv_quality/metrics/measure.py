"""A build's rates over all its drops, with intervals, and its operating points over all cross-subject pairs.

Reads counts and comparisons, writes the tables `intervals` and `operating_points`. How a rate gets its interval is in
`cv_quality.metrics.rates`; how a threshold is found in `cv_quality.metrics.operating_points`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.errors import MetricError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.tables import ATTEMPT_OUTCOMES, COMPARISONS, INTERVALS, METRIC_COUNTS, METRICS, OPERATING_POINTS
from cv_quality.metrics.counts import WHOLE
from cv_quality.metrics.impostors import read_impostors
from cv_quality.metrics.operating_points import (
    OperatingPoint,
    both_classes,
    point_at_fmr,
    point_at_threshold,
    point_of_eer,
)
from cv_quality.metrics.pairs import PairCounts
from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.samples import BONA_FIDE

if TYPE_CHECKING:
    import polars as pl

GROUP = ("metric", "dimension", "level")
FMR_TARGETS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
ABOVE_EVERY_SCORE = 2.0
"""How a threshold of +inf is written: no cosine reaches it."""

FIXED_THRESHOLD = "threshold taken as given, its own uncertainty not included"


@dataclass(frozen=True, slots=True)
class MeasureSummary:
    """What was measured of a build.

    Attributes:
        interval_rows, point_rows: rows of the two tables.
        rates: model build -> metric -> rate over everything, where there was a trial.
        undefined_points: operating points that the data cannot show.
    """

    build: str
    interval_rows: int
    point_rows: int
    rates: dict[str, dict[str, float]]
    undefined_points: int


def measure_build(
    lake: Lake,
    *,
    build: str,
    model_builds: Sequence[str],
    drops: Sequence[str],
    fmr_targets: Sequence[float] = FMR_TARGETS,
) -> MeasureSummary:
    """Write `intervals` and `operating_points` of a build's own drops, scored by each of `model_builds`.

    Args:
        model_builds: the build itself and, where it has one, its baseline.
        drops: the drops to add up; the impostor pairs are those of the build's counted pairs.

    Raises:
        MissingTable: a drop is not compared and counted for one of the models, or the impostor pairs are not counted.
    """
    import polars as pl

    key = TableKey(build=build)
    rows = pl.concat([_intervals(lake, build=build, model_build=model, drops=drops) for model in model_builds])
    points = pl.concat(
        [_points(lake, build=build, model_build=model, drops=drops, targets=fmr_targets) for model in model_builds]
    )
    whole = rows.filter(pl.col("dimension") == WHOLE).drop_nulls("value")
    return MeasureSummary(
        build=build,
        interval_rows=lake.write(INTERVALS, key, rows),
        point_rows=lake.write(OPERATING_POINTS, key, points),
        rates={
            model: dict(whole.filter(model_build_id=model).select("metric", "value").iter_rows())
            for model in model_builds
        },
        undefined_points=points.filter(pl.col("reason").is_not_null()).height,
    )


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
    return pl.DataFrame([head | row for row in rows], schema=_schema(INTERVALS))


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


def _points(
    lake: Lake, *, build: str, model_build: str, drops: Sequence[str], targets: Sequence[float]
) -> "pl.DataFrame":
    """The operating points of one model, each with its FNMR's interval over subjects."""
    import polars as pl

    counts = read_impostors(lake, build=build, model_build=model_build)
    genuine = _genuine(lake, model_build=model_build, drops=drops)
    found = _found_points(genuine["score"].to_numpy(), counts, targets, _threshold(lake, model_build, drops))
    head = {"build_id": build, "model_build_id": model_build}
    rows = [head | _point_row(point, genuine, counts) for point in found]
    return pl.DataFrame(rows, schema=_schema(OPERATING_POINTS))


def _found_points(
    scores: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    counts: PairCounts,
    targets: Sequence[float],
    threshold: float | None,
) -> list[OperatingPoint]:
    classes = both_classes(scores, counts)
    points = [point_at_fmr(classes, fmr=target) for target in targets] + [point_of_eer(classes)]
    return points if threshold is None else [*points, point_at_threshold(classes, threshold=threshold)]


def _genuine(lake: Lake, *, model_build: str, drops: Sequence[str]) -> "pl.DataFrame":
    """Score and subject of every bona fide genuine comparison."""
    import polars as pl

    rows = lake.scan(COMPARISONS, [TableKey(build=model_build, drop=drop) for drop in drops])
    rows = rows.filter(pl.col("is_genuine") & (pl.col("presentation") == BONA_FIDE))
    return rows.select("subject_id", "score").sort("subject_id", "score").collect()


def _threshold(lake: Lake, model_build: str, drops: Sequence[str]) -> float | None:
    """The threshold that the outcomes were decided with; None when the drops hold no attempt."""
    rows = lake.scan(ATTEMPT_OUTCOMES, [TableKey(build=model_build, drop=drop) for drop in drops])
    values = rows.select("decision_threshold").unique().sort("decision_threshold").collect().to_series().to_list()
    if len(values) > 1:
        raise MetricError(f"outcomes of {model_build} were decided at {values}: recompute those of the older threshold")
    return values[0] if values else None


def _point_row(point: OperatingPoint, genuine: "pl.DataFrame", counts: PairCounts) -> dict[str, object]:
    head: dict[str, object] = {"point": point.name, "fmr_target": point.fmr_target, "reason": point.reason}
    if point.rates is None:
        return head | {"n_impostor": counts.n, "n_genuine": genuine.height}
    rates = asdict(point.rates)
    threshold = min(rates.pop("threshold"), ABOVE_EVERY_SCORE)
    return head | rates | {"threshold": threshold} | _fnmr_interval(point, genuine)


def _fnmr_interval(point: OperatingPoint, genuine: "pl.DataFrame") -> dict[str, object]:
    import polars as pl

    assert point.rates is not None
    is_missed = (pl.col("score") < point.rates.threshold).sum().alias("missed")
    subjects = genuine.group_by("subject_id", maintain_order=True).agg(is_missed, pl.len().alias("trials"))
    rate = clustered_rate(subjects["missed"].to_numpy(), subjects["trials"].to_numpy())
    method = "; ".join(part for part in (point.method, rate.method, FIXED_THRESHOLD, rate.reason) if part)
    return {"fnmr_low": rate.low, "fnmr_high": rate.high, "method": method}


def _schema(table: Table) -> "pl.Schema":
    import polars as pl

    empty = pl.from_arrow(table.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty.schema
