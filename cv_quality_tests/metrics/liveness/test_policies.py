"""Two detectors together, against decisions combined by hand on the same presentations."""

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.policies import compare_policies
from cv_quality.metrics.liveness.presentations import Presentations, check_presentations

KINDS = np.array([""] * 300 + ["print"] * 200 + ["mask"] * 200)


def two_detectors() -> tuple[Presentations, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    rng = np.random.default_rng(0)
    first = rng.normal(np.select([KINDS == "", KINDS == "print"], [2.0, 0.0], 1.0))
    second = rng.normal(np.select([KINDS == "", KINDS == "print"], [2.0, 1.0], 0.0))
    return check_presentations(first, KINDS != "", species=KINDS), second


def test_decisions_are_combined_as_by_hand() -> None:
    shown, second = two_detectors()
    live = shown.scores >= 1.0, second >= 0.5
    by_hand = {"first": live[0], "second": live[1], "and": live[0] & live[1], "or": live[0] | live[1]}
    found = {one.policy: one for one in compare_policies(shown, second, thresholds=(1.0, 0.5), target=0.05)}
    for name, decided in by_hand.items():
        rates = found[name].rates  # type: ignore[index]
        assert rates is not None
        assert rates.bpcer.numerator == np.count_nonzero(~decided & (KINDS == ""))
        assert [one.rate.numerator for one in rates.species] == [
            np.count_nonzero(decided & (kind == KINDS)) for kind in ("mask", "print")
        ]
    assert found["or"].n_opened == np.count_nonzero(~live[0] & live[1])
    assert found["and"].n_closed == np.count_nonzero(live[0] & ~live[1])
    assert (found["and"].n_opened, found["or"].n_closed) == (0, 0)


def test_fusion_of_detectors_that_see_different_species_holds_the_target_at_less_cost() -> None:
    shown, second = two_detectors()
    fused = compare_policies(shown, second, thresholds=(1.0, 1.0), target=0.05)[-1].rates
    assert fused is not None
    assert fused.worst is not None
    assert fused.worst.value <= 0.05
    alone = compare_policies(shown, second, thresholds=(2.6, 2.6), target=0.05)[0].rates
    assert alone is not None
    assert fused.bpcer.value is not None
    assert alone.bpcer.value is not None
    assert fused.bpcer.value < alone.bpcer.value


def test_one_response_suffices_for_or_and_both_are_needed_for_and() -> None:
    shown = check_presentations([1.0, np.nan, 1.0], [False, True, True], species=["", "mask", "mask"])
    found = compare_policies(shown, [1.0, 1.0, np.nan], thresholds=(0.5, 0.5), target=1.0)
    of_mask = {one.policy: one.rates.species[0].rate.denominator for one in found if one.rates}
    assert (of_mask["and"], of_mask["or"]) == (0, 2)
    assert found[-1].reason == "the scores of bona fide presentations do not vary"


def test_scores_of_other_presentations_are_refused() -> None:
    shown, second = two_detectors()
    with pytest.raises(MetricError, match="a second score"):
        compare_policies(shown, second[1:], thresholds=(0, 0), target=0.1)
