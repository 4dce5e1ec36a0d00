"""The asset of the metric tables, materialized by itself: what a broken table does to its check and to the file."""

from pathlib import Path

import dagster as dg
import pyarrow as pa

from cv_quality.gates.verdicts import Verdict, write_verdict
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.pipeline.marts import marts_asset
from cv_quality.settings import Settings
from cv_quality.tasks import TASKS, open_workspace
from cv_quality.tasks.verification.tables import INTERVALS
from cv_quality_tests.deployment import digest_of


def write_passed_interval(lake: Lake, key: TableKey) -> None:
    """A rate of build b1 under a key, passed by the gate."""
    row = dict.fromkeys(INTERVALS.names) | {"build_id": "b1", "model_build_id": "b1", "value": 0.5}
    row |= {"metric": "frr", "dimension": "all", "level": "all"}
    lake.write(INTERVALS, key, pa.Table.from_pylist([row], schema=INTERVALS.arrow_schema))
    judged = {lake.object_key(INTERVALS, key): digest_of(lake, INTERVALS, key)}
    write_verdict(lake, Verdict("measure_build", str(key), True, judged, ()))


def test_a_broken_metric_table_fails_its_check_and_the_old_file_stays(tmp_path: Path) -> None:
    workspace = open_workspace(Settings.from_environment({"CVQ_HOME": str(tmp_path)}))
    for build in ("b1", "b2"):
        write_passed_interval(workspace.lake, TableKey(build=build))
    workspace.settings.warehouse.write_bytes(b"the old warehouse")
    result = dg.materialize([marts_asset(TASKS)], resources={"workspace": workspace}, raise_on_error=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.asset_key.path, check.check_name, check.passed) == (["marts", "fct_intervals"], "dbt_tests", False)
    assert "unique_key_fct_intervals" in str(check.metadata["failed_tests"])
    assert result.get_asset_materialization_events() == []
    assert workspace.settings.warehouse.read_bytes() == b"the old warehouse"
