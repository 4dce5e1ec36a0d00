"""Differences from the baseline in the lake: both rates are those that were measured, and subjects are the pairs."""

from pathlib import Path

import polars as pl
import pytest

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import open_store
from cv_quality.tasks.verification.differences import ComparedRate, Side, compare_sides, write_differences
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.tables import DIFFERENCES, INTERVALS, OPERATING_POINTS
from cv_quality_tests.tasks.verification.scored_drops import THRESHOLD, measure, mixed_drop, score_drop

DROPS = ("d1", "d2")
TARGETS = (0.1, 1e-6)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(open_store(str(tmp_path_factory.mktemp("lake"))))
    for seed, drop in enumerate(DROPS):
        mixed_drop(made, drop, seed=seed)
        for model in ("b1", "b0"):
            score_drop(made, drop, model=model)
    measure(made, build="b1", drops=DROPS, models=("b1", "b0"))
    return made


def side(model: str) -> Side:
    return Side("b1", model, DROPS, FACE.comparator, THRESHOLD)


def found(rates: list[ComparedRate], metric: str, target: float | None = None) -> ComparedRate:
    (item,) = [one for one in rates if (one.metric, one.fmr_target, one.dimension) == (metric, target, "all")]
    return item


def test_both_rates_are_those_that_were_measured(lake: Lake) -> None:
    write_differences(lake, "b1", [side("b1"), side("b0")])
    rows = lake.read(DIFFERENCES, TableKey(build="b1"))
    intervals = lake.read(INTERVALS, TableKey(build="b1"))
    measured = {
        (row["model_build_id"], row["metric"], row["dimension"], row["level"]): row["value"]
        for row in intervals.iter_rows(named=True)
    }
    attempts = rows.filter(pl.col("metric").is_in(["fnmr", "fta", "frr", "far", "fmr"]))
    assert attempts.height == intervals.filter(pl.col("model_build_id") == "b1").height
    for row in attempts.iter_rows(named=True):
        group = (row["metric"], row["dimension"], row["level"])
        assert row["value"] == pytest.approx(measured["b1", *group])
        assert row["baseline_value"] == pytest.approx(measured["b0", *group])
        assert row["difference"] == pytest.approx(row["value"] - row["baseline_value"])
    points = lake.read(OPERATING_POINTS, TableKey(build="b1")).filter(point="fnmr_at_fmr", model_build_id="b1")
    targets = rows.filter(metric="fnmr_at_fmr").sort("fmr_target")
    assert targets["value"].to_list() == points.sort("fmr_target")["fnmr"].to_list()
    undefined = targets.filter(fmr_target=1e-6).row(0, named=True)
    assert undefined["difference"] is None
    assert "needs >= 1,000,000 trials" in undefined["reason"]


def test_a_model_against_itself_differs_in_nothing(lake: Lake) -> None:
    rates = compare_sides(lake, side("b1"), side("b1"), fmr_targets=TARGETS)
    assert {item.difference.value for item in rates} <= {0.0, None}
    assert found(rates, "fnmr_at_fmr", 0.1).difference.n_shared == 3


def test_builds_with_drops_of_their_own_share_whom_both_met(lake: Lake) -> None:
    rates = compare_sides(
        lake, side("b1"), Side("b1", "b1", DROPS[:1], FACE.comparator, THRESHOLD), no_pairs="no pairs"
    )
    assert not [item for item in rates if item.metric in ("fnmr_at_fmr", "eer")]
    assert found(rates, "frr").difference.n_shared == 3
    assert found(rates, "frr").difference.reason == "insufficient: 3 subjects, 10 needed"


def test_without_a_baseline_there_is_no_row(tmp_path: Path) -> None:
    made = Lake(open_store(str(tmp_path)))
    assert write_differences(made, "b1", [side("b1")]) == 0
    assert made.read(DIFFERENCES, TableKey(build="b1")).is_empty()
