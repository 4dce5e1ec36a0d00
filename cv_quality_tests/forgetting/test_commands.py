"""The commands: what is told of a forgetting is the same for anybody, and an export holds one person alone."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.errors import ForgettingError
from cv_quality.forgetting.export import SOMEBODY, export_subject
from cv_quality.workspace import Workspace
from cv_quality_tests.forgetting.holding import DROP, OTHER, SUBJECT


def _cvq(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner(env={"CVQ_HOME": str(workspace.settings.home), "CVQ_THREADS": "1"}).invoke(main, arguments)


def _told(result: Result, workspace: Workspace) -> list[str]:
    """What was said, without the name of the receipt."""
    folder = str(workspace.settings.forgetting)
    return [" ".join(word for word in line.split() if folder not in word) for line in result.stdout.splitlines()]


def test_what_is_told_does_not_tell_whether_there_was_such_a_subject(held: Workspace) -> None:
    real, none = (_cvq(held, "forget", subject) for subject in (SUBJECT, "nobody-0001"))
    assert (real.exit_code, none.exit_code) == (0, 0)
    assert _told(real, held) == _told(none, held)


def test_a_look_changes_nothing_and_its_exit_code_tells_whether_anything_is_held(held: Workspace) -> None:
    looked = _cvq(held, "forget", SUBJECT, "--scan-only")
    assert looked.exit_code == 1
    assert f"lake/raw_subjects/{DROP}.parquet" in looked.stdout
    assert _cvq(held, "forget", "nobody-0001", "--scan-only").exit_code == 0
    assert not held.settings.forgetting.exists()


def test_a_receipt_is_checked_by_a_command_and_refused_once_it_was_changed(held: Workspace) -> None:
    receipt = Path(json.loads(_cvq(held, "forget", SUBJECT, "--json").stdout)["receipt"])
    assert _cvq(held, "verify-receipt", str(receipt)).exit_code == 0
    receipt.write_text(receipt.read_text().replace("rows_of_logs", "rows_of_login"))
    changed = _cvq(held, "verify-receipt", str(receipt))
    assert changed.exit_code == 1
    assert "does not hold" in changed.stderr


def test_an_export_holds_the_rows_and_pictures_of_one_subject_alone(held: Workspace, tmp_path: Path) -> None:
    counts = export_subject(held, SUBJECT, tmp_path / "out")
    assert (counts["events"], counts["pictures"]) == (4, 3)
    assert counts["raw_attempts"] == 4
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(OTHER.encode() in path.read_bytes() for path in files)
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    attempts = pl.read_ndjson(tmp_path / "out" / "tables" / "raw_attempts" / f"{DROP}.jsonl")
    assert set(attempts["subject_id"]) == {SUBJECT, SOMEBODY}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["about.json", "events", "pictures", "tables"]


def test_an_export_never_mixes_with_what_lies_there(held: Workspace, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ForgettingError, match="name a new folder"):
        export_subject(held, SUBJECT, tmp_path / "out")
