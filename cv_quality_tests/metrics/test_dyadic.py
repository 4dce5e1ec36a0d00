"""Intervals of pair rates: the sandwich against sums over every pair of subjects, its invariances, and its edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from cv_quality.errors import MetricError
from cv_quality.metrics.dyadic import ASSUMED_CV, Errors, pair_rate, pair_rate_upper, pair_variance, rate_of_subjects
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.trials import CrossTrials, ListedTrials

Matrix = NDArray[np.int64]
NONE: Errors = ([], [])


def drawn(seed: int, *, subjects: int, rate: float, spread: float = 0.7) -> tuple[Matrix, Matrix, CrossTrials]:
    """Errors and comparisons of every ordered pair of subjects, both symmetric, of frames compared all with all."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(1, 4, subjects)
    own = rng.lognormal(0, spread, subjects)
    m = np.triu(np.outer(frames, frames), 1)
    y = rng.binomial(m, np.clip(rate * np.outer(own, own), 0, 1))
    return y + y.T, m + m.T, CrossTrials.all_pairs(frames)


def listed(y: Matrix) -> tuple[Matrix, Matrix]:
    """One entry per error."""
    i, j = np.nonzero(np.triu(y, 1))
    counts = y[i, j]
    return np.repeat(i, counts), np.repeat(j, counts)


def bounds(rate: Rate) -> tuple[float, float]:
    assert rate.low is not None
    assert rate.high is not None
    return rate.low, rate.high


@given(seed=st.integers(0, 9_999), subjects=st.integers(4, 25))
def test_variance_equals_the_sums_over_every_pair_of_subjects(seed: int, subjects: int) -> None:
    y, m, trials = drawn(seed, subjects=subjects, rate=0.05)
    found = pair_variance(listed(y), trials=trials)
    n, k = m.sum() / 2, y.sum() / 2
    if k in (0, n):
        assert found is None
        return
    assert found is not None
    r = y - k / n * m
    stars = (r.sum(1) * n / (n - m.sum(1))) ** 2 * (subjects - 1) / subjects
    within = (r**2).sum() / 2
    floor, squares = k / n * (1 - k / n) / n, (m**2).sum() / 2
    shared = k / n * (np.square(m.sum(1)).sum() - 2 * squares) / n
    least = floor * (1 + 0.1 * (squares / n - 1) + shared) if np.count_nonzero(y) / 2 < 10 else 0.0
    assert found.sandwich == pytest.approx((stars.sum() - within) / n**2, rel=1e-9, abs=1e-15)
    assert found.of_dyads == pytest.approx(max(within / n**2, floor), rel=1e-9)
    assert found.least == pytest.approx(least, rel=1e-9)
    excess = max(found.sandwich - found.of_dyads, 0)
    dyad_df = max(1, k**2 / (y**2).sum() * 2 - 1)
    e, d = r.sum(1), y.sum(1)
    fourth = (e**4).sum() - (e**2).sum() ** 2 / subjects
    subject_df = max(
        1, min(2 * (e**2).sum() ** 2 / fourth if fourth > 0 else math.inf, d.sum() ** 2 / (d**2).sum() - 1)
    )
    for by in (0, 5):
        dyads = (found.of_dyads - floor) * (1 + by * math.sqrt(2 / dyad_df))
        raised = max(floor + dyads + excess * (1 + by * math.sqrt(2 / subject_df)), least)
        assert found.raised(by) == pytest.approx(raised, rel=1e-9)
    effective = n * floor / raised
    high = bounds(pair_rate(listed(y), trials=trials))[1]
    assert high == pytest.approx(stats.beta.ppf(0.975, k / n * effective + 1, (1 - k / n) * effective), rel=1e-6)


