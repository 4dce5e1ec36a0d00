"""The docs' walk of a study from its protocol on, run as it is written, in an empty folder."""

from pathlib import Path

from cv_quality_tests.end_to_end.walking import walk


def test_a_study_is_planned_locked_and_assigned_as_the_docs_say(tmp_path: Path) -> None:
    walk("studies.md", ["The protocol", "Plan", "Lock", "Assign"], tmp_path)
    page = (tmp_path / "empty" / "sheet.html").read_text()
    assert all(f"p0{number}" in page for number in range(1, 5))
