"""What only keeps company with a slice is told from what fails by itself, with the rates that the table shows."""

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.error_analysis.candidate_search import CONDITION_PENALTY
from cv_quality.error_analysis.confounders import ConfirmedSlice, adjusted_odds, find_confounded
from cv_quality.error_analysis.cube import Layout, lay_out
from cv_quality.error_analysis.encoding import Encoded, encode
from cv_quality.error_analysis.halves import Masks
from cv_quality.error_analysis.slice_report import ConfoundedValue
from cv_quality.error_analysis.slices import Predicate, Slice

N = 20_000
GUILTY = Slice((Predicate("light", "==", "dim"), Predicate("lens", "==", "b")))
Flags = NDArray[np.bool_]


def table(seed: int = 0, *, copied: float = 0.9, second: float = 0.02, subjects: int | None = None) -> pl.DataFrame:
    """Dim light through lens b fails; the coating copies the lens; an unhappy site fails at a rate of its own."""
    rng = np.random.default_rng(seed)
    light, lens = rng.choice(["dim", "day", "sun"], N, p=[0.2, 0.5, 0.3]), rng.choice(list("abc"), N)
    coating = np.where(rng.random(N) < copied, lens, rng.choice(list("abc"), N))
    site = rng.choice(["north", "south", "east"], N, p=[0.3, 0.5, 0.2])
    lux = np.where(light == "dim", rng.uniform(0, 30, N), rng.uniform(20, 100, N))
    chance = np.where((light == "dim") & (lens == "b"), 0.4, np.where(site == "north", second, 0.02))
    who = rng.integers(0, subjects or N, N)
    return pl.DataFrame(
        {
            "who": who,
            "light": light,
            "lens": lens,
            "coating": coating,
            "site": site,
            "lux": lux,
            "failed": rng.random(N) < chance,
            "loss": chance + rng.normal(0, 0.1, N),
        }
    )


def searched(frame: pl.DataFrame, outcome: str = "failed") -> tuple[Encoded, Layout]:
    columns = [name for name in frame.columns if name not in ("who", "failed", "loss")]
    found = encode(frame.lazy(), outcome=outcome, subject="who", columns=columns)
    layout = lay_out(found, n_rows=found.n_rows, condition_penalty=CONDITION_PENALTY)
    return found, layout


def inside_of(frame: pl.DataFrame, where: Slice) -> Flags:
    held: Flags = frame.select(where.expression().alias("held"))["held"].to_numpy()
    return held


def away(frame: pl.DataFrame, *where: Slice, outcome: str = "failed") -> list[ConfoundedValue]:
    found, layout = searched(frame, outcome)
    slices = [ConfirmedSlice(each, masks_of(found, each), inside_of(frame, each)) for each in where]
    return list(find_confounded(found, layout, slices))


def masks_of(found: Encoded, where: Slice) -> Masks:
    names = [column.name for column in found.columns]
    masks: Masks = {}
    for predicate in where.where:
        index = names.index(predicate.column)
        masks[index] = np.array([label in predicate.values for label in found.columns[index].labels] + [False] * 256)[
            :256
        ]
    return masks


@pytest.mark.parametrize("outcome", ["failed", "loss"])
@pytest.mark.parametrize("subjects", [None, 400])
def test_a_copy_of_a_guilty_column_is_explained_away_with_the_rates_of_the_table(
    outcome: str, subjects: int | None
) -> None:
    frame = table(subjects=subjects)
    shown = {item.where.sentence(): item for item in away(frame, GUILTY, outcome=outcome)}
    assert {"coating is b", "light is dim", "lens is b"} <= set(shown)
    item = shown["coating is b"]
    is_b, outside = pl.col("coating") == "b", ~GUILTY.expression()
    means = frame.select(
        before=pl.col(outcome).filter(is_b).mean(),
        after=pl.col(outcome).filter(is_b & outside).mean(),
        rest=pl.col(outcome).filter(~is_b & outside).mean(),
    ).row(0)
    assert (item.rate_before, item.rate_after, item.rest_rate) == pytest.approx(means)
    assert (item.column, item.value, item.by) == ("coating", "b", ("light is dim and lens is b",))
    assert item.rate_before > 2 * item.rate_after


def test_a_condition_of_a_slice_is_bad_only_in_combination_and_never_innocent() -> None:
    shown = {item.where.sentence(): item for item in away(table(), GUILTY)}
    for part in ("light is dim", "lens is b"):
        assert shown[part].is_part
        assert shown[part].by == (GUILTY.sentence(),)
        assert f"{part} is bad only in combination (" in shown[part].sentence
        assert "looks bad" not in shown[part].sentence
    assert not shown["coating is b"].is_part
    assert "coating is b looks bad (" in shown["coating is b"].sentence


def test_a_value_that_fails_by_itself_as_well_is_not_explained_away() -> None:
    shown = {item.where.sentence() for item in away(table(second=0.06), GUILTY)}
    assert "coating is b" in shown
    assert "site is north" not in shown


