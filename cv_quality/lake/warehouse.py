"""The metric tables in DuckDB: built by dbt into a new file, tested there, and swapped in by rename.

One writer at a time, held apart by a lock beside the file; readers never wait, and one that has the old file open
keeps it. Models are written by hand in `dbt_project/`, or follow from the tables (`cv_quality.lake.dbt_models`).
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cv_quality.errors import WarehouseError
from cv_quality.lake.dbt_models import (
    DBT_PROJECT,
    VERDICTS,
    read_verdicts,
    row_by_row,
    warehouse_tables,
    write_models,
)
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.sql import escaped_glob, read_parquet
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import PRIVATE_FILE, atomic_path, make_private, typed_faults
from cv_quality.settings import STORAGE_VERSION, isolated_environment

if TYPE_CHECKING:
    import duckdb

GENERATED = "generated"
_PROGRAM = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from dbt.cli.main import cli; cli()
"""
DBT = (sys.executable, "-c", _PROGRAM)
"""dbt in a process of its own: one that ran it in-process could not open the warehouse read-only afterwards. It ends
when its standard input does, which the operating system closes with whoever holds the other end, even one killed."""

WRITE_AHEAD = (".wal", ".wal.checkpoint", ".wal.recovery")
"""What one that writes to a DuckDB file keeps beside it, and leaves there when it dies."""

DONE = frozenset({"success", "pass", "warn"})
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
    storage_version: str = STORAGE_VERSION,
    lock_timeout_seconds: float = 600.0,
) -> WarehouseSummary:
    """Build the warehouse from the lake, test it, and put it in the place of `target`.

    Args:
        source: the lake's tables and files.
        target: the DuckDB file; its folder also holds the lock and, for the time of the build, the new file.
        project_dir: the dbt project, by default the one of the repository.
        memory_limit: DuckDB's, in its own notation.
        storage_version: the oldest DuckDB that is to read the file, as DuckDB names its storage versions.
        lock_timeout_seconds: how long to wait for another writer.

    Raises:
        WarehouseError: the project is not there, another writer holds on, dbt did not run, a model or test failed or
            is missing, or a table lacks rows; the old file then stays as it is.
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
            engine = {"memory_limit": memory_limit, "storage_compatibility_version": storage_version}
            return _build(source, target=target, project_dir=project_dir, folder=folder, engine=engine)


def _build(
    source: WarehouseSource, *, target: Path, project_dir: Path, folder: Path, engine: dict[str, str]
) -> WarehouseSummary:
    started = time.perf_counter()
    project = folder / "project"
    built = project / "warehouse.duckdb"
    shutil.copytree(project_dir, project, ignore=shutil.ignore_patterns(GENERATED, "target", "logs", "*.duckdb"))
    reads = write_generated(project, source)
    kept = {model: reads[name] for model, name in row_by_row(source.tables).items()}
    expected = _rows(kept, engine)
    nodes = _run_dbt(project, folder, engine)
    _refuse_failures(nodes, target)
    models = tuple(node for unique_id, node in nodes.items() if unique_id.startswith("model."))
    _refuse_lost_rows(_built_rows(built, models), expected, again=lambda: _rows(kept, engine))
    built.chmod(PRIVATE_FILE)
    _swap(built, target)
    with atomic_path(_made(target)) as made:
        made.write_text(_signature(target, source.identity))
    return WarehouseSummary(
        target=target,
        models=models,
        tests=tuple(node for unique_id, node in nodes.items() if unique_id.startswith("test.")),
        seconds=time.perf_counter() - started,
    )


def _swap(built: Path, target: Path) -> None:
    """Put the new file in the place of the old one, of which nothing may stay: DuckDB would add to the new file what
    somebody wrote to the old one, or refuse both. One that has the old file open may write until it is swapped.
    """
    _made(target).unlink(missing_ok=True)
    _remove_write_ahead(target)
    built.replace(target)
    _remove_write_ahead(target)


def _remove_write_ahead(target: Path) -> None:
    for path in _write_ahead(target):
        path.unlink(missing_ok=True)


def is_current(target: Path, identity: str) -> bool:
    """Tell whether a warehouse is the file that was built last, of what has this identity, and nobody wrote to it."""
    try:
        written_to = any(path.exists() for path in _write_ahead(target))
        return not written_to and _made(target).read_text() == _signature(target, identity)
    except (OSError, UnicodeDecodeError):
        return False


def _made(target: Path) -> Path:
    """The file that says what the warehouse beside it was made of, and which file that is."""
    return target.with_name(f"{target.name}.made")


def _write_ahead(target: Path) -> list[Path]:
    return [target.with_name(f"{target.name}{suffix}") for suffix in WRITE_AHEAD]


def _signature(target: Path, identity: str) -> str:
    found = target.stat()
    return f"{identity} {found.st_size} {found.st_mtime_ns}\n"


def write_generated(project_dir: Path, source: WarehouseSource) -> dict[str, str]:
    """Write what follows from the tables into the folder `generated` of a dbt project, in place of what was there.

    Returns:
        The SQL that reads each table, and the verdicts.
    """
    folder = project_dir / GENERATED
    shutil.rmtree(folder, ignore_errors=True)
    empty = folder / "empty"
    empty.mkdir(parents=True)
    tables = warehouse_tables(source.tables, project_dir)
    reads = {table.name: read_parquet([_empty(table, empty), *_files(table, source)]) for table in tables}
    reads[VERDICTS] = read_verdicts(_verdicts(source, empty))
    write_models(folder, tables=tables, reads=reads)
    return reads


def _files(table: Table, source: WarehouseSource) -> list[str]:
    """The files of a table: numbers of builds as far as they may be read, and all that there is of drops, refused ones
    too, as one glob where the lake is a folder.
    """
    lake, keys = source.lake, source.lake.keys(table)
    root = getattr(lake.store, "root", None)
    if table.mart or table.key == "build":
        keys = [key for key in keys if source.is_published(table, key)]
    elif keys and isinstance(root, Path):
        return [f"{escaped_glob(root.absolute() / table.name)}/{'*/*' if table.key == 'build_drop' else '*'}.parquet"]
    return [escaped_glob(lake.path(table, key).absolute()) for key in keys]


def _empty(table: Table, folder: Path) -> str:
    """A file with the table's columns and no row, so that a table without a file yet is an empty table."""
    import pyarrow.parquet as pq

    path = folder / f"{table.name}.parquet"
    pq.write_table(table.arrow_schema.empty_table(), path)
    return escaped_glob(path.absolute())


