"""Genuine attempts one by one: what was logged, what the build and its baseline made of each, and its image."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.drops.consent import read_consents
from cv_quality.reports.pictures import NO_CONSENT, NO_FRAME, Picture
from cv_quality.reports.queries import literal
from cv_quality.reports.section import ReportSource
from cv_quality.reports.trials import BADNESS, MAY_SHOW, WHY_HIDDEN, TrialColumn, TrialName, Trials
from cv_quality.tasks.trials import columns_of, own_rows, trial_slices
from cv_quality.tasks.verification.dimensions import dimensions_of
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.populations import ACCEPTED, FRR, attempt_population, genuine_attempts
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
    """Read the genuine attempts of a build's own drops, each beside what its baseline made of it.

    Raises:
        MissingTable: a drop was not scored, or the build's slices were not searched.
    """
    import polars as pl

    scope, modality = source.scope, source.modality
    read = partial(genuine_attempts, source.lake, build=scope.build, drops=scope.drops, modality=modality)
    rows = read()
    if scope.baseline is not None:
        key = ["drop_id", "attempt_id"]
        before = read(model=scope.baseline).select(*key, baseline_outcome="outcome", baseline_score="score")
        rows = rows.join(before, on=key, how="left", maintain_order="left")
    agreed = pl.col("has_image_consent") & pl.col("subject_id").is_in(sorted(read_consents(source.lake).agreed))
    hidden = pl.when(pl.col("frame").is_null()).then(pl.lit(NO_FRAME)).when(~agreed).then(pl.lit(NO_CONSENT))
    comparator = biometric(modality).comparator
    rows = rows.with_columns(hidden.alias(WHY_HIDDEN), (-comparator.oriented(pl.col("score"))).alias(BADNESS))
    rows = rows.with_columns(pl.col(WHY_HIDDEN).is_null().alias(MAY_SHOW))
    thresholds = rows["decision_threshold"].unique().drop_nulls().sort()
    return Trials(
        population=attempt_population(rows, modality=modality),
        columns=_columns(source, rows),
        slices=trial_slices(source, outcome=FRR.name),
        table=ATTEMPT_OUTCOMES.name,
        where=f"{own_rows(source)} AND is_genuine AND presentation = {literal(BONA_FIDE)} "
        f"AND outcome <> {literal(UNDECIDED)}",
        failed=f"outcome <> {literal(ACCEPTED)}",
        score="score",
        thresholds=tuple(thresholds),
        max_thumbnails=MAX_THUMBNAILS,
        read_thumbnails=partial(_read_thumbnails, source, rows),
    )


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
