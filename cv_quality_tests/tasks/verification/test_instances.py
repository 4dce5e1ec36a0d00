"""Two eyes: sides, one person's eyes against each other, fusion and rotations, equal to plain computation."""

import numpy as np
import polars as pl
import pytest

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.iris.codes import Codes
from cv_quality.tasks.verification.tables import (
    COMPARISONS,
    IMPOSTOR_TRIALS,
    INSTANCE_CAPTURES,
    INSTANCE_COMPARISONS,
    INSTANCE_FUSION,
    OPERATING_POINTS,
    ROTATIONS,
)
from cv_quality_tests.deployment import do, open_workspace, score, take_in
from cv_quality_tests.metrics.iris.plain import plain_distances
from cv_quality_tests.tasks.verification.iris_case import (
    DROP,
    READY,
    RULE,
    STRIPS,
    THRESHOLD,
    Strip,
    draw_strips,
    encode,
    import_irises,
    write_entries,
)

OF_BUILD = TableKey(build=READY)


@pytest.fixture(scope="module")
def strips() -> list[Strip]:
    return draw_strips()


@pytest.fixture(scope="module")
def lake(strips: list[Strip], tmp_path_factory: pytest.TempPathFactory) -> Lake:
    home = tmp_path_factory.mktemp("two-eyes")
    (registry := home / "registry").mkdir()
    write_entries(registry, strips)
    workspace = open_workspace(home, registry=registry)
    import_irises(strips, landing=workspace.landing)
    take_in(workspace, DROP)
    for build in (STRIPS, READY):
        score(workspace, build, DROP)
    do(workspace, "impostors", "measure_build", build=READY)
    verdict = do(workspace, "measure_instances", build=READY).verdict
    assert verdict is not None
    assert verdict.passed
    return workspace.lake


@pytest.fixture(scope="module")
def pairs(strips: list[Strip]) -> pl.DataFrame:
    """Every reference against every attempt, plainly."""
    templates: Codes = encode(strips)
    own = [place for place, strip in enumerate(strips) if strip.number == 0]
    other = [place for place, strip in enumerate(strips) if strip.number]
    distances = plain_distances(templates[own], templates[other], RULE)
    return pl.DataFrame(
        [
            {
                "left": strips[one].subject,
                "right": strips[two].subject,
                "left_eye": strips[one].eye,
                "eye": strips[two].eye,
                "number": strips[two].number,
                "distance": float(distances[row, column]),
            }
            for row, one in enumerate(own)
            for column, two in enumerate(other)
        ]
    )


def test_pairs_are_told_apart_by_subject_and_side(lake: Lake, pairs: pl.DataFrame) -> None:
    rows = lake.read(INSTANCE_COMPARISONS, OF_BUILD).filter(model_build_id=STRIPS)
    same_subject, same_eye = pl.col("left") == pl.col("right"), pl.col("left_eye") == pl.col("eye")
    kinds = {
        "genuine": same_subject & same_eye,
        "other_instance": same_subject & ~same_eye,
        "impostor": ~same_subject,
        "impostor_same_side": ~same_subject & same_eye,
        "impostor_other_side": ~same_subject & ~same_eye,
        "impostor_unknown": pl.lit(value=False),
    }
    assert rows["kind"].to_list() == list(kinds)
    for kind, is_one in kinds.items():
        expected = pairs.filter(is_one)["distance"].to_numpy()
        row = rows.row(by_predicate=pl.col("kind") == kind, named=True)
        assert (row["n_pairs"], row["n_incomparable"]) == (len(expected), 0)
        assert row["numerator"] == (expected <= THRESHOLD).sum()
        if len(expected):
            assert row["mean"] == pytest.approx(expected.mean(), abs=2e-5)
            assert row["sd"] == pytest.approx(expected.std(), abs=2e-5)


