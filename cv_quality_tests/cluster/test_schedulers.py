"""A scheduler that somebody else keeps running: absent, without workers, with unfit ones, or dying in the middle."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cv_quality.cluster import connecting
from cv_quality.cluster.running import opened
from cv_quality.errors import ClusterError
from cv_quality.lake.lake import TableKey
from cv_quality.stage import PHASES
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import open_workspace
from cv_quality_tests.servers import free_port

KEYS = [TableKey(drop=f"2026-08-{day:02}_absent") for day in range(1, 31)]


@contextmanager
def program(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A part of dask, as a program of its own on 127.0.0.1."""
    command = [sys.executable, "-m", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def scheduler() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A scheduler and its address."""
    port = str(free_port())
    with program("distributed.cli.dask_scheduler", "--port", port, "--dashboard-address", "127.0.0.1:0") as process:
        yield f"tcp://127.0.0.1:{port}", process


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "home")


def test_an_address_that_does_not_answer_is_given_up(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ClusterError, match=f"no dask scheduler answers at {address} within 1 s"):
        opened(workspace, address).__enter__()


def test_unfit_clusters_are_refused_and_a_scheduler_that_dies_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 120)  # A scheduler that is just being started.
    with scheduler() as (address, process):
        with pytest.raises(
            ClusterError, match=r"no worker came within 1 s to the scheduler at .*start some with `dask"
        ):
            opened(workspace, f"{address}?wait=1").__enter__()
        worker = ("distributed.cli.dask_worker", address, "--no-nanny", "--nthreads")
        with (
            program(*worker, "2"),
            pytest.raises(ClusterError, match="does 2 keys at once: start it with --nthreads 1"),
        ):
            opened(workspace, f"{address}?wait=120").__enter__()
        with (
            program(*worker, "1", "--memory-limit", "4GB"),
            pytest.raises(ClusterError, match="start it with --memory-limit 0"),
        ):
            opened(workspace, f"{address}?wait=120").__enter__()
        with program(*worker, "1", "--memory-limit", "0"), opened(workspace, f"{address}?wait=120") as cluster:
            done = cluster(VERIFICATION, PHASES["ingest"], KEYS)
            assert not next(done).succeeded
            process.kill()
            with pytest.raises(ClusterError, match=r"does not answer any more, with \d+ of 30 keys done"):
                list(done)
