"""Intervals against published bounds, explicit double sums, the spread of repeated studies, and real scores."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from cv_quality.metrics.dyadic import pair_rate, pair_rate_upper, pair_variance
from cv_quality.metrics.equal_error import eer_interval
from cv_quality.metrics.fixed_fmr import fnmr_at_fmr_interval
from cv_quality.metrics.rates import binomial_rate, clustered_rate
from cv_quality.metrics.trials import CrossTrials
from cv_quality.metrics.verification import eer

Shared = Callable[[str], Path]
Floats = NDArray[np.float64]
BSSR1 = {"face-C": 0.0445, "face-G": 0.0580, "finger-left": 0.0851, "finger-right": 0.0504}
"""The published numbers, which take the mean of both rates where they are nearest."""


def test_the_worked_example_of_the_biometrics_protection_profile() -> None:
    """5 failures of 174, an interval of 80 % with z = 1.2816: p + z sqrt(p (1 - p) / n) = .0450."""
    assert special.ndtri(0.9) == pytest.approx(1.2816, abs=5e-5)
    rate = binomial_rate(5, 174, level=0.8, method="wald")
    assert rate.high is not None
    assert round(rate.high, 4) == 0.0450
    assert rate.high == pytest.approx(5 / 174 + 1.2816 * math.sqrt(5 / 174 * 169 / 174 / 174), abs=1e-6)
    exact = binomial_rate(5, 174, level=0.8)
    assert exact.high == pytest.approx(stats.beta.ppf(0.9, 6, 169), abs=1e-12)
    assert exact.high is not None
    assert exact.high > rate.high


@pytest.mark.parametrize(("trials", "is_enough"), [(30_000, True), (29_890, False)])
def test_rule_of_three_at_one_in_ten_thousand_needs_thirty_thousand_trials(trials: int, is_enough: bool) -> None:
    high = binomial_rate(0, trials, side="upper").high
    assert high is not None
    assert (high <= 1e-4) is is_enough


def test_sandwich_is_the_double_sum_over_comparisons_that_share_a_subject() -> None:
    rng, n = np.random.default_rng(6), 30
    i, j = np.triu_indices(n, 1)
    own = rng.lognormal(0, 0.8, n)
    y = rng.random(len(i)) < np.minimum(0.1 * own[i] * own[j], 1)
    found = pair_variance((i[y], j[y]), trials=CrossTrials.all_pairs(np.ones(n, np.int64)))
    assert found is not None
    r = y - y.mean()
    share = (i[:, None] == i) | (i[:, None] == j) | (j[:, None] == i) | (j[:, None] == j)
    stars = r @ share @ r + r @ r
    corrected = stars * n * (n - 1) / (n - 2) ** 2 - r @ r
    assert found.sandwich == pytest.approx(corrected / len(i) ** 2, rel=1e-9)


def test_design_effect_is_about_that_of_a_subject_propensity() -> None:
    """deff = 1 + 2 c^2 p (n - 2), c the coefficient of variation of the subjects' own rates."""
    rng, n, p, c = np.random.default_rng(7), 400, 0.002, 1.0
    i, j = np.triu_indices(n, 1)
    trials, found = CrossTrials.all_pairs(np.ones(n, np.int64)), []
    for _ in range(60):
        own = rng.gamma(1 / c**2, c**2, n)
        y = rng.random(len(i)) < p * own[i] * own[j]
        variance = pair_variance((i[y], j[y]), trials=trials)
        assert variance is not None
        found.append(variance.sandwich)
    expected = (1 + 2 * c**2 * p * (n - 2)) * p / trials.n
    assert np.mean(found) == pytest.approx(expected, rel=0.2)


def gaussian_study(rng: np.random.Generator, subjects: int) -> tuple[Floats, NDArray[np.int64], Floats]:
    wolf, goat = rng.normal(size=(2, subjects))
    one, other = np.triu_indices(subjects, 1)
    impostor = 0.25 * (wolf[one] + wolf[other]) + rng.normal(size=len(one))
    people = np.repeat(np.arange(subjects), 4)
    return 3.9 + 0.5 * goat[people] + rng.normal(size=len(people)), people, impostor


def test_the_width_at_a_fixed_fmr_is_the_spread_of_repeated_studies() -> None:
    rng, subjects = np.random.default_rng(8), 120
    one, other = np.triu_indices(subjects, 1)
    trials = CrossTrials.all_pairs(np.ones(subjects, np.int64))
    values, widths = [], []
    for _ in range(250):
        genuine, people, impostor = gaussian_study(rng, subjects)
        tail = one, other, impostor
        found = fnmr_at_fmr_interval(genuine, people, tail, trials, fmr=0.005)
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        values.append(special.logit(found.value))
        widths.append((special.logit(found.high) - special.logit(found.low)) / (2 * 1.98))
    assert np.mean(widths) == pytest.approx(np.std(values), rel=0.12)


def test_upper_bound_without_errors_agrees_with_published_numbers_of_subjects() -> None:
    """2,449 subjects compared all with all without an error bound the FMR by one in a million."""
    nothing: tuple[list[int], list[int]] = ([], [])
    for subjects, holds in ((2_600, True), (2_400, False)):
        trials = CrossTrials.all_pairs(np.ones(subjects, np.int64))
        assert (pair_rate_upper(nothing, trials=trials) <= 1e-6) is holds


def bssr1(folder: Path, name: str) -> Floats:
    """Rows are enrolments, columns probes, in the same order of people."""
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.reader(file))
    return np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])


@pytest.mark.parametrize("name", sorted(BSSR1))
def test_intervals_of_real_scores_hold_the_published_equal_error_rate(shared_data: Shared, name: str) -> None:
    scores = bssr1(shared_data("scores_nist_bssr1_set1"), name)
    n = len(scores)
    one, other = np.divmod(np.arange(n * n), n)
    apart = one != other
    found = eer_interval(
        np.diagonal(scores),
        scores.ravel()[apart],
        genuine_subjects=np.arange(n),
        impostor_subjects=(one[apart], other[apart]),
        trials=CrossTrials.enrolled(np.ones(n, np.int64), np.ones(n, np.int64)),
    )
    assert found.value == eer(np.diagonal(scores), scores.ravel()[apart]).value
    assert found.low is not None
    assert found.high is not None
    assert found.low < BSSR1[name] < found.high < 2 * BSSR1[name]


def test_false_matches_of_real_fingers_are_less_certain_than_independent(shared_data: Shared) -> None:
    scores = bssr1(shared_data("scores_nist_bssr1_set1"), "finger-right")
    n = len(scores)
    np.fill_diagonal(scores, -np.inf)
    one, other = np.nonzero(scores >= np.sort(scores.ravel())[-2_000])
    trials = CrossTrials.enrolled(np.ones(n, np.int64), np.ones(n, np.int64))
    rate, alone = pair_rate((one, other), trials=trials), binomial_rate(len(one), trials.n)
    assert rate.value == alone.value
    assert rate.n_effective is not None
    assert rate.n_effective < trials.n / 3
    assert None not in (rate.low, rate.high, alone.low, alone.high)
    assert rate.high - rate.low > 1.5 * (alone.high - alone.low)  # type: ignore[operator]


def test_the_interval_of_single_attempts_is_the_exact_binomial_one() -> None:
    rate = clustered_rate(np.repeat([1, 0], [300, 9_700]), np.ones(10_000))
    exact = stats.binomtest(300, 10_000).proportion_ci(method="exact")
    assert (rate.low, rate.high) == pytest.approx((exact.low, exact.high), rel=1e-3)
