"""Questions in SQL: every table can be asked, nothing can be changed, and no other file be read."""

import json
import os
import runpy
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pexpect
import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.cli.exploration import CONTINUED, PROMPT, SHOWN_ROWS
from cv_quality.drops.tables import SUBJECTS
from cv_quality.errors import QueryError
from cv_quality.exploration import Explorer
from cv_quality.lake.lake import TableKey
from cv_quality_tests.deployment import open_workspace

DROP = "drop-1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A deployment with two subjects in the lake and one build in the warehouse; its folder's name is a pattern."""
    home = tmp_path / "study's [2026]"
    subject = {
        "event_id": "s",
        "occurred_at": datetime(2026, 7, 6, 9, tzinfo=UTC),
        "age_band": "30-44",
        "sex": "female",
        "skin_tone": "5",
        "has_image_consent": True,
        "family_id": None,
        "drop_id": DROP,
        "source_file": "events",
        "source_line": 1,
    }
    rows = pl.DataFrame([{"subject_id": name, **subject} for name in ("anna", "ben\x1b")], strict=False)
    rows = rows.with_columns(pl.col("family_id").cast(pl.String)).select(SUBJECTS.names)
    open_workspace(home).lake.write(SUBJECTS, TableKey(drop=DROP), rows)
    with duckdb.connect(str(home / "warehouse.duckdb")) as warehouse:
        warehouse.execute("CREATE TABLE dim_build AS SELECT 'face-1.0' AS build_id, 0.25 AS rate")
        warehouse.execute("COMMENT ON TABLE dim_build IS 'One row: a build.'")
        warehouse.execute("COMMENT ON COLUMN dim_build.rate IS 'of rejections'")
    return home


def explorer(home: Path) -> Explorer:
    return Explorer(open_workspace(home))


def cvq(home: Path, *arguments: str, typed: str | None = None) -> Result:
    return CliRunner(env={"CVQ_HOME": str(home), "CVQ_THREADS": "1"}).invoke(main, ["sql", *arguments], input=typed)


def test_a_question_joins_the_warehouse_and_the_lake(home: Path) -> None:
    found = cvq(home, "SELECT build_id, subject_id, occurred_at FROM dim_build, Subjects ORDER BY 2 LIMIT 1", "--json")
    assert json.loads(found.stdout) == [
        {"build_id": "face-1.0", "subject_id": "anna", "occurred_at": "2026-07-06T09:00:00+00:00"}
    ]


@pytest.mark.parametrize("join", ["JOIN raw_subjects USING (subject_id)", "NATURAL JOIN raw_subjects"])
def test_tables_are_joined_by_columns_of_one_name(home: Path, join: str) -> None:
    assert explorer(home).frame(f'SELECT count(*) FROM "Subjects" s {join}').item() == 0
    with pytest.raises(QueryError, match="subjets does not exist"):
        explorer(home).frame(f"SELECT count(*) FROM subjets {join}")


def test_a_table_without_a_file_is_empty(home: Path) -> None:
    assert explorer(home).frame("FROM embeddings").height == 0


