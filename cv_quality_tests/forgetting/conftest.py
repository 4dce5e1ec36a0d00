"""A deployment that holds a subject, made once; a copy of it for each test."""

import shutil
from pathlib import Path

import pytest

from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace
from cv_quality_tests.forgetting.holding import make_home


@pytest.fixture(scope="session")
def held_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployment; read only."""
    home = tmp_path_factory.mktemp("held") / "home"
    make_home(home)
    return home


@pytest.fixture
def held(held_home: Path, tmp_path: Path) -> Workspace:
    """A copy of it."""
    shutil.copytree(held_home, tmp_path / "home")
    return open_workspace(tmp_path / "home")
