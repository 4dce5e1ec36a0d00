"""Differences of proportions: published intervals to their last digit, coverage, and symmetry."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.studies.proportions import (
    McNemarMethod,
    PairedMethod,
    UnpairedMethod,
    mcnemar_p,
    paired_difference,
    unpaired_difference,
)

PAIRED: tuple[PairedMethod, ...] = ("tango", "newcombe", "newcombe-uncorrected", "wald", "agresti-min")
UNPAIRED: tuple[UnpairedMethod, ...] = ("newcombe", "miettinen-nurminen", "mee")


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        ("tango", -0.1240, -0.0054),
        ("newcombe", -0.1186, -0.0046),
        ("newcombe-uncorrected", -0.1174, -0.0059),
        ("wald", -0.1184, -0.0058),
        ("agresti-min", -0.1182, -0.0045),
    ],
)
def test_paired_intervals_are_the_published_ones(method: PairedMethod, low: float, high: float) -> None:
    found = paired_difference(59, 6, 16, 80, method=method)
    assert (round(found.value, 4), round(found.low, 4), round(found.high, 4)) == (-0.0621, low, high)


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [("newcombe", -0.0381, 0.1926), ("miettinen-nurminen", -0.0326, 0.1933), ("mee", -0.0313, 0.1926)],
)
def test_intervals_of_two_groups_are_the_published_ones(method: UnpairedMethod, low: float, high: float) -> None:
    found = unpaired_difference((5, 56), (0, 29), method=method)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize(("method", "p"), [("exact", 0.052479), ("mid-p", 0.034690), ("asymptotic", 0.03300626)])
def test_mcnemar_is_the_published_one(method: McNemarMethod, p: float) -> None:
    digits = 8 if method == "asymptotic" else 6
    assert round(mcnemar_p(6, 16, method=method), digits) == p
    assert mcnemar_p(16, 6, method=method) == pytest.approx(p, abs=1e-6)


def test_exact_mcnemar_is_the_binomial_test() -> None:
    for first, second in product(range(6), range(1, 9)):
        expected = stats.binomtest(first, first + second, 0.5).pvalue
        assert mcnemar_p(first, second, method="exact") == pytest.approx(expected, abs=1e-12)
    assert mcnemar_p(0, 0) == 1


@pytest.mark.parametrize("method", PAIRED)
def test_swapping_the_two_turns_a_paired_interval_round(method: PairedMethod) -> None:
    for first, second in [(6, 16), (0, 5), (0, 0), (3, 3)]:
        one = paired_difference(40, first, second, 30, method=method)
        other = paired_difference(40, second, first, 30, method=method)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
        assert -1 <= one.low <= one.value <= one.high <= 1


@pytest.mark.parametrize("method", UNPAIRED)
def test_swapping_the_groups_turns_the_interval_round(method: UnpairedMethod) -> None:
    for first, second in [((5, 56), (0, 29)), ((0, 10), (0, 12)), ((10, 10), (3, 12)), ((7, 7), (0, 9))]:
        one = unpaired_difference(first, second, method=method)
        other = unpaired_difference(second, first, method=method)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
        assert -1 <= one.low <= one.value <= one.high <= 1


def test_score_intervals_of_rare_events_cover_what_they_promise() -> None:
    rng, covered, runs = np.random.default_rng(8), np.zeros(2), 1500
    for cells in rng.multinomial(200, [0.01, 0.04, 0.02, 0.93], size=runs).tolist():
        found = paired_difference(*cells)
        covered[0] += found.low <= 0.02 <= found.high
    for x, y in zip(rng.binomial(150, 0.04, runs).tolist(), rng.binomial(100, 0.02, runs).tolist(), strict=True):
        found = unpaired_difference((x, 150), (y, 100))
        covered[1] += found.low <= 0.02 <= found.high
    assert covered / runs == pytest.approx(0.95, abs=0.05 / 2 + 2 * math.sqrt(0.0475 / runs))


def test_counts_that_make_no_sense_are_refused() -> None:
    for call in (
        lambda: paired_difference(0, 0, 0, 0),
        lambda: paired_difference(1, -1, 0, 0),
        lambda: unpaired_difference((5, 4), (0, 1)),
        lambda: unpaired_difference((0, 0), (0, 1)),
        lambda: mcnemar_p(-1, 2),
        lambda: paired_difference(1, 1, 1, 1, level=1.0),
    ):
        with pytest.raises(MetricError, match="expected"):
            call()
