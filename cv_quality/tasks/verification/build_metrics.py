"""A build's rates over all its drops, with intervals, and its operating points over all cross-subject pairs.

Reads counts and comparisons, writes the tables `intervals` and `operating_points`. How a rate gets its interval is in
`cv_quality.metrics.rates`; how a threshold is found in `cv_quality.metrics.operating_points`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from cv_quality.errors import MetricError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.dyadic import pair_rate
from cv_quality.metrics.operating_points import (
    BothClasses,
    OperatingPoint,
    both_classes,
    det_points,
    point_at_fmr,
    point_at_threshold,
    point_of_eer,
)
from cv_quality.metrics.point_intervals import (
    BY_FAMILY,
    BuildScores,
    Row,
    curve_bands,
    eer_columns,
    fmr_interval,
    fnmr_interval,
)
from cv_quality.metrics.rates import NO_TRIAL, clustered_rate
from cv_quality.metrics.trials import ListedTrials
from cv_quality.metrics.verification import FMR_TARGETS
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.build_scores import read_build_scores, read_families
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.group_rates import group_rows
from cv_quality.tasks.verification.modality import Comparator
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    DET_CURVE,
    DIFFERENTIALS,
    INTERVALS,
    METRIC_COUNTS,
    METRICS,
    OPERATING_POINTS,
)

THRESHOLDS = ("threshold", "threshold_low", "threshold_high")
GROUP = ("metric", "dimension", "level")
WHO = ("subject_id", "claimed_subject_id")
COUNTS = ("numerator", "denominator")
BETWEEN_SUBJECTS = ("fmr", "far")
"""Metrics whose trials are between two people; those of the others belong to one."""


@dataclass(frozen=True, slots=True)
class MeasureSummary:
    """What was measured of a build.

    Attributes:
        interval_rows, point_rows, curve_rows, group_rows: rows of the four tables.
        rates, baseline_rates: rate over everything of each metric that had a trial, of the build's own model and of
            its baseline's.
        undefined_points: operating points that the data cannot show.
    """

    build: str
    interval_rows: int
    point_rows: int
    curve_rows: int
    group_rows: int
    rates: dict[str, float]
    baseline_rates: dict[str, float]
    undefined_points: int


def measure_build(
    lake: Lake,
    *,
    build: str,
    model_builds: Sequence[str],
    drops: Sequence[str],
    comparator: Comparator,
    no_pairs: str = "",
    fmr_targets: Sequence[float] = FMR_TARGETS,
    scores_of: Mapping[str, BuildScores] | None = None,
) -> MeasureSummary:
    """Write `intervals`, `operating_points`, `det_curve` and `differentials` of a build's own drops, for each model.

    Args:
        model_builds: the build itself and, where it has one, its baseline.
        drops: the drops to add up; the impostor pairs are those of the build's counted pairs.
        comparator: that of the drops' modality.
        no_pairs: why there is no operating point, where that is known beforehand.
        fmr_targets: at which operating points are found.
        scores_of: each model, where they were read already.

    Raises:
        MissingTable: a drop is not compared and counted for one of the models, or the impostor pairs are not counted.
    """
    family_of = read_families(lake, drops=drops)
    rows: list[Row] = []
    rates: dict[str, dict[str, float]] = {}
    points: list[Row] = []
    curves: list[Row] = []
    groups: list[Row] = []
    for model in model_builds:
        intervals = _intervals(lake, model_build=model, drops=drops, family_of=family_of)
        whole = [row for row in intervals if row["dimension"] == WHOLE and row["value"] is not None]
        rates[model] = {row["metric"]: row["value"] for row in whole}
        scores = (scores_of or {}).get(model) or read_build_scores(
            lake, build=build, model_build=model, drops=drops, comparator=comparator, family_of=family_of
        )
        classes = no_pairs or both_classes(scores.genuine_scores, scores.counts)
        head = {"model_build_id": model}
        rows += [head | row for row in intervals]
        decided = _threshold(lake, model, drops)
        threshold = None if decided is None else comparator.oriented(decided)
        own = point_rows(scores, classes, targets=fmr_targets, threshold=threshold)
        points += [head | native(row, comparator) for row in own]
        curves += [head | native(row, comparator) for row in _curve(scores, classes)]
        by_group = group_rows(lake, scores, model_build=model, drops=drops, threshold=threshold)
        groups += [head | row for row in by_group]
    return MeasureSummary(
        build=build,
        interval_rows=write_rows(lake, INTERVALS, build, rows),
        point_rows=write_rows(lake, OPERATING_POINTS, build, points),
        curve_rows=write_rows(lake, DET_CURVE, build, curves),
        group_rows=write_rows(lake, DIFFERENTIALS, build, groups),
        rates=rates.get(build, {}),
        baseline_rates=next((found for model, found in rates.items() if model != build), {}),
        undefined_points=sum(point.get("fmr") is None for point in points),
    )


def _intervals(
    lake: Lake, *, model_build: str, drops: Sequence[str], family_of: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One row per metric, dimension and level: the drops' counts added up by subject and claimed subject, as a rate."""
    import polars as pl

    counts = lake.scan(METRIC_COUNTS, [TableKey(build=model_build, drop=drop) for drop in drops])
    counts = counts.group_by(*GROUP, *WHO).agg(pl.col(*COUNTS).sum())
    groups = counts.sort(*GROUP, *WHO).group_by(*GROUP, maintain_order=True)
    levels = groups.agg(*WHO, *COUNTS).collect()
    whole = levels.filter(dimension=WHOLE).iter_rows(named=True)
    overall = {row["metric"]: sum(row["numerator"]) / sum(row["denominator"]) for row in whole}
    rows = [_interval(row, overall[row["metric"]], family_of) for row in levels.iter_rows(named=True)]
    untried = [{"metric": metric, "dimension": WHOLE, "level": WHOLE} for metric in METRICS if metric not in overall]
    return rows + [row | asdict(NO_TRIAL) for row in untried]


