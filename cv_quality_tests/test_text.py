"""Text from outside is shown, not obeyed; numbers have three digits; no cell of a table is wrapped or cut."""

import math
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from cv_quality.text import figures, lines_of, told_apart, visible, visible_lines


@given(st.text(st.characters(codec=None)))
def test_no_character_that_steers_is_left(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.encode().decode() == shown
    if text.isprintable():
        assert shown == text


def test_lines_of_a_message_stay_lines_and_tabs_do_not() -> None:
    assert visible_lines("one\ntwo\x1b[2J\tthree\r") == "one\ntwo\\x1b[2J\\tthree\\r"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_has_three_digits_and_is_near(value: float) -> None:
    text = figures(value)
    digits = text.split("e")[0].replace(",", "").replace(".", "").lstrip("-").strip("0")
    assert len(digits) <= 3
    assert "0000" not in text.split("e")[0].replace(",", "")
    if 1e-300 < abs(value) < 1e300:
        assert math.isclose(float(text.replace(",", "")), value, rel_tol=0.005)


@given(st.integers())
def test_a_count_is_written_whole(value: int) -> None:
    assert int(figures(value).replace(",", "")) == value


@given(st.lists(st.floats(allow_nan=False) | st.none(), min_size=1, max_size=6))
def test_numbers_side_by_side_look_different_when_they_are(values: list[float | None]) -> None:
    texts = told_apart(values)
    for text, value in zip(texts, values, strict=True):
        assert all((text == other) == (value == twin) for other, twin in zip(texts, values, strict=True))


@given(
    st.lists(st.lists(st.text(st.characters(categories=["L", "N"])), min_size=3, max_size=3), min_size=2, max_size=5),
    st.integers(1, 60) | st.none(),
)
def test_a_table_keeps_every_cell_whole(rows: list[list[str]], width: int | None) -> None:
    text = "\n".join(lines_of(rows, width=width))
    assert all(cell.strip() in text for row in rows[1:] for cell in row)


def test_columns_that_do_not_fit_stand_below_their_row() -> None:
    rows = [["drop", "report"], ["a", "/long/path"], ["bb", ""]]
    assert lines_of(rows, width=None) == ["drop  report", "----  ----------", "a     /long/path", "bb"]
    assert lines_of(rows, width=12) == ["drop", "----", "a", "    report: /long/path", "bb"]
