"""Codes of a column select the rows that their conditions select from the table; what carries no slice is left out."""

import datetime
import json
import math
import re
from decimal import Decimal

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.error_analysis.discovery import find_slices
from cv_quality.error_analysis.encoding import (
    MAX_CODES,
    MAX_LISTED_VALUES,
    MIN_ROWS,
    Encoded,
    EncodedColumn,
    Mask,
    encode,
    holds,
    min_rows,
)
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError

N = 3_000
RNG = np.random.default_rng(0)
FEW = RNG.integers(0, 4, N)
NORMAL = RNG.normal(size=N)


def picked(*values: object) -> pl.Series:
    """A column of four values, in the same rows for every four."""
    return pl.Series([values[code] for code in FEW], strict=False)


COLUMNS = {
    "text": picked("a", "b'c", 'd"e', ""),
    "text with missing": picked("a", None, "c", "d"),
    "text with nan spelt out": picked("NaN", "nan", "x", "y"),
    "one text or missing": picked("a", "a", "a", None),
    "flags": picked(True, False, True, False),
    "flags with missing": picked(True, None, False, True),
    "categories": picked(*"abcd").cast(pl.Categorical),
    "enumeration": picked(*"abcd").cast(pl.Enum(list("dcba"))),
    "few whole numbers": picked(-2, 0, 1, 250),
    "few whole numbers with missing": picked(-2, None, 1, 250),
    "few narrow numbers": picked(0, 1, 2, 255).cast(pl.UInt8),
    "few numbers": picked(0.1, 0.2, 0.1 + 0.2, 1e300),
    "few numbers of half the width": picked(0.1, 0.2, 0.7, 1.5).cast(pl.Float32),
    "few numbers with nan": picked(0.1, math.nan, 0.7, None),
    "two zeros": picked(0.0, -0.0, 1.0, 2.0),
    "many whole numbers": pl.Series(RNG.poisson(30, N)),
    "many numbers": pl.Series(NORMAL),
    "many numbers of half the width": pl.Series(NORMAL.astype(np.float32)),
    "many numbers with missing": pl.Series(np.where(FEW == 0, np.nan, NORMAL)),
    "infinity among numbers": pl.Series(np.where(FEW == 0, np.inf, np.where(FEW == 1, -np.inf, NORMAL))),
    "few with infinity": picked(0.0, 1.0, 2.0, math.inf),
    "mostly zero": pl.Series(np.where(RNG.random(N) < 0.98, 0.0, RNG.exponential(size=N))),
    "tiny numbers": pl.Series(NORMAL * 1e-300),
    "long-tailed text": pl.Series([f"v{number}" for number in RNG.zipf(1.3, N)]),
    "long-tailed text with missing": pl.Series([f"v{n}" if n < 50 else None for n in RNG.zipf(1.3, N)]),
    "long-tailed numbers": pl.Series(RNG.zipf(1.5, N).clip(max=2**40)),
}


def table(values: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"x": values, "failed": np.random.default_rng(1).random(len(values)) < 0.1})


def encoded(values: pl.Series) -> EncodedColumn:
    (column,) = encode(table(values).lazy(), outcome="failed").columns
    return column


def mask(*codes: int) -> Mask:
    held = np.zeros(256, np.bool_)
    held[list(codes)] = True
    return held


def masks(column: EncodedColumn) -> list[Mask]:
    """Every code alone, every threshold on both sides, some intervals, and values joined."""
    found = [mask(code) for code in np.unique(column.codes).tolist() if code != column.other]
    bins = range(len(column.edges) + 1)
    for cut in range(1, len(bins) if column.is_ordered else 0):
        found += [mask(*bins[:cut]), mask(*bins[cut:]), mask(*bins[cut : cut + 5])]
    named = list(range(len(column.labels)))
    if len(named) > 2:
        found += [mask(named[0], named[-1]), mask(*named[1:])]
    if len(named) > 1 and column.missing is not None:
        found += [mask(named[0], column.missing)]
    return found


def rows_of(frame: pl.DataFrame, where: Slice) -> NDArray[np.bool_]:
    return frame.select(where.expression().alias("held"))["held"].to_numpy()


@pytest.mark.parametrize("name", list(COLUMNS))
def test_the_rows_of_a_mask_are_the_rows_of_its_conditions_over_the_table(name: str) -> None:
    frame, column = table(COLUMNS[name]), encoded(COLUMNS[name])
    assert len(column.codes) == N
    assert column.codes.max() < column.n_codes <= 256
    with duckdb.connect() as connection:
        connection.register("rows", frame)
        for held in masks(column):
            where, expected = Slice(column.predicates(held)), held[column.codes]
            assert 1 <= len(where.where) <= 2
            assert np.array_equal(rows_of(frame, where), expected), where.sentence()
            found = connection.execute(f"SELECT {where.sql()} FROM rows").fetchnumpy().popitem()[1]
            assert np.array_equal(found, expected), where.sql()


