"""The docs' walk from five kinds of foreign data to their reports, run as it is written, in an empty folder."""

from pathlib import Path

import pytest

from cv_quality_tests.end_to_end.walking import walk


@pytest.mark.parametrize(
    ("title", "report", "told"),
    [
        ("A score file", "trials.html", "4.01 % to 4.88 %"),
        ("Device logs as CSV", "attempts.html", "firmware is 2.1 and lux &lt;= 20.6"),
        ("Device logs as CSV", "fleet/reports/face-1.1.html", "As recorded on the devices"),
        ("Iris codes", "codes.html", "3.33 % to 9.92 %"),
        ("Clips with their truth", "clips.html", "5 clips worse, 1 better"),
        pytest.param(
            "A folder of images",
            "study/reports/face-1.2.html",
            "illuminance_lux &lt;= 7.1",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_each_kind_of_data_becomes_a_report(tmp_path: Path, title: str, report: str, told: str) -> None:
    walk("your-data.md", [title], tmp_path)
    assert told in (tmp_path / "empty" / report).read_text()
