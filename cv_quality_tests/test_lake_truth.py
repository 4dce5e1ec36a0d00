"""What is due follows from what lies there: deleted, damaged and corrected files, and runs that meet each other."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cv_quality.builds import drop_builds
from cv_quality.errors import DamagedTable, GateFailed, LakeChanged
from cv_quality.freshness import Freshness, StageContext
from cv_quality.gates.verdicts import key_for, object_key, read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.planning import drop_states
from cv_quality.runner import run_due, run_stage
from cv_quality.stage import JOBS, Stage
from cv_quality.tasks import is_published
from cv_quality.tasks.verification.tables import COMPARISONS, OPERATING_POINTS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    do,
    due_keys,
    fingerprints,
    open_workspace,
    quietly,
    redeliver,
    take_in,
    warehouse_tables,
    without_transactions_of_one_subject,
)

TASK = VERIFICATION
CELL = TableKey(build="face-1.2", drop=SECOND_DROP)
WRITERS = [stage for stage in TASK.stages if stage.writes]


@pytest.fixture
def workspace(history: History, tmp_path: Path) -> Workspace:
    """A copy of the deployment in which both drops are done."""
    shutil.copytree(history.home, tmp_path / "home")
    return open_workspace(tmp_path / "home")


def key_of(stage: Stage) -> TableKey:
    """The key of a stage for the second build and its drop."""
    parts = {"drop": TableKey(drop=SECOND_DROP), "build_drop": CELL, "build": TableKey(build="face-1.2")}
    return parts[stage.key]


def state(workspace: Workspace, stage: Stage) -> str:
    return Freshness(workspace, TASK).state(stage, key_of(stage))


def stages_run(workspace: Workspace) -> list[str]:
    done = run_due(workspace, track=quietly)
    assert done.refused == []
    return [f"{result.stage} {result.key}" for result in done.results]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def fill(path: Path) -> None:
    path.write_bytes(b"\x00" * path.stat().st_size)


@pytest.mark.parametrize("stage", WRITERS, ids=lambda stage: stage.name)
def test_a_stage_is_due_once_any_file_of_it_is_deleted_or_damaged(workspace: Workspace, stage: Stage) -> None:
    assert state(workspace, stage) == "passed"
    kept = Path(shutil.copytree(workspace.settings.lake, workspace.settings.home / "kept"))
    for table in stage.writes:
        name = workspace.lake.object_key(table, key_for(table, key_of(stage)))
        path = Path(workspace.settings.lake) / name
        for damage in (cut, fill, Path.unlink):
            damage(path)
            assert state(workspace, stage) == "due", f"{name} after {damage.__name__}"
        shutil.copy2(kept / name, path)
    assert state(workspace, stage) == "passed"


def test_files_that_were_only_copied_or_touched_are_still_the_ones_judged(workspace: Workspace) -> None:
    for path in Path(workspace.settings.lake).rglob("*.parquet"):
        path.touch()
    assert [due_keys(workspace, job) for job in JOBS] == [[]] * len(JOBS)


def test_deleted_and_damaged_files_are_made_anew_as_they_were(history: History, workspace: Workspace) -> None:
    lake = Path(workspace.settings.lake)
    (lake / "drop_files" / f"{SECOND_DROP}.parquet").unlink()
    cut(lake / "comparisons" / "face-1.1" / f"{FIRST_DROP}.parquet")
    fill(lake / "failure_clusters" / "face-1.2.parquet")
    ran = stages_run(workspace)
    assert {f"parse {SECOND_DROP}", f"compare face-1.1/{FIRST_DROP}", "clusters face-1.2"} <= set(ran)
    assert fingerprints(workspace) == fingerprints(history.orchestra.workspace)
    assert stages_run(workspace) == []


def test_a_drop_is_not_forgotten_with_the_table_that_lists_its_files(workspace: Workspace) -> None:
    before = drop_builds(workspace)
    shutil.rmtree(Path(workspace.settings.lake) / "drop_files")
    assert drop_builds(workspace) == before
    assert due_keys(workspace, JOBS[0]) == [FIRST_DROP, SECOND_DROP]
    assert due_keys(workspace, JOBS[2]) == []


@pytest.mark.parametrize("table", [COMPARISONS, OPERATING_POINTS], ids=lambda table: table.name)
def test_numbers_changed_by_hand_are_not_reported(workspace: Workspace, table: object) -> None:
    assert table in (COMPARISONS, OPERATING_POINTS)
    chosen = COMPARISONS if table is COMPARISONS else OPERATING_POINTS
    path = workspace.lake.path(chosen, key_for(chosen, CELL))
    rows = pl.read_parquet(path)
    column = "score" if chosen is COMPARISONS else "fnmr"
    rows.with_columns(pl.col(column) * 0.01).write_parquet(path)
    with pytest.raises(GateFailed, match=rf"{chosen.name}/.*was changed since; `cvq run` makes it anew"):
        do(workspace, "report", build="face-1.2")


def test_a_damaged_file_is_named_with_the_command_that_makes_it_anew(workspace: Workspace) -> None:
    cut(workspace.lake.path(COMPARISONS, CELL))
    with pytest.raises(DamagedTable, match=rf"comparisons/face-1\.2/{SECOND_DROP}\.parquet .*`cvq run` makes it anew"):
        workspace.lake.read(COMPARISONS, CELL)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff\xfe" + data,
        lambda _data: b"[1, 2]",
        lambda data: data.replace(b'"passed": true', b'"passed": "yes"'),
        lambda data: data.replace(b'"gate": "', b'"gate": "no_'),
        lambda _data: b"",
    ],
    ids=["cut", "no text", "a list", "of another type", "of another gate", "empty"],
)
@pytest.mark.parametrize("gate", ["parse", "infer", "slices"])
def test_a_broken_verdict_is_one_stage_due_and_no_broken_command(
    workspace: Workspace, gate: str, damage: Callable[[bytes], bytes]
) -> None:
    stage = TASK.stage(gate)
    path = Path(workspace.settings.lake) / object_key(gate, key_of(stage))
    path.write_bytes(damage(path.read_bytes()))
    assert state(workspace, stage) == "due"
    assert [item.drop for item in drop_states(Freshness(workspace, TASK))] == [FIRST_DROP, SECOND_DROP]
    assert sum(len(due_keys(workspace, job)) for job in JOBS) == 1


def test_files_of_others_in_the_lake_are_no_keys(workspace: Workspace) -> None:
    lake = Path(workspace.settings.lake)
    before = drop_builds(workspace)
    for name in (
        "drop_files/.DS_Store",
        "drop_files/notes.txt",
        "verdicts/parse/.DS_Store",
        "drop_files/a/b/c.parquet",
    ):
        (lake / name).parent.mkdir(parents=True, exist_ok=True)
        (lake / name).write_bytes(b"\x00")
    shutil.copy2(lake / "verdicts" / "parse" / f"{FIRST_DROP}.json", lake / "verdicts" / "parse" / "copy of it.json")
    shutil.copy2(lake / "drop_files" / f"{FIRST_DROP}.parquet", lake / "drop_files" / "copy of it.parquet")
    assert drop_builds(workspace) == before
    assert [due_keys(workspace, job) for job in JOBS] == [[]] * len(JOBS)


@pytest.mark.parametrize("damage", [Path.unlink, cut, fill, lambda path: path.write_bytes(b"another")])
def test_a_warehouse_that_is_gone_or_another_file_is_built_anew(
    history: History, workspace: Workspace, damage: Callable[[Path], object]
) -> None:
    assert is_published(workspace)
    damage(workspace.settings.warehouse)
    assert not is_published(workspace)
    assert stages_run(workspace) == ["marts warehouse"]
    assert warehouse_tables(workspace) == warehouse_tables(history.orchestra.workspace)
    assert stages_run(workspace) == []


@pytest.mark.parametrize("damage", [Path.unlink, cut])
def test_a_report_that_is_gone_or_damaged_is_written_again(
    workspace: Workspace, damage: Callable[[Path], object]
) -> None:
    damage(workspace.report_path("face-1.2"))
    assert stages_run(workspace) == ["report face-1.2"]


def test_counts_of_pairs_that_were_damaged_or_changed_are_counted_again(history: History, workspace: Workspace) -> None:
    blocks = sorted((Path(workspace.settings.lake) / "impostor_blocks").glob("*.parquet"))
    assert len(blocks) == 4
    cut(blocks[0])
    blocks[1].unlink()
    metadata = pl.read_parquet_metadata(blocks[2])
    pl.read_parquet(blocks[2]).with_columns(pl.col("score") * 0.01).write_parquet(blocks[2], metadata=metadata)
    for build in ("face-1.1", "face-1.2"):
        do(workspace, "impostors", build=build)
    assert fingerprints(workspace) == fingerprints(history.orchestra.workspace)


def paused(stage: Stage, meanwhile: Callable[[], object]) -> Stage:
    """A stage that does its work, and waits before its gate until something else has happened."""

    def run(context: StageContext) -> object:
        done = stage.run(context)
        meanwhile()
        return done

    return replace(stage, run=run)  # type: ignore[arg-type]


PAUSED = ["validate", "infer", "compare", "measure", "impostors", "slices", "clusters", "report"]


@pytest.mark.parametrize("name", PAUSED)
def test_a_correction_while_a_stage_works_leaves_nothing_stale_passed(workspace: Workspace, name: str) -> None:
    stage = TASK.stage(name)

    def correct() -> None:
        other = open_workspace(workspace.settings.home)
        redeliver(other, SECOND_DROP, without_transactions_of_one_subject)
        do(other, "parse", drop=SECOND_DROP)

    with pytest.raises(LakeChanged, match=rf"stage .{name}. reads .* was changed while it worked"):
        run_stage(workspace, TASK, paused(stage, correct), key_of(stage))
    assert state(workspace, stage) in ("due", "waiting")


def test_what_a_correction_overtook_is_done_again_by_the_next_run(history: History, workspace: Workspace) -> None:
    stage, landing = TASK.stage("compare"), Path(workspace.settings.landing)

    def correct() -> None:
        other = open_workspace(workspace.settings.home)
        redeliver(other, SECOND_DROP, without_transactions_of_one_subject)
        take_in(other, SECOND_DROP)

    with pytest.raises(LakeChanged):
        run_stage(workspace, TASK, paused(stage, correct), CELL)
    assert f"compare {CELL}" in stages_run(workspace)
    assert stages_run(workspace) == []
    shutil.copytree(Path(history.home) / "landing" / SECOND_DROP, landing / SECOND_DROP, dirs_exist_ok=True)
    assert f"compare {CELL}" in stages_run(workspace)
    assert fingerprints(workspace) == fingerprints(history.orchestra.workspace)


def test_a_correction_that_is_taken_back_while_a_stage_works_is_seen_too(workspace: Workspace) -> None:
    stage, landing = TASK.stage("infer"), Path(workspace.settings.landing)
    shutil.copytree(landing / SECOND_DROP, workspace.settings.home / "as_delivered")

    def correct_and_take_back() -> None:
        other = open_workspace(workspace.settings.home)
        redeliver(other, SECOND_DROP, without_transactions_of_one_subject)
        take_in(other, SECOND_DROP)
        shutil.copytree(workspace.settings.home / "as_delivered", landing / SECOND_DROP, dirs_exist_ok=True)
        take_in(other, SECOND_DROP)

    with pytest.raises(LakeChanged):
        run_stage(workspace, TASK, paused(stage, correct_and_take_back), CELL)


def test_two_runs_of_one_key_at_the_same_time_do_not_mix(workspace: Workspace) -> None:
    stage = TASK.stage("compare")
    with pytest.raises(LakeChanged, match=r"comparisons/.* was written by somebody else"):
        run_stage(
            workspace,
            TASK,
            paused(
                stage, lambda: do(open_workspace(workspace.settings.home), "compare", build=CELL.build, drop=CELL.drop)
            ),
            CELL,
        )
    verdict = read_verdict(workspace.lake, "compare", CELL)
    assert verdict is not None
    assert verdict.passed
    assert state(workspace, stage) == "passed"
