"""Bets: the values of independent code, and capital that is fair under its claim."""

import itertools

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.studies.betting import (
    RISES,
    Capital,
    bernoulli_sequence,
    bet_on_change,
    bet_on_level,
    hedged_capital,
    predictable_bets,
)

VALUES = [0, 0, 1, 0, 0, 0, 0, 1, 0, 0] * 20


def test_first_bets_are_those_of_the_predictable_mixture() -> None:
    bets = predictable_bets(VALUES, alpha=0.05)[:5]
    assert bets.tolist() == pytest.approx([5.880087, 4.177527, 3.563871, 2.256834, 2.018277], abs=6e-7)


def test_hedged_capital_is_that_of_independent_code() -> None:
    capital = hedged_capital(VALUES, mean=0.1, alpha=0.05)
    assert capital[[9, 49, 99, 199]].tolist() == pytest.approx([0.445524, 2.393535, 10.139994, 81.309438], abs=6e-7)


@pytest.mark.parametrize(
    ("successes", "trials", "best_at", "bounds"),
    [(700, 1000, 100, (0.651629, 0.745949)), (5, 50, 50, (0.013021, 0.269264))],
)
def test_bernoulli_sequences_are_those_of_independent_code(
    successes: int, trials: int, best_at: int, bounds: tuple[float, float]
) -> None:
    assert bernoulli_sequence(successes, trials, alpha=0.05, best_at=best_at) == pytest.approx(bounds, abs=1e-6)


def test_bernoulli_sequences_mirror_and_reach_the_ends() -> None:
    low, high = bernoulli_sequence(5, 50, alpha=0.05, best_at=50)
    assert bernoulli_sequence(45, 50, alpha=0.05, best_at=50) == pytest.approx((1 - high, 1 - low))
    assert bernoulli_sequence(0, 50, alpha=0.05, best_at=50)[0] == 0
    assert bernoulli_sequence(50, 50, alpha=0.05, best_at=50)[1] == 1


def test_capital_of_a_level_is_fair_where_the_rate_is_the_target() -> None:
    """The mean over all outcomes of two looks at two subjects of two attempts, whose rate is the target."""
    target, expected = 0.3, 0.0
    chances = np.array([0.49, 0.42, 0.09])
    for outcome in itertools.product(range(3), repeat=4):
        rates = np.array(outcome) / 2
        capital = bet_on_level(Capital(), rates[:2], attempts=[2, 2], target=target)
        capital = bet_on_level(capital, rates[2:], attempts=[2, 2], target=target)
        expected += capital.e_value * chances[list(outcome)].prod()
    assert expected == pytest.approx(1)


def test_capital_of_a_change_is_fair_where_some_rise_and_others_fall() -> None:
    """The mean over all outcomes of a second look at two subjects, one of whom rises by as much as the other falls."""
    before = bet_on_change(Capital(), [0.5, 0.0, 1.0], [0.0, 0.5, 1.0])
    assert before.e_value == 1
    expected = 0.0
    for one, other in itertools.product((-1, 0, 1), repeat=2):
        chances = {-1: 0.1, 0: 0.5, 1: 0.4}[one] * {-1: 0.4, 0: 0.5, 1: 0.1}[other]
        moved = np.array([one, other])
        expected += chances * bet_on_change(before, moved < 0, moved > 0).e_value
    assert expected < 1


def test_capital_grows_where_the_rate_has_risen() -> None:
    rng = np.random.default_rng(5)
    capital = quiet = Capital()
    for _ in range(12):
        capital = bet_on_level(capital, rng.binomial(5, 0.06, 60) / 5, attempts=[5] * 60, target=0.03)
        quiet = bet_on_level(quiet, rng.binomial(5, 0.03, 60) / 5, attempts=[5] * 60, target=0.03)
    assert capital.e_value > 20 > quiet.e_value
    assert capital.n == 720


def test_capital_does_not_depend_on_the_order_of_subjects() -> None:
    rates = np.array([0.0, 0.2, 0.6, 0.0, 1.0])
    capital = bet_on_level(Capital(), rates, attempts=[5] * 5, target=0.1)
    assert bet_on_level(Capital(), rates[::-1], attempts=[5] * 5, target=0.1).logs == capital.logs
    assert len(capital.logs) == len(RISES)


@pytest.mark.parametrize("rates", [[1.2], [-0.1], [float("nan")]])
def test_what_is_no_rate_is_refused(rates: list[float]) -> None:
    with pytest.raises(MetricError, match="from 0 to 1"):
        bet_on_level(Capital(), rates, attempts=[1], target=0.1)


def test_a_target_that_is_no_rate_is_refused() -> None:
    with pytest.raises(MetricError, match="found 3"):
        bet_on_level(Capital(), [0.1], attempts=[1], target=3)
