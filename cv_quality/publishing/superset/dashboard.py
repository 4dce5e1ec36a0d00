"""What the dashboard shows: charts over tables of the warehouse, metrics that are certified, and filters.

Here are only values. How Superset wants them written down is `cv_quality.publishing.superset.bundle`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["table", "bars"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number over rows of one table, which users of Superset take as it is.

    Attributes:
        expression: its SQL; null where the rows at hand do not make one rate.
    """

    table: str
    name: str
    title: str
    expression: str
    meaning: str
    number_format: str = ".4f"


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        columns: of a table, those shown; of bars, the one along the axis and those that make the series.
        where: the rows shown, in SQL.
        metric: how long the bars are.
        unfiltered: columns of the dashboard's filters that do not reach the chart.
    """

    title: str
    meaning: str
    table: str
    kind: Kind
    columns: tuple[str, ...]
    where: str = ""
    metric: str = ""
    order: tuple[str, ...] = ()
    unfiltered: tuple[str, ...] = ()
    width: int = 12


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of the dashboard by one column, which reaches every chart whose table has it."""

    title: str
    table: str
    column: str


ONE_ROW = "CASE WHEN COUNT(*) = 1 THEN MAX({column}) END"
ADDED = (
    "CASE WHEN COUNT(DISTINCT metric) = 1 AND COUNT(DISTINCT dimension) = 1 "
    "THEN SUM(numerator)::DOUBLE / NULLIF(SUM(denominator), 0) END"
)
METRICS = (
    *(
        Metric(table, name, title, ONE_ROW.format(column=name), f"{meaning}; null where several rows fall together")
        for table in ("fct_intervals", "fct_video_metrics")
        for name, title, meaning in (
            ("value", "rate", "the rate as published"),
            ("low", "rate, lower bound", "lower end of its interval"),
            ("high", "rate, upper bound", "upper end of its interval"),
        )
    ),
    Metric("fct_attempt_rates", "rate", "rate", ADDED, "failures of all rows by their trials; null over several rates"),
    Metric("fct_outcomes", "attempts", "attempts", "SUM(n_attempts)", "attempts of all rows", number_format=",d"),
    Metric(
        "fct_differences",
        "difference",
        "change",
        ONE_ROW.format(column="difference"),
        "the rate less that of the baseline on the same attempts; null where several rows fall together",
    ),
)

_RATE = ("value", "low", "high", "numerator", "denominator", "n_subjects", "reason")
_CHANGE = ("baseline_value", "value", "difference", "low", "high", "n_subjects", "reason")
_SLICE = ("rate", "low", "high", "rest_rate", "n_subjects", "share_of_failures", "explained_by")
CHARTS = (
    Chart(
        "False rejects of each build, by the model that scored",
        "FRR, the share of genuine attempts turned away: a build's attempts under its own model and its baseline's",
        "fct_intervals",
        "bars",
        ("build_id", "model_build_id"),
        "metric = 'frr' AND dimension = 'all'",
        "value",
        unfiltered=("dimension",),
        width=6,
    ),
    Chart(
        "False rejects of each build, with bounds",
        "The same rates with their 95 % intervals and counts: bars of Superset have no error bars",
        "fct_intervals",
        "table",
        ("build_id", "model_build_id", *_RATE),
        "metric = 'frr' AND dimension = 'all'",
        order=("build_id", "model_build_id"),
        unfiltered=("dimension",),
        width=6,
    ),
    Chart(
        "False rejects of each drop, by device model",
        "FRR of one drop on one device model; drops add up",
        "fct_attempt_rates",
        "bars",
        ("drop_id", "device_model"),
        "metric = 'frr' AND dimension = 'device_model' AND build_id = model_build_id",
        "rate",
        unfiltered=("dimension",),
    ),
    Chart(
        "Release verdicts",
        "Each requirement of the release policy, and all together",
        "fct_release_verdicts",
        "table",
        ("build_id", "baseline_build_id", "requirement", "verdict", "value", "low", "high", "allowed", "reason"),
        order=("build_id", "requirement"),
        unfiltered=("dimension",),
    ),
    Chart(
        "Change against the baseline",
        "Each rate less that of the baseline on the same attempts, paired by subject",
        "fct_differences",
        "table",
        ("build_id", "baseline_build_id", "metric", "fmr_target", "dimension", "level", *_CHANGE),
        order=("build_id", "metric", "dimension", "level"),
    ),
    Chart(
        "Why attempts fail",
        "Slices that search and holdout found, with what became of each",
        "fct_failure_slices",
        "table",
        ("build_id", "outcome", "finding", "condition", *_SLICE),
        order=("build_id", "outcome", "rank"),
    ),
    Chart(
        "Rates under each condition",
        "Every rate over all drops of a build, with its interval and counts",
        "fct_intervals",
        "table",
        ("build_id", "model_build_id", "metric", "dimension", "level", *_RATE),
        order=("build_id", "metric", "dimension", "level"),
    ),
    Chart(
        "Liveness: rates of each build",
        "Attacks that were accepted, by PAI species, and genuine presentations that were turned away",
        "fct_liveness_rates",
        "table",
        ("build_id", "metric", "species", "dimension", "level", "value", "low", "high", "upper", "is_worst", "reason"),
        order=("build_id", "metric", "species"),
    ),
    Chart(
        "Video: metrics of each build",
        "Every metric of a build's clips with its interval",
        "fct_video_metrics",
        "table",
        ("build_id", "model_build_id", "metric", "dimension", "level", "value", "low", "high", "n_clips", "reason"),
        order=("build_id", "metric", "dimension", "level"),
    ),
    Chart(
        "Video: change against the baseline",
        "Each metric against that of the baseline, paired by clip",
        "fct_video_changes",
        "table",
        ("build_id", "baseline_build_id", "metric", "value", "low", "high", "n_clips", "verdict", "reason"),
        order=("build_id", "metric"),
    ),
    Chart(
        "Data quality",
        "What gates did not find as it should be; how many rows, not which",
        "fct_data_quality",
        "table",
        ("gate", "judged_key", "table_name", "expectation", "is_warning", "n_rows"),
        order=("gate", "judged_key"),
    ),
)
FILTERS = (
    Filter("Build", "fct_intervals", "build_id"),
    Filter("Baseline", "fct_differences", "baseline_build_id"),
    Filter("Drop", "fct_attempt_rates", "drop_id"),
    Filter("Device model", "fct_attempt_rates", "device_model"),
    Filter("Condition", "fct_intervals", "dimension"),
)
