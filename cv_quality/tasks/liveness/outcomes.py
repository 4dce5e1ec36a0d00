"""What became of every presentation of a drop: the stage `judge_presentations`, as the devices recorded it."""

from dataclasses import dataclass

from cv_quality.drops.tables import DEVICES, PRESENTATIONS, SUBJECTS
from cv_quality.freshness import StageContext
from cv_quality.lake.lake import TableKey
from cv_quality.modality import of_modality
from cv_quality.tasks.liveness.tables import ATTACK, LIVE, NO_RESPONSE, PRESENTATION_OUTCOMES, UNDECIDED
from cv_quality.tasks.verification.dimensions import SUBJECT


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
    """Decide every presentation of a drop: as the device did, else by its score at the entry's threshold.

    Raises:
        MissingTable: the drop is not validated.
    """
    import polars as pl

    lake, drop = context.lake, TableKey(drop=context.drop)
    threshold, modality = context.entry.decision_threshold, context.modality
    shown = lake.read(of_modality(PRESENTATIONS, modality), drop)
    devices = lake.read(DEVICES, drop).select("device_id", "device_model", "os_version")
    subjects = lake.read(SUBJECTS, drop).select("subject_id", "age_band", "sex", "skin_tone")
    by_score = pl.lit(None, pl.Boolean) if threshold is None else pl.col("pad_score") >= threshold
    is_live = pl.coalesce("is_device_live", by_score)
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
        outcome=pl.when(pl.col("response") != "ok")
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
