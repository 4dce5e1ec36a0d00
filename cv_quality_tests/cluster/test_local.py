"""Processes of this machine: the same bytes as one process, nothing lost with a worker, nobody else let in."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import pytest

from cv_quality.cluster import running
from cv_quality.cluster.running import Cluster, _see_reports, opened
from cv_quality.errors import ClusterError
from cv_quality.gates.verdicts import read_failure
from cv_quality.lake.lake import TableKey
from cv_quality.stage import PHASES
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality_tests.cluster.conftest import FEW
from cv_quality_tests.cluster.keys import small_deployment, take_in_and_score
from cv_quality_tests.deployment import fingerprints
from cv_quality_tests.servers import wait_until

LISTENING = "0A"


@pytest.fixture(scope="module")
def cluster(tiny_landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two processes of this machine, over a deployment of which nothing is done."""
    workspace = small_deployment(tmp_path_factory.mktemp("cluster") / "home", tiny_landing, drops=FEW)
    with opened(workspace, "local?workers=2&wait=240") as opened_cluster:
        yield opened_cluster


def listening(pid: int) -> set[str]:
    """Addresses on which a process listens."""
    sockets: set[str] = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # The handle that lists them is among them.
            sockets |= {*re.findall(r"socket:\[(\d+)\]", os.readlink(handle))}
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in sockets:
                raw = bytes.fromhex(fields[1].split(":")[0])
                words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
                found.add(socket.inet_ntop(family, words))
    return found


def test_every_process_of_a_local_cluster_listens_on_127_0_0_1_alone(cluster: Cluster) -> None:
    workers = cluster.client.run(os.getpid).values()
    assert [listening(pid) for pid in (os.getpid(), *workers)] == [{"127.0.0.1"}] * 3
    assert cluster.client.scheduler_info()["address"].startswith("tls://127.0.0.1:")


def test_keys_done_by_workers_of_which_one_is_killed_equal_those_of_one_process(
    cluster: Cluster, alone: dict[str, str]
) -> None:
    killed: list[int] = []

    def kill_one(n_done: int) -> None:
        if n_done == 1:
            killed.append(min(cluster.client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

    done = take_in_and_score(cluster.workspace, cluster, meanwhile=kill_one)
    assert len(killed) == 1
    cluster.client.wait_for_workers(2, timeout=240)
    assert [one.refused for one in done] == [""] * len(done)
    assert fingerprints(cluster.workspace) == alone


def test_a_refused_key_takes_nothing_from_the_others(cluster: Cluster) -> None:
    known, unknown = TableKey(drop="2026-08-01_face-1.1_site-a"), TableKey(drop="2026-08-30_absent")
    found = {one.key: one for one in cluster(VERIFICATION, PHASES["ingest"], [unknown, known])}
    assert found[known].succeeded
    assert re.match(r"\w+: .*2026-08-30_absent", found[unknown].refused)


def test_a_key_that_kills_every_worker_is_given_up_and_recorded(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = TableKey(drop="2026-08-29_absent")
    monkeypatch.setattr(running, "do_key", die)
    (done,) = cluster(VERIFICATION, PHASES["ingest"], [key])
    assert done.refused.startswith("WorkerLost: every process that began phase 'ingest' of 2026-08-29_absent")
    failure = read_failure(cluster.workspace.lake, "parse", key)
    assert failure is not None
    assert failure.error == done.refused


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_sees_another_lake_says_so(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"worker .* does not see the lake .*mount the same folder at the same path"):
        _see_reports(cluster.client, replace(cluster.home, token="never written"))


def test_a_worker_with_other_versions_says_which(cluster: Cluster) -> None:
    other = replace(cluster.home, token="other", versions={**cluster.home.versions, "numpy": "1.0"})
    with pytest.raises(ClusterError, match=r"has numpy 2\.\d+\.\d+, not 1\.0: results would not be the same"):
        _see_reports(cluster.client, other)


def test_nothing_is_left_of_a_cluster_whose_owner_is_killed(tiny_landing: Path, tmp_path: Path) -> None:
    workspace = small_deployment(tmp_path / "home", tiny_landing, drops=0)
    with subprocess.Popen([sys.executable, "-c", OWNER.format(home=str(tmp_path / "home"))], stdout=PIPE) as owner:
        assert owner.stdout is not None
        worker = int(owner.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        owner.kill()
    wait_until(lambda: not Path(f"/proc/{worker}").exists(), what="the worker's end", seconds=60)
    assert not workspace.lake.store.list()


OWNER = """
import os, time
from pathlib import Path
from cv_quality.cluster.running import opened
from cv_quality_tests.deployment import open_workspace
if __name__ == "__main__":
    with opened(open_workspace(Path({home!r})), "local?workers=1&wait=240") as cluster:
        print(*cluster.client.run(os.getpid).values(), flush=True)
        time.sleep(600)
"""
