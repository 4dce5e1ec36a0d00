"""Errors and trials per subject, level and metric: counts, not rates, so that drops and subjects add up exactly.

A trial between two people is counted under both, since either of them may be the cause.

Rates and their intervals are made of these in `cv_quality.tasks.verification.build_metrics`; thresholds other than the
build's own are no matter of this module.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.verification.comparisons import involved_attempts
from cv_quality.tasks.verification.dimensions import counted_dimensions
from cv_quality.tasks.verification.modality import BiometricModality, Comparator
from cv_quality.tasks.verification.outcomes import ACCEPTED, NON_MATCH, NOT_ACQUIRED
from cv_quality.tasks.verification.samples import BONA_FIDE, drop_facts
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, METRIC_COUNTS, UNDECIDED

if TYPE_CHECKING:
    import polars as pl

WHOLE = "all"
UNKNOWN = "unknown"
NO_SAMPLE = (NOT_ACQUIRED, "quality_reject", "timeout")
"""Outcomes without a usable sample: what ISO/IEC 19795-1 counts as failure to acquire."""


@dataclass(frozen=True, slots=True)
class CountSummary:
    """What was counted of a drop: rows written, and the counts of each metric over the whole drop."""

    build: str
    drop: str
    rows: int
    totals: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class CountedAttempts:
    """The bona fide attempts of a drop, with what their trials are counted by.

    Attributes:
        key: of the drop under the build.
        comparator: that of the build's modality.
        rows: of `attempt_outcomes`; a level that was not recorded is "unknown".
        dimensions: columns whose values are levels.
    """

    key: TableKey
    comparator: Comparator
    rows: "pl.DataFrame"
    dimensions: Sequence[str]


ComparisonTrials = Callable[[Lake, CountedAttempts], "dict[str, pl.DataFrame]"]
"""Gives the trials of FNMR and FMR, with `is_error`, `trial_id`, whose they are, and a column per dimension."""


def count_metrics(
    lake: Lake,
    *,
    modality: BiometricModality,
    build: str,
    drop: str,
    comparison_trials: ComparisonTrials | None = None,
) -> CountSummary:
    """Count the errors of a drop per metric, dimension, level and subject, and write `metric_counts`.

    Bona fide attempts only. `fta`: attempts without a usable sample, of all attempts. `frr`, `far`: mated attempts not
    accepted, other attempts accepted, of all such attempts whose end is known.

    Args:
        modality: whose counted conditions are dimensions, beside those of devices and subjects.
        build: whose model scored the drop.
        drop: whose attempts.
        comparison_trials: what `fnmr` and `fmr` are counted over; by default `compared_trials`.

    Raises:
        MissingTable: the drop has no outcomes yet.
    """
    import polars as pl

    key = TableKey(build=build, drop=drop)
    attempts = lake.read(ATTEMPT_OUTCOMES, key).filter(presentation=BONA_FIDE).with_columns(pl.lit(WHOLE).alias(WHOLE))
    dimensions = [item.level_column for item in counted_dimensions(modality)]
    attempts = attempts.with_columns(pl.col(dimensions).cast(pl.String).fill_null(UNKNOWN))
    counted = CountedAttempts(key, modality.comparator, attempts, (WHOLE, *dimensions))
    trials = {**_attempt_trials(attempts), **(comparison_trials or compared_trials)(lake, counted)}
    parts = [_per_level(rows, metric, name) for metric, rows in trials.items() for name in counted.dimensions]
    rows = pl.concat(parts).with_columns(build_id=pl.lit(build), drop_id=pl.lit(drop)).select(METRIC_COUNTS.names)
    rows = rows.sort("metric", "dimension", "level", "subject_id", "claimed_subject_id")
    whole = rows.filter(dimension=WHOLE).group_by("metric").agg(pl.col("numerator", "denominator").sum())
    totals = {metric: (errors, trials) for metric, errors, trials in whole.sort("metric").iter_rows()}
    return CountSummary(build, drop, lake.write(METRIC_COUNTS, key, rows), totals)


def _attempt_trials(attempts: "pl.DataFrame") -> "dict[str, pl.DataFrame]":
    """The trials of the metrics per attempt, with `is_error`, `trial_id` and a column per dimension."""
    import polars as pl

    is_accepted, is_genuine = pl.col("outcome") == ACCEPTED, pl.col("is_genuine")
    attempts = attempts.with_columns(trial_id=pl.col("attempt_id"))
    decided = attempts.filter(pl.col("outcome") != UNDECIDED)
    return {
        "fta": attempts.with_columns(is_error=pl.col("outcome").is_in(NO_SAMPLE)),
        "frr": decided.filter(is_genuine).with_columns(is_error=~is_accepted),
        "far": decided.filter(~is_genuine).with_columns(is_error=is_accepted),
    }


def compared_trials(lake: Lake, attempts: CountedAttempts) -> "dict[str, pl.DataFrame]":
    """Count over comparisons, under the conditions of each attempt that is in one, at the build's threshold.

    `fnmr`, `fmr`: genuine comparisons below the threshold, other comparisons at or above it, of all such comparisons
    that have a score.
    In an all-pairs drop a comparison belongs to the levels of both its frames, once to each level.
    """
    import polars as pl

    build, drop = str(attempts.key.build), str(attempts.key.drop)
    pairs = involved_attempts(lake, build=build, drop=drop, protocol=drop_facts(lake, drop).protocol)
    pairs = pairs.select(
        "involved_id",
        "is_genuine",
        "score",
        claimed_subject_id="reference_subject_id",
        trial_id=pl.concat_str("attempt_id", "reference_id", separator=" "),
    )
    conditions = attempts.rows.select("attempt_id", "subject_id", "decision_threshold", *attempts.dimensions)
    trials = pairs.drop_nulls("score").join(conditions, left_on="involved_id", right_on="attempt_id")
    is_match = attempts.comparator.accepts(pl.col("score"), pl.col("decision_threshold"))
    is_genuine = pl.col("is_genuine")
    return {
        "fnmr": trials.filter(is_genuine).with_columns(is_error=~is_match),
        "fmr": trials.filter(~is_genuine).with_columns(is_error=is_match),
    }


def decided_trials(_lake: Lake, attempts: CountedAttempts) -> "dict[str, pl.DataFrame]":
    """Count over the attempts that matchers decided on devices, whether or not their scores are known.

    `fnmr`, `fmr`: genuine attempts that the matcher rejected, other attempts that it accepted, of all such attempts
    that reached it.
    """
    import polars as pl

    reached = attempts.rows.filter(pl.col("outcome").is_in([ACCEPTED, NON_MATCH]))
    reached = reached.with_columns(trial_id=pl.col("attempt_id"))
    is_match, is_genuine = pl.col("outcome") == ACCEPTED, pl.col("is_genuine")
    return {
        "fnmr": reached.filter(is_genuine).with_columns(is_error=~is_match),
        "fmr": reached.filter(~is_genuine).with_columns(is_error=is_match),
    }


def _per_level(trials: "pl.DataFrame", metric: str, dimension: str) -> "pl.DataFrame":
    """Errors and trials of one metric per level of a dimension and subject; a trial counts once in each level."""
    import polars as pl

    once = trials.unique(["trial_id", dimension]) if trials["trial_id"].is_duplicated().any() else trials
    return once.group_by(pl.col(dimension).alias("level"), "subject_id", "claimed_subject_id").agg(
        pl.lit(metric).alias("metric"),
        pl.lit(dimension).alias("dimension"),
        pl.col("is_error").sum().cast(pl.Int64).alias("numerator"),
        pl.len().cast(pl.Int64).alias("denominator"),
    )
