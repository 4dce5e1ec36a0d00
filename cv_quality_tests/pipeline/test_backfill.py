"""Backfills over the grid: every cell done, several keys in one run, and the same bytes however often."""

import dagster as dg
import pytest

from cv_quality.definitions import build_definitions
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import object_key, read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.instance import QUIET, backfill_grid
from cv_quality.pipeline.partitions import partitions_of
from cv_quality.tasks import TASKS
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import FIRST_DROP, SECOND_DROP, Orchestra, fingerprints, quietly

BUILDS = ("face-1.1", "face-1.2")
DROPS = (FIRST_DROP, SECOND_DROP)
CELLS = [(build, drop) for build in BUILDS for drop in DROPS]
KEYS = [dg.MultiPartitionKey({"build": "face-1.1", "drop": drop}) for drop in DROPS]


def run_range(orchestra: Orchestra) -> dg.ExecuteInProcessResult:
    """One run over the baseline's cells, asked for as a backfill asks: by the ends of a range."""
    orchestra.instance.add_dynamic_partitions("verification_build", ["face-1.1"])
    orchestra.instance.add_dynamic_partitions("verification_drop", list(DROPS))
    job = build_definitions(orchestra.workspace.settings).resolve_job_def("verification_evaluate_build_on_drop")
    return job.execute_in_process(
        instance=orchestra.instance,
        tags={"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]},
        run_config=QUIET,
        raise_on_error=False,
    )


@pytest.fixture
def backfilled(evaluated: Orchestra) -> Orchestra:
    """The deployment after both builds were scored on both drops from the command line's function."""
    cells = backfill_grid(evaluated.workspace, builds=BUILDS, drops=[], track=quietly)
    assert [(cell["build"], cell["drop"]) for cell in cells] == CELLS
    assert all(cell["succeeded"] for cell in cells)
    return evaluated


def test_a_backfill_adds_the_missing_cell_and_leaves_all_other_bytes_as_they_were(
    history: History, backfilled: Orchestra
) -> None:
    before, after = fingerprints(history.orchestra.workspace), fingerprints(backfilled.workspace)
    new = f"face-1.2/{FIRST_DROP}"
    assert {key for key in after if key not in before} == {key for key in after if new in key}
    assert {key: after[key] for key in before} == before
    (task,) = TASKS
    freshness, scored = Freshness(backfilled.workspace, task), task.of_phase("score")
    states = [freshness.furthest(scored, TableKey(build=build, drop=drop)) for build, drop in CELLS]
    assert states == ["passed"] * len(CELLS)


def test_one_run_over_a_range_of_the_grid_does_every_key_with_the_same_bytes(
    history: History, evaluated: Orchestra
) -> None:
    before = fingerprints(history.orchestra.workspace)
    result = run_range(evaluated)
    assert result.success
    done = {
        (str(event.asset_key and event.asset_key.path[-1]), str(event.partition))
        for event in result.get_asset_materialization_events()
    }
    assets = ("embeddings", "comparisons", "attempt_outcomes", "metric_counts")
    assert done == {(asset, str(key)) for asset in assets for key in KEYS}
    assert fingerprints(evaluated.workspace) == before
    grid = partitions_of(TASKS[0], "build_drop")
    assert grid.get_partition_keys(dynamic_partitions_store=evaluated.instance) == KEYS


def test_a_key_that_cannot_be_done_fails_by_name_and_keeps_no_other_from_it(
    evaluated: Orchestra,
) -> None:
    first, second = (TableKey(build="face-1.1", drop=drop) for drop in DROPS)
    lake = evaluated.workspace.lake
    lake.store.delete(object_key("infer", first))
    lake.store.delete(object_key("validate", TableKey(drop=SECOND_DROP)))
    result = run_range(evaluated)
    assert not result.success
    (failed,) = [
        event for event in result.all_events if event.is_step_failure and event.step_key == "verification_infer"
    ]
    message = str(failed.step_failure_data.error)
    assert f"{second}: GateFailed: gate 'validate' has no verdict for {SECOND_DROP}" in message
    assert f"{first}: " not in message
    assert read_verdict(lake, "infer", first) is not None
