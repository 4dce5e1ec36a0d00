"""Simulated attacks: artefacts as pixels, drops that repeat, and what a changed condition changes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cv_quality.drops.tables import PRESENTATIONS
from cv_quality.errors import ScenarioError
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.lake.lake import TableKey
from cv_quality.modality import of_modality
from cv_quality.runner import run_stage
from cv_quality.simulation.attacks.artefacts import MASK, REPLAY_PHOTO, SERIES, SPECIES, show
from cv_quality.simulation.attacks.plan import AttackScenario, people_of
from cv_quality.simulation.attacks.rerender import SimulatedAttacks
from cv_quality.simulation.attacks.simulate import simulate_attacks
from cv_quality.simulation.load import load_any_scenario
from cv_quality.simulation.rerender import rerenderer
from cv_quality.simulation.scenario_files import read_scenario
from cv_quality.simulation.studies import drop_plans, write_truth
from cv_quality.tasks.ingest import LIVENESS_INGEST
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.tasks.verification.explained_pairs import read_frames
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace


def demo() -> AttackScenario:
    scenario = load_any_scenario("attack-demo")
    assert isinstance(scenario, AttackScenario)
    return scenario


@pytest.fixture(scope="module")
def small() -> AttackScenario:
    whole = demo()
    sites = (replace(whole.sites[0], subjects=3),)
    return replace(whole, bona_fide=2, series=2, silent_share=0.2, sites=sites, builds=whole.builds[1:])


@pytest.fixture(scope="module")
def simulated(small: AttackScenario, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    workspace = open_workspace(tmp_path_factory.mktemp("simulated"))
    (drop,) = simulate_attacks(small, landing=workspace.landing, registry=workspace.registry)
    for stage in LIVENESS_INGEST:
        assert run_stage(workspace, LIVENESS, stage, TableKey(drop=drop)).passed
    return workspace, drop


def presented(workspace: Workspace, drop: str) -> pl.DataFrame:
    return workspace.lake.read(of_modality(PRESENTATIONS, LIVENESS_MODALITY), TableKey(drop=drop))


def rebuilt(scenario: AttackScenario) -> SimulatedAttacks:
    plans = {plan.drop_id: plan for plan in drop_plans(scenario)}
    return SimulatedAttacks(scenario, scenario.seed, people_of(scenario, seed=scenario.seed), plans)


def test_every_subject_is_presented_and_imitated_in_every_species(simulated: tuple[Workspace, str]) -> None:
    rows = presented(*simulated)
    attacks = rows.filter(presented="attack")
    assert rows.filter(presented="bona_fide").height == 3 * 2
    by_species = dict(attacks.group_by("pai_species").len().iter_rows())
    assert by_species == dict.fromkeys(SPECIES, 3 * 2)
    assert attacks["artefact_id"].n_unique() == attacks.height
    assert attacks.filter(pl.col("subject_id") == pl.col("target_subject_id")).is_empty()
    assert attacks["target_subject_id"].n_unique() == 3


def test_a_device_answers_by_the_models_score_or_not_at_all(simulated: tuple[Workspace, str]) -> None:
    rows, threshold = presented(*simulated), simulated[0].registry.entry("pad-1.1").decision_threshold
    silent = rows.filter(response="non_response")
    assert silent.height
    assert silent["pad_score"].null_count() == silent["is_device_live"].null_count() == silent.height
    answered = rows.filter(response="ok")
    assert (answered["is_device_live"] == (answered["pad_score"] >= threshold)).all()
    assert ((answered["pad_score"] * 256).round(9) % 1 == 0).all()


def test_the_same_seed_gives_the_same_attacks(
    small: AttackScenario, simulated: tuple[Workspace, str], tmp_path: Path
) -> None:
    again = open_workspace(tmp_path)
    simulate_attacks(small, landing=again.landing, registry=again.registry)
    found = [
        {info.key: workspace.landing.read_bytes(info.key) for info in workspace.landing.list()}
        for workspace in (again, simulated[0])
    ]
    assert found[0] == found[1]


def test_the_truth_of_attacks_names_species_and_screen(simulated: tuple[Workspace, str]) -> None:
    truth = json.loads(simulated[0].landing.read_bytes("truth-attack-demo.json"))
    (defect,) = truth["defects"]
    assert (truth["drops"], defect["build_id"]) == ([simulated[1]], "pad-1.1")
    assert defect["predicate"] == "pai_species = 'replay_photo' and pai_series = 'oled-460'"


def test_the_builds_differ_in_one_step_of_preprocessing(simulated: tuple[Workspace, str]) -> None:
    before, after = (simulated[0].registry.entry(f"pad-1.{number}") for number in (0, 1))
    assert isinstance(before, LivenessEntry)
    assert isinstance(after, LivenessEntry)
    (one,), (other,) = before.models, after.models
    assert one.sha256 == other.sha256
    assert [step for step in other.preprocessing if step not in one.preprocessing] == [other.preprocessing[1]]
    assert before.decision_threshold == after.decision_threshold


def test_without_a_change_a_presentation_has_the_pixels_of_its_drop(
    small: AttackScenario, simulated: tuple[Workspace, str]
) -> None:
    workspace, drop = simulated
    rows = presented(workspace, drop).with_columns(drop_id=pl.lit(drop))
    frames = read_frames(workspace.lake, workspace.landing, [rows])
    again = rebuilt(small)(drop, rows["event_id"].to_list(), change={})
    for name, rendered in zip(rows["frame"], again.frames, strict=True):
        assert rendered is not None
        assert np.array_equal(frames[drop, name], rendered)
    assert rebuilt(small)(drop, ["another"], change={}).frames == (None,)
    assert rebuilt(small)("another", rows["event_id"].to_list()[:1], change={}).frames == (None,)


def test_another_screen_changes_the_artefact_and_nothing_else(small: AttackScenario) -> None:
    (plan,) = drop_plans(small)
    for item in rebuilt(small).presentations(plan.drop_id).values():
        other = item.changed({"pai_series": "lcd-264"})
        own = item.artefact
        is_other_screen = own is not None and "lcd-264" in SERIES[own.species] and own.series != "lcd-264"
        assert (other != item) is is_other_screen
        assert replace(other, artefact=item.artefact) == item
        assert item.changed({"distance_cm": 40.0}).capture.distance_cm == 40.0


def test_a_condition_that_no_presentation_has_is_a_typed_error(small: AttackScenario) -> None:
    with pytest.raises(ScenarioError, match=r"no condition 'series' to change.*pai_series"):
        rebuilt(small)("any", [], change={"series": "lcd-264"})


def test_drops_of_the_packaged_attacks_are_known_by_their_truth(tmp_path: Path) -> None:
    workspace, scenario = open_workspace(tmp_path), demo()
    write_truth(workspace.landing, scenario, seed=scenario.seed)
    rerender, (plan, *_) = rerenderer(workspace.landing), drop_plans(scenario)
    assert rerender is not None
    name = next(iter(rebuilt(scenario).presentations(plan.drop_id)))
    (frame,) = rerender(plan.drop_id, [name], change={}).frames
    assert frame is not None
    assert frame.shape == (96, 96)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("attacks: 1", "attacks: 0"),
        ("subjects: 44", "subjects: 1"),
        ("seed: 20261123", "seed: -1"),
        ("silent_share: 0.02", "silent_share: 2.0"),
    ],
)
def test_an_impossible_scenario_of_attacks_is_refused(tmp_path: Path, change: str, words: str) -> None:
    text, _ = read_scenario("attack-demo")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(change, words, 1))
    with pytest.raises(ScenarioError, match="expected"):
        load_any_scenario(path)


def ripple(picture: NDArray[np.floating], period_px: float) -> float:
    """The largest amplitude of waves of about that period, as a share of the mean."""
    spectrum = np.abs(np.fft.rfft2(picture - picture.mean())) / picture.size
    across, down = np.fft.rfftfreq(96)[None, :], np.fft.fftfreq(96)[:, None]
    near = np.abs(np.hypot(across, down) - 1 / period_px) < 0.02
    return float(spectrum[near].max() / picture.mean())


def test_pixels_of_a_screen_are_seen_at_their_pitch_and_a_mask_has_none() -> None:
    grey = np.full((96, 96), 0.5, np.float32)
    for series, material in SERIES[REPLAY_PHOTO].items():
        shown = show(grey, material, species=REPLAY_PHOTO, rng=np.random.default_rng(1))
        assert ripple(shown, material.raster_px) > 0.08 * material.raster_depth, series
    for material in SERIES[MASK].values():
        worn = show(grey, replace(material, gloss=0.0), species=MASK, rng=np.random.default_rng(1))
        assert ripple(worn, 2.45) < 0.002


def test_what_beats_on_coarse_screens_does_not_on_the_finest() -> None:
    grey = np.full((96, 96), 0.5, np.float32)
    slow = {
        series: ripple(show(grey, material, species=REPLAY_PHOTO, rng=np.random.default_rng(2)), 25.0)
        for series, material in SERIES[REPLAY_PHOTO].items()
    }
    assert slow["oled-460"] < 0.005 < min(slow["lcd-264"], slow["lcd-110"])
