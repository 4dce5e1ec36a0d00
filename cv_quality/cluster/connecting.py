"""Reaches a cluster, or starts one that ends with the run: every wait is bounded, and what goes wrong is said in words.

Only this machine can reach what is started here for itself: processes listen on 127.0.0.1 and talk TLS with keys of
their own, since whoever can talk to a dask worker can have it run anything.
"""

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from cv_quality.cluster.addresses import Address, LocalProcesses, RunningScheduler, SlurmQueue
from cv_quality.errors import ClusterError
from cv_quality.extras import installing
from cv_quality.lake.store import make_private, typed_faults
from cv_quality.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 10
SLURM_SECONDS = 60
LIFETIME_PART = 10
"""The part of a job's time that is left when its worker takes no more keys and ends."""
LOST_WORKER = "distributed.deploy.lost-worker-timeout"
"""How long a worker that died may take to be there again. A local one always comes back; a job that is gone does not,
so that another one is asked for after this long.
"""
UNUSABLE = ("down", "drain", "fail", "unk", "maint", "boot", "power", "inval", "future")
"""Beginnings of the states of nodes on which Slurm starts nothing, nor where one does not answer ("idle*")."""
CONFIGURATION = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 2,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.daemon": False,
}
"""Of a scheduler started here: a worker is given one key at a time, so that only the key that it works on is held
against it when it dies; nothing is told over HTTP.
"""


def connected(address: Address, settings: Settings) -> "AbstractContextManager[Client]":
    """Reach the cluster of an address, with at least one worker.

    Args:
        address: where it is.
        settings: of the deployment.

    Raises:
        ClusterError: nothing answers, or there is no worker within the time that the address gives.
    """
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(
            f"dask.distributed cannot be imported ({error}); `{installing('cluster')}` brings it"
        ) from error
    # Workers that come and go are no news: what became of a key is said by who waits for it.
    logging.getLogger(distributed.__name__).setLevel(logging.CRITICAL)
    if isinstance(address, LocalProcesses):
        return _local(address)
    return _slurm(address, settings) if isinstance(address, SlurmQueue) else _running(address)


@contextmanager
def _local(address: LocalProcesses) -> "Iterator[Client]":
    import dask
    from distributed import Client, LocalCluster, Security

    security = Security.temporary()
    with (
        dask.config.set({**CONFIGURATION, LOST_WORKER: "24 hours"}),
        LocalCluster(
            n_workers=address.workers,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            protocol="tls://",
            security=security,
            dashboard_address=f"{LOOPBACK}:0",
            worker_dashboard_address=None,
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, security=security, timeout=CONNECT_SECONDS) as client,
    ):
        yield _with_workers(client, address.workers, seconds=address.wait_seconds, advice="see what it logged")


@contextmanager
def _running(address: RunningScheduler) -> "Iterator[Client]":
    import dask
    from distributed import Client

    with dask.config.set(CONFIGURATION):
        try:
            client = Client(address.uri, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, RuntimeError) as error:
            raise ClusterError(
                f"no dask scheduler answers at {address.uri} within {CONNECT_SECONDS} s ({_said(error)}); start "
                f"`dask scheduler` there, or name another address"
            ) from error
        with client:
            advice = f"start some with `dask worker {address.uri} --nthreads 1 --memory-limit 0`"
            yield _with_workers(client, 1, seconds=address.wait_seconds, advice=advice)


@contextmanager
def _slurm(address: SlurmQueue, settings: Settings) -> "Iterator[Client]":
    import dask
    from dask_jobqueue import SLURMCluster
    from distributed import Client, Security

    _require_nodes(address.partition)
    folder = settings.home / "cluster"
    with typed_faults(str(folder)):
        make_private(folder)
    security = Security.temporary()
    host = {"host": address.host} if address.host else {}
    try:
        with (
            dask.config.set({**CONFIGURATION, LOST_WORKER: "30s"}),
            SLURMCluster(
                **_job(address),
                log_directory=str(folder),
                shared_temp_directory=str(folder),
                security=security,
                scheduler_options={"dashboard_address": f"{LOOPBACK}:0", **host},
            ) as cluster,
        ):
            cluster.adapt(minimum_jobs=1, maximum_jobs=address.jobs, interval="1s", wait_count=10)
            with Client(cluster, security=security, timeout=CONNECT_SECONDS) as client:
                advice = f"`squeue` says what its jobs wait for, {folder} holds what they logged"
                yield _with_workers(client, 1, seconds=address.wait_seconds, advice=advice)
    except RuntimeError as error:
        raise ClusterError(f"Slurm did not take a job for partition {address.partition}: {_said(error)}") from error


def _job(address: SlurmQueue) -> dict[str, Any]:
    """The arguments that make a job; never `interface` beside `host`: workers then die without a word."""
    seconds = address.walltime_seconds
    margin = max(seconds // LIFETIME_PART, 1)
    extra = ["--lifetime", f"{seconds - margin}s", "--lifetime-stagger", f"{margin // 2}s", "--no-dashboard"]
    extra += ["--memory-limit", "0"]  # Slurm sees to it; dask would pause a worker near it, for good.
    if address.gpus:
        extra += ["--resources", f"GPU={address.gpus}"]
    if address.host == LOOPBACK:
        extra += ["--host", LOOPBACK]
    return {
        "queue": address.partition,
        "account": address.account,
        "cores": 1,
        "processes": 1,
        "job_cpu": address.cores,
        "memory": address.memory,
        "walltime": address.walltime,
        "python": sys.executable,
        "worker_extra_args": extra,
        "job_extra_directives": [f"--gpus={address.gpus}"] if address.gpus else [],
    }


def _require_nodes(partition: str) -> None:
    """Refuse a partition on which no job would ever start: the queue would take it, and hold it."""
    if not shutil.which("sbatch"):
        raise ClusterError("Slurm's command sbatch is not on the path; start this on a login node of the cluster")
    states = _sinfo("--noheader", "--partition", partition, "--format", "%T")
    if not states:
        known = " ".join(sorted(set(_sinfo("--noheader", "--format", "%R"))))
        raise ClusterError(f"Slurm has no partition {partition} with nodes; known: {known or 'none'}")
    if all(state.startswith(UNUSABLE) or state.endswith("*") for state in states):
        raise ClusterError(
            f"no node of partition {partition} takes jobs, all are {' or '.join(sorted(set(states)))}; `sinfo -R` says "
            "why, or name another partition"
        )


def _sinfo(*arguments: str) -> Sequence[str]:
    try:
        done = subprocess.run(["sinfo", *arguments], capture_output=True, text=True, timeout=SLURM_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"Slurm does not answer within {SLURM_SECONDS} s; `scontrol ping` says more") from error
    if done.returncode:
        raise ClusterError(f"Slurm does not answer: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return done.stdout.split()


def _with_workers(client: "Client", count: int, *, seconds: int, advice: str) -> "Client":
    """Wait for the first workers.

    Raises:
        ClusterError: there are fewer when the time is up.
    """
    try:
        client.wait_for_workers(count, timeout=seconds)
    except TimeoutError as error:
        raise ClusterError(
            f"no worker came within {seconds} s to the scheduler at {client.scheduler_info()['address']}; {advice}, "
            "or give it longer with wait=SECONDS in the address"
        ) from error
    return client


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
