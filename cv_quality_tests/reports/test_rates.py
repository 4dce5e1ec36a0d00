"""A change is called worse or better only where intervals allow it; a rate is ranked only with enough errors."""

import pytest

from cv_quality.reports.rates import Change, RatePair, is_sufficient, method_names, read_rate, undefined
from cv_quality_tests.reports.rates import made_pair, made_rate


def test_a_change_whose_interval_holds_0_is_neither_worse_nor_better() -> None:
    assert made_pair(made_rate(0.05), made_rate(0.04)).direction == "unclear"
    assert made_pair(made_rate(0.06), made_rate(0.03)).direction == "worse"
    assert made_pair(made_rate(0.03), made_rate(0.06)).direction == "better"


def test_the_change_decides_and_not_whether_the_rates_intervals_touch() -> None:
    touching = RatePair(made_rate(0.045), made_rate(0.03), change=Change(0.005, 0.025))
    assert touching.direction == "worse"
    apart = RatePair(made_rate(0.06), made_rate(0.03), change=Change(-0.001, 0.061))
    assert apart.direction == "unclear"


def test_a_rate_without_an_interval_is_not_judged() -> None:
    assert made_pair(made_rate(0.9, half=None), made_rate(0.03)).direction == "unknown"
    assert made_pair(made_rate(0.9), None).direction == "unknown"


def test_a_method_is_listed_once_whatever_it_estimated() -> None:
    exact, combined = "Clopper-Pearson at {} effective trials, 95 %", "combined (MOVER), 95 %, correlation {}"
    texts = [
        exact.format(17.49),
        exact.format("1.2e+05"),
        f"{combined.format(-0.02)}; insufficient: 4 errors, 5 needed",
    ]
    texts += [combined.format(-0.11), "dyadic sandwich, 95 %, design effect 2.10, 37 degrees of freedom, raised to 2.3"]
    assert method_names([None, *texts]) == [
        "Clopper-Pearson at the effective trials, 95 %",
        "combined (MOVER), 95 %",
        "dyadic sandwich, 95 %",
    ]


def test_a_pair_that_is_not_ranked_is_not_judged() -> None:
    assert made_pair(made_rate(0.9), made_rate(0.03), is_ranked=False).direction == "unknown"


def test_an_undefined_rate_has_neither_difference_nor_ratio() -> None:
    pair = RatePair(made_rate(0.5), undefined("no trial"))
    assert (pair.delta, pair.ratio) == (None, None)
    assert RatePair(made_rate(0.5), made_rate(0.0)).ratio is None
    assert RatePair(made_rate(0.5), made_rate(0.25)).ratio == 2.0


def test_a_rate_with_few_errors_is_not_ranked() -> None:
    assert not is_sufficient(made_rate(0.5, n=8, reason="insufficient: 0.2 errors expected, 5 needed"))
    assert not is_sufficient(undefined("no trial"))


def test_many_errors_seen_where_few_were_expected_are_ranked() -> None:
    assert is_sufficient(made_rate(0.5, n=60, reason="insufficient: 1.2 errors expected, 5 needed"))


@pytest.mark.parametrize("value", [None, 0.25])
def test_a_row_is_read_as_the_rate_that_it_holds(value: float | None) -> None:
    row = {"value": value, "numerator": 1, "denominator": 4, "low": 0.1, "high": 0.6, "reason": "few", "n_subjects": 2}
    rate = read_rate(row)
    assert (rate.value, rate.numerator, rate.denominator, rate.low, rate.high) == (value, 1, 4, 0.1, 0.6)
    assert (rate.reason, rate.n_subjects, rate.method, rate.n_effective) == ("few", 2, None, None)
