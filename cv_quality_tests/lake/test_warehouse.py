"""The warehouse with real dbt runs: what it holds, what stops it, and what its readers notice."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cv_quality.drops.tables import QUARANTINE_PARSE
from cv_quality.errors import WarehouseError
from cv_quality.gates.verdicts import ExpectationResult, Verdict, write_verdict
from cv_quality.lake import warehouse
from cv_quality.lake.dbt_models import DBT_PROJECT, mart_sources, warehouse_tables
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import open_store
from cv_quality.lake.warehouse import (
    WarehouseSource,
    WarehouseSummary,
    build_warehouse,
    is_current,
    write_generated,
)
from cv_quality.settings import Settings
from cv_quality.tasks import TASKS, open_workspace, tables_of, warehouse_source
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION, FAILURE_SLICES, SLICE_SEARCHES, SLICE_TRENDS
from cv_quality.tasks.verification.tables import INTERVALS
from cv_quality_tests.deployment import digest_of
from cv_quality_tests.tasks.root_causes.finding_rows import KEY, sound, write_findings
from cv_quality_tests.tasks.verification.scored_drops import measure, score_drop
from cv_quality_tests.tasks.verification.tiny_drops import random_drop, write_drop

HOSTILE = """it's a {% endraw %} {{ 1 }} #1 [2026] 100% "ü" * """
"""Name of a folder, each part of which a tool takes for something else."""
ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "embedding",
    "frame",
    "raw",
    "detail",
    "subject_id",
    "attempt_id",
    "reference_subject_id",
    "examples_json",
    "skipped_json",
    "map",
}


def source_of(lake: Lake) -> WarehouseSource:
    """What the warehouse is made of, the verdicts of gates looked up in the lake."""
    workspace = open_workspace(Settings.from_environment({"CVQ_LAKE": lake.store.uri}))
    return warehouse_source(workspace)


def all_of(lake: Lake) -> WarehouseSource:
    """The same for a lake whose tables no gate has judged."""
    return replace(source_of(lake), is_published=lambda *_: True)


def filled(lake: Lake) -> Lake:
    """Two drops of one build, scored by it and by its baseline, with two quarantined rows."""
    for seed, drop in enumerate(("d1", "d2")):
        enrols, attempts = random_drop(seed=seed, subjects=["ann", "bob", "cyd"], attempts=6, prefix=f"{drop}-")
        write_drop(lake, drop=drop, build="b1", enrols=enrols, attempts=attempts, models=("b1", "b0"))
        for model in ("b1", "b0"):
            score_drop(lake, drop, model=model)
    measure(lake, build="b1", drops=["d1", "d2"], models=["b1", "b0"])
    lake.write(QUARANTINE_PARSE, TableKey(drop="d1"), quarantined("d1"))
    write_findings(lake, sound())
    for drop, passed in (("d1", True), ("d2", False)):
        rule = ExpectationResult("no blur", "raw_attempts", "Any", passed, False, 9, n_unexpected=2, examples=("a-1",))
        write_verdict(lake, Verdict("parse", drop, passed, {}, (rule,)))
    return lake


def quarantined(drop: str) -> pl.DataFrame:
    rows = [(drop, "events-0.jsonl.zst", line, "parse", None, None, "bad_json", "…", "{", 1) for line in (3, 9)]
    return pl.DataFrame(rows, schema=QUARANTINE_PARSE.names, orient="row").cast({"event_kind": str, "event_id": str})


def ask(warehouse: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, WarehouseSummary]:
    folder = tmp_path_factory.mktemp(HOSTILE)
    lake = filled(Lake(open_store(str(folder / "lake"))))
    return lake, build_warehouse(all_of(lake), target=folder / "warehouse.duckdb")


