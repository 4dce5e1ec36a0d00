"""Two detectors together, against decisions combined by hand on the same presentations."""

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.policies import PolicyRates, choose_policies, halves, try_policies
from cv_quality.metrics.liveness.presentations import Presentations, check_presentations

KINDS = np.array([""] * 300 + ["print"] * 200 + ["mask"] * 200)
Scores = np.ndarray[tuple[int], np.dtype[np.float64]]


def two_detectors(seed: int = 0) -> tuple[Presentations, Scores]:
    rng = np.random.default_rng(seed)
    first = rng.normal(np.select([KINDS == "", KINDS == "print"], [2.0, 0.0], 1.0))
    second = rng.normal(np.select([KINDS == "", KINDS == "print"], [2.0, 1.0], 0.0))
    number = np.arange(len(KINDS))
    artefact = np.where(KINDS == "", "", np.char.add(KINDS, (number % 40).astype(str)))
    subject = (number % 60).astype(str)
    return check_presentations(first, KINDS != "", species=KINDS, artefact=artefact, subject=subject), second


def tried(shown: Presentations, second: Scores, *, target: float, **how: tuple[float, ...]) -> dict[str, PolicyRates]:
    rules = choose_policies(shown, second, target=target, **how)  # type: ignore[arg-type]
    return {one.rule.policy: one for one in try_policies(rules, shown, second)}


def test_decisions_are_combined_as_by_hand() -> None:
    shown, second = two_detectors()
    live = shown.scores >= 1.0, second >= 0.5
    by_hand = {"first": live[0], "second": live[1], "and": live[0] & live[1], "or": live[0] | live[1]}
    found = tried(shown, second, target=0.05, thresholds=(1.0, 0.5))
    for name, decided in by_hand.items():
        rates = found[name].rates
        assert rates is not None
        assert rates.bpcer.numerator == np.count_nonzero(~decided & (KINDS == ""))
        assert [one.rate.numerator for one in rates.species] == [
            np.count_nonzero(decided & (kind == KINDS)) for kind in ("mask", "print")
        ]
    assert found["or"].n_opened == np.count_nonzero(~live[0] & live[1])
    assert found["and"].n_closed == np.count_nonzero(live[0] & ~live[1])
    assert (found["and"].n_opened, found["or"].n_closed) == (0, 0)


def test_fusion_holds_the_target_at_less_cost_where_detectors_see_other_species() -> None:
    shown, second = two_detectors()
    found = tried(shown, second, target=0.05)
    fused, alone = found["fusion"].rates, found["first"].rates
    assert fused is not None
    assert alone is not None
    for rates in (fused, alone):
        assert rates.worst is not None
        assert rates.worst.value <= 0.05
    assert fused.bpcer.value is not None
    assert alone.bpcer.value is not None
    assert fused.bpcer.value < alone.bpcer.value


def test_weight_of_one_detector_alone_makes_the_fusion_that_detector() -> None:
    shown, second = two_detectors()
    found = tried(shown, second, target=0.05, weights=(1.0, 1e-9))
    fused, alone = found["fusion"].rates, found["first"].rates
    assert fused is not None
    assert alone is not None
    assert fused.bpcer.numerator == alone.bpcer.numerator
    with pytest.raises(MetricError, match="weights above 0"):
        choose_policies(shown, second, target=0.05, weights=(1.0, 0.0))


def test_one_response_suffices_for_or_and_both_are_needed_for_and() -> None:
    shown = check_presentations([1.0, np.nan, 1.0], [False, True, True], species=["", "mask", "mask"])
    found = tried(shown, np.array([1.0, 1.0, np.nan]), target=1.0, thresholds=(0.5, 0.5))
    of_mask = {name: one.rates.species[0].rate.denominator for name, one in found.items() if one.rates}
    assert (of_mask["and"], of_mask["or"]) == (0, 2)
    assert found["fusion"].rule.reason == "the scores of bona fide presentations do not vary"


def test_thresholds_are_chosen_on_other_artefacts_and_subjects() -> None:
    shown, _ = two_detectors()
    chosen = halves(shown)
    for of in (~shown.is_attack, KINDS == "print", KINDS == "mask"):
        sides = [set(shown.cluster[of & side].tolist()) for side in (chosen, ~chosen)]
        assert not sides[0] & sides[1]
        assert len(sides[0]) == len(sides[1])
    assert not np.array_equal(chosen, halves(shown, seed=1))


def test_one_detector_has_one_policy() -> None:
    shown, _ = two_detectors()
    assert [rule.policy for rule in choose_policies(shown, target=0.05)] == ["first"]


def test_scores_of_other_presentations_are_refused() -> None:
    shown, second = two_detectors()
    with pytest.raises(MetricError, match="a second score"):
        choose_policies(shown, second[1:], target=0.1)
