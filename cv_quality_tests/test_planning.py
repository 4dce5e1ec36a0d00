"""Planning: what is due is exactly what was never done, or stands on something that came later."""

import shutil
from pathlib import Path

import pytest

from cv_quality import planning, stages
from cv_quality.errors import GateFailed
from cv_quality.gates.verdicts import cell_gates, drop_gates, object_key, state_of
from cv_quality.lake.lake import TableKey
from cv_quality.planning import Work
from cv_quality.stages import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    deliver,
    open_workspace,
    redeliver,
    without_transactions_of_one_subject,
)


@pytest.fixture
def workspace(history: History, tmp_path: Path) -> Workspace:
    """A copy of the deployment in which both drops are done."""
    shutil.copytree(history.home, tmp_path / "home")
    return open_workspace(tmp_path / "home")


def keys(work: list[Work]) -> list[str]:
    return [str(item.key) for item in work]


def test_an_empty_deployment_has_nothing_to_do(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "home")
    plans = (planning.drops_to_ingest, planning.cells_to_score, planning.builds_to_report)
    assert [plan(workspace) for plan in plans] == [[], [], []]


def test_a_done_deployment_has_nothing_to_do(workspace: Workspace) -> None:
    plans = (planning.drops_to_ingest, planning.cells_to_score, planning.builds_to_report)
    assert [plan(workspace) for plan in plans] == [[], [], []]


def test_a_new_drop_is_due_and_nothing_else(history: History, tiny_landing: Path, tmp_path: Path) -> None:
    shutil.copytree(history.first_home, tmp_path / "home")
    workspace = open_workspace(tmp_path / "home")
    deliver(tiny_landing, SECOND_DROP, to=workspace)
    assert keys(planning.drops_to_ingest(workspace)) == [SECOND_DROP]
    assert planning.cells_to_score(workspace) == []
    assert planning.builds_to_report(workspace) == []


def test_a_corrected_drop_voids_every_verdict_that_stood_on_it_and_no_other(workspace: Workspace) -> None:
    redeliver(workspace, SECOND_DROP, without_transactions_of_one_subject)
    assert keys(planning.drops_to_ingest(workspace)) == [SECOND_DROP]
    stages.parse(workspace, SECOND_DROP)
    assert state_of(workspace.lake, drop_gates(SECOND_DROP)) == "due"
    stages.validate(workspace, SECOND_DROP)
    assert keys(planning.cells_to_score(workspace)) == [f"face-1.2/{SECOND_DROP}", f"face-1.1/{SECOND_DROP}"]
    assert planning.builds_to_report(workspace) == []
    assert state_of(workspace.lake, cell_gates("face-1.1", FIRST_DROP)) == "passed"
    with pytest.raises(GateFailed, match="'infer' judged other data"):
        stages.compare(workspace, "face-1.2", SECOND_DROP)
    with pytest.raises(GateFailed, match="'measure' judged other data"):
        stages.measure_build(workspace, "face-1.2")
    with pytest.raises(GateFailed, match=r"'measure_build' judged face-1\.2 on other scores"):
        stages.report(workspace, "face-1.2")


def test_a_build_is_due_again_when_its_report_or_one_of_its_cells_is_gone(workspace: Workspace) -> None:
    stages.report_path(workspace, "face-1.2").unlink()
    assert keys(planning.builds_to_report(workspace)) == ["face-1.2"]
    workspace.lake.store.delete(object_key("compare", TableKey(build="face-1.1", drop=SECOND_DROP)))
    assert keys(planning.builds_to_report(workspace)) == []
    assert keys(planning.cells_to_score(workspace)) == [f"face-1.1/{SECOND_DROP}"]


def test_drops_of_a_build_that_the_registry_does_not_know_are_logged_and_keep_no_other_from_its_turn(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    registry = tmp_path / "models"
    shutil.copytree(workspace.settings.registry, registry)
    (registry / "face-1.2.yaml").unlink()
    other = open_workspace(workspace.settings.home, registry=registry)
    stages.report_path(workspace, "face-1.1").unlink()
    assert keys(planning.cells_to_score(other)) == []
    assert keys(planning.builds_to_report(other)) == ["face-1.1"]
    assert "face-1.2" in caplog.text


def test_a_folder_that_is_no_drop_is_never_due(tiny_landing: Path, tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "home")
    landing = Path(workspace.settings.landing)
    shutil.copytree(tiny_landing / FIRST_DROP, landing / "not a drop id")
    (landing / "empty").mkdir()
    assert planning.drops_to_ingest(workspace) == []
