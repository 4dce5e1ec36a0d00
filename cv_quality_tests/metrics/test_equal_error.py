"""The interval of the equal error rate: crossings of the bounds by hand, coverage, and the edges."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.dyadic import pair_rate
from cv_quality.metrics.equal_error import TAIL_TOO_SHORT, EerInterval, eer_interval, interval_of_eer
from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.trials import CrossTrials
from cv_quality.metrics.verification import eer

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def drawn(
    seed: int, *, subjects: int = 60, attempts: int = 4, effect: float = 0.5, mean: float = 4.0
) -> tuple[Floats, Floats, Codes, tuple[Codes, Codes]]:
    rng = np.random.default_rng(seed)
    wolf, goat = rng.normal(size=(2, subjects))
    one, other = np.triu_indices(subjects, 1)
    people = np.repeat(np.arange(subjects), attempts)
    impostor = effect * (wolf[one] + wolf[other]) + rng.normal(size=len(one))
    genuine = mean + effect * goat[people] + rng.normal(size=len(people))
    return genuine, impostor, people, (one, other)


def interval(sample: tuple[Floats, Floats, Codes, tuple[Codes, Codes]]) -> EerInterval:
    genuine, impostor, people, pairs = sample
    return eer_interval(genuine, impostor, genuine_subjects=people, impostor_subjects=pairs)


def bounds(found: EerInterval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def of_highest(sample: tuple[Floats, Floats, Codes, tuple[Codes, Codes]], *, listed: int) -> EerInterval:
    """The interval where only so many of the highest impostor scores are known."""
    genuine, impostor, people, (one, other) = sample
    highest = np.argsort(-impostor)[:listed]
    trials = CrossTrials.all_pairs(np.ones(people.max() + 1, np.int64))
    tail = one[highest], other[highest], impostor[highest]
    return interval_of_eer(ClusteredScores.of(genuine, people, tail, trials))


@pytest.mark.parametrize("seed", range(6))
def test_a_tail_gives_the_interval_of_all_scores_or_none_at_all(seed: int) -> None:
    sample = drawn(seed, subjects=30, mean=2.5)
    whole = interval(sample)
    at_crossing = int(np.count_nonzero(sample[1] >= whole.threshold))
    found = [of_highest(sample, listed=listed) for listed in range(at_crossing + 2, len(sample[1]), 10)]
    assert {item.value for item in found} == {whole.value}
    is_known = [item.low is not None for item in found]
    assert is_known == sorted(is_known), "a longer tail never knows less"
    for item in found:
        if item.low is None:
            assert (item.high, item.n_effective, item.reason) == (None, None, TAIL_TOO_SHORT)
        else:  # the bounds of the FMR may cross more than once, one step of the scores apart
            assert bounds(item) == pytest.approx(bounds(whole), rel=0.05)
            assert item.method == whole.method


def test_a_tail_that_ends_between_the_crossings_of_the_bounds_says_so() -> None:
    sample = drawn(1, subjects=30, mean=2.5)
    at_crossing = int(np.count_nonzero(sample[1] >= interval(sample).threshold))
    assert of_highest(sample, listed=at_crossing + 2).reason == TAIL_TOO_SHORT
    assert bounds(of_highest(sample, listed=len(sample[1]) - 1)) == bounds(interval(sample))
    with pytest.raises(MetricError, match="end above the equal error rate"):
        of_highest(sample, listed=at_crossing - 5)


@settings(max_examples=15)
@given(seed=st.integers(0, 9_999), is_tied=st.booleans())
def test_bounds_are_crossings_of_the_bounds_of_both_rates(seed: int, is_tied: bool) -> None:
    genuine, impostor, people, (one, other) = drawn(seed, subjects=20, attempts=6, mean=2.5)
    if is_tied:
        genuine, impostor = np.floor(genuine * 2) / 2, np.floor(impostor * 2) / 2
    trials = CrossTrials.all_pairs(np.ones(20, np.int64))
    rows = []
    for threshold in [*np.unique(np.concatenate([genuine, impostor])), np.inf]:
        matched, missed = impostor >= threshold, np.bincount(people[genuine < threshold], minlength=20)
        fmr, fnmr = (
            pair_rate((one[matched], other[matched]), trials=trials),
            clustered_rate(missed, np.full(20, 6), icc=0.0),
        )
        rows.append((fmr.low, fmr.value, fmr.high, fnmr.low, fnmr.value, fnmr.high))
    curves = np.array(rows, np.float64).T

    def crossing(fmr: Floats, fnmr: Floats) -> float:
        assume(np.count_nonzero(np.diff(fnmr >= fmr)) == 1)
        first = int(np.argmax(fnmr >= fmr))
        return float(min((fmr + fnmr)[max(first - 1, 0) : first + 1]) / 2)

    found = interval((genuine, impostor, people, (one, other)))
    assert found.method is not None
    rho, n = float(found.method.rsplit(" ", 1)[1]), 120

    def scaled(rate: float) -> float:
        return math.log((rate * n + 0.5) / (n * (1 - rate) + 0.5))

    for side, sign, bound in ((0, -1, found.low), (2, 1, found.high)):
        ends = crossing(curves[side], curves[4]), crossing(curves[1], curves[3 + side])
        a, b = (max(sign * (scaled(end) - scaled(found.value)), 0.0) for end in ends)
        at = scaled(found.value) + sign * math.sqrt(a * a + b * b + 2 * rho * a * b)
        if found.reason is None:
            assert bound == pytest.approx(((n + 1) / (1 + math.exp(-at)) - 0.5) / n, rel=0.02, abs=1e-3)


def test_value_is_the_equal_error_rate_in_any_order_of_comparisons() -> None:
    genuine, impostor, people, (one, other) = drawn(1)
    found = interval((genuine, impostor, people, (one, other)))
    point = eer(genuine, impostor)
    assert (found.value, found.threshold) == (point.value, point.rates.threshold)
    low, high = bounds(found)
    assert low < point.value < high
    rng = np.random.default_rng(0)
    a, b = rng.permutation(len(genuine)), rng.permutation(len(impostor))
    assert interval((genuine[a], impostor[b], people[a], (other[b], one[b]))) == found


def test_trials_in_a_shorter_form_give_the_same_interval() -> None:
    genuine, impostor, people, pairs = drawn(2)
    trials = CrossTrials.all_pairs(np.ones(60, np.int64))
    found = eer_interval(genuine, impostor, genuine_subjects=people, impostor_subjects=pairs, trials=trials)
    assert bounds(found) == pytest.approx(bounds(interval((genuine, impostor, people, pairs))), rel=1e-12)


def test_coverage_holds_by_subject_and_fails_for_independent_comparisons() -> None:
    truth, effect = 0.05, 0.8
    mean = 1.6449 * (math.sqrt(1 + 2 * effect**2) + math.sqrt(1 + effect**2))
    covered, alone = 0, 0
    for seed in range(120):
        sample = drawn(seed, effect=effect, mean=mean)
        low, high = bounds(interval(sample))
        covered += low <= truth <= high
        low, high = bounds(eer_interval(sample[0], sample[1]))
        alone += low <= truth <= high
    assert covered / 120 >= 0.89
    assert alone / 120 < 0.8


def test_unknown_subjects_are_said_to_be_taken_as_independent() -> None:
    genuine, impostor, *_ = drawn(4)
    found = eer_interval(genuine, impostor)
    assert found.method is not None
    assert found.method.endswith("subjects unknown: independence assumed")
    assert found.n_subjects is None


def test_interval_of_independent_comparisons_hardly_depends_on_known_subjects() -> None:
    rng = np.random.default_rng(5)
    one, other = np.triu_indices(300, 1)
    genuine, impostor = rng.normal(3.3, 1, 300), rng.normal(0, 1, len(one))
    known = interval((genuine, impostor, np.arange(300), (one, other)))
    unknown = eer_interval(genuine, impostor)
    assert bounds(known) == pytest.approx(bounds(unknown), rel=0.15)


def test_interval_of_many_scores_is_that_of_the_delta_method() -> None:
    rng = np.random.default_rng(6)
    genuine, impostor = rng.normal(3, 1, 40_000), rng.normal(0, 1, 300_000)
    found = eer_interval(genuine, impostor)
    low, high = bounds(found)
    assert low < 0.0668 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 * math.sqrt(0.0624 / 40_000 + 0.0624 / 300_000), rel=0.12)


@pytest.mark.parametrize("with_subjects", [True, False])
def test_separable_scores_have_an_upper_bound_and_are_insufficient(with_subjects: bool) -> None:
    genuine, impostor, people, pairs = drawn(7, mean=30.0)
    found = interval((genuine, impostor, people, pairs)) if with_subjects else eer_interval(genuine, impostor)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None
    assert 0.005 < found.high < 0.1
    assert found.reason == "insufficient: 0 errors of one class at the crossing, 5 needed"


def test_reversed_scores_warn() -> None:
    genuine, impostor, *_ = drawn(8)
    assert eer_interval(-genuine, -impostor).warning is not None


def test_comparisons_around_one_subject_have_a_rate_without_bounds() -> None:
    rng = np.random.default_rng(9)
    star = np.zeros(40, np.int64), np.arange(1, 41)
    found = eer_interval(
        rng.normal(1, 1, 41), rng.normal(0, 1, 40), genuine_subjects=np.arange(41), impostor_subjects=star
    )
    assert found.low is None
    assert found.reason == "insufficient: one subject takes part in every comparison"


def test_input_that_is_no_sample_is_refused() -> None:
    genuine, impostor, people, pairs = drawn(10, subjects=5)
    with pytest.raises(MetricError, match="subjects of both classes or of neither"):
        eer_interval(genuine, impostor, genuine_subjects=people)
    with pytest.raises(MetricError, match="found 19 for 20"):
        eer_interval(genuine, impostor, genuine_subjects=people[1:], impostor_subjects=pairs)
    trials = CrossTrials.all_pairs([2] * 5)
    with pytest.raises(MetricError, match="scores of all 40 impostor comparisons, found 10"):
        eer_interval(genuine, impostor, genuine_subjects=people, impostor_subjects=pairs, trials=trials)
    with pytest.raises(MetricError, match="NaN"):
        eer_interval([math.nan], impostor)
