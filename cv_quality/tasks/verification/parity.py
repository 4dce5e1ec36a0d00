"""Whether devices agree with the re-inference of the same build: how far scores differ, and which decisions flip.

Counted are attempts that the device decided by matching: what it ended earlier was no decision on a score. The flips
are searched for slices in `cv_quality.tasks.verification.populations`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from cv_quality.drops.tables import DROP_FILES, VALIDATED_ATTEMPTS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import clustered_rate
from cv_quality.modality import of_modality
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.samples import REACHED_MATCHING
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, PARITY, PARITY_DIMENSIONS

if TYPE_CHECKING:
    import polars as pl


def device_decisions(lake: Lake, *, build: str, drops: Sequence[str], modality: BiometricModality) -> "pl.LazyFrame":
    """Read the attempts that the devices decided by matching, where they logged a score or their decision.

    Drops of another build, drops that compare all images (a device's score is of one reference), and builds that are
    evaluated as recorded have none. Scores on a scale of the devices' own are not held against the comparator's.

    Args:
        lake: to read from.
        build: whose own drops they are.
        drops: the drops.
        modality: whose conditions the attempts have, and how far two scores may differ.

    Returns:
        The columns of `attempt_outcomes`, and `difference`, the device's score minus the re-inferred one;
        `is_beyond`, whether that is more than the modality allows; `is_decision_logged`; `is_device_accepted`, as
        logged, else the device's score at the threshold; `is_flip`, whether re-inference decides otherwise; `is_near`,
        whether every score known lies as near to the threshold as two scores may differ. Null where a score is missing.

    Raises:
        MissingTable: the outcomes of a drop are not told.
    """
    import polars as pl

    keys, comparator = [TableKey(build=build, drop=drop) for drop in sorted(drops)], modality.comparator
    by_drop = [TableKey(drop=key.drop) for key in keys]
    own = lake.scan(DROP_FILES, by_drop).filter(build_id=build, protocol="enrolled").select("drop_id").unique()
    logged = lake.scan(VALIDATED_ATTEMPTS, by_drop)
    logged = logged.filter(device_stage=REACHED_MATCHING)
    logged = logged.select("drop_id", "is_device_accepted", attempt_id="event_id")
    rows = lake.scan(of_modality(ATTEMPT_OUTCOMES, modality), keys).filter(
        ~pl.col("is_recorded").fill_null(value=False)
    )
    rows = rows.join(own, on="drop_id", how="semi").join(logged, on=["drop_id", "attempt_id"])
    score, threshold = pl.col("score"), pl.col("decision_threshold")
    device_score = pl.col("device_score") if modality.device_scores is None else pl.lit(None, pl.Float64)
    difference, decision = device_score - score, pl.col("is_device_accepted")
    off = pl.max_horizontal((score - threshold).abs(), (device_score - threshold).abs())
    decided = decision.fill_null(comparator.accepts(device_score, threshold))
    return rows.filter(decided.is_not_null()).with_columns(
        difference=difference,
        is_beyond=difference.abs() > comparator.parity_tolerance,
        is_decision_logged=decision.is_not_null(),
        is_device_accepted=decided,
        is_flip=decided != comparator.accepts(score, threshold),
        is_near=pl.when(score.is_not_null()).then(off <= comparator.parity_tolerance),
    )


def write_parity(lake: Lake, *, build: str, drops: Sequence[str], modality: BiometricModality) -> int:
    """Write `parity` of a build on its own drops: over all attempts, and by device model and drop; returns the rows.

    Args:
        lake, build, drops, modality: as `device_decisions` takes them.

    Raises:
        MissingTable: the outcomes of a drop are not told.
    """
    needed = (
        "subject_id",
        "score",
        "difference",
        "is_beyond",
        "is_decision_logged",
        "is_device_accepted",
        "is_flip",
        "is_near",
        *PARITY_DIMENSIONS,
    )
    rows = device_decisions(lake, build=build, drops=drops, modality=modality).select(needed).collect()
    return write_rows(lake, PARITY, build, list(parity_rows(rows)))


def parity_rows(decisions: "pl.DataFrame") -> Iterator[Mapping[str, object]]:
    """Count the agreement of all decisions, then by device model and by drop, as rows of `parity` without the build."""
    if decisions.is_empty():
        return
    yield {"dimension": WHOLE, "level": WHOLE, **_agreement(decisions)}
    for dimension in PARITY_DIMENSIONS:
        for (level,), rows in decisions.sort(dimension).group_by(dimension, maintain_order=True):
            yield {"dimension": dimension, "level": level, **_agreement(rows)}


def _agreement(decisions: "pl.DataFrame") -> Mapping[str, object]:
    import polars as pl

    difference, compared = decisions["difference"].drop_nulls(), decisions.drop_nulls("is_flip")
    flips, unscored = compared.filter("is_flip"), decisions.filter(pl.col("score").is_null())
    far = flips.filter(~pl.col("is_near"))
    by_subject = compared.group_by("subject_id").agg(errors=pl.col("is_flip").sum(), trials=pl.len()).sort("subject_id")
    n_device_only = int(flips["is_device_accepted"].sum())
    return {
        "n_scores": difference.len(),
        "median_difference": difference.median(),
        "largest_difference": difference.abs().max(),
        "n_beyond": int(decisions["is_beyond"].sum()),
        **asdict(clustered_rate(by_subject["errors"], by_subject["trials"])),
        "n_device_only": n_device_only,
        "n_reinferred_only": flips.height - n_device_only,
        "n_near": flips.height - far.height,
        "n_far": far.height,
        "n_far_agreeing": far.filter(~pl.col("is_beyond")).height,
        "n_derived": compared.filter(~pl.col("is_decision_logged")).height,
        "n_unscored": unscored.height,
        "n_unscored_accepted": int(unscored["is_device_accepted"].sum()),
    }
