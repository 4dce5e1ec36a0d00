"""The tables with planted slices are what they say they are, so that a search may be marked by them."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special, stats

from benchmarks.planted import (
    BASE_RATE,
    KINDS,
    OUTCOME,
    SUBJECT,
    SUPPORT,
    Kind,
    Planted,
    generate,
    jaccard,
    recovered,
    similar,
)
from benchmarks.rival_slices import LIFT, tree
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import SliceError

WITH_SLICES = [kind for kind in KINDS if not kind.startswith("null")]
ROWS = 40_000


def _inside(planted: Planted, item: Slice) -> NDArray[np.bool_]:
    return planted.frame.select(item.expression()).to_series().to_numpy()


def _is(column: str, value: str | None) -> Predicate:
    return Predicate(column, "==", value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_table_again(kind: Kind) -> None:
    first, second, other = (generate(kind, rows=2_000, seed=seed) for seed in (3, 3, 4))
    assert first.frame.equals(second.frame)
    assert first.slices == second.slices
    assert not first.frame.equals(other.frame)


@pytest.mark.parametrize("kind", KINDS)
def test_more_rows_or_another_draw_come_from_the_same_population(kind: Kind) -> None:
    small, large, again = (
        generate(kind, rows=1_000, seed=1),
        generate(kind, rows=5_000, seed=1),
        generate(kind, rows=1_000, seed=1, draw=1),
    )
    assert small.slices == large.slices == again.slices
    assert not small.frame.equals(again.frame)


@pytest.mark.parametrize("kind", WITH_SLICES)
@pytest.mark.parametrize("seed", range(3))
def test_planted_slices_have_their_support_and_rate_other_rows_the_base_rate(kind: Kind, seed: int) -> None:
    planted = generate(kind, rows=ROWS, seed=seed)
    failed = planted.frame[OUTCOME].to_numpy()
    anywhere = np.zeros(ROWS, bool)
    # A subject's 50 rows vary together: the variance of a mean is at most that many times as large, here far less.
    inflation = 4.0 if planted.subject else 1.0
    for item, rate in zip(planted.slices, planted.rates, strict=True):
        inside = _inside(planted, item)
        anywhere |= inside
        assert 0.7 * SUPPORT[0] < inside.mean() < 1.3 * SUPPORT[1]
        sd = np.sqrt(inflation * rate * (1 - rate) / inside.sum())
        assert failed[inside].mean() == pytest.approx(rate, abs=5 * sd)
    assert np.all(planted.chances[~anywhere] == BASE_RATE)
    assert failed[~anywhere].mean() == pytest.approx(BASE_RATE, abs=5 * np.sqrt(inflation * BASE_RATE / ROWS))


@pytest.mark.parametrize("kind", WITH_SLICES)
def test_a_planted_slice_is_not_similar_to_another_nor_to_itself_without_a_condition(kind: Kind) -> None:
    planted = generate(kind, rows=ROWS, seed=2)
    masks = [_inside(planted, item) for item in planted.slices]
    assert all(jaccard(left, right) < 0.5 for left, right in itertools.combinations(masks, 2))
    for item, mask in zip(planted.slices, masks, strict=True):
        for i in range(len(item.where)):
            shorter = Slice(item.where[:i] + item.where[i + 1 :])
            assert jaccard(mask, _inside(planted, shorter)) < 0.75


@pytest.mark.parametrize("kind", ["overlap", "ten", "joined"])
def test_no_two_planted_slices_could_be_told_as_one_with_joined_values(kind: Kind) -> None:
    for seed in range(20):
        for left, right in itertools.combinations(generate(kind, rows=10, seed=seed).slices, 2):
            assert set(left.columns) != set(right.columns) or len(set(left.where) - set(right.where)) > 1


def test_rows_of_several_slices_have_the_highest_of_their_chances() -> None:
    planted = generate("overlap", rows=ROWS, seed=0)
    masks = np.array([_inside(planted, item) for item in planted.slices])
    own = [float(planted.chances[mask & (masks.sum(axis=0) == 1)].max()) for mask in masks]
    shared = masks.sum(axis=0) > 1
    assert shared.sum() > 50
    highest = np.max(np.where(masks, np.array(own)[:, None], 0.0), axis=0)
    assert np.array_equal(planted.chances[shared], highest[shared])


@pytest.mark.parametrize("seed", range(5))
def test_each_kind_has_what_it_is_named_after(seed: int) -> None:
    def predicates(kind: Kind) -> list[Predicate]:
        return [predicate for item in generate(kind, rows=1_000, seed=seed).slices for predicate in item.where]

    assert {predicate.op for predicate in predicates("thresholds")} & {"<=", ">"}
    joined = generate("joined", rows=1_000, seed=seed).slices
    assert all(any(predicate.op == "in" for predicate in item.where) for item in joined)
    assert sum(predicate.value is None for predicate in predicates("missing")) == 3
    assert [len(item.where) for item in generate("order4", rows=1_000, seed=seed).slices] == [1, 2, 3, 4, 4]
    assert len(generate("ten", rows=1_000, seed=seed).slices) == 10
    weak = generate("weak", rows=1_000, seed=seed)
    assert all(0.04 <= rate <= 0.08 for rate in weak.rates)
    # The last five columns copy one of the first ten.
    assert all(
        int(item.columns[0][1:]) >= 10 and all(int(name[1:]) < 10 for name in item.columns[1:])
        for item in generate("child", rows=1_000, seed=seed).slices
    )
    shared = generate("overlap", rows=1_000, seed=seed).slices
    assert all(set(left.where) & set(right.where) for left, right in itertools.pairwise(shared))


def test_a_third_of_the_columns_copy_another_in_most_rows() -> None:
    frame = generate("planted", rows=ROWS, seed=5).frame.drop(OUTCOME)
    for child in frame.columns[10:]:
        assert max((frame[child] == frame[root]).sum() for root in frame.columns[:10]) > 0.69 * ROWS


def test_zipf_columns_have_many_values_and_missing_columns_many_nulls() -> None:
    zipf = generate("zipf", rows=ROWS, seed=0).frame.drop(OUTCOME)
    assert all(15 <= column.n_unique() <= 200 for column in zipf)
    missing = generate("missing", rows=ROWS, seed=0).frame.drop(OUTCOME)
    shares = [column.null_count() / ROWS for column in missing]
    assert sum(0.09 < share < 0.21 for share in shares) >= 8


@pytest.mark.parametrize("kind", ["planted_subjects", "null_subjects"])
def test_subjects_differ_in_their_rates_and_keep_some_columns(kind: Kind) -> None:
    planted = generate(kind, rows=ROWS, seed=0)
    per_subject = planted.frame.group_by(SUBJECT).agg(
        pl.col(OUTCOME).sum(), pl.len().alias("rows"), pl.exclude(SUBJECT, OUTCOME).n_unique()
    )
    assert per_subject["rows"].unique().to_list() == [200 if kind == "null_subjects" else 50]
    constant = [name for name in per_subject.columns if name.startswith("c") and per_subject[name].max() == 1]
    assert constant == ["c00", "c01", "c02", "c03"]
    failures = per_subject[OUTCOME].to_numpy()
    chi2 = float(np.sum((failures - failures.mean()) ** 2) / failures.mean())
    assert stats.chi2.sf(chi2, len(failures) - 1) < 1e-6


def test_independent_rows_have_no_subjects() -> None:
    assert generate("planted", rows=100, seed=0).subject is None
    assert SUBJECT not in generate("null", rows=100, seed=0).frame.columns


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_the_shifted_log_odds_average_to_the_rate(rate: float) -> None:
    from benchmarks.planted import _centre

    centre = _centre(rate, 1.0)
    mean, _ = integrate.quad(lambda u: special.expit(centre + u) * stats.norm.pdf(u), -10, 10)
    assert mean == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_marks_itself_as_found_without_false_reports(kind: Kind) -> None:
    planted = generate(kind, rows=20_000, seed=7)
    n = len(planted.slices)
    assert recovered(planted, planted.slices) == (n, 0, n)
    assert recovered(planted, []) == (0, 0, 0)


def _table(slices: tuple[Slice, ...]) -> Planted:
    frame = pl.DataFrame({"a": ["x"] * 10 + ["y"] * 10, "b": (["u"] * 9 + ["w"]) * 2, "failed": [False] * 20})
    return Planted(frame, None, "failed", slices, (0.1,) * len(slices), "planted", 0, np.zeros(20))


def test_nine_of_ten_planted_rows_count_as_found_half_of_them_as_false() -> None:
    planted = _table((Slice((_is("a", "x"),)),))
    assert recovered(planted, [Slice((_is("a", "x"), _is("b", "u")))]) == (1, 0, 1)
    assert recovered(planted, [Slice((_is("b", "u"),))]) == (0, 1, 1)
    assert recovered(planted, [Slice(())]) == (0, 1, 1)


def test_equal_conditions_are_the_same_in_any_order_and_without_rows() -> None:
    planted = _table((Slice((Predicate("a", "in", ("q", "r")), _is("b", "u"))),))
    assert recovered(planted, [Slice((_is("b", "u"), Predicate("a", "in", ("r", "q"))))]) == (1, 0, 1)
    assert recovered(planted, [Slice((_is("b", "u"), _is("a", "q")))]) == (0, 1, 1)


def test_one_planted_slice_reported_twice_is_recovered_once_and_nothing_is_false() -> None:
    planted = _table((Slice((_is("a", "x"),)),))
    twice = [Slice((_is("a", "x"),)), Slice((_is("a", "x"), _is("b", "u")))]
    assert recovered(planted, twice) == (1, 0, 2)
    assert similar(planted, twice).shape == (1, 2)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_jaccard_is_the_share_of_common_rows(rows: list[tuple[bool, bool]]) -> None:
    left, right = ({i for i, row in enumerate(rows) if row[side]} for side in (0, 1))
    expected = len(left & right) / len(left | right) if left | right else 0.0
    assert jaccard(*np.array(rows).T) == expected


def test_an_unknown_kind_and_too_few_columns_are_told() -> None:
    with pytest.raises(SliceError, match="expected a kind of planted"):
        generate("planned", rows=10, seed=0)  # type: ignore[arg-type]
    with pytest.raises(SliceError, match="expected at least 8 columns"):
        generate("order4", rows=10, seed=0, columns=7)


@pytest.mark.parametrize("kind", WITH_SLICES)
def test_eight_columns_are_enough_for_two_slices(kind: Kind) -> None:
    assert len(generate(kind, rows=10, seed=0, columns=8, n_slices=2).slices) == 2


@pytest.mark.parametrize("kind", ["planted", "thresholds", "missing"])
def test_the_leaves_of_the_tree_are_apart_and_fail_twice_as_often(kind: Kind) -> None:
    planted = generate(kind, rows=20_000, seed=0)
    masks = [_inside(planted, item) for item in tree(planted.frame, OUTCOME, None)]
    failed = planted.frame[OUTCOME].to_numpy()
    assert len(masks) > 1
    assert np.sum(masks, axis=0).max() == 1
    assert all(failed[mask].mean() >= LIFT * failed.mean() for mask in masks)
