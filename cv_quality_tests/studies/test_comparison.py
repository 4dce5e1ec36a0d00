"""Differences of two builds: plain sums over all dyads, simulated truth, and what is too little data."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.paired_builds import ScoreModel, SimulatedScores
from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.trials import CrossTrials, ListedTrials
from cv_quality.metrics.verification import ScoreTail, eer, fnmr_at_fmr, rates_at
from cv_quality.studies.comparison import (
    compare_eer,
    compare_fmr,
    compare_fnmr_at_fmr,
    compare_pair_rates,
    compare_quantiles,
    compare_rates,
)
from cv_quality.studies.influence import threshold_slope

Floats = NDArray[np.float64]
FMR = 1e-2
MODEL = ScoreModel(subjects=60, attempts=6, fnmr=0.1, fmr=FMR)


def plain_variance(sides: tuple[SimulatedScores, SimulatedScores], slopes: tuple[float, float]) -> float:
    """The sandwich by its definition: influences of subjects and of every dyad written out, thresholds by sorting."""
    n = sides[0].n_subjects
    subjects, dyads = [], []
    for side, slope in zip(sides, slopes, strict=True):
        allowed = int(FMR * len(side.impostor))
        threshold = np.sort(side.impostor)[::-1][allowed - 1]
        matched, missed = side.impostor >= threshold, side.genuine <= np.sort(side.impostor)[::-1][allowed]
        w = np.zeros((n, n))
        w[side.one, side.other] = slope * (matched - matched.mean()) / len(side.impostor)
        own = np.bincount(side.people, missed - missed.mean(), n) / len(side.genuine)
        subjects.append(own + (w + w.T).sum(1))
        dyads.append(w)
    c, between = subjects[1] - subjects[0], dyads[1] - dyads[0]
    return float(n / (n - 1) * (c @ c) - np.square(between).sum())


def slope_of(scores: ClusteredScores) -> float:
    rates = fnmr_at_fmr(scores.genuine, ScoreTail(scores.impostor[::-1], scores.trials.n), fmr=FMR).rates
    assert rates is not None
    return threshold_slope(scores, rates)


def test_variance_is_the_sandwich_over_every_dyad() -> None:
    sides = MODEL.draw(np.random.default_rng(5))
    reference, candidate = (side.clustered() for side in sides)
    found = compare_fnmr_at_fmr(reference, candidate, fmr=FMR)
    assert found.standard_error is not None
    expected = plain_variance(sides, (slope_of(reference), slope_of(candidate)))
    assert found.standard_error**2 == pytest.approx(expected, rel=1e-9)
    assert found.method is not None
    assert found.method.startswith("paired dyadic sandwich, thresholds estimated, 95 %")


def test_builds_without_a_common_subject_add_their_variances() -> None:
    one, other = (MODEL.draw(np.random.default_rng(seed))[0] for seed in (1, 2))
    n = one.n_subjects

    def shifted(side: SimulatedScores, by: int) -> ClusteredScores:
        frames = np.zeros(2 * n, np.int64)
        frames[by : by + n] = 1
        tail = side.one + by, side.other + by, side.impostor
        return ClusteredScores.of(side.genuine, side.people + by, tail, CrossTrials.all_pairs(frames))

    apart = compare_fnmr_at_fmr(shifted(one, 0), shifted(other, n), fmr=FMR)
    paired = compare_fnmr_at_fmr(one.clustered(), other.clustered(), fmr=FMR)
    assert (apart.n_shared, apart.n_subjects, paired.n_shared) == (0, 2 * n, n)
    assert apart.value == pytest.approx(paired.value)
    assert apart.standard_error == pytest.approx(paired.standard_error, rel=0.15)


def test_a_build_against_itself_does_not_differ_and_is_no_proof() -> None:
    scores = MODEL.draw(np.random.default_rng(0))[0].clustered()
    found = compare_fnmr_at_fmr(scores, scores, fmr=FMR)
    assert found.value == 0
    assert found.standard_error is not None
    assert found.standard_error > 0.01
    assert found.method is not None
    assert "0 subjects differ" in found.method


def test_standard_errors_are_those_of_repeated_studies() -> None:
    values, errors = [], []
    for seed in range(150):
        reference, candidate = (side.clustered() for side in MODEL.draw(np.random.default_rng([3, seed])))
        found = compare_fnmr_at_fmr(reference, candidate, fmr=FMR)
        values.append(found.value)
        errors.append(found.standard_error)
    ratio = math.sqrt(float(np.square(np.array(errors, float)).mean())) / float(np.std(np.array(values, float)))
    assert 0.85 < ratio < 1.25


def test_equal_error_rates_and_false_matches_differ_as_much_as_over_repeated_studies() -> None:
    model = replace(MODEL, difference=0.03)
    found: dict[str, list[tuple[float, float]]] = {"eer": [], "fmr": []}
    for seed in range(150):
        sides = [side.clustered(listed=10**6) for side in model.draw(np.random.default_rng([4, seed]))]
        pairs = [(side.genuine, side.impostor) for side in sides]
        crossing = [eer(*pair) for pair in pairs]
        at_eer = [point.rates for point in crossing]
        fixed = [rates_at(*pair, threshold=2.3) for pair in pairs]
        differences = compare_eer(*sides, rates=(at_eer[0], at_eer[1])), compare_fmr(*sides, rates=(fixed[0], fixed[1]))
        for difference in differences:
            assert difference.value is not None
            assert difference.standard_error is not None
            found[difference.metric].append((difference.value, difference.standard_error))
    for pairs_found in found.values():
        values, errors = np.array(pairs_found).T
        assert 0.85 < math.sqrt(float(np.square(errors).mean())) / float(values.std()) < 1.25


def test_listed_false_matches_are_compared_as_those_at_a_threshold() -> None:
    sides = MODEL.draw(np.random.default_rng(1))
    rates = [rates_at(side.genuine, side.impostor, threshold=2.0) for side in sides]
    expected = compare_fmr(sides[0].clustered(), sides[1].clustered(), rates=(rates[0], rates[1]))
    errors = [(side.one[side.impostor >= 2.0], side.other[side.impostor >= 2.0]) for side in sides]
    trials = ListedTrials.of(sides[0].one, sides[0].other)
    found = compare_pair_rates("fmr", (errors[0], trials), (errors[1], trials))
    assert replace(found, n_subjects=0) == replace(expected, n_subjects=0)
    none = compare_pair_rates("far", (errors[0], trials), (([], []), ListedTrials.of([], [], n_subjects=60)))
    assert (none.value, none.candidate, none.reason) == (None, None, "no trial")


def test_too_strict_an_fmr_has_no_difference_and_a_reason() -> None:
    reference, candidate = (side.clustered() for side in MODEL.draw(np.random.default_rng(0)))
    found = compare_fnmr_at_fmr(reference, candidate, fmr=1e-6)
    assert found.value is None
    assert found.reason == (
        "reference: needs >= 1,000,000 trials, has 1,770; candidate: needs >= 1,000,000 trials, has 1,770"
    )
    strict = compare_fnmr_at_fmr(reference, candidate, fmr=1e-3)
    assert strict.reason is not None
    assert strict.reason.startswith("insufficient")


def test_builds_under_other_numberings_are_refused() -> None:
    one = MODEL.draw(np.random.default_rng(0))[0].clustered()
    other = replace(MODEL, subjects=61).draw(np.random.default_rng(0))[0].clustered()
    with pytest.raises(MetricError, match="one numbering of subjects, found 60 and 61 codes"):
        compare_fnmr_at_fmr(one, other, fmr=FMR)


def test_rates_of_the_same_attempts_are_surer_than_of_others() -> None:
    rng = np.random.default_rng(0)
    trials, own = np.full(300, 10), rng.beta(1, 20, 300)
    errors = rng.binomial(trials, own)
    more = np.minimum(errors + rng.binomial(1, 0.1, 300), 10)
    found = compare_rates("frr", (errors, trials), (more, trials))
    shuffled = compare_rates("frr", (errors, trials), (rng.permutation(more), trials))
    assert found.value == pytest.approx(shuffled.value)
    assert found.value == pytest.approx((more.sum() - errors.sum()) / trials.sum())
    assert found.standard_error == pytest.approx(np.std((more - errors) / 10, ddof=1) / math.sqrt(300))
    assert found.standard_error is not None
    assert shuffled.standard_error is not None
    assert found.standard_error < 0.6 * shuffled.standard_error


def test_rates_of_two_arms_have_the_standard_error_of_both() -> None:
    rng = np.random.default_rng(4)
    own, trials = rng.beta(1, 19, 400), np.full(400, 10)
    errors, arm = rng.binomial(trials, own), np.arange(400) < 200
    first, second = np.where(arm, trials, 0), np.where(arm, 0, trials)
    found = compare_rates("frr", (errors * arm, first), (errors * ~arm, second))
    parts = [np.var(errors[side] / 10, ddof=1) / 200 for side in (arm, ~arm)]
    assert found.standard_error == pytest.approx(math.sqrt(sum(parts)), rel=0.005)
    assert found.n_shared == 0
    assert found.method is not None
    assert found.method.startswith("paired by subject")


def test_no_error_in_either_build_still_allows_a_difference() -> None:
    trials = np.full(40, 5)
    found = compare_rates("fta", (np.zeros(40, int), trials), (np.zeros(40, int), trials))
    assert found.value == 0
    assert found.high is not None
    assert 0.01 < found.high < 0.06
    few = compare_rates("fta", ([0, 0], [5, 5]), ([0, 0], [5, 5]))
    assert few.reason == "insufficient: 2 subjects, 10 needed"
    none = compare_rates("fta", ([0, 0], [0, 0]), ([0, 0], [5, 5]))
    assert (none.value, none.reason) == (None, "no trial")


def test_quantiles_of_latency_are_those_of_repeated_studies() -> None:
    def draw(rng: np.random.Generator) -> tuple[tuple[Floats, NDArray[np.int64]], tuple[Floats, NDArray[np.int64]]]:
        codes = np.repeat(np.arange(60), 20)
        own = rng.normal(0, 0.2, 60)[codes]
        one = np.exp(own + rng.normal(0, 0.3, len(codes)))
        return (100 * one, codes), (100 * one * np.exp(rng.normal(0, 0.1, len(codes))), codes)

    found = []
    for seed in range(200):
        reference, candidate = draw(np.random.default_rng(seed))
        found.append(compare_quantiles("latency", reference, candidate, quantile=0.95))
    assert found[0].reference == pytest.approx(np.percentile(reference[0], 95), rel=0.2)
    values = np.array([item.value for item in found], float)
    errors = np.array([item.standard_error for item in found], float)
    assert 0.8 < math.sqrt(float(np.square(errors).mean())) / float(values.std()) < 1.3
    with pytest.raises(MetricError, match="finite values"):
        compare_quantiles("latency", ([math.nan], [0]), ([1.0], [0]), quantile=0.5)


def test_listed_trials_do_as_complete_sets() -> None:
    sides = MODEL.draw(np.random.default_rng(7))
    listed = [
        ClusteredScores.of(
            side.genuine, side.people, (side.one, side.other, side.impostor), ListedTrials.of(side.one, side.other)
        )
        for side in sides
    ]
    found = compare_fnmr_at_fmr(listed[0], listed[1], fmr=FMR)
    assert found == compare_fnmr_at_fmr(sides[0].clustered(), sides[1].clustered(), fmr=FMR)
