"""A deployment that forgot a subject of all its drops is evaluated again without it, every gate passed."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cv_quality.drops.tables import SUBJECTS
from cv_quality.forgetting.forget import forget, look_for
from cv_quality.freshness import Freshness
from cv_quality.lake.lake import TableKey
from cv_quality.planning import due_now, warehouse_due
from cv_quality.runner import run_due
from cv_quality.stage import JOBS
from cv_quality.tasks import TASKS
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import FIRST_DROP, SECOND_DROP, open_workspace, quietly


@pytest.mark.nightly
def test_what_is_evaluated_again_is_whole_and_never_names_the_subject(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.home, tmp_path / "home")
    workspace = open_workspace(tmp_path / "home")
    people = {drop: workspace.lake.read(SUBJECTS, TableKey(drop=drop)).height for drop in (FIRST_DROP, SECOND_DROP)}
    subject = str(workspace.lake.read(SUBJECTS, TableKey(drop=SECOND_DROP))["subject_id"].max())
    assert len(look_for(workspace, subject).found) > 20
    forget(workspace, subject, now=datetime(2026, 11, 27, tzinfo=UTC))
    assert look_for(workspace, subject).found == ()
    assert run_due(workspace, track=quietly).succeeded
    looks = [Freshness(workspace, task) for task in TASKS]
    assert [work for look in looks for job in JOBS for work in due_now(look, job)] == []
    assert warehouse_due(looks) is None
    assert look_for(workspace, subject).found == ()
    left = {drop: workspace.lake.read(SUBJECTS, TableKey(drop=drop)).height for drop in (FIRST_DROP, SECOND_DROP)}
    assert left == {drop: n - 1 for drop, n in people.items()}
    assert workspace.report_path("face-1.2").is_file()
