"""What is said about a change follows from the intervals, and from nothing weaker."""

from collections.abc import Sequence

import duckdb
import pytest

from cv_quality.tasks.verification.report.facts import (
    BANDS,
    Dimension,
    Headline,
    Level,
    Rate,
    direction,
    is_sufficient,
    target_text,
)
from cv_quality.tasks.verification.report.facts import _band_order as band_order
from cv_quality.tasks.verification.report.queries import Query, literal
from cv_quality.tasks.verification.report.verdict import find, largest_rise

QUERY = Query(warehouse=None, lake="SELECT 1")


def _rate(value: float, *, half: float = 0.01, n: int = 1_000, reason: str | None = None) -> Rate:
    low, high = max(0.0, value - half), value + half
    return Rate(
        value=value, numerator=round(value * n), denominator=n, low=low, high=high, n_subjects=30, reason=reason
    )


def _headline(build: Rate, baseline: Rate | None, *, target: float = 1e-3, is_firm: bool = True) -> Headline:
    name = f"FNMR at FMR {target_text(target)}"
    return Headline(name, "", build, baseline, QUERY, fmr_target=target, is_firm=is_firm)


def _level(level: str, build: Rate, baseline: Rate) -> Level:
    return Level("illuminance_band", level, build, baseline, is_sufficient=is_sufficient(build))


def _dimension(*levels: Level) -> Sequence[Dimension]:
    return [Dimension("illuminance_band", "illuminance", levels, QUERY)]


def test_overlapping_intervals_are_neither_worse_nor_better() -> None:
    assert direction(_rate(0.05), _rate(0.04)) == "unclear"
    assert direction(_rate(0.06), _rate(0.03)) == "worse"
    assert direction(_rate(0.03), _rate(0.06)) == "better"


def test_a_rate_without_an_interval_is_not_judged() -> None:
    assert direction(Rate(value=0.9), _rate(0.03)) == "unknown"
    assert direction(_rate(0.9), None) == "unknown"


def test_a_level_with_few_errors_is_not_ranked() -> None:
    few = _rate(0.5, n=8, reason="insufficient: 0.2 errors expected, 5 needed")
    assert not is_sufficient(few)
    assert not is_sufficient(Rate(reason="no trial"))
    assert largest_rise([_level("<10", few, _rate(0.01))]) is None


def test_many_errors_seen_where_few_were_expected_are_ranked() -> None:
    surprise = _rate(0.5, n=60, reason="insufficient: 1.2 errors expected, 5 needed")
    assert is_sufficient(surprise)


def test_the_sentence_names_the_level_with_the_largest_clear_rise() -> None:
    levels = _dimension(_level("<10", _rate(0.2), _rate(0.02)), _level("10-100", _rate(0.08), _rate(0.02)))
    finding = find([_headline(_rate(0.063), _rate(0.012))], dimensions=levels, has_baseline=True)
    assert finding.sentence == (
        "FNMR at FMR 1e-3 rose from 1.2 % to 6.3 %; "
        "the largest rise is at illuminance below 10 lux, from 2 % to 20 % at the decision threshold."
    )
    assert finding.direction == "worse"


def test_the_sentence_does_not_claim_a_change_that_chance_may_explain() -> None:
    finding = find([_headline(_rate(0.015), _rate(0.012))], dimensions=[], has_baseline=True)
    assert "chance may explain" in finding.sentence
    assert "rose" not in finding.sentence.partition(";")[0]
    assert finding.direction == "unclear"


def test_the_sentence_speaks_of_the_strictest_target_that_both_models_have() -> None:
    undefined = Rate(reason="needs >= 1e+06 trials, has 700")
    headlines = [
        _headline(_rate(0.02), _rate(0.02)),
        _headline(_rate(0.07), _rate(0.03), target=1e-4),
        _headline(undefined, undefined, target=1e-6),
    ]
    assert find(headlines, dimensions=[], has_baseline=True).sentence.startswith("FNMR at FMR 1e-4 rose")


def test_a_target_that_few_false_matches_decide_does_not_lead() -> None:
    headlines = [_headline(_rate(0.07), _rate(0.03)), _headline(_rate(0.5), _rate(0.1), target=1e-4, is_firm=False)]
    assert find(headlines, dimensions=[], has_baseline=True).sentence.startswith("FNMR at FMR 1e-3 rose")


def test_a_level_that_was_not_recorded_is_no_place() -> None:
    assert largest_rise([_level("unknown", _rate(0.2), _rate(0.02))]) is None


def test_data_that_show_nothing_are_said_to_show_nothing() -> None:
    undefined = Rate(reason="needs >= 1000 trials, has 12")
    finding = find([_headline(undefined, undefined)], dimensions=[], has_baseline=True)
    assert finding.sentence == "The data do not suffice for a statement: needs >= 1000 trials, has 12."
    assert finding.direction == "unknown"


def test_bands_are_in_the_order_of_their_numbers() -> None:
    assert "illuminance_band" in BANDS
    names = ["unknown", ">=1000", "10-100", "100-1000", "<10"]
    assert sorted(names, key=band_order) == ["<10", "10-100", "100-1000", ">=1000", "unknown"]


@pytest.mark.parametrize("name", ["it's", "'; DROP TABLE fct_intervals; --"])
def test_a_quote_cannot_leave_a_literal(name: str) -> None:
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {literal(name)}").fetchall() == [(name,)]
