"""The interval of the equal error rate: replicates against scores repeated by hand, coverage, and the edges."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics import bootstrap_kernels as kernels
from cv_quality.metrics.equal_error import EerInterval, eer_interval
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


def interval(sample: tuple[Floats, Floats, Codes, tuple[Codes, Codes]], *, seed: int = 3) -> EerInterval:
    genuine, impostor, people, pairs = sample
    return eer_interval(genuine, impostor, seed=seed, genuine_subjects=people, impostor_subjects=pairs, replicates=200)


def bounds(found: EerInterval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@settings(max_examples=60)
@given(seed=st.integers(0, 9_999))
def test_replicate_is_the_equal_error_rate_of_scores_repeated_by_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = np.triu_indices(7, 1)
    impostor, genuine = rng.integers(0, 8, len(one)) / 2, rng.integers(1, 11, 21) / 2
    people = np.arange(21) % 7
    weights = rng.multinomial(7, [1 / 7] * 7, 1).astype(np.float64)
    repeats = (weights[0][one] * weights[0][other]).astype(int)
    assume(repeats.sum() > 0)
    expected = eer(np.repeat(genuine, weights[0][people].astype(int)), np.repeat(impostor, repeats))
    scores = np.concatenate([genuine, impostor])
    order = np.argsort(-scores, kind="stable")
    first, second = np.concatenate([people, one])[order], np.concatenate([people, other])[order]
    is_last = np.append(np.diff(scores[order]) < 0, True)
    made, met = weights @ np.bincount(people), np.array([float(repeats.sum())])
    fmr = np.cumsum(first != second) / len(one)
    found = kernels.crossings(weights, made.astype(np.float64), met, (first, second, is_last), fmr, 1.0)
    assert found[0] == pytest.approx(expected.value, abs=1e-12)


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
    found = eer_interval(
        genuine, impostor, seed=3, genuine_subjects=people, impostor_subjects=pairs, trials=trials, replicates=200
    )
    assert bounds(found) == pytest.approx(bounds(interval((genuine, impostor, people, pairs))), rel=1e-12)


def test_coverage_holds_by_subject_and_fails_for_independent_comparisons() -> None:
    truth, effect = 0.05, 0.8
    mean = 1.6449 * (math.sqrt(1 + 2 * effect**2) + math.sqrt(1 + effect**2))
    covered, alone = 0, 0
    for seed in range(120):
        sample = drawn(seed, effect=effect, mean=mean)
        low, high = bounds(interval(sample, seed=seed))
        covered += low <= truth <= high
        low, high = bounds(eer_interval(sample[0], sample[1], seed=seed, replicates=200))
        alone += low <= truth <= high
    assert covered / 120 >= 0.89
    assert alone / 120 < 0.8


def test_unknown_subjects_are_said_to_be_taken_as_independent() -> None:
    genuine, impostor, *_ = drawn(4)
    found = eer_interval(genuine, impostor, seed=1)
    assert found.method is not None
    assert found.method.endswith("subjects unknown: independence assumed")
    assert found.n_subjects is None


def test_interval_of_independent_comparisons_hardly_depends_on_known_subjects() -> None:
    rng = np.random.default_rng(5)
    one, other = np.triu_indices(300, 1)
    genuine, impostor = rng.normal(3.3, 1, 300), rng.normal(0, 1, len(one))
    known = interval((genuine, impostor, np.arange(300), (one, other)))
    unknown = eer_interval(genuine, impostor, seed=6)
    assert bounds(known) == pytest.approx(bounds(unknown), rel=0.15)


def test_more_scores_than_cells_change_little() -> None:
    rng = np.random.default_rng(6)
    genuine, impostor = rng.normal(3, 1, 40_000), rng.normal(0, 1, 300_000)
    found = eer_interval(genuine, impostor, seed=1)
    low, high = bounds(found)
    assert low < 0.0668 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 * math.sqrt(0.0624 / 40_000 + 0.0624 / 300_000), rel=0.12)


@pytest.mark.parametrize("with_subjects", [True, False])
def test_separable_scores_have_an_upper_bound_and_are_insufficient(with_subjects: bool) -> None:
    genuine, impostor, people, pairs = drawn(7, mean=30.0)
    found = interval((genuine, impostor, people, pairs)) if with_subjects else eer_interval(genuine, impostor, seed=1)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None
    assert 0.005 < found.high < 0.1
    assert found.reason == "insufficient: 0 errors of one class at the crossing, 5 needed"


def test_reversed_scores_warn() -> None:
    genuine, impostor, *_ = drawn(8)
    assert eer_interval(-genuine, -impostor, seed=1).warning is not None


def test_comparisons_around_one_subject_have_a_rate_without_bounds() -> None:
    rng = np.random.default_rng(9)
    star = np.zeros(40, np.int64), np.arange(1, 41)
    found = eer_interval(
        rng.normal(1, 1, 41), rng.normal(0, 1, 40), seed=1, genuine_subjects=np.arange(41), impostor_subjects=star
    )
    assert found.low is None
    assert found.reason == "insufficient: one subject takes part in every comparison"


def test_input_that_is_no_sample_is_refused() -> None:
    genuine, impostor, people, pairs = drawn(10, subjects=5)
    with pytest.raises(MetricError, match="subjects of both classes or of neither"):
        eer_interval(genuine, impostor, seed=1, genuine_subjects=people)
    with pytest.raises(MetricError, match="found 19 for 20"):
        eer_interval(genuine, impostor, seed=1, genuine_subjects=people[1:], impostor_subjects=pairs)
    trials = CrossTrials.all_pairs([2] * 5)
    with pytest.raises(MetricError, match="scores of all 40 impostor comparisons, found 10"):
        eer_interval(genuine, impostor, seed=1, genuine_subjects=people, impostor_subjects=pairs, trials=trials)
    with pytest.raises(MetricError, match="NaN"):
        eer_interval([math.nan], impostor, seed=1)
    with pytest.raises(MetricError, match="at least 100 replicates"):
        eer_interval(genuine, impostor, seed=1, replicates=5)
