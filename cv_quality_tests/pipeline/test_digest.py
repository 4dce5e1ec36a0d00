"""The week's digest on a real deployment: what came and what became of it, written every Monday."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg

from cv_quality.definitions import build_definitions
from cv_quality.digest import markdown, read_digest
from cv_quality.pipeline.digest import FOLDER, LAST_DAY_TAG, NAME, digest_schedule
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import FIRST_DROP, SECOND_DROP, open_workspace


def test_a_digest_holds_what_belongs_to_its_days(history: History) -> None:
    workspace = open_workspace(history.home)
    whole = read_digest(workspace, date(2026, 1, 1), date(2026, 12, 31))
    assert [line.split(":")[0] for line in whole.drops] == [FIRST_DROP, SECOND_DROP]
    assert [line.split(" ")[0] for line in whole.verdicts] == ["face-1.1", "face-1.2"]
    assert "with face-1.2" in whole.changes[0]
    nothing = read_digest(workspace, date(2025, 1, 1), date(2025, 1, 7))
    assert (nothing.drops, nothing.verdicts, nothing.changes, nothing.alarms) == ((), (), (), ())
    assert markdown(nothing).count("- nothing") >= 4


def test_the_schedule_asks_for_the_week_before_and_the_run_writes_it(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.home, tmp_path / "home")
    monday = datetime(2026, 9, 7, 6, tzinfo=UTC)
    definitions = build_definitions(open_workspace(tmp_path / "home").settings)
    with dg.DagsterInstance.ephemeral() as instance:
        asked = digest_schedule(dg.build_schedule_context(instance, scheduled_execution_time=monday))
        assert isinstance(asked, dg.RunRequest)
        assert dict(asked.tags)[LAST_DAY_TAG] == "2026-09-06"
        done = definitions.resolve_job_def(NAME).execute_in_process(instance=instance, tags=dict(asked.tags))
    assert done.success
    text = (tmp_path / "home" / "published" / FOLDER / "2026-09-06.md").read_text()
    assert text.startswith("# 2026-08-31 to 2026-09-06")
    assert "face-1.2" in text
