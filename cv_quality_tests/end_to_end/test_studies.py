"""The docs' walks of a study and of a release, run as they are written, in an empty folder."""

from pathlib import Path

import pytest

from cv_quality_tests.end_to_end.walking import walk


def test_a_study_is_planned_locked_and_assigned_as_the_docs_say(tmp_path: Path) -> None:
    walk("studies.md", ["The protocol", "Plan", "Lock", "Assign"], tmp_path)
    page = (tmp_path / "empty" / "sheet.html").read_text()
    assert all(f"p0{number}" in page for number in range(1, 5))


@pytest.mark.nightly
def test_a_study_of_the_simulated_fleet_ends_in_the_verdict_that_the_docs_quote(tmp_path: Path) -> None:
    walk("studies.md", ["On a fleet, from lock to verdict"], tmp_path)
    assert "Fail" in (tmp_path / "empty" / "verdict.html").read_text()


@pytest.mark.nightly
def test_builds_of_the_demo_are_compared_and_released_as_the_docs_say(tmp_path: Path) -> None:
    walk("releases.md", ["The difference, and what it rests on", "The release policy"], tmp_path)
    assert (tmp_path / "empty" / "fleet" / "reports" / "face-1.2.html").exists()
