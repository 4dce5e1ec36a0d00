"""Policies compared on the same presentations: differences by artefact, thresholds from another half."""

import numpy as np

from cv_quality.metrics.liveness.policies import halves
from cv_quality.studies.pad_policies import compare_policies
from cv_quality_tests.metrics.liveness.test_policies import two_detectors


def test_difference_is_that_of_the_rates_on_the_half_that_chose_no_threshold() -> None:
    shown, second = two_detectors()
    found = compare_policies(shown, second, target=0.1)
    assert (found.n_chosen_on, found.n_tried_on) == (int(halves(shown).sum()), int((~halves(shown)).sum()))
    first, *others = found.policies
    assert first.policy.rates is not None
    assert not first.differences
    assert [one.policy.rule.policy for one in others] == ["second", "and", "or", "fusion"]
    for one in others:
        rates = one.policy.rates
        assert rates is not None
        for own, of_first in zip(rates.species, first.policy.rates.species, strict=True):
            difference = one.difference("apcer", own.species)
            assert difference is not None
            assert own.rate.value is not None
            assert of_first.rate.value is not None
            assert difference.value == own.rate.value - of_first.rate.value


def test_and_never_lets_more_through_and_or_never_rejects_more() -> None:
    shown, second = two_detectors()
    found = {one.policy.rule.policy: one for one in compare_policies(shown, second, target=0.1).policies}
    for one in found["and"].differences:
        assert one.difference.value is not None
        assert one.difference.value <= 0 if one.metric == "apcer" else one.difference.value >= 0
    for one in found["or"].differences:
        assert one.difference.value is not None
        assert one.difference.value >= 0 if one.metric == "apcer" else one.difference.value <= 0


def test_difference_paired_by_artefact_is_surer_than_the_rate_itself() -> None:
    """A second detector that agrees with the first on all but some presentations differs by little, and surely so."""
    shown, _ = two_detectors()
    rng = np.random.default_rng(5)
    second = shown.scores - np.where(rng.random(len(shown.scores)) < 0.2, 3.0, 0.0)
    found = compare_policies(shown, second, target=0.3, thresholds=(0.5, 0.5), devel=(shown, second)).policies[1]
    difference, rates = found.difference("apcer", "mask"), found.policy.rates
    assert difference is not None
    assert difference.low is not None
    assert difference.high is not None
    assert rates is not None
    own = next(one.rate for one in rates.species if one.species == "mask")
    assert own.low is not None
    assert own.high is not None
    assert difference.high - difference.low < own.high - own.low


def test_few_artefacts_leave_a_difference_open_in_words_of_artefacts() -> None:
    shown, second = two_detectors()
    few = shown.where(~shown.is_attack | (shown.cluster % 8 == 0))
    kept = second[~shown.is_attack | (shown.cluster % 8 == 0)]
    found = compare_policies(few, kept, target=0.5, devel=(shown, second)).policies[2]
    difference = found.difference("apcer", "mask")
    assert difference is not None
    assert difference.reason is not None
    assert "artefacts" in difference.reason
    assert "subject" not in difference.reason
