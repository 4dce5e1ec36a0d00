"""The metric tables in DuckDB: built by dbt into a new file, tested there, and swapped in by rename.

One writer at a time, held apart by a lock beside the file; readers never wait, and one that has the old file open
keeps it. Models are written by hand in `dbt_project/`, or follow from the tables (`cv_quality.lake.dbt_models`).
"""

import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_quality.errors import WarehouseError
from cv_quality.lake.dbt_models import DBT_PROJECT, VERDICTS, warehouse_tables, write_models
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import PRIVATE_FILE, atomic_path, make_private, typed_faults

GENERATED = "generated"
DBT = (sys.executable, "-c", "from dbt.cli.main import cli; cli()")
"""dbt in a process of its own: one that ran it in-process could not open the warehouse read-only afterwards."""

LOCK_POLL_SECONDS = 0.1
OUTPUT_SHOWN = 4_000


@dataclass(frozen=True, slots=True)
class WarehouseSource:
    """What a warehouse is made of.

    Attributes:
        lake: read through local files; from an object store the few tables needed are fetched first.
        tables: those that the lake may hold.
        is_published: whether the warehouse may read a table's file for a build.
        is_verdict: whether an object of the folder of verdicts can be read as one.
        identity: of all that it would be made of now.
    """

    lake: Lake
    tables: tuple[Table, ...]
    is_published: Callable[[Table, TableKey], bool]
    is_verdict: Callable[[str], bool] = lambda _key: True
    identity: str = ""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What dbt says of one model or test.

    Attributes:
        name, model: of the model or test, and the model that a test is about; the model itself for a model.
        status: "success", "pass", "warn", "fail", "error" or "skipped".
        failures: rows that break a test.
    """

    name: str
    model: str
    status: str
    seconds: float
    failures: int
    message: str | None


@dataclass(frozen=True, slots=True)
class WarehouseSummary:
    """A published warehouse.

    Attributes:
        models: the tables built.
        tests: every test, passed or with a warning.
        seconds: from taking the lock to the swap.
    """

    target: Path
    models: tuple[NodeResult, ...]
    tests: tuple[NodeResult, ...]
    seconds: float


def build_warehouse(
    source: WarehouseSource,
    *,
    target: Path,
    project_dir: Path = DBT_PROJECT,
    memory_limit: str = "600MB",
    lock_timeout_seconds: float = 600.0,
) -> WarehouseSummary:
    """Build the warehouse from the lake, test it, and put it in the place of `target`.

    Args:
        source: the lake's tables and files.
        target: the DuckDB file; its folder also holds the lock and, for the time of the build, the new file.
        project_dir: the dbt project, by default the one of the repository.
        memory_limit: DuckDB's, in its own notation.
        lock_timeout_seconds: how long to wait for another writer.

    Raises:
        WarehouseError: the project is not there, another writer holds on, dbt did not run, or a model or test failed;
            the old file then stays as it is.
        StoreError: it cannot be written.
    """
    if not (project_dir / "dbt_project.yml").is_file():
        raise WarehouseError(f"no dbt project in {project_dir}: pass the folder that holds dbt_project.yml")
    with typed_faults(str(target)):
        make_private(target.parent)
        with (
            _only_writer(target, timeout=lock_timeout_seconds),
            staging_folder(target.parent, prefix=f".{target.name}-") as folder,
        ):
            return _build(source, target=target, project_dir=project_dir, folder=folder, memory_limit=memory_limit)


def _build(
    source: WarehouseSource, *, target: Path, project_dir: Path, folder: Path, memory_limit: str
) -> WarehouseSummary:
    started = time.perf_counter()
    built, project = folder / target.name, folder / "project"
    shutil.copytree(project_dir, project, ignore=shutil.ignore_patterns(GENERATED, "target", "logs", "*.duckdb"))
    write_generated(project, source)
    nodes = _run_dbt(project, folder, {"warehouse": str(built), "memory_limit": memory_limit})
    _refuse_failures(nodes, target)
    built.chmod(PRIVATE_FILE)
    _made(target).unlink(missing_ok=True)
    built.replace(target)
    with atomic_path(_made(target)) as made:
        made.write_text(_signature(target, source.identity))
    return WarehouseSummary(
        target=target,
        models=tuple(node for unique_id, node in nodes.items() if unique_id.startswith("model.")),
        tests=tuple(node for unique_id, node in nodes.items() if unique_id.startswith("test.")),
        seconds=time.perf_counter() - started,
    )


def is_current(target: Path, identity: str) -> bool:
    """Tell whether a warehouse is the file that was built last, of what has this identity."""
    try:
        return _made(target).read_text() == _signature(target, identity)
    except (OSError, UnicodeDecodeError):
        return False


def _made(target: Path) -> Path:
    """The file that says what the warehouse beside it was made of, and which file that is."""
    return target.with_name(f"{target.name}.made")


def _signature(target: Path, identity: str) -> str:
    found = target.stat()
    return f"{identity} {found.st_size} {found.st_mtime_ns}\n"


def write_generated(project_dir: Path, source: WarehouseSource) -> None:
    """Write what follows from the tables into the folder `generated` of a dbt project, in place of what was there."""
    folder = project_dir / GENERATED
    shutil.rmtree(folder, ignore_errors=True)
    empty = folder / "empty"
    empty.mkdir(parents=True)
    tables = warehouse_tables(source.tables, project_dir)
    files = {table.name: [_empty(table, empty), *_files(table, source)] for table in tables}
    write_models(folder, tables=tables, files=files | {VERDICTS: _verdicts(source, empty)})


def _files(table: Table, source: WarehouseSource) -> list[str]:
    """The files of a table: numbers of builds as far as they may be read, and all that there is of drops, refused ones
    too, as one glob where the lake is a folder.
    """
    lake, keys = source.lake, source.lake.keys(table)
    root = getattr(lake.store, "root", None)
    if table.mart or table.key == "build":
        keys = [key for key in keys if source.is_published(table, key)]
    elif keys and isinstance(root, Path):
        return [f"{_escaped_glob(root.absolute() / table.name)}/{'*/*' if table.key == 'build_drop' else '*'}.parquet"]
    return [_escaped_glob(lake.path(table, key).absolute()) for key in keys]


def _empty(table: Table, folder: Path) -> str:
    """A file with the table's columns and no row, so that a table without a file yet is an empty table."""
    import pyarrow.parquet as pq

    path = folder / f"{table.name}.parquet"
    pq.write_table(table.arrow_schema.empty_table(), path)
    return _escaped_glob(path.absolute())


