"""All cells of a column decide what it is, and what they are taken for is said."""

from collections.abc import Sequence

import polars as pl
import pytest

from cv_quality.tables.columns import ColumnReading, Habits, read_column
from cv_quality.tables.notes import notes_of

PLAIN = [f"{n}" for n in range(40)]


def taken(cells: Sequence[str | None], habits: Habits | None = None) -> tuple[ColumnReading, list[object], list[str]]:
    """How a column is read, its values, and what is said of it."""
    values = pl.Series("x", cells, pl.String)
    reading = read_column(values, habits=habits or Habits())
    return reading, values.to_frame().select(reading.values)["x"].to_list(), notes_of([reading])


@pytest.mark.parametrize(
    "word", ["None", "N/A", "#N/A", "NA", "NaN", "nan", "-", "--", "missing", "NULL", "?", "#DIV/0!"]
)
def test_a_word_for_missing_leaves_a_number_column_numbers_and_is_counted(word: str) -> None:
    reading, values, notes = taken([*PLAIN, word, "1.5", word])
    assert reading.kind == "number"
    assert values == [*map(float, PLAIN), None, 1.5, None]
    assert notes == [f"'{word}' missing in x (2)"]


@pytest.mark.parametrize("word", ["NA", "None", "N/A", "null", "missing", "-"])
def test_a_word_for_missing_is_a_value_of_a_category_and_said(word: str) -> None:
    reading, values, notes = taken(["EU", word, "AS", word, "", None])
    assert reading.kind == "text"
    assert values == ["EU", word, "AS", word, None, None]
    assert notes == [f"'{word}' (2) kept as a value of x (--missing makes it missing)"]


def test_a_few_odd_cells_are_said_and_missing_in_a_column_of_numbers() -> None:
    reading, values, notes = taken([*PLAIN, "err", "low", "err"])
    assert reading.kind == "number"
    assert values[-4:] == [39, None, None, None]
    assert notes == ["in x 3 cells are no numbers and taken as missing: 'err' and 'low'"]


@pytest.mark.parametrize("cell", ["<0.1", "≤ 0.1", "~0.1", "$0.1", "'0.1", "<=0.1"])
def test_a_sign_before_a_number_is_passed_over_and_said(cell: str) -> None:
    reading, values, notes = taken([*PLAIN, cell])
    assert (reading.kind, values[-1]) == ("number", 0.1)
    assert notes == ["signs such as < or $ before numbers passed over in x"]


@pytest.mark.parametrize("cells", [["1.1", "1.10", "2.0"], ["1E5", "1E05", "2E5"], ["1,1", "1,10", "2,5"]])
def test_versions_that_would_be_one_number_stay_two_names(cells: list[str]) -> None:
    reading, values, notes = taken(cells * 40)
    assert (reading.kind, values[:3]) == ("text", cells)
    assert "would be one number, and may be two names" in notes[0]


def test_measurements_of_differing_precision_are_numbers() -> None:
    reading, values, _ = taken([f"{n / 8:.3f}" for n in range(200)] + ["0.5", "0.50"])
    assert (reading.kind, values[-2:]) == ("number", [0.5, 0.5])


def test_points_part_thousands_where_one_number_has_two_of_them() -> None:
    reading, values, notes = taken([*(f"{n}.250" for n in range(1, 40)), "1.011.610", "7"])
    assert (reading.kind, values[0], values[-2:]) == ("number", 1250, [1_011_610, 7])
    assert notes == ["decimal comma in x", "points between thousands in x"]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["-999", "-999", "5", "12"], "-999 in 2 rows of x"),
        (["-1", "-1", "0.5", "1.25"], "-1 in 2 rows of x"),
        (["9999", "9999", "5", "12"], "9999 in 2 rows of x"),
        (["-1", "-1", "-3", "12"], ""),
        (["-999", "5", "12"], ""),
        (["999", "999", "998", "5"], ""),
    ],
)
def test_a_number_that_may_stand_for_a_missing_one_is_said(cells: list[str], said: str) -> None:
    reading, _, notes = taken(cells)
    assert reading.kind == "number"
    told = [f"{said} is read as a number (--missing={said.split()[0]} makes it missing)"] if said else []
    assert notes == told


@pytest.mark.parametrize("cell", ["2026-03-0{}", "0{}.03.2026", "3/{}/2026", "2026-03-0{}T10:11:12Z"])
def test_dates_are_text_whose_order_is_not_searched_and_said(cell: str) -> None:
    reading, _, notes = taken([cell.format(1 + n % 7) for n in range(40)])
    assert reading.kind == "text"
    assert notes == ["x read as text: dates; as seconds since 1970 they would be searched in their order"]


def test_a_unit_counts_in_any_case() -> None:
    reading, values, notes = taken([f"{n} Lux" if n % 2 else f"{n} lux" for n in range(40)])
    assert (reading.kind, values[:2]) == ("number", [0, 1])
    assert notes == ["unit Lux in x"]


