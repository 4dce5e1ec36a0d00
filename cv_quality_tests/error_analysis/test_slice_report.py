"""What a search found is one JSON document that says everything, slices as conditions that can be read back."""

import json
from dataclasses import fields, replace
from typing import cast

import pytest

from cv_quality.error_analysis.slice_report import (
    ConfoundedValue,
    InsufficientSlice,
    SetApartColumn,
    SliceFinding,
    SliceReport,
    figure,
)
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.metrics.results import JsonValue

DIM = Slice((Predicate("light", "==", "dim"), Predicate("lux", "<=", 9.5)))
FINDING = SliceFinding(
    where=DIM,
    rate=0.3,
    low=0.2,
    high=0.4,
    rest_rate=0.02,
    failures=30.0,
    trials=100,
    support=210,
    subjects=45,
    p_adjusted=1e-9,
    share_of_failures=0.6,
    stability=0.8,
    sentence="It fails.",
)
FEW = InsufficientSlice(DIM, 0.5, 0.02, 6, 2, "Too few.")
AWAY = ConfoundedValue(
    "lens", "b", Slice((Predicate("lens", "==", "b"),)), 0.1, 0.02, 0.02, ("light is dim",), "Looks."
)
PART = replace(AWAY, is_part=True)
APART = SetApartColumn("score", 0.99, 0.9, "It is set apart.")
FOUND = SliceReport(
    n_rows=1000,
    n_subjects=None,
    n_failures=50.0,
    base_rate=0.05,
    outcome="failed",
    kind="rate",
    slices=(FINDING,),
    insufficient=(FEW,),
    explained_away=(AWAY,),
    only_combined=(PART,),
    set_apart=(APART,),
    skipped={"id": "an identifier"},
    conclusion="This is real.",
    n_splits=5,
    seed=3,
    seconds=0.1,
)
Rows = list[dict[str, JsonValue]]


def document() -> dict[str, JsonValue]:
    return cast("dict[str, JsonValue]", json.loads(json.dumps(FOUND.to_dict(), allow_nan=False)))


def test_the_document_has_every_attribute_under_its_name() -> None:
    assert list(document()) == [field.name for field in fields(SliceReport)]
    for name, kind in (
        ("slices", SliceFinding),
        ("insufficient", InsufficientSlice),
        ("explained_away", ConfoundedValue),
        ("only_combined", ConfoundedValue),
        ("set_apart", SetApartColumn),
    ):
        (item,) = cast(Rows, document()[name])
        assert list(item) == [field.name for field in fields(kind)]


DOCUMENT = {
    "set_apart",
    "only_combined",
    "n_splits",
    "n_rows",
    "n_subjects",
    "base_rate",
    "slices",
    "insufficient",
    "explained_away",
    "seed",
    "seconds",
}
KEYS = {
    "slices": {
        "where",
        "rate",
        "low",
        "high",
        "rest_rate",
        "support",
        "subjects",
        "p_adjusted",
        "share_of_failures",
        "stability",
    },
    "explained_away": {"column", "value", "rate_before", "rate_after", "by"},
}


@pytest.mark.parametrize("name", list(KEYS))
def test_the_document_has_the_keys_that_scripts_rely_on(name: str) -> None:
    assert set(document()) >= DOCUMENT
    (item,) = cast(Rows, document()[name])
    assert set(item) >= {*KEYS[name], "sentence"}


def test_every_slice_of_the_document_is_a_list_of_conditions_that_reads_back() -> None:
    for name, original in (
        ("slices", FINDING),
        ("insufficient", FEW),
        ("explained_away", AWAY),
        ("only_combined", PART),
    ):
        (item,) = cast(Rows, document()[name])
        where = cast("list[JsonValue]", item["where"])
        assert all(set(cast("dict[str, JsonValue]", each)) == {"column", "op", "value"} for each in where)
        assert Slice.from_list(where) == original.where


def test_what_is_not_known_is_null() -> None:
    assert document()["n_subjects"] is None
    (item,) = cast(Rows, document()["slices"])
    assert item["adjusted_odds_ratio"] is None


def test_a_rate_is_shown_in_per_cent_and_a_loss_as_it_is() -> None:
    assert figure(0.0525, "rate") == "5.25 %"
    assert figure(12.34567, "loss") == "12.3"
    assert figure(0.0, "rate") == "0 %"
