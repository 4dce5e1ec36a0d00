"""Where a run writes: its owner's alone, and a disk that takes no more ends it in words."""

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cv_quality.pipeline.instance import prepare_home
from cv_quality.runner import run_due
from cv_quality_tests.deployment import FIRST_DROP, deliver, open_workspace, quietly


@pytest.fixture
def lax_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """What below a folder others than its owner may do anything with."""
    return [
        f"{stat.filemode(path.lstat().st_mode)} {path.relative_to(folder)}"
        for path in folder.rglob("*")
        if path.lstat().st_mode & 0o077
    ]


def cvq(home: Path, *arguments: str, file_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, under a lax umask and perhaps unable to write a file longer than `file_bytes`."""

    def limit() -> None:
        os.umask(0)
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    command = [sys.executable, "-m", "cv_quality.cli", *arguments]
    return subprocess.run(
        command,
        env={**os.environ, "CVQ_HOME": str(home)},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("lax_umask")
def test_everything_that_a_run_writes_is_its_owners_alone(tiny_landing: Path, tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path / "home")
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    assert run_due(workspace, track=quietly).succeeded
    prepare_home(workspace.settings.dagster_home)
    written = [name for name in open_to_others(tmp_path) if " home/landing" not in name]
    assert [name for name in written if not name.endswith(" home")] == []
    assert workspace.settings.warehouse.is_file()


def test_what_a_command_writes_is_its_owners_alone(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    lines = [f"{number % 7 == 0:d},{number % 2},s{number % 60}" for number in range(600)]
    table.write_text("\n".join(["failed,side,subject", *lines]))
    page = tmp_path / "pages" / "slices.html"
    done = cvq(tmp_path / "home", "slices", str(table), "--outcome", "failed", "--report", str(page))
    assert done.returncode == 0, done.stderr
    assert page.is_file()
    assert open_to_others(page.parent.parent / "pages") == []
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("file_bytes", [0, 2_000, 20_000])
def test_a_disk_that_takes_no_more_ends_a_run_in_words(tiny_landing: Path, tmp_path: Path, file_bytes: int) -> None:
    deliver(tiny_landing, FIRST_DROP, to=open_workspace(tmp_path / "home"))
    done = cvq(tmp_path / "home", "run", file_bytes=file_bytes)
    assert done.returncode == 1
    assert "StoreError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lake_that_is_a_file_ends_every_command_in_words(tiny_landing: Path, tmp_path: Path) -> None:
    deliver(tiny_landing, FIRST_DROP, to=open_workspace(tmp_path / "home"))
    (tmp_path / "home" / "lake").write_text("a file")
    for command in (["status"], ["run"], ["quarantine", FIRST_DROP], ["report", "face-1.1"], ["backfill"]):
        done = cvq(tmp_path / "home", *command)
        assert done.returncode == 1
        assert "expected a folder" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
