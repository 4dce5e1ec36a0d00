"""The analysis of a study: who came, bounds of looks, sets that disagree, arms that are not as assigned."""

from dataclasses import replace

import numpy as np
import pytest

from cv_quality.errors import LookError
from cv_quality.studies.analysis import (
    Look,
    Participation,
    StudyAnalysis,
    analyse_study,
    plan_look,
    ratio_p_value,
    study_flow,
)
from cv_quality.studies.assignment import AssignedSubject
from cv_quality.studies.comparison import Difference, compare_rates
from cv_quality.studies.looks import LookRecord
from cv_quality.studies.protocol import AnalysisSet, StudyEndpoint, StudyProtocol, parse_protocol

TEXT = """
study: s
purpose: {kind: non_inferiority, candidate: b, reference: a}
population: {unit: subject}
design: {arms: parallel, attempts_per_subject: 3}
endpoints:
  - {id: frr, metric: frr, margin: 0.02, role: primary}
  - {id: fta, metric: fta, margin: 0.02, role: secondary}
analysis: {alpha: 0.05, sides: one}
sample_size: {power: 0.9, assume: {values: {frr: 0.03, fta: 0.03}}}
looks: {rule: lan_demets_obf, at_information: [0.5, 0.75, 1.0]}
top_up: {allowed: true, max_subjects: 1000}
"""
PROTOCOL = parse_protocol(TEXT.encode(), file="s.yaml")
LAST = Look(number=3, is_last=True, may_be_topped_up=False, information=1.0, bound=1.72, alpha=0.0427, alpha_spent=0.05)
EVERYONE = frozenset(f"s{number:03}" for number in range(400))


def assigned(number: int, arm: str = "", conditions: tuple[str, ...] = ()) -> AssignedSubject:
    return AssignedSubject(f"s{number:03}", (), arm, (), conditions)


def analysed(
    *,
    extra: int,
    clean: frozenset[str] = EVERYONE,
    extra_of_clean: int | None = None,
    protocol: StudyProtocol = PROTOCOL,
    look: Look = LAST,
    arms: tuple[int, int] = (200, 200),
) -> StudyAnalysis:
    """A study in which so many subjects of a set have one more error under the candidate."""
    rng = np.random.default_rng(0)
    trials = np.full(400, 10)
    before = rng.binomial(trials, rng.beta(1, 30, 400))

    def difference(endpoint: StudyEndpoint, subjects: frozenset[str]) -> Difference:
        more = extra if len(subjects) == 400 or extra_of_clean is None else extra_of_clean
        n = len(subjects)
        after = np.minimum(before[:n] + (np.arange(n) < more), 10)
        return compare_rates(endpoint.metric, (before[:n], trials[:n]), (after, trials[:n]))

    came = {f"s{number:03}": Participation({"a" if number < arms[0] else "b": 3}) for number in range(sum(arms))}
    sheet = [assigned(number, "a" if number < arms[0] else "b") for number in range(sum(arms))]
    flow, _ = study_flow(protocol, sheet, came)
    sets: dict[AnalysisSet, frozenset[str]] = {"intention_to_treat": EVERYONE, "per_protocol": clean}
    return analyse_study(protocol, look=look, flow=flow, sets=sets, difference=difference)


def test_subjects_are_followed_from_the_sheet_to_their_last_attempt() -> None:
    sheet = [
        assigned(0, "a", ("dark", "light")),
        assigned(1, "b", ("light", "dark")),
        assigned(2, "a"),
        assigned(3, "b"),
    ]
    came = {
        "s000": Participation({"a": 3}, ("dark", "dark", "light")),
        "s001": Participation({"b": 3}, ("dark", "light", "light")),
        "s002": Participation({"b": 2}),
        "s009": Participation({"a": 3}),
    }
    flow, clean = study_flow(PROTOCOL, sheet, came)
    assert (flow.assigned, flow.enrolled, flow.completed, flow.dropped) == (4, 4, 3, 1)
    assert flow.deviations == {"not_assigned": 1, "too_few_attempts": 1, "wrong_arm": 1, "wrong_order": 1}
    assert flow.arms == {"b": 1, "a": 2}
    assert clean == {"s000"}


def test_arms_that_are_not_as_assigned_decide_nothing() -> None:
    assert ratio_p_value([480, 520]) > 0.1
    assert ratio_p_value([150, 250]) < 0.001
    found = analysed(extra=0, arms=(150, 250))
    assert found.flow.is_ratio_broken
    assert (found.verdict, found.reason) == ("insufficient", "arms are not as they were assigned")


def taken(number: int, information: float, spent: float) -> LookRecord:
    return LookRecord(
        study="s",
        number=number,
        parent=None,
        by="me",
        at="2026-11-27T00:00:00+00:00",
        information=information,
        alpha_spent=spent,
        data_digest="",
        verdict="insufficient",
        lock="",
    )