def _interval(row: dict[str, Any], overall: float, family_of: Mapping[str, str]) -> dict[str, Any]:
    """The rate of one level, by family or subject; trials between two people are clustered by both."""
    errors, trials = (np.array(row[name], np.int64) for name in COUNTS)
    names, codes = np.unique(np.array([row[name] for name in WHO]), return_inverse=True)
    families = np.unique([family_of.get(name, name) for name in names.tolist()], return_inverse=True)[1]
    one, other = codes.reshape(2, -1)
    expected = overall * float(trials.sum())
    if row["metric"] in BETWEEN_SUBJECTS:
        met = ListedTrials.of(np.repeat(one, trials), np.repeat(other, trials), n_subjects=len(names))
        erring = families[np.repeat(one, errors)], families[np.repeat(other, errors)]
        rate = pair_rate(erring, trials=met.clustered(families), expected_errors=expected)
    else:
        by_family = (np.bincount(families[one], weights=counts, minlength=len(names)) for counts in (errors, trials))
        rate = clustered_rate(*by_family, expected_errors=expected)
    is_by_family = rate.method is not None and families.max() + 1 < len(names)
    method = f"{rate.method}; {BY_FAMILY}" if is_by_family else rate.method
    return {name: row[name] for name in GROUP} | asdict(rate) | {"method": method}


def point_rows(
    scores: BuildScores, classes: BothClasses | str, *, targets: Sequence[float], threshold: float | None
) -> list[Row]:
    """Find the operating points of one model, each rate with its interval over subjects; thresholds are oriented.

    Args:
        scores, classes: of the model, or in words which class is missing.
        targets: FMRs.
        threshold: at which it decides; None where that is unknown.
    """
    points = [point_at_fmr(classes, fmr=target) for target in targets] + [point_of_eer(classes)]
    if threshold is not None:
        points.append(point_at_threshold(classes, threshold=threshold))
    return [_point_row(point, scores) for point in points]


def _threshold(lake: Lake, model_build: str, drops: Sequence[str]) -> float | None:
    """The threshold that the outcomes were decided with; None when the drops hold no attempt."""
    rows = lake.scan(ATTEMPT_OUTCOMES, [TableKey(build=model_build, drop=drop) for drop in drops])
    values = rows.select("decision_threshold").unique().sort("decision_threshold").collect().to_series().to_list()
    if len(values) > 1:
        raise MetricError(f"outcomes of {model_build} were decided at {values}: recompute those of the older threshold")
    return values[0] if values else None


def _point_row(point: OperatingPoint, scores: BuildScores) -> Row:
    head: Row = {"point": point.name, "fmr_target": point.fmr_target, "reason": point.reason}
    if point.rates is None:
        return head | {"n_impostor": scores.counts.n, "n_genuine": scores.genuine_scores.size}
    interval = eer_columns(point, scores) if point.name == "eer" else fnmr_interval(point, scores)
    return head | asdict(point.rates) | fmr_interval(scores, threshold=point.rates.threshold) | interval


def _curve(scores: BuildScores, classes: BothClasses | str) -> list[Row]:
    """The curve of one model with its band, where the tail of impostor scores reaches far enough to tell."""
    points = det_points(classes)
    rows: list[Row] = []
    for point, (low, high) in zip(points, curve_bands(points, scores), strict=True):
        assert point.rates is not None
        rates: Row = {"threshold": point.rates.threshold, "fmr": point.rates.fmr, "fnmr": point.rates.fnmr}
        rows.append(rates | {"fmr_target": point.fmr_target, "fnmr_low": low, "fnmr_high": high})
    return rows


def native(row: Row, comparator: Comparator) -> Row:
    """Write the thresholds of a row as the lake has them; of two bounds the lower number first."""
    written = {name: comparator.written(cast(float, row[name])) for name in THRESHOLDS if row.get(name) is not None}
    bounds = sorted(written[name] for name in THRESHOLDS[1:] if name in written)
    return row | written | dict(zip(THRESHOLDS[1:], bounds, strict=False))
