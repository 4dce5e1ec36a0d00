"""A build as its devices recorded it: what they decided and scored stands where a model's templates and scores would.

Each function writes or says what its namesake for builds with a model does, so that everything after it is the same.
Which of the two a build takes is decided in `cv_quality.tasks.verification.evaluation`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.drops.tables import VALIDATED_ATTEMPTS
from cv_quality.errors import MetricError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.modality import Modality, of_modality
from cv_quality.tasks.verification.comparisons import ComparisonSummary, summary_of
from cv_quality.tasks.verification.modality import AS_RECORDED, Comparator
from cv_quality.tasks.verification.outcomes import ACCEPTED, DEVICE_REJECTIONS, NON_MATCH, NOT_ACQUIRED
from cv_quality.tasks.verification.samples import REACHED_MATCHING, drop_facts
from cv_quality.tasks.verification.tables import COMPARISONS, EMBEDDINGS, UNDECIDED
from cv_quality.tasks.verification.templates import instance_of, samples_of

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class RecordedSamples:
    """How many samples of a drop are taken as recorded."""

    build: str
    drop: str
    samples: int


def take_samples(lake: Lake, *, build: str, drop: str, modality: Modality) -> RecordedSamples:
    """List every enrolled sample and every attempt of a drop in `embeddings`, without a template.

    Args:
        lake: read and written.
        build, drop: whose samples they are.
        modality: the drop's.

    Raises:
        MissingTable: the drop is not validated.
        MetricError: the drop compares all its images with each other, of which devices log nothing.
    """
    import polars as pl

    if drop_facts(lake, drop).protocol != "enrolled":
        raise MetricError(
            f"drop {drop} compares all its images with each other, and {build} is evaluated as recorded: devices log "
            "attempts at claimed identities only; deliver it with protocol 'enrolled', or give the build a model"
        )
    conditions = (modality.instance,) if modality.instance else ()
    rows = samples_of(lake, drop, conditions=conditions).select(
        build_id=pl.lit(build),
        drop_id=pl.lit(drop),
        sample_id="event_id",
        role="role",
        subject_id="subject_id",
        reference_id="reference_id",
        frame="frame",
        **{item.name: pl.lit(None, pl.Float64) for item in modality.measured},
        instance=instance_of(modality),
        status=pl.lit(AS_RECORDED),
        embedding=pl.lit(None, pl.List(pl.Float32)),
        code=pl.lit(None, pl.Binary),
        model_sha256=pl.lit(None, pl.String),
    )
    table = of_modality(EMBEDDINGS, modality)
    return RecordedSamples(build, drop, lake.write(table, TableKey(build=build, drop=drop), rows))


def compare_as_recorded(lake: Lake, *, build: str, drop: str) -> ComparisonSummary:
    """Write the attempts that devices scored to `comparisons`: the probe against the identity that it claims.

    An attempt that a stage before matching ended is no comparison; one that was accepted is, whichever stage was last.
    The score is the device's own. An attempt without a `reference_id` is against the claimed subject's.

    Args:
        lake: read and written.
        build, drop: whose attempts they are.

    Raises:
        MissingTable: the drop is not validated.
    """
    import polars as pl

    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop))
    reached = (pl.col("device_stage") == REACHED_MATCHING) | pl.col("is_device_accepted").fill_null(value=False)
    rows = attempts.filter(reached & pl.col("device_score").is_not_null()).select(
        build_id=pl.lit(build),
        drop_id=pl.lit(drop),
        attempt_id="event_id",
        reference_id=pl.coalesce("reference_id", "claimed_subject_id"),
        subject_id="subject_id",
        reference_subject_id="claimed_subject_id",
        is_genuine=pl.col("claimed_subject_id") == pl.col("subject_id"),
        presentation="presentation",
        score="device_score",
        not_comparable=pl.lit(None, pl.String),
        device_score="device_score",
        is_parity_expected=pl.lit(value=False),
        is_parity_broken=pl.lit(None, pl.Boolean),
    )
    rows = rows.sort("attempt_id")
    lake.write(COMPARISONS, TableKey(build=build, drop=drop), rows)
    return summary_of(lake, rows, build=build, drop=drop, protocol="enrolled")


def recorded_outcome(comparator: Comparator, decision_threshold: float | None) -> "pl.Expr":
    """Say how an attempt ended on its device, from columns of attempts and `score`.

    What a device accepted was accepted, whichever stage it asked last. Else a timeout, a rejection for quality or
    liveness, or a failed acquisition stays what it is; and what reached the matcher and was not accepted is a
    non-match. Where no decision was logged, the declared threshold decides by the score; without one of the two the
    attempt is undecided.

    Args:
        comparator: on which side of the threshold scores are accepted.
        decision_threshold: of the devices; None where it is not declared.
    """
    import polars as pl

    stage, decision = pl.col("device_stage"), pl.col("is_device_accepted")
    by_score = pl.lit(None, pl.Boolean)
    if decision_threshold is not None:
        by_score = comparator.accepts(pl.col("score"), decision_threshold)
    is_accepted = pl.coalesce(decision, by_score)
    return (
        pl.when(decision)
        .then(pl.lit(ACCEPTED))
        .when(stage.is_in(list(DEVICE_REJECTIONS)))
        .then(stage.replace_strict(DEVICE_REJECTIONS, default=None))
        .when(stage == "acquisition")
        .then(pl.lit(NOT_ACQUIRED))
        .when(is_accepted)
        .then(pl.lit(ACCEPTED))
        .when(is_accepted.not_())
        .then(pl.lit(NON_MATCH))
        .otherwise(pl.lit(UNDECIDED))
    )
