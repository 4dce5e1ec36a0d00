"""Extrapolated FMR: coverage where the tail is known, invariances, and everything that is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.metrics.extremes import TailFit, default_exceedances, fit_tail
from cv_quality.metrics.trials import CrossTrials

Floats = NDArray[np.float64]
N = 400_000


def highest(seed: int, *, n: int = N, listed: int = 1_001, shape: float = -0.1) -> Floats:
    """The highest of n independent scores with a Pareto tail, in no order."""
    rng = np.random.default_rng(seed)
    scores: Floats = stats.genpareto.isf(np.cumsum(rng.exponential(size=listed)) / n, shape)
    return rng.permutation(scores)


def of_pairs(seed: int, subjects: int, common: float) -> tuple[Floats, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Normal scores of all pairs of subjects who bring along a share of the variance."""
    rng = np.random.default_rng(seed)
    one, other = np.triu_indices(subjects, 1)
    effect = rng.standard_normal(subjects) * math.sqrt(common / 2)
    scores = effect[one] + effect[other] + math.sqrt(1 - common) * rng.standard_normal(one.size)
    return scores, (one, other)


def test_interval_holds_the_true_threshold_and_fmr_beyond_the_data() -> None:
    covered = []
    for seed in range(60):
        tail = fit_tail(highest(seed), trials=N)
        for times in (10, 100):
            rate = 1 / (times * N)
            truth = float(stats.genpareto.isf(rate, -0.1))
            at, measured = tail.threshold_at(rate), tail.fmr(truth)
            assert at.low is not None
            assert at.high is not None
            assert measured.low is not None
            assert measured.high is not None
            covered.append((at.low <= truth <= at.high, measured.low <= rate <= measured.high))
    assert np.min(np.mean(covered, axis=0)) > 0.88
    assert np.max(np.mean(covered, axis=0)) < 1


def test_the_interval_holds_the_truth_where_subjects_differ() -> None:
    subjects, covered = 300, 0
    trials = CrossTrials.all_pairs(np.ones(subjects, int))
    truth = float(stats.norm.isf(1 / (10 * trials.n)))
    for seed in range(60):
        scores, codes = of_pairs(seed, subjects, 0.3)
        at = fit_tail(scores, trials=trials, subjects=codes, replicates=100).threshold_at(1 / (10 * trials.n))
        assert at.low is not None
        assert at.high is not None
        covered += at.low <= truth <= at.high
    assert covered >= 53


def test_fmr_and_threshold_undo_each_other() -> None:
    tail = fit_tail(highest(1), trials=N)
    for rate in (2e-4, 1e-6, 1e-9):
        at = tail.threshold_at(rate)
        assert at.value is not None
        assert tail.fmr(at.value).value == pytest.approx(rate, rel=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 50), scale=st.floats(0.01, 50), shift=st.floats(-5, 5))
def test_stretched_and_shuffled_scores_give_stretched_thresholds(seed: int, scale: float, shift: float) -> None:
    scores = highest(seed, listed=501)
    plain = fit_tail(scores, trials=N).threshold_at(1e-7)
    moved = fit_tail(np.sort(scores) * scale + shift, trials=N).threshold_at(1e-7)
    for one, other in ((plain.value, moved.value), (plain.low, moved.low), (plain.high, moved.high)):
        assert one is not None
        assert other == pytest.approx(one * scale + shift, rel=1e-5, abs=1e-5 * scale)


