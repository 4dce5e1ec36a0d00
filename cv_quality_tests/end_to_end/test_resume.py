"""A run killed at any stage is finished by the next one, with the very result of a run that nobody disturbed."""

import signal
from pathlib import Path

import pytest

from cv_quality.drops.manifest import completed_drops
from cv_quality.lake.store import open_store
from cv_quality.runner import run_due
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    deliver,
    fingerprints,
    leftovers,
    open_workspace,
    quietly,
    reports,
    warehouse_tables,
)
from cv_quality_tests.drops import small_drops
from cv_quality_tests.end_to_end.killing import MOMENTS, STAGES, Moment, deliver_until, exit_code_of, run_until


def test_a_run_killed_at_every_stage_ends_as_if_it_had_never_been_disturbed(
    history: History, tiny_landing: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    workspace = open_workspace(home)
    for drop in (FIRST_DROP, SECOND_DROP):
        deliver(tiny_landing, drop, to=workspace)
    kills = [(stage, moment) for stage in STAGES for moment in MOMENTS]
    survived = [kill for kill in kills if exit_code_of(run_until, home, *kill) != -signal.SIGKILL]
    assert survived == []
    done = run_due(workspace, track=quietly)
    assert done.succeeded
    assert [result.stage for result in done.results][-1] == "report"
    undisturbed = history.orchestra.workspace
    assert fingerprints(workspace) == fingerprints(undisturbed)
    assert warehouse_tables(workspace) == warehouse_tables(undisturbed)
    assert reports(workspace) == reports(undisturbed)
    assert leftovers(workspace) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_delivery_killed_half_way_leaves_no_drop_not_even_the_one_that_it_replaces(
    tmp_path: Path, moment: Moment
) -> None:
    landing = open_store(str(tmp_path))
    with small_drops.drop_writer(landing) as writer:
        writer.add_event("device", **small_drops.DEVICE)
    assert [drop.drop_id for drop in completed_drops(landing)] == [small_drops.DROP_ID]
    assert exit_code_of(deliver_until, tmp_path, moment) == -signal.SIGKILL
    assert completed_drops(landing) == []
    with small_drops.drop_writer(landing) as writer:
        writer.add_event("device", **small_drops.DEVICE)
    assert sorted(path.name for path in (tmp_path / small_drops.DROP_ID).iterdir()) == [
        "events-00000.jsonl.zst",
        "manifest.json",
    ]
