"""The warehouse with real dbt runs: what it holds, what stops it, and what its readers notice."""

import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cv_quality.drops.tables import QUARANTINE_PARSE
from cv_quality.errors import WarehouseError
from cv_quality.gates.verdicts import ExpectationResult, Verdict, write_verdict
from cv_quality.lake.dbt_sources import VERDICTS, WAREHOUSE_TABLES, dbt_sources_yaml
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import open_store
from cv_quality.lake.warehouse import DBT_PROJECT, WarehouseSummary, build_warehouse, lake_files
from cv_quality.tasks.verification.tables import INTERVALS
from cv_quality_tests.error_analysis.slice_reports import part, sound, write_findings
from cv_quality_tests.tasks.verification.scored_drops import measure, score_drop
from cv_quality_tests.tasks.verification.tiny_drops import random_drop, write_drop

FORBIDDEN = {
    "embedding",
    "frame",
    "raw",
    "detail",
    "subject_id",
    "attempt_id",
    "reference_subject_id",
    "exemplars_json",
    "map",
}


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
    folder = tmp_path_factory.mktemp("it's a {warehouse}")
    lake = filled(Lake(open_store(str(folder / "lake"))))
    return lake, build_warehouse(lake=lake, target=folder / "warehouse.duckdb")


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


def test_a_change_whose_parts_do_not_add_up_is_not_published(lake: Lake, tmp_path: Path) -> None:
    rows = {"change_attribution": [part(0, before=(2, 100), after=(12, 100), mix=0.0, rate=0.1)]}
    write_findings(lake, rows)
    with pytest.raises(WarehouseError, match="parts_of_a_change_add_up_to_it on fct_change_attribution"):
        build_warehouse(lake=lake, target=tmp_path / "warehouse.duckdb")


def test_a_failing_test_is_named_and_the_old_warehouse_stays(tmp_path: Path) -> None:
    lake, target = filled(Lake(open_store(str(tmp_path / "lake")))), tmp_path / "warehouse.duckdb"
    target.write_bytes(b"the old warehouse")
    rows = lake.read(INTERVALS, TableKey(build="b1"))
    lake.write(INTERVALS, TableKey(build="b1"), pl.concat([rows, rows.head(1)]))
    with pytest.raises(WarehouseError, match=r"unique_key_fct_intervals.* on fct_intervals: Got 1 result"):
        build_warehouse(lake=lake, target=target)
    assert target.read_bytes() == b"the old warehouse"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "warehouse.duckdb", "warehouse.duckdb.lock"]


def test_an_open_reader_keeps_the_old_data_and_a_new_one_sees_that_of_an_empty_lake(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(target)) as writer:
        writer.execute("CREATE TABLE dim_drop AS SELECT 'old' AS drop_id")
    query = f"import duckdb; print(duckdb.connect({str(target)!r}, read_only=True)"
    query += ".execute('SELECT count(*) FROM dim_drop').fetchall())"
    with duckdb.connect(str(target), read_only=True) as reader:
        build_warehouse(lake=lake, target=target)
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
            build_warehouse(lake=lake, target=target, lock_timeout_seconds=0.2)
        assert holder.stdin is not None
        holder.stdin.close()


def test_a_missing_project_is_said_before_anything_is_touched(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no dbt project"):
        build_warehouse(lake=lake, target=tmp_path / "w" / "warehouse.duckdb", project_dir=tmp_path)
    assert not (tmp_path / "w").exists()


def test_a_table_without_files_is_read_as_an_empty_table(lake: Lake, tmp_path: Path) -> None:
    files = lake_files(lake, tmp_path)
    assert set(files) == {VERDICTS, *(table.name for table in WAREHOUSE_TABLES)}
    rows = duckdb.execute(f"DESCRIBE SELECT * FROM read_parquet({files['intervals']})").fetchall()
    assert [row[0] for row in rows] == INTERVALS.names


def test_the_committed_sources_are_those_that_the_schema_gives() -> None:
    committed = (DBT_PROJECT / "models" / "staging" / "sources.yml").read_text()
    assert committed == dbt_sources_yaml()
    staged = {path.stem for path in (DBT_PROJECT / "models" / "staging").glob("stg_*.sql")}
    assert staged == {f"stg_{name}" for name in (VERDICTS, *(table.name for table in WAREHOUSE_TABLES))}
