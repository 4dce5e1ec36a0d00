"""The outcome ledger: every attempt ends in exactly one stage, so that the stages add up to the failures.

One row per attempt with its conditions, its device and what its subject stated, ready for slicing. Rates over it are
in `cv_quality.tasks.verification.counts`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cv_quality.drops.tables import DEVICES, SUBJECTS, VALIDATED_ATTEMPTS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.modality import of_modality
from cv_quality.tasks.verification.comparisons import involved_attempts
from cv_quality.tasks.verification.dimensions import DEVICE, SUBJECT, dimensions_of
from cv_quality.tasks.verification.modality import BiometricModality, Comparator
from cv_quality.tasks.verification.samples import drop_facts
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, EMBEDDINGS

if TYPE_CHECKING:
    import polars as pl

OutcomeOf = Callable[[Comparator, float | None], "pl.Expr"]
"""Says how an attempt ended, by comparator and decision threshold."""
ACCEPTED, NON_MATCH, NOT_ACQUIRED, NOT_COMPARED = "accepted", "non_match", "not_acquired", "not_compared"
DEVICE_REJECTIONS = {"timeout": "timeout", "quality": "quality_reject", "liveness": "liveness_reject"}
"""Stages that only the device can decide: re-inference leaves them as they were logged."""


def attempt_outcomes(
    lake: Lake,
    *,
    modality: BiometricModality,
    build: str,
    drop: str,
    decision_threshold: float | None,
    outcome: "OutcomeOf | None" = None,
    is_recorded: bool = False,
) -> int:
    """Write one terminal outcome per attempt of a drop to `attempt_outcomes`; returns the number of attempts.

    Args:
        modality: whose conditions and their bands the attempts have, and which scores a threshold accepts.
        build, drop: whose scores, and whose attempts.
        decision_threshold: that build's own; None where it is unknown.
        outcome: how an attempt ended; by default in re-inference (`inferred_outcome`).
        is_recorded: whether that is how it ended on the device.

    Raises:
        MissingTable: the drop is not validated, not run through the model, or not compared.
    """
    import polars as pl

    key, comparator = TableKey(build=build, drop=drop), modality.comparator
    rows = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop))
    for table, key_column, dimensions, further in (
        (SUBJECTS, "subject_id", SUBJECT, ["has_image_consent"]),
        (DEVICES, "device_id", DEVICE, []),
    ):
        columns = [key_column, *(item.name for item in dimensions), *further]
        rows = rows.join(lake.read(table, TableKey(drop=drop), columns=columns), on=key_column, how="left")
    samples = of_modality(EMBEDDINGS, modality)
    columns = ["role", "sample_id", "status", *(item.name for item in modality.measured)]
    found = lake.read(samples, key, columns=columns).filter(role="probe").drop("role")
    rows = rows.join(found, left_on="event_id", right_on="sample_id", how="left")
    compared = involved_attempts(lake, build=build, drop=drop, protocol=drop_facts(lake, drop).protocol)
    best = compared.group_by(pl.col("involved_id").alias("attempt_id")).agg(
        comparator.best(pl.col("score")), is_compared=pl.lit(value=True)
    )
    rows = rows.join(best, left_on="event_id", right_on="attempt_id", how="left")
    banded = [
        item.bands.of(pl.col(item.name)).alias(item.bands.column) for item in dimensions_of(modality) if item.bands
    ]
    ended = (outcome or inferred_outcome)(comparator, decision_threshold)
    rows = rows.with_columns(banded).with_columns(
        build_id=pl.lit(build),
        attempt_id=pl.col("event_id"),
        is_genuine=pl.col("claimed_subject_id") == pl.col("subject_id"),
        device_model=pl.col("device_model").fill_null("unknown"),
        has_image_consent=pl.col("has_image_consent").fill_null(value=False),
        outcome=ended,
        decision_threshold=pl.lit(decision_threshold, dtype=pl.Float64),
        is_recorded=pl.lit(is_recorded),
    )
    table = of_modality(ATTEMPT_OUTCOMES, modality)
    return lake.write(table, key, rows.select(table.names))


def inferred_outcome(comparator: Comparator, decision_threshold: float | None) -> "pl.Expr":
    """Say how an attempt ended in re-inference, from columns of attempts, `status`, `is_compared` and `score`.

    In this order: a timeout, quality or liveness rejection in the device's log stays; an attempt whose acquisition
    failed on the device, or that has no template, is not acquired; one whose templates were put to the comparator and
    could not be compared, by none of its comparisons, is not compared; one whose best score reaches the threshold is
    accepted; every other is a non-match (also one that claims a reference without a template).

    Args:
        comparator: on which side of the threshold scores are accepted.
        decision_threshold: that of the build.
    """
    import polars as pl

    stage, acquired = pl.col("device_stage"), pl.col("status").eq_missing("ok")
    return (
        pl.when(stage.is_in(list(DEVICE_REJECTIONS)))
        .then(stage.replace_strict(DEVICE_REJECTIONS, default=None))
        .when((stage == "acquisition") | ~acquired)
        .then(pl.lit(NOT_ACQUIRED))
        .when(pl.col("is_compared") & pl.col("score").is_null())
        .then(pl.lit(NOT_COMPARED))
        .when(comparator.accepts(pl.col("score"), pl.lit(decision_threshold, pl.Float64)))
        .then(pl.lit(ACCEPTED))
        .otherwise(pl.lit(NON_MATCH))
    )
