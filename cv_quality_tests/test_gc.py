"""What old runs left behind goes, and what somebody still needs stays: `cvq gc` on real deployments."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.lake.staging import staging_folder
from cv_quality.pipeline.instance import prepare_home
from cv_quality.runner import run_due
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import do, open_workspace, quietly

Gc = Callable[..., Result]
MONTHS = 100 * 86_400


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a deployment, which the commands use."""
    monkeypatch.setenv("CVQ_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def gc(monkeypatch: pytest.MonkeyPatch) -> Gc:
    """`cvq gc` as it would answer in a hundred days."""
    later = time.time() + MONTHS

    def run(*options: str) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr("cv_quality.cli.housekeeping.time.time", lambda: later)
            return CliRunner().invoke(main, ["gc", *options], catch_exceptions=False)

    return run


def kinds(result: Result) -> list[str]:
    return [row["kind"] for row in json.loads(result.stdout)]


@dg.asset
def numbers() -> None:
    """An asset to be made."""


@dg.asset
def broken() -> None:
    """An asset that cannot be made."""
    raise ValueError


def materialize(home: Path, asset: dg.AssetsDefinition) -> str:
    """The id of a run that made an asset, or failed to."""
    with dg.DagsterInstance.from_config(str(prepare_home(home / "dagster"))) as instance:
        return dg.materialize([asset], instance=instance, raise_on_error=False).run_id


def files_of(home: Path, run: str) -> list[str]:
    return [path.name for path in (home / "dagster").rglob(f"{run}*")]


def test_a_run_goes_when_its_result_was_made_again_and_its_log_when_not(home: Path, gc: Gc) -> None:
    first, last, failed = (materialize(home, asset) for asset in (numbers, numbers, broken))
    assert all(files_of(home, run) for run in (first, last, failed))
    assert sorted(kinds(gc("--json"))) == ["logs of runs", "runs", "runs"]
    assert not any(files_of(home, run) for run in (first, last, failed))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert [run.run_id for run in instance.get_runs()] == [last]
        made = instance.get_latest_materialization_event(dg.AssetKey("numbers"))
        assert made is not None
        assert made.run_id == last
    assert kinds(gc("--json")) == []


def test_the_last_run_of_each_partition_stays(home: Path, gc: Gc) -> None:
    parts = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=parts)
    def cells() -> None:
        """An asset of two partitions."""

    with dg.DagsterInstance.from_config(str(prepare_home(home / "dagster"))) as instance:
        runs = [dg.materialize([cells], instance=instance, partition_key=key).run_id for key in ("a", "a", "b")]
    gc()
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert {run.run_id for run in instance.get_runs()} == set(runs[1:])
        assert instance.get_materialized_partitions(dg.AssetKey("cells")) == {"a", "b"}


def test_a_young_run_and_a_dry_run_leave_everything(home: Path, gc: Gc) -> None:
    run = materialize(home, broken)
    before = files_of(home, run)
    assert CliRunner().invoke(main, ["gc"], catch_exceptions=False).stdout.endswith("freed 0.0 MB\n")
    assert "would free" in gc("--dry-run").stdout
    assert files_of(home, run) == before


def test_unfinished_writes_of_dead_processes_go_and_others_stay(home: Path, gc: Gc) -> None:
    dead = home / "lake" / ".staging" / "cvq-dead"
    dead.mkdir(parents=True)
    part = home / "lake" / "raw_events" / ".a.parquet.x.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    with staging_folder(home / ".", prefix=".warehouse.duckdb-") as living:
        os.utime(living, (0, 0))
        assert kinds(gc("--json")) == ["unfinished writes"] * 2
        assert living.is_dir()
    assert not dead.exists()
    assert not part.exists()


def test_blocks_that_a_build_is_made_of_stay_and_spare_their_work(home: Path, gc: Gc, history: History) -> None:
    shutil.copytree(history.home, home)
    blocks = home / "lake" / "impostor_blocks"
    used = sorted(path.name for path in blocks.iterdir())
    shutil.copyfile(blocks / used[0], blocks / f"{'0' * 64}.parquet")
    assert kinds(gc("--json")) == ["blocks of no build"]
    assert sorted(path.name for path in blocks.iterdir()) == used
    workspace = open_workspace(home)
    assert run_due(workspace, track=quietly).results == []
    assert do(workspace, "impostors", build="face-1.2").numbers["blocks_computed"] == 0
