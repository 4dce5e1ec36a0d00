"""The documentation's drop with conditions of its own, from the writer to the page, as its reader would run it."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from cv_quality.runner import run_due
from cv_quality.settings import Settings
from cv_quality.tasks import open_workspace
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import quietly

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "write_drop.py"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The deployment in which the drop has been reported."""
    home = str(tmp_path_factory.mktemp("declared"))
    settings = Settings.from_environment({"CVQ_HOME": home, "CVQ_THREADS": "1", "CVQ_EXPLAINED_PAIRS": "0"})
    workspace = open_workspace(settings)
    subprocess.run([sys.executable, EXAMPLE, workspace.settings.landing], check=True)
    assert run_due(workspace, track=quietly).succeeded
    return workspace


def test_a_declared_cause_is_the_first_slice_by_its_label(done: Workspace) -> None:
    with duckdb.connect(str(done.settings.warehouse), read_only=True) as warehouse:
        found = warehouse.execute(
            "SELECT condition FROM fct_failure_slices WHERE finding = 'confirmed' AND outcome = 'frr' ORDER BY rank"
        ).fetchall()
    assert found == [("firmware is 2.1",)]
    page = done.report_path("face-1.1").read_text()
    assert "firmware: camera firmware" in page
    assert "camera firmware 2.1" in page
    assert "charging yes" in page
    assert "°" in page


def test_rates_are_broken_down_by_declared_levels(done: Workspace) -> None:
    with duckdb.connect(str(done.settings.warehouse), read_only=True) as warehouse:
        rows = warehouse.execute(
            "SELECT level, sum(numerator) / sum(denominator) FROM fct_attempt_rates "
            "WHERE dimension = 'firmware' AND metric = 'frr' AND model_build_id = 'face-1.1' GROUP BY level"
        ).fetchall()
    rates = dict(rows)
    assert rates["2.0"] == rates["2.2"] == 0
    assert 0.5 < rates["2.1"] < 0.9
