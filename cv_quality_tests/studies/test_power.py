"""Power of resampled pilots: that of studies drawn from the truth, and refused where a pilot says too little."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.paired_builds import ScoreModel
from cv_quality.errors import MetricError
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.trials import CrossTrials, ListedTrials
from cv_quality.studies.comparison import compare_fnmr_at_fmr
from cv_quality.studies.power import resampled, simulated_power

MODEL = ScoreModel(subjects=150, attempts=4, fnmr=0.06, fmr=1e-2, impostor_sd=0.2)


def sides(model: ScoreModel, seed: int) -> tuple[ClusteredScores, ClusteredScores]:
    first, second = model.draw(np.random.default_rng(seed))
    return first.clustered(listed=1_000), second.clustered(listed=1_000)


def test_drawing_everybody_once_changes_no_score() -> None:
    scores = sides(MODEL, 1)[0]
    found = resampled(scores, np.arange(150))
    assert np.array_equal(found.genuine, scores.genuine)
    assert np.array_equal(found.impostor, scores.impostor)
    assert found.trials.n == scores.trials.n


def test_copies_bring_every_comparison_of_theirs() -> None:
    tail = (np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([0.5, 0.4, 0.3]))
    trials = CrossTrials.all_pairs(np.ones(3, np.int64))
    scores = ClusteredScores.of([0.9, 0.8, 0.7], [0, 1, 2], tail, trials)
    found = resampled(scores, np.array([1, 0, 0, 0]))
    assert found.genuine.tolist() == [0.8, 0.9, 0.9, 0.9]
    assert found.impostor.tolist() == [0.5, 0.5, 0.5]
    assert sorted(map(sorted, zip(found.one.tolist(), found.other.tolist(), strict=True))) == [[0, 1], [0, 2], [0, 3]]


def test_a_resampled_pilot_has_the_power_of_studies_from_the_truth() -> None:
    margin, alpha, passed = 0.02, 0.05, 0
    for seed in range(200):
        bounds = compare_fnmr_at_fmr(*sides(MODEL, 1000 + seed), fmr=1e-2).bounds(1 - 2 * alpha)
        passed += bounds is not None and bounds[1] < margin
    pilots = [
        simulated_power(*sides(MODEL, seed), fmr=1e-2, margin=margin, subjects=150, alpha=alpha, runs=60, seed=seed)
        for seed in range(5)
    ]
    assert float(np.mean([pilot.power for pilot in pilots])) == pytest.approx(passed / 200, abs=0.12)
    assert all(pilot.low < pilot.power < pilot.high or pilot.power == 1 for pilot in pilots)


def test_more_subjects_have_more_power_and_a_seed_gives_the_same() -> None:
    both = sides(MODEL, 1)

    def power(subjects: int) -> float:
        found = simulated_power(*both, fmr=1e-2, margin=0.015, subjects=subjects, alpha=0.05, runs=60, seed=3)
        return found.power

    assert power(60) < power(300)
    assert power(60) == power(60)


def test_a_pilot_that_says_too_little_is_refused() -> None:
    both = sides(MODEL, 1)
    few = sides(replace(MODEL, subjects=15), 1)

    def simulate(scores: tuple[ClusteredScores, ClusteredScores], fmr: float, margin: float) -> None:
        simulated_power(*scores, fmr=fmr, margin=margin, subjects=50, alpha=0.05, runs=2)

    with pytest.raises(MetricError, match="a pilot of 15 subjects is too small to resample, 20 are needed"):
        simulate(few, 1e-2, 0.02)
    with pytest.raises(MetricError, match="no FNMR at FMR 1e-06 of both builds"):
        simulate(both, 1e-6, 0.02)
    with pytest.raises(MetricError, match="expected a margin above 0"):
        simulate(both, 1e-2, 0.0)
    listed = replace(both[0], trials=ListedTrials.of(both[0].one, both[0].other, n_subjects=150))
    with pytest.raises(MetricError, match="complete sets"):
        resampled(listed, np.arange(150))
