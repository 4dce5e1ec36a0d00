"""What is reported is sure, said once and in the fewest words, and not explained by what stands above it."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.error_analysis.encoding import Encoded, encode
from cv_quality.error_analysis.halves import Half, Masks
from cv_quality.error_analysis.holdout import HoldoutResult, holdout_test, holm
from cv_quality.error_analysis.near_duplicates import HoldoutCandidate, _adjusted, merge_near_duplicates, total_gain
from cv_quality.error_analysis.slice_report import CONFIRMATION_LEVEL
from cv_quality.error_analysis.slices import Predicate, Slice, Value

N = 12_000
Flags = NDArray[np.bool_]
Halves = tuple[Half, Half]
Where = Mapping[str, tuple[Value, ...]]


def columns(seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    lens = rng.choice(list("abcd"), N)
    return pl.DataFrame(
        {
            "light": rng.choice(["dim", "dusk", "day"], N, p=[0.1, 0.1, 0.8]),
            "lens": lens,
            "coating": np.where(rng.random(N) < 0.8, lens, rng.choice(list("abcd"), N)),
            "lux": rng.uniform(0, 100, N),
        }
    )


def failing(frame: pl.DataFrame, *causes: tuple[Slice, float], base: float = 0.02) -> Encoded:
    chance = np.full(frame.height, base)
    for where, rate in causes:
        chance[frame.select(where.expression().alias("held"))["held"].to_numpy()] = rate
    failed = pl.Series(np.random.default_rng(9).random(frame.height) < chance)
    return encode(frame.with_columns(failed=failed).lazy(), outcome="failed")


def is_(column: str, *values: Value) -> Predicate:
    return Predicate(column, "in", values) if len(values) > 1 else Predicate(column, "==", values[0])


def masks_of(found: Encoded, where: Where) -> Masks:
    masks: Masks = {}
    for index, column in enumerate(found.columns):
        if column.name in where:
            masks[index] = np.zeros(256, np.bool_)
            masks[index][[column.labels.index(value) for value in where[column.name]]] = True
    return masks


def split(found: Encoded) -> Halves:
    first = np.random.default_rng(3).random(found.n_rows) < 0.5
    return Half.of(found, first), Half.of(found, ~first)


def candidates(found: Encoded, halves: Halves, *items: tuple[Where, int]) -> list[HoldoutCandidate]:
    """What one half proposed, with the evidence of the other, each against all other rows."""
    made = []
    for where, holdout in items:
        masks = masks_of(found, where)
        inside = halves[holdout].inside(masks)
        evidence = holdout_test(halves[holdout], inside, ~inside)
        assert evidence is not None
        made.append(HoldoutCandidate(masks, holdout, evidence, 1.0))
    return made


def settled(found: Encoded, *items: tuple[Where, int]) -> list[str]:
    halves = split(found)
    return [
        found.slice_of(item.masks).sentence()
        for item in merge_near_duplicates(found, halves, candidates(found, halves, *items))
    ]


DIM: Where = {"light": ("dim",)}
DUSK: Where = {"light": ("dusk",)}


def test_a_slice_that_both_halves_propose_is_reported_once() -> None:
    found = failing(columns(), (Slice((is_("light", "dim"),)), 0.3))
    assert settled(found, (DIM, 0), (DIM, 1)) == ["light is dim"]


def test_values_of_one_column_that_fail_alike_become_one_slice() -> None:
    found = failing(columns(), (Slice((is_("light", "dim", "dusk"),)), 0.3))
    assert settled(found, (DIM, 0), (DUSK, 1)) == ["light is dim or dusk"]
    assert settled(found, (DIM, 0), (DUSK, 0)) == ["light is dim or dusk"]


def test_values_that_fail_more_and_less_stay_apart() -> None:
    found = failing(columns(), (Slice((is_("light", "dim"),)), 0.5), (Slice((is_("light", "dusk"),)), 0.15))
    assert settled(found, (DIM, 0), (DUSK, 0)) == ["light is dim", "light is dusk"]


def test_values_within_different_conditions_are_not_joined() -> None:
    causes = [Slice((is_("light", "dim"), is_("lens", "a"))), Slice((is_("light", "dusk"), is_("lens", "b")))]
    found = failing(columns(), *((cause, 0.4) for cause in causes))
    reported = settled(found, ({**DIM, "lens": ("a",)}, 0), ({**DUSK, "lens": ("b",)}, 0))
    assert sorted(reported) == ["light is dim and lens is a", "light is dusk and lens is b"]


def test_of_two_wordings_of_the_same_rows_the_shorter_true_one_is_kept() -> None:
    found = failing(columns(), (Slice((is_("light", "dim"),)), 0.4))
    narrower: Where = {**DIM, "lens": ("a", "b", "c")}
    assert settled(found, (narrower, 0), (DIM, 1)) == ["light is dim"]
    assert settled(found, (DIM, 0), (narrower, 0)) == ["light is dim"]


def test_a_slice_that_only_keeps_company_with_a_stronger_one_is_cut_off() -> None:
    found = failing(columns(), (Slice((is_("lens", "a"),)), 0.3))
    assert settled(found, ({"lens": ("a",)}, 0), ({"coating": ("a", "b")}, 0)) == ["lens is a"]
    assert settled(found, ({"coating": ("a", "b")}, 1)) != [], "by itself it is a slice"


def test_two_causes_of_their_own_are_both_kept_the_stronger_first() -> None:
    found = failing(columns(), (Slice((is_("light", "dim"),)), 0.4), (Slice((is_("lens", "a"),)), 0.15))
    assert settled(found, (DIM, 0), ({"lens": ("a",)}, 0)) in (
        ["light is dim", "lens is a"],
        ["lens is a", "light is dim"],
    )
    order = [total_gain(Half.whole(found), masks_of(found, where)) for where in (DIM, {"lens": ("a",)})]
    assert settled(found, (DIM, 0), ({"lens": ("a",)}, 0))[0] == ["light is dim", "lens is a"][int(np.argmax(order))]


def test_a_joined_value_that_gains_nothing_beside_the_other_slices_is_taken_out() -> None:
    found = failing(columns(), (Slice((is_("light", "dim"),)), 0.4), (Slice((is_("lens", "a"),)), 0.3))
    assert set(settled(found, ({"light": ("dim", "dusk")}, 0), ({"lens": ("a",)}, 0))) == {"light is dim", "lens is a"}


def test_nothing_sure_is_nothing_reported() -> None:
    found = failing(columns())
    assert settled(found, (DIM, 0), (DUSK, 1), ({"lens": ("a",)}, 0)) == []
    assert settled(found) == []


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(1e-6, 1.0), st.floats(0.25, 144.0)), min_size=1, max_size=8))
def test_each_holdout_has_half_of_the_level_shared_out_by_weight(items: list[tuple[int, float, float]]) -> None:
    made = [HoldoutCandidate({}, holdout, HoldoutResult(10, 1.0, 0.1, 10, p), weight) for holdout, p, weight in items]
    for holdout in (0, 1):
        own = [item for item in made if item.holdout == holdout]
        expected = holm([item.result.p for item in own], [item.weight for item in own])
        adjusted = _adjusted(made, holdout)
        assert [item.p_adjusted for item in adjusted] == pytest.approx([min(1.0, 2 * p) for p in expected])


def test_more_proposals_ask_for_more_evidence() -> None:
    """One of fifty has a fiftieth of the level: what was sure alone is not sure among many."""
    found = failing(columns(), (Slice((is_("light", "dim"),)), 0.036))
    halves = split(found)
    (alone,) = candidates(found, halves, (DIM, 0))
    assert CONFIRMATION_LEVEL / 100 < alone.result.p < CONFIRMATION_LEVEL / 2
    others = candidates(found, halves, *[({"lens": ("b",), "coating": ("c",)}, 0)] * 49)
    assert len(merge_near_duplicates(found, halves, [alone])) == 1
    assert merge_near_duplicates(found, halves, [alone, *others]) == []


def test_the_rows_of_a_slice_are_those_of_its_expression() -> None:
    frame = columns()
    found = failing(frame)
    masks = masks_of(found, {"light": ("dim", "day"), "lens": ("c",)})
    where = found.slice_of(masks)
    assert np.array_equal(found.inside(masks), frame.select(where.expression().alias("held"))["held"].to_numpy())
    assert found.inside({}).all()
