"""The cube counts what a plain count of the table gives, for every conjunction, and forgets rows exactly."""

import itertools
import math
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from cv_quality.error_analysis.cube import MAX_CELLS, MAX_PAIR_CELLS, Cube, Layout, cell_gains, count_halves, lay_out
from cv_quality.error_analysis.encoding import Encoded, EncodedColumn, encode
from cv_quality.error_analysis.halves import Half
from cv_quality.error_analysis.slices import Predicate, Slice

Floats = NDArray[np.float64]


def random_table(seed: int, *, n: int = 600) -> pl.DataFrame:
    """Values, pooled and missing values, flags, few-valued and many-valued numbers, a failure and a loss."""
    rng = np.random.default_rng(seed)
    rare = np.where(rng.random(n) < 0.1, rng.integers(0, n, n), -1)
    return pl.DataFrame(
        {
            "light": [None if code == 0 else "abc"[code % 3] for code in rng.integers(0, 5, n)],
            "lens": [f"rare{code}" if code >= 0 else "xy"[row % 2] for row, code in enumerate(rare)],
            "blinks": rng.random(n) < 0.3,
            "tries": rng.integers(0, 3, n),
            "lux": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(size=n)),
            "failed": rng.random(n) < 0.2,
            "loss": rng.gamma(2.0, size=n),
        }
    )


@cache
def prepared(seed: int, outcome: str = "failed") -> tuple[pl.DataFrame, Encoded, Layout]:
    frame = random_table(seed)
    found = encode(frame.lazy(), outcome=outcome, columns=["light", "lens", "blinks", "tries", "lux"])
    return frame, found, lay_out(found, n_rows=found.n_rows, condition_penalty=0.6)


def codes_of(found: Encoded) -> NDArray[np.uint8]:
    return np.stack([column.codes for column in found.columns])


def counted(found: Encoded, layout: Layout, *, threads: int = 1) -> tuple[Floats, Floats]:
    cube = Cube(layout, is_rate=found.kind == "rate", threads=threads)
    cube.add(codes_of(found), found.outcome)
    return cube.cells()


def where_of(found: Encoded, layout: Layout, cell: int) -> Slice:
    return found.slice_of(layout.masks(cell))