def test_new_names_of_the_subjects_change_nothing_but_the_draws() -> None:
    subjects = 200
    scores, (one, other) = of_pairs(3, subjects, 0.2)
    names = np.random.default_rng(4).permutation(subjects)
    trials = CrossTrials.all_pairs(np.ones(subjects, int))
    plain = fit_tail(scores, trials=trials, subjects=(one, other), exceedances=200, replicates=400)
    named = fit_tail(scores, trials=trials, subjects=(names[other], names[one]), exceedances=200, replicates=400)
    assert (named.shape, named.scale, named.freedom) == (plain.shape, plain.scale, plain.freedom)
    assert named.threshold_at(1e-6).high == pytest.approx(plain.threshold_at(1e-6).high, rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    subjects = 200
    scores, codes = of_pairs(5, subjects, 0.5)
    trials = CrossTrials.all_pairs(np.ones(subjects, int))
    first, again, other = (
        fit_tail(scores, trials=trials, subjects=codes, exceedances=200, replicates=100, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first.threshold_at(1e-6) == again.threshold_at(1e-6)
    assert first.shape_error != other.shape_error


def test_copies_of_every_comparison_do_not_narrow_the_interval() -> None:
    subjects = 300
    scores, (one, other) = of_pairs(6, subjects, 0.0)
    jitter = np.random.default_rng(7).uniform(0, 1e-6, (4, scores.size))
    copied = (scores + jitter).ravel()
    once = fit_tail(
        scores, trials=CrossTrials.all_pairs(np.ones(subjects, int)), subjects=(one, other), exceedances=150
    )
    four = fit_tail(
        copied,
        trials=CrossTrials.all_pairs(np.full(subjects, 2)),
        subjects=(np.tile(one, 4), np.tile(other, 4)),
        exceedances=600,
    )
    taken_as_independent = fit_tail(copied, trials=4 * scores.size, exceedances=600)
    assert once.shape_error is not None
    assert four.shape_error is not None
    assert taken_as_independent.shape_error is not None
    assert four.shape_error == pytest.approx(once.shape_error, rel=0.25)
    assert taken_as_independent.shape_error < 0.65 * four.shape_error


def test_an_answer_beyond_the_comparisons_is_marked_and_one_within_is_not() -> None:
    tail = fit_tail(highest(8), trials=N)
    beyond, within, far = tail.threshold_at(1e-7), tail.threshold_at(1e-4), tail.threshold_at(1e-9)
    assert (beyond.is_extrapolation, within.is_extrapolation) == (True, False)
    assert beyond.note.startswith("extrapolated beyond 400000 comparisons")
    assert "further than coverage was studied" in far.note
    assert "further than coverage was studied" not in beyond.note
    assert tail.fmr(float(tail.threshold + 1.01 * tail.excesses[-1])).is_extrapolation
    assert beyond.to_dict()["is_extrapolation"] is True


def test_beyond_the_fitted_end_point_there_are_only_bounds() -> None:
    tail = fit_tail(highest(9, shape=-0.3), trials=N)
    assert tail.end_point is not None
    answer = tail.fmr(tail.end_point + 1e-3)
    assert (answer.value, answer.low, answer.is_extrapolation) == (None, 0.0, True)
    assert answer.high is not None
    assert 0 < answer.high < 1e-4
    assert answer.reason is not None
    assert answer.reason.endswith("only bounds")
    nowhere = tail.fmr(tail.end_point + 100)
    assert (nowhere.value, nowhere.high) == (None, None)
    assert nowhere.reason is not None
    assert nowhere.reason.endswith("no answer")


def test_no_threshold_is_given_above_the_highest_possible_score() -> None:
    scores = highest(10)
    tail = fit_tail(scores, trials=N, limit=float(scores.max()) + 1e-3)
    answer = tail.threshold_at(1e-12)
    assert answer.value is None
    assert answer.high == tail.limit
    assert answer.reason is not None
    assert "highest possible score" in answer.reason


def test_what_lies_outside_the_tail_is_refused_with_a_reason() -> None:
    tail = fit_tail(highest(11), trials=N)
    assert fit_tail(highest(11), trials=N, limit=9.0).fmr(9.5).value is None
    below, often = tail.fmr(tail.threshold - 0.1), tail.threshold_at(0.01)
    assert (below.value, below.low, often.value) == (None, None, None)
    assert below.reason is not None
    assert "not in the tail" in below.reason
    assert often.reason is not None
    assert "count it" in often.reason


def test_the_interval_narrows_to_the_start_of_the_tail_and_holds_the_value() -> None:
    subjects = 200
    scores, codes = of_pairs(18, subjects, 0.5)
    trials = CrossTrials.all_pairs(np.ones(subjects, int))
    tail = fit_tail(scores, trials=trials, subjects=codes, exceedances=200, replicates=100)
    widths = []
    for share in (1e-5, 0.01, 0.5, 0.99, 0.9999):
        at = tail.threshold_at(share * tail.exceedances / tail.n)
        assert at.low is not None
        assert at.value is not None
        assert at.high is not None
        assert tail.threshold <= at.low <= at.value <= at.high
        widths.append(at.high - at.low)
        measured = tail.fmr(at.value)
        assert measured.low is not None
        assert measured.value is not None
        assert measured.high is not None
        assert measured.low <= measured.value <= measured.high
    assert widths == sorted(widths, reverse=True)


def refusal(tail: TailFit) -> str:
    assert (tail.shape, tail.scale, tail.end_point, tail.shape_error) == (None, None, None, None)
    assert tail.reason is not None
    assert tail.threshold_at(1e-9).reason == tail.fmr(9.0).reason
    return tail.reason


def test_data_that_are_no_tail_are_refused_with_a_reason() -> None:
    scores = highest(12)
    assert refusal(fit_tail(scores[:90], trials=N)) == "insufficient: 89 exceedances, 100 needed"
    assert refusal(fit_tail([], trials=N)) == "insufficient: 0 exceedances, 100 needed"
    assert "-inf" in refusal(fit_tail(np.append(scores[:90], [-np.inf] * 50), trials=N, exceedances=120))
    assert "lowest score that is listed" in refusal(fit_tail(scores, trials=N, threshold=float(scores.min()) - 0.1))
    assert refusal(fit_tail(np.round(scores, 1), trials=N)).startswith("discrete scores")
    assert refusal(fit_tail(np.minimum(scores, np.sort(scores)[-15]), trials=N)).startswith("clipped scores")
    assert "above the highest possible score" in refusal(fit_tail(scores, trials=N, limit=float(scores.max()) - 1e-3))
    bounded = np.random.default_rng(13).uniform(size=1_001)
    assert "-0.5" in refusal(fit_tail(bounded, trials=N))


def test_ten_thousand_comparisons_are_too_few_unless_exceedances_are_given() -> None:
    assert (default_exceedances(10_000), default_exceedances(100_000), default_exceedances(10**8)) == (25, 250, 500)
    scores = np.random.default_rng(14).normal(size=10_000)
    assert fit_tail(scores, trials=10_000).reason == "insufficient: 25 exceedances, 100 needed"
    assert fit_tail(scores, trials=10_000, exceedances=100).exceedances == 100


def test_a_failed_enrolment_scored_minus_infinity_is_no_exceedance() -> None:
    scores = highest(15)
    failed = np.append(scores, np.full(50, -np.inf))
    assert fit_tail(failed, trials=N).threshold_at(1e-7) == fit_tail(scores, trials=N).threshold_at(1e-7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scores": [0.1, math.nan]}, "NaN"),
        ({"scores": [0.1, math.inf]}, "inf"),
        ({"scores": [[0.1]]}, "shape"),
        ({"trials": 1}, "at most 1 scores"),
        ({"exceedances": 0}, "at least 1 exceedance"),
        ({"exceedances": 5, "threshold": 0.1}, "a threshold or a number|finite threshold or a number"),
        ({"threshold": math.inf}, "finite threshold"),
        ({"subjects": ([0, 1], [1, 2])}, "need Trials"),
        ({"trials": CrossTrials.all_pairs([1, 1, 1])}, "without the subjects"),
        ({"trials": CrossTrials.all_pairs([1, 1, 1]), "subjects": ([0], [1])}, "subjects of 2 scores"),
        ({"trials": CrossTrials.all_pairs([1, 1, 1]), "subjects": ([0, 1], [1, 1])}, "with itself"),
        ({"trials": CrossTrials.all_pairs([1, 1, 1]), "subjects": ([0, 3], [1, 1])}, "below 3"),
    ],
)
def test_malformed_input_is_named(wrong: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"scores": [0.1, 0.2], "trials": 2} | wrong
    with pytest.raises(MetricError, match=message):
        fit_tail(given.pop("scores"), **given)  # type: ignore[arg-type]


def test_malformed_questions_are_named() -> None:
    tail = fit_tail(highest(16), trials=N)
    for target in (0.0, 1.5, math.nan):
        with pytest.raises(MetricError, match="FMR target"):
            tail.threshold_at(target)
    with pytest.raises(MetricError, match="finite threshold"):
        tail.fmr(math.nan)
    with pytest.raises(MetricError, match="level"):
        tail.fmr(9.0, level=1.0)
    scores, codes = of_pairs(17, 300, 0.0)
    with pytest.raises(MetricError, match="100 replicates"):
        fit_tail(scores, trials=CrossTrials.all_pairs(np.ones(300, int)), subjects=codes, replicates=5)
