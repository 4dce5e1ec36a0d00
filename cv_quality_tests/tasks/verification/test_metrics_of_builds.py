"""From outcomes to intervals on small drops: counts, rates, operating points."""

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.tables import SUBJECTS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.equal_error import TAIL_TOO_SHORT
from cv_quality.metrics.operating_points import both_classes, point_at_fmr
from cv_quality.metrics.pairs import count_block
from cv_quality.metrics.point_intervals import BY_FAMILY, FIXED_THRESHOLD, BuildScores, fnmr_interval
from cv_quality.metrics.rates import clustered_rate
from cv_quality.tasks.verification.build_metrics import measure_build
from cv_quality.tasks.verification.build_scores import read_build_scores, read_families
from cv_quality.tasks.verification.impostors import count_impostors, write_impostors
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    DET_CURVE,
    DIFFERENTIALS,
    INTERVALS,
    METRIC_COUNTS,
    OPERATING_POINTS,
)
from cv_quality_tests.tasks.verification import scored_drops
from cv_quality_tests.tasks.verification.scored_drops import THRESHOLD, measure, mixed_drop, score_drop
from cv_quality_tests.tasks.verification.tiny_drops import all_pairs_samples, random_drop, rows_of, write_drop


def total(lake: Lake, drop: str, metric: str, dimension: str = "all") -> tuple[int, int]:
    counts = rows_of(lake, METRIC_COUNTS, build="b1", drop=drop).filter(metric=metric, dimension=dimension)
    return int(counts["numerator"].sum()), int(counts["denominator"].sum())


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


def test_operating_points_are_strict_or_undefined_with_a_reason(lake: Lake) -> None:
    mixed_drop(lake, "d1", seed=1)
    counted = []
    for model in ("b1", "b0"):
        score_drop(lake, "d1", model=model)
        counted.append(
            count_impostors(
                lake, build="b1", model_build=model, drops=["d1"], modality=FACE, decision_threshold=THRESHOLD
            )
        )
    write_impostors(lake, counted, comparator=FACE.comparator)
    models, targets = ["b1", "b0"], (0.1, 1e-6)
    summary = measure_build(
        lake, build="b1", model_builds=models, drops=["d1"], comparator=FACE.comparator, fmr_targets=targets
    )
    points = rows_of(lake, OPERATING_POINTS, build="b1")
    assert points.height == summary.point_rows == 8
    own = points.filter(model_build_id="b1", point="fnmr_at_fmr").sort("fmr_target")
    assert own["reason"].to_list()[0].startswith("needs >= 1,000,000 trials, has ")
    strict = own.row(1, named=True)
    scores = counted[0].counts.score_tail().scores
    assert strict["fmr"] == np.mean(scores >= strict["threshold"]) <= 0.1
    assert strict["fnmr_low"] <= strict["fnmr"] <= strict["fnmr_high"]
    decided = points.filter(model_build_id="b1", point="decision_threshold").row(0, named=True)
    assert (decided["threshold"], decided["n_false_non_matches"]) == (THRESHOLD, total(lake, "d1", "fnmr")[0])
    assert summary.undefined_points == 2


def test_a_pair_of_frames_counts_once_in_all_and_in_each_condition(lake: Lake) -> None:
    enrols, attempts = all_pairs_samples({"ann": 3})
    labelled = [replace(sample, columns={"condition_label": f"c{i}"}) for i, sample in enumerate(attempts)]
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=labelled, protocol="all_pairs")
    score_drop(lake, "d1")
    assert total(lake, "d1", "fnmr")[1] == total(lake, "d1", "fnmr", "device_model")[1] == 3
    counts = rows_of(lake, METRIC_COUNTS, build="b1", drop="d1").filter(metric="fnmr", dimension="condition_label")
    assert counts.sort("level").select("level", "denominator").rows() == [("c0", 2), ("c1", 2), ("c2", 2)]


def scores_of(lake: Lake, drops: list[str]) -> BuildScores:
    return read_build_scores(
        lake,
        build="b1",
        model_build="b1",
        drops=drops,
        comparator=FACE.comparator,
        family_of=read_families(lake, drops=drops),
    )


