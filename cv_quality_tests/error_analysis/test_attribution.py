"""A change between two tables is split into parts that add up, carry honest bounds, and end in one plain sentence."""

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.error_analysis.attribution import Attribution, attribute_change, attribute_tables
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import MetricError, SliceError

DARK = Slice((Predicate("light", "==", "dark"),))
GLASSES = Slice((Predicate("eyewear", "==", "glasses"),))
BOTH = Slice((Predicate("light", "in", ("dark", "dim")),))
DIM = Slice((Predicate("light", "==", "dim"),))


def table(
    seed: int, *, n: int = 400, subjects: int = 40, dark: float = 0.1, rate: float = 0.3, first: int = 0
) -> pl.DataFrame:
    """Rows of subjects with an effect of their own, failing at `rate` in the dark and at 5 % elsewhere."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, subjects, n)
    light = rng.choice(["dark", "dim", "day"], n, p=[dark, 0.2, 0.8 - dark])
    chance = np.where(light == "dark", rate, 0.05) * rng.gamma(4, 0.25, subjects)[who]
    return pl.DataFrame(
        {
            "who": [f"subject-{first + number}" for number in who],
            "light": light,
            "eyewear": rng.choice(["glasses", "none"], n, p=[0.3, 0.7]),
            "failed": rng.random(n) < chance,
            "loss": rng.gamma(2, 1 + chance),
        }
    )


def attributed(before: pl.DataFrame, after: pl.DataFrame, *slices: Slice, outcome: str = "failed") -> Attribution:
    return attribute_change(before, after, outcome=outcome, subject="who", slices=slices, replicates=100)


def estimates(found: Attribution) -> list[tuple[float, float, float]]:
    return [(part.mix, part.rate, part.change) for part in (*found.parts, found)]


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from(["failed", "loss"]))
def test_the_parts_add_up_to_the_change_of_the_rates_that_the_tables_show(seed: int, outcome: str) -> None:
    before, after = table(seed), table(seed + 1, n=300, dark=0.3)
    found = attributed(before, after, DARK, GLASSES, outcome=outcome)
    assert sum(part.change for part in found.parts) == found.change
    assert sum(part.mix for part in found.parts) == found.mix
    assert sum(part.rate for part in found.parts) == found.rate
    assert found.mix + found.rate == found.change
    expected = float(
        after[outcome].cast(pl.Float64).to_numpy().mean() - before[outcome].cast(pl.Float64).to_numpy().mean()
    )
    assert found.change == pytest.approx(expected, abs=1e-14)
    assert found.rate_after - found.rate_before == pytest.approx(expected, abs=1e-14)
    assert sum(part.rows_before for part in found.parts) == found.n_before == 400
    assert sum(part.rows_after for part in found.parts) == found.n_after == 300


def test_each_part_has_the_rows_of_its_slice_that_no_earlier_slice_took() -> None:
    before, after = table(1), table(2)
    found = attributed(before, after, DARK, GLASSES)
    glasses = before.filter((pl.col("light") != "dark") & (pl.col("eyewear") == "glasses"))
    assert [part.condition for part in found.parts] == ["light is dark", "eyewear is glasses", "the rest"]
    assert [part.where for part in found.parts] == [DARK, GLASSES, None]
    assert (found.parts[1].rows_before, found.parts[1].failures_before) == (glasses.height, glasses["failed"].sum())
    assert found.parts[1].rate_before == pytest.approx(glasses["failed"].to_numpy().mean())


@given(st.integers(0, 1000))
@settings(max_examples=15)
def test_exchanging_the_tables_changes_every_sign(seed: int) -> None:
    one, other = table(seed), table(seed + 1, dark=0.3)
    forth, back = attributed(one, other, DARK, GLASSES), attributed(other, one, DARK, GLASSES)
    assert estimates(forth) == [(-mix, -rate, -change) for mix, rate, change in estimates(back)]


def test_renaming_the_subjects_changes_nothing_but_the_time() -> None:
    one, other = table(1), table(2, first=20)
    renamed = pl.col("who").hash(seed=9).cast(pl.String)
    before, after = (
        attributed(one, other, DARK),
        attributed(one.with_columns(renamed), other.with_columns(renamed), DARK),
    )
    assert replace(before, seconds=0) == replace(after, seconds=0)
    assert before.n_paired == 20


def test_identical_tables_give_zero_everywhere_and_are_sure_of_it() -> None:
    found = attributed(table(3), table(3), DARK, GLASSES)
    for part in (found, *found.parts):
        assert part.mix == part.mix_low == part.mix_high == 0
        assert part.rate == part.rate_low == part.rate_high == 0
        assert part.change == part.change_low == part.change_high == 0
    assert found.conclusion == f"failed stayed at {100 * found.rate_before:.3g} %, in every part."


def test_slices_that_are_merged_contribute_what_they_did_together() -> None:
    before, after = table(4), table(5, dark=0.3)
    apart, merged = attributed(before, after, DARK, DIM), attributed(before, after, BOTH)
    assert apart.parts[0].change + apart.parts[1].change == pytest.approx(merged.parts[0].change, abs=1e-15)
    assert apart.change == merged.change


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_bounds_alone() -> None:
    before, after = table(6), table(7)
    documents = [
        replace(attribute_change(before, after, outcome="failed", subject="who", slices=[DARK], seed=seed), seconds=0)
        for seed in (1, 1, 2)
    ]
    assert json.dumps(documents[0].to_dict()) == json.dumps(documents[1].to_dict())
    assert estimates(documents[0]) == estimates(documents[2])
    assert documents[0].change_low != documents[2].change_low


def test_the_interval_of_independent_rows_is_that_of_two_proportions() -> None:
    rng = np.random.default_rng(8)
    before, after = (pl.DataFrame({"failed": rng.random(n) < p}) for n, p in ((4000, 0.1), (9000, 0.2)))
    found = attribute_change(before, after, outcome="failed", slices=[], replicates=1000)
    p, q = found.rate_before, found.rate_after
    half = 1.96 * math.sqrt(p * (1 - p) / 4000 + q * (1 - q) / 9000)
    assert found.change_low is not None
    assert found.change - found.change_low == pytest.approx(half, rel=0.08)
    assert (found.n_subjects, found.n_paired) == (None, 0)
    assert found.method is not None
    assert "taken as independent" in found.method


def test_the_interval_of_paired_subjects_is_that_of_their_differences() -> None:
    rng = np.random.default_rng(9)
    n, each = 80, 20
    own = rng.beta(1, 4, n)
    tables = [
        pl.DataFrame({"who": np.repeat(np.arange(n), each), "failed": rng.random(n * each) < np.repeat(own, each)})
        for _ in range(2)
    ]
    found = attribute_change(*tables, outcome="failed", subject="who", slices=[], replicates=1000)
    rates = [rows["failed"].to_numpy().reshape(n, each).mean(1) for rows in tables]
    half = 1.99 * (rates[1] - rates[0]).std(ddof=1) / math.sqrt(n)
    assert found.change_low is not None
    assert found.change - found.change_low == pytest.approx(half, rel=0.12)
    assert found.n_subjects == found.n_paired == n


def test_bounds_of_a_rate_stay_between_minus_one_and_one() -> None:
    before = pl.DataFrame({"who": [1, 1, 2], "failed": [0, 0, 1]})
    after = pl.DataFrame({"who": [1, 2, 2], "failed": [1, 1, 0]})
    found = attributed(before, after)
    assert (found.change_low, found.change_high) == (-1, 1)


def test_one_subject_has_no_bounds_and_the_answer_says_so() -> None:
    before, after = table(10, subjects=1), table(11, subjects=1)
    found = attributed(before, after, DARK)
    assert found.reason == "1 subject in the table 'before', 2 needed"
    assert found.method is None
    assert {part.reason for part in found.parts} == {found.reason}
    for part in (found, *found.parts):
        assert {part.mix_low, part.rate_high, part.change_low, part.change_high} == {None}
    assert "not known how sure: 1 subject in the table 'before'" in found.conclusion


def test_a_part_with_one_subject_has_no_bounds_while_the_others_have() -> None:
    before = table(12)
    lonely = table(13).with_columns(
        eyewear=pl.when(pl.col("who") == "subject-3").then(pl.lit("visor")).otherwise("eyewear")
    )
    visor = Slice((Predicate("eyewear", "==", "visor"),))
    found = attributed(before, lonely, visor)
    assert found.parts[0].reason == "1 subject in the table 'after', 2 needed"
    assert found.parts[0].change_low is None
    assert found.parts[1].change_low is not None
    assert found.change_low is not None


def test_all_of_a_part_that_is_new_is_mix_and_its_rate_has_no_bounds() -> None:
    after = table(14, dark=0.3)
    found = attributed(after.filter(pl.col("light") != "dark"), after, DARK)
    part = found.parts[0]
    assert (part.rows_before, part.rate_before, part.rate, part.rate_low) == (0, None, 0, None)
    assert part.mix == part.change > 0
    assert part.mix_low is not None
    assert part.reason == "no row in the table 'before': it has no rate there"


def test_a_part_without_any_row_contributes_nothing_and_says_why() -> None:
    found = attributed(table(15), table(16), DARK, DARK)
    assert (found.parts[1].mix, found.parts[1].rate, found.parts[1].change_low) == (0, 0, None)
    assert found.parts[1].reason == "no row in either table: it has no rate there"


def test_a_part_in_which_nothing_fails_is_not_given_a_rate_of_exactly_nothing() -> None:
    quiet = pl.when(pl.col("light") == "dim").then(False).otherwise("failed")
    before, after = (table(seed).with_columns(failed=quiet) for seed in (17, 18))
    part = attributed(before, after, DIM).parts[0]
    assert (part.rate, part.rate_low, part.rate_high) == (0, None, None)
    assert part.mix_low is not None
    assert part.reason is not None
    assert part.reason.startswith("nothing in it fails")


@pytest.mark.parametrize("value", [True, False])
def test_tables_in_which_everything_or_nothing_fails_have_no_change_and_no_bounds(value: bool) -> None:
    before, after = (table(seed).with_columns(failed=pl.lit(value)) for seed in (19, 20))
    found = attributed(before, after, DARK)
    assert (found.change, found.change_low, found.parts[0].change) == (0, None, 0)
    assert found.reason is not None
    assert found.reason.startswith(f"{'everything' if value else 'nothing'} in it fails")


def test_the_document_is_json_and_its_slices_are_read_back() -> None:
    document = json.loads(json.dumps(attributed(table(21), table(22), DARK).to_dict()))
    assert list(document)[:4] == ["outcome", "kind", "n_before", "n_after"]
    assert Slice.from_list(document["parts"][0]["where"]) == DARK
    assert document["parts"][1]["where"] is None
    assert isinstance(document["failures_before"], int)
    assert {"mix", "mix_low", "mix_high", "rate", "rate_low", "change", "change_high"} <= set(document["parts"][0])


def test_the_conclusion_names_the_change_its_parts_and_the_slice_that_carries_most() -> None:
    found = attributed(table(23, n=4000), table(24, n=4000, rate=0.8), GLASSES, DARK)
    assert found.conclusion.startswith("failed rose from ")
    assert "which excludes 0" in found.conclusion
    assert f"lies where {DARK.sentence()}" in found.conclusion
    assert f"{100 * found.change:+.3g} points" in found.conclusion
    back = attributed(table(24, n=4000, rate=0.8), table(23, n=4000), GLASSES, DARK)
    assert back.conclusion.startswith("failed fell from ")


def test_a_change_that_chance_explains_is_said_to_include_zero() -> None:
    rows = table(25, n=600)
    found = attributed(rows.head(300), rows.tail(300), DARK)
    assert "which includes 0" in found.conclusion


def test_a_change_of_a_loss_is_no_percentage() -> None:
    found = attributed(table(26, n=2000), table(27, n=2000), DARK, outcome="loss")
    assert found.kind == "loss"
    assert "%" not in found.conclusion.replace("95 %", "")
    assert "points" not in found.conclusion


@pytest.mark.parametrize(("options", "message"), [({"replicates": 99}, "at least 100"), ({"level": 95.0}, "0.95")])
def test_a_bootstrap_that_cannot_work_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        attribute_change(table(1), table(2), outcome="failed", slices=[], **options)  # type: ignore[arg-type]


def test_slices_of_either_table_become_parts_the_second_first_none_twice() -> None:
    came = table(28, n=6000, subjects=300, rate=0.6)
    went = table(29, n=6000, subjects=300, rate=0.05).with_columns(
        failed=pl.col("failed") | ((pl.col("eyewear") == "glasses") & (pl.int_range(pl.len()) % 3 == 0))
    )
    columns = ["light", "eyewear"]
    found = attribute_tables(went, came, outcome="failed", subject="who", columns=columns)
    assert [part.where for part in found.parts] == [DARK, GLASSES, None]
    assert sum(part.change for part in found.parts) == found.change
    again = attribute_tables(came, came, outcome="failed", subject="who", columns=columns)
    assert [part.where for part in again.parts] == [DARK, None]


def test_tables_without_a_cause_are_one_part() -> None:
    rows = table(30, n=2000, rate=0.05).drop("loss")
    found = attribute_tables(rows.head(1000), rows.tail(1000).drop("eyewear"), outcome="failed", subject="who")
    assert [part.condition for part in found.parts] == ["the rest"]
    assert found.mix == 0


def test_tables_that_share_no_column_to_search_are_still_compared() -> None:
    before, after = table(31).select("failed", "light"), table(32).select("failed", "eyewear")
    assert len(attribute_tables(before, after, outcome="failed").parts) == 1


def test_slices_that_are_given_are_not_looked_for() -> None:
    before, after = table(33), table(34)
    assert len(attribute_tables(before, after, outcome="failed", subject="who", slices=[]).parts) == 1
    given_ones = attribute_tables(before, after, outcome="failed", subject="who", slices=[GLASSES, DARK])
    assert [part.where for part in given_ones.parts] == [GLASSES, DARK, None]


def test_what_cannot_be_compared_is_refused_before_anything_is_searched() -> None:
    with pytest.raises(SliceError, match="'failed' is missing in 1"):
        attribute_tables(table(1), table(2).with_columns(failed=pl.Series([None] + [1] * 399)), outcome="failed")
