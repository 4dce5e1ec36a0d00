"""Answers of databases are logs: values as the database writes them, nothing changed there, no password told."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest

from cv_quality.drops.importers.logs import ImportedLogs, import_logs
from cv_quality.drops.importers.mapping import read_mapping
from cv_quality.drops.importers.queries import LogQuery
from cv_quality.drops.importers.sketch import sketch_mapping
from cv_quality.errors import TableError
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.drops.foreign_logs import FIELDS, HEAD, drop_of, events, listed
from cv_quality_tests.drops.small_drops import Site
from cv_quality_tests.servers import postgres_server

ROWS = """
    select 'p' || (i % 7) as who, timestamptz '2026-09-01 14:00+02' + i * interval '1 s' as at, 'd1' as phone,
    (i % 10) / 10.0 as score, i % 3 = 0 as ok, case when i % 5 > 0 then 'x, "' || i || '"' end as note
"""
MAPPING = HEAD + FIELDS + "  device_score: score\n  is_device_accepted: ok\nconditions: {note: {column: note}}\n"


@pytest.fixture
def file(tmp_path: Path) -> str:
    with duckdb.connect(tmp_path / "study.duckdb") as engine:
        engine.execute(f"create table attempts as {ROWS} from range(50) numbers(i)")
    return str(tmp_path / "study.duckdb")


def ask(site: Site, sql: str, database: str) -> ImportedLogs:
    (site.root / "map.yaml").write_text(MAPPING)
    mapping = read_mapping(site.root / "map.yaml")
    return import_logs([LogQuery(sql, database)], mapping=mapping, landing=site.landing, modality=FACE)


def check_fifty_attempts(site: Site, database: str) -> None:
    found = ask(site, 'select * from attempts order by "at"', database)
    assert (found.rows, found.written) == (50, 50)
    rows = events(site, drop_of(found)).sort("occurred_at")
    assert rows["occurred_at"].dt.second().to_list() == list(range(50))
    assert set(rows["occurred_at"].dt.hour()) == {12}
    assert rows["device_score"].to_list() == [n % 10 / 10 for n in range(50)]
    assert rows["is_device_accepted"].to_list() == [n % 3 == 0 for n in range(50)]
    assert rows["note"].to_list() == [f'x, "{n}"' if n % 5 else None for n in range(50)]


def test_a_query_to_a_file_is_a_log(site: Site, file: str) -> None:
    check_fifty_attempts(site, file)
    found = ask(site, 'from attempts select * replace (case when score < .1 then null else "at" end as "at")', file)
    assert found.reasons == {"missing_field": 5}
    assert (listed(found)[0]["file"], listed(found)[0]["line"]) == ("query of study.duckdb", 1)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("delete from attempts", "expected one SELECT"),
        ("copy attempts to 'out.csv'", "expected one SELECT"),
        ("select 1; drop table attempts", "expected one SELECT"),
        ("select * from read_csv('/etc/passwd')", "disabled"),
        ("select * from attemps", "does not exist"),
        ("selec", "syntax error"),
        ("", "expected one SELECT"),
    ],
)
def test_a_question_that_does_not_only_read_is_refused(site: Site, file: str, sql: str, words: str) -> None:
    with pytest.raises(TableError, match=words):
        ask(site, sql, file)
    assert not site.landing.list()
    check_fifty_attempts(site, file)


@pytest.mark.parametrize("name", ["nope.duckdb", "map.yaml", "."])
def test_what_is_no_database_is_refused(site: Site, name: str) -> None:
    with pytest.raises(TableError, match="expected a DuckDB file"):
        ask(site, "select 1", str(site.root / name))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://reader:hun@ter2@db.example.org/study",
        "postgres://reader@db.example.org/study?password=hun@ter2&port=1",
    ],
)
def test_a_password_in_an_address_is_never_shown(address: str) -> None:
    query = LogQuery("select 1", address)
    assert "hun" not in query.shown + repr(query)
    assert "reader" in query.shown


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL server with a table of attempts; where there is none, or no driver, its tests are not run."""
    if find_spec("psycopg") is None:
        pytest.skip("not run: psycopg is not installed")
    import psycopg

    with postgres_server() as running:
        address = f"postgresql://reader:hunter2@127.0.0.1:{running.port}/postgres"
        with psycopg.connect(address) as connection:
            connection.execute(f"create table attempts as {ROWS} from generate_series(0, 49) numbers(i)")
        yield address


def test_a_query_to_a_server_is_a_log(site: Site, server: str) -> None:
    check_fifty_attempts(site, server)
    assert "occurred_at: {column: at}" in sketch_mapping([LogQuery("table attempts", server)])
    assert not any(b"hunter2" in site.landing.read_bytes(item.key) for item in site.landing.list())


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("delete from attempts returning *", "read-only transaction"),
        ("with gone as (delete from attempts returning *) select * from gone", "read-only transaction"),
        ("select 1; drop table attempts", "multiple commands"),
        ("select 1) to program $$true$$ --", "syntax error"),
        ("select * from attemps", "does not exist"),
        ("", "syntax error"),
    ],
)
def test_a_server_is_only_read(site: Site, server: str, sql: str, words: str) -> None:
    with pytest.raises(TableError, match=words) as told:
        ask(site, sql, server)
    assert "hunter2" not in str(told.value)
    assert not site.landing.list()
    check_fifty_attempts(site, server)


def test_a_server_that_does_not_answer_is_told_without_its_password(site: Site) -> None:
    if find_spec("psycopg") is None:
        pytest.skip("not run: psycopg is not installed")
    with pytest.raises(TableError, match=r"postgresql://reader:\*\*\*@127.0.0.1:1/x: ") as told:
        ask(site, "select 1", "postgresql://reader:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in str(told.value)
