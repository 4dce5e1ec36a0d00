"""Two tables are read row by row into subjects, parts and outcomes, and what cannot be compared is refused by name."""

import numpy as np
import polars as pl
import pytest

from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.error_analysis.two_tables import read_rows, shared_columns, unlike_columns
from cv_quality.errors import SliceError

DARK = Slice((Predicate("lux", "<=", 10.0),))
GLASSES = Slice((Predicate("eyewear", "==", "glasses"),))
TABLE = pl.DataFrame(
    {
        "lux": [5.0, 5.0, 50.0, None],
        "eyewear": ["glasses", "none", "glasses", "none"],
        "who": ["ann", "bob", "ann", "cyd"],
        "failed": [True, False, True, False],
    }
)


def test_a_row_belongs_to_the_first_slice_that_holds_or_to_the_rest() -> None:
    rows, kind = read_rows(TABLE, TABLE.head(1), outcome="failed", subject=None, slices=[DARK, GLASSES])
    assert rows.part.tolist() == [0, 0, 1, 2, 0]
    assert rows.is_after.tolist() == [False] * 4 + [True]
    assert rows.outcome.tolist() == [1, 0, 1, 0, 1]
    assert kind == "rate"
    assert rows.subject.tolist() == [0, 1, 2, 3, 4]


def test_every_row_is_the_rest_without_a_slice_and_an_open_slice_takes_all() -> None:
    assert read_rows(TABLE, TABLE, outcome="failed", subject=None, slices=[])[0].part.tolist() == [0] * 8
    assert read_rows(TABLE, TABLE, outcome="failed", subject=None, slices=[Slice(())])[0].part.tolist() == [0] * 8


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical])
def test_a_subject_has_one_number_in_both_tables_whatever_type_holds_the_name(kind: pl.DataType) -> None:
    after = TABLE.reverse().with_columns(pl.col("who").cast(kind))
    rows, _ = read_rows(TABLE, after, outcome="failed", subject="who", slices=[])
    assert rows.subject.tolist() == [0, 1, 0, 2, 2, 0, 1, 0]


def test_subjects_that_are_numbers_are_the_same_in_a_narrower_type() -> None:
    after = pl.DataFrame({"id": [2, 1], "failed": [0, 1]}, schema_overrides={"id": pl.Int16})
    rows, _ = read_rows(
        pl.DataFrame({"id": [1, 2], "failed": [0, 1]}), after, outcome="failed", subject="id", slices=[]
    )
    assert rows.subject.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("ids", [pl.Series([1, 2]), pl.Series([1.0, 2.0])])
def test_ids_that_are_text_in_one_table_pair_by_their_text(ids: pl.Series) -> None:
    before, after = pl.DataFrame({"id": ids, "failed": [0, 1]}), pl.DataFrame({"id": ["2", "A2"], "failed": [0, 1]})
    rows, _ = read_rows(before, after, outcome="failed", subject="id", slices=[])
    assert rows.subject.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("signs", [[1, -1], [-1.0, -1.0], [1, 0, -1]])
def test_signs_are_refused_as_an_outcome_and_never_a_loss(signs: list[float]) -> None:
    before, after = pl.DataFrame({"y": [True, False]}), pl.DataFrame({"y": signs})
    with pytest.raises(SliceError, match="which say not which of them is a failure"):
        read_rows(before, after, outcome="y", subject=None, slices=[])


def test_columns_that_cannot_be_compared_are_listed_with_the_reason() -> None:
    after = TABLE.with_columns(lux=pl.col("lux").cast(pl.String)).drop("eyewear").with_columns(new=1)
    assert unlike_columns(TABLE, after) == {
        "lux": "of different types: Float64 in 'before' and String in 'after'",
        "eyewear": "only in the table 'before'",
        "new": "only in the table 'after'",
    }


@pytest.mark.parametrize(
    ("values", "kind"), [([0, 1], "rate"), ([0.0, 1.0], "rate"), ([True, False], "rate"), ([0.5, 2.0], "loss")]
)
def test_an_outcome_of_zeros_and_ones_is_a_rate_and_any_other_number_a_loss(values: list[float], kind: str) -> None:
    table = pl.DataFrame({"y": values})
    assert read_rows(table, table, outcome="y", subject=None, slices=[])[1] == kind


def test_a_flag_in_one_table_and_0_and_1_in_the_other_are_one_outcome() -> None:
    after = TABLE.with_columns(pl.col("failed").cast(pl.Int8))
    rows, kind = read_rows(TABLE, after, outcome="failed", subject=None, slices=[])
    assert (kind, rows.outcome.tolist()) == ("rate", [1, 0, 1, 0] * 2)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (TABLE.clear(), "'after' has no rows"),
        (TABLE.drop("failed"), "'after' has no column 'failed'"),
        (TABLE.rename({"who": "whom"}), r"'after' has no column 'who'.*did you mean whom"),
        (TABLE.drop("lux"), "'after' has no column 'lux', which a slice needs"),
        (TABLE.with_columns(failed=pl.Series([1.0, None, None, float("nan")])), "missing in 3 and infinite in 0 of 4"),
        (TABLE.with_columns(failed=pl.Series([1.0, float("inf"), 0, 0])), "missing in 0 and infinite in 1 of 4"),
        (TABLE.with_columns(failed=pl.lit("yes")), "0 and 1, or a number, found String in 'after'"),
        (TABLE.with_columns(who=pl.Series(["ann", None, "bob", None])), "'who' is empty in 2 of 4 rows"),
        (TABLE.with_columns(lux=pl.col("lux").cast(pl.String)), "expected one type of 'lux'"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused_with_what_is_wrong(after: pl.DataFrame, message: str) -> None:
    with pytest.raises(SliceError, match=message):
        read_rows(TABLE, after, outcome="failed", subject="who", slices=[DARK])


def test_an_outcome_in_words_is_refused_even_where_both_tables_agree() -> None:
    with pytest.raises(SliceError, match="true and false, 0 and 1, or a number, found String"):
        read_rows(TABLE, TABLE, outcome="eyewear", subject=None, slices=[])


def test_a_slice_that_does_not_fit_its_column_is_refused() -> None:
    wrong = Slice((Predicate("eyewear", "<=", 3.0),))
    with pytest.raises(SliceError, match="compares a column with values of another type"):
        read_rows(TABLE, TABLE, outcome="failed", subject=None, slices=[wrong])


def test_columns_are_shared_when_both_tables_have_them_in_types_that_can_be_compared() -> None:
    after = TABLE.with_columns(pl.col("lux").cast(pl.Int64), pl.col("eyewear").cast(pl.Categorical), who=pl.lit(1))
    assert shared_columns(TABLE, after.with_columns(new=1)) == ["lux", "eyewear", "failed"]
    assert shared_columns(TABLE, TABLE.with_columns(lux=pl.lit(None))) == ["lux", "eyewear", "who", "failed"]


def test_a_slice_on_missing_values_holds_for_nulls_and_nans() -> None:
    missing = Slice((Predicate("lux", "==", None),))
    after = TABLE.with_columns(lux=pl.Series([np.nan, 1.0, None, 2.0]))
    rows, _ = read_rows(TABLE, after, outcome="failed", subject=None, slices=[missing])
    assert rows.part.tolist() == [1, 1, 1, 0, 0, 1, 0, 1]
