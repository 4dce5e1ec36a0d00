"""The whole chain: whatever the way and the order of arrival, equal drops give equal results."""

import shutil
from pathlib import Path

import pytest

from cv_quality import stages
from cv_quality.chain import run_pending
from cv_quality.errors import GateFailed
from cv_quality.gates.verdicts import read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.stages import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    deliver,
    fingerprints,
    open_workspace,
    quietly,
    redeliver,
    reports,
    warehouse_tables,
    with_garbage,
    with_shifted_scores,
    without_transactions_of_one_subject,
)


def copy_of(home: Path, target: Path) -> Workspace:
    shutil.copytree(home, target)
    return open_workspace(target)


def stages_run(workspace: Workspace) -> list[str]:
    done = run_pending(workspace, track=quietly)
    assert done.refused == []
    return [f"{result.stage} {result.key}" for result in done.results]


def test_a_corrected_drop_leaves_what_a_lake_that_only_saw_the_correction_holds(
    history: History, tiny_landing: Path, tmp_path: Path
) -> None:
    corrected = copy_of(history.home, tmp_path / "corrected")
    redeliver(corrected, SECOND_DROP, without_transactions_of_one_subject)
    cells = [f"{build}/{SECOND_DROP}" for build in ("face-1.2", "face-1.1")]
    assert stages_run(corrected) == [
        f"parse {SECOND_DROP}",
        f"validate {SECOND_DROP}",
        *(f"{stage} {cell}" for cell in cells for stage in ("infer", "compare", "ledger", "measure")),
        "impostors face-1.2",
        "measure_build face-1.2",
        "marts warehouse",
        "report face-1.2",
    ]
    only = copy_of(history.first_home, tmp_path / "only")
    deliver(tiny_landing, SECOND_DROP, to=only)
    redeliver(only, SECOND_DROP, without_transactions_of_one_subject)
    assert stages_run(only)
    assert fingerprints(corrected) == fingerprints(only)
    assert fingerprints(corrected) != fingerprints(history.orchestra.workspace)
    assert warehouse_tables(corrected) == warehouse_tables(only)
    assert reports(corrected) == reports(only)
    assert stages_run(corrected) == []


def test_rates_are_not_measured_on_pairs_of_older_templates(history: History, tmp_path: Path) -> None:
    workspace = copy_of(history.home, tmp_path / "home")
    redeliver(workspace, SECOND_DROP, without_transactions_of_one_subject)
    stages.parse(workspace, SECOND_DROP)
    stages.validate(workspace, SECOND_DROP)
    for build in ("face-1.2", "face-1.1"):
        for stage in (stages.infer, stages.compare, stages.ledger, stages.count):
            stage(workspace, build, SECOND_DROP)
    with pytest.raises(GateFailed, match="materialize impostor_counts"):
        stages.measure_build(workspace, "face-1.2")
    stages.count_impostors(workspace, "face-1.2")
    assert stages.measure_build(workspace, "face-1.2").passed


def test_a_refused_drop_keeps_no_other_from_being_done(history: History, tiny_landing: Path, tmp_path: Path) -> None:
    workspace = copy_of(history.first_home, tmp_path / "home")
    deliver(tiny_landing, SECOND_DROP, to=workspace)
    redeliver(workspace, SECOND_DROP, with_garbage)
    shutil.copytree(tiny_landing / FIRST_DROP, Path(workspace.settings.landing) / "2026-09-09_broken")
    done = run_pending(workspace, track=quietly)
    assert [f"{result.stage} {result.key}" for result in done.results] == [f"parse {SECOND_DROP}"]
    assert not done.succeeded
    assert len(done.refused) == 1
    assert done.refused[0].startswith("2026-09-09_broken: DropError: ")
    assert run_pending(workspace, track=quietly).results == []


def test_scores_that_a_gate_refused_are_neither_counted_nor_reported_nor_tried_again(
    history: History, tmp_path: Path
) -> None:
    workspace = copy_of(history.home, tmp_path / "home")
    redeliver(workspace, SECOND_DROP, with_shifted_scores)
    done = run_pending(workspace, track=quietly)
    assert [f"{result.stage} {result.key}" for result in done.results if not result.passed] == [
        f"compare face-1.2/{SECOND_DROP}"
    ]
    verdict = read_verdict(workspace.lake, "compare", TableKey(build="face-1.2", drop=SECOND_DROP))
    assert verdict is not None
    assert [item.table for item in verdict.failures] == ["comparisons"]
    assert stages.scores_identity(workspace, "face-1.2") is None
    assert run_pending(workspace, track=quietly).results == []
    assert reports(workspace) == reports(history.orchestra.workspace)
