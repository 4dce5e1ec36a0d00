"""The metric tables in DuckDB: built by dbt into a new file, tested there, and swapped in by rename.

One writer at a time, held apart by a lock beside the file; readers never wait, and one that has the old file open
keeps it. The tables and their tests are in `dbt_project/`; what dbt reads of the lake in `cv_quality.lake.dbt_sources`.
"""

import fcntl
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_quality.errors import WarehouseError
from cv_quality.lake.dbt_sources import VERDICTS
from cv_quality.lake.lake import Lake
from cv_quality.lake.schema import Table
from cv_quality.lake.staging import staging_folder

DBT_PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
DBT = (sys.executable, "-c", "from dbt.cli.main import cli; cli()")
"""dbt in a process of its own: one that ran it in-process could not open the warehouse read-only afterwards."""

LOCK_POLL_SECONDS = 0.1
OUTPUT_SHOWN = 4_000


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What dbt says of one model or test.

    Attributes:
        name: of the model or test.
        model: the model that a test is about; the model itself for a model.
        status: "success", "pass", "warn", "fail", "error" or "skipped".
        failures: rows that break a test.
    """

    name: str
    model: str
    status: str
    seconds: float
    failures: int
    message: str | None

    @property
    def is_good(self) -> bool:
        """Whether it does not stand in the way of publishing; a warning does not."""
        return self.status in ("success", "pass", "warn")


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
    *,
    lake: Lake,
    tables: Sequence[Table],
    target: Path,
    project_dir: Path = DBT_PROJECT,
    memory_limit: str = "600MB",
    lock_timeout_seconds: float = 600.0,
) -> WarehouseSummary:
    """Build the warehouse from the lake, test it, and put it in the place of `target`.

    Args:
        tables: those that the lake may hold; the ones marked for the warehouse are read.
        lake: read through local files; from an object store the few tables needed are fetched first.
        target: the DuckDB file; its folder also holds the lock and, for the time of the build, the new file.
        project_dir: the dbt project, by default the one of the repository.
        memory_limit: DuckDB's, in its own notation.
        lock_timeout_seconds: how long to wait for another writer.

    Raises:
        WarehouseError: the project is not there, another writer holds on, dbt did not run, or a model or test failed;
            the old file then stays as it is.
    """
    if not (project_dir / "dbt_project.yml").is_file():
        raise WarehouseError(f"no dbt project in {project_dir}: pass the folder that holds dbt_project.yml")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        _only_writer(target, timeout=lock_timeout_seconds),
        staging_folder(target.parent, prefix=f".{target.name}-") as folder,
    ):
        started = time.perf_counter()
        built = folder / target.name
        variables = {
            "warehouse": str(built),
            "memory_limit": memory_limit,
            "lake_files": lake_files(lake, tables, folder),
        }
        nodes = _run_dbt(project_dir, folder, variables)
        _refuse_failures(nodes, target)
        built.replace(target)
        return WarehouseSummary(
            target=target,
            models=tuple(node for unique_id, node in nodes.items() if unique_id.startswith("model.")),
            tests=tuple(node for unique_id, node in nodes.items() if unique_id.startswith("test.")),
            seconds=time.perf_counter() - started,
        )


def mart_sources(tables: Iterable[Table]) -> dict[str, list[str]]:
    """Every metric table by name, with the lake tables that its model reads, through other models too."""
    found = {path.stem: path.read_text() for path in sorted((DBT_PROJECT / "models" / "marts").glob("*.sql"))}
    names = {table.name for table in tables}

    def read(model: str) -> set[str]:
        refs = re.findall(r"ref\('([a-z0-9_]+)'\)", found.get(model, ""))
        own = {ref.removeprefix("stg_") for ref in refs if ref.startswith("stg_")}
        return (own & names) | {name for ref in refs if ref in found for name in read(ref)}

    return {model: sorted(read(model)) for model in found}


def lake_files(lake: Lake, tables: Sequence[Table], folder: Path) -> dict[str, str]:
    """For each table that the warehouse reads, its files as a DuckDB list of paths and globs.

    The first is always an empty file with the table's columns, so that a table without a file yet is an empty table.
    """
    files = {t.name: [_empty(t, folder), *_files(lake, t)] for t in tables if t.mart or t.staged}
    return {name: _as_sql(paths) for name, paths in (files | {VERDICTS: _verdicts(lake, folder)}).items()}


def _files(lake: Lake, table: Table) -> list[str]:
    """One glob for a lake in a folder, a local copy of each file for any other; nothing for a table without files."""
    keys = lake.keys(table)
    root = getattr(lake.store, "root", None)
    if keys and isinstance(root, Path):
        return [f"{_escaped_glob(root.absolute() / table.name)}/{'*/*' if table.key == 'build_drop' else '*'}.parquet"]
    return [_escaped_glob(lake.path(table, key)) for key in keys]


def _empty(table: Table, folder: Path) -> str:
    import pyarrow.parquet as pq

    path = folder / "empty" / f"{table.name}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table.arrow_schema.empty_table(), path)
    return _escaped_glob(path)


def _verdicts(lake: Lake, folder: Path) -> list[str]:
    """The gates' verdicts, one file each, and a file without any."""
    none = folder / "empty" / f"{VERDICTS}.json"
    none.write_text("[]")
    written = [lake.store.local(info.key) for info in lake.store.list(f"{VERDICTS}/")]
    return [_escaped_glob(path.absolute()) for path in (none, *written)]


def _escaped_glob(path: Path) -> str:
    """A path in which no character is taken for a wildcard."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def _as_sql(paths: Sequence[str]) -> str:
    """A list literal, braces doubled because dbt-duckdb takes a location for a Python format string.

    >>> _as_sql(["it's.parquet"])
    "['it''s.parquet']"
    """
    text = "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"
    return text.replace("{", "{{").replace("}", "}}")


@contextmanager
def _only_writer(target: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock beside the warehouse; the operating system frees it when a writer dies."""
    path = target.with_name(f"{target.name}.lock")
    deadline = time.monotonic() + timeout
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


def dbt_command(project_dir: Path, folder: Path, variables: Mapping[str, object]) -> list[str]:
    """The command line of one `dbt build`; everything that dbt writes goes below `folder`."""
    paths = {"--project-dir": project_dir, "--profiles-dir": project_dir, "--target-path": folder / "target"}
    options = [part for name, value in {**paths, "--log-path": folder / "logs"}.items() for part in (name, str(value))]
    flags = ["--quiet", "--no-version-check", "--no-partial-parse"]
    return [*DBT, "build", *options, *flags, "--vars", json.dumps(variables)]


def _run_dbt(project_dir: Path, folder: Path, variables: Mapping[str, object]) -> dict[str, NodeResult]:
    """dbt's answer for every model and test, by its unique id."""
    command = dbt_command(project_dir.absolute(), folder, variables)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    results = folder / "target" / "run_results.json"
    if not results.is_file():
        raise WarehouseError(
            f"dbt ended with {done.returncode} before it ran a model:\n{_last(done.stdout, done.stderr)}"
        )
    manifest = json.loads((folder / "target" / "manifest.json").read_text())["nodes"]
    nodes = {item["unique_id"]: item for item in json.loads(results.read_text())["results"]}
    return {unique_id: _node(manifest[unique_id], item) for unique_id, item in nodes.items()}


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


def _last(*outputs: str) -> str:
    return "\n".join(output.strip() for output in outputs if output.strip())[-OUTPUT_SHOWN:]
