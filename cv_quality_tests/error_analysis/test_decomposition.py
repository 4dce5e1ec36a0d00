"""The parts of a change add up exactly, mean what they say, and their intervals hold the truth as often as claimed."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cv_quality.error_analysis.decomposition import (
    MAX_RESAMPLED,
    Rows,
    SubjectCounts,
    contributions,
    exact_contributions,
    half_widths,
    subject_counts,
    with_whole,
)

Floats = NDArray[np.float64]


@st.composite
def counted(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Rows and failures, (2, parts) each, with a row in either table."""
    n_parts = draw(st.integers(1, 5))
    rows = draw(arrays.arrays(np.int64, (2, n_parts), elements=st.integers(0, 10**6)))
    rows[:, 0] += rows.sum(1) == 0
    failures = [[draw(st.integers(0, int(n))) for n in table] for table in rows]
    return rows.astype(np.float64), np.array(failures, dtype=np.float64)


def by_hand(rows: Floats, failures: Floats) -> list[tuple[Fraction, Fraction]]:
    """Mix and rate of each part, from the definition, in fractions; a rate that is undefined is taken as unchanged."""
    n, f = ([[Fraction(int(value)) for value in table] for table in tables] for tables in (rows, failures))
    totals = [sum(table, Fraction(0)) for table in n]
    overall = sum((sum(f[t], Fraction(0)) / totals[t] for t in (0, 1)), Fraction(0)) / 2
    found = []
    for k in range(rows.shape[1]):
        before, after = (n[t][k] / totals[t] for t in (0, 1))
        own = [f[t][k] / n[t][k] for t in (0, 1) if n[t][k]] or [Fraction(0)]
        mix = (after - before) * ((own[0] + own[-1]) / 2 - overall)
        found.append((mix, (before + after) / 2 * (own[-1] - own[0])))
    return found


@given(counted())
def test_the_parts_are_those_of_the_definition_in_rational_arithmetic(tables: tuple[Floats, Floats]) -> None:
    found, wanted = exact_contributions(*tables), by_hand(*tables)
    for part, (mix, rate) in enumerate(wanted):
        np.testing.assert_allclose(found[:, part], [float(mix), float(rate), float(mix + rate)], atol=2e-15)
    (n_before, n_after), (f_before, f_after) = tables[0].sum(1), tables[1].sum(1)
    change = Fraction(int(f_after)) / int(n_after) - Fraction(int(f_before)) / int(n_before)
    assert change == sum(mix + rate for mix, rate in wanted)
    assert abs(Fraction(float(found[2, -1])) - change) <= Fraction(1, 2**50)


@given(counted(), st.integers(0, 100))
def test_every_sum_of_the_parts_is_exact_in_floats_in_any_order(tables: tuple[Floats, Floats], order: int) -> None:
    found = exact_contributions(*tables)
    columns = np.random.default_rng(order).permutation(found.shape[1] - 1)
    for kind in range(3):
        assert sum(float(found[kind, k]) for k in columns) == found[kind, -1]
    assert (found[0] + found[1] == found[2]).all()


@given(counted(), st.floats(1e-3, 1e6))
def test_the_parts_of_a_loss_add_up_exactly_too(tables: tuple[Floats, Floats], scale: float) -> None:
    found = exact_contributions(tables[0], tables[1] * scale)
    assert (found[:, :-1].sum(1) == found[:, -1]).all()
    assert (found[0] + found[1] == found[2]).all()


@given(counted())
def test_exchanging_the_tables_changes_every_sign(tables: tuple[Floats, Floats]) -> None:
    forth, back = exact_contributions(*tables), exact_contributions(*(table[::-1] for table in tables))
    assert (forth == -back).all()


@given(counted())
def test_parts_that_are_merged_contribute_what_they_did_together(tables: tuple[Floats, Floats]) -> None:
    rows, failures = (np.concatenate([table, table[::-1]], axis=1) for table in tables)
    merged = [np.concatenate([table[:, :2].sum(1, keepdims=True), table[:, 2:]], axis=1) for table in (rows, failures)]
    before, after = exact_contributions(rows, failures), exact_contributions(*merged)
    # Each of ten numbers is rounded to a grid of 4e-16, and the largest takes what rounding left over of all.
    assert before[2, :2].sum() == pytest.approx(after[2, 0], abs=10 * 4.5e-16)
    assert before[2, -1] == pytest.approx(after[2, -1], abs=1e-15)


def test_a_part_of_the_average_rate_contributes_no_mix_however_its_share_moves() -> None:
    rows, failures = np.array([[100.0, 100, 800], [500, 200, 300]]), np.array([[10.0, 20, 70], [50, 40, 10]])
    assert failures.sum(1) / rows.sum(1) == pytest.approx([0.1, 0.1])
    mix, rate, change = exact_contributions(rows, failures)[:, 0]
    assert (mix, rate, change) == (0, 0, 0)


def test_a_worse_part_that_grows_or_a_better_one_that_shrinks_has_a_positive_mix() -> None:
    rows, failures = np.array([[100.0, 900], [300, 700]]), np.array([[30.0, 9], [90, 7]])
    found = exact_contributions(rows, failures)
    assert (found[0, :2] > 0).all()
    assert (found[1] == 0).all()


def test_all_that_a_new_part_contributes_is_mix() -> None:
    rows, failures = np.array([[0.0, 1000], [200, 800]]), np.array([[0.0, 20], [100, 16]])
    mix, rate, change = exact_contributions(rows, failures)[:, 0]
    mean_overall = (0.02 + 0.116) / 2
    assert (rate, change) == (0, mix)
    assert mix == pytest.approx(0.2 * (0.5 - mean_overall))


