"""A build's slices are explained on its own attempts, matched with passes, and written as the tables declare."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_quality.error_analysis.explanations.pair_score import load_explained_model
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.errors import SliceError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import open_store
from cv_quality.simulation.rerender import rerenderer
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.simulate import simulate
from cv_quality.tasks.verification.explained_pairs import as_pairs, choose_pairs, partners, read_frames, scored_attempts
from cv_quality.tasks.verification.explanations import ExplanationSummary, explain_build
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, COUNTERFACTUALS, EXPLANATIONS
from cv_quality_tests.tasks.verification.scored_attempts import BUILD, DARK, DROP, REGISTRY, scored_lake
from cv_quality_tests.tasks.verification.scored_drops import score_drop
from cv_quality_tests.tasks.verification.tiny_drops import Sample, unit, write_drop

NOBODY = Slice((Predicate("eyewear", "==", "sunglasses"), Predicate("illuminance_lux", "<=", 0.5)))


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen people, most of whose evenings are dark, and the build whose tone curve fails there."""
    tiny = load_scenario("tiny")
    site = replace(tiny.sites[0], subjects=24, evening_share=0.7)
    scenario = replace(tiny, name="dim", sites=(site,), builds=tiny.builds[1:], transactions_per_subject=4)
    folder = tmp_path_factory.mktemp("dim")
    simulate(scenario, landing=open_store(str(folder)), registry=REGISTRY)
    return folder