@settings(max_examples=60)
@given(st.data())
def test_small_columns_of_any_numbers_are_coded_as_their_conditions_say(data: st.DataObject) -> None:
    number = st.floats(width=32) | st.integers(-20, 20).map(float) | st.none()
    values = data.draw(st.lists(number, min_size=2, max_size=60))
    found = encode(table(pl.Series(values, dtype=pl.Float64)).lazy(), outcome="failed")
    for column in found.columns:
        for held in masks(column):
            where = Slice(column.predicates(held))
            assert np.array_equal(rows_of(table(pl.Series(values, dtype=pl.Float64)), where), held[column.codes])


@pytest.mark.parametrize("name", [*COLUMNS])
def test_other_rows_first_change_the_order_of_the_codes_and_nothing_else(name: str) -> None:
    order = np.random.default_rng(7).permutation(N)
    one, two = encoded(COLUMNS[name]), encoded(COLUMNS[name].gather(order))
    assert np.array_equal(one.codes[order], two.codes)
    assert (one.labels, one.edges, one.missing, one.other) == (two.labels, two.edges, two.missing, two.other)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pl.Series(["a"] * N), "constant"),
        (pl.Series([3.5] * N), "constant"),
        (pl.Series([None] * N), "constant"),
        (pl.Series([math.nan] * N), "constant"),
        (pl.Series([f"id{i}" for i in range(N)]), f"an identifier: {N} values in {N} rows"),
        (pl.Series(range(N)), "an identifier"),
        (pl.Series(range(N), dtype=pl.Float64), "an identifier"),
        (pl.Series([None if i % 3 == 0 else f"id{i}" for i in range(N)]), "an identifier: 2000 values in 2000 rows"),
        (pl.Series([f"v{i // 2}" for i in range(N)]), "no value of 1500 reaches 5 rows"),
        (picked(*(datetime.date(2020, 1, day) for day in (1, 2, 3, 4))), "columns of type Date"),
        (picked(*(datetime.datetime(2020, 1, day) for day in (1, 2, 3, 4))), "columns of type Datetime"),
        (picked(*(datetime.timedelta(days) for days in (1, 2, 3, 4))), "columns of type Duration"),
        (picked([1], [2], [3], [4]), "columns of type List"),
        (picked({"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}), "columns of type Struct"),
        (picked(b"a", b"b", b"c", b"d"), "columns of type Binary"),
        (pl.Series([object() for _ in range(N)], dtype=pl.Object), "columns of type Object"),
    ],
)
def test_what_cannot_carry_a_slice_is_left_out_with_the_reason(values: pl.Series, said: str) -> None:
    found = encode(table(values).lazy(), outcome="failed")
    assert found.columns == ()
    assert said in found.skipped["x"]


def with_subjects(values: pl.Series, *, per_subject: int, unit: str = "subject") -> Encoded:
    frame = table(values).with_columns(who=pl.Series([f"s{i // per_subject}" for i in range(len(values))]))
    return encode(frame.lazy(), outcome="failed", subject="who", unit=unit)


@pytest.mark.parametrize("kind", [pl.String, pl.Int64, pl.Float64])
def test_another_name_of_the_subjects_is_an_identifier(kind: pl.DataType) -> None:
    found = with_subjects(pl.Series([i // 20 * 7 for i in range(N)]).cast(kind), per_subject=20)
    assert found.skipped["x"] == "an identifier of the subjects: 150 values for 150"


def test_an_identifier_of_clips_is_called_so() -> None:
    found = with_subjects(pl.Series([i // 20 * 7 for i in range(N)]), per_subject=20, unit="clip")
    assert found.skipped["x"] == "an identifier of the clips: 150 values for 150"


@pytest.mark.parametrize("kind", [pl.String, pl.Int64])
def test_a_name_of_each_subjects_sessions_is_an_identifier(kind: pl.DataType) -> None:
    found = with_subjects(pl.Series([i // 10 * 7 for i in range(N)]).cast(kind), per_subject=20)
    assert "identifier" in found.skipped.get("x", "")


def test_an_attribute_that_several_subjects_share_is_searched() -> None:
    found = with_subjects(pl.Series([f"site {i // 300}" for i in range(N)]), per_subject=20)
    assert found.skipped == {}
    few = with_subjects(pl.Series([f"site {i // 300}" for i in range(N)]), per_subject=300)
    assert few.skipped == {}, "ten values are no identifier, even of ten subjects"


def test_a_constant_number_is_searched_for_where_it_is_missing() -> None:
    column = encoded(picked(7, 7, 7, None))
    assert column.labels == (7, None)
    assert np.array_equal(column.codes == 1, FEW == 3)


def test_decimals_are_searched_as_numbers_that_json_can_hold() -> None:
    column = encoded(picked(*(Decimal(digit) / 10 for digit in (1, 2, 5, 7))))
    where = Slice(column.predicates(mask(0)))
    assert json.loads(json.dumps(where.to_list())) == [{"column": "x", "op": "==", "value": 0.1}]


def test_infinity_among_few_values_is_a_condition_that_json_can_hold() -> None:
    column = encoded(COLUMNS["few with infinity"])
    json.dumps(Slice(column.predicates(mask(3))).to_list(), allow_nan=False)


def test_ten_thousand_values_keep_the_frequent_ones_and_pool_the_others() -> None:
    rows = 60_000
    rng = np.random.default_rng(5)
    rare = rng.integers(0, 10_000, rows)
    values = [f"often{n % 7}" if n % 3 == 0 else f"rare{n}" for n in rare.tolist()]
    column = encoded(pl.Series(values))
    assert sorted(str(label) for label in column.labels) == [f"often{n}" for n in range(7)]
    pooled = np.array([not value.startswith("often") for value in values])
    assert np.array_equal(column.codes == column.other, pooled)


def test_one_frequent_value_is_searched_against_the_pooled_ones() -> None:
    column = encoded(pl.Series(["a"] * 2_000 + [f"rare{n}" for n in range(1_000)]))
    assert column.labels == ("a",)
    assert np.array_equal(column.codes == 0, np.arange(N) < 2_000)


def test_more_frequent_values_than_codes_leave_the_least_frequent_pooled() -> None:
    counts = {f"v{i:03}": 5 + i for i in range(300)}
    column = encoded(pl.Series([value for value, n in counts.items() for _ in range(n)]))
    assert len(column.labels) == MAX_CODES
    assert set(column.labels) == set(sorted(counts, key=lambda value: -counts[value])[:MAX_CODES])
    assert column.other == MAX_CODES


def test_values_are_coded_by_falling_frequency() -> None:
    column = encoded(pl.Series(["b"] * 50 + ["c"] * 40 + ["a"] * 40 + [None] * 60))
    assert column.labels == (None, "b", "a", "c")
    assert np.bincount(column.codes).tolist() == [60, 50, 40, 40]


@pytest.mark.parametrize(("n", "least"), [(10, MIN_ROWS), (5_000, 5), (5_001, 6), (1_000_000, 1_000)])
def test_a_value_needs_five_rows_and_a_thousandth_of_them(n: int, least: int) -> None:
    assert min_rows(n) == least


def test_a_number_with_few_values_has_a_code_for_each_and_with_more_has_bins() -> None:
    few = pl.Series(np.arange(N) % MAX_LISTED_VALUES)
    assert encoded(few).labels == tuple(range(MAX_LISTED_VALUES))
    assert encoded(pl.Series(np.arange(N) % (MAX_LISTED_VALUES + 1))).labels == ()


def test_bins_of_a_number_hold_shares_of_the_rows_closer_in_the_tails() -> None:
    column = encoded(pl.Series(np.random.default_rng(0).normal(size=100_000)))
    below = np.cumsum(np.bincount(column.codes))[:-1] / 100_000
    for share in (0.005, 0.01, 0.02, 0.03, 0.1, 0.5, 0.9, 0.97, 0.98, 0.99, 0.995):
        assert np.abs(below - share).min() < 0.001, share
    assert list(column.edges) == sorted(set(column.edges))
    assert max(len(f"{edge:g}") for edge in column.edges) <= 7, "edges are round numbers"


def test_conditions_come_in_the_order_of_the_columns() -> None:
    frame = table(COLUMNS["text"]).with_columns(y=NORMAL)
    found = encode(frame.lazy(), outcome="failed")
    where = found.slice_of({1: mask(0), 0: mask(0)})
    assert where.columns == ("x", "y")
    assert [item.name for item in encode(frame.lazy(), outcome="failed", columns=["y", "x", "y"]).columns] == ["y", "x"]


def test_whole_numbers_of_which_some_occur_twice_are_measured_and_searched() -> None:
    rounded = pl.Series((NORMAL * 1e4).round(), dtype=pl.Float64)
    assert 0.9 * N < rounded.n_unique() < N
    assert encode(pl.LazyFrame({"failed": FEW == 0, "x": rounded}), outcome="failed").skipped == {}


def test_signs_are_no_outcome_and_are_asked_for() -> None:
    with pytest.raises(SliceError, match="which say not which of them is a failure"):
        encode(pl.LazyFrame({"failed": np.where(FEW == 0, 1, -1), "x": NORMAL}), outcome="failed")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False, True], "rate"),
        ([1, 0, 1], "rate"),
        ([1.0, 0.0, 1.0], "rate"),
        ([1, 1, 1], "rate"),
        ([0.5, 2.0, -1.0], "loss"),
        ([2, 1, 0], "loss"),
    ],
)
def test_zeros_and_ones_are_a_rate_and_other_numbers_a_loss(values: list[float], kind: str) -> None:
    found = encode(pl.DataFrame({"y": values, "x": [1, 2, 3]}).lazy(), outcome="y")
    assert found.kind == kind
    assert found.outcome.tolist() == [float(value) for value in values]


TABLE = pl.DataFrame({"who": ["a", "b", "c"], "lens": ["x", "y", "x"], "failed": [True, False, True]})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (TABLE.clear(), "the table has no rows"),
        (TABLE.drop("failed"), "no column 'failed'"),
        (TABLE.rename({"failed": "faild"}), "no column 'failed': did you mean faild"),
        (TABLE.drop("who"), "no column 'who'"),
        (TABLE.rename({"lens": "lense"}), "no column 'lens': did you mean lense"),
        (TABLE.with_columns(failed=pl.lit("yes")), "true and false, 0 and 1, or a loss as a number, found String"),
        (TABLE.with_columns(failed=pl.lit(None)), "found Null"),
        (TABLE.with_columns(failed=pl.Series([True, None, None])), "2 of 3 rows are null or not finite"),
        (TABLE.with_columns(failed=pl.Series([1.0, math.nan, 0.0])), "1 of 3 rows are null or not finite"),
        (TABLE.with_columns(failed=pl.Series([1.0, math.inf, 0.0])), "1 of 3 rows are null or not finite"),
        (TABLE.with_columns(failed=pl.Series([1.0, -1e200, 0.0])), "expected losses up to 1e.100 in size"),
        (TABLE.with_columns(who=pl.Series(["a", None, "b"])), "1 of 3 rows name no subject"),
    ],
)
def test_a_table_that_cannot_be_searched_is_refused_with_what_is_wrong(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(SliceError, match=message):
        encode(frame.lazy(), outcome="failed", subject="who", columns=["lens"])


def test_a_subject_that_is_nan_is_no_subject() -> None:
    with pytest.raises(SliceError, match="name no subject"):
        encode(TABLE.with_columns(who=pl.Series([1.0, math.nan, 2.0])).lazy(), outcome="failed", subject="who")


def test_a_subject_in_a_nested_type_is_refused() -> None:
    with pytest.raises(SliceError, match="subject 'who'"):
        encode(TABLE.with_columns(who=pl.concat_list("who")).lazy(), outcome="failed", subject="who")


def test_the_codes_of_subjects_do_not_depend_on_the_order_of_rows() -> None:
    one = encode(TABLE.lazy(), outcome="failed", subject="who")
    two = encode(TABLE.reverse().lazy(), outcome="failed", subject="who")
    assert one.subjects is not None
    assert two.subjects is not None
    assert one.subjects.tolist() == two.subjects.tolist()[::-1] == [0, 1, 2]
    assert one.n_subjects == 3


def test_neither_the_outcome_nor_the_subject_is_searched() -> None:
    found = encode(TABLE.lazy(), outcome="failed", subject="who", columns=["failed", "who"])
    assert (found.columns, found.skipped) == ((), {})


def test_points_in_time_are_searched_though_each_occurs_once_and_read_as_dates() -> None:
    """From 2026-07-06 to 2026-07-20 in milliseconds, every row at a time of its own; a size in bytes is no time."""
    start, n = 1_783_296_000_000, 4_000
    frame = pl.DataFrame(
        {
            "captured_at": [start + 302_400 * row for row in range(n)],
            "size_b": [start + 302_400 * row for row in range(n)],
            "failed": [row > n // 2 and row % 3 == 0 for row in range(n)],
        }
    )
    found = find_slices(frame, outcome="failed")
    assert found.skipped == {"size_b": f"an identifier: {n} values in {n} rows"}
    (item,) = found.slices
    assert re.fullmatch(r"captured_at > 2026-07-1[23] \d\d:\d\d:\d\d(\.\d+)?", item.where.sentence())


@given(st.lists(st.integers(0, 255), max_size=40), st.sets(st.integers(0, 255)), st.booleans())
def test_a_mask_holds_for_the_rows_whose_code_it_names(rows: list[int], named: set[int], is_rest: bool) -> None:
    mask = np.isin(np.arange(256), list(named), invert=is_rest)
    codes = np.array(rows, np.uint8)
    assert holds(codes, mask).tolist() == mask[codes].tolist()