def test_every_model_is_built_and_every_test_passes(built: tuple[Lake, WarehouseSummary]) -> None:
    _, summary = built
    assert {node.status for node in summary.tests} == {"pass"}
    tables = {name for (name,) in ask(summary.target, "SELECT table_name FROM duckdb_tables()")}
    assert tables == {node.name for node in summary.models}
    assert {test.model for test in summary.tests} <= tables


def test_no_biometric_row_and_no_view_into_the_lake_is_in_the_warehouse(built: tuple[Lake, WarehouseSummary]) -> None:
    _, summary = built
    columns = {name for (name,) in ask(summary.target, "SELECT column_name FROM duckdb_columns() WHERE NOT internal")}
    assert columns.isdisjoint(FORBIDDEN)
    assert ask(summary.target, "SELECT view_name FROM duckdb_views() WHERE NOT internal") == []


def test_facts_say_what_the_lake_says(built: tuple[Lake, WarehouseSummary]) -> None:
    lake, summary = built
    rates = ask(
        summary.target,
        "SELECT model_build_id, sum(numerator)::int, sum(denominator)::int FROM fct_attempt_rates "
        "WHERE build_id = 'b1' AND metric = 'fnmr' AND dimension = 'all' GROUP BY 1 ORDER BY 1",
    )
    whole = lake.read(INTERVALS, TableKey(build="b1")).filter(metric="fnmr", dimension="all").sort("model_build_id")
    assert rates == whole.select("model_build_id", "numerator", "denominator").rows()
    assert ask(summary.target, "SELECT drop_id, reason, n_rows FROM fct_quarantine") == [("d1", "bad_json", 2)]
    assert ask(summary.target, "SELECT n, p50_ms FROM fct_latency") == [(36, 100.0)]
    assert ask(summary.target, "SELECT count(*) FROM fct_parity") == [(0,)]
    verdicts = ask(summary.target, "SELECT judged_key, is_passed, n_failed FROM fct_gate_verdicts ORDER BY 1")
    assert verdicts == [("d1", True, 0), ("d2", False, 1)]
    assert ask(summary.target, "SELECT judged_key, expectation, n_rows FROM fct_data_quality") == [("d2", "no blur", 2)]


def test_what_a_build_fails_at_can_be_asked_of_the_warehouse(built: tuple[Lake, WarehouseSummary]) -> None:
    target = built[1].target
    slices = ask(target, "SELECT finding, condition, rate, explained_by FROM fct_failure_slices ORDER BY finding")
    assert slices == [
        ("confirmed", "eyewear is glasses", 0.5, None),
        ("explained_away", "eyewear is glasses", 0.2, "eyewear is glasses"),
    ]
    assert ask(target, "SELECT condition, trend_build_id, value FROM fct_slice_trends") == [
        ("eyewear is glasses", "face-1.2", 0.5)
    ]
    assert ask(target, "SELECT part, change FROM fct_change_attribution ORDER BY part") == [
        (0, 0.1),
        (1, 0.1),
        (2, 0.0),
    ]
    assert ask(target, "SELECT outcome, conclusion FROM fct_slice_searches") == [("frr", "One slice is real.")]
    assert ask(target, "SELECT cluster, is_described FROM fct_failure_clusters") == [(1, True)]
    assert ask(target, "SELECT change, n_accepted, n_attempts FROM fct_counterfactuals") == [
        ("illuminance_lux 300", 10, 20)
    ]


