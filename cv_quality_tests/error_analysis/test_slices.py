"""A slice selects the same rows in Polars, in SQL and in a plain loop, reads as a sentence, and survives JSON."""

import json
import math
from typing import cast

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.error_analysis.slices import Op, Predicate, Slice, Value, is_missing
from cv_quality.errors import SliceError

NAMES = ["lens", "select", 'a"b', "group by", "it's; drop table rows --", "größe", "a,b", " "]
TEXTS = ["a", "b", "", "it's", 'say "x"', "null", "NaN", "nan", "true", "1", "ä", "%", "x' OR '1'='1", "a\nb"]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = FINITE | st.sampled_from([math.inf, -math.inf, 0.0, -0.0, 0.1, 0.3, 0.1 + 0.2])
WHOLE = st.integers(-(2**53), 2**53)
CELLS: dict[pl.DataType, st.SearchStrategy[Value]] = {
    pl.String(): st.sampled_from(TEXTS),
    pl.Int64(): st.integers(-3, 3) | WHOLE,
    pl.UInt8(): st.integers(0, 255),
    pl.Float64(): NUMBERS | st.just(math.nan),
    pl.Boolean(): st.booleans(),
}


def is_absent(cell: Value) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or str(cell).lower() == "nan"


def holds(predicate: Predicate, cell: Value) -> bool:
    """What the documentation of a condition says, in plain Python."""
    if predicate.op in ("<=", ">"):
        if is_absent(cell):
            return False
        number, bound = cast(float, cell), cast(float, predicate.value)
        return number <= bound if predicate.op == "<=" else number > bound
    return any(is_absent(cell) if value is None else cell is not None and cell == value for value in predicate.values)


def in_polars(frame: pl.DataFrame, found: Slice | Predicate) -> list[bool | None]:
    held = frame.with_columns(found.expression().alias("-held-"))["-held-"]
    return cast("list[bool | None]", held.to_list())


def in_duckdb(frame: pl.DataFrame, found: Slice | Predicate) -> list[bool | None]:
    with duckdb.connect() as connection:
        connection.register("rows", frame)
        return [row[0] for row in connection.execute(f"SELECT {found.sql()} FROM rows").fetchall()]


@st.composite
def cells_and_conditions(draw: st.DrawFn) -> tuple[pl.Series, Predicate]:
    """A column with any cells, and a condition on it that mostly names one of them."""
    kind = draw(st.sampled_from(list(CELLS)))
    cells = draw(st.lists(CELLS[kind] | st.none(), min_size=1, max_size=12))
    named = st.sampled_from([*cells, *draw(st.lists(CELLS[kind], min_size=1, max_size=2))]).map(
        lambda cell: None if isinstance(cell, float) and not math.isfinite(cell) else cell
    )
    ops: list[Op] = ["==", "in", "<=", ">"] if kind.is_numeric() else ["==", "in"]
    op = draw(st.sampled_from(ops))
    value: Value | tuple[Value, ...]
    if op == "in":
        value = tuple(draw(st.lists(named, min_size=1, max_size=3, unique=True)))
    elif op == "==":
        value = draw(named)
    else:
        value = draw(named.filter(lambda cell: cell is not None) | FINITE)
    column = draw(st.sampled_from(NAMES))
    return pl.Series(column, cells, dtype=kind), Predicate(column, op, value)


@settings(max_examples=300)
@given(cells_and_conditions())
def test_a_condition_holds_for_the_same_rows_in_polars_in_sql_and_in_a_plain_loop(
    given_: tuple[pl.Series, Predicate],
) -> None:
    column, predicate = given_
    expected = [holds(predicate, cell) for cell in column.to_list()]
    assert in_polars(column.to_frame(), predicate) == expected
    assert in_duckdb(column.to_frame(), predicate) == expected


@settings(max_examples=100)
@given(st.data())
def test_a_slice_holds_where_all_of_its_conditions_do(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 8))
    frame = pl.DataFrame(
        {
            "group by": data.draw(st.lists(st.sampled_from([*TEXTS, None]), min_size=n, max_size=n)),
            'a"b': data.draw(st.lists(NUMBERS | st.none(), min_size=n, max_size=n)),
        },
        schema={"group by": pl.String, 'a"b': pl.Float64},
    )
    low, high = sorted(data.draw(st.tuples(FINITE, FINITE)))
    possible = [
        Predicate("group by", "in", ("it's", None)),
        Predicate('a"b', ">", low),
        Predicate('a"b', "<=", high),
        Predicate('a"b', "in", (0.1, None)),
    ]
    found = Slice(tuple(data.draw(st.lists(st.sampled_from(possible), max_size=4))))
    expected = [all(holds(predicate, row[predicate.column]) for predicate in found.where) for row in frame.to_dicts()]
    assert in_polars(frame, found) == expected
    assert in_duckdb(frame, found) == expected


@pytest.mark.parametrize(
    "cells",
    [
        pl.Series("x", ["dim", "day", None, "dim"], dtype=pl.Categorical),
        pl.Series("x", ["dim", "day", None, "dim"], dtype=pl.Enum(["day", "dim", "never"])),
    ],
)
def test_values_of_categories_are_compared_as_text(cells: pl.Series) -> None:
    assert in_polars(cells.to_frame(), Predicate("x", "==", "dim")) == [True, False, False, True]
    assert in_polars(cells.to_frame(), Predicate("x", "in", ("day", None))) == [False, True, True, False]
    assert in_duckdb(cells.to_frame(), Predicate("x", "in", ("day", None))) == [False, True, True, False]


