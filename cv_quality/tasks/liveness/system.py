"""The whole system of a build: which stage decided every kind of presentation, and RIAPAR: the stage `waterfall`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cv_quality.freshness import StageContext
from cv_quality.metrics.liveness.system import GENUINE, IMPOSTOR, Fate, Waterfall, waterfall
from cv_quality.tasks.liveness.build_metrics import is_zero_effort, passed_system, read_outcomes
from cv_quality.tasks.liveness.tables import LIVE, LIVENESS_WATERFALL, NO_RESPONSE
from cv_quality.tasks.root_causes.tables import write_rows

if TYPE_CHECKING:
    import polars as pl

NOT_KNOWN = "what became of some presentations of the species, or of bona fide users, is not known"
NO_USERS = "no bona fide presentation of its own target"
OF_ATTACKS = "of attacks only"


@dataclass(frozen=True, slots=True)
class WaterfallSummary:
    """How many presentations were followed through the whole system, and how many attacks passed it."""

    build: str
    presentations: int
    undecided: int
    attacks_accepted: int


def trace_presentations(context: StageContext) -> WaterfallSummary:
    """Count which stage decided the presentations of a build, and write `liveness_waterfall`.

    Raises:
        MissingTable: a drop was not judged.
    """
    found = waterfall_of(read_outcomes(context.lake, context.build, context.drops, context.modality))
    write_rows(context.lake, LIVENESS_WATERFALL, context.build, list(waterfall_rows(found)))
    attacks = [fate for fate in found.fates if _is_attack(fate)]
    return WaterfallSummary(
        context.build,
        presentations=found.presented,
        undecided=sum(fate.undecided for fate in found.fates),
        attacks_accepted=sum(fate.accepted for fate in attacks),
    )


def waterfall_of(rows: "pl.DataFrame") -> Waterfall:
    """Follow the presentations of outcomes through capture, liveness and the matcher."""
    import polars as pl

    kind = pl.when(is_zero_effort()).then(pl.lit(IMPOSTOR)).when("is_attack").then("pai_species")
    told = rows.select(
        kind=kind.otherwise(pl.lit(GENUINE)),
        captured=pl.col("outcome") != NO_RESPONSE,
        live=pl.col("outcome") == LIVE,
        matched=passed_system(),
    )
    return waterfall(
        told["kind"].to_numpy(),
        captured=told["captured"].to_numpy(),
        live=told["live"].to_numpy(),
        matched=told["matched"].fill_null(value=False).to_numpy(),
        known=told["matched"].is_not_null().to_numpy(),
    )


def waterfall_rows(found: Waterfall) -> Iterator[dict[str, object]]:
    """Give the rows of a waterfall, with RIAPAR of every species or why there is none."""
    users = next((fate for fate in found.fates if fate.kind == GENUINE), None)
    for fate in found.fates:
        riapar, reason = (None, OF_ATTACKS) if not _is_attack(fate) else _riapar(fate, users)
        yield {**asdict(fate), "is_attack": _is_attack(fate), "riapar": riapar, "reason": reason}


def _riapar(fate: Fate, users: Fate | None) -> tuple[float | None, str | None]:
    if users is None:
        return None, NO_USERS
    if fate.undecided or users.undecided:
        return None, NOT_KNOWN
    return fate.accepted / fate.presented + 1 - users.accepted / users.presented, None


def _is_attack(fate: Fate) -> bool:
    return fate.kind not in (GENUINE, IMPOSTOR)
