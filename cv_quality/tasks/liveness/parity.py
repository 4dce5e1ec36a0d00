"""Whether devices agree with the lab's models of the same build: how far scores differ, and which decisions flip.

Counted are presentations that a device answered. How rows are counted is that of every task
(`cv_quality.tasks.verification.parity`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cv_quality.freshness import StageContext
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.tasks.liveness.build_metrics import read_outcomes
from cv_quality.tasks.liveness.tables import NO_RESPONSE
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.parity import parity_rows
from cv_quality.tasks.verification.tables import PARITY

if TYPE_CHECKING:
    import polars as pl


def write_liveness_parity(context: StageContext) -> int:
    """Write `parity` of a build on its own drops, without rows for one as recorded; returns the rows.

    Raises:
        MissingTable: a drop was not judged.
    """
    entry, rows = context.entry, list[Mapping[str, object]]()
    if isinstance(entry, LivenessEntry):
        outcomes = read_outcomes(context.lake, context.build, context.drops, context.modality)
        rows = list(parity_rows(device_decisions(outcomes, entry)))
    return write_rows(context.lake, PARITY, context.build, rows)


def device_decisions(outcomes: "pl.DataFrame", entry: LivenessEntry) -> "pl.DataFrame":
    """List the presentations that a device scored or decided, beside what the lab's models make of them.

    Args:
        outcomes: of the build's own drops.
        entry: of the build.

    Returns:
        The columns that `parity_rows` counts, as of `cv_quality.tasks.verification.parity.device_decisions`; what is
        accepted is what is taken for bona fide.
    """
    import polars as pl

    tolerance, threshold = entry.parity_tolerance, entry.decision_threshold
    score, device_score = pl.col("pad_score"), pl.col("device_pad_score")
    decision, difference = pl.col("is_device_live"), device_score - score
    decided = decision.fill_null(device_score >= threshold)
    off = pl.max_horizontal((score - threshold).abs(), (device_score - threshold).abs())
    answered = outcomes.filter((pl.col("outcome") != NO_RESPONSE) | pl.col("is_device_live").is_not_null())
    return answered.filter(decided.is_not_null()).select(
        "subject_id",
        "device_model",
        "drop_id",
        score=score,
        difference=difference,
        is_beyond=difference.abs() > tolerance,
        is_decision_logged=decision.is_not_null(),
        is_device_accepted=decided,
        is_flip=decided != (score >= threshold),
        is_near=pl.when(score.is_not_null()).then(off <= tolerance),
    )