def test_what_a_table_and_a_column_mean_is_said_in_the_warehouse(built: tuple[Lake, WarehouseSummary]) -> None:
    target = built[1].target
    assert ask(target, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL") == []
    mute = ask(target, "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL")
    assert mute == []
    meaning = "SELECT comment FROM duckdb_columns() WHERE table_name = '{}' AND column_name = '{}'"
    said = {
        ("fct_operating_points", "fmr"): "realised FMR; null allowed",
        ("fct_latency", "p50_ms"): "median, milliseconds",
        ("dim_drop", "site"): "where the drop was recorded",
        ("dim_drop", "build_id"): "the build that recorded it",
        ("fct_slice_trends", "low"): "lower 95 % bound; null allowed",
    }
    assert {column: ask(target, meaning.format(*column)) for column in said} == {
        column: [(text,)] for column, text in said.items()
    }


def judge(lake: Lake, gate: str, *tables: Table, passed: bool = True) -> None:
    """A verdict on the tables as they lie in the lake."""
    judged = {lake.object_key(table, KEY): digest_of(lake, table, KEY) for table in tables}
    write_verdict(lake, Verdict(gate, str(KEY), passed, judged, ()))


def test_rows_of_a_build_that_their_gate_refused_are_not_published(lake: Lake, tmp_path: Path) -> None:
    write_findings(lake, sound())
    judge(lake, "slices", SLICE_SEARCHES, FAILURE_SLICES, SLICE_TRENDS)
    judge(lake, "attribution", CHANGE_ATTRIBUTION, passed=False)
    target = build_warehouse(source_of(lake), target=tmp_path / "warehouse.duckdb").target
    assert ask(target, "SELECT count(*) FROM fct_change_attribution") == [(0,)]
    assert ask(target, "SELECT count(*) FROM fct_failure_slices") == [(2,)]
    assert ask(target, "SELECT count(*) FROM fct_slice_trends") == [(1,)]
    verdicts = ask(target, "SELECT gate, is_passed FROM fct_gate_verdicts ORDER BY gate")
    assert verdicts == [("attribution", False), ("slices", True)]


def test_a_file_that_was_written_after_its_verdict_is_not_published(lake: Lake) -> None:
    write_findings(lake, sound())
    judge(lake, "attribution", CHANGE_ATTRIBUTION)
    source = source_of(lake)
    assert source.is_published(CHANGE_ATTRIBUTION, KEY)
    lake.write(CHANGE_ATTRIBUTION, KEY, lake.read(CHANGE_ATTRIBUTION, KEY).head(1))
    assert not source.is_published(CHANGE_ATTRIBUTION, KEY)
    assert not source.is_published(FAILURE_SLICES, KEY)


def test_a_failing_test_is_named_and_the_old_warehouse_stays(tmp_path: Path) -> None:
    lake, target = filled(Lake(open_store(str(tmp_path / "lake")))), tmp_path / "warehouse.duckdb"
    target.write_bytes(b"the old warehouse")
    lake.write(INTERVALS, TableKey(build="b2"), lake.read(INTERVALS, TableKey(build="b1")).head(2))
    with pytest.raises(WarehouseError, match=r"unique_key_fct_intervals.* on fct_intervals: Got 2 results") as refused:
        build_warehouse(all_of(lake), target=target)
    assert {table for table, *_ in refused.value.failed} == {"fct_intervals"}
    assert target.read_bytes() == b"the old warehouse"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "warehouse.duckdb", "warehouse.duckdb.lock"]