@given(counted())
def test_the_replicates_take_the_same_formula_in_floats(tables: tuple[Floats, Floats]) -> None:
    stacked = contributions(*(np.stack([table, table[::-1]]) for table in tables))
    np.testing.assert_allclose(with_whole(stacked)[0], exact_contributions(*tables), atol=1e-14)
    np.testing.assert_allclose(stacked[1], -stacked[0], atol=1e-14)


def drawn(rng: np.random.Generator, *, n_subjects: int, is_paired: bool, n_parts: int = 2) -> SubjectCounts:
    """Twenty rows of each subject in a table, a third in the first part, with a subject effect on failing."""
    total = n_subjects if is_paired else 2 * n_subjects
    rows, own = np.zeros((total, 2, n_parts)), rng.beta(1, 9, (total, 1))
    for table, present in enumerate((slice(0, n_subjects), slice(total - n_subjects, total))):
        rows[present, table] = rng.multinomial(20, [1 / 3, 2 / 3], n_subjects)
    failures = rng.binomial(rows.astype(int), np.broadcast_to(own[:, None], rows.shape)).astype(np.float64)
    return SubjectCounts(rows, failures, total, n_subjects if is_paired else 0)


@pytest.mark.parametrize("is_paired", [True, False])
def test_nominal_95_percent_cover_about_95_percent_where_nothing_changed(is_paired: bool) -> None:
    hits = []
    for index in range(300):
        counts = drawn(np.random.default_rng([5, index]), n_subjects=25, is_paired=is_paired)
        found = with_whole(contributions(counts.rows.sum(0), counts.failures.sum(0)))
        hits.append(np.abs(found) <= half_widths(counts, replicates=100, level=0.95, seed=index))
    coverage = np.mean(hits, axis=0)
    # Three standard errors of 300 cases at .95 are .038.
    assert (coverage[1:] > 0.91).all()
    assert (coverage[1:] < 0.988).all()


def test_pairing_takes_what_is_the_subjects_own_out_of_the_interval() -> None:
    paired = drawn(np.random.default_rng(6), n_subjects=60, is_paired=True)
    apart = SubjectCounts(
        np.concatenate([paired.rows * [[1], [0]], paired.rows * [[0], [1]]]),
        np.concatenate([paired.failures * [[1], [0]], paired.failures * [[0], [1]]]),
        120,
        0,
    )
    one, other = (half_widths(counts, replicates=400, level=0.95, seed=0) for counts in (paired, apart))
    assert one[2, -1] < 0.8 * other[2, -1]


def test_one_subject_that_carries_all_failures_leaves_one_degree_of_freedom() -> None:
    rows, failures = np.full((50, 2, 1), 10.0), np.zeros((50, 2, 1))
    failures[0, 1] = 10
    alone = half_widths(SubjectCounts(rows, failures, 50, 50), replicates=1000, level=0.95, seed=0)
    failures[:, 1] = np.random.default_rng(7).permutation(np.repeat([0.0, 1.0], 25))[:, None]
    shared = half_widths(SubjectCounts(rows, failures, 50, 50), replicates=1000, level=0.95, seed=0)
    assert alone[2, -1] == pytest.approx(12.7 * 10 / 500, rel=0.1)
    assert shared[2, -1] == pytest.approx(2.01 * 0.5 * np.sqrt(50) / 500, rel=0.1)


def coded(subject: NDArray[np.int64], seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    n = len(subject)
    return Rows(subject, np.arange(n) >= n // 2, rng.integers(0, 3, n), (rng.random(n) < 0.2).astype(np.float64))


def test_counts_of_subjects_are_those_of_a_loop_over_the_rows() -> None:
    rows = coded(np.random.default_rng(8).integers(0, 40, 500))
    found = subject_counts(rows, n_parts=3, seed=0)
    counts, sums = np.zeros((40, 2, 3)), np.zeros((40, 2, 3))
    for subject, is_after, part, outcome in zip(rows.subject, rows.is_after, rows.part, rows.outcome, strict=True):
        counts[subject, int(is_after), part] += 1
        sums[subject, int(is_after), part] += outcome
    both = [tuple(map(tuple, np.stack([a, b]).reshape(2, -1))) for a, b in zip(counts, sums, strict=True)]
    mine = [tuple(map(tuple, np.stack([a, b]).reshape(2, -1))) for a, b in zip(found.rows, found.failures, strict=True)]
    assert sorted(both) == sorted(mine)
    assert (found.n_subjects, found.n_paired) == (40, int(np.count_nonzero((counts.sum(2) > 0).all(axis=1))))


def test_random_groups_of_many_subjects_show_the_uncertainty_of_the_subjects() -> None:
    n = 3 * MAX_RESAMPLED
    rows = coded(np.tile(np.arange(n), 2))
    counts = subject_counts(rows, n_parts=3, seed=0)
    assert counts.rows.shape[0] == MAX_RESAMPLED
    assert (counts.n_subjects, counts.n_paired) == (n, n)
    np.testing.assert_array_equal(counts.rows.sum((0, 2)), [n, n])
    failures = rows.outcome[n:] - rows.outcome[:n]
    exact = 1.96 * failures.std() / np.sqrt(n)
    assert half_widths(counts, replicates=400, level=0.95, seed=0)[2, -1] == pytest.approx(exact, rel=0.12)
