"""A plan asks for the subjects that simulated studies need, and says what it rests on."""

import math

import numpy as np
import pytest
from scipy import stats

from cv_quality.errors import MetricError
from cv_quality.studies.analysis import plan_look
from cv_quality.studies.looks import LookRecord
from cv_quality.studies.plan_words import endpoint_rows, plan_sentences
from cv_quality.studies.planned_variance import log_slope, pilot_agreement, pilot_rate
from cv_quality.studies.planning import StudyPlan, plan_study, sequence_inflation
from cv_quality_tests.studies.protocols import RELEASE, parsed

SIZED = RELEASE.replace(
    "assume: {icc: 0.15, fmr_cv: 1.0}",
    "assume: {icc: 0.15, fmr_cv: 1.0, values: {fnmr: 0.03, fnmr_dark: 0.08}, log_sd: {latency_p95: 0.3}}",
)
RATE = SIZED.replace(
    "metric: fnmr_at_fmr, fmr: 1.0e-4, threshold: re_estimated, margin: 0.005", "metric: frr, margin: 0.02"
)


def plan(text: str = SIZED) -> StudyPlan:
    return plan_study(parsed(text))


def asked(text: str, *, endpoint: int = 0) -> int:
    found = plan(text).endpoints[endpoint].subjects
    assert found is not None
    return found


def beta_rates(rng: np.random.Generator, rate: float, icc: float, shape: tuple[int, ...]) -> np.ndarray:
    scale = 1 / icc - 1
    return rng.beta(rate * scale, (1 - rate) * scale, size=shape)


def test_the_plan_is_that_of_its_most_demanding_primary_endpoint() -> None:
    found = plan()
    sizes = [item.subjects for item in found.endpoints]
    assert found.subjects == max(size for size in sizes[:2] if size is not None)
    assert found.enrolled == math.ceil(found.subjects / 0.9)
    powers = [item.power for item in found.endpoints if item.power is not None]
    assert min(powers) == pytest.approx(0.9, abs=0.001)
    assert found.power_of_all is not None
    assert found.power_of_all <= min(powers)
    assert all(item.assumptions for item in found.endpoints)


def test_simulated_studies_of_the_planned_size_pass_as_often_as_planned() -> None:
    text = RATE.replace("looks: {rule: lan_demets_obf, at_information: [0.5, 0.75, 1.0]}\n", "")
    n, runs, rng = asked(text), 4000, np.random.default_rng(11)
    rates = [rng.binomial(10, beta_rates(rng, 0.03, 0.15, (runs, n))) / 10 for _ in range(2)]
    difference = rates[0] - rates[1]
    bound = difference.mean(axis=1) + 1.645 * difference.std(axis=1, ddof=1) / math.sqrt(n)
    assert float((bound < 0.02).mean()) == pytest.approx(0.9, abs=0.02)


def test_looks_raise_the_size_by_their_inflation() -> None:
    fixed = RATE.replace("looks: {rule: lan_demets_obf, at_information: [0.5, 0.75, 1.0]}\n", "")
    found = plan(RATE)
    assert asked(RATE) == pytest.approx(asked(fixed) * found.inflation, abs=2)
    assert [round(bound, 6) for bound in found.bounds] == [2.537988, 2.015923, 1.720132]
    assert found.expected_subjects is not None
    assert found.expected_subjects[0] < found.expected_subjects[1] < (found.subjects or 0)


def test_a_confidence_sequence_costs_more_than_looks() -> None:
    sequence = RATE.replace("{rule: lan_demets_obf, at_information: [0.5, 0.75, 1.0]}", "{rule: confidence_sequence}")
    assert asked(sequence) > 1.5 * asked(RATE)
    assert sequence_inflation(alpha=0.025, power=0.8) == pytest.approx(
        ((3.035209 + 0.841621) / 2.801585) ** 2, rel=1e-3
    )


def test_sizes_move_as_their_assumptions_do() -> None:
    assert asked(RATE.replace("icc: 0.15", "icc: 0.3")) > asked(RATE)
    assert asked(SIZED.replace("fmr_cv: 1.0", "fmr_cv: 2.0")) > asked(SIZED)
    assert asked(SIZED.replace("threshold: re_estimated", "threshold: fixed")) < asked(SIZED)
    assert asked(RATE.replace("icc: 0.15", "icc: 0.15, agreement: 0.5")) == pytest.approx(asked(RATE) / 2, abs=1)
    parallel = asked(RATE.replace("arms: paired", "arms: parallel"))
    assert parallel == pytest.approx(2 * asked(RATE), abs=2)
    assert parallel % 2 == 0
    assert asked(RATE.replace("sides: one", "sides: two")) > asked(RATE)


def test_a_scope_counts_only_the_attempts_in_it() -> None:
    whole = SIZED.replace("scope: {illuminance: dark}, ", "")
    assert asked(SIZED, endpoint=1) > asked(whole, endpoint=1)


