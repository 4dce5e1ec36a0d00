"""Sizes of samples: published values to their last digit, and what simulation says."""

import math

import numpy as np
import pytest
from scipy import optimize

from cv_quality.errors import MetricError
from cv_quality.studies.sample_size import (
    connor_pairs,
    design_effect,
    detectable_difference,
    enrolled,
    exact_power,
    farrington_manning_size,
    power_of,
    reestimated_size,
    restricted_rates,
    subjects_for_power,
    subjects_for_precision,
    top_up_size,
)


def test_sizes_of_farrington_and_manning() -> None:
    even = farrington_manning_size(0.4, 0.05, margin=0.2, alpha=0.05, power=0.8)
    assert round(even.total, 4) == 159.6876
    first = farrington_manning_size(0.1, 0.1, margin=-0.2, alpha=0.05, power=0.9, ratio=2 / 3)
    assert (round(first.first, 2), round(first.second, 2)) == (62.88, 41.92)
    second = farrington_manning_size(0.25, 0.05, margin=0.1, alpha=0.05, power=0.9, ratio=3 / 2)
    assert (round(second.first, 4), round(second.second, 4)) == (173.2214, 259.8322)


@pytest.mark.parametrize(("rate", "margin", "total"), [(0.03, 0.01, 9292.648), (0.10, 0.05, 1161.476)])
def test_sizes_for_non_inferiority(rate: float, margin: float, total: float) -> None:
    found = farrington_manning_size(rate, rate, margin=margin, alpha=0.025, power=0.8)
    assert round(found.total, 3) == total


@pytest.mark.parametrize(("first", "second", "margin", "ratio"), [(0.1, 0.2, 0.05, 1.0), (0.4, 0.05, 0.2, 2.5)])
def test_restricted_rates_are_most_likely(first: float, second: float, margin: float, ratio: float) -> None:
    def loss(rate: float) -> float:
        other = rate - margin
        told = first * math.log(rate) + (1 - first) * math.log1p(-rate)
        return -told - ratio * (second * math.log(other) + (1 - second) * math.log1p(-other))

    best = optimize.minimize_scalar(
        loss, bounds=(margin + 1e-9, 1 - 1e-9), options={"xatol": 1e-12}, method="bounded"
    ).x
    assert restricted_rates(first, second, margin=margin, ratio=ratio)[0] == pytest.approx(best, abs=1e-6)


def test_pairs_of_connor() -> None:
    assert math.ceil(connor_pairs(0.05, 0.45, alpha=0.05, power=0.9)) == 23


@pytest.mark.parametrize(
    ("n", "power"), [(25, 0.57932569), (28, 0.6851126), (30, 0.74476675), (33, 0.81787426), (35, 0.72790831)]
)
def test_exact_power_is_a_sawtooth(n: int, power: float) -> None:
    assert exact_power(n, null=0.05, rate=0.2, alpha=0.025) == pytest.approx(power, abs=5e-9)


def test_power_size_and_detectable_difference_are_one_relation() -> None:
    n = subjects_for_power(0.04, distance=0.01, alpha=0.05, power=0.9)
    assert power_of(0.04, subjects=n, distance=0.01, alpha=0.05) == pytest.approx(0.9)
    assert detectable_difference(0.04, subjects=n, alpha=0.05, power=0.9) == pytest.approx(0.01)
    assert 1.959963985 * math.sqrt(0.04 / subjects_for_precision(0.04, half_width=0.01)) == pytest.approx(0.01)


def test_the_design_effect_is_that_of_simulated_subjects() -> None:
    rng, rate, icc, attempts = np.random.default_rng(3), 0.1, 0.2, 8
    scale = 1 / icc - 1
    own = rng.beta(rate * scale, (1 - rate) * scale, size=200_000)
    seen = rng.binomial(attempts, own) / attempts
    expected = rate * (1 - rate) * design_effect(attempts, icc) / attempts
    assert float(seen.var()) == pytest.approx(expected, rel=0.02)


def test_attrition_is_made_up_for() -> None:
    assert enrolled(90, attrition=0.1) == 100
    assert enrolled(90.01, attrition=0.1) == 101


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"power": 1.0}, "alpha < power < 1"),
        ({"alpha": 0.5}, "0 < alpha < 0.5"),
        ({"margin": 0.0}, "other than the difference"),
        ({"first": 1.2}, "expected a rate from 0 to 1, found 1.2"),
        ({"ratio": 0.0}, "ratio of the arms above 0"),
    ],
)
def test_designs_that_make_no_sense_are_refused(options: dict[str, float], match: str) -> None:
    given = {"first": 0.1, "second": 0.1, "margin": 0.05, "alpha": 0.05, "power": 0.8} | options
    with pytest.raises(MetricError, match=match):
        farrington_manning_size(given.pop("first"), given.pop("second"), **given)


def test_no_distance_cannot_be_told() -> None:
    with pytest.raises(MetricError, match="more than 0 within it"):
        subjects_for_power(0.04, distance=0.0, alpha=0.05, power=0.9)


def test_a_size_from_a_pilots_variance_lies_in_its_range_as_often_as_said() -> None:
    rng, true = np.random.default_rng(9), subjects_for_power(0.04, distance=0.03, alpha=0.05, power=0.9)
    found = [
        reestimated_size(
            float(rng.normal(0, 0.2, 60).var(ddof=1)), pilot_subjects=60, distance=0.03, alpha=0.05, power=0.9
        )
        for _ in range(2000)
    ]
    assert float(np.median([item.value for item in found])) == pytest.approx(true, rel=0.02)
    assert float(np.mean([item.low <= true <= item.high for item in found])) == pytest.approx(0.8, abs=0.03)


def test_a_top_up_is_what_would_settle_it() -> None:
    found = top_up_size(200, 0.006, margin=0.01, difference=0.002, alpha=0.05, power=0.8)
    assert found.value == pytest.approx(200 * ((1.644854 + 0.841621) * 0.006 / 0.008) ** 2, rel=1e-6)
    assert found.low < found.value < found.high
    with pytest.raises(MetricError, match="more than 0 within it"):
        top_up_size(200, 0.006, margin=0.01, difference=0.01, alpha=0.05, power=0.8)
    with pytest.raises(MetricError, match="at least 2 subjects"):
        reestimated_size(0.04, pilot_subjects=1, distance=0.01, alpha=0.05, power=0.8)
