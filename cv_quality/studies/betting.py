"""Betting on rates: capital that grows only where a claim is wrong, so that it may be looked at every day.

Capital that is fair under a claim exceeds 1 / alpha with a chance of at most alpha, however often it is looked at
(Ville). Bounded means are bet on as in Waudby-Smith and Ramdas, J. R. Statist. Soc. B 86, 2024 (arXiv 2010.09686); the
confidence sequence of Bernoulli trials is the mixture of Howard et al., Ann. Statist. 49, 2021 (arXiv 1810.08240).
What is bet on, of a build in the field, is in `cv_quality.studies.monitoring`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.studies.confidence_sequence import best_rho

Floats = NDArray[np.float64]

CAP = 0.5
"""Share of the capital that a bet on a level may lose at most."""
CHANGE_CAP = 0.9
"""The same of a bet on a change: the loss of it all takes a subject who fails each attempt of one build and none of
the other's."""
RISES = (1.25, 1.5, 2.0, 3.0)
"""Factors by which a rate may have risen: the capital is shared among the bets that are best for each."""
PRIOR_SUBJECTS = 20
"""Subjects that the spread assumed before any data weighs as much as."""
PRIOR_CV = 1.0
"""Coefficient of variation of the subjects' rates that is assumed before any data."""
BET_AT_FIRST = 0.8
"""Share of the capital that is bet from the first look on; the rest is kept for a rise that comes later."""
KEPT_LOOKS = 20
"""At look k one part in k + this of what is kept joins the bets, so that a rise at any look finds capital."""
_LARGEST_LOG = 690.0


def predictable_bets(values: ArrayLike, *, alpha: float) -> Floats:
    """Compute the bets of the predictable mixture with empirical-Bernstein variance, each from the values before it.

    lambda_t = sqrt(2 log(1 / alpha) / (s_(t-1)^2 t log(1 + t))); mean and variance begin at 1/2 and 1/4, as one value.

    Args:
        values: 0 to 1, in the order of their coming.
        alpha: level of the test, between 0 and 1.

    Raises:
        MetricError: a value or alpha is out of range.

    >>> predictable_bets([0, 0, 1], alpha=0.05).round(3).tolist()
    [5.88, 4.178, 3.564]
    """
    x = _bounded(values)
    _check_alpha(alpha)
    t = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (t + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variances[:-1]])[: len(x)]
    bets: Floats = np.sqrt(2 * math.log(1 / alpha) / (before * t * np.log1p(t)))
    return bets


def hedged_capital(values: ArrayLike, *, mean: float, alpha: float) -> Floats:
    """Compute the capital of a bettor against "the mean is m", half of it on either side, after every value.

    The claim is rejected where it reaches 1 / alpha. Each side bets at alpha / 2, and never more than half of what it
    could lose.

    Args:
        values: 0 to 1, in the order of their coming.
        mean: claimed, between 0 and 1.
        alpha: level of the test, between 0 and 1.

    Raises:
        MetricError: a value, the mean or alpha is out of range.
    """
    x = _bounded(values)
    if not 0 < mean < 1:
        raise MetricError(f"expected a mean between 0 and 1, found {mean:g}")
    bets = predictable_bets(x, alpha=alpha / 2)
    above = np.cumprod(1 + np.minimum(bets, CAP / mean) * (x - mean))
    below = np.cumprod(1 - np.minimum(bets, CAP / (1 - mean)) * (x - mean))
    capital: Floats = np.maximum(above, below) / 2
    return capital


def bernoulli_sequence(
    successes: int, trials: int, *, alpha: float, best_at: float, alpha_best: float = 0.05
) -> tuple[float, float]:
    """Bound a probability at any time, by the two-sided beta-binomial mixture.

    Args:
        successes, trials: so far.
        alpha: chance that the bounds ever miss the probability.
        best_at: trials at which the bounds are narrowest.
        alpha_best: level at which they are.

    Raises:
        MetricError: the counts do not fit, or a level is out of range.

    >>> low, high = bernoulli_sequence(700, 1000, alpha=0.05, best_at=100)
    >>> round(low, 5), round(high, 5)
    (0.65163, 0.74595)
    """
    from scipy import optimize

    if not 0 <= successes <= trials or trials < 1 or not best_at > 0:
        raise MetricError(f"expected 0 <= successes <= trials, found {successes} of {trials}, best at {best_at:g}")
    _check_alpha(alpha)
    _check_alpha(alpha_best)

    def excess(p: float) -> float:
        return _log_beta_mixture(p, successes, trials, best_at, alpha_best) - math.log(1 / alpha)

    rate, edge = successes / trials, 1e-12
    low, high = 0.0, 1.0
    if successes and excess(edge) > 0:
        low = float(optimize.brentq(excess, edge, min(rate, 1 - edge), xtol=1e-13))
    if successes < trials and excess(1 - edge) > 0:
        high = float(optimize.brentq(excess, max(rate, edge), 1 - edge, xtol=1e-13))
    return low, high