def test_the_sensitivity_and_the_costs_hold_the_plan_itself() -> None:
    found = plan()
    assumed = [item for item in found.sensitivity if item.is_assumed]
    assert {item.assumption for item in assumed} == {"icc", "fmr_cv", "agreement", "expected_attrition"}
    assert {item.enrolled for item in assumed} == {found.enrolled}
    assert next(item.enrolled for item in found.costs if item.attempts_per_subject == 10) == found.enrolled
    priced = plan(SIZED.replace("{power: 0.90", "{cost: {per_subject: 40, per_attempt: 2}, power: 0.90"))
    assert all(item.cost == item.enrolled * (40 + 2 * item.attempts_per_subject) for item in priced.costs)


def test_precision_asked_for_is_reached() -> None:
    found = plan(SIZED.replace("{power: 0.90", "{precision: {fnmr: 0.004}, power: 0.90")).endpoints[0]
    assert found.for_precision is not None
    assert found.half_width is not None
    n = plan().subjects or 0
    assert found.for_precision == pytest.approx(n * (found.half_width / 0.004) ** 2, rel=0.01)


def test_what_cannot_be_sized_is_said() -> None:
    found = plan(RELEASE)
    assert found.subjects is None
    said = plan_sentences(found)
    assert said[0] == "insufficient to plan: no primary endpoint can be sized"
    assert "fnmr: cannot be sized: no pilot shows fnmr_at_fmr, and sample_size.assume.values has no fnmr" in said
    assert [row["complete"] for row in endpoint_rows(found)] == [None, None, None]


def test_a_plan_beyond_the_top_up_is_insufficient() -> None:
    assert "insufficient: more than the 1,200 subjects that the top-up allows are asked for" in plan_sentences(plan())


@pytest.mark.parametrize("looks", ["looks: {rule: fixed}", "looks: {rule: lan_demets_obf, at_information: [0.5, 1.0]}"])
def test_what_a_top_up_costs_at_the_planned_end_is_planned_for(looks: str) -> None:
    """Both the bound of the planned end and the power there are those that the study will have."""
    end = RATE.index("looks: {")
    alone = RATE[:end] + looks
    protocol = parsed(f"{alone}\ntop_up: {{allowed: true, max_subjects: 9000}}\n")
    without, found = plan_study(parsed(alone)), plan_study(protocol)
    assert without.subjects is not None
    assert found.subjects is not None
    assert found.subjects > 1.01 * without.subjects
    assert found.endpoints[1].power == pytest.approx(0.9, abs=2e-3)
    before = [
        LookRecord(
            study="s",
            number=1,
            lock="",
            by="",
            at="",
            information=0.5,
            alpha_spent=0,
            data_digest="",
            verdict="insufficient",
        )
    ]
    times = protocol.looks.at_information
    look = plan_look(
        protocol, before[: len(times) - 1], number=len(times), information=1, planned_subjects=found.subjects
    )
    assert look.may_be_topped_up
    assert found.bounds[-1] == pytest.approx(look.bound, abs=1e-3)
    assert "and the right to a top-up to 9,000 subjects need" in found.notes[0]


def test_a_study_that_no_number_of_subjects_settles_is_not_sized() -> None:
    found = plan(SIZED.replace("margin: 0.005", "margin: 1.0e-9")).endpoints[0]
    assert (found.subjects, found.reason) == (None, "more than 10,000,000 subjects would be needed")


def test_a_superiority_study_without_an_expected_gain_is_not_sized() -> None:
    text = SIZED.replace("non_inferiority", "superiority").replace(" margin: 0.005,", "").replace(" margin: 0.01,", "")
    assert plan(text).endpoints[0].reason == "without a margin nothing is asked for"


def test_the_slope_is_that_of_normal_scores() -> None:
    fmr, apart = 1e-3, stats.norm.isf(1e-3) - stats.norm.ppf(0.03)
    fnmr = [stats.norm.cdf(stats.norm.isf(rate) - apart) for rate in (fmr * math.exp(-1e-4), fmr * math.exp(1e-4))]
    assert log_slope(0.03, fmr) == pytest.approx((fnmr[0] - fnmr[1]) / 2e-4, rel=1e-4)


def test_a_pilot_tells_rate_icc_and_agreement() -> None:
    rng = np.random.default_rng(2)
    own = beta_rates(rng, 0.2, 0.3, (40_000,))
    trials = rng.integers(2, 12, size=40_000)
    first, second = rng.binomial(trials, own), rng.binomial(trials, own)
    found = pilot_rate(first, trials)
    assert found.value == pytest.approx(0.2, abs=0.005)
    assert found.icc == pytest.approx(0.3, abs=0.01)
    told = pilot_agreement((first, trials), (second, trials))
    between, within = 0.3 * 0.16, 0.7 * 0.16 * float((1 / trials).mean())
    assert told == pytest.approx(between / (between + within), abs=0.01)
    assert pilot_agreement((first, trials), (first, trials)) == 0.99
    assert pilot_agreement(([0], [1]), ([0], [1])) is None
    assert pilot_rate([0, 0], [5, 5]).icc is None
    with pytest.raises(MetricError, match="without a trial"):
        pilot_rate([0], [0])
