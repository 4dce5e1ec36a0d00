"""What is said about a change follows from the intervals, and from nothing weaker."""

from collections.abc import Sequence

from cv_quality.metrics.rates import Rate
from cv_quality.reports.queries import Query
from cv_quality.reports.rates import is_sufficient, target_text, undefined
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.report.data import DimensionRates, Headline, LevelRates, level_order
from cv_quality.tasks.verification.report.key_finding import find, largest_rise
from cv_quality_tests.reports.rates import made_pair
from cv_quality_tests.reports.rates import made_rate as rate

QUERY = Query(warehouse=None, lake="SELECT 1")
ILLUMINANCE = next(item for item in FACE.conditions if item.name == "illuminance_lux")


def _headline(build: Rate, baseline: Rate | None, *, target: float = 1e-3, is_firm: bool = True) -> Headline:
    name = f"FNMR at FMR {target_text(target)}"
    return Headline(name, "", made_pair(build, baseline), QUERY, fmr_target=target, is_firm=is_firm)


def _level(level: str, build: Rate, baseline: Rate) -> LevelRates:
    return LevelRates(ILLUMINANCE, level, made_pair(build, baseline, is_ranked=is_sufficient(build)))


def _dimension(*levels: LevelRates) -> Sequence[DimensionRates]:
    return [DimensionRates(ILLUMINANCE, levels, QUERY)]


def test_the_sentence_names_the_level_with_the_largest_clear_rise() -> None:
    levels = _dimension(_level("<10", rate(0.2), rate(0.02)), _level("10-100", rate(0.08), rate(0.02)))
    finding = find([_headline(rate(0.063), rate(0.012))], dimensions=levels, has_baseline=True)
    assert finding.sentence == (
        "FNMR at FMR 1e-3 rose from 1.2 % to 6.3 %; "
        "the largest rise is at illuminance below 10 lux, from 2 % to 20 % at the decision threshold."
    )
    assert finding.direction == "worse"


def test_the_sentence_does_not_claim_a_change_that_chance_may_explain() -> None:
    finding = find([_headline(rate(0.015), rate(0.012))], dimensions=[], has_baseline=True)
    assert "chance may explain" in finding.sentence
    assert "rose" not in finding.sentence.partition(";")[0]
    assert finding.direction == "unclear"


def test_the_sentence_speaks_of_the_strictest_target_that_both_models_have() -> None:
    missing = undefined("needs >= 1,000,000 trials, has 700")
    headlines = [
        _headline(rate(0.02), rate(0.02)),
        _headline(rate(0.07), rate(0.03), target=1e-4),
        _headline(missing, missing, target=1e-6),
    ]
    assert find(headlines, dimensions=[], has_baseline=True).sentence.startswith("FNMR at FMR 1e-4 rose")


def test_a_target_that_few_false_matches_decide_does_not_lead() -> None:
    headlines = [
        _headline(rate(0.07), rate(0.03)),
        _headline(rate(0.5), rate(0.1), target=1e-4, is_firm=False),
    ]
    assert find(headlines, dimensions=[], has_baseline=True).sentence.startswith("FNMR at FMR 1e-3 rose")


def test_a_level_that_was_not_recorded_is_no_place() -> None:
    assert largest_rise([_level("unknown", rate(0.2), rate(0.02))]) is None


def test_data_that_show_nothing_are_said_to_show_nothing() -> None:
    missing = undefined("needs >= 1,000 trials, has 12")
    finding = find([_headline(missing, missing)], dimensions=[], has_baseline=True)
    assert finding.sentence == "The data do not suffice for a statement: needs >= 1,000 trials, has 12."
    assert finding.direction == "unknown"


def test_a_level_with_few_errors_is_no_rise() -> None:
    few = rate(0.5, n=8, reason="insufficient: 0.2 errors expected, 5 needed")
    assert largest_rise([_level("<10", few, rate(0.01))]) is None


def test_bands_are_in_their_declared_order_and_unknown_is_last() -> None:
    names = ["unknown", ">=1000", "10-100", "100-1000", "<10"]
    assert sorted(names, key=level_order(ILLUMINANCE)) == ["<10", "10-100", "100-1000", ">=1000", "unknown"]


def test_levels_of_an_open_set_are_in_the_order_of_their_names() -> None:
    label = next(item for item in FACE.conditions if item.name == "condition_label")
    assert sorted(["unknown", "b", "none", "a"], key=level_order(label)) == ["none", "a", "b", "unknown"]
