"""A real Slurm on this machine: one controller, two nodes and the munge daemon that they trust, all on 127.0.0.1.

Its commands find it by `SLURM_CONF`. Everything lies in one folder and is stopped by its own handle. Nothing here is a
test.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cv_quality_tests.servers import free_port, wait_until

NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "scancel", "squeue")
SBIN = "/usr/sbin:/usr/local/sbin"
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=2
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
{nodes}
PartitionName=short Nodes={names} Default=YES MaxTime=INFINITE State=UP
PartitionName=dead Nodes=n3 MaxTime=INFINITE State=UP
NodeName=n3 NodeHostname={host} NodeAddr=127.0.0.1 Port={third} CPUs=1 State=DOWN
"""


@dataclass(frozen=True, slots=True)
class Slurm:
    """A running Slurm.

    Attributes:
        environment: for its commands.
    """

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> list[str]:
        """The words that one of its commands answers."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split()

    def jobs(self) -> list[str]:
        """The jobs that run."""
        return self.ask("squeue", "--noheader", "--states", "RUNNING", "--format", "%i")


def require_slurm() -> None:
    """End a test as not run where Slurm is not installed."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing:
        pytest.skip(f"not run: {', '.join(missing)} not found; apt-get install slurm-wlm munge")


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """A Slurm of two nodes on 127.0.0.1, with partition `short`, and `dead`, whose node is down."""
    require_slurm()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{SBIN}", "SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "state").mkdir()
        _configure(folder)
        munge = _munge(folder)
        commands = [munge, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES)]
        for number, command in enumerate(commands):
            stack.enter_context(_started(command, environment, folder / f"{number}-{command[0]}.out"))
            if command is munge:
                wait_until((folder / "munge.socket").exists, what="munged", seconds=60)
        slurm = Slurm(folder, environment)
        wait_until(lambda: _is_up(slurm), what="Slurm", seconds=120)
        yield slurm


def _configure(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 RealMemory=4000"
        for name in NODES
    )
    text = CONFIGURATION.format(
        host=host,
        control=free_port(),
        third=free_port(),
        user=os.environ.get("USER") or "root",
        folder=folder,
        nodes=nodes,
        names=",".join(NODES),
    )
    (folder / "slurm.conf").write_text(text)


def _munge(folder: Path) -> Sequence[str]:
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(1024))
    files = {"key": "key", "socket": "socket", "pid": "pid", "log": "log", "seed": "seed"}
    flags = {"key": "key-file", "socket": "socket", "pid": "pid-file", "log": "log-file", "seed": "seed-file"}
    return [
        "munged",
        "--foreground",
        "--force",
        *(f"--{flags[name]}={folder}/munge.{end}" for name, end in files.items()),
    ]


@contextmanager
def _started(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    program = shutil.which(command[0], path=environment["PATH"]) or command[0]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *command[1:]], env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_up(slurm: Slurm) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--partition", "short", "--format", "%D %T"],
        env=slurm.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split() == ["2", "idle"]
