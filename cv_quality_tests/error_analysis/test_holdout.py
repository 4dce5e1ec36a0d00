"""A slice is confirmed as often by chance as its p value says, also where the rows of one subject are alike."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats

from cv_quality.error_analysis.halves import Half
from cv_quality.error_analysis.holdout import holdout_test, holm, prune_conditions

Flags = NDArray[np.bool_]
CHANCE = st.floats(1e-12, 1.0)


def stepped_down(p: Sequence[float]) -> list[float]:
    """Holm's rule as the paper states it: the k-th smallest of m times (m - k + 1), never below an earlier one."""
    order = np.argsort(p, kind="stable")
    adjusted = np.zeros(len(p))
    for place, index in enumerate(order):
        adjusted[index] = max(p[other] * (len(p) - rank) for rank, other in enumerate(order[: place + 1]))
    return [min(1.0, float(value)) for value in adjusted]


def closed(p: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The closed test of weighted Bonferroni tests: the worst over all sets of hypotheses that contain each."""
    sets = [each for n in range(1, len(p) + 1) for each in itertools.combinations(range(len(p)), n)]
    levels = {each: min(p[i] / weights[i] for i in each) * sum(weights[i] for i in each) for each in sets}
    return [min(1.0, max(level for each, level in levels.items() if i in each)) for i in range(len(p))]


@given(st.lists(CHANCE, max_size=8))
def test_equal_weights_give_the_rule_of_holm(p: list[float]) -> None:
    assert holm(p) == pytest.approx(stepped_down(p))


@settings(max_examples=60)
@given(st.lists(st.tuples(CHANCE, st.floats(0.1, 10.0)), min_size=1, max_size=6))
def test_weighted_holm_is_the_closed_test_of_weighted_bonferroni(items: list[tuple[float, float]]) -> None:
    p, weights = [item[0] for item in items], [item[1] for item in items]
    assert holm(p, weights) == pytest.approx(closed(p, weights))


def half(
    failed: NDArray[np.float64], subjects: NDArray[np.int64] | None = None, codes: NDArray[np.uint8] | None = None
) -> Half:
    n_subjects = len(failed) if subjects is None else int(subjects.max()) + 1
    if codes is None:
        codes = np.zeros((1, len(failed)), np.uint8)
    return Half(codes, failed, subjects, n_subjects, bool(np.isin(failed, (0, 1)).all()))


def null_p(rng: np.random.Generator, *, subjects: int, per_subject: int, slope: float, is_rate: bool) -> float:
    """The p value of a slice that holds some subjects' rows entirely, in a table without any cause but the subjects."""
    who = np.repeat(np.arange(subjects), per_subject)
    inside = rng.permutation(subjects)[who] < subjects // 5
    effect = rng.normal(size=subjects)[who]
    outcome = rng.random(len(who)) < special.expit(-3.0 + slope * effect)
    loss = rng.normal(size=len(who)) + slope * effect
    found = holdout_test(half(np.asarray(outcome if is_rate else loss, np.float64), who), inside, ~inside)
    assert found is not None
    return found.p


@pytest.mark.parametrize(
    ("subjects", "per_subject", "slope", "is_rate"),
    [(100, 1, 0.0, True), (100, 50, 1.0, True), (300, 20, 1.0, True), (400, 50, 0.0, True), (100, 20, 1.0, False)],
)
def test_at_most_about_one_in_twenty_slices_of_a_null_table_has_a_p_below_5_per_cent(
    subjects: int, per_subject: int, slope: float, is_rate: bool
) -> None:
    rng = np.random.default_rng(subjects)
    draws = [null_p(rng, subjects=subjects, per_subject=per_subject, slope=slope, is_rate=is_rate) for _ in range(600)]
    assert np.mean(np.array(draws) < 0.05) <= 0.07
    assert np.mean(np.array(draws) < 0.5) >= 0.3, "a test that never speaks is calibrated too"


def test_rows_taken_for_independent_would_find_causes_where_subjects_repeat() -> None:
    """The same tables as above: what the clustered test is for."""
    rng = np.random.default_rng(1)
    naive = []
    for _ in range(300):
        who = np.repeat(np.arange(100), 50)
        inside = rng.permutation(100)[who] < 20
        failed = np.asarray(rng.random(5_000) < special.expit(-3.0 + rng.normal(size=100)[who]), np.float64)
        found = holdout_test(half(failed), inside, ~inside)
        assert found is not None
        naive.append(found.p)
    assert np.mean(np.array(naive) < 0.05) > 0.12


@pytest.mark.parametrize(("n", "k", "rate"), [(400, 30, 0.05), (1_000, 25, 0.02), (2_000, 500, 0.2)])
def test_with_independent_rows_and_a_large_rest_p_is_the_binomial_tail(n: int, k: int, rate: float) -> None:
    rest = 4_000_000
    failed = np.zeros(n + rest)
    failed[:k] = 1
    failed[n : n + round(rate * rest)] = 1
    inside = np.arange(n + rest) < n
    found = holdout_test(half(failed), inside, ~inside)
    assert found is not None
    exact = stats.binom.sf(k - 1, n, rate)
    through_t = stats.t.sf(stats.norm.isf(exact), n - 1)
    assert found.p == pytest.approx(through_t, rel=0.05)
    assert (found.rows, found.total, found.subjects) == (n, k, n)
    assert found.rate == k / n
    assert found.rest_rate == pytest.approx(rate)


def worth_of_a_row(outcome: NDArray[np.float64], who: NDArray[np.int64]) -> tuple[float, float]:
    """Design effect of a mean, and how alike two rows of one subject are, over all pairs of rows."""
    deviations = outcome - outcome.mean()
    same = who[:, None] == who[None, :]
    products = deviations[:, None] * deviations[None, :]
    subjects, n = len(np.unique(who)), len(outcome)
    effect = products[same].sum() * subjects / (subjects - 1) / (n * outcome.var())
    pairs = same & ~np.eye(n, dtype=bool)
    return max(1.0, float(effect)), max(0.0, float(products[pairs].mean() / outcome.var()))


@pytest.mark.parametrize("is_alike_inside", [True, False])
def test_p_is_the_binomial_tail_of_the_rows_that_count_held_against_t(is_alike_inside: bool) -> None:
    """Ten subjects inside, alike or, by chance, not; sixty outside that are alike: the larger design effect counts."""
    rng = np.random.default_rng(2)
    who = np.repeat(np.arange(70), 10)
    inside = who < 10
    failed = np.asarray(rng.random(700) < special.expit(-2 + 1.5 * rng.normal(size=70)[who]), np.float64)
    failed[inside] = (who[inside] < 5) if is_alike_inside else np.arange(100) % 10 < 5
    own_effect, _ = worth_of_a_row(failed[inside], who[inside])
    rest_effect, likeness = worth_of_a_row(failed[~inside], who[~inside])
    n, n_rest = 100 / max(own_effect, 1 + 9 * likeness), 600 / rest_effect
    rate = failed[~inside].mean()
    tail = stats.beta.cdf(rate, n * failed[inside].mean(), n * (1 - failed[inside].mean()) + 1)
    z = stats.norm.isf(tail) * math.sqrt(n_rest / (n + n_rest))
    found = holdout_test(half(failed, who), inside, ~inside)
    assert found is not None
    assert (own_effect > 1 + 9 * likeness) == is_alike_inside
    assert likeness > 0.05
    assert found.p == pytest.approx(stats.t.sf(z, 9), rel=1e-6)


def test_with_independent_rows_the_p_of_a_loss_is_that_of_a_t_test() -> None:
    rng = np.random.default_rng(0)
    loss = rng.normal(size=200_000)
    inside = np.arange(200_000) < 200
    loss[inside] += 0.2
    found = holdout_test(half(loss), inside, ~inside)
    assert found is not None
    z = (loss[inside].mean() - loss[~inside].mean()) / np.sqrt(max(loss[inside].var(), loss[~inside].var()) / 200)
    assert found.p == pytest.approx(stats.t.sf(z, 199), rel=0.02)


def subjects_and_failures(seed: int = 0) -> tuple[Half, Flags]:
    """40 of 200 subjects fail three times as often."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(200), 20)
    inside = who < 40
    return half(np.asarray(rng.random(4_000) < np.where(inside, 0.3, 0.1), np.float64), who), inside


def test_a_slice_that_fails_three_times_as_often_is_sure_and_its_opposite_is_not() -> None:
    table, inside = subjects_and_failures()
    bad, good = holdout_test(table, inside, ~inside), holdout_test(table, ~inside, inside)
    assert bad is not None
    assert good is not None
    assert bad.p < 1e-8
    assert good.p > 0.99


def test_the_evidence_counts_the_rows_it_is_given_and_no_others() -> None:
    table, inside = subjects_and_failures()
    left = np.arange(4_000) % 2 == 0
    part, alone = holdout_test(table, inside & left, ~inside & left), table.take(left)
    assert part == holdout_test(alone, inside[left], ~inside[left])
    assert part is not None
    assert (part.rows, part.total) == (400, table.outcome[inside & left].sum())


def test_who_a_subject_is_does_not_matter() -> None:
    table, inside = subjects_and_failures()
    order = np.random.default_rng(1).permutation(200)
    assert table.subjects is not None
    renamed = holdout_test(replace(table, subjects=order[table.subjects]), inside, ~inside)
    as_it_was = holdout_test(table, inside, ~inside)
    assert renamed is not None
    assert as_it_was is not None
    assert renamed.p == pytest.approx(as_it_was.p, rel=1e-9)


def test_the_same_rows_of_fewer_subjects_are_less_sure() -> None:
    table, inside = subjects_and_failures()
    assert table.subjects is not None
    p = []
    for together in (1, 4, 8):
        found = holdout_test(replace(table, subjects=table.subjects // together), inside, ~inside)
        assert found is not None
        p.append(found.p)
    assert p == sorted(p)


def test_without_a_row_inside_or_outside_there_is_no_evidence() -> None:
    table, inside = subjects_and_failures()
    nothing = np.zeros_like(inside)
    assert holdout_test(table, nothing, ~inside) is None
    assert holdout_test(table, inside, nothing) is None


@pytest.mark.parametrize(("inside", "outside"), [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_a_slice_that_fails_no_more_than_a_rest_without_variance_is_not_bad(inside: float, outside: float) -> None:
    rows = np.arange(200) < 50
    found = holdout_test(half(np.where(rows, inside, outside), np.repeat(np.arange(40), 5)), rows, ~rows)
    assert found is not None
    assert found.p >= 0.5


def test_a_slice_that_always_fails_beside_a_rest_that_never_does_is_sure() -> None:
    rows = np.arange(2_000) < 500
    found = holdout_test(half(rows.astype(np.float64), np.repeat(np.arange(400), 5)), rows, ~rows)
    assert found is not None
    assert 0 <= found.p < 1e-6
    assert math.isfinite(found.p)


def test_one_subject_cannot_confirm_anything() -> None:
    rows = np.arange(100) < 50
    found = holdout_test(half(rows.astype(np.float64), np.repeat([0, 1], 50)), rows, ~rows)
    assert found is not None
    assert found.p == 1.0


def is_code(*codes: int) -> Flags:
    mask = np.zeros(256, np.bool_)
    mask[list(codes)] = True
    return mask


def with_two_causes(seed: int, *, is_second_needed: bool) -> Half:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (3, 8_000)).astype(np.uint8)
    bad = (codes[0] == 1) & ((codes[1] == 2) | (not is_second_needed))
    return half(np.asarray(rng.random(8_000) < np.where(bad, 0.3, 0.02), np.float64), codes=codes)


@pytest.mark.parametrize("seed", range(5))
def test_a_condition_that_tells_nothing_is_dropped_and_one_that_is_needed_stays(seed: int) -> None:
    rest = np.ones(8_000, np.bool_)
    masks = {0: is_code(1), 1: is_code(2), 2: is_code(0)}
    assert set(prune_conditions(with_two_causes(seed, is_second_needed=True), masks, rest)) == {0, 1}
    assert set(prune_conditions(with_two_causes(seed, is_second_needed=False), masks, rest)) == {0}


def test_a_condition_that_sharpens_a_slice_stays_though_it_gains_more_without() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (2, 8_000)).astype(np.uint8)
    chance = np.where(codes[0] == 1, np.where(codes[1] == 2, 0.45, 0.3), 0.02)
    table = half(np.asarray(rng.random(8_000) < chance, np.float64), codes=codes)
    rest = np.ones(8_000, np.bool_)
    assert set(prune_conditions(table, {0: is_code(1), 1: is_code(2)}, rest)) == {0, 1}


def test_the_last_condition_stays_even_where_it_tells_nothing() -> None:
    table = half(np.asarray(np.random.default_rng(0).random(500) < 0.1, np.float64))
    masks = {0: is_code(0)}
    assert prune_conditions(table, masks, np.ones(500, np.bool_)) == masks


def test_members_are_the_rows_for_which_every_condition_holds() -> None:
    codes = np.random.default_rng(0).integers(0, 4, (2, 300)).astype(np.uint8)
    table = half(np.zeros(300), codes=codes)
    inside = table.inside({0: is_code(1, 2), 1: is_code(3)})
    assert inside.tolist() == [a in (1, 2) and b == 3 for a, b in codes.T.tolist()]
