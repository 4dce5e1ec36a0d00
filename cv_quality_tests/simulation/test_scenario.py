"""Scenarios: the packaged ones load, and whatever does not fit is refused with the key and the near name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from cv_quality.errors import ScenarioError
from cv_quality.simulation.scenario import load_scenario, parse_scenario
from cv_quality.simulation.scenario_files import packaged_scenarios
from cv_quality.simulation.studies import drop_plans

TINY = (resources.files("cv_quality.simulation") / "scenarios" / "tiny.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["demo", "tiny"])
def test_packaged_scenarios_load_and_plant_a_defect_in_one_of_their_builds(name: str) -> None:
    scenario = load_scenario(name)
    assert name in packaged_scenarios()
    assert [(defect.build_id, defect.predicate) for defect in scenario.defects] == [
        ("face-1.2", "illuminance_lux < 10")
    ]
    ids = [plan.drop_id for plan in drop_plans(scenario)]
    assert len(set(ids)) == len(ids) == len(scenario.builds) * len(scenario.sites) * scenario.rounds


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_attempts: 3", "max_atempts: 3", "unknown key 'max_atempts'; did you mean max_attempts"),
        ("max_attempts: 3", "", "missing key 'max_attempts'"),
        ("max_attempts: 3", "max_attempts: 0", "max_attempts: expected at least 1, found 0"),
        ("max_attempts: 3", "max_attempts: many", "max_attempts: expected int, found 'many'"),
        ("consent_share: 0.7", "consent_share: 70", "consent_share: expected a share from 0 to 1, found 70"),
        ("aurora-2: 0.5", "aurora-9: 0.5", "unknown device model 'aurora-9'; did you mean aurora-"),
        ("subjects: 8", "subjcts: 8", r"sites\[0\]: unknown key 'subjcts'; did you mean subjects"),
        ("subjects: 8", "subjects: true", "subjects: expected int, found True"),
        ("- build_id: face-1.2", "- build_id: face-1.3", "no build 'face-1.3'; did you mean"),
        ("name: tiny", "name: ../tiny", "expected a name of"),
        ("starts_on: 2026-08-31", "starts_on: soon", "starts_on: expected date, found 'soon'"),
        ("name: tiny", "name: [", "not YAML"),
    ],
)
def test_a_scenario_that_does_not_fit_teaches(old: str, new: str, message: str) -> None:
    assert old in TINY
    with pytest.raises(ScenarioError, match=message):
        parse_scenario(TINY.replace(old, new, 1), where="mine.yaml")


def test_an_unknown_scenario_names_the_near_one() -> None:
    with pytest.raises(ScenarioError, match="did you mean tiny"):
        load_scenario("tinny")


def test_a_scenario_file_of_ones_own_loads(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TINY.replace("name: tiny", "name: mine"), encoding="utf-8")
    assert load_scenario(file).name == "mine"