def test_families_take_the_place_of_subjects_in_the_sandwich() -> None:
    rng, n = np.random.default_rng(6), 30
    i, j = np.triu_indices(n, 1)
    family = np.arange(n) // 3
    y = rng.random(len(i)) < np.where(family[i] == family[j], 0.4, 0.05)
    trials = CrossTrials.all_pairs(np.ones(n, np.int64)).clustered(family)
    found = pair_variance((family[i[y]], family[j[y]]), trials=trials)
    assert found is not None
    r, stars = y - y.mean(), 0.0
    for one in range(10):
        has = (family[i] == one) | (family[j] == one)
        stars += (r[has].sum() * len(i) / (len(i) - has.sum())) ** 2 * 9 / 10
    own, dyad = family[i] == family[j], np.minimum(family[i], family[j]) * 10 + np.maximum(family[i], family[j])
    within, between = (np.square(np.bincount(dyad[kept], weights=r[kept])).sum() for kept in (own | ~own, ~own))
    assert found.sandwich == pytest.approx((stars - between) / len(i) ** 2, rel=1e-9)
    assert found.of_dyads == pytest.approx(max(within / len(i) ** 2, y.mean() * (1 - y.mean()) / len(i)), rel=1e-9)
    alone = pair_variance((i[y], j[y]), trials=CrossTrials.all_pairs(np.ones(n, np.int64)))
    assert alone is not None
    assert found.value > 1.3 * alone.value


def test_errors_by_subject_alone_give_bounds_not_narrower_than_by_dyad() -> None:
    for seed in range(20):
        y, m, trials = drawn(seed, subjects=60, rate=0.05)
        by_dyad = pair_rate(listed(y), trials=trials)
        by_subject = rate_of_subjects(y.sum(1), trials=trials)
        assert (by_subject.value, by_subject.numerator) == (by_dyad.value, by_dyad.numerator)
        (low, high), (wide_low, wide_high) = bounds(by_dyad), bounds(by_subject)
        assert wide_low <= low * (1 + 1e-9)
        assert high <= wide_high * (1 + 1e-9)
        assert wide_high - wide_low < 1.5 * (high - low)
        assert by_subject.method is not None
        assert by_subject.method.endswith("errors known by subject only")
    with pytest.raises(MetricError, match="at most as many errors"):
        rate_of_subjects(m.sum(1) + 1, trials=trials)


def test_few_errors_by_subject_are_bounded_as_those_of_dyads() -> None:
    everyone = CrossTrials.all_pairs([10] * 50)
    one = rate_of_subjects([1, 1, *[0] * 48], trials=everyone)
    by_dyad = pair_rate(([0], [1]), trials=everyone)
    assert bounds(one) == pytest.approx(bounds(by_dyad), rel=1e-3)
    assert one.high is not None
    assert one.high > 1.5 * stats.beta.ppf(0.975, 2, everyone.n - 1)


def test_bounds_widen_with_the_level_and_narrow_with_more_subjects() -> None:
    widths = []
    for subjects in (40, 80, 160, 320):
        y, _, trials = drawn(3, subjects=subjects, rate=0.02)
        levels = [bounds(pair_rate(listed(y), trials=trials, level=level)) for level in (0.8, 0.95, 0.99)]
        assert [low for low, _ in levels] == sorted((low for low, _ in levels), reverse=True)
        assert [high for _, high in levels] == sorted(high for _, high in levels)
        widths.append(math.log(levels[1][1] / levels[1][0]))
    assert widths == sorted(widths, reverse=True)


def test_variance_is_that_of_leaving_out_one_subject_less_dyads_twice() -> None:
    y, m, trials = drawn(5, subjects=60, rate=0.02)
    found = pair_variance(listed(y), trials=trials)
    assert found is not None
    left_out = np.array([np.delete(np.delete(y, s, 0), s, 1).sum() for s in range(60)])
    left_out = left_out / [np.delete(np.delete(m, s, 0), s, 1).sum() for s in range(60)]
    r = y - y.sum() / m.sum() * m
    jackknife = 59 / 60 * np.square(left_out - y.sum() / m.sum()).sum()
    assert found.sandwich == pytest.approx(jackknife - (r**2).sum() / 2 / (m.sum() / 2) ** 2, rel=1e-9)


