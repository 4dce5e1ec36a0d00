"""Measures of separation against definitions written out pair by pair, and where they are not defined."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from cv_quality.errors import MetricError
from cv_quality.metrics.separation import auc, cllr, d_prime, min_cllr, separation

TIED = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=30)
UNBOUNDED = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 1.0, math.inf]), min_size=1, max_size=12)


def log_likelihood_ratios(genuine: list[float], impostor: list[float]) -> tuple[NDArray[np.float64], ...]:
    """Best rising log-likelihood ratios by scikit-learn's isotonic regression over single scores."""
    scores = np.concatenate([genuine, impostor])
    truth = np.repeat([1.0, 0.0], [len(genuine), len(impostor)])
    posterior = IsotonicRegression(y_min=0, y_max=1).fit(scores, truth).predict(scores)
    with np.errstate(divide="ignore"):
        ratios = np.log(posterior) - np.log1p(-posterior) - math.log(len(genuine) / len(impostor))
    return ratios[: len(genuine)], ratios[len(genuine) :]


@given(genuine=TIED | UNBOUNDED, impostor=TIED | UNBOUNDED)
def test_auc_counts_every_pair_and_ties_as_half(genuine: list[float], impostor: list[float]) -> None:
    won = sum((one > other) + (one == other) / 2 for one in genuine for other in impostor)
    assert auc(genuine, impostor) == won / (len(genuine) * len(impostor))
    assert auc(impostor, genuine) == pytest.approx(1 - auc(genuine, impostor), abs=1e-15)


@given(genuine=TIED, impostor=TIED)
def test_min_cllr_is_the_cllr_of_scores_calibrated_by_scikit_learn(genuine: list[float], impostor: list[float]) -> None:
    best = log_likelihood_ratios(genuine, impostor)
    assert min_cllr(genuine, impostor) == pytest.approx(cllr(*best), abs=1e-9)


@given(genuine=TIED, impostor=TIED)
def test_no_rising_function_of_the_scores_beats_min_cllr(genuine: list[float], impostor: list[float]) -> None:
    least = min_cllr(genuine, impostor)
    assert 0 <= least <= 1 + 1e-12
    for scale, shift in ((1.0, 0.0), (0.3, 0.5), (3.0, -2.0)):
        assert least <= cllr([scale * s + shift for s in genuine], [scale * s + shift for s in impostor]) + 1e-12
    assert min_cllr([math.atan(s) for s in genuine], [math.atan(s) for s in impostor]) == pytest.approx(least)


@given(genuine=TIED, impostor=TIED)
def test_cllr_is_the_mean_cost_of_each_class(genuine: list[float], impostor: list[float]) -> None:
    costs = (
        np.mean([math.log2(1 + math.exp(-s)) for s in genuine]),
        np.mean([math.log2(1 + math.exp(s)) for s in impostor]),
    )
    assert cllr(genuine, impostor) == pytest.approx(sum(costs) / 2)


def test_log_likelihood_ratio_costs_nothing_when_right_and_infinity_when_wrong() -> None:
    assert cllr([-math.inf, 3.0], [0.0]) == math.inf
    assert cllr([math.inf], [-math.inf]) == 0.0
    assert min_cllr([-math.inf, 3.0], [0.0, 1.0]) < 1


@given(genuine=TIED, impostor=TIED)
def test_d_prime_is_the_difference_of_means_in_pooled_standard_deviations(
    genuine: list[float], impostor: list[float]
) -> None:
    found = d_prime(genuine, impostor)
    spread = math.sqrt((np.var(genuine) + np.var(impostor)) / 2)
    if spread == 0:
        assert found.value is None
        return
    assert found.value == pytest.approx((np.mean(genuine) - np.mean(impostor)) / spread)


@pytest.mark.parametrize(
    ("genuine", "impostor", "reason"),
    [
        ([0.1, 0.1, 0.1], [0.3, 0.3, 0.3], "no spread"),
        ([-math.inf, 0.4, math.inf], [0.1, 0.2], "2 scores are infinite"),
        ([1e200, 3e200], [0.0], "exceed float64"),
    ],
)
def test_d_prime_without_a_meaning_is_undefined_and_says_why(
    genuine: list[float], impostor: list[float], reason: str
) -> None:
    found = d_prime(genuine, impostor)
    assert found.value is None
    assert found.reason is not None
    assert reason in found.reason


def test_single_precision_scores_are_summed_in_double() -> None:
    rng = np.random.default_rng(5)
    genuine, impostor = (rng.normal(m, 1e-3, 1_200_000).astype(np.float32) for m in (1.001, 1.0))
    exact = d_prime(genuine.astype(np.float64), impostor.astype(np.float64)).value
    assert d_prime(genuine, impostor).value == pytest.approx(exact, rel=1e-9)
    assert cllr(genuine, impostor) == pytest.approx(cllr(genuine.astype(np.float64), impostor.astype(np.float64)))


def test_scores_reversed_or_no_log_likelihood_ratios_are_warned_about() -> None:
    reversed_scores = separation([-9.0, -8.0], [8.0, 9.0])
    assert reversed_scores.auc == 0.0
    assert reversed_scores.min_cllr == pytest.approx(1.0)
    assert [warning.split()[0] for warning in reversed_scores.warnings] == ["AUC", "Cllr"]
    assert separation([4.0, 5.0], [-4.0, -5.0]).warnings == ()
    assert separation([4.0, 5.0], [-4.0, -5.0]).to_dict()["warnings"] == []


def test_one_class_alone_is_an_error() -> None:
    for measure in (auc, cllr, min_cllr, d_prime, separation):
        with pytest.raises(MetricError, match="no impostor score"):
            measure([0.1], [])


def test_cllr_of_scores_near_the_largest_number_is_their_mean() -> None:
    assert cllr([1e308, -1.7e308, -1.7e308], [1.7e308, 1e308]) == pytest.approx(
        (3.4e308 / 3 / 2 + 2.7e308 / 4) / math.log(2)
    )
