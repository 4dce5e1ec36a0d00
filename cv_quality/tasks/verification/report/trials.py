"""Attempts one by one, genuine ones and impostors: what was logged, what became of each under the build and its
baseline, and its image.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.drops.consent import read_consents
from cv_quality.reports.pictures import NO_CONSENT, NO_FRAME, Picture
from cv_quality.reports.queries import literal
from cv_quality.reports.section import ReportSource
from cv_quality.reports.trials import BADNESS, MAY_SHOW, WHY_HIDDEN, TrialColumn, TrialKind, TrialName, Trials
from cv_quality.tasks.trials import columns_of, own_rows, trial_slices
from cv_quality.tasks.verification.dimensions import dimensions_of
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.populations import (
    ACCEPTED,
    FAR,
    FRR,
    attempt_population,
    decided_attempts,
    genuine_attempts,
    impostor_attempts,
)
from cv_quality.tasks.verification.report.thumbnails import picture_of, pictures_of
from cv_quality.tasks.verification.samples import BONA_FIDE
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, UNDECIDED

if TYPE_CHECKING:
    import polars as pl

SIDE_PX = 64
MAX_THUMBNAILS = 1_500
BEFORE = ("baseline_outcome", "baseline_score")
_OF_BASELINE = (
    "(SELECT b.{column} FROM {table} AS b WHERE b.build_id = {baseline} AND b.drop_id = {table}.drop_id "
    "AND b.attempt_id = {table}.attempt_id)"
)


def read_trials(source: ReportSource) -> Trials:
    """Read the attempts of a build's own drops, each beside what its baseline made of it: genuine ones, and impostors.

    Raises:
        MissingTable: a drop was not scored, or the build's slices were not searched.
    """
    import polars as pl

    scope, modality = source.scope, source.modality
    rows = {
        name: _shown(source, read(source.lake, build=scope.build, drops=scope.drops, modality=modality), likeness=sign)
        for name, read, sign in (("genuine", genuine_attempts, -1), ("impostor", impostor_attempts, 1))
    }
    every = pl.concat(rows.values())
    kinds = (
        TrialKind(
            name="genuine",
            label="genuine attempts",
            population=attempt_population(rows["genuine"], modality=modality),
            slices=trial_slices(source, outcome=FRR.name),
            where=_where(source, "is_genuine"),
            failed=f"outcome <> {literal(ACCEPTED)}",
        ),
        TrialKind(
            name="impostor",
            label="impostor attempts",
            population=attempt_population(rows["impostor"], modality=modality, outcome=FAR),
            slices=(),
            where=_where(source, "NOT is_genuine"),
            failed=f"outcome = {literal(ACCEPTED)}",
            interval="pair",
            other_unit="claimed_subject_id",
        ),
    )
    return Trials(
        kinds=tuple(kind for kind in kinds if kind.name == "genuine" or not kind.population.rows.is_empty()),
        columns=_columns(source, every),
        table=ATTEMPT_OUTCOMES.name,
        score="score",
        thresholds=tuple(every["decision_threshold"].unique().drop_nulls().sort()),
        max_thumbnails=MAX_THUMBNAILS,
        read_thumbnails=partial(_read_thumbnails, source, every),
    )


def _shown(source: ReportSource, rows: "pl.DataFrame", *, likeness: int) -> "pl.DataFrame":
    """Add what the baseline made of attempts, how bad each is, and whether its image may be shown.

    Args:
        source: of the build.
        rows: its attempts.
        likeness: 1 where what is more alike is worse, else -1.
    """
    import polars as pl

    if source.scope.baseline is not None:
        before = decided_attempts(
            source.lake, model=source.scope.baseline, drops=source.scope.drops, modality=source.modality
        )
        found = before.select("drop_id", "attempt_id", baseline_outcome="outcome", baseline_score="score").collect()
        rows = rows.join(found, on=["drop_id", "attempt_id"], how="left", maintain_order="left")
    agreed = pl.col("has_image_consent") & pl.col("subject_id").is_in(sorted(read_consents(source.lake).agreed))
    hidden = pl.when(pl.col("frame").is_null()).then(pl.lit(NO_FRAME)).when(~agreed).then(pl.lit(NO_CONSENT))
    alike = biometric(source.modality).comparator.oriented(pl.col("score"))
    rows = rows.with_columns(hidden.alias(WHY_HIDDEN), (likeness * alike).alias(BADNESS))
    return rows.with_columns(pl.col(WHY_HIDDEN).is_null().alias(MAY_SHOW))


def _where(source: ReportSource, kind: str) -> str:
    """Select the attempts of a kind whose end is known, as SQL."""
    known = f"presentation = {literal(BONA_FIDE)} AND outcome <> {literal(UNDECIDED)}"
    return f"{own_rows(source)} AND {kind} AND {known}"


def _columns(source: ReportSource, rows: "pl.DataFrame") -> tuple[TrialColumn, ...]:
    dimensions = columns_of(dimensions_of(source.modality), rows.columns)
    return (
        TrialColumn("outcome", "outcome", "level"),
        *_columns_before(source),
        TrialColumn("score", "score", "number"),
        *dimensions,
        TrialColumn("device_score", "score on the device", "number"),
        TrialColumn("device_latency_ms", "latency on the device in ms", "number"),
        TrialColumn("drop_id", "drop", "level"),
        TrialColumn("subject_id", "subject", "name"),
        TrialColumn("claimed_subject_id", "claimed subject", "name"),
        TrialColumn("device_id", "device", "name"),
        TrialColumn("attempt_id", "attempt", "name"),
    )


def _columns_before(source: ReportSource) -> list[TrialColumn]:
    """What the baseline's model made of the attempts, where it scored them."""
    if source.scope.baseline is None:
        return []
    outcome, score = (
        _OF_BASELINE.format(column=column, table=ATTEMPT_OUTCOMES.name, baseline=literal(source.scope.baseline))
        for column in ("outcome", "score")
    )
    return [
        TrialColumn(BEFORE[0], f"outcome under {source.scope.baseline}", "level", outcome),
        TrialColumn(BEFORE[1], f"score under {source.scope.baseline}", "number", score),
    ]


def _read_thumbnails(
    source: ReportSource, rows: "pl.DataFrame", names: Sequence[TrialName]
) -> dict[TrialName, Picture]:
    """Draw the images of attempts anew; who may be seen is asked again, of everything that the lake holds."""
    import polars as pl

    wanted = pl.DataFrame(names, schema={"drop_id": pl.String, "attempt_id": pl.String}, orient="row")
    frames = rows.filter(MAY_SHOW).join(wanted, on=["drop_id", "attempt_id"]).select("drop_id", "attempt_id", "frame")
    pictures = pictures_of(
        source,
        [(drop, frame) for drop, _, frame in frames.iter_rows()],
        consents=read_consents(source.lake),
        draw=partial(picture_of, side=SIDE_PX, kind="webp"),
    )
    missing = Picture(uri=None, placeholder=NO_FRAME)
    return {(drop, attempt): pictures.get((drop, frame), missing) for drop, attempt, frame in frames.iter_rows()}
