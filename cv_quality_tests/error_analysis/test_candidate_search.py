"""A half proposes what is there, worded as the table's own conditions, and counts subjects where rows are alike."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from cv_quality.error_analysis.candidate_search import (
    CONDITION_PENALTY,
    MAX_CANDIDATES,
    MAX_CONDITIONS,
    MAX_WEIGHED_GAIN,
    MIN_WEIGHED_GAIN,
    Candidate,
    _most_gains,
    heterogeneity,
    keep_homogeneous,
    outcome_totals,
    search_candidates,
)
from cv_quality.error_analysis.cube import Cube, Layout, cell_gains, lay_out
from cv_quality.error_analysis.encoding import Encoded, encode
from cv_quality.error_analysis.halves import Clustering, Half, Masks, row_numbers
from cv_quality.error_analysis.slices import Predicate, Slice

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
N = 8_000


def is_code(*codes: int) -> Flags:
    mask = np.zeros(256, np.bool_)
    mask[list(codes)] = True
    return mask


def random_columns(seed: int, *, n: int = N) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "light": rng.choice(["dim", "day", "sun", "dusk"], n, p=[0.1, 0.5, 0.3, 0.1]),
            "lens": pl.Series(rng.choice(["a", "b", "c", ""], n)).replace("", None),
            "tries": rng.integers(0, 4, n),
            "lux": np.where(rng.random(n) < 0.1, np.nan, rng.uniform(0, 100, n)),
            "site": [f"rare{i}" if i % 10 == 0 else f"s{i % 3}" for i in range(n)],
        }
    )


def failing(frame: pl.DataFrame, where: Slice, *, rate: float = 0.4, base: float = 0.02, seed: int = 1) -> pl.DataFrame:
    inside = frame.select(where.expression().alias("held"))["held"].to_numpy()
    draws = np.random.default_rng(seed).random(frame.height)
    return frame.with_columns(failed=pl.Series(draws < np.where(inside, rate, base)))


def proposals(
    frame: pl.DataFrame, *, outcome: str = "failed", subject: str | None = None
) -> tuple[Encoded, list[Masks]]:
    found = encode(frame.lazy(), outcome=outcome, subject=subject)
    layout = lay_out(found, n_rows=found.n_rows, condition_penalty=CONDITION_PENALTY)
    return found, [item.masks for item in candidates(Half.whole(found), found, layout)]


def candidates(half: Half, found: Encoded, layout: Layout, *, threads: int = 1) -> Iterator[Candidate]:
    cube = Cube(layout, is_rate=half.is_rate, threads=threads)
    cube.add(half.codes, half.outcome)
    return search_candidates(half, found, cube)


def words(found: Encoded, masks: Masks) -> str:
    return found.slice_of(masks).sentence()


PLANTED = [
    Slice((Predicate("light", "==", "dim"),)),
    Slice((Predicate("light", "==", "dim"), Predicate("lens", "==", "b"))),
    Slice((Predicate("light", "==", "dim"), Predicate("lens", "==", None))),
    Slice((Predicate("light", "in", ("dim", "dusk")),)),
    Slice((Predicate("lens", "==", "a"), Predicate("tries", "==", 3))),
    Slice((Predicate("lens", "==", "a"), Predicate("tries", ">", 1))),
    Slice((Predicate("lux", "==", None),)),
]


@pytest.mark.parametrize("where", PLANTED, ids=lambda where: str(where.sentence()))
def test_the_first_proposal_is_the_cause_in_its_own_words(where: Slice) -> None:
    found, first = proposals(failing(random_columns(0), where))
    assert set(found.slice_of(first[0]).where) == set(where.where)


@pytest.mark.parametrize(("op", "bound"), [("<=", 12.0), (">", 85.0)])
def test_a_threshold_is_proposed_near_where_it_was_planted(op: str, bound: float) -> None:
    where = Slice((Predicate("lux", "<=", bound) if op == "<=" else Predicate("lux", ">", bound),))
    found, first = proposals(failing(random_columns(0), where))
    (predicate,) = found.slice_of(first[0]).where
    assert (predicate.column, predicate.op) == ("lux", op)
    assert predicate.value == pytest.approx(bound, abs=2)


def test_a_loss_is_searched_like_a_failure() -> None:
    frame = random_columns(1)
    where = PLANTED[1]
    inside = frame.select(where.expression().alias("held"))["held"].to_numpy()
    frame = frame.with_columns(px=np.random.default_rng(0).normal(size=N) + np.where(inside, 1.0, 0.0))
    found, first = proposals(frame, outcome="px")
    assert words(found, first[0]) == where.sentence()


def test_each_proposal_is_made_on_the_rows_that_those_before_it_left() -> None:
    frame = failing(random_columns(2), PLANTED[0], rate=0.5)
    both = frame.with_columns(
        failed=failing(frame, Slice((Predicate("tries", "==", 2),)), rate=0.3)["failed"] | pl.col("failed")
    )
    found, made = proposals(both)
    assert {words(found, masks) for masks in made[:2]} == {"light is dim", "tries is 2"}
    layout = lay_out(found, n_rows=N, condition_penalty=CONDITION_PENALTY)
    whole = Half.whole(found)
    first, second = itertools.islice(candidates(whole, found, layout), 2)
    left = np.ones(N, np.bool_)
    left[whole.rows(first.masks)] = False
    alone = next(candidates(whole.take(left), found, layout))
    assert words(found, alone.masks) == words(found, second.masks)
    assert alone.gain == pytest.approx(second.gain)


@pytest.mark.parametrize("seed", range(3))
def test_proposals_are_few_short_and_never_name_pooled_values(seed: int) -> None:
    frame = random_columns(seed).with_columns(failed=pl.Series(np.random.default_rng(seed).random(N) < 0.1))
    noisy = failing(frame, Slice((Predicate("site", "in", ("s1", "s2")),)), rate=0.1)
    for table in (frame, noisy):
        found, made = proposals(table)
        assert len(made) <= MAX_CANDIDATES
        for masks in made:
            assert 1 <= len(masks) <= MAX_CONDITIONS
            for column, mask in masks.items():
                other = found.columns[column].other
                assert other is None or not mask[other]


def test_a_cause_that_is_one_subject_gains_less_than_the_same_rows_of_many() -> None:
    frame = failing(random_columns(3), PLANTED[0], rate=0.3)
    dim = (frame["light"] == "dim").to_numpy()
    many = frame.with_columns(who=pl.Series(np.arange(N) % 400))
    one = frame.with_columns(who=pl.Series(np.where(dim, 0, np.arange(N) % 400)))
    gains = []
    for table in (many, one):
        found = encode(table.lazy(), outcome="failed", subject="who")
        layout = lay_out(found, n_rows=N, condition_penalty=CONDITION_PENALTY)
        made = list(candidates(Half.whole(found), found, layout))
        gains.append(max((item.gain for item in made if words(found, item.masks) == "light is dim"), default=0.0))
    assert gains[0] > 100
    assert gains[1] == gains[0], "one subject has no design effect to show: the holdout test refuses it, not the search"


def textbook_effect(rows: list[tuple[int, bool]]) -> float:
    """Variance of a ratio over subjects (Cochran, Sampling Techniques, 6.3) over that of independent rows."""
    n, failures = len(rows), sum(failed for _, failed in rows)
    rate = failures / n
    subjects = sorted({who for who, _ in rows})
    squares = 0.0
    for who in subjects:
        own = [failed for other, failed in rows if other == who]
        squares += (sum(own) - rate * len(own)) ** 2
    if len(subjects) < 2 or rate * (1 - rate) == 0:
        return 1.0
    return max(1.0, len(subjects) / (len(subjects) - 1) * squares / n**2 / (rate * (1 - rate) / n))


ROWS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=60)


def as_half(rows: list[tuple[int, bool]], *, n_subjects: int = 9) -> Half:
    who, failed = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    return Half(np.zeros((1, len(rows)), np.uint8), failed, who, n_subjects, True)


@given(ROWS)
def test_the_design_effect_is_that_of_a_ratio_over_subjects(rows: list[tuple[int, bool]]) -> None:
    expected = 1.0 if len({who for who, _ in rows}) == len(rows) else textbook_effect(rows)
    assert as_half(rows).design_effect(np.ones(len(rows), np.bool_)) == pytest.approx(expected)


@settings(max_examples=50)
@given(st.integers(2, 12), st.integers(2, 10), st.integers(1, 5))
def test_equal_subjects_that_fail_entirely_or_never_count_as_one_row_each(
    good: int, per_subject: int, bad: int
) -> None:
    rows = [(who, who < bad) for who in range(good + bad) for _ in range(per_subject)]
    subjects = good + bad
    found = as_half(rows, n_subjects=subjects).design_effect(np.ones(len(rows), np.bool_))
    assert found == pytest.approx(per_subject * subjects / (subjects - 1))


def test_independent_rows_have_no_design_effect() -> None:
    half = Half(np.zeros((1, 10), np.uint8), np.arange(10.0), None, 10, False)
    assert half.design_effect(np.ones(10, np.bool_)) == 1.0
    assert Clustering.of(np.ones(10), np.arange(10.0), variance=8.25).design_effect == 1.0


@given(ROWS, st.data())
def test_rows_and_failures_of_each_subject_are_those_of_a_group_by(
    rows: list[tuple[int, bool]], data: st.DataObject
) -> None:
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    counts, sums = as_half(rows).per_subject(chosen)
    frame = pl.DataFrame(rows, schema={"who": pl.Int64, "failed": pl.Boolean}, orient="row").filter(pl.Series(chosen))
    groups = frame.group_by("who").agg(pl.len().alias("rows"), pl.col("failed").sum()).sort("who")
    assert counts.tolist() == groups["rows"].to_list()
    assert sums.tolist() == groups["failed"].to_list()


@given(st.data())
def test_the_rows_of_a_half_are_those_for_which_every_mask_holds(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 30))
    codes = np.array(data.draw(st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=3, max_size=3)))
    half = Half(codes.astype(np.uint8), np.zeros(n), None, n, True)
    held = data.draw(st.dictionaries(st.integers(0, 2), st.lists(st.integers(0, 3), min_size=1)))
    expected = [row for row in range(n) if all(codes[column, row] in values for column, values in held.items())]
    assert half.rows({column: is_code(*values) for column, values in held.items()}).tolist() == expected


@pytest.mark.parametrize(("outcome", "whole"), [([1.0, 0.0, 0.0, 1.0], (4, 2, -1.0)), ([1.0, 3.0], (2, 4, 1.0))])
def test_the_totals_are_rows_failures_and_the_variance_of_a_loss(
    outcome: list[float], whole: tuple[float, float, float]
) -> None:
    assert outcome_totals(np.array(outcome), is_rate=whole[2] < 0) == whole


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=6))
def test_unlikeness_of_rates_is_a_likelihood_ratio_of_binomials(values: list[tuple[int, float]]) -> None:
    n = np.array([float(rows) for rows, _ in values])
    k = np.round(n * np.array([share for _, share in values]))
    for upto, found in enumerate(heterogeneity(n, k, -1.0), start=1):
        both = k[:upto].sum() / n[:upto].sum()
        own = stats.binom.logpmf(k[:upto], n[:upto], k[:upto] / n[:upto]).sum()
        assert found == pytest.approx(own - stats.binom.logpmf(k[:upto], n[:upto], both).sum(), abs=1e-8)


def test_unlikeness_of_losses_is_a_likelihood_ratio_of_normal_means() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(mean, 1.0, size) for mean, size in ((0.0, 20), (0.5, 30), (2.0, 10))]
    loss = np.concatenate(groups)
    own = np.concatenate([np.full(len(group), group.mean()) for group in groups])
    expected = stats.norm.logpdf(loss, own, 1.5).sum() - stats.norm.logpdf(loss, loss.mean(), 1.5).sum()
    found = heterogeneity(np.array([20.0, 30.0, 10.0]), np.array([group.sum() for group in groups]), 1.5**2)
    assert found[-1] == pytest.approx(expected)
    assert found[0] == pytest.approx(0.0, abs=1e-12)


def test_unlikeness_of_losses_takes_no_harm_from_a_value_without_rows() -> None:
    counts, sums = np.array([20.0, 30.0, 0.0]), np.array([10.0, 45.0, 0.0])
    found = heterogeneity(counts, sums, 1.0)
    assert found[2] == found[1] > 0


def test_a_joined_value_that_fails_clearly_less_on_the_other_half_is_taken_out_again() -> None:
    frame = failing(random_columns(4), Slice((Predicate("light", "in", ("dim", "dusk")),)))
    found = encode(frame.lazy(), outcome="failed")
    half = Half.whole(found)
    labels = found.columns[0].labels
    true, wrong = (
        is_code(*(labels.index(name) for name in names)) for names in (("dim", "dusk"), ("dim", "dusk", "sun"))
    )
    assert np.array_equal(keep_homogeneous(half, found.columns, {0: wrong})[0], true)
    assert np.array_equal(keep_homogeneous(half, found.columns, {0: true})[0], true)
    threshold = {3: is_code(*range(20))}
    kept = keep_homogeneous(half, found.columns, threshold)
    assert np.array_equal(kept[3], threshold[3]), "bounds of a number are left alone"


def test_a_proposal_weighs_by_the_square_of_its_gain_within_limits() -> None:
    assert Candidate({}, 3.0).weight == 9.0
    assert Candidate({}, -1.0).weight == MIN_WEIGHED_GAIN**2
    assert Candidate({}, 1e6).weight == MAX_WEIGHED_GAIN**2


def test_two_causes_that_share_a_condition_are_proposed_apart() -> None:
    """Their common condition fails more than either by its number of rows."""
    frame = random_columns(5, n=20_000)
    causes = [
        Slice((Predicate("light", "==", "day"), Predicate("lens", "==", "a"), Predicate("tries", "==", 0))),
        Slice((Predicate("light", "==", "day"), Predicate("lens", "==", "b"), Predicate("tries", "==", 3))),
    ]
    inside = frame.select(pl.any_horizontal(each.expression() for each in causes).alias("held"))["held"].to_numpy()
    draws = np.random.default_rng(0).random(frame.height)
    found, made = proposals(frame.with_columns(failed=pl.Series(draws < np.where(inside, 0.4, 0.02))))
    first = {words(found, masks) for masks in made[:2]}
    assert first == {each.sentence() for each in causes}


def test_more_threads_propose_the_same() -> None:
    frame = failing(random_columns(6), PLANTED[1])
    found = encode(frame.lazy(), outcome="failed")
    layout = lay_out(found, n_rows=N, condition_penalty=CONDITION_PENALTY)
    half = Half.whole(found)
    one, two = (
        [(words(found, item.masks), item.gain) for item in candidates(half, found, layout, threads=n)] for n in (1, 2)
    )
    assert one == two
    assert all(math.isfinite(gain) for _, gain in one)
    assert one[0][1] == max(gain for _, gain in one) > 50


@given(st.lists(st.booleans(), max_size=40))
def test_flagged_rows_are_numbered_in_their_order(flags: list[bool]) -> None:
    assert row_numbers(np.array(flags, np.bool_)).tolist() == [row for row, flag in enumerate(flags) if flag]


@settings(max_examples=100)
@given(st.data(), st.booleans())
def test_no_condition_gains_more_than_a_rate_for_every_code(data: st.DataObject, is_rate: bool) -> None:
    cells = data.draw(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), min_size=2, max_size=6))
    held = np.array(data.draw(st.lists(st.booleans(), min_size=len(cells), max_size=len(cells))))
    n = np.array([float(rows) for rows, _ in cells])
    k = n * np.array([share for _, share in cells])
    k = np.round(k) if is_rate else k
    totals = (n.sum() + 50.0, k.sum() + data.draw(st.integers(0, 50)), -1.0 if is_rate else 0.7)
    own = np.array([n[held].sum()]), np.array([k[held].sum()])
    (gain,) = cell_gains(*own, totals=totals, least=1, lift=1.0).tolist()
    assert gain <= _most_gains([(n, k)], totals)[0]


@pytest.mark.parametrize("is_rate", [True, False])
def test_variance_over_no_rows_is_zero_for_rates_and_losses(is_rate: bool) -> None:
    half = Half(np.zeros((1, 4), np.uint8), np.array([0.0, 1.0, 1.0, 0.0]), None, 4, is_rate)
    assert half.variance(np.zeros(4, np.bool_)) == 0.0
    assert half.variance(np.ones(4, np.bool_)) == 0.25
