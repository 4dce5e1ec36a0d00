"""Bounds of looks: published values to their last digit, and what they cost."""

import math

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.studies.sequential import (
    alpha_spent,
    classical_bounds,
    crossing,
    naive_error,
    sequential_design,
    spending_bounds,
)

FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [(2, [2.796510, 1.977431]), (5, [4.561742, 3.225639, 2.633723, 2.280871, 2.040073])],
)
def test_bounds_of_obrien_and_fleming(looks: int, expected: list[float]) -> None:
    found = classical_bounds(looks, alpha=0.025, rule="obrien_fleming")
    assert [round(z, 6) for z in found] == expected


@pytest.mark.parametrize(("looks", "expected"), [(2, 2.178272), (3, 2.289478), (4, 2.361300), (5, 2.413180)])
def test_bounds_of_pocock(looks: int, expected: float) -> None:
    found = classical_bounds(looks, alpha=0.025, rule="pocock")
    assert {round(z, 6) for z in found} == {expected}


def test_bounds_of_lan_and_demets() -> None:
    late = spending_bounds(FIFTHS, alpha=0.025, spending="obrien_fleming")
    assert [round(z, 6) for z in late] == [4.876885, 3.357012, 2.680280, 2.289817, 2.031032]
    spent = alpha_spent(FIFTHS, alpha=0.025, spending="obrien_fleming")
    assert [f"{part:.8f}" for part in spent] == ["0.00000054", "0.00039415", "0.00380806", "0.01221179", "0.02500000"]
    even = spending_bounds(FIFTHS, alpha=0.025, spending="pocock")
    assert [round(z, 6) for z in even] == [2.437977, 2.426814, 2.410194, 2.396649, 2.386000]
    three = spending_bounds([0.5, 0.75, 1.0], alpha=0.05, spending="obrien_fleming")
    assert [round(z, 6) for z in three] == [2.537988, 2.015923, 1.720132]


def test_inflation_is_the_published_one_and_power_is_reached() -> None:
    bounds = classical_bounds(5, alpha=0.025, rule="obrien_fleming")
    design = sequential_design(FIFTHS, bounds, alpha=0.025, power=0.9)
    assert round(design.inflation, 6) == 1.026486
    assert sum(crossing(FIFTHS, bounds, drift=design.drift)) == pytest.approx(0.9, abs=1e-9)
    assert design.spent[-1] == pytest.approx(0.025, abs=1e-9)
    assert design.expected_information[0] < 0.8 < design.expected_information[1] < 1


@pytest.mark.parametrize(("looks", "expected"), [(2, 0.0831), (5, 0.1417), (10, 0.1934)])
def test_looks_without_bounds_err_as_published(looks: int, expected: float) -> None:
    assert round(naive_error(looks), 4) == expected


def test_chances_are_those_of_simulated_walks() -> None:
    times, bounds, drift = [0.3, 0.7, 1.0], [2.2, 2.0, 1.8], 1.5
    draws = np.random.default_rng(5).standard_normal((400_000, 3))
    walks = np.cumsum(draws * np.sqrt(np.diff([0.0, *times])), axis=1) + drift * np.array(times)
    over = walks / np.sqrt(times) > bounds
    first = np.where(over.any(axis=1), over.argmax(axis=1), -1)
    seen = [float((first == look).mean()) for look in range(3)]
    assert crossing(times, bounds, drift=drift) == pytest.approx(seen, abs=4 * 0.5 / math.sqrt(400_000))


def test_one_look_is_the_fixed_test() -> None:
    (bound,) = spending_bounds([1.0], alpha=0.05, spending="obrien_fleming")
    design = sequential_design([1.0], [bound], alpha=0.05, power=0.8)
    assert bound == pytest.approx(1.6448536269514722, abs=1e-8)
    assert design.inflation == pytest.approx(1, abs=1e-8)
    assert design.expected_information == (1, 1)


def test_a_look_that_may_spend_nothing_has_a_bound_that_is_not_crossed() -> None:
    early, late = spending_bounds([0.001, 1.0], alpha=0.05, spending="obrien_fleming")
    assert early == 12
    assert late == pytest.approx(1.644854, abs=1e-5)


@pytest.mark.parametrize(
    ("information", "alpha"), [([], 0.05), ([0.5, 0.5], 0.05), ([0.0, 1.0], 0.05), ([0.5, 1.1], 0.05), ([1.0], 0.5)]
)
def test_looks_that_make_no_sense_are_refused(information: list[float], alpha: float) -> None:
    with pytest.raises(MetricError, match="expected parts of the information that rise"):
        spending_bounds(information, alpha=alpha, spending="pocock")
    with pytest.raises(MetricError, match="alpha < power < 1"):
        sequential_design([1.0], [1.6], alpha=0.05, power=1.0)