@given(seed=st.integers(0, 9_999), subjects=st.integers(5, 25))
def test_bounds_hold_the_rate_and_ignore_order_labels_and_roles(seed: int, subjects: int) -> None:
    y, m, trials = drawn(seed, subjects=subjects, rate=0.05)
    i, j = listed(y)
    rate = pair_rate((i, j), trials=trials)
    low, high = bounds(rate)
    assert rate.value is not None
    assert 0 <= low <= rate.value <= high <= 1
    assert rate.n_effective is not None
    assert rate.n_effective <= rate.denominator * (1 + 1e-12)
    label = np.random.default_rng(seed).permutation(subjects)
    order = np.random.default_rng(seed).permutation(len(i))
    pairs = np.transpose(np.nonzero(np.triu(m, 1))).repeat(m[np.nonzero(np.triu(m, 1))], axis=0)
    renamed = ListedTrials.of(label[pairs[:, 1]], label[pairs[:, 0]], n_subjects=subjects)
    again = pair_rate((label[j[order]], label[i[order]]), trials=renamed)
    assert bounds(again) == pytest.approx((low, high), rel=1e-9)


def test_independent_comparisons_get_about_the_exact_binomial_interval() -> None:
    rng = np.random.default_rng(4)
    i, j = np.triu_indices(2_000, 1)
    hits = rng.choice(len(i), 400, replace=False)
    rate = pair_rate((i[hits], j[hits]), trials=CrossTrials.all_pairs(np.ones(2_000, np.int64)))
    exact = stats.binomtest(400, len(i)).proportion_ci(method="exact")
    low, high = bounds(rate)
    assert high - low == pytest.approx(exact.high - exact.low, rel=0.08)
    assert rate.value == pytest.approx(400 / len(i))


def test_errors_of_few_subjects_widen_the_interval_and_lower_n_effective() -> None:
    trials = CrossTrials.all_pairs(np.ones(300, np.int64))
    wolf = pair_rate((np.zeros(40, np.int64), np.arange(1, 41)), trials=trials)
    spread = pair_rate((np.arange(0, 80, 2), np.arange(1, 80, 2)), trials=trials)
    assert wolf.value == spread.value
    assert bounds(wolf)[1] > 2 * bounds(spread)[1]
    assert wolf.n_effective is not None
    assert spread.n_effective is not None
    assert wolf.n_effective < spread.n_effective / 10
    assert spread.n_effective == pytest.approx(spread.denominator)


def test_repeated_errors_of_the_same_two_subjects_count_about_once() -> None:
    frames = np.full(100, 5)
    pairs = np.arange(0, 60, 2)
    alike = pair_rate((np.repeat(pairs, 25), np.repeat(pairs + 1, 25)), trials=CrossTrials.all_pairs(frames))
    single = pair_rate((pairs, pairs + 1), trials=CrossTrials.all_pairs(np.ones(100, np.int64)))
    assert alike.value == single.value
    assert bounds(alike) == pytest.approx(bounds(single), rel=0.2)


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_enrolled_trials_and_the_same_trials_listed_give_one_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    references, probes = rng.integers(0, 3, (2, 12))
    i, j = np.repeat(np.arange(12), references), np.repeat(np.arange(12), probes)
    one, other = (grid.ravel() for grid in np.meshgrid(i, j))
    one, other = one[one != other], other[one != other]
    hits = rng.random(len(one)) < 0.2
    cross = pair_rate((one[hits], other[hits]), trials=CrossTrials.enrolled(references, probes))
    pairs = pair_rate((one[hits], other[hits]), trials=ListedTrials.of(one, other, n_subjects=12))
    assert (cross.value, cross.method, cross.reason) == (pairs.value, pairs.method, pairs.reason)
    if cross.low is not None:
        assert bounds(cross) == pytest.approx(bounds(pairs), rel=1e-9)


def test_no_error_gives_an_upper_bound_of_three_over_the_trials_and_says_why() -> None:
    trials = CrossTrials.all_pairs(np.ones(2_449, np.int64))
    assert pair_rate_upper(NONE, trials=trials) == pytest.approx(1e-6, rel=0.01)
    rate = pair_rate(NONE, trials=trials)
    assert (rate.value, rate.low) == (0.0, 0.0)
    assert rate.high == pytest.approx(-math.log(0.025) / trials.n, rel=0.01)
    assert rate.method is not None
    assert f"CV {ASSUMED_CV:g} of the subjects' rates" in rate.method
    assert rate.reason == "insufficient: 0 errors expected, 5 needed"
    few = pair_rate(NONE, trials=CrossTrials.all_pairs(np.ones(20, np.int64)))
    assert few.high is not None
    assert few.high > 1.5 * -math.log(0.025) / 190


