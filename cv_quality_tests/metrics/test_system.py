"""System rates against small populations counted one by one, and transactions against a loop over their attempts."""

import datetime as dt
import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.errors import MetricError
from cv_quality.metrics.system import (
    TransactionCounts,
    frr_by_subject,
    system_rates,
    transaction_outcomes,
    transaction_rates,
)

ATTEMPTS = st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), min_size=1, max_size=40)


def counts_of(attempts: list[tuple[str, bool]], k: int) -> TransactionCounts:
    return transaction_outcomes([name for name, _ in attempts], [hit for _, hit in attempts], attempts=k).counts()


def test_rates_of_one_attempt_are_those_of_a_population_counted_one_by_one() -> None:
    """Of 1,000 subjects 20 fail to enrol; the others try 10 times each, one attempt yields no sample, two miss."""
    attempts, enrolled = 980 * 10, 980
    rates = system_rates(fmr=3 / 8820, fnmr=2 / 9, fta=0.1, fte=0.02)
    assert rates.frr == pytest.approx((980 * 1 + 980 * 2) / attempts)
    assert rates.gfrr == pytest.approx((20 * 10 + enrolled * 3) / 10_000)
    assert rates.far == pytest.approx(3 / 9800)
    assert rates.gfar == pytest.approx(3 / 10_000)
    assert rates.reason is None


def test_unknown_failure_to_enrol_rate_leaves_generalised_rates_undefined() -> None:
    rates = system_rates(fmr=0.1, fnmr=0.2, fta=0.0)
    assert (rates.frr, rates.far, rates.gfrr, rates.gfar) == (0.2, 0.1, None, None)
    assert rates.reason is not None


@given(fmr=st.floats(0, 1), fnmr=st.floats(0, 1), fta=st.floats(0, 1), fte=st.floats(0, 1))
def test_failures_raise_rejections_and_lower_acceptances(fmr: float, fnmr: float, fta: float, fte: float) -> None:
    rates = system_rates(fmr=fmr, fnmr=fnmr, fta=fta, fte=fte)
    assert rates.gfrr is not None
    assert rates.gfar is not None
    assert fnmr - 1e-12 <= rates.frr <= rates.gfrr + 1e-12 <= 1 + 2e-12
    assert 0 <= rates.gfar <= rates.far <= fmr


@pytest.mark.parametrize("wrong", [{"fmr": -0.1}, {"fnmr": 1.1}, {"fta": float("nan")}, {"fte": 2.0}])
def test_a_rate_that_is_no_share_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(MetricError, match=next(iter(wrong)).upper()):
        system_rates(**{"fmr": 0.1, "fnmr": 0.1, "fta": 0.1, "fte": 0.1} | wrong)


@given(attempts=ATTEMPTS, k=st.integers(1, 4))
def test_a_transaction_accepts_when_any_of_its_first_k_attempts_does(attempts: list[tuple[str, bool]], k: int) -> None:
    counts = counts_of(attempts, k)
    tried = {name: [hit for other, hit in attempts if other == name][:k] for name, _ in attempts}
    assert counts.n_transactions == len(tried)
    for within in range(1, k + 1):
        assert counts.n_accepted(within) == sum(any(hits[:within]) for hits in tried.values())
    assert counts.n_cut_short == sum(len(hits) < k and not any(hits) for hits in tried.values())


@given(attempts=ATTEMPTS, k=st.integers(2, 4))
def test_more_attempts_lower_the_frr_and_raise_the_far(attempts: list[tuple[str, bool]], k: int) -> None:
    counts = counts_of(attempts, k)
    rates = [transaction_rates(counts, counts, within=within, fte=0.1).rates for within in range(1, k + 1)]
    for fewer, more in itertools.pairwise(rates):
        assert more.frr <= fewer.frr
        assert more.far >= fewer.far
    assert all(rate.frr == pytest.approx(1 - rate.far) for rate in rates)


@given(one=ATTEMPTS, other=ATTEMPTS)
def test_counts_of_two_drops_add_up_to_those_of_both(
    one: list[tuple[str, bool]], other: list[tuple[str, bool]]
) -> None:
    renamed = [(name.upper(), hit) for name, hit in other]
    total = counts_of(one, 3) + counts_of(other, 3)
    assert total.to_dict() == counts_of(one + renamed, 3).to_dict()


def test_attempts_count_in_the_order_of_their_times() -> None:
    times = [dt.datetime(2026, 3, 1, 12, minute) for minute in (9, 5, 7)]
    tried = ["a", "a", "a"], [True, False, False]
    by_time = transaction_outcomes(*tried, attempts=2, order=pl.Series(times))
    assert (by_time.first_accepted.tolist(), by_time.n_attempts.tolist()) == ([0], [2])
    assert transaction_outcomes(*tried, attempts=2).first_accepted.tolist() == [1]
    assert transaction_outcomes(*tried, attempts=2, order=[1, 1, 2]).first_accepted.tolist() == [1]


def test_the_frr_of_alike_attempts_is_not_the_power_of_that_of_one() -> None:
    """Two of ten people are always rejected: three attempts do not help them."""
    people = np.repeat(np.arange(10), 3)
    counts = transaction_outcomes(people, people > 1, attempts=3).counts()
    assert (
        transaction_rates(counts, counts, within=3).rates.frr
        == 0.2
        == transaction_rates(counts, counts, within=1).rates.frr
    )


def test_an_interval_of_transactions_is_clustered_by_subject() -> None:
    ids = np.arange(40)
    outcomes = transaction_outcomes(ids, ids % 8 > 1, attempts=1, subject=ids % 8)
    rate = frr_by_subject(outcomes, within=1)
    assert (rate.numerator, rate.denominator, rate.n_subjects) == (10, 40, 8)
    with pytest.raises(MetricError, match="pass `subject`"):
        frr_by_subject(transaction_outcomes(ids, ids > 1, attempts=1), within=1)


@pytest.mark.parametrize(
    ("transaction", "is_accepted", "options", "message"),
    [
        ([], [], {}, "no attempt"),
        ([1, 2], [True], {}, r"is_accepted of shape \(2,\)"),
        ([1], [1], {}, "is_accepted as bool"),
        (["a", None], [True, True], {}, "1 of 2 entries of transaction are missing"),
        (["a", "b"], pl.Series([True, None]), {}, "1 of 2 entries of is_accepted are missing"),
        ([1], [True], {"attempts": 0}, "1 attempt or more"),
        ([1, 1], [True, True], {"subject": ["p", "q"]}, "1 attempts are of another subject"),
        ([1], [True], {"order": [float("nan")]}, "order are missing"),
        ([1], [True], {"order": ["first"]}, "order as numbers or times"),
        ([[1]], [[True]], {}, "transaction of shape"),
    ],
)
def test_attempts_that_are_unclear_are_refused(
    transaction: list[object], is_accepted: list[object], options: dict[str, object], message: str
) -> None:
    with pytest.raises(MetricError, match=message):
        transaction_outcomes(transaction, is_accepted, **{"attempts": 2} | options)  # type: ignore[arg-type]


def test_counts_of_other_numbers_of_attempts_are_not_mixed_up() -> None:
    one, three = counts_of([("a", True)], 1), counts_of([("a", True)], 3)
    with pytest.raises(MetricError, match="1 and 3 attempts do not add up"):
        _ = one + three
    with pytest.raises(MetricError, match="counted for 1 to 1 attempts, asked for 2"):
        transaction_rates(three, one, within=2)
    with pytest.raises(MetricError, match="no impostor transaction"):
        transaction_rates(one, TransactionCounts(np.zeros(1, np.int64), 0, 0), within=1)
