"""The example of another team's assets beside these, run as it stands in the documentation."""

import runpy
from pathlib import Path

import dagster as dg
import pytest

from cv_quality_tests.conftest import History

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "beside_our_own.py"


def test_asset_of_another_team_runs_downstream_of_a_metric_table(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVQ_HOME", str(history.home))
    monkeypatch.setenv("WALL_FOLDER", str(tmp_path))
    merged = runpy.run_path(str(EXAMPLE))["defs"].load_fn()
    graph = merged.resolve_asset_graph()
    own = dg.AssetKey("wall_of_rates")
    assert graph.get(own).parent_keys == {dg.AssetKey(["marts", "fct_intervals"])}
    assert dg.AssetKey(["verification", "embeddings"]) in graph.get_all_asset_keys()
    with dg.DagsterInstance.ephemeral() as instance:
        done = merged.get_implicit_global_asset_job_def().execute_in_process(asset_selection=[own], instance=instance)
    assert done.success
    assert [line.split(":")[0] for line in (tmp_path / "rates.txt").read_text().splitlines()] == [
        "face-1.1",
        "face-1.2",
    ]
