"""Why attacks pass, from their frames: what is explained is the score, and a change brings attacks to light."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from cv_quality.error_analysis.explanations.liveness_score import load_explained_liveness, log_odds
from cv_quality.error_analysis.explanations.pair_score import Pairs
from cv_quality.error_analysis.explanations.saliency import integrate
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.freshness import Freshness, StageContext
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.inference.liveness.scorer import load_scorer
from cv_quality.lake.lake import TableKey
from cv_quality.runner import run_stage
from cv_quality.simulation.attacks.plan import AttackScenario, people_of
from cv_quality.simulation.attacks.rerender import SimulatedAttacks
from cv_quality.simulation.attacks.simulate import simulate_attacks
from cv_quality.simulation.load import load_any_scenario
from cv_quality.simulation.studies import drop_plans
from cv_quality.tasks.ingest import LIVENESS_INGEST
from cv_quality.tasks.liveness.explanations import explain_attacks
from cv_quality.tasks.liveness.stages import JUDGE, SCORE
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace

BUILD = "pad-1.1"
PLANTED = Slice((Predicate("pai_species", "==", "replay_photo"), Predicate("pai_series", "==", "oled-460")))


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Attacks on sixteen people by the bad build, judged, and those of the planted slice explained."""
    workspace, scenario = open_workspace(tmp_path_factory.mktemp("attacks")), load_any_scenario("attack-demo")
    assert isinstance(scenario, AttackScenario)
    sites = (replace(scenario.sites[0], subjects=16),)
    small = replace(scenario, bona_fide=1, silent_share=0.0, sites=sites, builds=scenario.builds[1:])
    (drop,) = simulate_attacks(small, landing=workspace.landing, registry=workspace.registry)
    for stage in LIVENESS_INGEST:
        assert run_stage(workspace, LIVENESS, stage, TableKey(drop=drop)).passed
    for stage in (SCORE, JUDGE):
        assert run_stage(workspace, LIVENESS, stage, TableKey(build=BUILD, drop=drop)).passed
    plans = {plan.drop_id: plan for plan in drop_plans(small)}
    again = SimulatedAttacks(small, small.seed, people_of(small, seed=small.seed), plans)
    context = StageContext(Freshness(workspace, LIVENESS), TableKey(build=BUILD))
    summary = explain_attacks(context, slices=[PLANTED], rerender=again)
    assert (summary.slices, summary.maps) == (1, 2)
    return workspace


def test_the_same_picture_on_a_coarse_screen_is_found(explained: Workspace) -> None:
    changes = explained.lake.read(COUNTERFACTUALS, TableKey(build=BUILD))
    (screen,) = changes.filter(pl.col("change").str.starts_with("the same picture, series lcd")).to_dicts()
    assert screen["source"] == "rerendered"
    assert screen["n_attempts"] >= 10
    assert screen["n_accepted"] >= 0.9 * screen["n_attempts"]
    assert screen["score_after"] < screen["score_before"]


def test_other_light_and_distance_do_not_bring_the_attacks_to_light(explained: Workspace) -> None:
    changes = explained.lake.read(COUNTERFACTUALS, TableKey(build=BUILD))
    for words in ("illuminance 200 lux", "distance 40 cm"):
        (row,) = changes.filter(change=words).to_dicts()
        assert row["n_accepted"] <= 0.4 * row["n_attempts"], words


def test_every_map_is_shown_with_its_checks_or_says_why_not(explained: Workspace) -> None:
    maps = explained.lake.read(EXPLANATIONS, TableKey(build=BUILD)).to_dicts()
    assert [row["method"] for row in maps] == ["integrated_gradients", "occlusion"]
    for row in maps:
        assert row["n_failures"] == row["n_passes"] >= 10
        assert row["is_shown"] is (row["reason"] is None)
        assert (row["height"], row["width"]) == (48, 48)
        assert row["randomisation"] is not None


def test_what_is_explained_is_a_tenth_of_the_log_odds_of_the_score(explained: Workspace) -> None:
    entry = explained.registry.entry(BUILD)
    assert isinstance(entry, LivenessEntry)
    score, scorer = (
        load_explained_liveness(entry, registry=explained.registry),
        load_scorer(entry, registry=explained.registry),
    )
    assert score is not None
    frames = list(np.random.default_rng(0).integers(0, 256, (4, 96, 96), np.uint8))
    inputs = scorer.models[0].inputs(frames, [None] * 4, [None] * 4)
    pairs = Pairs(inputs, np.empty((4, 0), np.float32), ("a", "b", "c", "d"))
    shares = scorer.score(frames, boxes=[None] * 4, illuminance_lux=[None] * 4).scores
    np.testing.assert_allclose(score.of(pairs), np.log(shares / (1 - shares)) / 10, atol=1e-5)
    baseline = np.zeros_like(inputs[0])
    found = integrate(score, pairs, baseline=baseline, tolerance=0.02)
    owed = score.of(pairs) - score.of(pairs.showing(np.zeros_like(inputs)))
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2)) - found.gaps, owed, atol=1e-3)
    redrawn = score.redraw(1) if score.redraw else None
    assert redrawn is not None
    assert not np.allclose(redrawn.of(pairs), score.of(pairs))


def test_log_odds_are_against_all_other_outputs() -> None:
    outputs = torch.log(torch.tensor([[0.2, 0.7, 0.1]]))
    found = log_odds(outputs, torch.empty(1, 0), bona_fide=1)
    assert float(found) == pytest.approx(np.log(0.7 / 0.3) / 10, abs=1e-6)
    assert float(log_odds(torch.tensor([[3.5]]), torch.empty(1, 0), bona_fide=None)) == 3.5


def test_several_models_have_no_one_map(explained: Workspace) -> None:
    entry = explained.registry.entry(BUILD)
    assert isinstance(entry, LivenessEntry)
    assert load_explained_liveness(replace(entry, models=entry.models * 2), registry=explained.registry) is None