@pytest.mark.parametrize("outcome", ["failed", "loss"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_cell_counts_the_rows_of_the_table_for_which_its_conditions_hold(seed: int, outcome: str) -> None:
    frame, found, layout = prepared(seed, outcome)
    rows, failures = counted(found, layout)
    cells = np.random.default_rng(seed).choice(len(rows), 400, replace=False).tolist()
    held = frame.select(
        item
        for cell in cells
        for item in (
            where_of(found, layout, cell).expression().sum().alias(f"rows {cell}"),
            pl.col(outcome).cast(pl.Float64).filter(where_of(found, layout, cell).expression()).sum().alias(str(cell)),
        )
    ).row(0, named=True)
    assert [held[f"rows {cell}"] for cell in cells] == rows[cells].tolist()
    assert failures[cells].tolist() == pytest.approx([held[str(cell)] for cell in cells], abs=1e-9)


def test_every_triple_of_values_is_counted_as_a_group_by_counts_it() -> None:
    frame, found, layout = prepared(2)
    rows, failures = counted(found, layout)
    sought = {where_of(found, layout, cell).where: cell for cell in range(len(rows))}
    for names in itertools.combinations(["light", "blinks", "tries"], 3):
        groups = frame.group_by(names).agg(pl.len().alias("rows"), pl.col("failed").sum())
        for group in groups.to_dicts():
            cell = sought[tuple(Predicate(name, "==", group[name]) for name in names)]
            assert (rows[cell], failures[cell]) == (group["rows"], group["failed"])


def test_every_conjunction_of_one_two_and_three_columns_is_there_once() -> None:
    _, found, layout = prepared(0)
    orders = (layout.tables[:, :3] > 0).sum(axis=1)
    assert np.bincount(orders, minlength=4).tolist() == [0, 5, 10, 10]
    all_of_them = [where_of(found, layout, cell).where for cell in range(len(layout.penalty))]
    assert len(set(all_of_them)) == len(all_of_them)


@pytest.mark.parametrize("outcome", ["failed", "loss"])
def test_rows_counted_off_again_leave_what_counting_without_them_gives(outcome: str) -> None:
    _, found, layout = prepared(3, outcome)
    gone = np.random.default_rng(0).random(found.n_rows) < 0.3
    codes = codes_of(found)
    cube, direct = (Cube(layout, is_rate=found.kind == "rate", threads=1) for _ in range(2))
    cube.add(codes, found.outcome)
    cube.add(codes[:, gone], found.outcome[gone], sign=-1)
    direct.add(codes[:, ~gone], found.outcome[~gone])
    assert np.array_equal(cube.cells()[0], direct.cells()[0])
    assert np.allclose(cube.cells()[1], direct.cells()[1], atol=1e-9)


def test_more_threads_and_other_rows_first_count_the_same() -> None:
    _, found, layout = prepared(4)
    once = counted(found, layout)
    order = np.random.default_rng(1).permutation(found.n_rows)
    cube = Cube(layout, is_rate=True, threads=3)
    cube.add(codes_of(found)[:, order], found.outcome[order])
    for one, other in zip(once, cube.cells(), strict=True):
        assert np.array_equal(one, other)


def log_likelihood(n: int, k: int, rate: float) -> float:
    return float(stats.binom.logpmf(k, n, rate))


@settings(max_examples=200)
@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_the_gain_of_a_rate_is_the_likelihood_ratio_of_two_binomials_over_one(
    n: int, rest_n: int, share: float, rest_share: float
) -> None:
    k, rest_k = round(n * share), round(rest_n * rest_share)
    (gain,) = cell_gains(
        np.array([float(n)]),
        np.array([float(k)]),
        totals=(float(n + rest_n), float(k + rest_k), -1.0),
        least=1,
        lift=1.0,
    ).tolist()
    if k / n <= rest_k / rest_n:
        assert gain == -math.inf or k * rest_n == pytest.approx(rest_k * n)
        return
    both = (k + rest_k) / (n + rest_n)
    expected = log_likelihood(n, k, k / n) + log_likelihood(rest_n, rest_k, rest_k / rest_n)
    expected -= log_likelihood(n, k, both) + log_likelihood(rest_n, rest_k, both)
    assert gain == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_the_gain_of_a_loss_is_the_likelihood_ratio_of_two_normal_means_over_one(shift: float) -> None:
    rng = np.random.default_rng(0)
    loss, inside = rng.normal(size=500), rng.random(500) < 0.2
    loss[inside] += shift
    sd = float(loss.std())
    (gain,) = cell_gains(
        np.array([float(inside.sum())]),
        np.array([loss[inside].sum()]),
        totals=(500.0, float(loss.sum()), sd**2),
        least=1,
        lift=1.0,
    ).tolist()
    own = np.where(inside, loss[inside].mean(), loss[~inside].mean())
    expected = stats.norm.logpdf(loss, own, sd).sum() - stats.norm.logpdf(loss, loss.mean(), sd).sum()
    assert gain == pytest.approx(expected, rel=1e-5)


def test_a_cell_that_is_too_small_too_large_or_no_worse_gains_nothing() -> None:
    rows = np.array([4.0, 5.0, 96.0, 20.0, 20.0])
    failures = np.array([4.0, 5.0, 20.0, 4.0, 5.0])
    gains = cell_gains(rows, failures, totals=(100.0, 20.0, -1.0), least=5, lift=1.25)
    assert np.isfinite(gains).tolist() == [False, True, False, False, True]
    assert not np.isfinite(cell_gains(rows, failures, totals=(100.0, 20.0, 0.0), least=5, lift=1.0)).any()


def test_a_description_costs_the_logarithm_of_what_could_have_been_named() -> None:
    _, found, layout = prepared(0)
    for cell in range(0, len(layout.penalty), 37):
        table = int(np.searchsorted(layout.expanded[:, 3], cell, side="right")) - 1
        axes = [layout.axes[axis] for axis in layout.expanded[table, :3] if axis > 0]
        options = math.prod(len(found.columns) * max(len(axis.ranges), 2) for axis in axes)
        expected = 0.6 * math.log(options / math.factorial(len(axes)))
        assert float(layout.penalty[cell]) == pytest.approx(expected, rel=1e-5)


def many_columns(n: int, *, values: int) -> Encoded:
    """Columns of values without rows, since a layout is made before anything is counted."""
    column = EncodedColumn("x", np.zeros(0, np.uint8), tuple(f"v{i}" for i in range(values)), (), None, None)
    return Encoded((column,) * n, {}, "rate", np.zeros(0), None, 0)


@pytest.mark.parametrize(
    ("columns", "values", "rows", "order"),
    [
        (15, 8, 10**6, 3),
        (200, 4, 10**5, 2),
        (200, 254, 2_000, 2),
        (20, 254, 10**4, 3),
        (50, 254, 10**4, 2),
        (5_000, 3, 10**3, 1),
    ],
)
def test_the_cube_stays_within_its_bounds_however_wide_the_table(
    columns: int, values: int, rows: int, order: int
) -> None:
    layout = lay_out(many_columns(columns, values=values), n_rows=rows, condition_penalty=0.6)
    orders = np.bincount((layout.tables[:, :3] > 0).sum(axis=1), minlength=4)
    assert orders[1] == columns, "every column is searched alone"
    assert orders.nonzero()[0].max() == order
    assert layout.n_cells <= max(MAX_CELLS, columns * values)
    assert len(layout.penalty) <= max(MAX_CELLS, columns * values)


def test_what_is_left_of_a_table_of_two_columns_is_searched_in_pairs() -> None:
    layout = lay_out(many_columns(2, values=5), n_rows=100, condition_penalty=0.6)
    assert layout.n_cells == 5 + 5 + 25 <= MAX_PAIR_CELLS


@pytest.mark.parametrize("outcome", ["failed", "loss"])
def test_halves_counted_together_are_what_each_half_counts_alone(outcome: str) -> None:
    _, found, layout = prepared(5, outcome)
    table, rng = Half.whole(found), np.random.default_rng(0)
    firsts = [rng.random(found.n_rows) < share for share in (0.5, 0.5, 0.1)]
    for first, cubes in zip(firsts, count_halves(table, layout, firsts, threads=2), strict=True):
        for rows, together in zip((first, ~first), cubes, strict=True):
            alone = Cube(layout, is_rate=table.is_rate, threads=1)
            alone.add(codes_of(found)[:, rows], found.outcome[rows])
            assert np.array_equal(together.cells()[0], alone.cells()[0])
            assert np.allclose(together.cells()[1], alone.cells()[1], atol=1e-9)