def test_a_number_that_follows_a_guilty_value_is_shown_by_its_worst_bound_only() -> None:
    bounds = [item for item in away(table(), GUILTY) if item.column == "lux"]
    assert len(bounds) == 1
    assert bounds[0].where.where[0].op == "<="
    assert bounds[0].where.where[0].value == bounds[0].value
    assert inside_of(table(), bounds[0].where).any()


def test_the_column_of_a_slice_of_one_condition_is_not_said_to_be_innocent() -> None:
    frame = table()
    whole_lens = Slice((Predicate("lens", "==", "b"),))
    assert "lens" not in {item.column for item in away(frame, whole_lens)}


def test_nothing_is_explained_without_a_slice_nor_are_ordinary_values() -> None:
    assert away(table()) == []
    frame = table(copied=0.0)
    assert {item.column for item in away(frame, GUILTY)} <= {"light", "lens", "lux"}


def test_of_two_slices_the_one_that_holds_the_failures_is_named() -> None:
    other = Slice((Predicate("site", "==", "north"),))
    items = away(table(second=0.2), GUILTY, other)
    named = {item.where.sentence(): item.by for item in items}
    assert named["coating is b"][0] in {each.sentence() for each in (GUILTY, other)}
    assert GUILTY.sentence() in named["coating is b"]


def test_the_worst_comes_first_and_each_is_said_once() -> None:
    frame = table()
    items = away(frame, GUILTY)
    assert len({item.where for item in items}) == len(items)
    excess = [
        float(frame["failed"].to_numpy()[inside].sum() - inside.sum() * frame["failed"].to_numpy()[~inside].mean())
        for inside in (inside_of(frame, item.where) for item in items)
    ]
    assert excess == sorted(excess, reverse=True)


def test_a_loss_below_zero_is_explained_by_the_slice_that_holds_its_excess() -> None:
    items = away(table().with_columns(pl.col("loss") - 5), GUILTY, outcome="loss")
    assert items
    assert all(item.by == (GUILTY.sentence(),) for item in items)


def test_the_odds_ratio_is_that_of_mantel_and_haenszel_on_a_table_made_by_hand() -> None:
    """Two strata: 10 of 30 against 5 of 70, and 20 of 40 against 5 of 20."""
    counts = {("p", 1): (10, 30), ("p", 0): (5, 70), ("q", 1): (20, 40), ("q", 0): (5, 20)}
    rows = [
        {"stratum": stratum, "inside": inside, "failed": number < failures}
        for (stratum, inside), (failures, n) in counts.items()
        for number in range(n)
    ]
    frame = pl.DataFrame(rows).with_columns(inside=pl.col("inside") == 1)
    found = encode(frame.lazy(), outcome="failed")
    layout = lay_out(found, n_rows=len(rows), condition_penalty=CONDITION_PENALTY)
    odds, correlate = adjusted_odds(found, layout, frame["inside"].to_numpy(), slice_columns=["inside"])
    expected = (10 * 65 / 100 + 20 * 15 / 60) / (20 * 5 / 100 + 20 * 5 / 60)
    assert odds == pytest.approx(expected)
    assert correlate == "stratum"


def test_the_effect_is_adjusted_for_the_column_that_goes_most_with_the_slice() -> None:
    frame = table()
    found, layout = searched(frame)
    odds, correlate = adjusted_odds(found, layout, inside_of(frame, GUILTY), slice_columns=GUILTY.columns)
    assert correlate in ("coating", "lux")
    assert odds is not None
    assert odds > 10


def test_an_innocent_copy_has_no_effect_once_its_original_is_held_fixed() -> None:
    frame = table(copied=0.6).with_columns(
        failed=pl.Series(np.random.default_rng(1).random(N) < 0.02) | (pl.col("lens") == "b")
    )
    found = encode(frame.lazy(), outcome="failed", columns=["lens", "coating"])
    layout = lay_out(found, n_rows=N, condition_penalty=CONDITION_PENALTY)
    odds, correlate = adjusted_odds(found, layout, (frame["coating"] == "b").to_numpy(), slice_columns=["coating"])
    assert correlate == "lens"
    assert odds == pytest.approx(1.0, abs=0.4)


def test_no_ratio_is_given_for_a_loss_nor_without_another_column() -> None:
    frame = table()
    found, layout = searched(frame, "loss")
    assert adjusted_odds(found, layout, inside_of(frame, GUILTY), slice_columns=GUILTY.columns) == (None, None)
    found, layout = searched(frame)
    names = [column.name for column in found.columns]
    assert adjusted_odds(found, layout, inside_of(frame, GUILTY), slice_columns=names) == (None, None)


def test_a_ratio_that_is_not_defined_is_none_beside_its_correlate() -> None:
    frame = pl.DataFrame(
        {"inside": [True, False] * 20, "other": ["p", "p", "q", "q"] * 10, "failed": [True, False] * 20}
    )
    found = encode(frame.lazy(), outcome="failed")
    layout = lay_out(found, n_rows=40, condition_penalty=CONDITION_PENALTY)
    inside = frame["inside"].to_numpy()
    assert adjusted_odds(found, layout, inside, slice_columns=["inside"]) == (None, "other")
