"""A waterfall counts every stage of every attempt once, and its failures are those of the FRR."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import SliceError
from cv_quality.tasks.verification.tables import OUTCOMES
from cv_quality.tasks.verification.waterfall import waterfall

DARK = Slice((Predicate("lux", "<=", 10.0),))
GLASSES = Slice((Predicate("eyewear", "==", "glasses"),))

Attempts = list[tuple[str, float | None, str]]
ATTEMPTS = st.lists(
    st.tuples(st.sampled_from(OUTCOMES), st.none() | st.floats(0, 100), st.sampled_from(["glasses", "none"])),
    max_size=40,
)


def table(attempts: Attempts) -> pl.DataFrame:
    schema = {"outcome": pl.String, "lux": pl.Float64, "eyewear": pl.String}
    return pl.DataFrame(attempts, schema=schema, orient="row")


@given(ATTEMPTS)
def test_the_stages_other_than_accepted_add_up_to_the_false_rejects(attempts: Attempts) -> None:
    rows = waterfall(table(attempts), [DARK, GLASSES])
    dark = [attempt for attempt in attempts if attempt[1] is not None and attempt[1] <= 10]
    glasses = [attempt for attempt in attempts if attempt[2] == "glasses"]
    for rank, chosen in enumerate((attempts, dark, glasses)):
        failed = rows.filter(pl.col("slice_rank") == rank, pl.col("outcome") != "accepted")
        assert failed["n_attempts"].sum() == sum(outcome != "accepted" for outcome, _, _ in chosen)
        assert rows.filter(slice_rank=rank)["n_attempts"].sum() == len(chosen)
        assert set(rows.filter(slice_rank=rank)["n_genuine"]) == {len(chosen)}


def test_every_outcome_has_a_row_even_where_nothing_ended_there() -> None:
    rows = waterfall(table([("timeout", 5.0, "none")]), [DARK])
    assert rows["outcome"].to_list() == list(OUTCOMES) * 2
    assert rows.filter(outcome="timeout")["n_attempts"].to_list() == [1, 1]
    assert rows["n_attempts"].sum() == 2
    assert rows["condition"].unique(maintain_order=True).to_list() == ["all attempts", "lux <= 10"]


def test_an_attempt_counts_in_every_slice_that_holds_it() -> None:
    rows = waterfall(table([("non_match", 5.0, "glasses")]), [DARK, GLASSES])
    assert rows.filter(outcome="non_match")["n_attempts"].to_list() == [1, 1, 1]


def test_no_attempt_is_a_waterfall_of_zeros() -> None:
    rows = waterfall(table([]), [])
    assert (len(rows), rows["n_attempts"].sum(), rows["n_genuine"].sum()) == (7, 0, 0)


@pytest.mark.parametrize(
    ("attempts", "message"),
    [
        (table([("lost", 1.0, "none")]), "found lost"),
        (table([("accepted", 1.0, "none")]).with_columns(outcome=pl.lit(None, pl.String)), "found None"),
        (table([]).drop("lux"), "with the columns lux"),
        (table([]).drop("outcome"), "with the columns outcome"),
    ],
)
def test_what_is_no_table_of_attempts_is_refused(attempts: pl.DataFrame, message: str) -> None:
    with pytest.raises(SliceError, match=message):
        waterfall(attempts, [DARK])
