"""FNMR at a fixed FMR by resampling subjects: replicates against scores repeated by hand, coverage, and the edges."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import bootstrap_kernels as kernels
from cv_quality.metrics.bootstrap import FnmrAtFmrInterval, fnmr_at_fmr_interval, pair_rate_bootstrap
from cv_quality.metrics.dyadic import pair_rate, pair_variance
from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.resampling import subject_weights
from cv_quality.metrics.trials import CrossTrials, ListedTrials
from cv_quality.metrics.verification import fnmr_at_fmr

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Tail = tuple[Codes, Codes, Floats]


def drawn(
    seed: int, *, subjects: int = 60, attempts: int = 4, wolves: float = 0.3, mean: float = 4.0
) -> tuple[Floats, Codes, Tail, CrossTrials]:
    """Gaussian scores of every pair of subjects, and genuine ones, both with subject effects."""
    rng = np.random.default_rng(seed)
    wolf, goat = rng.normal(size=(2, subjects))
    one, other = np.triu_indices(subjects, 1)
    impostor = wolves * (wolf[one] + wolf[other]) + rng.normal(size=len(one))
    people = np.repeat(np.arange(subjects), attempts)
    genuine = mean + 0.5 * goat[people] + rng.normal(size=len(people))
    return genuine, people, (one, other, impostor), CrossTrials.all_pairs(np.ones(subjects, np.int64))


def interval(sample: tuple[Floats, Codes, Tail, CrossTrials], *, fmr: float = 0.01, seed: int = 7) -> FnmrAtFmrInterval:
    return fnmr_at_fmr_interval(*sample, fmr=fmr, seed=seed, replicates=300)


def bounds(found: FnmrAtFmrInterval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def deepest(tail: Tail, keep: int) -> Tail:
    order = np.argsort(-tail[2])[:keep]
    return tail[0][order], tail[1][order], tail[2][order]


@settings(max_examples=60)
@given(seed=st.integers(0, 9_999), fmr=st.sampled_from([0.02, 0.1, 0.3]))
def test_replicate_is_the_strict_answer_on_scores_repeated_by_weights(seed: int, fmr: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = np.triu_indices(8, 1)
    impostor, genuine = rng.integers(0, 9, len(one)) / 2, rng.integers(0, 9, 24) / 2
    people = np.arange(24) % 8
    weights = rng.multinomial(8, [1 / 8] * 8, 1).astype(np.float64)
    repeats = (weights[0][one] * weights[0][other]).astype(int)
    expected = fnmr_at_fmr(np.repeat(genuine, weights[0][people].astype(int)), np.repeat(impostor, repeats), fmr=fmr)
    if expected.rates is None:
        return
    down, up = np.argsort(-impostor, kind="stable"), np.argsort(genuine, kind="stable")
    blocked = kernels.blocked_at(weights, np.array([fmr * repeats.sum()]), one[down], other[down])
    lowest = np.append(impostor[down], -np.inf)[blocked]
    counts = np.searchsorted(genuine[up], lowest, side="right")
    missed = kernels.weight_of_first(weights, people[up], counts)
    assert missed[0] == expected.rates.n_false_non_matches


@pytest.mark.parametrize("fmr", [0.003, 0.01, 0.1])
def test_the_value_and_the_threshold_are_those_of_the_strict_definition(fmr: float) -> None:
    genuine, people, tail, trials = drawn(3)
    expected = fnmr_at_fmr(genuine, tail[2], fmr=fmr).rates
    assert expected is not None
    found = interval((genuine, people, tail, trials), fmr=fmr)
    assert (found.value, found.threshold) == (expected.fnmr, expected.threshold)
    assert (found.numerator, found.denominator) == (expected.n_false_non_matches, expected.n_genuine)
    low, high = bounds(found)
    assert low <= expected.fnmr <= high
    assert found.threshold_low is not None
    assert found.threshold_high is not None
    assert found.threshold_low <= expected.threshold <= found.threshold_high


def test_interval_depends_on_the_seed_and_not_on_the_order_or_the_roles() -> None:
    genuine, people, (one, other, impostor), trials = drawn(4)
    rng = np.random.default_rng(0)
    first, second = rng.permutation(len(genuine)), rng.permutation(len(one))
    shuffled = genuine[first], people[first], (other[second], one[second], impostor[second]), trials
    found = interval((genuine, people, (one, other, impostor), trials))
    assert found == interval(shuffled)
    assert found != interval(shuffled, seed=8)
    assert bounds(found) == pytest.approx(bounds(interval(shuffled, seed=8)), rel=0.15)


def test_tail_cut_at_fifty_times_the_target_gives_the_interval_of_all_scores() -> None:
    genuine, people, tail, trials = drawn(5, subjects=150)
    found = interval((genuine, people, tail, trials), fmr=0.002)
    cut = deepest(tail, math.ceil(50 * 0.002 * trials.n))
    assert interval((genuine, people, cut, trials), fmr=0.002) == found
    listed = ListedTrials.of(tail[0], tail[1])
    again = fnmr_at_fmr_interval(genuine, people, cut, listed, fmr=0.002, seed=7, replicates=300)
    assert again == found


def test_tail_that_most_replicates_pass_has_no_bounds_and_says_its_depth() -> None:
    genuine, people, tail, trials = drawn(6)
    short = deepest(tail, int(0.01 * trials.n) + 3)
    found = interval((genuine, people, short, trials))
    assert found.value == interval((genuine, people, tail, trials)).value
    assert (found.low, found.high, found.threshold_low) == (None, None, None)
    assert found.n_exhausted > 50
    assert found.reason is not None
    assert "list the pairs down to FMR 0.5" in found.reason
    with pytest.raises(MetricError):
        interval((genuine, people, deepest(tail, 5), trials))


def test_few_exhausted_replicates_are_counted_and_leave_the_interval() -> None:
    genuine, people, tail, trials = drawn(6, subjects=100)
    whole = interval((genuine, people, tail, trials))
    cut = next(
        found
        for keep in range(int(0.011 * trials.n), trials.n)
        if (found := interval((genuine, people, deepest(tail, keep), trials))).n_exhausted <= 7
    )
    assert 0 < cut.n_exhausted <= 7
    assert cut.method is not None
    assert f"{cut.n_exhausted} of them taken to end with the tail" in cut.method
    assert bounds(cut) == pytest.approx(bounds(whole), rel=0.03)


def test_coverage_holds_only_with_the_threshold_found_anew() -> None:
    subjects, truth, fmr, wolves = 80, 0.05, 0.01, 0.8
    threshold = 2.3263 * math.sqrt(1 + 2 * wolves**2)
    covered, fixed = 0, 0
    for seed in range(200):
        mean = threshold + 1.6449 * math.sqrt(1.25)
        genuine, people, tail, trials = drawn(seed, subjects=subjects, wolves=wolves, mean=mean)
        found = fnmr_at_fmr_interval(genuine, people, tail, trials, fmr=fmr, seed=seed, replicates=150)
        low, high = bounds(found)
        covered += low <= truth <= high
        assert found.threshold is not None
        missed = np.bincount(people[genuine < found.threshold], minlength=subjects)
        rate = clustered_rate(missed, np.bincount(people))
        assert rate.low is not None
        assert rate.high is not None
        fixed += rate.low <= truth <= rate.high
    assert covered / 200 >= 0.9
    assert fixed / 200 < 0.8


def test_wolves_widen_the_interval() -> None:
    calm, wild = (interval(drawn(9, subjects=200, wolves=wolves)) for wolves in (0.0, 0.8))
    assert calm.threshold_high is not None
    assert calm.threshold_low is not None
    assert wild.threshold_high is not None
    assert wild.threshold_low is not None
    assert wild.threshold_high - wild.threshold_low > 2 * (calm.threshold_high - calm.threshold_low)


def test_data_drawn_from_the_same_seed_does_not_steer_the_weights() -> None:
    rng = np.random.default_rng(1)
    one = rng.integers(0, 2_000, 60_000)
    other = (one + rng.integers(1, 2_000, 60_000)) % 2_000
    _, first = np.unique(np.minimum(one, other) * 2_000 + np.maximum(one, other), return_index=True)
    trials = CrossTrials.all_pairs(np.ones(2_000, np.int64))
    tail = one[first], other[first], rng.random(60_000)[first]
    found = fnmr_at_fmr_interval(rng.random(500), np.arange(500), tail, trials, fmr=1e-3, seed=1)
    assert found.method is not None
    scale = float(found.method.split("ranks scaled by ")[1].split()[0])
    assert scale == pytest.approx(1 / math.sqrt(3), abs=0.05)


def test_no_missed_comparison_has_an_upper_bound_and_is_insufficient() -> None:
    found = interval(drawn(10, mean=20.0))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None
    assert 0.01 < found.high < 0.1
    assert found.reason == "insufficient: 0 false non-matches expected, 5 needed"
    assert found.n_effective is not None


def test_a_target_that_the_trials_cannot_show_is_undefined() -> None:
    found = interval(drawn(11), fmr=1e-4)
    assert (found.value, found.low, found.threshold) == (None, None, None)
    assert found.reason == "needs >= 1e+04 trials, has 1770"


def test_a_single_genuine_subject_has_a_value_without_bounds() -> None:
    genuine, people, tail, trials = drawn(12)
    found = interval((genuine, np.zeros_like(people), tail, trials))
    assert found.value is not None
    assert found.low is None
    assert found.reason == "insufficient: 1 subject with a genuine comparison, 2 needed"


def test_the_corrected_bootstrap_of_a_pair_rate_agrees_with_the_sandwich() -> None:
    _, _, (one, other, impostor), trials = drawn(13, subjects=200, wolves=0.5)
    errors = one[impostor > 2.5], other[impostor > 2.5]
    sandwich = pair_rate(errors, trials=trials)
    resampled = pair_rate_bootstrap(errors, trials=trials, seed=1)
    assert resampled.value == sandwich.value
    assert (resampled.low, resampled.high) == pytest.approx((sandwich.low, sandwich.high), rel=0.1)
    variance = pair_variance(errors, trials=trials)
    assert variance is not None
    p = variance.rate
    assert resampled.n_effective == pytest.approx(p * (1 - p) / variance.sandwich, rel=0.15)
    nothing: tuple[list[int], list[int]] = ([], [])
    assert pair_rate_bootstrap(nothing, trials=trials, seed=1) == pair_rate(nothing, trials=trials)


def test_weights_draw_each_active_subject_once_on_average_and_repeat() -> None:
    active = np.array([1, 2, 5, 6])
    first, again = (np.concatenate(list(subject_weights(active, 8, replicates=3_000, seed=2))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3_000, 8)
    assert set(first.sum(axis=1)) == {4.0}
    assert not first[:, [0, 3, 4, 7]].any()
    np.testing.assert_allclose(first[:, active].mean(axis=0), 1, atol=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genuine": [0.5, math.nan]}, "1 NaN"),
        ({"genuine": ["high", "low"]}, "scores as numbers"),
        ({"people": [0, 9]}, "codes below 3, found 9"),
        ({"people": [0]}, "found 1 for 2"),
        ({"one": [0, 1, 2]}, "subject with itself"),
        ({"scores": [1.0, 2.0]}, "3 for 2"),
        ({"fmr": 0.0}, "above 0 and at most 1"),
        ({"fmr": 1.5}, "above 0 and at most 1"),
        ({"replicates": 10}, "at least 100 replicates"),
        ({"seed": -1}, "seed of at least 0"),
        ({"level": 95.0}, "between 0 and 1"),
    ],
)
def test_input_that_is_no_sample_is_refused(change: dict[str, object], message: str) -> None:
    data: dict[str, object] = {
        "genuine": [0.5, 2.5],
        "people": [0, 1],
        "one": [0, 0, 1],
        "other": [1, 2, 2],
        "scores": [3.0, 2.0, 1.0],
        "fmr": 0.4,
        "replicates": 100,
        "seed": 1,
        "level": 0.95,
    }
    data |= change
    genuine, people, *tail = (data.pop(name) for name in ("genuine", "people", "one", "other", "scores"))
    with pytest.raises(MetricError, match=message):
        fnmr_at_fmr_interval(genuine, people, tuple(tail), CrossTrials.all_pairs([1, 1, 1]), **data)  # type: ignore[arg-type]


def test_every_attribute_is_written_as_a_plain_value() -> None:
    plain = replace(interval(drawn(14)), threshold_high=math.inf).to_dict()
    assert plain["threshold_high"] == "inf"
    assert plain["fmr_target"] == 0.01
