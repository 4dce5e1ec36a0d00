"""What a worker does: prove that it can, then run a phase for one key as any process would.

This is all that runs in the processes of a cluster. Who hands the keys out is in `cv_quality.cluster.running`.
"""

import hashlib
import os
import platform
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.errors import ClusterError, ObjectNotFound, StoreError, stops_a_run
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import PRIVATE_FILE, make_private, typed_faults
from cv_quality.runner import KeyDone, run_phase
from cv_quality.settings import Recipients, Settings
from cv_quality.stage import PHASES
from cv_quality.tasks import TASKS, open_workspace
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from distributed import Worker

DECIDING = (
    *("dask", "distributed", "duckdb", "numba", "numpy", "onnxruntime", "opencv-python-headless"),
    *("polars", "pyarrow", "scikit-learn", "scipy", "torch"),
)
"""Packages on whose version the bytes of a result, or what is said between processes, depend."""
MANIFESTS_SHOWN = 20
STORE_RETRIES = 2
STORE_RETRY_SECONDS = 2.0
PRIVATE_UMASK = 0o077


@dataclass(frozen=True, slots=True)
class Home:
    """What every worker must have in common with the process that hands the keys out.

    Attributes:
        settings: of the deployment, without those who are told of builds.
        token: content of a file that lies in the lake, and of one beside the reports, as long as the run lasts.
        landing: digests of some manifests, by drop.
        registry: digest of the entries of the model registry.
        versions: of the package's code, Python and other packages.
    """

    settings: Settings
    token: str
    landing: Mapping[str, str]
    registry: str
    versions: Mapping[str, str]

    @property
    def mark(self) -> str:
        """Name of the files that hold the token; unfinished writes are called so, and cleaned up where they stay."""
        return f".cluster-{hashlib.sha256(self.token.encode()).hexdigest()[:16]}.part"

    @property
    def folders(self) -> set[Path]:
        """Local folders that reporting reads and writes, wherever the lake is."""
        return {self.settings.reports, self.settings.warehouse.parent}


@contextmanager
def shown_home(workspace: Workspace, *, threads: int) -> Iterator[Home]:
    """Leave a token in the deployment's stores for workers to find, until the run is over.

    Args:
        workspace: whose stores they are.
        threads: of a worker.
    """
    settings = replace(workspace.settings, threads=threads, recipients=Recipients())
    landing = sorted(workspace.landing.folders())[-MANIFESTS_SHOWN:]
    home = Home(
        settings,
        secrets.token_hex(16),
        {drop: digest for drop in landing if (digest := _manifest(workspace, drop))},
        _registry(workspace),
        _versions(),
    )
    store, token = workspace.lake.store, home.token.encode()
    files = [folder / home.mark for folder in home.folders]
    try:
        store.write_bytes(home.mark, token)
        for file in files:
            with typed_faults(str(file)):
                make_private(file.parent)
                file.touch(PRIVATE_FILE)
                file.write_bytes(token)
        yield home
    finally:
        with suppress(StoreError):
            store.delete(home.mark)
        for file in files:
            with suppress(OSError):
                file.unlink(missing_ok=True)


def do_key(home: Home, task_name: str, phase_name: str, key: TableKey, *, is_again: bool) -> KeyDone:
    """Run a phase for a key, in a worker that has proved that it can.

    Raises:
        ClusterError: the worker cannot do the work.
        StoreError: a store cannot be reached; worth another try, by another worker too.
    """
    from distributed import get_worker

    workspace = proved(home, get_worker())
    phase = next(phase for phase in PHASES.values() if phase.name == phase_name)
    if phase.reads_warehouse and not sees_reports(home):
        raise ClusterError(f"worker {_name()} does not see {home.settings.reports}: it cannot report builds")
    (task,) = (task for task in TASKS if task.name == task_name)
    try:
        return run_phase(workspace, task, phase, key, is_again=is_again)
    except StoreError as error:
        if stops_a_run(error):
            time.sleep(STORE_RETRY_SECONDS)
        raise


