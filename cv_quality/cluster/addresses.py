"""Where a cluster is, as `CVQ_CLUSTER` and `--cluster` say it: only the grammar, nothing is reached here.

What is done with an address is in `cv_quality.cluster.connecting`.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from cv_quality.errors import SettingsError, near

EXAMPLES = "local, local?workers=4, tcp://HOST:PORT, tls://HOST:PORT, or slurm://PARTITION?jobs=4&walltime=02:00:00"
WAIT_SECONDS = 60
QUEUE_WAIT_SECONDS = 600
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """Processes of this machine, ended with the one that started them.

    Attributes:
        workers: how many.
        wait_seconds: how long a worker is waited for, at the start or when the last one is gone.
    """

    workers: int
    wait_seconds: int


@dataclass(frozen=True, slots=True)
class RunningScheduler:
    """A dask scheduler that somebody keeps running, with workers of its own: on hosts, or in Kubernetes."""

    uri: str
    wait_seconds: int


@dataclass(frozen=True, slots=True)
class SlurmQueue:
    """Workers as jobs of Slurm, one a job, begun and ended with the run.

    Attributes:
        jobs: the most that are in the queue at once.
        cores: of a job.
        memory: of a job, in Slurm's and dask's notation.
        walltime: of a job, as HH:MM:SS.
        gpus: of a job.
        account: that is charged; the user's own when None.
        host: address of this machine on the network of the nodes; found by itself when None.
    """

    partition: str
    jobs: int
    cores: int
    memory: str
    walltime: str
    gpus: int
    account: str | None
    host: str | None
    wait_seconds: int

    @property
    def walltime_seconds(self) -> int:
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return hours * 3600 + minutes * 60 + seconds


Address = LocalProcesses | RunningScheduler | SlurmQueue


def parse_address(text: str) -> Address:
    """Read the address of a cluster.

    Args:
        text: as said.

    Raises:
        SettingsError: it is none, or says what that kind of cluster does not take.

    >>> parse_address("local?workers=4")
    LocalProcesses(workers=4, wait_seconds=60)
    >>> parse_address("slurm://short?jobs=8").jobs
    8
    """
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise _malformed(text, str(error)) from error
    said = _Said(text, dict(parse_qsl(url.query, keep_blank_values=True)))
    if text.split("?")[0] == "local":
        return said.only(
            LocalProcesses(
                workers=said.get("workers", _whole, os.cpu_count() or 1), wait_seconds=said.get("wait", _whole, 60)
            )
        )
    if url.scheme in ("tcp", "tls"):
        if not url.hostname or not port or url.path or url.username:
            raise _malformed(text, "expected a host and a port")
        return said.only(RunningScheduler(f"{url.scheme}://{url.netloc}", said.get("wait", _whole, WAIT_SECONDS)))
    if url.scheme == "slurm":
        if url.path not in ("", "/") or not re.fullmatch(r"[A-Za-z0-9_.,-]+", url.netloc):
            raise _malformed(text, "expected the name of a partition")
        return said.only(_slurm(url.netloc, said))
    raise _malformed(text, "no such kind of cluster")


def _slurm(partition: str, said: "_Said") -> SlurmQueue:
    return SlurmQueue(
        partition=partition,
        jobs=said.get("jobs", _whole, 2),
        cores=said.get("cores", _whole, 1),
        memory=said.get("memory", _matching(r"[0-9]+(\.[0-9]+)?[MGT]B"), "4GB"),
        walltime=said.get("walltime", _walltime, "01:00:00"),
        gpus=said.get("gpus", int, 0),
        account=said.get("account", _matching(r"[A-Za-z0-9_.-]+"), None),
        host=said.get("host", _matching(r"[A-Za-z0-9.:-]+"), None),
        wait_seconds=said.get("wait", _whole, QUEUE_WAIT_SECONDS),
    )


@dataclass(slots=True)
class _Said:
    """What an address says after its question mark, and what of it was asked for."""

    text: str
    values: Mapping[str, str]
    asked: tuple[str, ...] = ()

    def get(self, name: str, read: Callable[[str], T], default: T) -> T:
        self.asked += (name,)
        if name not in self.values:
            return default
        try:
            return read(self.values[name])
        except ValueError as error:
            raise _malformed(self.text, f"{name} is {self.values[name]!r}") from error

    def only(self, address: Address) -> Address:
        """Give the address, unless more is said than it takes."""
        for name in self.values:
            if name not in self.asked:
                raise _malformed(self.text, f"{name!r} means nothing there: {near(name, self.asked)}")
        return address


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ValueError(text)
    return int(text)


def _matching(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return read


def _walltime(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]", text) or text.strip("0:") == "":
        raise ValueError(text)
    return text


def _malformed(text: str, reason: str) -> SettingsError:
    return SettingsError(f"CVQ_CLUSTER: {text!r} is no address of a cluster ({reason}); such as {EXAMPLES}")