def test_a_persons_other_eye_is_in_no_count_of_impostors(lake: Lake) -> None:
    rows = lake.read(INSTANCE_COMPARISONS, OF_BUILD).filter(kind="impostor").sort("model_build_id")
    trials = lake.read(IMPOSTOR_TRIALS, OF_BUILD).group_by("model_build_id").agg(pl.col("n_matches").sum() // 2)
    points = lake.read(OPERATING_POINTS, OF_BUILD).filter(point="decision_threshold").sort("model_build_id")
    assert rows["n_pairs"].to_list() == points["n_impostor"].to_list()
    assert rows["numerator"].to_list() == trials.sort("model_build_id")["n_matches"].to_list()
    assert rows["value"].to_list() == points["fmr"].to_list()
    assert rows["low"].to_list() == pytest.approx(points["fmr_low"].to_list())
    assert rows["high"].to_list() == pytest.approx(points["fmr_high"].to_list())


def test_fused_rates_are_those_of_the_fused_distances(lake: Lake, pairs: pl.DataFrame) -> None:
    fused = _fused(pairs)
    rows = lake.read(INSTANCE_FUSION, OF_BUILD).filter(model_build_id=STRIPS, point="decision_threshold")
    assert rows["rule"].to_list() == ["each_eye", "left", "right", "or", "and", "mean"]
    for rule in ("left", "right", "or", "and", "mean"):
        row = rows.row(by_predicate=pl.col("rule") == rule, named=True)
        is_genuine = fused["left"] == fused["right"]
        own, other = fused.filter(is_genuine)[f"by_{rule}"], fused.filter(~is_genuine)[f"by_{rule}"]
        assert (row["n_genuine"], row["n_false_non_matches"]) == (len(own), (own > THRESHOLD).sum())
        assert (row["n_impostor"], row["n_false_matches"]) == (len(other), (other <= THRESHOLD).sum())


def test_errors_of_two_eyes_are_correlated(lake: Lake, pairs: pl.DataFrame) -> None:
    genuine = _fused(pairs).filter(pl.col("left") == pl.col("right"))
    errors = [(genuine[f"by_{side}"] > THRESHOLD).to_numpy().astype(float) for side in ("left", "right")]
    row = lake.read(INSTANCE_CAPTURES, OF_BUILD).filter(model_build_id=STRIPS).row(0, named=True)
    assert (row["n_captures"], row["n_one_eye"], row["n_compared"]) == (30, 0, 30)
    assert row["n_left_errors"] == errors[0].sum()
    assert row["n_right_errors"] == errors[1].sum()
    assert row["n_both_errors"] == (errors[0] * errors[1]).sum()
    assert row["phi"] == pytest.approx(np.corrcoef(np.stack(errors))[0, 1])


def test_rotations_end_at_the_rates_of_the_claim(lake: Lake, pairs: pl.DataFrame) -> None:
    rows = lake.read(ROTATIONS, OF_BUILD).filter(model_build_id=STRIPS)
    assert rows["shifts"].to_list() == [1, 3, 5]
    last = rows.row(-1, named=True)
    scores = lake.read(COMPARISONS, TableKey(build=STRIPS, drop=DROP)).filter("is_genuine")["score"]
    other = pairs.filter(pl.col("left") != pl.col("right"))["distance"]
    assert last["genuine_mean"] == pytest.approx(scores.mean(), abs=2e-5)
    assert last["impostor_mean"] == pytest.approx(other.mean(), abs=2e-5)
    assert last["fmr"] == (other <= THRESHOLD).mean()
    assert rows["genuine_mean"].is_sorted(descending=True)
    assert rows["impostor_mean"].is_sorted(descending=True)


def _fused(pairs: pl.DataFrame) -> pl.DataFrame:
    """Left and right of one moment of two people, and what the rules make of them."""
    same_eye = pairs.filter(pl.col("left_eye") == pl.col("eye"))
    wide = same_eye.group_by("left", "right", "number").agg(
        pl.col("distance").filter(eye="left").first().alias("by_left"),
        pl.col("distance").filter(eye="right").first().alias("by_right"),
    )
    both = ("by_left", "by_right")
    return wide.with_columns(
        by_or=pl.min_horizontal(both), by_and=pl.max_horizontal(both), by_mean=pl.mean_horizontal(both)
    )