def people(count: int) -> list[str]:
    return [f"s{index:02d}" for index in range(count)]


def test_samples_account_for_every_impostor_pair_of_both_protocols(lake: Lake) -> None:
    for seed, drop in enumerate(("d1", "d2")):
        enrols, attempts = random_drop(seed=seed, subjects=people(4 + seed), attempts=3, prefix=f"{drop}-")
        write_drop(lake, drop=drop, build="b1", enrols=enrols, attempts=attempts)
        score_drop(lake, drop)
    for seed, drop in enumerate(("d3", "d4")):
        frames = {f"{name}-{seed}": 2 + seed for name in people(3)}
        enrols, attempts = all_pairs_samples(frames, seed=seed)
        resized = [replace(sample, vector=np.tile(sample.vector, 2)) for sample in enrols if sample.vector is not None]
        probes = [replace(sample, vector=np.tile(sample.vector, 2)) for sample in attempts if sample.vector is not None]
        write_drop(lake, drop=drop, build="b1", enrols=resized, attempts=probes, protocol="all_pairs")
        score_drop(lake, drop)
    measure(lake, build="b1", drops=["d1", "d2", "d3", "d4"])
    scores = scores_of(lake, ["d1", "d2", "d3", "d4"])
    clustered = scores.clustered
    assert clustered is not None
    assert clustered.trials.n == scores.counts.n
    pairs, counts = np.unique(np.sort(np.stack([clustered.one, clustered.other]), axis=0), axis=1, return_counts=True)
    assert clustered.is_complete
    np.testing.assert_array_equal(clustered.trials.of_dyads(pairs[0], pairs[1]), counts)


def test_pair_rates_have_intervals_by_both_subjects_thresholds_anew(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=3, subjects=people(40), attempts=5, noise=0.9)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    score_drop(lake, "d1")
    measure(lake, build="b1", drops=["d1"])
    points = rows_of(lake, OPERATING_POINTS, build="b1")
    strict = points.filter(point="fnmr_at_fmr", fmr_target=1e-2).row(0, named=True)
    assert strict["fmr_low"] < strict["fmr"] < strict["fmr_high"]
    assert strict["fmr_n_effective"] < strict["n_impostor"]
    assert strict["fmr_method"].startswith("dyadic sandwich")
    assert "threshold by the dyadic sandwich" in strict["method"]
    assert strict["threshold_low"] < strict["threshold"] < strict["threshold_high"]
    decided = points.filter(point="decision_threshold").row(0, named=True)
    assert decided["threshold_low"] is None
    crossing = points.filter(point="eer").row(0, named=True)
    assert crossing["eer_low"] < crossing["eer"] == (crossing["fmr"] + crossing["fnmr"]) / 2 < crossing["eer_high"]


def with_families(lake: Lake, drop: str, families: dict[str, str | None]) -> None:
    """The subjects of a drop, as one that names families has them."""
    rows = rows_of(lake, SUBJECTS, drop=drop)
    named = pl.Series("family_id", [families.get(name) for name in rows["subject_id"]], pl.String)
    lake.write(SUBJECTS, TableKey(drop=drop), rows.with_columns(named).select(SUBJECTS.names))


def without_families(lake: Lake, drop: str) -> None:
    """The subjects of a drop, as a lake has them that was written before families were known."""
    path = lake.path(SUBJECTS, TableKey(drop=drop))
    pl.read_parquet(path).drop("family_id").write_parquet(path)


