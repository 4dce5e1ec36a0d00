"""The documentation site, built as `make docs` builds it: strictly, and without asking anybody."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cv_quality.cli import main

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a page that nothing leads to, a lost link or an anchor that is none ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_site_asks_nothing_of_the_network(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|link(?! rel=\"canonical\"))\b[^>]*\b(?:src|href)=\"https?://")
    assert [page.name for page in site.rglob("*.html") if loaded.search(page.read_text())] == []


def test_site_holds_the_help_of_every_command(site: Path) -> None:
    text = (site / "reference" / "cli.html").read_text()
    assert [name for name in main.commands if f">cvq {name}<" not in text] == []


def test_doctests_of_the_reference_are_shown_as_code(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text()
    assert "cv_quality.metrics.fnmr_at_fmr" in text
    assert "&gt;&gt;&gt;" in text
    assert "<p>&gt;&gt;&gt;" not in text
    assert not re.search(r"<blockquote>\s*<blockquote>", text)
