"""A score or a decision is set apart and said; a cause, however strong, is searched."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.error_analysis.consequences import set_apart_consequences
from cv_quality.error_analysis.discovery import find_slices
from cv_quality.error_analysis.encoding import encode
from cv_quality.error_analysis.slice_report import SliceReport
from cv_quality.errors import SliceError

N, SUBJECTS = 6_000, 150


def table(*, dim: float = 0.6, bright: float = 0.05) -> pl.DataFrame:
    """Below 10 lux attempts fail at one rate, elsewhere at another."""
    rng = np.random.default_rng(1)
    lux = np.round(np.exp(rng.normal(4, 1.5, N)), 2)
    failed = rng.random(N) < np.where(lux <= 10, dim, bright)
    return pl.DataFrame({"who": rng.integers(0, SUBJECTS, N), "lux": lux, "failed": failed})


def consequence(name: str, failed: np.ndarray) -> pl.Series:
    rng = np.random.default_rng(7)
    score = np.where(failed, rng.uniform(0, 0.6, N), rng.uniform(0.6, 1, N))
    values: dict[str, Sequence[str | None] | NDArray[np.generic]] = {
        "score": score,
        "distance": -score,
        "score_of_the_acquired": np.where(failed & (rng.random(N) < 0.3), np.nan, score),
        "decision": np.where(failed, "reject", "accept"),
        "reason": [f"score {one:.3f} below 0.6" if bad else None for one, bad in zip(score, failed, strict=True)],
        "was_asked_again": failed & (rng.random(N) < 0.7),
    }
    return pl.Series(name, values[name])


def searched(frame: pl.DataFrame, *, keep: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> SliceReport:
    return find_slices(frame, outcome="failed", subject="who", keep=keep, exclude=exclude)


def sentences(found: SliceReport) -> list[str]:
    return [item.where.sentence() for item in found.slices]


@pytest.mark.parametrize(
    "name", ["score", "distance", "score_of_the_acquired", "decision", "reason", "was_asked_again"]
)
def test_a_consequence_is_set_apart_and_the_cause_is_found(name: str) -> None:
    frame = table()
    alone = searched(frame)
    found = searched(frame.with_columns(consequence(name, frame["failed"].to_numpy())))
    assert [item.column for item in found.set_apart] == [name]
    assert sentences(found) == sentences(alone)
    assert len(sentences(alone)) == 1
    assert not [item for item in found.explained_away if item.column == "lux"]
    assert found.conclusion.endswith(f"Set apart, since it nearly determines the outcome: {name}.")


@pytest.mark.parametrize("rate", [0.035, 0.06, 0.09, 0.17])
def test_a_score_is_set_apart_however_few_rows_fail(rate: float) -> None:
    rng = np.random.default_rng(4)
    score = rng.normal(np.where(rng.random(N) < rate, 0.35, 0.75), 0.06)
    frame = pl.DataFrame({"who": rng.integers(0, SUBJECTS, N), "x": score, "failed": score < 0.5})
    encoded = encode(frame.lazy(), outcome="failed", subject="who", columns=["x"])
    _, set_apart = set_apart_consequences(encoded)
    assert [item.column for item in set_apart] == ["x"]


@pytest.mark.parametrize(("dim", "bright"), [(0.6, 0.05), (0.86, 0.01), (0.95, 0.001), (0.3, 0.02)])
def test_a_strong_cause_is_never_set_apart(dim: float, bright: float) -> None:
    found = searched(table(dim=dim, bright=bright))
    assert found.set_apart == ()
    assert len(found.slices) == 1
    assert found.slices[0].where.columns == ("lux",)


def test_a_column_that_is_kept_is_searched_whatever_it_determines() -> None:
    frame = table()
    frame = frame.with_columns(consequence("decision", frame["failed"].to_numpy()))
    found = searched(frame, keep=("decision",))
    assert found.set_apart == ()
    assert sentences(found) == ["decision is reject"]


def test_a_column_that_is_excluded_is_left_out_and_said() -> None:
    frame = table()
    frame = frame.with_columns(consequence("decision", frame["failed"].to_numpy()))
    found = searched(frame, exclude=("decision",))
    assert found.set_apart == ()
    assert found.skipped == {"decision": "left out by request"}
    assert len(found.slices) == 1


@pytest.mark.parametrize("role", ["keep", "exclude"])
def test_a_name_that_the_table_does_not_have_is_refused(role: str) -> None:
    with pytest.raises(SliceError, match="no column 'luxx' to leave out or to keep: did you mean lux"):
        find_slices(table(), outcome="failed", subject="who", **{role: ["luxx"]})  # type: ignore[arg-type]


def test_a_loss_under_another_name_is_set_apart_and_a_cause_of_it_is_not() -> None:
    frame = table()
    loss = np.random.default_rng(2).gamma(2.0, 1.0, N) + np.where(frame["lux"].to_numpy() <= 10, 4.0, 0.0)
    frame = frame.with_columns(failed=loss, squared_loss=loss**2)
    found = searched(frame)
    assert [item.column for item in found.set_apart] == ["squared_loss"]
    assert found.slices[0].where.columns == ("lux",)


def test_where_nearly_all_rows_fail_no_column_is_set_apart() -> None:
    found = searched(table(dim=0.999, bright=0.98))
    assert found.set_apart == ()


@pytest.mark.parametrize(("name", "is_apart"), [("faceScore", True), ("score_quality", False), ("lux", False)])
def test_a_number_that_tells_failures_well_is_set_apart_by_its_name(name: str, is_apart: bool) -> None:
    rng = np.random.default_rng(3)
    failed = rng.random(6_000) < 0.1
    table = pl.DataFrame({name: rng.normal(0, 1, 6_000) - 2 * failed, "other": rng.random(6_000), "failed": failed})
    found = find_slices(table, outcome="failed")
    assert [item.column for item in found.set_apart] == ([name] if is_apart else [])


def test_a_loss_is_set_apart_from_its_confidence_and_not_from_what_only_goes_with_it() -> None:
    rng = np.random.default_rng(4)
    loss = rng.random(6_000)
    table = pl.DataFrame(
        {"confidence": 1 - loss + rng.normal(0, 0.2, 6_000), "noise_db": loss + rng.normal(0, 0.2, 6_000), "loss": loss}
    )
    assert [item.column for item in find_slices(table, outcome="loss").set_apart] == ["confidence"]


def test_a_value_that_only_failures_have_is_set_apart_at_the_end_of_a_number() -> None:
    rng = np.random.default_rng(5)
    failed = rng.random(6_000) < 0.1
    table = pl.DataFrame({"landmark_error": np.where(failed, -1, rng.random(6_000)), "x": rng.random(6_000)})
    found = find_slices(table.with_columns(failed=pl.Series(failed)), outcome="failed")
    assert [item.column for item in found.set_apart] == ["landmark_error"]
