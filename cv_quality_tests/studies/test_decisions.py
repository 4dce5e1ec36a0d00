"""Verdicts: which bound decides, what never passes, and how many subjects would settle a comparison."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.paired_builds import ScoreModel
from cv_quality.errors import MetricError
from cv_quality.metrics.rates import clustered_rate
from cv_quality.studies.comparison import compare_fnmr_at_fmr, compare_rates
from cv_quality.studies.decisions import judge, judge_limit

TRIALS = np.full(400, 10)


def errors(rate: float, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    rng = np.random.default_rng(seed)
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = rng.binomial(TRIALS, rng.beta(20 * rate, 20 * (1 - rate), 400))
    return found


def test_bounds_decide_and_not_the_value() -> None:
    difference = compare_rates("frr", (errors(0.05), TRIALS), (errors(0.08, 1), TRIALS))
    assert difference.value is not None
    assert difference.standard_error is not None
    for margin, verdict in ((0.07, "pass"), (0.005, "fail"), (difference.value, "insufficient")):
        found = judge(difference, margin=margin)
        assert found.verdict == verdict
        assert (found.high is not None and found.high < margin) == (verdict == "pass")
    worse = judge(difference, margin=0.005)
    assert "beyond the margin of 0.005" in worse.reason
    better = judge(difference, margin=0.001, is_higher_better=True)
    assert (better.verdict, better.value) == ("pass", -difference.value)


def test_level_is_one_sided() -> None:
    difference = compare_rates("frr", (errors(0.05), TRIALS), (errors(0.05, 1), TRIALS))
    found = judge(difference, margin=0.02, alpha=0.025)
    assert (found.low, found.high) == (difference.low, difference.high)
    assert found.p_value is not None
    assert (found.p_value < 0.025) == (found.verdict == "pass")


def test_as_many_subjects_as_are_said_settle_it() -> None:
    model = ScoreModel(subjects=120, fnmr=0.06, fmr=1e-2)
    needed = []
    for seed in range(40):
        reference, candidate = (side.clustered() for side in model.draw(np.random.default_rng(seed)))
        found = judge(compare_fnmr_at_fmr(reference, candidate, fmr=1e-2), margin=0.03)
        assert (found.subjects_needed is None) == (found.verdict != "insufficient")
        needed.append(found.subjects_needed or model.subjects)
    larger = replace(model, subjects=int(np.median(needed)))
    passed = 0
    for seed in range(60):
        reference, candidate = (side.clustered() for side in larger.draw(np.random.default_rng([1, seed])))
        passed += judge(compare_fnmr_at_fmr(reference, candidate, fmr=1e-2), margin=0.03).verdict == "pass"
    assert passed >= 0.6 * 60


def test_too_little_data_never_passes() -> None:
    few = compare_rates("frr", ([0, 0, 1], [5, 5, 5]), ([0, 0, 0], [5, 5, 5]))
    found = judge(few, margin=0.9)
    assert (found.verdict, found.reason) == ("insufficient", "insufficient: 3 subjects, 10 needed")
    none = judge(compare_rates("frr", ([0], [0]), ([0], [5])), margin=0.1)
    assert (none.verdict, none.subjects_needed, none.reason) == ("insufficient", None, "no trial")


def test_limits_are_held_against_the_interval() -> None:
    rate = clustered_rate(errors(0.05), TRIALS)
    assert judge_limit("frr", rate, limit=0.08).verdict == "pass"
    assert judge_limit("frr", rate, limit=0.02).verdict == "fail"
    assert rate.value is not None
    open_verdict = judge_limit("frr", rate, limit=rate.value)
    assert open_verdict.verdict == "insufficient"
    assert "the interval reaches" in open_verdict.reason
    assert judge_limit("frr", clustered_rate([0], [3]), limit=0.9).verdict == "insufficient"


@pytest.mark.parametrize(
    ("margin", "alpha", "power"), [(0.0, 0.05, 0.8), (-0.1, 0.05, 0.8), (0.1, 0.6, 0.8), (0.1, 0.05, 1.0)]
)
def test_margins_and_levels_out_of_range_are_refused(margin: float, alpha: float, power: float) -> None:
    difference = compare_rates("frr", (errors(0.05), TRIALS), (errors(0.05, 1), TRIALS))
    with pytest.raises(MetricError, match="expected"):
        judge(difference, margin=margin, alpha=alpha, power=power)
    with pytest.raises(MetricError, match="limit between 0 and 1"):
        judge_limit("frr", clustered_rate([1], [3]), limit=0.0)
