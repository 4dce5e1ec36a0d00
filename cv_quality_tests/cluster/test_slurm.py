"""Slurm, the real one: keys done by its jobs are those of one process, whatever is killed or cancelled meanwhile."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cv_quality.cluster.running import opened
from cv_quality.errors import ClusterError
from cv_quality.runner import in_this_process
from cv_quality_tests.cluster.conftest import FEW
from cv_quality_tests.cluster.keys import small_deployment, take_in_and_score
from cv_quality_tests.deployment import fingerprints, leftovers
from cv_quality_tests.slurm import Slurm, running_slurm

ADDRESS = "slurm://short?jobs=2&memory=1GB&walltime=00:30:00&host=127.0.0.1&wait=240"
MANY = 20


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with running_slurm() as running:
        yield running


@pytest.fixture(autouse=True)
def found(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of Slurm find the one of the tests."""
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, slurm.environment[name])


def test_keys_done_by_slurm_jobs_equal_those_of_one_process(
    slurm: Slurm, alone: dict[str, str], tiny_landing: Path, tmp_path: Path
) -> None:
    workspace = small_deployment(tmp_path / "home", tiny_landing, drops=FEW)
    cancelled: list[str] = []

    def cancel_one(n_done: int) -> None:
        if n_done == 2:
            cancelled.extend(slurm.jobs()[:1])
            slurm.ask("scancel", *cancelled)

    with opened(workspace, ADDRESS) as cluster:
        done = take_in_and_score(workspace, cluster, meanwhile=cancel_one)
    assert len(cancelled) == 1
    assert all(one.succeeded for one in done)
    assert fingerprints(workspace) == alone
    assert leftovers(workspace) == []
    assert slurm.ask("squeue", "--noheader", "--states", "PENDING,RUNNING") == []


def test_a_partition_without_nodes_that_take_jobs_is_refused(tiny_landing: Path, tmp_path: Path) -> None:
    workspace = small_deployment(tmp_path / "home", tiny_landing, drops=0)
    with pytest.raises(ClusterError, match=r"no node of partition dead takes jobs, all are down"):
        opened(workspace, "slurm://dead").__enter__()


def test_a_partition_that_is_none_is_refused_with_the_known_ones(tiny_landing: Path, tmp_path: Path) -> None:
    workspace = small_deployment(tmp_path / "home", tiny_landing, drops=0)
    with pytest.raises(ClusterError, match=r"Slurm has no partition shrt with nodes; known: dead short"):
        opened(workspace, "slurm://shrt").__enter__()


@pytest.mark.nightly
def test_no_key_is_lost_or_doubled_in_twenty_five_deaths(slurm: Slurm, tiny_landing: Path, tmp_path: Path) -> None:
    """Of 40 cells on two nodes, while 20 times a worker is killed and 5 times a job is cancelled."""
    reference = small_deployment(tmp_path / "alone", tiny_landing, drops=MANY)
    take_in_and_score(reference, in_this_process(reference))
    workspace = small_deployment(tmp_path / "home", tiny_landing, drops=MANY)
    deaths: list[str] = []
    with opened(workspace, ADDRESS) as cluster:

        def kill(n_done: int) -> None:
            if n_done % 9 == 0 and deaths.count("job") < 5 and (jobs := slurm.jobs()):
                slurm.ask("scancel", jobs[0])
                deaths.append("job")
            elif n_done % 2 and deaths.count("worker") < 20:
                for pid in [*cluster.client.run(os.getpid, on_error="ignore").values()][:1]:
                    os.kill(pid, signal.SIGKILL)
                    deaths.append("worker")

        done = take_in_and_score(workspace, cluster, meanwhile=kill)
        lost = [one for one in done if not one.succeeded]
    assert (deaths.count("worker"), deaths.count("job")) == (20, 5)
    assert [one.refused for one in lost if "WorkerLost" not in one.refused] == []
    take_in_and_score(workspace, in_this_process(workspace))
    assert fingerprints(workspace) == fingerprints(reference)
    assert leftovers(workspace) == []
