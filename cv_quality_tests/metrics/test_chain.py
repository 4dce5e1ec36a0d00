"""From comparisons to intervals on small drops: outcomes, counts, rates."""

import numpy as np
import polars as pl
import pytest

from cv_quality.lake.lake import Lake
from cv_quality.lake.tables import ATTEMPT_OUTCOMES, COMPARISONS, INTERVALS, METRIC_COUNTS, OPERATING_POINTS
from cv_quality.metrics.impostors import count_impostors, write_impostors
from cv_quality.metrics.measure import measure_build
from cv_quality_tests.metrics.chain import THRESHOLD, measure, score_drop
from cv_quality_tests.metrics.tiny import Sample, random_drop, rows_of, unit, write_drop


def stranger(seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    return unit(np.random.default_rng(seed).normal(size=16))


def mixed_drop(lake: Lake, drop: str, *, seed: int) -> None:
    enrols, attempts = random_drop(seed=seed, subjects=["ann", "bob", "cyd"], attempts=6, prefix=f"{drop}-")
    attempts += [
        Sample(f"a-{drop}-timeout", "ann", stranger(1), reference="r-ann", columns={"device_stage": "timeout"}),
        Sample(f"a-{drop}-quality", "ann", stranger(2), reference="r-ann", columns={"device_stage": "quality"}),
        Sample(f"a-{drop}-liveness", "bob", stranger(3), reference="r-bob", columns={"device_stage": "liveness"}),
        Sample(f"a-{drop}-acquire", "bob", None, reference="r-bob", columns={"device_stage": "acquisition"}),
        Sample(f"a-{drop}-noface", "cyd", None, reference="r-cyd", columns={"illuminance_lux": 3.0}),
        Sample(f"a-{drop}-impostor", "cyd", stranger(4), reference="r-ann", claimed="ann"),
        Sample(f"a-{drop}-mask", "cyd", stranger(5), reference="r-ann", columns={"presentation": "mask"}),
    ]
    write_drop(lake, drop=drop, build="b1", enrols=enrols, attempts=attempts, models=("b1", "b0"))


def total(lake: Lake, drop: str, metric: str, dimension: str = "all") -> tuple[int, int]:
    counts = rows_of(lake, METRIC_COUNTS, build="b1", drop=drop).filter(metric=metric, dimension=dimension)
    return int(counts["numerator"].sum()), int(counts["denominator"].sum())


def test_every_attempt_ends_in_the_stage_that_decided_it(lake: Lake) -> None:
    mixed_drop(lake, "d1", seed=1)
    score_drop(lake, "d1")
    rows = rows_of(lake, ATTEMPT_OUTCOMES, build="b1", drop="d1")
    outcome = dict(rows.select("attempt_id", "outcome").rows())
    assert outcome["a-d1-timeout"] == "timeout"
    assert outcome["a-d1-quality"] == "quality_reject"
    assert outcome["a-d1-liveness"] == "liveness_reject"
    assert outcome["a-d1-acquire"] == outcome["a-d1-noface"] == "not_acquired"
    matched = rows.filter(pl.col("score").is_not_null()).select("score", "outcome").rows()
    assert all(outcome == ("accepted" if score >= THRESHOLD else "non_match") for score, outcome in matched)
    assert rows.filter(attempt_id="a-d1-noface")["illuminance_band"].item() == "<10"


def test_false_rejection_is_the_sum_of_the_stages_that_reject(lake: Lake) -> None:
    mixed_drop(lake, "d1", seed=1)
    score_drop(lake, "d1")
    mated = rows_of(lake, ATTEMPT_OUTCOMES, build="b1", drop="d1").filter(is_genuine=True, presentation="bona_fide")
    assert total(lake, "d1", "frr") == (mated.filter(pl.col("outcome") != "accepted").height, 23)
    assert total(lake, "d1", "fta") == (4, 24)
    assert total(lake, "d1", "fnmr")[1] == 18
    assert total(lake, "d1", "fmr")[1] == total(lake, "d1", "far")[1] == 1


@pytest.mark.parametrize("dimension", ["device_model", "illuminance_band", "sex", "condition_label"])
@pytest.mark.parametrize("metric", ["fta", "frr", "fnmr"])
def test_levels_of_a_dimension_add_up_to_the_whole_drop(lake: Lake, dimension: str, metric: str) -> None:
    mixed_drop(lake, "d1", seed=1)
    score_drop(lake, "d1")
    assert total(lake, "d1", metric, dimension) == total(lake, "d1", metric)


def test_drops_add_up_to_the_build_and_a_metric_without_trial_has_a_reason(lake: Lake) -> None:
    for seed, drop in enumerate(("d1", "d2")):
        mixed_drop(lake, drop, seed=seed)
        score_drop(lake, drop)
    enrols, attempts = random_drop(seed=9, subjects=["ann"], attempts=2, prefix="d3-")
    write_drop(lake, drop="d3", build="b2", enrols=enrols, attempts=attempts)
    for model, build, drops in (("b1", "b1", ["d1", "d2"]), ("b2", "b2", ["d3"])):
        if model == "b2":
            score_drop(lake, "d3", model="b2")
        measure(lake, build=build, drops=drops)
    rows = rows_of(lake, INTERVALS, build="b1").filter(dimension="all")
    for metric in ("fta", "frr", "fnmr"):
        row = rows.filter(metric=metric).row(0, named=True)
        parts = [total(lake, drop, metric) for drop in ("d1", "d2")]
        assert (row["numerator"], row["denominator"]) == tuple(map(sum, zip(*parts, strict=True)))
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n_subjects"] == 3
    untried = rows_of(lake, INTERVALS, build="b2").filter(metric="far").row(0, named=True)
    assert (untried["value"], untried["reason"]) == (None, "no trial")


def test_the_best_score_in_an_all_pairs_drop_is_over_all_other_frames_of_the_subject(lake: Lake) -> None:
    rng = np.random.default_rng(5)
    vectors = [unit(rng.normal(size=16)) for _ in range(4)]
    frames = [f"f{index}.png" for index in range(4)]
    enrols = [Sample(f"e{i}", "ann", vectors[i], reference=f"r{i}", frame=frames[i]) for i in range(4)]
    attempts = [Sample(f"a{i}", "ann", vectors[i], frame=frames[i]) for i in range(4)]
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts, protocol="all_pairs")
    score_drop(lake, "d1")
    matrix = np.array(vectors, dtype=float) @ np.array(vectors, dtype=float).T
    np.fill_diagonal(matrix, -2.0)
    rows = rows_of(lake, ATTEMPT_OUTCOMES, build="b1", drop="d1").sort("attempt_id")
    np.testing.assert_allclose(rows["score"].to_numpy(), matrix.max(1), atol=1e-6)
    assert rows_of(lake, COMPARISONS, build="b1", drop="d1").height == total(lake, "d1", "fnmr")[1] == 6


