"""Simulated drops of irises: whole, the same again, both eyes of each moment, and their builds' entries."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cv_quality.drops.tables import VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.errors import ScenarioError
from cv_quality.inference.iris.entry import IrisEntry
from cv_quality.lake.lake import TableKey
from cv_quality.modality import of_modality
from cv_quality.simulation.iris.scenario import IrisScenario
from cv_quality.simulation.iris.simulate import simulate_irises
from cv_quality.simulation.load import load_any_scenario
from cv_quality.simulation.scenario_files import read_scenario
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("subjects: 40", "subjects: 1", "lab-a: subjects: expected at least 2, found 1"),
        ("moments: 5", "moments: 0", "at least one round and one moment"),
        ("off_axis_share: 0.35", "off_axis_share: 1.35", "expected a share from 0 to 1"),
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
