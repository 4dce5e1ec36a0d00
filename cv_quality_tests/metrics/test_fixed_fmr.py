"""FNMR at a fixed FMR and its threshold: bounds against a search by hand, coverage, and the edges."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.dyadic import pair_rate
from cv_quality.metrics.fixed_fmr import FnmrAtFmrInterval, fnmr_at_fmr_interval
from cv_quality.metrics.rates import clustered_rate
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


def interval(sample: tuple[Floats, Codes, Tail, CrossTrials], *, fmr: float = 0.01) -> FnmrAtFmrInterval:
    return fnmr_at_fmr_interval(*sample, fmr=fmr)


def bounds(found: FnmrAtFmrInterval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def deepest(tail: Tail, keep: int) -> Tail:
    order = np.argsort(-tail[2])[:keep]
    return tail[0][order], tail[1][order], tail[2][order]


def by_hand(
    genuine: Floats, people: Codes, tail: Tail, trials: CrossTrials, *, fmr: float, level: float = 0.95
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Bounds of the threshold and of the FNMR, with every distinct impostor score tried, in plain sums."""
    one, other, impostor = tail
    every = np.append(np.concatenate([impostor, genuine]), np.inf)
    allowed = [(-np.inf, True, True, 0.0)]
    for blocked in [*np.unique(impostor), np.inf]:
        matched = impostor >= blocked
        rate = pair_rate((one[matched], other[matched]), trials=trials, level=level)
        assert rate.low is not None
        assert rate.high is not None
        above = every[every > blocked].min() if blocked < np.inf else np.inf
        allowed.append((float(above), rate.low > fmr, rate.high >= fmr, float((genuine <= blocked).mean())))
    for side in (1, 2):  # the bounds rise with the matches, but for a few scores that are left out here
        assume(sum(one[side] != other[side] for one, other in itertools.pairwise(allowed)) <= 1)
    lowest = max(row for row in allowed if row[1])
    highest = max(row for row in allowed if row[2])
    strict = fnmr_at_fmr(genuine, impostor, fmr=fmr).rates
    assert strict is not None
    missed = people[genuine < strict.threshold]
    fixed = clustered_rate(np.bincount(missed, minlength=trials.n_subjects), np.bincount(people), level=level)
    matched = impostor >= strict.threshold
    errors = np.bincount(np.concatenate([one[matched], other[matched]]), minlength=trials.n_subjects)
    e = errors - matched.sum() / trials.n * trials.per_subject()
    x = np.bincount(missed, minlength=trials.n_subjects) - strict.fnmr * np.bincount(people)
    r = matched - matched.mean()
    share = np.array(
        [[bool({a, b} & {c, d}) for c, d in zip(one, other, strict=True)] for a, b in zip(one, other, strict=True)]
    )
    n = trials.n_subjects
    v_fmr = max(((r @ share @ r + r @ r) * n * (n - 1) / (n - 2) ** 2 - r @ r) / trials.n**2, r @ r / trials.n**2)
    rho = float(np.clip(e @ x / trials.n / math.sqrt(v_fmr * (x @ x)), -0.7, 0.9))
    size = len(genuine)

    def scaled(rate: float) -> float:
        return math.log((rate * size + 0.5) / (size * (1 - rate) + 0.5))

    def largest_jump(one: float, other: float) -> float:
        counts = sorted({(genuine <= value).sum() for value in genuine} | {0})
        within = [count for count in counts if min(one, other) <= count / size <= max(one, other)]
        steps = [scaled(b / size) - scaled(a / size) for a, b in itertools.pairwise(within) if b > a + 1]
        return max(steps, default=0.0)

    ends = []
    for sign, by_threshold, own in ((-1, lowest[3], fixed.low), (1, highest[3], fixed.high)):
        assert own is not None
        a, b = (max(sign * (scaled(end) - scaled(strict.fnmr)), 0) for end in (by_threshold, own))
        jump = min(a, largest_jump(by_threshold, strict.fnmr))
        a -= jump
        at = scaled(strict.fnmr) + sign * (jump + math.sqrt(a * a + b * b + 2 * rho * a * b))
        ends.append(((size + 1) / (1 + math.exp(-at)) - 0.5) / size)
    return (lowest[0], highest[0]), (max(ends[0], 0.0), min(ends[1], 1.0))


@settings(max_examples=15)
@given(seed=st.integers(0, 9_999), fmr=st.sampled_from([0.02, 0.05, 0.2]), is_tied=st.booleans())
def test_bounds_are_those_of_a_search_by_hand(seed: int, fmr: float, is_tied: bool) -> None:
    genuine, people, tail, trials = drawn(seed, subjects=25, mean=2.5)
    if is_tied:
        genuine, tail = np.floor(genuine * 3) / 3, (*tail[:2], np.floor(tail[2] * 3) / 3)
    if fnmr_at_fmr(genuine, tail[2], fmr=fmr).rates is None:
        return
    found = interval((genuine, people, tail, trials), fmr=fmr)
    threshold, fnmr = by_hand(genuine, people, tail, trials, fmr=fmr)
    assert found.value is not None
    assert (found.threshold_low, found.threshold_high) == threshold
    assert bounds(found) == pytest.approx((min(fnmr[0], found.value), max(fnmr[1], found.value)), rel=1e-6, abs=1e-9)


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