def test_operating_points_of_build_and_baseline_are_strict_or_undefined_with_a_reason(lake: Lake) -> None:
    mixed_drop(lake, "d1", seed=1)
    counted = []
    for model in ("b1", "b0"):
        score_drop(lake, "d1", model=model)
        counted.append(count_impostors(lake, build="b1", model_build=model))
    write_impostors(lake, counted)
    summary = measure_build(lake, build="b1", model_builds=["b1", "b0"], drops=["d1"], fmr_targets=(0.1, 1e-6))
    points = rows_of(lake, OPERATING_POINTS, build="b1")
    assert points.height == summary.point_rows == 8
    own = points.filter(model_build_id="b1", point="fnmr_at_fmr").sort("fmr_target")
    assert own["reason"].to_list()[0].startswith("needs >= 1e+06 trials, has ")
    strict = own.row(1, named=True)
    scores = counted[0].counts.score_tail().scores
    assert strict["fmr"] == np.mean(scores >= strict["threshold"]) <= 0.1
    assert strict["fnmr_low"] <= strict["fnmr"] <= strict["fnmr_high"]
    decided = points.filter(model_build_id="b1", point="decision_threshold").row(0, named=True)
    assert (decided["threshold"], decided["n_false_non_matches"]) == (THRESHOLD, total(lake, "d1", "fnmr")[0])
    assert summary.undefined_points == 2