WITHOUT_TOP_UP = replace(PROTOCOL, top_up=replace(PROTOCOL.top_up, allowed=False))


def test_bounds_of_looks_are_those_of_lan_and_demets() -> None:
    ledger: list[LookRecord] = []
    expected = [(0.5, 2.537988), (0.75, 2.015923), (1.0, 1.720132)]
    for number, (information, bound) in enumerate(expected, start=1):
        look = plan_look(WITHOUT_TOP_UP, ledger, number=number, information=information)
        assert look.bound == pytest.approx(bound, abs=1e-6)
        assert (look.is_last, look.may_be_topped_up) == (number == 3, False)
        ledger.append(taken(number, information, look.alpha_spent))
    assert look.alpha_spent == pytest.approx(0.05)


def test_a_top_up_is_one_more_look_that_is_paid_for() -> None:
    fixed = replace(PROTOCOL, looks=replace(PROTOCOL.looks, rule="fixed", at_information=(1.0,)))
    end = plan_look(fixed, [], number=1, information=1.0, planned_subjects=500)
    assert (end.is_last, end.may_be_topped_up) == (False, True)
    assert end.alpha == pytest.approx(0.05 * np.log1p((np.e - 1) / 2))
    more = plan_look(fixed, [taken(1, 1.0, end.alpha_spent)], number=2, information=1.7, planned_subjects=500)
    assert more.is_last
    assert more.alpha_spent == pytest.approx(0.05)
    assert more.alpha < 0.05 - 0.3 * end.alpha
    by_three = plan_look(PROTOCOL, [], number=3, information=1.0, planned_subjects=500)
    assert by_three.bound > 1.720132
    with pytest.raises(LookError, match="a top-up to 1000 subjects is none"):
        plan_look(fixed, [taken(1, 1.0, 0.05)], number=2, information=1.2, planned_subjects=1_000)


def test_one_look_and_sequences_have_their_bounds() -> None:
    fixed = replace(WITHOUT_TOP_UP, looks=replace(PROTOCOL.looks, rule="fixed", at_information=(1.0,)))
    assert plan_look(fixed, [], number=1, information=1.2).bound == pytest.approx(1.644854, abs=1e-6)
    anytime = replace(PROTOCOL, looks=replace(PROTOCOL.looks, rule="confidence_sequence", at_information=()))
    bounds = [plan_look(anytime, [], number=1, information=part).bound for part in (0.1, 0.5, 1.0)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] > 2.2
    assert not plan_look(anytime, [], number=9, information=1.0).is_last
    with pytest.raises(LookError, match="begins with 50 subjects"):
        plan_look(anytime, [], number=1, information=0.1, planned_subjects=400)


def test_endpoints_pass_fail_or_are_insufficient_on_both_sets() -> None:
    assert analysed(extra=0).verdict == "pass"
    assert analysed(extra=20).verdict == "pass"
    assert analysed(extra=200).verdict == "fail"
    near = analysed(extra=75)
    assert near.verdict == "insufficient"
    assert not any("top up" in note for note in near.notes)
    end = replace(LAST, is_last=False, may_be_topped_up=True)
    capped = analysed(extra=70, look=end)
    assert any("more than the 1,000 that the protocol allows" in note for note in capped.notes)
    roomy = replace(PROTOCOL, top_up=replace(PROTOCOL.top_up, max_subjects=5_000))
    found = analysed(extra=70, look=end, protocol=roomy)
    assert any("subjects in all would settle it: top up" in note for note in found.notes)


def test_sets_that_disagree_are_insufficient() -> None:
    dropped = frozenset(sorted(EVERYONE)[:300])
    found = analysed(extra=200, clean=dropped, extra_of_clean=20)
    assert found.verdict == "insufficient"
    assert "the sets disagree (intention to treat: fail; per protocol: pass)" in found.reason


def test_secondary_endpoints_open_behind_the_primary_ones() -> None:
    assert [item.verdict for item in analysed(extra=20).endpoints] == ["pass", "pass"]
    closed = analysed(extra=75).endpoints[1]
    assert closed.verdict == "insufficient"


def test_a_hopeless_trend_is_called_futile_and_decides_nothing() -> None:
    look = replace(LAST, number=1, is_last=False, information=0.5, bound=2.54, alpha=0.0056, alpha_spent=0.0056)
    found = analysed(extra=85, look=look)
    assert found.verdict == "insufficient"
    assert any("futile" in note for note in found.notes)
    hopeful = analysed(extra=20, look=look)
    assert not any("futile" in note for note in hopeful.notes)


def test_superiority_asks_for_less_than_nothing() -> None:
    superior = replace(PROTOCOL, purpose=replace(PROTOCOL.purpose, kind="superiority"))
    assert analysed(extra=20, protocol=superior).verdict == "fail"


def test_a_set_without_subjects_is_refused() -> None:
    with pytest.raises(LookError, match="no subject is in the set per_protocol"):
        analysed(extra=0, clean=frozenset())
