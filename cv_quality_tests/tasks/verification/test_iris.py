"""Irises from drops to their metric tables: templates, distances and counts equal to a computation from the strips."""

import numpy as np
import pytest

from cv_quality.drops.tables import QUARANTINE_VALIDATE
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.iris.codes import Codes
from cv_quality.metrics.iris.hamming import compare
from cv_quality.tasks.verification.dimensions import dimensions_of, searched_columns
from cv_quality.tasks.verification.explained_pairs import partner_codes, scored_attempts
from cv_quality.tasks.verification.modalities.iris import IRIS, hamming
from cv_quality.tasks.verification.modality import codes_of
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    COMPARISONS,
    EMBEDDINGS,
    IMPOSTOR_COUNTS,
    INTERVALS,
    OPERATING_POINTS,
)
from cv_quality_tests.deployment import do, open_workspace, score, take_in
from cv_quality_tests.metrics.iris.plain import plain_distances
from cv_quality_tests.tasks.verification.iris_case import (
    DROP,
    NO_OVERLAP,
    READY,
    RULE,
    STRIPS,
    THRESHOLD,
    WRONG_EYE,
    Strip,
    draw_strips,
    encode,
    import_irises,
    write_entries,
)

OF_STRIPS, OF_READY = TableKey(build=STRIPS, drop=DROP), TableKey(build=READY, drop=DROP)


@pytest.fixture(scope="module")
def strips() -> list[Strip]:
    return draw_strips()


@pytest.fixture(scope="module")
def lake(strips: list[Strip], tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The drop under both builds, up to the metrics of the one that has its templates ready."""
    home = tmp_path_factory.mktemp("irises")
    registry = home / "registry"
    registry.mkdir()
    write_entries(registry, strips)
    workspace = open_workspace(home, registry=registry)
    import_irises(strips, landing=workspace.landing)
    take_in(workspace, DROP)
    for build in (STRIPS, READY):
        score(workspace, build, DROP)
    do(workspace, "impostors", "measure_build", build=READY)
    return workspace.lake


@pytest.fixture(scope="module")
def templates(strips: list[Strip]) -> dict[str, Codes]:
    """By the name of the frame; shape (1, 2, words)."""
    return {strip.frame: template[None] for strip, template in zip(strips, encode(strips), strict=True)}


def test_templates_are_those_of_the_strips(lake: Lake, templates: dict[str, Codes]) -> None:
    rows = lake.read(EMBEDDINGS, OF_STRIPS)
    assert rows["status"].unique().to_list() == ["ok"]
    assert sorted(rows["instance"].unique().to_list()) == ["left", "right"]
    assert rows["usable_area"].unique().to_list() == [1.0]
    for frame, template in zip(rows["frame"], codes_of(rows), strict=True):
        assert np.array_equal(template, templates[frame][0])


def test_a_claim_of_the_other_eye_is_quarantined(lake: Lake) -> None:
    rejected = lake.read(QUARANTINE_VALIDATE, TableKey(drop=DROP))
    assert rejected.select("event_id", "reason").rows() == [(WRONG_EYE, "other_instance")]
    assert "eye: expected left as of the claimed reference p05-left, found right" in rejected["detail"][0]


def test_scores_are_the_smallest_distances_over_the_rotations(
    lake: Lake, strips: list[Strip], templates: dict[str, Codes]
) -> None:
    rows = lake.read(COMPARISONS, OF_STRIPS)
    scores = dict(rows.select("attempt_id", "score").iter_rows())
    own = {(strip.subject, strip.eye): strip.frame for strip in strips if strip.number == 0}
    attempts = [strip for strip in strips if strip.number]
    assert len(scores) == len(attempts)
    for strip in attempts:
        expected = plain_distances(templates[own[strip.subject, strip.eye]], templates[strip.frame], RULE)
        assert scores[strip.name] == expected[0, 0]
    rejected = {name for name, distance in scores.items() if distance > THRESHOLD}
    outcomes = dict(lake.read(ATTEMPT_OUTCOMES, OF_STRIPS).select("attempt_id", "outcome").iter_rows())
    assert {name for name, outcome in outcomes.items() if outcome == "non_match"} == rejected
    assert 0 < len(rejected) < len(attempts)


def test_the_template_that_an_attempt_failed_against_gives_its_score(lake: Lake, templates: dict[str, Codes]) -> None:
    rows = scored_attempts(lake, build=STRIPS, drops=[DROP], comparator=hamming(RULE))
    own = np.concatenate([templates[frame] for frame in rows["frame"]])
    every = np.arange(rows.height)
    assert rows.height == 60
    assert np.array_equal(compare(partner_codes(rows), own, (every, every), RULE).hd_norm, rows["score"].to_numpy())


def test_a_pair_without_common_bits_is_no_match_and_no_rejection(lake: Lake) -> None:
    row = lake.read(COMPARISONS, OF_READY).filter(attempt_id=NO_OVERLAP).row(0, named=True)
    assert (row["score"], row["not_comparable"]) == (None, "no_overlap")
    outcomes = lake.read(ATTEMPT_OUTCOMES, OF_READY)
    assert outcomes.filter(outcome="not_compared")["attempt_id"].to_list() == [NO_OVERLAP]
    rates = lake.read(INTERVALS, TableKey(build=READY)).filter(dimension="all", model_build_id=READY)
    trials = dict(rates.select("metric", "denominator").iter_rows())
    assert trials["frr"] == trials["fnmr"] + 1 == outcomes.height


def test_every_pair_of_two_people_is_counted_whatever_eye(lake: Lake, strips: list[Strip]) -> None:
    references = [strip for strip in strips if strip.number == 0]
    pairs = sum(one.subject != other.subject for one in references for other in strips if other.number)
    counts = lake.read(IMPOSTOR_COUNTS, TableKey(build=READY))
    of_strips = counts.filter(model_build_id=STRIPS)
    assert (of_strips["count"].sum(), of_strips["bin"].null_count()) == (pairs, 0)
    of_ready = counts.filter(model_build_id=READY)
    missing = of_ready.filter(of_ready["bin"].is_null())["count"].to_list()
    assert of_ready["count"].sum() == pairs
    assert missing == []
    points = lake.read(OPERATING_POINTS, TableKey(build=READY))
    assert set(points["n_impostor"]) == {pairs}


def test_conditions_and_what_was_measured_are_columns_of_an_attempt(lake: Lake) -> None:
    rows = lake.read(ATTEMPT_OUTCOMES, OF_STRIPS)
    assert {"eye", "gaze_band", "usable_area", "area_band", "pupil_band", "dilation_delta"} <= set(rows.columns)
    assert set(rows["area_band"]) == {">=0.85"}


def test_what_a_builds_own_mask_moves_is_shown_and_not_searched() -> None:
    searched, shown = set(searched_columns(IRIS)), {item.name for item in dimensions_of(IRIS)}
    assert {"gaze_deg", "off_axis_deg", "dilation_delta", "pupil_iris_ratio"} <= searched
    assert {"usable_area", "sharpness", "centre_distance", "specular_area"} <= shown - searched