@given(seed=st.integers(0, 9_999))
def test_interval_ignores_the_order_the_roles_and_the_labels(seed: int) -> None:
    genuine, people, (one, other, impostor), trials = drawn(seed, subjects=30)
    rng = np.random.default_rng(seed)
    first, second, label = rng.permutation(len(genuine)), rng.permutation(len(one)), rng.permutation(30)
    tail = label[other[second]], label[one[second]], impostor[second]
    found = interval((genuine, people, (one, other, impostor), trials), fmr=0.05)
    again = interval((genuine[first], label[people[first]], tail, trials), fmr=0.05)
    assert bounds(again) == pytest.approx(bounds(found), rel=1e-9)
    assert (again.threshold_low, again.threshold_high) == (found.threshold_low, found.threshold_high)


def test_interval_widens_with_the_level_and_narrows_with_more_subjects() -> None:
    sample = drawn(4, subjects=60)
    widths = []
    for level in (0.8, 0.95, 0.99):
        low, high = bounds(fnmr_at_fmr_interval(*sample, fmr=0.01, level=level))
        widths.append(high - low)
    assert widths == sorted(widths)
    sizes = [bounds(interval(drawn(5, subjects=subjects, mean=3.5))) for subjects in (40, 160, 640)]
    assert sizes[0][1] - sizes[0][0] > sizes[1][1] - sizes[1][0] > sizes[2][1] - sizes[2][0]


def test_tail_as_deep_as_the_lowest_threshold_gives_the_interval_of_all() -> None:
    genuine, people, tail, trials = drawn(5, subjects=150)
    found = interval((genuine, people, tail, trials), fmr=0.002)
    cut = deepest(tail, math.ceil(50 * 0.002 * trials.n))
    assert interval((genuine, people, cut, trials), fmr=0.002) == found
    listed = ListedTrials.of(tail[0], tail[1])
    assert bounds(fnmr_at_fmr_interval(genuine, people, cut, listed, fmr=0.002)) == pytest.approx(bounds(found))


def test_tail_that_ends_early_keeps_the_upper_bound_and_says_so() -> None:
    genuine, people, tail, trials = drawn(6, mean=3.5)
    whole, short = interval((genuine, people, tail, trials)), deepest(tail, int(0.01 * trials.n) + 3)
    found = interval((genuine, people, short, trials))
    assert (found.value, found.high, found.threshold_high) == (whole.value, whole.high, whole.threshold_high)
    assert found.threshold_low == -math.inf
    assert bounds(found)[0] < bounds(whole)[0]
    assert found.method is not None
    assert "the threshold's lower bound lies below the listed scores" in found.method
    with pytest.raises(MetricError):
        interval((genuine, people, deepest(tail, 5), trials))


def test_what_is_insufficient_follows_from_the_design_and_not_the_scores() -> None:
    for seed in range(5):
        assert interval(drawn(seed, subjects=30)).reason == "insufficient: 4.35 false matches expected, 5 needed"
        assert interval(drawn(seed, subjects=60)).reason is None
    one, other = np.triu_indices(12, 1)
    one, other = np.repeat(one, 100), np.repeat(other, 100)
    everyone = CrossTrials.all_pairs(np.full(12, 10))
    rng = np.random.default_rng(3)
    found = fnmr_at_fmr_interval(
        rng.normal(4, 1, 60), np.arange(60) % 12, (one, other, rng.normal(0, 1, len(one))), everyone, fmr=0.01
    )
    assert found.reason is not None
    assert found.reason == (
        "insufficient: without any false match 12 subjects would still allow an FMR of 0.675, above 0.01"
    )
    assert found.threshold_high == math.inf


def test_coverage_holds_only_with_the_threshold_uncertain() -> None:
    subjects, truth, fmr, wolves = 80, 0.05, 0.01, 0.8
    threshold = 2.3263 * math.sqrt(1 + 2 * wolves**2)
    covered, fixed = 0, 0
    for seed in range(200):
        mean = threshold + 1.6449 * math.sqrt(1.25)
        genuine, people, tail, trials = drawn(seed, subjects=subjects, wolves=wolves, mean=mean)
        found = fnmr_at_fmr_interval(genuine, people, tail, trials, fmr=fmr)
        low, high = bounds(found)
        covered += low <= truth <= high
        assert found.threshold is not None
        missed = np.bincount(people[genuine < found.threshold], minlength=subjects)
        rate = clustered_rate(missed, np.bincount(people))
        assert rate.low is not None
        assert rate.high is not None
        fixed += rate.low <= truth <= rate.high
    assert covered / 200 >= 0.92
    assert fixed / 200 < 0.8


def test_wolves_widen_the_interval() -> None:
    calm, wild = (interval(drawn(9, subjects=200, wolves=wolves)) for wolves in (0.0, 0.8))
    assert calm.threshold_high is not None
    assert calm.threshold_low is not None
    assert wild.threshold_high is not None
    assert wild.threshold_low is not None
    assert wild.threshold_high - wild.threshold_low > 2 * (calm.threshold_high - calm.threshold_low)


def test_no_missed_comparison_has_an_upper_bound() -> None:
    found = interval(drawn(10, mean=20.0))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None
    assert 0.01 < found.high < 0.1
    assert found.n_effective is not None


def test_a_target_that_the_trials_cannot_show_is_undefined() -> None:
    found = interval(drawn(11), fmr=1e-4)
    assert (found.value, found.low, found.threshold) == (None, None, None)
    assert found.reason == "needs >= 10,000 trials, has 1,770"


def test_a_single_genuine_subject_has_a_value_without_bounds() -> None:
    genuine, people, tail, trials = drawn(12)
    found = interval((genuine, np.zeros_like(people), tail, trials))
    assert found.value is not None
    assert found.low is None
    assert found.reason == "insufficient: 1 subject with a genuine comparison, 2 needed"


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
