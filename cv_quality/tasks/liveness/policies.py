"""Detectors at thresholds chosen on other artefacts and subjects, alone and together: the stage `policies`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cv_quality.errors import MetricError
from cv_quality.freshness import StageContext
from cv_quality.metrics.liveness.error_rates import APCER_TARGETS, SpeciesRate, threshold_caution
from cv_quality.metrics.liveness.presentations import Presentations
from cv_quality.metrics.rates import Rate
from cv_quality.studies.pad_policies import WHOLE, ComparedPolicies, ComparedPolicy, compare_policies
from cv_quality.tasks.liveness.build_metrics import SCORES, presentations_of_rows, read_outcomes
from cv_quality.tasks.liveness.tables import LIVENESS_POLICIES, NO_RESPONSE
from cv_quality.tasks.root_causes.tables import write_rows

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

Row = dict[str, object]
SCORE, SECOND_SCORE = SCORES


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """On how many presentations thresholds were chosen and tried, and of how many detectors."""

    build: str
    detectors: int
    scored: int
    policies: int


def compare_detectors(context: StageContext) -> PolicySummary:
    """Choose thresholds on half of a build's artefacts and subjects, try them on the others: `liveness_policies`.

    Raises:
        MissingTable: a drop was not judged.
        MetricError: artefacts contradict species over the build's drops.
    """
    rows = read_outcomes(context.lake, context.build, context.drops, context.modality)
    shown = presentations_of_rows(rows, score=SCORE)
    second = second_of(rows)
    found: list[Row] = []
    if shown.has_response.any():
        for target in APCER_TARGETS:
            found += policy_rows(shown, second, target=target)
    write_rows(context.lake, LIVENESS_POLICIES, context.build, found)
    detectors = int(shown.has_response.any()) * (1 if second is None else 2)
    policies = len({row["policy"] for row in found})
    return PolicySummary(context.build, detectors, int(shown.has_response.sum()), policies)


def second_of(rows: "pl.DataFrame") -> "NDArray[np.float64] | None":
    """Read the scores of a second detector, NaN where it gave none; None where it gave none at all."""
    import polars as pl

    scores = rows.select(pl.when(pl.col("outcome") != NO_RESPONSE).then(SECOND_SCORE)).to_series()
    return None if scores.null_count() == len(scores) else scores.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def policy_rows(presentations: Presentations, second: "NDArray[np.float64] | None", *, target: float) -> Iterator[Row]:
    """Give the rows of every policy at a target.

    Args:
        presentations: with the scores of the first detector.
        second: of the second one; None where there is one.
        target: highest APCER of every species where thresholds are chosen.
    """
    try:
        found = compare_policies(presentations, second, target=target)
    except MetricError as error:
        row: Row = {"policy": "first", "target": target, "metric": "bpcer", "species": WHOLE, "n_chosen_on": 0}
        yield {**row, "is_worst": False, "reason": str(error)}
        return
    for one in found.policies:
        yield from _of_policy(found, one, presentations, second)


def _of_policy(
    found: ComparedPolicies, one: ComparedPolicy, presentations: Presentations, second: "NDArray[np.float64] | None"
) -> Iterator[Row]:
    rule, rates = one.policy.rule, one.policy.rates
    head: Row = {"policy": rule.policy, "target": found.target, "n_chosen_on": found.n_chosen_on}
    if rule.thresholds:
        head |= dict(zip(("threshold", "second_threshold"), rule.thresholds, strict=False))
        head["caution"] = threshold_caution(presentations, rule.margins(presentations.scores, second))
    if rule.policy == "fusion" and rule.thresholds:
        head |= {"weight": rule.weights[0], "second_weight": rule.weights[1]}
    if rates is None:
        reason = rule.reason or "the first detector has no threshold to compare with"
        yield head | {"metric": "bpcer", "species": WHOLE, "is_worst": False, "reason": reason}
        return
    worst = None if rates.worst is None else rates.worst.species
    yield head | _rate_row(one, "bpcer", WHOLE, rates.bpcer) | {"is_worst": True}
    for item in rates.species:
        yield head | _species_row(one, item) | {"is_worst": item.species == worst}


def _species_row(one: ComparedPolicy, item: SpeciesRate) -> Row:
    return _rate_row(one, "apcer", item.species, item.rate)


def _rate_row(one: ComparedPolicy, metric: str, species: str, rate: Rate) -> Row:
    row: Row = {"metric": metric, "species": species, **asdict(rate)}
    difference = one.difference(metric, species)
    if difference is None:
        return row
    return row | {
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "difference_reason": difference.reason,
    }
