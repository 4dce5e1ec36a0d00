"""The smallest detection cost: against every threshold tried one by one, and at its ends."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.detection_cost import CostWeights, min_dcf

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=12)
WEIGHTS = st.builds(CostWeights, st.floats(0.001, 0.999), st.sampled_from([1.0, 10.0]), st.sampled_from([1.0, 0.5]))


def cost_at(threshold: float, genuine: list[int], impostor: list[int], weights: CostWeights) -> float:
    """The normalised cost as the evaluation plan writes it."""
    misses = sum(score < threshold for score in genuine) / len(genuine)
    alarms = sum(score >= threshold for score in impostor) / len(impostor)
    cost = weights.c_miss * misses * weights.p_target + weights.c_fa * alarms * (1 - weights.p_target)
    return cost / min(weights.c_miss * weights.p_target, weights.c_fa * (1 - weights.p_target))


@settings(max_examples=200)
@given(genuine=SCORES, impostor=SCORES, weights=WEIGHTS)
def test_no_threshold_costs_less_and_that_which_is_given_costs_as_much(
    genuine: list[int], impostor: list[int], weights: CostWeights
) -> None:
    found = min_dcf(genuine, impostor, weights=weights)
    every = [cost_at(threshold, genuine, impostor, weights) for threshold in [-math.inf, *range(-6, 8), math.inf]]
    assert found.value == pytest.approx(min(every))
    assert cost_at(found.threshold, genuine, impostor, weights) == pytest.approx(found.value)
    assert 0 <= found.value <= 1 + 1e-12


def test_rejecting_everything_is_best_where_targets_are_rare_and_scores_say_nothing() -> None:
    found = min_dcf([0.0, 1.0], [0.0, 1.0], weights=CostWeights(0.01))
    assert (found.value, found.threshold, found.fnmr, found.fmr) == (1.0, math.inf, 1.0, 0.0)


def test_costs_scale_without_changing_the_normalised_minimum() -> None:
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(2, 1, 300), rng.normal(0, 1, 3000)
    one, ten = (min_dcf(genuine, impostor, weights=CostWeights(0.05, cost, cost)).value for cost in (1, 10))
    assert one == pytest.approx(ten)


def test_the_minimum_says_why_it_has_no_interval_and_when_it_rests_on_few_errors() -> None:
    rng = np.random.default_rng(0)
    many = min_dcf(rng.normal(1, 1, 3000), rng.normal(0, 1, 3000), weights=CostWeights(0.5))
    few = min_dcf([1.0, 2.0], [0.0, 1.5], weights=CostWeights(0.5))
    assert many.reason.startswith("no interval")
    assert few.reason.startswith("insufficient: 0 errors")


@pytest.mark.parametrize("numbers", [(0.0,), (1.0,), (0.5, 0.0), (0.5, 1.0, math.inf), (math.nan,)])
def test_a_prior_or_cost_outside_its_range_is_refused(numbers: tuple[float, ...]) -> None:
    with pytest.raises(MetricError, match=r"prior of a target|costs are finite"):
        CostWeights(*numbers)