@pytest.mark.parametrize(
    "question",
    [
        "COPY subjects TO '{target}'",
        "EXPLAIN ANALYZE COPY subjects TO '{target}'",
        "WITH a AS (COPY (SELECT 1) TO '{target}') FROM a, subjects",
        "WITH a AS (COPY (SELECT 1) TO '{lake}') FROM a, subjects",
        "WITH a AS (INSERT INTO warehouse.main.dim_build FROM dim_build RETURNING *) FROM a",
        "DELETE FROM warehouse.main.dim_build",
        "DROP VIEW subjects",
        "ATTACH '{target}' AS other",
        "SET enable_external_access = true",
        "PRAGMA enable_external_access = true",
        "INSTALL httpfs",
        "SELECT 1; DROP TABLE dim_build",
    ],
)
def test_a_question_changes_nothing(home: Path, question: str) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    (file,) = (home / "lake" / "subjects").glob("*.parquet")
    named = {"target": home / "new", "lake": file}
    with pytest.raises(QueryError):
        explorer(home).frame(question.format(**{name: str(path).replace("'", "''") for name, path in named.items()}))
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "question",
    [
        "FROM read_csv('{file}')",
        "FROM '{file}'",
        "FROM read_text('{file}')",
        "FROM glob('{file}*')",
        "FROM subjects, read_parquet('{file}')",
        "FROM secret",
    ],
)
def test_a_question_reads_no_other_file_or_variable(home: Path, tmp_path: Path, question: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(QueryError):
        explorer(home).frame(question.format(file=secret))


def test_what_does_not_fit_the_memory_is_spilled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVQ_MEMORY_LIMIT", "60MB")
    found = cvq(home, "SELECT count(*) n FROM (SELECT DISTINCT i, md5(i::VARCHAR) FROM range(2000000) t(i))", "--csv")
    assert found.stdout == "n\n2000000\n"


def test_a_mistyped_table_is_answered_with_near_names(home: Path) -> None:
    found = cvq(home, "FROM dim_biuld")
    assert found.exit_code == 1
    assert found.stderr == "Error: QueryError: there is no table 'dim_biuld': did you mean dim_build?\n"


def test_without_a_warehouse_the_error_says_what_makes_it(home: Path) -> None:
    (home / "warehouse.duckdb").unlink()
    assert "`cvq run` makes it" in cvq(home, "FROM dim_build").stderr
    assert cvq(home, "SELECT count(*) FROM subjects", "--csv").stdout.endswith("\n2\n")


def test_tables_show_their_comments(home: Path) -> None:
    tables = {row["table"]: row for row in json.loads(cvq(home, "--tables", "--json").stdout)}
    assert tables["dim_build"] == {"table": "dim_build", "of": "warehouse", "holds": "One row: a build."}
    assert tables["subjects"]["of"] == "lake"
    columns = {row["column"]: row["holds"] for row in json.loads(cvq(home, "--tables", "dim_build", "--json").stdout)}
    assert columns == {"build_id": None, "rate": "of rejections"}
    of_the_lake = {row["column"]: row["holds"] for row in explorer(home).columns("SUBJECTS")}
    assert of_the_lake == {column.name: column.meaning for column in SUBJECTS}


def test_a_table_shows_nulls_doubles_and_escapes(home: Path) -> None:
    found = cvq(home, "SELECT subject_id AS a, NULL AS a FROM subjects ORDER BY 1")
    assert found.stdout == "a        a\n-------  -\nanna\nben\\x1b\n"
    assert "two columns are called 'a'" in cvq(home, "SELECT 1 AS a, 2 AS a", "--json").stderr


def test_json_has_no_nan_and_keeps_what_is_nested(home: Path) -> None:
    found = cvq(home, "SELECT 'nan'::DOUBLE AS a, [1, NULL] AS b, {'c': 1.5::DECIMAL(3, 1)} AS d", "--json")
    assert json.loads(found.stdout) == [{"a": None, "b": [1, None], "d": {"c": 1.5}}]


def test_csv_writes_times_flags_and_lists_as_json_does(home: Path) -> None:
    found = cvq(home, "SELECT TIMESTAMPTZ '2026-07-06 09:00Z' AS a, true AS b, [1.5, NULL] AS c, NULL AS d", "--csv")
    assert found.stdout == 'a,b,c,d\n2026-07-06T09:00:00+00:00,true,"[1.5, null]",\n'


def test_a_long_answer_is_cut_for_people_alone(home: Path) -> None:
    question = f"FROM range({SHOWN_ROWS + 1})"
    found = cvq(home, question)
    assert len(found.stdout.splitlines()) == 2 + SHOWN_ROWS
    assert f"the first {SHOWN_ROWS} rows" in found.stderr
    assert len(cvq(home, question, "--csv").stdout.splitlines()) == 2 + SHOWN_ROWS


def test_statements_of_standard_input_are_answered_in_turn(home: Path) -> None:
    found = cvq(home, "--csv", typed="SELECT ';' AS a")
    assert found.stdout == "a\n;\n"
    assert cvq(home, typed="SELECT ';' AS a; SELECT 2 AS b").stdout == "a\n-\n;\nb\n-\n2\n"


def test_a_damaged_file_of_the_lake_is_named(home: Path) -> None:
    (file,) = (home / "lake" / "subjects").glob("*.parquet")
    file.write_bytes(b"no parquet")
    found = cvq(home, "FROM subjects")
    assert found.exit_code == 1
    assert "QueryError" in found.stderr
    assert file.name in found.stderr


def test_the_loader_for_fiftyone_gives_each_column_one_type(tmp_path: Path) -> None:
    cells = "subject_id,firmware,lux,tags,is_failure,empty,image\n"
    cells += "007,2.1,300.0,x,true,,a.png\n7,2.10,1e-7,y,false,,b.png\n7,beta,,y,false,,\n"
    (tmp_path / "attempts.csv").write_text(cells)
    loader = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "examples" / "load_in_fiftyone.py"))
    one, two = (fields for _, fields in loader["samples"](tmp_path))
    assert one == {"subject_id": "007", "firmware": "2.1", "lux": 300.0, "tags_": "x", "is_failure": True}
    assert two == {"subject_id": "7", "firmware": "2.10", "lux": 1e-7, "tags_": "y", "is_failure": False}


def interrupt_until_prompt(shell: "pexpect.spawn[str]") -> None:
    """Press Ctrl-C as a user does: again where nothing happens. Python loses one that comes just before it waits."""
    for _ in range(10):
        shell.sendintr()
        if shell.expect([PROMPT, pexpect.TIMEOUT], timeout=6) == 0:
            return
    pytest.fail("Ctrl-C brought no prompt")


def test_an_interrupt_at_the_prompt_begins_the_statement_anew(home: Path) -> None:
    environment = {**os.environ, "CVQ_HOME": str(home), "TERM": "dumb"}
    shell = pexpect.spawn(sys.executable, ["-m", "cv_quality.cli", "sql"], env=environment, timeout=60, encoding="utf8")
    shell.expect(PROMPT)
    shell.sendline("SELECT half of a")
    shell.expect_exact(CONTINUED)
    interrupt_until_prompt(shell)
    shell.sendline("SELECT 40 + 2 AS answer;")
    shell.expect("answer\\s+-+\\s+42")
    shell.expect(PROMPT)
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0
