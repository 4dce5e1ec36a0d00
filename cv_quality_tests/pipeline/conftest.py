"""Deployments for the tests of sensors and jobs, each with a Dagster instance of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import Orchestra, open_workspace


@pytest.fixture
def orchestra(tmp_path: Path) -> Iterator[Orchestra]:
    """An empty deployment."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Orchestra(open_workspace(tmp_path / "home"), instance)


@pytest.fixture
def evaluated(history: History, tmp_path: Path) -> Iterator[Orchestra]:
    """A copy of the deployment in which both drops are done, without any recorded run."""
    shutil.copytree(history.home, tmp_path / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Orchestra(open_workspace(tmp_path / "home"), instance)
