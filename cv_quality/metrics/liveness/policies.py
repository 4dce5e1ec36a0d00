"""Two detectors put together: both must agree, either suffices, or one fused score, on the same presentations.

Thresholds are chosen on some presentations (`choose_policies`) and tried on others (`try_policy`). How much a policy
gains over the first detector alone, with an interval by artefact, is in `cv_quality.studies.pad_policies`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.error_rates import LivenessRates, bpcer_at_apcer, liveness_rates
from cv_quality.metrics.liveness.presentations import Presentations
from cv_quality.metrics.results import Result

Policy = Literal["first", "second", "and", "or", "fusion"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
EQUAL_WEIGHTS = (1.0, 1.0)
"""Of a fusion: each score counts in units of its standard deviation over bona fide presentations."""

REJECTS_ALL = "only a threshold above every score holds the target: it would reject everybody"


@dataclass(frozen=True, slots=True)
class PolicyRule(Result):
    """How a policy decides: by margins that are bona fide from 0 on.

    Attributes:
        weights: what each score is multiplied by before its threshold is taken off; 0 where it has no part.
        thresholds: of the first and the second detector; of a fusion one, of the weighted sum. Empty when undefined.
        reason: why there is none.
    """

    policy: Policy
    weights: tuple[float, float]
    thresholds: tuple[float, ...]
    reason: str | None = None

    def margins(self, first: NDArray[np.float64], second: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Compute how far each presentation lies above the threshold; NaN without the responses that are needed.

        Args:
            first, second: scores of the detectors, NaN without a response; shape (n,).

        Raises:
            MetricError: the rule has no threshold, or lacks the second scores.
        """
        if not self.thresholds:
            raise MetricError(f"policy {self.policy!r} has no threshold: {self.reason}")
        if self.policy == "first":
            return first - self.thresholds[0]
        if second is None:
            raise MetricError(f"policy {self.policy!r} needs the scores of a second detector")
        if self.policy == "second":
            return second - self.thresholds[0]
        if self.policy == "fusion":
            return self.weights[0] * first + self.weights[1] * second - self.thresholds[0]
        combine = np.minimum if self.policy == "and" else np.fmax
        return np.asarray(combine(first - self.thresholds[0], second - self.thresholds[1]), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PolicyRates(Result):
    """What one policy does.

    Attributes:
        rates: of the policy; their threshold is that of its margins, 0. None of a policy without a threshold.
        n_opened: presentations that the first detector takes for attacks and the policy for bona fide.
        n_closed: those that it takes for bona fide and the policy for attacks.
    """

    rule: PolicyRule
    rates: LivenessRates | None
    n_opened: int
    n_closed: int


def second_scores(presentations: Presentations, second: ArrayLike) -> NDArray[np.float64]:
    """Check the scores of a second detector.

    Args:
        presentations: with the scores of the first one.
        second: higher is more surely bona fide, NaN where it did not respond; shape (n,).

    Raises:
        MetricError: they are not as many, or infinite.
    """
    values = np.asarray(second, dtype=np.float64)
    n = len(presentations.scores)
    if values.shape != (n,):
        raise MetricError(f"expected a second score, or NaN, for each of {n} presentations, found {values.shape}")
    if np.isinf(values).any():
        raise MetricError("expected finite second scores, or NaN where there is none")
    return values


def halves(presentations: Presentations, *, seed: int = 0) -> NDArray[np.bool_]:
    """Choose the presentations on which thresholds are chosen, so that the others are left to try them.

    Half of the artefacts of every species and half of the subjects of bona fide presentations, whole: no artefact and
    no subject is on both sides.

    Args:
        presentations: of both classes.
        seed: of the choice.

    Returns:
        True on the side where thresholds are chosen, shape (n,).
    """
    rng, chosen = np.random.default_rng(seed), np.zeros(len(presentations.scores), dtype=np.bool_)
    for of in (~presentations.is_attack, *(presentations.species == name for name in presentations.species_names)):
        units = rng.permutation(np.unique(presentations.cluster[of]))
        chosen |= of & np.isin(presentations.cluster, units[: len(units) // 2])
    return chosen


def choose_policies(
    presentations: Presentations,
    second: ArrayLike | None = None,
    *,
    target: float,
    thresholds: tuple[float, ...] = (),
    weights: tuple[float, float] = EQUAL_WEIGHTS,
) -> tuple[PolicyRule, ...]:
    """Choose the thresholds of both detectors alone, their AND, their OR, and their fusion.

    A detector's threshold, and that of the fusion, is the lowest at which the APCER of no species exceeds the target.
    AND and OR take each detector at its own.

    Args:
        presentations: with the scores of the first detector, of both classes.
        second: scores of the second one, as `second_scores` takes them; None where there is one detector.
        target: highest APCER of every species, above 0 and at most 1.
        thresholds: at and above which each detector takes a presentation for bona fide, where they are given.
        weights: of both scores in the fusion, each in units of its standard deviation over bona fide presentations.

    Raises:
        MetricError: shapes differ, a class has no response, or a weight is not above 0.
    """
    if not all(0 < weight < np.inf for weight in weights):
        raise MetricError(f"expected weights above 0, found {weights[0]:g} and {weights[1]:g}")
    first = _rule(presentations, "first", (1.0, 0.0), target, thresholds[:1])
    if second is None:
        return (first,)
    other = second_scores(presentations, second)
    alone = replace(presentations, scores=other)
    two = _rule(alone, "second", (0.0, 1.0), target, thresholds[1:])
    reason = first.reason or two.reason
    both = () if reason else (*first.thresholds, *two.thresholds)
    joint = (PolicyRule(name, (1.0, 1.0), both, reason) for name in ("and", "or"))  # type: ignore[arg-type]
    return (first, two, *joint, _fusion(presentations, other, target, weights))


def _rule(
    presentations: Presentations,
    policy: Policy,
    weights: tuple[float, float],
    target: float,
    given: tuple[float, ...] = (),
) -> PolicyRule:
    if given:
        return PolicyRule(policy, weights, given)
    chosen = bpcer_at_apcer(presentations, target=target)
    if chosen.threshold is None:
        return PolicyRule(policy, weights, (), chosen.reason)
    if np.isinf(chosen.threshold):
        return PolicyRule(policy, weights, (), REJECTS_ALL)
    return PolicyRule(policy, weights, (chosen.threshold,))


def _fusion(
    presentations: Presentations, other: NDArray[np.float64], target: float, weights: tuple[float, float]
) -> PolicyRule:
    of_users = ~presentations.is_attack & presentations.has_response & ~np.isnan(other)
    spreads = [float(scores[of_users].std()) if of_users.any() else 0.0 for scores in (presentations.scores, other)]
    if not all(spread > 0 for spread in spreads):
        return PolicyRule("fusion", weights, (), "the scores of bona fide presentations do not vary")
    scaled = weights[0] / spreads[0], weights[1] / spreads[1]
    fused = scaled[0] * presentations.scores + scaled[1] * other
    return _rule(replace(presentations, scores=fused), "fusion", scaled, target)


def try_policies(
    rules: tuple[PolicyRule, ...], presentations: Presentations, second: ArrayLike | None = None
) -> tuple[PolicyRates, ...]:
    """Compute the rates of policies on the same presentations. AND and a fusion need both responses, OR one of them.

    Args:
        rules: the first detector alone is the first of them.
        presentations: with the scores of the first detector.
        second: scores of the second one, as `second_scores` takes them.

    Raises:
        MetricError: shapes differ.

    >>> from cv_quality.metrics.liveness.presentations import check_presentations
    >>> shown = check_presentations([3, 1, 2, 0], [False, False, True, True], species=["", "", "mask", "mask"])
    >>> rules = choose_policies(shown, [2, 3, 0, 1], target=0.5, thresholds=(2, 1))
    >>> found = try_policies(rules, shown, [2, 3, 0, 1])
    >>> [(one.rule.policy, one.rates.bpcer.value, one.rates.worst.value) for one in found if one.rates][2:4]
    [('and', 0.5, 0.0), ('or', 0.0, 1.0)]
    """
    return tuple(_tried(rules, presentations, None if second is None else second_scores(presentations, second)))


def _tried(
    rules: tuple[PolicyRule, ...], presentations: Presentations, second: NDArray[np.float64] | None
) -> Iterator[PolicyRates]:
    first = rules[0].margins(presentations.scores, second) >= 0 if rules[0].thresholds else None
    for rule in rules:
        if not rule.thresholds or first is None:
            yield PolicyRates(rule, None, 0, 0)
            continue
        margins = rule.margins(presentations.scores, second)
        live = margins >= 0
        rates = liveness_rates(replace(presentations, scores=margins), threshold=0.0)
        yield PolicyRates(rule, rates, int(np.count_nonzero(live & ~first)), int(np.count_nonzero(first & ~live)))