def test_intervals_take_the_subjects_of_a_family_together(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=3, subjects=people(40), attempts=5, noise=0.9)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    score_drop(lake, "d1")
    measure(lake, build="b1", drops=["d1"])
    before = rows_of(lake, OPERATING_POINTS, build="b1"), rows_of(lake, INTERVALS, build="b1")
    with_families(lake, "d1", {name: f"f{index // 4}" for index, name in enumerate(people(40))})
    measure(lake, build="b1", drops=["d1"])
    after = rows_of(lake, OPERATING_POINTS, build="b1"), rows_of(lake, INTERVALS, build="b1")
    alone, together = (
        table.filter(metric="fnmr", dimension="all").row(0, named=True) for table in (before[1], after[1])
    )
    genuine = rows_of(lake, METRIC_COUNTS, build="b1", drop="d1").filter(metric="fnmr", dimension="all")
    families = genuine["subject_id"].str.slice(1).cast(pl.Int64).to_numpy() // 4
    by_hand = clustered_rate(
        *(
            np.bincount(families, weights=genuine[name].to_numpy(), minlength=10)
            for name in ("numerator", "denominator")
        )
    )
    assert (together["low"], together["high"]) == (by_hand.low, by_hand.high) != (alone["low"], alone["high"])
    assert together["value"] == alone["value"]
    assert (together["n_subjects"], alone["n_subjects"]) == (10, 40)
    assert together["method"].endswith(BY_FAMILY)
    assert BY_FAMILY not in alone["method"]
    for point, found in zip(before[0].iter_rows(named=True), after[0].iter_rows(named=True), strict=True):
        assert (found["fmr"], found["fnmr"], found["eer"]) == (point["fmr"], point["fnmr"], point["eer"])
        if found["fnmr"] is not None:
            assert BY_FAMILY in found["method"]
            assert BY_FAMILY in found["fmr_method"]
            assert (found["fmr_low"], found["fmr_high"]) != (point["fmr_low"], point["fmr_high"])


def test_families_that_share_a_subject_over_drops_are_one(lake: Lake) -> None:
    for drop in ("d1", "d2", "d3"):
        enrols, attempts = random_drop(seed=1, subjects=people(6), attempts=1, prefix=f"{drop}-")
        write_drop(lake, drop=drop, build="b1", enrols=enrols, attempts=attempts)
    with_families(lake, "d1", {"s00": "s03", "s01": "s03", "s04": "x", "s05": "alone"})
    with_families(lake, "d2", {"s01": "x"})
    without_families(lake, "d3")
    assert read_families(lake, drops=["d1", "d2", "d3"]) == dict.fromkeys(("s00", "s01", "s04"), "s00")
    assert read_families(lake, drops=["d3", "d1"]) == dict.fromkeys(("s00", "s01"), "s00")
    assert read_families(lake, drops=["d3"]) == read_families(lake, drops=[]) == {}
    assert lake.scan(SUBJECTS, [TableKey(drop=drop) for drop in ("d3", "d1")]).collect().height == 12


def test_a_lake_from_before_families_is_measured_as_it_was(lake: Lake) -> None:
    mixed_drop(lake, "d1", seed=1)
    score_drop(lake, "d1")
    measure(lake, build="b1", drops=["d1"])
    before = rows_of(lake, INTERVALS, build="b1")
    without_families(lake, "d1")
    measure(lake, build="b1", drops=["d1"])
    assert rows_of(lake, INTERVALS, build="b1").equals(before)