@pytest.fixture(scope="module")
def lake(landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return scored_lake(landing, tmp_path_factory.mktemp("dim-lake"))


@pytest.fixture(scope="module")
def attempts(lake: Lake) -> pl.DataFrame:
    return scored_attempts(lake, build=BUILD, drops=[DROP], comparator=FACE.comparator)


def explained(lake: Lake, landing: Path, slices: Sequence[Slice], *, pairs: int = 24) -> ExplanationSummary:
    store = open_store(str(landing))
    return explain_build(
        lake,
        landing=store,
        entry=REGISTRY.model_entry(BUILD),
        registry=REGISTRY,
        build=BUILD,
        drops=[DROP],
        slices=slices,
        modality=FACE,
        rerender=rerenderer(store),
        pairs=pairs,
        threads=2,
    )


def rows(lake: Lake, rank: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    maps, changes = (lake.read(table, TableKey(build=BUILD)) for table in (EXPLANATIONS, COUNTERFACTUALS))
    return maps.filter(rank=rank), changes.filter(rank=rank)


def test_the_model_gives_each_pair_the_score_in_the_lake(lake: Lake, landing: Path, attempts: pl.DataFrame) -> None:
    chosen = choose_pairs(attempts, where=DARK, conditions=FACE.conditions, seed=0)
    frames = read_frames(lake, open_store(str(landing)), [chosen.failures, chosen.passes])
    model = load_explained_model(REGISTRY.model_entry(BUILD), registry=REGISTRY, threads=1)
    pairs = as_pairs(chosen, model=model, frames=frames)
    for given, seen in zip((chosen.failures, chosen.passes), pairs, strict=True):
        assert list(seen.subjects) == given["subject_id"].to_list()
        np.testing.assert_allclose(model.score.of(seen), given["score"].to_numpy(), atol=1e-5)


def test_failures_are_spread_over_subjects_and_passes_are_of_the_same_ones(
    attempts: pl.DataFrame,
) -> None:
    failing = attempts.filter(DARK.expression(), outcome="non_match")
    limit = failing["subject_id"].n_unique()
    chosen = choose_pairs(attempts, where=DARK, conditions=FACE.conditions, seed=0, limit=limit)
    assert chosen.failures["subject_id"].n_unique() == len(chosen.failures) == limit >= 5
    assert not set(chosen.failures["attempt_id"]) & set(chosen.passes["attempt_id"])
    passing = attempts.filter(~DARK.expression(), outcome="accepted")
    for failure, match in zip(chosen.failures.to_dicts(), chosen.passes.to_dicts(), strict=True):
        assert match["outcome"] == "accepted"
        assert match["illuminance_lux"] > 9.99
        is_same = match["subject_id"] == failure["subject_id"]
        assert is_same == (failure["subject_id"] in passing["subject_id"].to_list())


def test_the_choice_follows_the_seed_and_not_the_order_of_the_rows(attempts: pl.DataFrame) -> None:
    one, same, other = (
        choose_pairs(table, where=DARK, conditions=FACE.conditions, seed=seed, limit=6)
        for table, seed in ((attempts, 0), (attempts.reverse(), 0), (attempts, 1))
    )
    assert one.failures.equals(same.failures)
    assert one.passes.equals(same.passes)
    assert not one.failures.equals(other.failures)


def test_among_passes_of_one_subject_the_one_of_the_nearest_conditions_is_taken(attempts: pl.DataFrame) -> None:
    row = attempts.filter(outcome="accepted").head(1)
    far = row.with_columns(attempt_id=pl.lit("far"), yaw_deg=pl.lit(35.0), illuminance_lux=pl.lit(100.0))
    near = row.with_columns(attempt_id=pl.lit("near"), yaw_deg=pl.lit(1.0), illuminance_lux=pl.lit(900.0))
    failure = row.with_columns(
        attempt_id=pl.lit("fails"), outcome=pl.lit("non_match"), yaw_deg=pl.lit(0.0), illuminance_lux=pl.lit(5.0)
    )
    stranger = failure.with_columns(
        attempt_id=pl.lit("other"), outcome=pl.lit("accepted"), illuminance_lux=pl.lit(50.0), subject_id=pl.lit("x")
    )
    chosen = choose_pairs(pl.concat([far, near, failure, stranger]), where=DARK, conditions=FACE.conditions, seed=0)
    assert chosen.passes["attempt_id"].to_list() == ["near"]
    alone = choose_pairs(pl.concat([failure, stranger]), where=DARK, conditions=FACE.conditions, seed=0)
    assert alone.passes["attempt_id"].to_list() == ["other"]


def test_a_slice_of_an_unknown_column_is_a_typed_error(attempts: pl.DataFrame) -> None:
    with pytest.raises(SliceError, match="did you mean eyewear"):
        choose_pairs(attempts, where=Slice((Predicate("eyeware", "==", "none"),)), conditions=FACE.conditions, seed=0)


def test_in_an_all_pairs_drop_the_partner_is_the_frame_that_gave_the_score(tmp_path: Path) -> None:
    lake = Lake(open_store(str(tmp_path)))
    rng = np.random.default_rng(5)
    vectors = [unit(rng.normal(size=16)) for _ in range(4)]
    frames = [f"f{index}.png" for index in range(4)]
    enrols = [Sample(f"e{i}", "ann", vectors[i], reference=f"r{i}", frame=frames[i]) for i in range(4)]
    tries = [Sample(f"a{i}", "ann", vectors[i], frame=frames[i]) for i in range(4)]
    write_drop(lake, drop="d1", build="b1", enrols=enrols, attempts=tries, protocol="all_pairs")
    score_drop(lake, "d1")
    found = scored_attempts(lake, build="b1", drops=["d1"], comparator=FACE.comparator)
    matrix = np.array(vectors) @ np.array(vectors).T
    np.fill_diagonal(matrix, -2.0)
    best = matrix.argmax(axis=1)
    order = [int(name[1:]) for name in found["attempt_id"]]
    np.testing.assert_allclose(partners(found), np.array(vectors)[best[order]], atol=1e-6)


def test_the_dark_slice_keeps_its_map_and_light_brings_its_failures_back(lake: Lake, landing: Path) -> None:
    summary = explained(lake, landing, [DARK])
    maps, changes = rows(lake, 1)
    written = [lake.path(table, TableKey(build=BUILD)).read_bytes() for table in (EXPLANATIONS, COUNTERFACTUALS)]
    assert maps["method"].to_list() == ["integrated_gradients", "occlusion"]
    assert (summary.slices, summary.maps) == (1, 2)
    assert summary.maps_shown == maps["is_shown"].sum()
    assert (maps["map"].list.len() == maps["height"] * maps["width"]).all()
    assert maps["height"].to_list() == [64, 64]
    assert (maps["is_shown"] == maps["reason"].is_null()).all()
    gradients = maps.row(0, named=True)
    assert gradients["n_failures"] == gradients["n_passes"] > gradients["n_subjects"] >= 5
    failing, passing = (
        lake.read(ATTEMPT_OUTCOMES, TableKey(build=BUILD, drop=DROP)).filter(outcome=name)["score"].mean()
        for name in ("non_match", "accepted")
    )
    assert isinstance(failing, float)
    assert isinstance(passing, float)
    assert sum(gradients["map"]) == pytest.approx(failing - passing, abs=0.15)
    assert gradients["pointing"] > 0.5
    assert gradients["deletion"] < gradients["deletion_random"]
    assert gradients["insertion"] > gradients["insertion_random"]
    assert gradients["randomisation"] < 0.5
    # The scenario is no packaged one, so nothing is rendered again.
    assert changes["source"].unique().to_list() == ["reprocessed"]
    brighter = changes.filter(pl.col("change").str.contains("gamma 0.5")).row(0, named=True)
    assert brighter["n_accepted"] > 0.7 * brighter["n_attempts"]
    assert brighter["low"] <= brighter["value"] <= brighter["high"]
    assert explained(lake, landing, [DARK]) == summary
    again = [lake.path(table, TableKey(build=BUILD)).read_bytes() for table in (EXPLANATIONS, COUNTERFACTUALS)]
    assert again == written


@pytest.mark.parametrize(("pairs", "slices"), [(12, 2), (9, 1)])
def test_the_pairs_are_shared_out_over_the_slices_that_they_suffice_for(
    lake: Lake, landing: Path, pairs: int, slices: int
) -> None:
    dim = Slice((Predicate("illuminance_lux", "<=", 100.0),))
    summary = explained(lake, landing, [DARK, dim], pairs=pairs)
    used = [rows(lake, rank)[0]["n_failures"].max() for rank in range(1, slices + 1)]
    assert summary.slices == slices
    assert used == [pairs // slices] * slices


def test_without_a_slice_both_tables_are_there_and_empty(lake: Lake, landing: Path) -> None:
    assert explained(lake, landing, []) == ExplanationSummary(BUILD, 0, 0, 0, 0)
    assert all(part.is_empty() for part in rows(lake, 1))


def test_a_slice_without_failures_says_so_and_a_fourth_slice_is_left_out(lake: Lake, landing: Path) -> None:
    summary = explained(lake, landing, [NOBODY] * 4)
    maps, changes = rows(lake, 3)
    assert (summary.slices, summary.maps) == (3, 0)
    assert maps["map"].is_null().all()
    assert maps["reason"].to_list() == ["no failure of the slice has a score, a frame and a matching pass"] * 2
    assert (changes["n_attempts"] == 0).all()
    assert changes["value"].is_null().all()


def test_the_map_of_fewer_than_five_subjects_is_none_but_conditions_are_still_tried(
    tiny_landing: Path, tmp_path: Path
) -> None:
    lake = scored_lake(tiny_landing, tmp_path)
    summary = explained(lake, tiny_landing, [DARK])
    maps, changes = rows(lake, 1)
    assert (summary.maps, summary.maps_shown) == (0, 0)
    assert maps["reason"].to_list() == ["4 subjects fail in the slice, a map takes at least 5"] * 2
    assert maps["pointing"].is_null().all()
    light = changes.filter(change="illuminance 200 lux").row(0, named=True)
    assert light["n_accepted"] == light["n_attempts"] == maps["n_failures"][0]
    assert light["source"] == "rerendered"
