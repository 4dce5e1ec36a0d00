"""Policies of one or two liveness detectors compared on the same presentations: what each gains, and what it costs.

Thresholds are chosen on half of the artefacts and subjects, or on a development set, and every policy is tried on the
others. Differences are paired by artefact for attacks and by subject for people: what presentations of one artefact
share cancels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.metrics.liveness.policies import (
    EQUAL_WEIGHTS,
    PolicyRates,
    choose_policies,
    halves,
    second_scores,
    try_policies,
)
from cv_quality.metrics.liveness.presentations import Presentations
from cv_quality.metrics.results import Result
from cv_quality.studies.comparison import Difference, compare_rates

WHOLE = "all"


@dataclass(frozen=True, slots=True)
class PolicyDifference(Result):
    """A rate of a policy less that of the first detector alone, on the same presentations.

    Attributes:
        metric: "apcer" of a species, or "bpcer".
        name: of the species; "all" of bona fide presentations.
    """

    metric: str
    name: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class ComparedPolicy(Result):
    """One policy with its rates and how they differ from the first detector's; empty of the first detector itself."""

    policy: PolicyRates
    differences: tuple[PolicyDifference, ...]

    def difference(self, metric: str, name: str) -> Difference | None:
        """Find a difference; None where there is none."""
        return next((one.difference for one in self.differences if (one.metric, one.name) == (metric, name)), None)


@dataclass(frozen=True, slots=True)
class ComparedPolicies(Result):
    """Every policy at one APCER target.

    Attributes:
        target: highest APCER of every species where thresholds were chosen.
        n_chosen_on: presentations on which thresholds were chosen.
        n_tried_on: others, on which the rates are.
    """

    target: float
    n_chosen_on: int
    n_tried_on: int
    policies: tuple[ComparedPolicy, ...]


def compare_policies(
    presentations: Presentations,
    second: ArrayLike | None = None,
    *,
    target: float,
    devel: tuple[Presentations, ArrayLike | None] | None = None,
    thresholds: tuple[float, ...] = (),
    weights: tuple[float, float] = EQUAL_WEIGHTS,
    seed: int = 0,
) -> ComparedPolicies:
    """Compare each detector alone, their AND, their OR and their fusion on the same presentations.

    Args:
        presentations: with the scores of the first detector, of both classes.
        second: of the second one for the same presentations, NaN without a response; None where there is one detector.
        target: highest APCER of every species, above 0 and at most 1.
        devel: other presentations with their second scores, to choose thresholds on; None takes half of the artefacts
            and subjects.
        thresholds: of the detectors, where they are given; the fusion's is chosen nevertheless.
        weights: of both scores in the fusion.
        seed: of the halves.

    Raises:
        MetricError: shapes differ, or a class has no response on the side where thresholds are chosen.
    """
    other = None if second is None else second_scores(presentations, second)
    if devel is None:
        chosen = halves(presentations, seed=seed)
        tried, scores = presentations.where(~chosen), None if other is None else other[~chosen]
        on, on_scores = presentations.where(chosen), None if other is None else other[chosen]
    else:
        tried, scores, on = presentations, other, devel[0]
        on_scores = None if other is None or devel[1] is None else second_scores(on, devel[1])
    rules = choose_policies(on, on_scores, target=target, thresholds=thresholds, weights=weights)
    found = try_policies(rules, tried, scores)
    compared = (ComparedPolicy(one, tuple(_differences(tried, scores, found[0], one))) for one in found)
    return ComparedPolicies(target, len(on.scores), len(tried.scores), tuple(compared))


def _differences(
    presentations: Presentations, second: NDArray[np.float64] | None, first: PolicyRates, policy: PolicyRates
) -> Iterator[PolicyDifference]:
    if first is policy or first.rates is None or policy.rates is None:
        return
    margins = [one.rule.margins(presentations.scores, second) for one in (first, policy)]
    for name in presentations.species_names:
        of = presentations.is_attack & (presentations.species == name)
        found = _paired(presentations, of, margins, "apcer")
        yield PolicyDifference("apcer", name, _in_units(found, presentations.attack_unit))
    found = _paired(presentations, ~presentations.is_attack, margins, "bpcer")
    yield PolicyDifference("bpcer", WHOLE, _in_units(found, presentations.bona_fide_unit))


def _paired(
    presentations: Presentations, of: NDArray[np.bool_], margins: list[NDArray[np.float64]], metric: str
) -> Difference:
    """The difference of an error rate among some presentations, by their clusters."""
    units, codes = np.unique(presentations.cluster[of], return_inverse=True)
    reference, candidate = ((values[of] >= 0) == (metric == "apcer") for values in margins)
    shown, also = (~np.isnan(values[of]) for values in margins)
    counts = [
        np.bincount(codes, weights=part, minlength=len(units))
        for part in (reference & shown, shown, candidate & also, also)
    ]
    return compare_rates(metric, (counts[0], counts[1]), (counts[2], counts[3]))


def _in_units(found: Difference, unit: str) -> Difference:
    """Say artefacts where a comparison of builds says subjects."""
    told = None if found.reason is None else found.reason.replace("subject", unit)
    method = None if found.method is None else found.method.replace("subject", unit)
    return replace(found, reason=told, method=method)