def _verdicts(source: WarehouseSource, folder: Path) -> list[str]:
    """The gates' verdicts, and a file without any."""
    lake = source.lake
    none = folder / f"{VERDICTS}.json"
    none.write_text("[]")
    written = [lake.store.local(info.key) for info in lake.store.list(f"{VERDICTS}/") if source.is_verdict(info.key)]
    return [escaped_glob(path.absolute()) for path in (none, *written)]


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
    """dbt's answer for every model and test of the project, by its unique id; everything that it writes goes below
    `folder`, and nothing of the environment reaches it.

    Paths are relative to the project, where dbt works: `folder` may be called anything, and dbt takes paths for URLs.
    """
    paths = {"project-dir": ".", "profiles-dir": ".", "target-path": "../target", "log-path": "../logs"}
    options = [f"--{name}={path}" for name, path in paths.items()]
    flags = ["--quiet", "--no-version-check", "--no-partial-parse", "--vars", json.dumps(variables)]
    done = _run(["build", *options, *flags], cwd=project_dir, environment=isolated_environment(folder))
    results = folder / "target" / "run_results.json"
    answers = json.loads(results.read_text())["results"] if results.is_file() else []
    if not answers or done.returncode not in (0, 1):
        said = "\n".join(output.strip() for output in (done.stdout, done.stderr) if output.strip())[-OUTPUT_SHOWN:]
        raise WarehouseError(f"dbt ended with {done.returncode} before it was done:\n{said}")
    found = {item["unique_id"]: item for item in answers}
    manifest = json.loads((folder / "target" / "manifest.json").read_text())["nodes"]
    return {name: _node(node, found.get(name, {})) for name, node in manifest.items() if _is_run(node)}


