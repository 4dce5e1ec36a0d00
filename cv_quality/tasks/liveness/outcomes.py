"""What became of every presentation of a drop, by models or as recorded: the stage `judge_presentations`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.drops.tables import DEVICES, PRESENTATIONS, SUBJECTS
from cv_quality.freshness import StageContext
from cv_quality.inference.liveness.entry import SCORE_FAILURES
from cv_quality.lake.lake import TableKey
from cv_quality.modality import of_modality
from cv_quality.tasks.liveness.tables import (
    ATTACK,
    LIVE,
    NO_RESPONSE,
    PRESENTATION_OUTCOMES,
    PRESENTATION_SCORES,
    UNDECIDED,
)
from cv_quality.tasks.verification.dimensions import SUBJECT
from cv_quality.tasks.verification.modality import AS_RECORDED

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class PresentationSummary:
    """How many presentations a drop holds, and how many of each class were judged wrongly."""

    build: str
    drop: str
    bona_fide: int
    attacks: int
    bona_fide_errors: int
    attack_errors: int
    without_response: int


def judge_presentations(context: StageContext) -> PresentationSummary:
    """Decide every presentation of a drop at the entry's threshold: by the models' score.

    Of a build as recorded the device decided, else its score does. What got no response on the device stays so, and so
    does a frame in which the models find no face.

    Raises:
        MissingTable: the drop is not validated, or its presentations are not scored.
    """
    import polars as pl

    lake, drop = context.lake, TableKey(drop=context.drop)
    threshold, modality = context.entry.decision_threshold, context.modality
    shown = lake.read(of_modality(PRESENTATIONS, modality), drop)
    devices = lake.read(DEVICES, drop).select("device_id", "device_model", "os_version")
    subjects = lake.read(SUBJECTS, drop).select("subject_id", "age_band", "sex", "skin_tone")
    scores = lake.read(PRESENTATION_SCORES, context.key).select("status", "lab_score", event_id="presentation_id")
    shown = shown.join(scores, on="event_id", how="left").rename({"pad_score": "device_pad_score"})
    is_recorded = pl.col("status") == AS_RECORDED
    pad_score = pl.when(is_recorded).then("device_pad_score").otherwise("lab_score")
    by_score = pl.lit(None, pl.Boolean) if threshold is None else pad_score >= threshold
    is_live = pl.when(is_recorded).then(pl.coalesce("is_device_live", by_score)).otherwise(by_score)
    is_silent = (pl.col("response") != "ok") | pl.col("status").is_in(SCORE_FAILURES)
    is_attack = pl.col("presented") == "attack"
    bands = [item.bands.of(pl.col(item.name)).alias(item.bands.column) for item in SUBJECT if item.bands]
    conditions = [
        item.bands.of(pl.col(item.name)).alias(item.bands.column) for item in modality.conditions if item.bands
    ]
    rows = shown.join(devices, on="device_id", how="left").join(subjects, on="subject_id", how="left")
    rows = rows.with_columns(
        *bands,
        *conditions,
        build_id=pl.lit(context.build),
        drop_id=pl.lit(context.drop),
        presentation_id="event_id",
        is_attack=is_attack,
        pad_score=pad_score,
        is_device_match=_passed(pl.col("is_device_match"), is_live=is_live, is_recorded=is_recorded),
        outcome=pl.when(is_silent)
        .then(pl.lit(NO_RESPONSE))
        .when(is_live)
        .then(pl.lit(LIVE))
        .when(is_live.not_())
        .then(pl.lit(ATTACK))
        .otherwise(pl.lit(UNDECIDED)),
    )
    decided = pl.col("outcome").is_in([LIVE, ATTACK])
    rows = rows.with_columns(is_error=pl.when(decided).then((pl.col("outcome") == LIVE) == pl.col("is_attack")))
    table = of_modality(PRESENTATION_OUTCOMES, modality)
    lake.write(table, context.key, rows.select(table.names).sort("presentation_id"))
    return PresentationSummary(
        context.build,
        context.drop,
        bona_fide=int((~rows["is_attack"]).sum()),
        attacks=int(rows["is_attack"].sum()),
        bona_fide_errors=int(rows.filter(~pl.col("is_attack"))["is_error"].sum()),
        attack_errors=int(rows.filter("is_attack")["is_error"].sum()),
        without_response=int((rows["outcome"] == NO_RESPONSE).sum()),
    )


def _passed(is_match: "pl.Expr", *, is_live: "pl.Expr", is_recorded: "pl.Expr") -> "pl.Expr":
    """Whether it passed the whole system; unknown where models let in what the device kept from its matcher."""
    import polars as pl

    return (
        pl.when(is_recorded)
        .then(is_match)
        .when(is_live & pl.col("is_device_live"))
        .then(is_match)
        .when(is_live.not_())
        .then(is_match & False)
    )