@pytest.mark.parametrize("cell", ["٣٥٫٥", "３５．５", '="35.5"'])
def test_digits_that_are_not_read_are_said(cell: str) -> None:
    reading, _, notes = taken([cell] * 40)
    assert reading.kind == "text"
    assert notes == [f"x read as text: 40 of 40 cells no numbers, '{cell}'"]


def test_codes_with_a_letter_among_them_stay_a_category() -> None:
    reading, values, notes = taken([*("1", "2", "3") * 20, "B"])
    assert (reading.kind, values[-1]) == ("text", "B")
    assert notes == ["x read as text: 1 of 61 cells no numbers, 'B'"]


def test_many_odd_cells_make_a_column_text_and_are_said() -> None:
    reading, _, notes = taken([*PLAIN, *["low"] * 10])
    assert reading.kind == "text"
    assert notes == ["x read as text: 10 of 50 cells no numbers, 'low'"]


FORMS: dict[str, tuple[list[str], str, list[float], str]] = {
    "decimal comma": (["1,5", "0,25", "-3"], ";", [1.5, 0.25, -3], "decimal comma in x"),
    "thousands": (["1,234.5", "12", "1,000,000"], ",", [1234.5, 12, 1e6], "commas between thousands in x"),
    "both, of Germany": (["1.234,5", "12"], ";", [1234.5, 12], "points between thousands in x"),
    "spaces": (["1 234,5", "1\u202f000"], ";", [1234.5, 1000], "spaces between thousands in x"),
    "apostrophes": (["1'234.5", "12"], ";", [1234.5, 12], "apostrophes between thousands in x"),
    "either, in commas": (["1,234", "5"], ",", [1234, 5], "commas between thousands in x"),
    "either, in semicolons": (["1,234", "5"], ";", [1.234, 5], "decimal comma in x"),
    "unit behind a space": (["12 ms", "7 ms", "0"], ",", [12, 7, 0], "unit ms in x"),
    "percent": (["45%", "5.5 %"], ",", [45, 5.5], "unit % in x"),
    "exponent and unit": (["1.2e3 lx", "3e-1 lx"], ",", [1200, 0.3], "unit lx in x"),
    "all at once": (["1.234,5 %", "12 %"], ";", [1234.5, 12], "unit % in x"),
    "another minus": (["−5.5", "3"], ",", [-5.5, 3], ""),
}


@pytest.mark.parametrize("name", list(FORMS))
def test_numbers_are_read_in_the_form_that_they_have_and_it_is_said(name: str) -> None:
    cells, separator, expected, said = FORMS[name]
    reading, values, notes = taken([*cells, None, "N/A"], Habits(separator))
    assert reading.kind == "number"
    assert values == [*expected, None, None]
    assert not said or said in notes


def test_a_column_that_tells_what_a_comma_is_tells_it_for_the_others() -> None:
    assert taken(["1,25", "2"])[0].comma == "decimal"
    assert taken(["1,250.5", "2"])[0].comma == "thousands"
    assert taken(["1,250", "2"])[0].comma is None
    assert taken(["1,250", "2"], Habits(",", comma="decimal"))[1] == [1.25, 2]
    assert taken(["1.250", "2"], Habits(";", comma="decimal"))[1] == [1250, 2]
    assert taken(["1.25", "2"], Habits(";", comma="decimal"))[1] == [1.25, 2]


@pytest.mark.parametrize("cells", [["07", "7"], ["12345678901234567890", "12345678901234567891"]])
def test_whole_numbers_that_a_number_would_merge_are_text(cells: list[str]) -> None:
    reading, values, notes = taken(cells)
    assert (reading.kind, values) == ("text", cells)
    assert "are names" in notes[0]


@pytest.mark.parametrize(
    "cells", [["2G", "3G", "4G", "5G"], ["1st", "2nd"], ["720p", "1080p"], ["iPhone 12"], ["08:30"]]
)
def test_names_that_begin_or_end_with_a_number_are_text(cells: list[str]) -> None:
    assert taken(cells * 9)[0].kind == "text"


def test_numbers_with_two_units_are_text_and_said() -> None:
    reading, _, notes = taken([f"{n} {'ms' if n % 3 else 's'}" for n in range(60)])
    assert reading.kind == "text"
    assert notes == ["x read as text: numbers with several units, ms and s"]


def test_flags_are_read_in_any_spelling_with_words_for_missing() -> None:
    reading, values, _ = taken(["True", "FALSE", " true", "N/A", None])
    assert (reading.kind, values) == ("flag", [True, False, True, None, None])


def test_whole_numbers_stay_whole_and_infinity_is_a_number() -> None:
    assert taken(["1", "2", "N/A"])[1] == [1, 2, None]
    assert taken(["1.5", "inf", "-Infinity"])[1] == [1.5, float("inf"), float("-inf")]