def _run(arguments: Sequence[str], *, cwd: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run dbt for as long as this process lives."""
    reading, writing = os.pipe()
    try:
        return subprocess.run(
            [*DBT, *arguments],
            cwd=cwd,
            env=environment,
            stdin=reading,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            umask=0o077,
        )
    finally:
        os.close(reading)
        os.close(writing)


def _is_run(node: Mapping[str, Any]) -> bool:
    return node["resource_type"] in ("model", "test") and node["config"]["materialized"] != "ephemeral"


def _node(declared: Mapping[str, Any], item: Mapping[str, Any]) -> NodeResult:
    about = declared.get("attached_node") or next(iter(declared["depends_on"]["nodes"]), declared["unique_id"])
    return NodeResult(
        name=declared["name"],
        model=declared["name"] if declared["resource_type"] == "model" else about.rsplit(".", 1)[-1],
        status=item.get("status", "not run"),
        seconds=item.get("execution_time", 0.0),
        failures=item.get("failures") or 0,
        message=item.get("message"),
    )


def _refuse_failures(nodes: Mapping[str, NodeResult], target: Path) -> None:
    undone = [node for node in nodes.values() if node.status not in DONE]
    failed = [node for node in undone if node.status in ("fail", "error")] or undone
    if failed:
        lines = [f"{node.name} on {node.model}: {node.message or node.status}" for node in failed]
        raise WarehouseError(
            f"{len(failed)} of the warehouse's models and tests failed; {target} stays:\n" + "\n".join(lines),
            failed=tuple((node.model, node.name, node.message or node.status) for node in failed),
        )


def _rows(reads: Mapping[str, str], engine: dict[str, str]) -> dict[str, int]:
    """Count the rows of what each model is made of."""
    import duckdb

    try:
        with duckdb.connect(config={**engine}) as connection:
            return {model: _count(connection, read) for model, read in reads.items()}
    except duckdb.Error as error:
        raise WarehouseError(f"the warehouse cannot be made of the lake's files: {error}") from error


def _built_rows(built: Path, models: Sequence[NodeResult]) -> dict[str, int]:
    """Count the rows of each table of a new file, which then holds all that was written to it."""
    import duckdb

    try:
        with duckdb.connect(str(built)) as connection:
            connection.execute("CHECKPOINT")
            return {node.name: _count(connection, f'"{node.name}"') for node in models}
    except duckdb.Error as error:
        raise WarehouseError(f"the new warehouse cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class MartContent:
    """What a metric table holds: rows, and of each column its name, its type in DuckDB and its comment."""

    rows: int
    columns: tuple[tuple[str, str, str], ...]


def contents(target: Path) -> dict[str, MartContent]:
    """Read what every metric table of a warehouse holds."""
    import duckdb

    question = "SELECT table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns()"
    with duckdb.connect(str(target), read_only=True) as connection:
        found = connection.execute(f"{question} WHERE NOT internal ORDER BY table_name, column_index").fetchall()
        columns = {table: tuple(row[1:] for row in rows) for table, rows in groupby(found, itemgetter(0))}
        return {table: MartContent(_count(connection, f'"{table}"'), of) for table, of in columns.items()}


def _count(connection: "duckdb.DuckDBPyConnection", relation: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
    return int(count)


def _refuse_lost_rows(
    built: Mapping[str, int], expected: Mapping[str, int], *, again: Callable[[], Mapping[str, int]]
) -> None:
    """Refuse tables without a row for each row of the lake, unless the lake changed while dbt read it: then what was
    built is due again.

    Args:
        built, expected: rows of each model, and rows of what it is made of before it was built.
        again: counts `expected` once more.
    """
    differing = [model for model, count in expected.items() if built.get(model) != count]
    now = again() if differing else expected
    lost = [model for model in differing if now[model] == expected[model]]
    if lost:
        raise WarehouseError(
            "; ".join(f"{model} has {built.get(model)} rows, the lake {expected[model]}" for model in lost)
            + ": the warehouse is incomplete, and the old one stays"
        )