def _log_beta_mixture(p: float, successes: int, trials: int, best_at: float, alpha: float) -> float:
    """The logarithm of the mixture's capital against the probability p."""
    from scipy import special

    q = 1 - p
    spread = max(best_rho(best_at * p * q, alpha=alpha) - p * q, 1e-3 * p * q)
    a, b = spread / p, spread / q
    failures = trials - successes
    return float(
        -successes * math.log(p)
        - failures * math.log(q)
        + special.betaln(b + successes, a + failures)
        - special.betaln(b, a)
    )


@dataclass(frozen=True, slots=True)
class Capital:
    """What a bettor against one claim has, and what he has seen.

    Attributes:
        logs: of the capital in each of the bets in `RISES`.
        kept: capital that is not bet yet.
        looks: at which was bet.
        n: subjects bet on.
        squares: sum of their squared distances from the claim.
        errors: sum of the subjects' rates, of a change the mean of both.
        start: the capital that he began with, at most 1.
    """

    logs: tuple[float, ...] = (math.log(BET_AT_FIRST / len(RISES)),) * len(RISES)
    kept: float = 1 - BET_AT_FIRST
    looks: int = 0
    n: int = 0
    squares: float = 0.0
    errors: float = 0.0
    start: float = 1.0

    @property
    def e_value(self) -> float:
        """The capital: an e-value against the claim at any time."""
        return self.start * (self.kept + float(np.sum(np.exp(np.minimum(self.logs, _LARGEST_LOG)))))


def bet_on_level(capital: Capital, rates: ArrayLike, *, attempts: ArrayLike, target: float) -> Capital:
    """Bet against "the mean rate of the population is at most the target" on subjects who were never bet on before.

    Every subject of a look meets the same bet, made from the looks before and from how many attempts he made.

    Args:
        capital: before the look.
        rates: of the subjects' errors, shape (n,).
        attempts: behind each, at least 1.
        target: the rate claimed, between 0 and 1.

    Raises:
        MetricError: a rate or the target is out of range.
    """
    x, trials = _bounded(rates), np.asarray(attempts, np.float64)
    if not 0 < target < 1:
        raise MetricError(f"expected a target between 0 and 1, found {target:g}")
    if not len(x):
        return capital
    within = target * (1 - target) / float(np.mean(trials))
    assumed = np.array([rise * within + (PRIOR_CV * rise * target) ** 2 for rise in RISES])
    spread = (PRIOR_SUBJECTS * assumed + capital.squares) / (PRIOR_SUBJECTS + capital.n)
    gains = (np.array(RISES) - 1) * target
    bets = np.minimum(gains / spread, CAP / target)
    return _after(capital, x - target, bets, errors=float(np.sort(x).sum()))


def bet_on_change(capital: Capital, baseline: ArrayLike, candidate: ArrayLike) -> Capital:
    """Bet against "the mean rate of this panel is no higher than the baseline's on the same attempts".

    All subjects of a look meet the same bet, so that by the inequality of the means it is fair for any panel whose mean
    difference is at most 0, however much its subjects differ. Looks before a first difference are only learned
    from.

    Args:
        capital: before the look.
        baseline, candidate: rates of the same subjects on the same attempts, shape (n,).

    Raises:
        MetricError: a rate is out of range, or the two are not of the same subjects.
    """
    one, other = _bounded(baseline), _bounded(candidate)
    if len(one) != len(other):
        raise MetricError(f"expected rates of the same subjects, found {len(one)} and {len(other)}")
    if not len(one):
        return capital
    bets = np.zeros(len(RISES))
    if capital.squares:
        gains = (np.array(RISES) - 1) * capital.errors / capital.n
        spread = (0.25 + capital.squares) / (1 + capital.n)
        bets = np.minimum(gains / spread, CHANGE_CAP)
    return _after(capital, other - one, bets, errors=float(np.sort(one + other).sum()) / 2)


def _after(capital: Capital, gains: Floats, bets: Floats, *, errors: float) -> Capital:
    joining = capital.kept / (capital.looks + 1 + KEPT_LOOKS) if capital.looks else 0.0
    logs = np.array(capital.logs)
    if joining:
        logs = np.logaddexp(logs, math.log(joining / len(RISES)))
    grown = logs + np.log1p(bets[:, None] * np.sort(gains)).sum(axis=1)
    return Capital(
        tuple(grown.tolist()),
        capital.kept - joining,
        capital.looks + 1,
        capital.n + len(gains),
        capital.squares + float(np.sum(np.sort(gains) ** 2)),
        capital.errors + errors,
        capital.start,
    )


def _bounded(values: ArrayLike) -> Floats:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not np.all((x >= 0) & (x <= 1)):
        raise MetricError("expected values from 0 to 1, one after the other")
    return x


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise MetricError(f"expected an alpha between 0 and 1, found {alpha:g}")
