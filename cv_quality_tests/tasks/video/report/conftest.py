"""The synthetic evaluation of video, its page, and a copy that a test may edit."""

import shutil
from pathlib import Path

import pytest

from cv_quality.lake.lake import Lake
from cv_quality.lake.store import open_store
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.tasks.video.report.page import write_video_report
from cv_quality_tests.tasks.video.report.video_case import SECTIONS_OF_MADE, VideoCase, make_video_case


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> VideoCase:
    """The evaluation, not to be edited."""
    return make_video_case(tmp_path_factory.mktemp("video"))


@pytest.fixture(scope="session")
def written(made: VideoCase) -> tuple[ReportSummary, str]:
    """Its page."""
    summary = write_video_report(made.source(), SECTIONS_OF_MADE, made.root / "page.html")
    return summary, summary.path.read_text()


@pytest.fixture
def case(made: VideoCase, tmp_path: Path) -> VideoCase:
    """A copy of the evaluation."""
    shutil.copytree(made.root / "lake", tmp_path / "lake")
    (tmp_path / "landing").mkdir()
    lake, landing = Lake(open_store(str(tmp_path / "lake"))), open_store(str(tmp_path / "landing"))
    return VideoCase(lake, landing, made.entry, tmp_path)