def _verdicts(source: WarehouseSource, folder: Path) -> list[str]:
    """The gates' verdicts, and a file without any."""
    lake = source.lake
    none = folder / f"{VERDICTS}.json"
    none.write_text("[]")
    written = [lake.store.local(info.key) for info in lake.store.list(f"{VERDICTS}/") if source.is_verdict(info.key)]
    return [_escaped_glob(path.absolute()) for path in (none, *written)]


def _escaped_glob(path: Path) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


@contextmanager
def _only_writer(target: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock beside the warehouse; the operating system frees it when a writer dies."""
    path = target.with_name(f"{target.name}.lock")
    deadline = time.monotonic() + timeout
    path.touch(PRIVATE_FILE)
    with path.open("a") as file:
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise WarehouseError(f"another process has been building {target} for {timeout:g} s: lock {path}")
            time.sleep(LOCK_POLL_SECONDS)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _run_dbt(project_dir: Path, folder: Path, variables: Mapping[str, object]) -> dict[str, NodeResult]:
    """dbt's answer for every model and test, by its unique id; everything that it writes goes below `folder`."""
    paths = {"project-dir": project_dir, "profiles-dir": project_dir}
    paths |= {"target-path": folder / "target", "log-path": folder / "logs"}
    options = [f"--{name}={path}" for name, path in paths.items()]
    flags = ["--quiet", "--no-version-check", "--no-partial-parse", "--vars", json.dumps(variables)]
    command = [*DBT, "build", *options, *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, umask=0o077)
    results = folder / "target" / "run_results.json"
    if not results.is_file():
        said = "\n".join(output.strip() for output in (done.stdout, done.stderr) if output.strip())[-OUTPUT_SHOWN:]
        raise WarehouseError(f"dbt ended with {done.returncode} before it ran a model:\n{said}")
    manifest = json.loads((folder / "target" / "manifest.json").read_text())["nodes"]
    answers = json.loads(results.read_text())["results"]
    return {item["unique_id"]: _node(manifest[item["unique_id"]], item) for item in answers}


def _node(declared: Mapping[str, Any], item: Mapping[str, Any]) -> NodeResult:
    about = declared.get("attached_node") or next(iter(declared["depends_on"]["nodes"]), item["unique_id"])
    return NodeResult(
        name=declared["name"],
        model=declared["name"] if declared["resource_type"] == "model" else about.rsplit(".", 1)[-1],
        status=item["status"],
        seconds=item["execution_time"],
        failures=item["failures"] or 0,
        message=item["message"],
    )


def _refuse_failures(nodes: Mapping[str, NodeResult], target: Path) -> None:
    failed = [node for node in nodes.values() if node.status in ("fail", "error")]
    if failed:
        lines = [f"{node.name} on {node.model}: {node.message}" for node in failed]
        raise WarehouseError(
            f"{len(failed)} of the warehouse's models and tests failed; {target} stays:\n" + "\n".join(lines),
            failed=tuple((node.model, node.name, node.message or node.status) for node in failed),
        )
    if not nodes:
        raise WarehouseError("dbt found no model to build: is the dbt project complete?")
