"""A failure is what a condition or plain words say, and what could be either is refused with what to say."""

import polars as pl
import pytest

from cv_quality.errors import TableError
from cv_quality.tables.outcomes import outcome_of_column, outcome_of_conditions, without_unusable_rows


def column(*values: object, name: str = "failed") -> pl.LazyFrame:
    return pl.LazyFrame({name: values}, strict=False)


@pytest.mark.parametrize(
    ("cells", "fails"),
    [
        (["yes", "No", "YES"], [True, False, True]),
        (["FAIL", "PASS", None], [True, False, None]),
        (["ok", "error"], [False, True]),
        (["yes", "N/A", "no"], [True, None, False]),
        (["ja", "Nein"], [True, False]),
        (["pass", "pass"], [False, False]),
        (["t", "f"], [True, False]),
        (["1", "0"], [True, False]),
        ([True, False], [True, False]),
        ([1, 0], [1, 0]),
        ([0.5, 2.5], [0.5, 2.5]),
        ([1, 2, 3], [1, 2, 3]),
    ],
)
def test_words_that_are_plain_say_which_rows_fail(cells: list[object], fails: list[object]) -> None:
    read = outcome_of_column([column(*cells)], "failed")
    assert read.tables[0].collect()["failed"].to_list() == fails


@pytest.mark.parametrize("cells", [[1, -1], [1.0, -1.0, None], [-1, 0, 1], [-1, -1], [1, 2]])
def test_signs_and_other_codes_are_refused_and_never_a_loss(cells: list[object]) -> None:
    with pytest.raises(TableError, match="say which is a failure, for example --failed-when"):
        outcome_of_column([column(*cells)], "failed")


def test_a_flag_in_one_table_and_signs_in_the_other_are_refused() -> None:
    with pytest.raises(TableError, match=r"found '-1' \(1\), '1' \(1\)"):
        outcome_of_column([column(True, False), column(1, -1)], "failed")


def test_other_words_are_refused_with_their_rows_and_the_rarer_as_example() -> None:
    with pytest.raises(TableError, match=r"'OK' \(2\), 'NO_FACE' \(1\).*--failed-when \"result=NO_FACE\""):
        outcome_of_column([column("OK", "NO_FACE", "OK", name="result")], "result")


def test_a_mark_beside_empty_cells_is_asked_for_as_what_is_not_missing() -> None:
    with pytest.raises(TableError, match='for example --failed-when "failed!="'):
        outcome_of_column([column("x", None, None)], "failed")


@pytest.mark.parametrize("name", ["passed", "is_correct", "accepted", "match_ok", "detected", "is_recognized"])
@pytest.mark.parametrize("cells", [[True, False], ["yes", "no"], [1, 0]])
def test_a_name_that_says_the_contrary_is_refused(name: str, cells: list[object]) -> None:
    with pytest.raises(TableError, match="its name says the contrary"):
        outcome_of_column([column(*cells, name=name)], name)


@pytest.mark.parametrize("name", ["false_accept", "not_ok", "failed"])
def test_a_name_that_says_failure_is_taken_at_its_word(name: str) -> None:
    assert outcome_of_column([column(1, 0, name=name)], name).name == name


def test_a_word_of_either_table_counts_for_both() -> None:
    read = outcome_of_column([column("ok", "ok"), column("ok", "FAIL")], "failed")
    assert [table.collect()["failed"].to_list() for table in read.tables] == [[False, False], [False, True]]


@pytest.mark.parametrize(
    ("cells", "condition", "fails"),
    [
        (["REJECT", "OK", "TIMEOUT"], "result=REJECT", [True, False, False]),
        (["REJECT", "OK", "TIMEOUT"], "result=REJECT, TIMEOUT", [True, False, True]),
        (["REJECT", "OK", "TIMEOUT"], "result!=OK", [True, False, True]),
        (["a,b", "a", "b"], "result=a,b", [True, False, False]),
        ([1, -1], "result=-1", [False, True]),
        ([1.0, -1.0], "result=-1", [False, True]),
        ([True, False], "result=false", [False, True]),
        (["NA", "x", None], "result=NA,", [True, False, True]),
        (["x", None], "result=", [False, True]),
        (["x", None], "result!=", [True, False]),
        (["REJECT", "OK", None], "result=REJECT", [True, False, None]),
        (["REJECT", "OK", None], "result!=OK", [True, False, None]),
    ],
)
def test_a_condition_says_which_rows_fail(cells: list[object], condition: str, fails: list[bool | None]) -> None:
    read = outcome_of_conditions([column(*cells, name="result")], [condition])
    rows = read.tables[0].collect()
    assert rows[read.name].to_list() == fails
    assert rows.columns == [read.name]


def test_any_of_several_conditions_fails_and_a_name_may_hold_a_sign() -> None:
    table = pl.LazyFrame({"a=b": ["x", "y", "z"], "k": [1, 2, 3], "lux": [5, 6, 7]})
    read = outcome_of_conditions([table], ["a=b=x", "k=3"])
    assert read.name == "a=b is x or k is 3"
    assert read.tables[0].collect().to_dict(as_series=False) == {"lux": [5, 6, 7], read.name: [True, False, True]}


def test_a_value_of_one_of_two_tables_is_known() -> None:
    read = outcome_of_conditions([column("a", name="r"), column("a", "b", name="r")], ["r=b"])
    assert [table.collect()[read.name].to_list() for table in read.tables] == [[False], [False, True]]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("result", "expected a condition such as"),
        ("resul=REJECT", "no column 'resul': did you mean result?"),
        ("result=REJCT", "no row's result is 'REJCT': did you mean REJECT?"),
    ],
)
def test_a_condition_that_does_not_hold_water_is_refused(condition: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        outcome_of_conditions([column("REJECT", "OK", None, name="result")], [condition])


def test_a_row_without_outcome_or_subject_is_left_out_and_said() -> None:
    cells = {"failed": [None, *[True, False, False, False] * 10], "subject": [*"ab" * 20, None]}
    read = without_unusable_rows(outcome_of_column([pl.LazyFrame(cells)], "failed"), "subject")
    assert read.tables[0].collect().height == 39
    assert read.notes == (
        "1 of 41 rows have no outcome failed and are left out",
        "1 of 41 rows name no subject and are left out",
    )


@pytest.mark.parametrize(
    ("outcome", "subject", "advice"),
    [([None, True, False], "abc", "failed, too many to leave out.*COL!="), ([1, 0, 1], "a", "without --subject")],
)
def test_many_rows_without_outcome_or_subject_are_refused(outcome: list[object], subject: str, advice: str) -> None:
    rows = pl.LazyFrame({"failed": outcome, "subject": [*subject, None, None][:3]})
    with pytest.raises(TableError, match=advice):
        without_unusable_rows(outcome_of_column([rows], "failed"), "subject")
