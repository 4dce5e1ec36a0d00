"""The page of a small iris build: claim, closest strangers, and one eye that was enrolled under two subjects."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cv_quality.lake.lake import TableKey
from cv_quality.simulation.iris import simulate
from cv_quality.simulation.iris.scenario import IrisScenario
from cv_quality.simulation.iris.wearers import Wearer, draw_wearers
from cv_quality.simulation.load import load_any_scenario
from cv_quality.tasks.verification.tables import CLOSEST_IMPOSTORS, INSTANCE_DOUBTS
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import do, open_workspace, score, take_in

BUILD, TWICE = "iris-1.0", {"lab-a-002", "lab-a-005"}


def with_one_eye_twice(*args: object, **named: object) -> Sequence[Wearer]:
    """The wearers of a site, two of whom have the same left eye."""
    wearers = draw_wearers(*args, **named)  # type: ignore[arg-type]
    wearers[5] = replace(wearers[5], eye_seeds=(wearers[2].eye_seeds[0], wearers[5].eye_seeds[1]))
    return wearers


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    found, scenario = open_workspace(tmp_path_factory.mktemp("iris")), load_any_scenario("iris-demo")
    assert isinstance(scenario, IrisScenario)
    site = replace(scenario.sites[0], subjects=8, off_axis_share=0.0, dim_share=0.0)
    small = replace(scenario, moments=2, sites=(site,), builds=scenario.builds[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "draw_wearers", with_one_eye_twice)
        (drop,) = simulate.simulate_irises(small, landing=found.landing, registry=found.registry)
    take_in(found, drop)
    score(found, BUILD, drop)
    do(found, "impostors", build=BUILD)
    do(
        found,
        "measure_build",
        "measure_instances",
        "release",
        "slices",
        "attribution",
        "clusters",
        "explanations",
        "report",
        build=BUILD,
    )
    return found


@pytest.fixture(scope="module")
def page(workspace: Workspace) -> str:
    return Path(workspace.report_path(BUILD)).read_text(encoding="utf-8")


def test_one_eye_under_two_subjects_is_doubted_and_is_the_closest(workspace: Workspace, page: str) -> None:
    doubts, closest = (
        workspace.lake.read(table, TableKey(build=BUILD)) for table in (INSTANCE_DOUBTS, CLOSEST_IMPOSTORS)
    )
    assert set(doubts["kind"]) == {"other_subject"}
    assert {*doubts["subject_id"], *doubts["reference_subject_id"]} == TWICE
    assert {*doubts["instance"], *doubts["reference_instance"]} == {"left"}
    assert closest["score"][: doubts.height].to_list() == doubts["score"].to_list()
    assert "one eye under two subjects" in page
    assert page.count("ref-lab-a-002-left") >= 2


def test_the_histogram_says_what_its_distances_rest_on(page: str) -> None:
    assert "Score: the smallest masked Hamming distance of 2,592 bits over 15 shifts" in page
    assert re.search(r"'impostor, [\d,]+ degrees of freedom'", page)