def test_dbt_starts_however_many_verdicts_there_are(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(600):
        write_verdict(lake, Verdict("parse", f"{number:0128}", True, {}, ()))
    monkeypatch.setattr(warehouse, "DBT", (sys.executable, "-c", "print('it started')"))
    with pytest.raises(WarehouseError, match="dbt ended with 0 before it was done:\nit started"):
        build_warehouse(all_of(lake), target=tmp_path / "warehouse.duckdb")


def test_an_open_reader_keeps_the_old_data_and_a_new_one_sees_that_of_an_empty_lake(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(target)) as writer:
        writer.execute("CREATE TABLE dim_drop AS SELECT 'old' AS drop_id")
    query = f"import duckdb; print(duckdb.connect({str(target)!r}, read_only=True)"
    query += ".execute('SELECT count(*) FROM dim_drop').fetchall())"
    with duckdb.connect(str(target), read_only=True) as reader:
        build_warehouse(all_of(lake), target=target)
        assert reader.execute("SELECT drop_id FROM dim_drop").fetchall() == [("old",)]
        seen = subprocess.run([sys.executable, "-c", query], capture_output=True, text=True, check=False)
    assert (seen.stdout.strip(), seen.stderr) == ("[(0,)]", "")


def test_a_second_writer_waits_and_then_says_who_holds_on(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "warehouse.duckdb"
    program = f"import fcntl, sys; f = open({str(target) + '.lock'!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX); "
    program += "print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WarehouseError, match="another process has been building"):
            build_warehouse(all_of(lake), target=target, lock_timeout_seconds=0.2)
        assert holder.stdin is not None
        holder.stdin.close()


def test_a_missing_project_is_said_before_anything_is_touched(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no dbt project"):
        build_warehouse(all_of(lake), target=tmp_path / "w" / "warehouse.duckdb", project_dir=tmp_path)
    assert not (tmp_path / "w").exists()


def test_the_warehouse_reads_marts_and_what_hand_written_models_name() -> None:
    read = {table.name for table in warehouse_tables(tables_of(TASKS).values())}
    assert {"intervals", "drop_files", "slice_trends"} <= read
    assert read.isdisjoint({"embeddings", "validated_attempts", "examples", "explanations"})


def test_a_mart_is_made_of_the_tables_that_its_models_read() -> None:
    sources = mart_sources(tables_of(TASKS).values())
    assert sources["fct_intervals"] == ["intervals"]
    assert sources["fct_slice_trends"] == ["failure_slices", "slice_trends"]
    assert sources["fct_attempt_rates"] == ["drop_files", "metric_counts"]
    assert sources["fct_gate_verdicts"] == []


def test_generated_models_take_the_place_of_those_of_before(lake: Lake, tmp_path: Path) -> None:
    project = shutil.copytree(DBT_PROJECT, tmp_path / "project")
    source = all_of(lake)
    write_generated(project, source)
    write_generated(project, replace(source, tables=(FAILURE_SLICES, SLICE_TRENDS)))
    models = {path.stem for path in (project / "generated").rglob("*.sql")}
    assert models == {"stg_failure_slices", "fct_failure_slices", "stg_slice_trends", "stg_verdicts"}


def storage_version(warehouse: Path) -> int:
    """The version in the header of a DuckDB file: 64 for those of DuckDB 0.10 to 1.1, 67 for those of 1.4."""
    return int.from_bytes(warehouse.read_bytes()[12:20], "little")


def test_a_tool_of_the_last_two_years_reads_the_warehouse(built: tuple[Lake, WarehouseSummary]) -> None:
    assert storage_version(built[1].target) == 64


def test_the_storage_version_is_a_setting_and_one_that_is_none_is_refused(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "warehouse.duckdb"
    build_warehouse(all_of(lake), target=target, storage_version="v1.4.0")
    assert storage_version(target) == 67
    with pytest.raises(WarehouseError, match=r"'v9\.9\.9' is not a known DuckDB version"):
        build_warehouse(all_of(lake), target=target, storage_version="v9.9.9")


def dbt_with(**variables: str) -> tuple[str, ...]:
    """dbt as it would be started with variables of its own."""
    program = f"import os; os.environ.update({variables!r}); from dbt.cli.main import cli; cli()"
    return sys.executable, "-c", program


VARIABLES = {"DBT_EMPTY": "true", "DBT_ENGINE_EMPTY": "true", "DBT_EXCLUDE_RESOURCE_TYPES": "test", "DBT_TARGET": "x"}


def test_no_variable_of_dbt_changes_the_warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = filled(Lake(open_store(str(tmp_path / "lake"))))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    summary = build_warehouse(all_of(lake), target=tmp_path / "warehouse.duckdb")
    assert len(summary.tests) > 30
    assert ask(summary.target, "SELECT count(*) FROM fct_failure_slices") == [(2,)]
    assert ask(summary.target, "SELECT count(*) FROM dim_drop") == [(2,)]


@pytest.mark.parametrize(
    ("variables", "refusal"),
    [
        ({"DBT_EMPTY": "true"}, "fct_gate_verdicts has 0 rows, the lake 1"),
        ({"DBT_EXCLUDE_RESOURCE_TYPES": "test"}, "unique_key_fct_intervals.* on fct_intervals: not run"),
    ],
)
def test_a_warehouse_without_all_its_rows_or_tests_is_refused(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], refusal: str
) -> None:
    write_verdict(lake, Verdict("parse", "d1", True, {}, ()))
    target = tmp_path / "warehouse.duckdb"
    target.write_bytes(b"the old warehouse")
    monkeypatch.setattr(warehouse, "DBT", dbt_with(**variables))
    with pytest.raises(WarehouseError, match=refusal):
        build_warehouse(all_of(lake), target=target)
    assert target.read_bytes() == b"the old warehouse"


WRITING = """
import duckdb, os, signal, sys
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
connection.execute("CREATE TABLE scratch AS SELECT 1 AS x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def opened_to_write(target: Path) -> "subprocess.Popen[str]":
    """A reader that has opened a warehouse as one opens it by default; told to, it writes to it and dies."""
    reader = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    return reader


def write_and_die(reader: "subprocess.Popen[str]") -> None:
    reader.communicate("\n")
    assert reader.returncode == -signal.SIGKILL


def test_what_a_killed_reader_has_written_is_in_no_later_warehouse(lake: Lake, tmp_path: Path) -> None:
    target, source = tmp_path / "warehouse.duckdb", replace(all_of(lake), identity="one")
    build_warehouse(source, target=target)
    held = opened_to_write(target)
    other = Path(shutil.copy(target, tmp_path / "other.duckdb"))
    write_and_die(opened_to_write(other))
    shutil.copy(f"{other}.wal", f"{target}.wal")
    build_warehouse(source, target=target)
    assert is_current(target, "one")
    assert not Path(f"{target}.wal").exists()
    assert ask(target, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'scratch'") == [(0,)]
    write_and_die(held)
    assert Path(f"{target}.wal").exists()
    assert not is_current(target, "one")
    build_warehouse(source, target=target)
    assert is_current(target, "one")
    assert ask(target, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'scratch'") == [(0,)]


BUILDING = """
import sys
from pathlib import Path
from cv_quality.lake.lake import Lake
from cv_quality.lake.store import open_store
from cv_quality_tests.lake.test_warehouse import all_of
from cv_quality.lake.warehouse import build_warehouse
build_warehouse(all_of(Lake(open_store(sys.argv[1]))), target=Path(sys.argv[2]))
"""


def dbt_of(process: "subprocess.Popen[str]") -> int:
    """The id of the dbt that a process has started, once it has."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(600):
        for child in children.read_text().split():
            if b"dbt.cli.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        time.sleep(0.05)
    raise AssertionError("no dbt was started")


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("killed", ["dbt", "its writer"])
def test_a_killed_build_leaves_the_old_warehouse_and_no_process(lake: Lake, tmp_path: Path, killed: str) -> None:
    target = tmp_path / "warehouse.duckdb"
    target.write_bytes(b"the old warehouse")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    with subprocess.Popen(
        [sys.executable, "-c", BUILDING, lake.store.uri, str(target)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as writer:
        dbt = dbt_of(writer)
        os.kill(dbt if killed == "dbt" else writer.pid, signal.SIGKILL)
        _, said = writer.communicate()
    assert killed != "dbt" or "WarehouseError: dbt ended with -9 before it was done" in said
    deadline = time.monotonic() + 10
    while is_alive(dbt) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(dbt)
    assert target.read_bytes() == b"the old warehouse"
    build_warehouse(all_of(lake), target=target)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "lake") == [
        "warehouse.duckdb",
        "warehouse.duckdb.lock",
        "warehouse.duckdb.made",
    ]
    assert ask(target, "SELECT count(*) FROM dim_drop") == [(0,)]
