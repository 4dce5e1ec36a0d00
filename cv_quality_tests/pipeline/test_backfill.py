"""Backfills over the grid: every cell done in a run of its own, and the same bytes however often."""

from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

from cv_quality.definitions import build_definitions
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import object_key
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.instance import QUIET, backfill_grid, opened
from cv_quality.pipeline.partitions import partition_of
from cv_quality.runner import KeyDone, run_phase
from cv_quality.stage import Phase, Task
from cv_quality.tasks.verification.task import VERIFICATION
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
    task = VERIFICATION
    freshness, scored = Freshness(backfilled.workspace, task), task.of_phase("score")
    states = [freshness.furthest(scored, TableKey(build=build, drop=drop)) for build, drop in CELLS]
    assert states == ["passed"] * len(CELLS)


def test_each_key_of_a_backfill_is_its_own_run_so_that_it_stands_for_itself(evaluated: Orchestra) -> None:
    definitions = build_definitions(evaluated.workspace.settings)
    policies = {asset.backfill_policy for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition)}
    assert policies - {None} == {dg.BackfillPolicy.multi_run(max_partitions_per_run=1)}


def test_a_run_over_a_range_of_keys_is_refused_before_anything_is_done(evaluated: Orchestra) -> None:
    before = fingerprints(evaluated.workspace)
    result = run_range(evaluated)
    assert not result.success
    (failed,) = [
        event for event in result.all_events if event.is_step_failure and str(event.step_key).endswith("_infer")
    ]
    assert "expected one partition a run, found 2" in str(failed.step_failure_data.error)
    assert not result.get_asset_materialization_events()
    assert fingerprints(evaluated.workspace) == before


def test_a_key_that_cannot_be_done_fails_by_name_and_keeps_no_other_from_it(evaluated: Orchestra) -> None:
    first, second = (TableKey(build="face-1.0", drop=drop) for drop in DROPS)
    lake, task = evaluated.workspace.lake, VERIFICATION
    for name in ("infer", "compare", "measure"):
        lake.store.delete(object_key(name, first))
    lake.store.write_bytes(object_key("validate", TableKey(drop=SECOND_DROP)), b"{}")
    evaluated.instance.add_dynamic_partitions("verification_build", ["face-1.0"])
    evaluated.instance.add_dynamic_partitions("verification_drop", list(DROPS))
    results = [evaluated.execute("evaluate_build_on_drop", partition_of(key)) for key in (second, first)]
    assert [result.success for result in results] == [False, True]
    (failed,) = [
        event for event in results[0].all_events if event.is_step_failure and str(event.step_key).endswith("_infer")
    ]
    message = str(failed.step_failure_data.error)
    assert f"{second}: GateFailed: gate 'validate' has no verdict for {SECOND_DROP}" in message
    done = {str(event.partition) for result in results for event in result.get_asset_materialization_events()}
    assert done == {f"face-1.0|{FIRST_DROP}"}
    assert Freshness(evaluated.workspace, task).furthest(task.of_phase("score"), first) == "passed"


def test_a_backfill_on_a_cluster_is_one_run_with_events_of_every_cell(evaluated: Orchestra) -> None:
    workspace = evaluated.workspace

    def engine(task: Task, phase: Phase, keys: Sequence[TableKey]) -> Iterator[KeyDone]:
        return (run_phase(workspace, task, phase, key, is_again=True) for key in reversed(keys))

    before = fingerprints(workspace)
    cells = backfill_grid(workspace, builds=["face-1.1"], drops=[], track=quietly, engine=engine)
    assert [(cell["build"], cell["drop"], cell["succeeded"]) for cell in cells] == [
        ("face-1.1", drop, True) for drop in DROPS
    ]
    (run,) = {str(cell["run"]) for cell in cells}
    assert fingerprints(workspace) == before
    with opened(workspace) as instance:
        records = [entry.dagster_event for entry in instance.all_logs(run) if entry.dagster_event]
    made = [event for event in records if event.is_step_materialization]
    checks = [event for event in records if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION]
    assert {str(event.partition) for event in made} == {partition_of(TableKey(build="face-1.1", drop=d)) for d in DROPS}
    assert (len(made), len(checks)) == (2 * 4, 2 * 3)


def test_a_cell_that_a_cluster_cannot_do_fails_the_run_and_no_other_cell(evaluated: Orchestra) -> None:
    workspace = evaluated.workspace

    def engine(task: Task, phase: Phase, keys: Sequence[TableKey]) -> Iterator[KeyDone]:
        assert (task, phase.name) == (VERIFICATION, "score")
        return (KeyDone(key, refused="WorkerLost: gone" if key.drop == FIRST_DROP else "") for key in keys)

    cells = backfill_grid(workspace, builds=["face-1.1"], drops=[], track=quietly, engine=engine)
    assert [(cell["succeeded"], cell["why"]) for cell in cells] == [
        (False, f"face-1.1/{FIRST_DROP}: WorkerLost: gone"),
        (True, ""),
    ]
    with opened(workspace) as instance:
        record = instance.get_run_by_id(str(cells[0]["run"]))
    assert record is not None
    assert record.is_failure
