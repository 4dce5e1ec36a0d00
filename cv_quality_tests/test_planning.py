"""Planning: what is due is exactly what was never done, or stands on something that came later."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cv_quality.drops.tables import SUBJECTS
from cv_quality.errors import GateFailed, SettingsError
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import object_key
from cv_quality.lake.lake import TableKey
from cv_quality.stage import JOBS
from cv_quality.tasks.root_causes.tables import SLICE_SEARCHES
from cv_quality.tasks.verification.tables import COMPARISONS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    deliver,
    do,
    due_keys,
    open_workspace,
    redeliver,
    without_transactions_of_one_subject,
)


@pytest.fixture
def workspace(history: History, tmp_path: Path) -> Workspace:
    """A copy of the deployment in which both drops are done."""
    shutil.copytree(history.home, tmp_path / "home")
    return open_workspace(tmp_path / "home")


INGEST, SCORE, REPORT, MAPS = JOBS


def state(workspace: Workspace, phase: str, key: TableKey) -> str:
    task = VERIFICATION
    return Freshness(workspace, task).furthest(task.of_phase(phase), key)  # type: ignore[arg-type]


def test_an_empty_deployment_has_nothing_to_do(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "home")
    assert [due_keys(workspace, job) for job in JOBS] == [[]] * len(JOBS)


def test_a_done_deployment_has_nothing_to_do(workspace: Workspace) -> None:
    assert [due_keys(workspace, job) for job in JOBS] == [[]] * len(JOBS)


def test_a_new_drop_is_due_and_nothing_else(history: History, tiny_landing: Path, tmp_path: Path) -> None:
    shutil.copytree(history.first_home, tmp_path / "home")
    workspace = open_workspace(tmp_path / "home")
    deliver(tiny_landing, SECOND_DROP, to=workspace)
    assert due_keys(workspace, INGEST) == [SECOND_DROP]
    assert due_keys(workspace, SCORE) == []
    assert due_keys(workspace, REPORT) == []


def test_a_corrected_drop_voids_every_verdict_that_stood_on_it_and_no_other(workspace: Workspace) -> None:
    redeliver(workspace, SECOND_DROP, without_transactions_of_one_subject)
    assert due_keys(workspace, INGEST) == [SECOND_DROP]
    do(workspace, "parse", drop=SECOND_DROP)
    assert state(workspace, "ingest", TableKey(drop=SECOND_DROP)) == "due"
    do(workspace, "validate", drop=SECOND_DROP)
    assert due_keys(workspace, SCORE) == [f"face-1.2/{SECOND_DROP}", f"face-1.1/{SECOND_DROP}"]
    assert due_keys(workspace, REPORT) == []
    assert state(workspace, "score", TableKey(build="face-1.1", drop=FIRST_DROP)) == "passed"
    for stage, key in (
        ("compare", {"build": "face-1.2", "drop": SECOND_DROP}),
        ("measure_build", {"build": "face-1.2"}),
        ("report", {"build": "face-1.2"}),
    ):
        with pytest.raises(GateFailed, match=f"stage 'infer' is due for face-1.2/{SECOND_DROP}"):
            do(workspace, stage, **key)


def test_a_build_is_due_again_when_its_report_or_one_of_its_cells_is_gone(workspace: Workspace) -> None:
    workspace.report_path("face-1.2").unlink()
    assert due_keys(workspace, REPORT) == ["face-1.2"]
    workspace.lake.store.delete(object_key("compare", TableKey(build="face-1.1", drop=SECOND_DROP)))
    assert due_keys(workspace, REPORT) == []
    assert due_keys(workspace, SCORE) == [f"face-1.1/{SECOND_DROP}"]


def test_a_no_in_a_drop_of_another_build_makes_the_page_due(workspace: Workspace) -> None:
    def said_elsewhere(subject: str, *, agrees: bool) -> list[str]:
        rows = workspace.lake.read(SUBJECTS, TableKey(drop=SECOND_DROP)).filter(pl.col("subject_id") == subject)
        workspace.lake.write(SUBJECTS, TableKey(drop=FIRST_DROP + "-b"), rows.with_columns(has_image_consent=agrees))
        return due_keys(workspace, REPORT)

    subjects = workspace.lake.read(SUBJECTS, TableKey(drop=SECOND_DROP))
    agreed = subjects.filter("has_image_consent")["subject_id"]
    assert said_elsewhere(agreed[0], agrees=True) == []
    assert said_elsewhere(agreed[0], agrees=False) == ["face-1.1", "face-1.2"]
    do(workspace, "report", build="face-1.2")
    assert due_keys(workspace, REPORT) == ["face-1.1"]


def test_a_page_does_without_its_maps_and_is_due_again_when_they_are_there(workspace: Workspace) -> None:
    build, page = TableKey(build="face-1.2"), workspace.report_path("face-1.2")
    with_maps = page.read_bytes()
    workspace.lake.store.delete(object_key("explanations", build))
    for table in ("explanations", "counterfactuals"):
        workspace.lake.store.delete(f"{table}/face-1.2.parquet")
    assert due_keys(workspace, REPORT) == ["face-1.2"]
    assert due_keys(workspace, MAPS) == [], "a page comes before its maps"
    do(workspace, "report", build="face-1.2")
    assert state(workspace, "report", build) == "passed"
    assert due_keys(workspace, REPORT) == []
    assert due_keys(workspace, MAPS) == ["face-1.2"]
    do(workspace, "explanations", build="face-1.2")
    assert state(workspace, "report", build) == "due"
    do(workspace, "report", build="face-1.2")
    assert due_keys(workspace, REPORT) == []
    assert page.read_bytes() == with_maps


def test_another_number_of_explained_pairs_makes_the_maps_due(workspace: Workspace) -> None:
    settings = replace(workspace.settings, explained_pairs=0)
    assert state(replace(workspace, settings=settings), "maps", TableKey(build="face-1.2")) == "due"


def test_other_excluded_conditions_make_what_was_found_due(workspace: Workspace) -> None:
    settings, build = replace(workspace.settings, excluded_conditions=("eyewear",)), TableKey(build="face-1.2")
    other = replace(workspace, settings=settings)
    task = VERIFICATION
    freshness, stages = Freshness(other, task), task.of_phase("measure", "explain")
    assert [stage.name for stage in stages if freshness.state(stage, build) == "due"] == ["slices"]
    do(other, "slices", build="face-1.2")
    row = other.lake.read(SLICE_SEARCHES, build).row(0, named=True)
    assert json.loads(row["skipped_json"])["eyewear"] == "left out by request"
    assert state(workspace, "explain", build) == "due"


def test_an_excluded_condition_that_there_is_not_is_named_with_the_near_one(workspace: Workspace) -> None:
    other = replace(workspace, settings=replace(workspace.settings, excluded_conditions=("eyewaer",)))
    with pytest.raises(SettingsError, match="'eyewaer', which is no condition: did you mean eyewear"):
        do(other, "slices", build="face-1.2")


def test_a_build_waits_until_its_cells_are_counted_not_only_inferred(workspace: Workspace) -> None:
    for gate in ("compare", "measure"):
        workspace.lake.store.delete(object_key(gate, TableKey(build="face-1.2", drop=SECOND_DROP)))
    workspace.lake.store.delete(object_key("impostors", TableKey(build="face-1.2")))
    assert due_keys(workspace, REPORT) == []


def test_a_lake_of_before_keeps_what_still_has_its_columns_and_makes_the_rest_due(workspace: Workspace) -> None:
    lake = workspace.lake
    for info in lake.store.list("verdicts/"):
        verdict = json.loads(lake.store.read_bytes(info.key))
        of_a_drop = "site-a" in verdict["key"]
        if verdict["gate"] != "parse":
            before = {"delivery": "" if of_a_drop else f"{verdict['key']}@0123456789abcdef"}
            lake.store.write_bytes(info.key, json.dumps(verdict | before).encode())
    assert due_keys(workspace, INGEST) == due_keys(workspace, SCORE) == []
    cell = TableKey(build="face-1.2", drop=SECOND_DROP)
    path = lake.path(COMPARISONS, cell)
    pl.read_parquet(path).drop("is_parity_broken").write_parquet(path)
    assert state(workspace, "ingest", TableKey(drop=SECOND_DROP)) == "passed"
    assert due_keys(workspace, SCORE) == [str(cell)]
    do(workspace, "compare", "measure", build=cell.build, drop=cell.drop)
    assert due_keys(workspace, SCORE) == []
    assert due_keys(workspace, REPORT) == ["face-1.1", "face-1.2"]


def test_drops_of_an_unknown_build_are_logged_and_keep_no_other_waiting(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    registry = tmp_path / "models"
    shutil.copytree(workspace.settings.registry, registry)
    (registry / "face-1.2.yaml").unlink()
    other = open_workspace(workspace.settings.home, registry=registry)
    workspace.report_path("face-1.1").unlink()
    assert due_keys(other, SCORE) == []
    assert due_keys(other, REPORT) == ["face-1.1"]
    assert "face-1.2" in caplog.text


def test_a_folder_that_is_no_drop_is_never_due(tiny_landing: Path, tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "home")
    landing = Path(workspace.settings.landing)
    shutil.copytree(tiny_landing / FIRST_DROP, landing / "not a drop id")
    (landing / "empty").mkdir()
    assert due_keys(workspace, INGEST) == []
