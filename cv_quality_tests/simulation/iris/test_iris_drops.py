"""Simulated drops of irises: whole, the same again, both eyes of each moment, and their builds' entries."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cv_quality.drops.tables import VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.errors import ScenarioError
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.lake.lake import TableKey
from cv_quality.modality import of_modality
from cv_quality.simulation.iris.rerender import SimulatedEyes
from cv_quality.simulation.iris.scenario import IrisScenario
from cv_quality.simulation.iris.simulate import simulate_irises
from cv_quality.simulation.load import load_any_scenario
from cv_quality.simulation.rerender import rerenderer
from cv_quality.simulation.scenario_files import read_scenario
from cv_quality.simulation.studies import drop_plans, write_truth
from cv_quality.tasks.verification.explained_pairs import read_frames
from cv_quality.tasks.verification.modalities.iris import IRIS
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace, take_in

DEMO, _ = read_scenario("iris-demo")


@pytest.fixture(scope="module")
def small() -> IrisScenario:
    scenario = load_any_scenario("iris-demo")
    assert isinstance(scenario, IrisScenario)
    return replace(scenario, moments=2, sites=(replace(scenario.sites[0], subjects=4),), builds=scenario.builds[1:])


@pytest.fixture(scope="module")
def simulated(small: IrisScenario, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    workspace = open_workspace(tmp_path_factory.mktemp("simulated"))
    (drop,) = simulate_irises(small, landing=workspace.landing, registry=workspace.registry)
    take_in(workspace, drop)
    return workspace, drop


def test_every_moment_has_both_eyes_of_its_own_reference(simulated: tuple[Workspace, str]) -> None:
    workspace, drop = simulated
    enrols, attempts = (
        workspace.lake.read(of_modality(table, IRIS), TableKey(drop=drop))
        for table in (VALIDATED_ENROLS, VALIDATED_ATTEMPTS)
    )
    assert enrols.height == 4 * 2
    assert attempts.height == 4 * 2 * 2
    eyes = attempts.group_by("transaction_id").agg(pl.col("eye").sort())["eye"].to_list()
    assert eyes == [["left", "right"]] * 8
    claimed = attempts.join(enrols.select("reference_id", own="eye"), on="reference_id")
    assert claimed.height == attempts.height
    assert claimed["eye"].equals(claimed["own"], check_names=False)


def test_the_same_seed_gives_the_same_bytes(
    small: IrisScenario, simulated: tuple[Workspace, str], tmp_path: Path
) -> None:
    again = open_workspace(tmp_path)
    simulate_irises(small, landing=again.landing, registry=again.registry)
    assert contents(again) == contents(simulated[0])


def test_the_truth_lies_beside_the_drops(simulated: tuple[Workspace, str]) -> None:
    workspace, drop = simulated
    truth = json.loads(workspace.landing.read_bytes("truth-iris-demo.json"))
    assert truth["drops"] == [drop]
    assert [defect["build_id"] for defect in truth["defects"]] == ["iris-1.1"]


def test_the_builds_differ_in_nothing_but_the_planted_mask(simulated: tuple[Workspace, str]) -> None:
    before, after = (simulated[0].registry.entry(f"iris-1.{number}") for number in (0, 1))
    assert isinstance(before, IrisEntry)
    assert isinstance(after, IrisEntry)
    assert (before.mask.lids_up_to_deg, after.mask.lids_up_to_deg) == (90.0, 19.0)
    same = {"build_id": "", "follows": None, "sha256": "", "mask": before.mask}
    assert replace(before, **same) == replace(after, **same)  # type: ignore[arg-type]


def test_without_a_change_an_eye_is_rendered_as_its_drop_has_it(
    small: IrisScenario, simulated: tuple[Workspace, str]
) -> None:
    workspace, drop = simulated
    rows = workspace.lake.read(of_modality(VALIDATED_ATTEMPTS, IRIS), TableKey(drop=drop)).rename(
        {"event_id": "attempt_id"}
    )
    rows = rows.with_columns(drop_id=pl.lit(drop))
    frames = read_frames(workspace.lake, workspace.landing, [rows])
    again = eyes_of(small)(drop, rows["attempt_id"].to_list(), change={})
    assert rows.height == 16
    for (name, frame), rendered in zip(rows.select("frame", "drop_id").iter_rows(), again.frames, strict=True):
        assert rendered is not None
        assert np.array_equal(frames[frame, name], rendered)
    assert eyes_of(small)(drop, ["attempt-of-another"], change={}).frames == (None,)
    assert eyes_of(small)("another", rows["attempt_id"].to_list()[:1], change={}).frames == (None,)


def test_a_changed_condition_moves_what_hangs_on_it_and_nothing_else(small: IrisScenario) -> None:
    (plan,) = drop_plans(small)
    for look in eyes_of(small).looks(plan.drop_id).values():
        state, own = look.moment.states[look.side], look.enrolled
        assert look.changed({}) == state
        alike = look.changed({"dilation_delta": 0.0})
        assert alike.pupil_ratio == pytest.approx(own.pupil_ratio)
        assert replace(alike, pupil_noise=state.pupil_noise) == state
        ahead = look.changed({"gaze_deg": 0.0})
        assert ahead.opening >= state.opening
        assert replace(ahead, gaze_deg=state.gaze_deg, opening=state.opening) == state
        worn = look.changed({"spectacles": "none", "contact_lens": "none", "illuminance_lux": 200.0})
        assert (worn.spectacles, worn.contact_lens, worn.illuminance_lux) == ("none", "none", 200.0)


def test_a_condition_that_no_eye_has_is_a_typed_error(small: IrisScenario) -> None:
    with pytest.raises(ScenarioError, match=r"no condition 'gaze' to change.*gaze_deg"):
        eyes_of(small)("any", [], change={"gaze": 0.0})


def test_drops_of_the_packaged_scenario_are_known_by_their_truth(tmp_path: Path) -> None:
    workspace, scenario = open_workspace(tmp_path), load_any_scenario("iris-demo")
    assert isinstance(scenario, IrisScenario)
    assert rerenderer(workspace.landing) is None
    write_truth(workspace.landing, scenario, seed=scenario.seed)
    rerender, (plan, *_) = rerenderer(workspace.landing), drop_plans(scenario)
    assert rerender is not None
    (frame,) = rerender(plan.drop_id, ["attempt-lab-a-000-1-left"], change={}).frames
    assert frame is not None
    assert frame.shape == (240, 320)


def eyes_of(scenario: IrisScenario) -> SimulatedEyes:
    return SimulatedEyes(scenario, scenario.seed, {plan.drop_id: plan for plan in drop_plans(scenario)})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("subjects: 40", "subjects: 1", "lab-a: subjects: expected at least 2, found 1"),
        ("moments: 5", "moments: 0", "at least one round and one moment"),
        ("off_axis_share: 0.5", "off_axis_share: 1.5", "expected a share from 0 to 1"),
        ("heavy_lid_share", "heavy_lids_share", "unknown key 'heavy_lids_share'; did you mean heavy_lid_share"),
    ],
)
def test_a_scenario_that_does_not_fit_teaches(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in DEMO
    file = tmp_path / "mine.yaml"
    file.write_text(DEMO.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ScenarioError, match=message):
        load_any_scenario(file)


def contents(workspace: Workspace) -> Mapping[str, bytes]:
    return {info.key: workspace.landing.read_bytes(info.key) for info in workspace.landing.list()}