def test_numbers_of_half_the_width_equal_their_own_value_read_back() -> None:
    frame = pl.DataFrame({"x": pl.Series([0.1, 0.2, None, math.nan], dtype=pl.Float32)})
    tenth = cast(float, frame["x"].to_list()[0])
    assert in_polars(frame, Predicate("x", "==", tenth)) == [True, False, False, False]
    assert in_duckdb(frame, Predicate("x", "==", tenth)) == [True, False, False, False]
    assert in_polars(frame, Predicate("x", "==", None)) == [False, False, True, True]


def test_a_slice_without_a_condition_is_the_whole_table() -> None:
    frame = pl.DataFrame({"x": [1, None]})
    assert in_polars(frame, Slice(())) == [True, True]
    assert in_duckdb(frame, Slice(())) == [True, True]
    assert Slice(()).sentence() == "all rows"


@given(cells_and_conditions())
def test_a_condition_and_its_opposite_part_the_rows_that_have_a_value(given_: tuple[pl.Series, Predicate]) -> None:
    column, predicate = given_
    if predicate.op not in ("<=", ">"):
        return
    other: Op = ">" if predicate.op == "<=" else "<="
    one = in_polars(column.to_frame(), predicate)
    two = in_polars(column.to_frame(), Predicate(predicate.column, other, predicate.value))
    assert [left != right for left, right in zip(one, two, strict=True)] == [
        not is_absent(cell) for cell in column.to_list()
    ]


@given(st.lists(cells_and_conditions().map(lambda item: item[1]), max_size=4))
def test_a_slice_comes_back_from_json_as_it_was(where: list[Predicate]) -> None:
    found = Slice(tuple(where))
    assert Slice.from_list(json.loads(json.dumps(found.to_list()))) == found
    assert [type(value) for item in found.where for value in item.values] == [
        type(value) for item in Slice.from_list(json.loads(json.dumps(found.to_list()))).where for value in item.values
    ]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_infinity_and_nan_are_no_values_to_compare_with(value: float) -> None:
    ops: tuple[Op, ...] = ("==", "<=", ">")
    for op in ops:
        with pytest.raises(SliceError, match="expected finite numbers"):
            Predicate("x", op, value)


@pytest.mark.parametrize(
    ("predicate", "sentence"),
    [
        (Predicate("light", "==", "dim"), "light is dim"),
        (Predicate("light", "in", ("dim", "day", None)), "light is dim or day or missing"),
        (Predicate("lux", "<=", 9.970001), "lux <= 9.970001"),
        (Predicate("lux", "<=", 9.970000267028809), "lux <= 9.97"),
        (Predicate("bytes", "<=", 1.29392e12), "bytes <= 1293920000000"),
        (Predicate("captured_at", ">", 1_293_921_000_000), "captured_at > 2011-01-01 22:30:00"),
        (Predicate("start_time", "<=", 1_293_840_000), "start_time <= 2011-01-01"),
        (Predicate("lux", ">", 10), "lux > 10"),
        (Predicate("blinks", "==", True), "blinks is True"),
        (Predicate("lux", "==", None), "lux is missing"),
    ],
)
def test_a_condition_reads_as_a_sentence(predicate: Predicate, sentence: str) -> None:
    assert predicate.sentence() == sentence
    assert Slice((predicate, Predicate("lens", "==", "a"))).sentence() == f"{sentence} and lens is a"


def test_columns_are_named_once_in_their_order() -> None:
    interval = Predicate("x", ">", 1), Predicate("lens", "==", "a"), Predicate("x", "<=", 5)
    assert Slice(interval).columns == ("x", "lens")


@pytest.mark.parametrize(
    ("op", "value", "message"),
    [
        ("<", 3, "expected an operator of ==, in, <=, >, found '<'"),
        ("in", "dim", "several values for 'in' and one for others, found 'dim'"),
        ("in", (), "several values"),
        ("==", ("dim",), "several values"),
        ("<=", "3", "expected a number as bound of '<=', found '3'"),
        (">", True, "expected a number as bound"),
        (">", None, "expected a number as bound"),
        ("==", math.nan, "expected finite numbers"),
        ("in", (1.0, math.nan), "expected finite numbers"),
        ("<=", math.nan, "expected finite numbers"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_column_and_what_was_found(op: Op, value: Value, message: str) -> None:
    with pytest.raises(SliceError, match=f"lux: .*{message}"):
        Predicate("lux", op, value)


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"column": "x", "op": "=="},
        {"column": "x", "op": "==", "value": 1, "more": 2},
        {"column": 3, "op": "==", "value": 1},
        {"column": "x", "op": "=", "value": 1},
        {"column": "x", "op": "in", "value": []},
        "x == 1",
        None,
    ],
)
def test_json_that_is_no_condition_is_refused(item: object) -> None:
    with pytest.raises(SliceError):
        Slice.from_list([item])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        (["nan", "NaN", None, "", "none"], [True, True, True, False, False]),
        ([math.nan, None, math.inf, 0.0], [True, True, False, False]),
        ([True, None], [False, True]),
        ([1, None], [False, True]),
    ],
)
def test_null_and_nan_are_missing_and_nothing_else_is(cells: list[Value], missing: list[bool]) -> None:
    frame = pl.DataFrame({"x": cells}, strict=False)
    assert frame.select(is_missing(pl.col("x")))["x"].to_list() == missing
