"""Hands the keys of a phase to the workers of a cluster, and takes back what was done of each.

No key is lost with a worker: dask gives it to another one, and what a dead one wrote appears whole or not at all. What
dies with every worker that tries it is given up and recorded, for `cvq why`.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from cv_quality.cluster.addresses import Address, LocalProcesses, SlurmQueue, parse_address
from cv_quality.cluster.connecting import CONNECT_SECONDS, connected
from cv_quality.cluster.work import STORE_RETRIES, Home, do_key, proof, shown_home
from cv_quality.errors import ClusterError, CvQualityError, WorkerLost
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import Failure, write_failure
from cv_quality.lake.lake import TableKey
from cv_quality.runner import KeyDone, run_phase
from cv_quality.settings import Settings
from cv_quality.stage import Phase, PhaseName, Task
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Client, Future

LOOK_SECONDS = 2.0
"""How often it is looked whether scheduler and workers are still there, while nothing is done."""
GPU = "GPU"
"""The resource that workers declare: `dask worker --resources GPU=1`."""
ON_GPU: tuple[PhaseName, ...] = ("score", "measure")
"""What runs models or compares all pairs: done by workers with a GPU, where there are any."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """An engine (see `cv_quality.runner.Engine`) over the workers of a cluster.

    Attributes:
        workspace: the deployment whose keys are handed out.
        home: what every worker has proved to see.
        sees_reports: whether workers also see the folders that reports are written to; if not, this process reports.
        wait_seconds: how long it is waited for a worker when there is none left.
        is_again: whether stages that have passed are run, too.
    """

    workspace: Workspace
    client: "Client"
    home: Home
    sees_reports: bool
    wait_seconds: int
    is_again: bool = False

    def again(self) -> "Cluster":
        """Make the engine that runs stages that have passed, too."""
        return replace(self, is_again=True)

    def __call__(self, task: Task, phase: Phase, keys: Sequence[TableKey]) -> Iterator[KeyDone]:
        """Run a phase for keys; yields what was done of each, in the order in which they end.

        Raises:
            ClusterError: the scheduler is gone, no worker is left, or one cannot do the work. What was done stays.
            StoreError: a store cannot be reached, after tries by several workers.
        """
        if phase.reads_warehouse and not self.sees_reports:
            yield from (run_phase(self.workspace, task, phase, key, is_again=self.is_again) for key in keys)
            return
        run = secrets.token_hex(4)
        named = {f"{phase.name}-{run}-{number}": key for number, key in enumerate(keys)}
        futures = self.client.map(
            partial(do_key, self.home, task.name, phase.name, is_again=self.is_again),
            list(named.values()),
            key=list(named),
            pure=False,
            retries=STORE_RETRIES,
            resources={GPU: 1} if phase.name in ON_GPU and self._has_gpus() else None,
        )
        try:
            for n_done, future in enumerate(self._ended(futures)):
                yield self._outcome(future, task, phase, named[future.key], done=f"{n_done} of {len(keys)}")
        finally:
            for future in futures:
                future.release()

    def _ended(self, futures: "Sequence[Future]") -> "Iterator[Future]":
        """Yield futures as they end.

        Raises:
            ClusterError: the scheduler does not answer, or there was no worker for long.
        """
        ended: SimpleQueue[Future] = SimpleQueue()
        for future in futures:
            future.add_done_callback(ended.put)
        seen = time.monotonic()
        for n_done in range(len(futures)):
            while True:
                with suppress(Empty):
                    yield ended.get(timeout=LOOK_SECONDS)
                    break
                if self._workers(done=f"{n_done} of {len(futures)}"):
                    seen = time.monotonic()
                elif time.monotonic() - seen > self.wait_seconds:
                    raise ClusterError(
                        f"no worker has been there for {self.wait_seconds} s, with {n_done} of {len(futures)} keys "
                        "done; what was done stays, and the same command does the rest once there are workers"
                    )

    def _workers(self, *, done: str) -> int:
        try:
            return len(self.client.sync(self.client.scheduler.ncores, callback_timeout=CONNECT_SECONDS))
        except (OSError, TimeoutError, RuntimeError, AttributeError) as error:
            raise _gone(self.home, done) from error

    def _has_gpus(self) -> bool:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker["resources"].get(GPU) for worker in workers)

    def _outcome(self, future: "Future", task: Task, phase: Phase, key: TableKey, *, done: str) -> KeyDone:
        """What was done of a key; where every worker died with it, that is recorded."""
        from distributed.scheduler import KilledWorker

        if future.status not in ("finished", "error"):
            raise _gone(self.home, done)
        error = future.exception(timeout=self.wait_seconds) if future.status == "error" else None
        if isinstance(error, KilledWorker):
            return self._lost(task, phase, key)
        if error is not None:
            raise error
        try:
            outcome: KeyDone = future.result(timeout=self.wait_seconds)
        except (OSError, TimeoutError) as fault:
            raise _gone(self.home, done) from fault
        return outcome

    def _lost(self, task: Task, phase: Phase, key: TableKey) -> KeyDone:
        error = WorkerLost(
            f"every process that began phase {phase.name!r} of {key} was ended from outside or crashed: look for a "
            "lack of memory, then have it done again"
        )
        reason = f"{type(error).__name__}: {error}"
        freshness = Freshness(self.workspace, task)
        stages = (stage for stage in task.of_phase(phase.name) if freshness.state(stage, key) != "passed")
        if stage := next(stages, None):
            with suppress(CvQualityError):
                failure = Failure(reason, freshness.identity(stage, key))
                write_failure(self.workspace.lake, stage.name, key, failure)
        return KeyDone(key, refused=reason)


@contextmanager
def opened(workspace: Workspace, text: str) -> Iterator[Cluster]:
    """Reach or start a cluster, and have its workers prove that they can do the work.

    Args:
        workspace: the deployment whose keys will be handed out.
        text: address of the cluster.

    Raises:
        SettingsError: the address is malformed.
        ClusterError: nothing answers, there is no worker, or one cannot do the work: the reason is named.
    """
    address = parse_address(text)
    threads = _threads(address, workspace.settings)
    with connected(address, workspace.settings) as client, shown_home(workspace, threads=threads) as home:
        yield Cluster(workspace, client, home, _see_reports(client, home), address.wait_seconds)


def _threads(address: Address, settings: Settings) -> int:
    """How many threads a worker has: those of this machine are shared out, others have what the settings say."""
    if isinstance(address, LocalProcesses):
        return max(settings.threads // address.workers, 1)
    return address.cores if isinstance(address, SlurmQueue) else settings.threads


def _see_reports(client: "Client", home: Home) -> bool:
    """Have every worker prove that it can do the work; whether all of them see where reports are written.

    Raises:
        ClusterError: one of them cannot; all that cannot are named.
    """
    answers = client.run(proof, home, on_error="return")
    unfit = [
        str(answer) if isinstance(answer, CvQualityError) else f"worker {worker}: {type(answer).__name__}: {answer}"
        for worker, answer in sorted(answers.items())
        if isinstance(answer, Exception) and not isinstance(answer, OSError)
    ]
    if unfit:
        raise ClusterError("; ".join(unfit))
    return all(answer is True for answer in answers.values())


def _gone(home: Home, done: str) -> ClusterError:
    where = home.settings.cluster or "of the cluster"
    return ClusterError(
        f"the scheduler {where} does not answer any more, with {done} keys done; what was done stays, and the same "
        "command does the rest once it is there again"
    )
