"""Two detectors put together: both must agree, either suffices, or one fused score, on the same presentations.

What each policy gains against attacks and costs people is read from the same rates as those of one detector alone.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.error_rates import LivenessRates, bpcer_at_apcer, liveness_rates
from cv_quality.metrics.liveness.presentations import Presentations
from cv_quality.metrics.results import Result

Policy = Literal["first", "second", "and", "or", "fusion"]


@dataclass(frozen=True, slots=True)
class PolicyRates(Result):
    """What one policy does.

    Attributes:
        rates: of the policy; their threshold is on its own score: 0 on the smaller or larger margin for "and" and "or".
        n_opened: presentations that the first detector takes for attacks and the policy for bona fide.
        n_closed: those that it takes for bona fide and the policy for attacks.
        reason: why there are no rates, of a fusion without a threshold.
    """

    policy: Policy
    rates: LivenessRates | None
    n_opened: int
    n_closed: int
    reason: str | None = None


def compare_policies(
    presentations: Presentations, second: ArrayLike, *, thresholds: tuple[float, float], target: float
) -> tuple[PolicyRates, ...]:
    """Compare both detectors alone, their AND, their OR, and their fusion.

    With margins m_i = score_i - threshold_i, AND decides on min(m_1, m_2) and OR on max(m_1, m_2), at 0. The fusion
    adds the scores in units of their standard deviations over bona fide presentations; its threshold is estimated anew
    on these presentations, the lowest at which the APCER of no species exceeds the target. AND and a fusion need both
    responses, OR one of them.

    Args:
        presentations: with the scores of the first detector, of both classes.
        second: scores of the second one for the same presentations, higher is more surely bona fide; NaN where it did
            not respond; shape (n,).
        thresholds: at and above which each takes a presentation for bona fide.
        target: highest APCER of the fusion, above 0 and at most 1.

    Raises:
        MetricError: shapes differ, or a class has no response of both.

    >>> from cv_quality.metrics.liveness.presentations import check_presentations
    >>> shown = check_presentations([3, 1, 2, 0], [False, False, True, True], species=["", "", "mask", "mask"])
    >>> found = compare_policies(shown, [2, 3, 0, 1], thresholds=(2, 1), target=0.5)
    >>> [(one.policy, one.rates.bpcer.value, one.rates.worst.value) for one in found if one.rates][2:4]
    [('and', 0.5, 0.0), ('or', 0.0, 1.0)]
    """
    one, other = presentations.scores, np.asarray(second, dtype=np.float64)
    if other.shape != one.shape:
        raise MetricError(f"expected a second score, or NaN, for each of {len(one)} presentations, found {other.shape}")
    margins = one - thresholds[0], other - thresholds[1]
    first = margins[0] >= 0
    scored: list[tuple[Policy, NDArray[np.float64], float]] = [
        ("first", one, thresholds[0]),
        ("second", other, thresholds[1]),
        ("and", np.minimum(*margins), 0.0),
        ("or", np.fmax(*margins), 0.0),
    ]
    found = [_policy(presentations, first, *policy) for policy in scored]
    return (*found, _fusion(presentations, first, other, target))


def _policy(
    presentations: Presentations, first: NDArray[np.bool_], name: Policy, scores: NDArray[np.float64], threshold: float
) -> PolicyRates:
    live = scores >= threshold
    rates = liveness_rates(replace(presentations, scores=scores), threshold=threshold)
    return PolicyRates(name, rates, int(np.count_nonzero(live & ~first)), int(np.count_nonzero(first & ~live)))


def _fusion(
    presentations: Presentations, first: NDArray[np.bool_], other: NDArray[np.float64], target: float
) -> PolicyRates:
    of_users = ~presentations.is_attack & presentations.has_response & ~np.isnan(other)
    spreads = [float(scores[of_users].std()) if of_users.any() else 0.0 for scores in (presentations.scores, other)]
    if not all(spread > 0 for spread in spreads):
        return PolicyRates("fusion", None, 0, 0, "the scores of bona fide presentations do not vary")
    fused = presentations.scores / spreads[0] + other / spreads[1]
    chosen = bpcer_at_apcer(replace(presentations, scores=fused), target=target)
    if chosen.threshold is None:
        return PolicyRates("fusion", None, 0, 0, chosen.reason)
    return _policy(presentations, first, "fusion", fused, chosen.threshold)