def test_only_errors_mirror_no_error() -> None:
    i, j = np.triu_indices(15, 1)
    trials = CrossTrials.all_pairs(np.ones(15, np.int64))
    everything, nothing = bounds(pair_rate((i, j), trials=trials)), bounds(pair_rate(NONE, trials=trials))
    assert everything == (1 - nothing[1], 1.0)


@pytest.mark.parametrize(("k", "millions"), [(0, 3.00), (1, 4.74), (2, 6.30), (10, 16.96), (30, 40.7)])
def test_the_bound_is_one_in_a_million_at_the_published_numbers_of_pairs(k: int, millions: float) -> None:
    subjects = round(math.sqrt(2 * millions * 1e6))
    apart = np.arange(0, 2 * k, 2)
    bound = pair_rate_upper((apart, apart + 1), trials=CrossTrials.all_pairs(np.ones(subjects, np.int64)))
    assert bound == pytest.approx(1e-6, rel=0.01)


def test_one_sided_bound_rises_with_the_level_and_lies_below_the_two_sided() -> None:
    y, _, trials = drawn(11, subjects=100, rate=0.01)
    errors = listed(y)
    highest = bounds(pair_rate(errors, trials=trials))[1]
    ninety, more = (pair_rate_upper(errors, trials=trials, level=level) for level in (0.9, 0.95))
    assert errors[0].size / trials.n < ninety < more < highest


def test_coverage_holds_where_subjects_differ_unlike_that_of_independent_pairs() -> None:
    rng, n, p = np.random.default_rng(8), 120, 0.02
    i, j = np.triu_indices(n, 1)
    trials = CrossTrials.all_pairs(np.ones(n, np.int64))
    truth = integrate.quad(lambda u: p * u / (1 + p * u) * math.exp(-u), 0, math.inf)[0]
    covered, exact = 0, 0
    for _ in range(300):
        own = rng.gamma(1, 1, n)
        hits = rng.random(len(i)) < -np.expm1(-p * own[i] * own[j])
        low, high = bounds(pair_rate((i[hits], j[hits]), trials=trials))
        covered += low <= truth <= high
        interval = stats.binomtest(int(hits.sum()), trials.n).proportion_ci(method="exact")
        exact += interval.low <= truth <= interval.high
    assert covered / 300 >= 0.9
    assert exact / 300 < 0.75


def test_a_star_around_one_subject_has_a_rate_but_no_bound() -> None:
    star = ListedTrials.of(np.zeros(30, np.int64), np.arange(1, 31))
    rate = pair_rate(([0, 0], [1, 2]), trials=star)
    assert rate.value == pytest.approx(2 / 30)
    assert (rate.low, rate.high, rate.n_effective) == (None, None, None)
    assert rate.reason == "insufficient: one subject takes part in every comparison"
    with pytest.raises(MetricError, match="subjects that can be left out"):
        pair_rate_upper(([0], [1]), trials=star)


def test_few_subjects_are_insufficient_and_no_comparison_is_no_rate() -> None:
    four = pair_rate(([0], [1]), trials=CrossTrials.all_pairs([9, 9, 9, 9]))
    assert four.reason == "insufficient: comparisons of 4 subjects' weight, 10 needed"
    none = pair_rate(NONE, trials=CrossTrials.all_pairs([3, 0, 0]))
    assert (none.value, none.low, none.reason) == (None, None, "no trial")
    enough = pair_rate(([0], [1]), trials=CrossTrials.all_pairs([1] * 20), expected_errors=9)
    assert enough.reason is None


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (([0, 0], [1, 1]), "found 2 of 1 for subjects 0 and 1"),
        (([0], [0]), "with itself"),
        (([0], [4]), "codes below 4, found 4"),
        (([-1], [1]), "lowest -1"),
        (([0, 1], [1]), "of one shape"),
        (([0.5], [1.0]), "whole numbers"),
    ],
)
def test_errors_that_are_not_of_the_trials_are_refused(errors: Errors, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        pair_rate(errors, trials=CrossTrials.all_pairs([1, 1, 1, 1]))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(MetricError, match="between 0 and 1"):
        pair_rate(NONE, trials=CrossTrials.all_pairs([1, 1]), level=level)