def test_false_matches_below_the_tail_are_counted_and_have_an_interval(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrols, attempts = random_drop(seed=3, subjects=people(40), attempts=5, noise=0.9)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    score_drop(lake, "d1", threshold=0.1)
    measure(lake, build="b1", drops=["d1"], threshold=0.1)
    whole = rows_of(lake, OPERATING_POINTS, build="b1").filter(point="decision_threshold").row(0, named=True)
    assert whole["fmr"] > 0.05
    short = partial(count_block, keep_all=0, keep=10)
    modality = replace(FACE, comparator=replace(FACE.comparator, count=short, algorithm="short tails"))
    monkeypatch.setattr(scored_drops, "FACE", modality)
    measure(lake, build="b1", drops=["d1"], threshold=0.1)
    assert scores_of(lake, ["d1"]).counts.floor > 0.1
    points = rows_of(lake, OPERATING_POINTS, build="b1")
    crossing = points.filter(point="eer").row(0, named=True)
    assert (crossing["eer_low"], crossing["eer_high"], crossing["reason"]) == (None, None, TAIL_TOO_SHORT)
    assert crossing["eer"] > 0
    exact = points.filter(point="decision_threshold").row(0, named=True)
    for name in ("fmr", "n_false_matches", "n_impostor", "fnmr", "fnmr_low", "fnmr_high"):
        assert exact[name] == whole[name]
    assert exact["fmr_low"] <= whole["fmr_low"] < whole["fmr"] < whole["fmr_high"] <= exact["fmr_high"]
    assert exact["fmr_high"] - exact["fmr_low"] < 2 * (whole["fmr_high"] - whole["fmr_low"])
    assert "errors known by subject only" in exact["fmr_method"]
    assert exact["method"].startswith("exact impostor scores")


def test_the_fnmr_interval_is_wider_where_its_threshold_is_estimated(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=3, subjects=people(40), attempts=5, noise=0.9)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    score_drop(lake, "d1")
    measure(lake, build="b1", drops=["d1"])
    scores = scores_of(lake, ["d1"])
    point = point_at_fmr(both_classes(scores.genuine_scores, scores.counts), fmr=1e-3)
    assert point.rates is not None
    estimated = fnmr_interval(point, scores)
    given = fnmr_interval(replace(point, fmr_target=None), scores)
    assert FIXED_THRESHOLD in str(given["method"])
    widths = [float(str(row["fnmr_high"])) - float(str(row["fnmr_low"])) for row in (estimated, given)]
    assert widths[0] > 1.2 * widths[1]
    assert str(estimated["reason"]).startswith("insufficient: ")
    loose = point_at_fmr(both_classes(scores.genuine_scores, scores.counts), fmr=0.05)
    assert fnmr_interval(loose, scores)["reason"] is None


def test_the_curve_is_exact_falls_and_lies_in_its_band(lake: Lake) -> None:
    enrols, attempts = random_drop(seed=3, subjects=people(40), attempts=5, noise=0.9)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    score_drop(lake, "d1")
    measure(lake, build="b1", drops=["d1"])
    curve = rows_of(lake, DET_CURVE, build="b1").sort("fmr_target", descending=True)
    scores = scores_of(lake, ["d1"])
    assert 20 < curve.height <= 240
    for row in curve.iter_rows(named=True):
        assert row["fmr"] == np.mean(scores.counts.score_tail().scores >= row["threshold"]) <= row["fmr_target"]
        assert row["fnmr"] == np.mean(scores.genuine_scores < row["threshold"])
    assert curve["fnmr"].is_sorted()
    banded = curve.drop_nulls("fnmr_low")
    assert banded.height > 20
    assert ((banded["fnmr_low"] <= banded["fnmr"]) & (banded["fnmr"] <= banded["fnmr_high"])).all()


def test_groups_of_people_are_held_against_all_at_the_decision_threshold(lake: Lake) -> None:
    names = [f"s{index:02d}" if index % 2 else f"long{index:02d}" for index in range(40)]
    enrols, attempts = random_drop(seed=3, subjects=names, attempts=5, noise=0.9)
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=attempts)
    score_drop(lake, "d1")
    measure(lake, build="b1", drops=["d1"])
    rows = rows_of(lake, DIFFERENTIALS, build="b1")
    assert rows["attribute"].unique().to_list() == ["skin_tone_band"]
    overall = rows_of(lake, OPERATING_POINTS, build="b1").filter(point="decision_threshold").row(0, named=True)
    fmr, fnmr = (rows.filter(metric=metric) for metric in ("fmr", "fnmr"))
    assert sorted(zip(fmr["level"], fmr["other_level"], strict=True)) == [
        ("4-6", "4-6"),
        ("4-6", "7-10"),
        ("7-10", "7-10"),
    ]
    assert (fmr["numerator"].sum(), fmr["denominator"].sum()) == (overall["n_false_matches"], overall["n_impostor"])
    assert (fnmr["numerator"].sum(), fnmr["denominator"].sum()) == (
        overall["n_false_non_matches"],
        overall["n_genuine"],
    )
    assert fnmr["verdict"].null_count() == 0
    assert (fnmr["ratio_low"] < fnmr["ratio_high"]).all()
