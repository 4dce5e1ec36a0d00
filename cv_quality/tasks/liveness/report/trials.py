"""Presentations to a liveness detector one by one: attacks with their artefacts, and bona fide ones, as recorded.

An answer alone is judged, so presentations without one are in no rate here; no image was recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.reports.pictures import NO_FRAME, Picture
from cv_quality.reports.section import ReportSource
from cv_quality.reports.trials import BADNESS, MAY_SHOW, WHY_HIDDEN, TrialColumn, TrialKind, TrialName, Trials
from cv_quality.tasks.liveness.build_metrics import liveness_dimensions, presentations_of_rows, read_outcomes
from cv_quality.tasks.liveness.populations import PASSED, REJECTED, UNIT, population_of
from cv_quality.tasks.liveness.tables import PRESENTATION_OUTCOMES, UNDECIDED
from cv_quality.tasks.trials import columns_of, own_rows, trial_slices

if TYPE_CHECKING:
    import polars as pl

NAME_SQL = "presentation_id"
CLUSTER = "cluster"
NOT_SHOWN = "images of presentations are not shown"


def read_trials(source: ReportSource) -> Trials:
    """Read the presentations of a build's drops that were judged: attacks, and bona fide ones.

    Raises:
        MissingTable: a drop was not judged, or the build's slices were not searched.
        MetricError: artefacts contradict species over the build's drops.
    """
    import polars as pl

    outcomes = read_outcomes(source.lake, source.scope.build, source.scope.drops, source.modality)
    known = outcomes.filter(pl.col("outcome") != UNDECIDED)
    shown = presentations_of_rows(known)
    known = known.with_columns(pl.Series(CLUSTER, shown.cluster).cast(pl.String))
    decided = source.entry.decision_threshold
    attacks, people = (
        _population(known, source, outcome=outcome, unit=unit)
        for outcome, unit in ((PASSED, shown.attack_unit), (REJECTED, shown.bona_fide_unit))
    )
    kinds = (
        TrialKind(
            name="attack",
            label="attacks",
            population=attacks,
            slices=trial_slices(source, outcome=PASSED.name),
            where=f"{own_rows(source)} AND is_attack AND is_error IS NOT NULL",
            failed="is_error",
            interval="artefact",
            worst_of="pai_species",
        ),
        TrialKind(
            name="bona_fide",
            label="bona fide presentations",
            population=people,
            slices=trial_slices(source, outcome=REJECTED.name),
            where=f"{own_rows(source)} AND NOT is_attack AND is_error IS NOT NULL",
            failed="is_error",
        ),
    )
    return Trials(
        kinds=tuple(kind for kind in kinds if not kind.population.rows.is_empty()) or kinds[:1],
        columns=_columns(source, known.columns),
        table=PRESENTATION_OUTCOMES.name,
        score="pad_score",
        thresholds=() if decided is None else (decided,),
        max_thumbnails=0,
        read_thumbnails=_no_thumbnails,
    )


def _population(known: "pl.DataFrame", source: ReportSource, *, outcome: Outcome, unit: str) -> Population:
    """Make the population of a class, clustered as its rates are."""
    import polars as pl

    is_attack = outcome is PASSED
    found = population_of(known, modality=source.modality, outcome=replace(outcome, unit=unit), is_attack=is_attack)
    score = pl.col("pad_score")
    rows = found.rows.with_columns(
        pl.col(CLUSTER).alias(UNIT),
        (score if is_attack else -score).alias(BADNESS),
        pl.lit(False).alias(MAY_SHOW),
        pl.when(pl.col("frame").is_null()).then(pl.lit(NO_FRAME)).otherwise(pl.lit(NOT_SHOWN)).alias(WHY_HIDDEN),
    )
    return replace(found, rows=rows.drop(CLUSTER))


def _columns(source: ReportSource, known: Sequence[str]) -> tuple[TrialColumn, ...]:
    return (
        TrialColumn("outcome", "outcome", "level"),
        TrialColumn("pai_species", "species", "level"),
        TrialColumn("pai_series", "series", "level"),
        TrialColumn("pad_score", "score", "number"),
        *columns_of(liveness_dimensions(source.modality), known),
        TrialColumn("is_device_match", "accepted by the whole system", "level"),
        TrialColumn("drop_id", "drop", "level"),
        TrialColumn("artefact_id", "artefact", "name"),
        TrialColumn("subject_id", "presented by", "name"),
        TrialColumn("target_subject_id", "person imitated", "name"),
        TrialColumn("device_id", "device", "name"),
        TrialColumn("attempt_id", "presentation", "name", NAME_SQL),
    )


def _no_thumbnails(_names: Sequence[TrialName]) -> Mapping[TrialName, Picture]:
    return {}