def proof(home: Home, *, dask_worker: "Worker") -> bool:
    """Prove that this worker can do the work; returns whether it also sees where reports are written.

    Args:
        home: what it must see.
        dask_worker: this worker; dask gives it under this name.

    Raises:
        ClusterError: it cannot.
    """
    proved(home, dask_worker)
    return sees_reports(home)


def sees_reports(home: Home) -> bool:
    """Tell whether reports that are written here are those of the process that hands the keys out."""
    with suppress(OSError):
        return all((folder / home.mark).read_text() == home.token for folder in home.folders)
    return False


_PROVED: dict[str, Workspace] = {}
"""The deployments that this worker has proved to see, by token: once a process and run."""


def proved(home: Home, worker: "Worker") -> Workspace:
    """Open the deployment in this worker, once it has proved that it is the same.

    Args:
        home: what it must see.
        worker: this worker.

    Raises:
        ClusterError: its code, its packages or its stores are others, or it would do several keys at once.
    """
    if home.token not in _PROVED:
        os.umask(PRIVATE_UMASK)
        _require_same_versions(home.versions)
        if (threads := worker.state.nthreads) != 1:
            raise ClusterError(
                f"worker {_name()} does {threads} keys at once: start it with --nthreads 1, and more workers for more "
                "keys"
            )
        if worker.memory_manager.memory_limit:
            raise ClusterError(
                f"worker {_name()} has a memory limit of dask's: near it a worker is paused, and one that has loaded "
                "its models would stay so; start it with --memory-limit 0, and limit it by other means"
            )
        workspace = open_workspace(home.settings)
        _require_same_stores(workspace, home)
        _PROVED[home.token] = workspace
    return _PROVED[home.token]


def _require_same_versions(expected: Mapping[str, str]) -> None:
    own = _versions()
    differ = [f"{name} {own.get(name)}, not {said}" for name, said in expected.items() if own.get(name) != said]
    if differ:
        raise ClusterError(
            f"worker {_name()} has {'; '.join(differ)}: results would not be the same; install the same versions there "
            "and start it again"
        )


def _require_same_stores(workspace: Workspace, home: Home) -> None:
    settings = home.settings
    try:
        found = workspace.lake.store.read_bytes(home.mark).decode()
    except ObjectNotFound:
        found = ""
    if found != home.token:
        raise ClusterError(
            f"worker {_name()} does not see the lake {settings.lake}: what was just written there is not there; mount "
            "the same folder at the same path, or name an s3:// lake"
        )
    for drop, digest in home.landing.items():
        if _manifest(workspace, drop) != digest:
            raise ClusterError(
                f"worker {_name()} does not see the landing area {settings.landing}: the manifest of drop {drop} is "
                "another one or absent; mount the same folder at the same path, or name an s3:// landing area"
            )
    if _registry(workspace) != home.registry:
        raise ClusterError(
            f"worker {_name()} does not see the model registry {settings.registry}: its entries are others; mount the "
            "same folder at the same path, or name an s3:// registry"
        )


def _manifest(workspace: Workspace, drop: str) -> str:
    try:
        return hashlib.sha256(workspace.landing.read_bytes(f"{drop}/manifest.json")).hexdigest()
    except StoreError:
        return ""


def _registry(workspace: Workspace) -> str:
    registry, digest = workspace.registry, hashlib.sha256()
    for build in registry.build_ids():
        digest.update(registry.entry_file(build))
    return digest.hexdigest()


@cache
def _versions() -> dict[str, str]:
    found = {"cv_quality": _code_digest(), "python": platform.python_version()}
    for name in DECIDING:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _code_digest() -> str:
    """Digest of the package's code: what is being developed has the same version from one hour to the next."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _name() -> str:
    return f"{socket.gethostname()} (process {os.getpid()})"
