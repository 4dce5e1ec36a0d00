"""Files with the scores of two detectors: alone, by AND, by OR and fused, and the rows that a terminal and a page show.

What a policy is, is in `cv_quality.metrics.liveness.policies`; how they are compared, in
`cv_quality.studies.pad_policies`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError, ScoreFileError
from cv_quality.metrics.liveness.error_rates import APCER_TARGETS
from cv_quality.metrics.liveness.policies import EQUAL_WEIGHTS, Policy
from cv_quality.metrics.liveness.presentations import Presentations
from cv_quality.metrics.results import percent
from cv_quality.reports.rendering import points
from cv_quality.scores.liveness import in_file_units, presentations_of, require_one_polarity, second_scores_of
from cv_quality.scores.liveness_summary import bounded, rate_words
from cv_quality.scores.score_set import ScoreSet
from cv_quality.studies.pad_policies import WHOLE, ComparedPolicies, ComparedPolicy, compare_policies
from cv_quality.text import figures

POLICY_NAMES: dict[Policy, str] = {
    "first": "first detector",
    "second": "second detector",
    "and": "both (AND)",
    "or": "either (OR)",
    "fusion": "fused score",
}


def compare_scores(
    scores: ScoreSet,
    *,
    devel: ScoreSet | None = None,
    apcer_targets: Sequence[float] = APCER_TARGETS,
    weights: tuple[float, float] = EQUAL_WEIGHTS,
) -> tuple[ComparedPolicies, ...]:
    """Compare two detectors alone and together at each target, thresholds in units of the files.

    Args:
        scores: a set of liveness.
        devel: another set on which thresholds are chosen; without it half of the artefacts and subjects choose them.
        apcer_targets: highest APCERs of the worst species, where thresholds are chosen.
        weights: of both scores in a fusion, each in units of its standard deviation over bona fide presentations.

    Returns:
        Nothing where the files hold one score.

    Raises:
        MetricError: a class has no response on the side where thresholds are chosen.
        ScoreFileError: the development set has one score, or scores that point the other way.
    """
    second = second_scores_of(scores)
    if second is None:
        return ()
    if devel is not None:
        require_one_polarity(scores, devel)
    targets = sorted(set(apcer_targets), reverse=True)
    return tuple(_compared(scores, presentations_of(scores), second, devel, targets, weights))


def _compared(
    scores: ScoreSet,
    shown: Presentations,
    second: NDArray[np.float64],
    devel: ScoreSet | None,
    targets: Sequence[float],
    weights: tuple[float, float],
) -> Iterator[ComparedPolicies]:
    on = None if devel is None else (presentations_of(devel), second_scores_of(devel))
    if devel is not None and on is not None and on[1] is None:
        raise ScoreFileError(f"{', '.join(devel.sources)}: has no second score, as {', '.join(scores.sources)} has")
    for target in targets:
        try:
            found = compare_policies(shown, second, target=target, devel=on, weights=weights)
        except MetricError as error:
            raise MetricError(f"half of the artefacts and subjects cannot choose thresholds: {error}") from error
        yield replace(found, policies=tuple(_policy_in_file_units(one, scores) for one in found.policies))


def _policy_in_file_units(one: ComparedPolicy, scores: ScoreSet) -> ComparedPolicy:
    rule = one.policy.rule
    thresholds = tuple(in_file_units(scores, value) for value in rule.thresholds)
    return replace(one, policy=replace(one.policy, rule=replace(rule, thresholds=thresholds)))


def policy_rows(policies: Sequence[ComparedPolicies]) -> list[dict[str, object]]:
    """List one row per policy of two detectors and APCER target."""
    return [_policy(compared.target, one) for compared in policies for one in compared.policies]


_POLICY_COLUMNS = ("threshold", "worst species", "APCER of it", "BPCER", "less the first's")


def _policy(target: float, one: ComparedPolicy) -> dict[str, object]:
    rates, rule = one.policy.rates, one.policy.rule
    worst = None if rates is None else rates.worst
    row: dict[str, object] = {"APCER at most": percent(target), "decides": POLICY_NAMES[rule.policy]}
    if rates is None or worst is None:
        why = rule.reason or "no attack got a response"
        return row | dict.fromkeys(_POLICY_COLUMNS, "") | {"APCER of it": f"undefined: {why}"}
    return row | {
        "threshold": ", ".join(figures(value) for value in rule.thresholds),
        "worst species": worst.species,
        "APCER of it": bounded(worst),
        "BPCER": rate_words(rates.bpcer),
        "less the first's": difference_words(one, worst.species),
    }


def difference_words(one: ComparedPolicy, species: str) -> str:
    """Write how a policy differs from the first detector alone: APCER of a species, and BPCER."""
    told = []
    for metric, name in (("apcer", species), ("bpcer", WHOLE)):
        found = one.difference(metric, name)
        if found is not None and found.value is not None:
            bounds = "" if found.low is None else f" ({points(found.low)} to {points(found.high)})"
            told.append(f"{metric.upper()} {points(found.value)}{bounds}")
    return "; ".join(told)
