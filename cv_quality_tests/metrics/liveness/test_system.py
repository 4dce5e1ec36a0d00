"""The whole system: IAPAR, RIAPAR, the waterfall that adds up, and the a-DCF."""

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.liveness.presentations import check_presentations
from cv_quality.metrics.liveness.system import false_rejects, system_attack_rates, waterfall
from cv_quality.metrics.liveness.tandem_cost import TandemWeights, a_dcf


def test_waterfall_of_ten_thousand_presentations_adds_up_to_the_last() -> None:
    rng, n = np.random.default_rng(0), 10_000
    kinds = rng.choice(["bona fide", "zero-effort impostor", "print", "mask"], n)
    captured, live, matched = (rng.random(n) < p for p in (0.95, 0.6, 0.5))
    found = waterfall(kinds, captured=captured, live=live, matched=matched)
    assert found.presented == n
    for fate in found.fates:
        assert fate.capture + fate.liveness + fate.matcher + fate.accepted == fate.presented
        assert fate.accepted == np.count_nonzero(captured & live & matched & (kinds == fate.kind))
    assert [fate.kind for fate in found.fates] == ["bona fide", "zero-effort impostor", "mask", "print"]


def test_riapar_is_iapar_and_the_false_rejects_of_the_same_system() -> None:
    rng, n = np.random.default_rng(1), 2_000
    kinds = rng.choice(["", "print", "mask"], n)
    people = rng.integers(0, 40, n).astype(str)
    scores = np.where(rng.random(n) < 0.05, np.nan, rng.normal(size=n))
    shown = check_presentations(scores, kinds != "", species=kinds, subject=people)
    passed = ~np.isnan(scores) & (scores > 0)
    frr = false_rejects(shown, passed)
    assert frr.value == np.mean(~passed[kinds == ""])
    for found in system_attack_rates(shown, passed, frr=frr.value):
        of = kinds == found.species
        assert found.iapar.value == np.mean(passed[of])
        assert found.riapar == np.mean(passed[of]) + frr.value


def test_match_without_a_response_is_refused() -> None:
    shown = check_presentations([np.nan], [True], species=["mask"])
    with pytest.raises(MetricError, match="1 presentations without a response are called matches"):
        system_attack_rates(shown, [True], frr=0.0)


def test_cost_is_the_smallest_over_every_threshold() -> None:
    rng = np.random.default_rng(4)
    target, other, spoof = rng.normal(2, 1, 50).round(1), rng.normal(0, 1, 60).round(1), rng.normal(1, 1, 40).round(1)
    weights = TandemWeights(0.5, 0.3, 0.2, 2.0, 3.0, 4.0)
    costs = [
        2.0 * 0.5 * np.mean(target < t) + 3.0 * 0.3 * np.mean(other >= t) + 4.0 * 0.2 * np.mean(spoof >= t)
        for t in [*np.concatenate([target, other, spoof]), np.inf]
    ]
    assert a_dcf(target, other, spoof, weights=weights).value == pytest.approx(min(costs) / min(1.0, 0.9 + 0.8))


def test_cost_of_public_code_is_met() -> None:
    assert round(a_dcf([5, 6, 7, 8], [1, 2, 3, 6.5], [0, 4, 5.5, 7.5]).value, 6) == 0.666667
    assert a_dcf([3, 3], [3], [3, 3]).value == 1.0


@pytest.mark.parametrize("given", [([], [1], [1]), ([1], [], [1]), ([1], [1], []), ([1], [np.nan], [1])])
def test_cost_needs_all_three_kinds(given: tuple[list[float], list[float], list[float]]) -> None:
    with pytest.raises(MetricError):
        a_dcf(*given)


def test_priors_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(MetricError, match="add up to 1"):
        TandemWeights(0.9, 0.05, 0.1)
