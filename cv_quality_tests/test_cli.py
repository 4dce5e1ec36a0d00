"""The command line: a tour in its help, one JSON document on standard output, errors that are sentences."""

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import cast

import click
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.cli.progress import lines_without_terminal
from cv_quality.error_analysis.slices import Slice
from cv_quality.metrics.results import JsonValue
from cv_quality.settings import Settings
from cv_quality.tasks import open_workspace
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import FIRST_DROP, deliver
from cv_quality_tests.servers import wait_until

CVQ = str(Path(sys.executable).parent / "cvq")
Rows = list[dict[str, object]]
Cvq = Callable[..., Result]


def environment(home: Path) -> dict[str, str]:
    return {"CVQ_HOME": str(home), "CVQ_THREADS": "1"}


def workspace_of(home: Path) -> Workspace:
    return open_workspace(Settings.from_environment(environment(home)))


@pytest.fixture
def cvq(tmp_path: Path) -> Cvq:
    """Runs a command in this process, by default on an empty deployment."""

    def run(*arguments: str, home: Path = tmp_path / "home") -> Result:
        return CliRunner(env=environment(home)).invoke(main, arguments)

    return run


def test_logs_are_imported_with_every_row_accounted_for(cvq: Cvq) -> None:
    examples = Path(__file__).parents[1] / "docs" / "examples"
    log, mapping = str(examples / "attempts.csv"), str(examples / "attempts.yaml")
    assert cvq("simulate", "tiny").exit_code == 0
    found = json.loads(cvq("import", "logs", log, "--map", mapping, "--json").stdout)
    assert found["rows"] == found["written"] + sum(found["reasons"].values()) == 41
    told = cvq("import", "logs", log, "--map", mapping).output
    assert "41 rows, 39 written, 2 set aside" in told
    assert "face-1.1.yaml have 'recorded: true' in place of the keys of a model" in told
    assert "fields:" in cvq("import", "logs", log, "--sketch").stdout
    assert cvq("import", "logs", log).exit_code == 2


def test_a_study_of_several_builds_is_imported_by_one_command(cvq: Cvq, tmp_path: Path) -> None:
    """Builds are those of the registry, names get pseudonyms, and every drop is listed."""
    log, mapping = tmp_path / "study.csv", tmp_path / "study.yaml"
    rows = [f"2026-09-01T12:00:{n:02}Z,Ada {n % 3},d1,face-1.{n % 3},lab {n % 2}" for n in range(24)]
    log.write_text("\n".join(["at,who,phone,fw,lab", *rows, "2026-09-01T12:00:00Z,p1,d1,face-9.9,lab 1"]))
    fields = "fields: {occurred_at: at, subject_id: who, device_id: phone}\n"
    mapping.write_text("build: {column: fw}\nsite: {column: lab}\n" + fields)
    assert "builds of face, iris; say the 'modality'" in cvq("import", "logs", str(log), "--map", str(mapping)).stderr
    mapping.write_text("modality: face\nbuild: {column: fw}\nsite: {column: lab}\n" + fields)
    told = cvq("import", "logs", str(log), "--map", str(mapping))
    assert "6 drops: 25 rows, 24 written, 1 set aside" in told.stdout
    assert "unknown_build" in told.stdout
    assert "2026-09-01_face-1.2_lab-1" in told.stdout
    assert (tmp_path / "study.pseudonyms.json").exists()
    (tmp_path / "kept").mkdir()
    words = ("--pseudonyms", "--keep", str(tmp_path / "kept"), "--json")
    found = json.loads(cvq("import", "logs", str(log), "--map", str(mapping), *words).stdout)
    assert len(found["drops"]) == 6
    assert (tmp_path / "kept" / "study.pseudonyms.json").exists()


def test_logs_of_a_query_or_a_preset_need_their_options(cvq: Cvq, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("2026-09-01 14:30:00.250 +0200  1234  1300 I FaceAuth: scan\n")
    assert "preset: logcat" in cvq("import", "logs", str(log), "--sketch", "--preset", "logcat").stdout
    assert "did you mean logcat" in cvq("import", "logs", str(log), "--sketch", "--preset", "locat").output
    assert "belong together" in cvq("import", "logs", "--sql", "select 1", "--sketch").output
    assert "give FILES" in cvq("import", "logs", "--sketch").output


@pytest.fixture(scope="module")
def evaluated(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a deployment that has worked off one drop."""
    return shutil.copytree(history.first_home, tmp_path_factory.mktemp("evaluated") / "home")


@pytest.fixture
def broken(tiny_landing: Path, tmp_path: Path) -> Path:
    """The home of a deployment whose only drop is not what its manifest says."""
    home = tmp_path / "broken"
    deliver(tiny_landing, FIRST_DROP, to=workspace_of(home))
    with next((home / "landing" / FIRST_DROP).glob("events-*")).open("ab") as file:
        file.write(b"more")
    return home


def rows(result: Result) -> Rows:
    """The JSON document that is all of standard output."""
    assert result.exit_code == 0, result.output
    return cast(Rows, json.loads(result.stdout))


def in_a_shell(*arguments: str, home: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [CVQ, *arguments],
        env={**os.environ, **environment(home), **more},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_progress_without_a_terminal_is_a_line_every_so_often(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=io.StringIO())) as progress, lines_without_terminal(progress, seconds=0.05):
        progress.add_task("a loop without work", total=None)
        task = progress.add_task("draw maps", total=3, completed=1)
        time.sleep(0.3)
        progress.update(task, completed=3)
    lines = capsys.readouterr().err.splitlines()
    assert "draw maps: 1 of 3, 0 s" in lines
    assert not any("3 of 3" in line or "without work" in line for line in lines)


def test_the_help_reads_as_a_tour_of_every_command(cvq: Cvq) -> None:
    text = cvq("--help").stdout
    tour = re.findall(r"^ +cvq ([\w-]+)", text, re.MULTILINE)
    assert isinstance(main, click.Group)
    assert set(tour) == set(main.commands)
    assert tour[0] == "demo"
    assert tour.index("simulate") < tour.index("run") < tour.index("report")


def test_every_command_says_what_it_does(cvq: Cvq) -> None:
    for name, command in main.commands.items():
        result = cvq(name, "--help")
        assert result.exit_code == 0
        assert command.help
        assert command.help.splitlines()[0].endswith("."), name


def test_an_empty_deployment_has_nothing_to_show_and_nothing_to_do(cvq: Cvq) -> None:
    assert rows(cvq("status", "--json")) == rows(cvq("run", "--json")) == []
    assert "drops" in cvq("status").stdout


def test_models_are_listed_with_what_they_follow(cvq: Cvq) -> None:
    listed = {row["build"]: row["follows"] for row in rows(cvq("models", "--json"))}
    assert listed["face-1.2"] == "face-1.1"
    assert listed["face-1.0"] == ""
    assert "face-1.2" in cvq("models").stdout


def test_status_shows_each_drop_where_it_stands(cvq: Cvq, evaluated: Path) -> None:
    (row,) = rows(cvq("status", "--json", home=evaluated))
    assert row["drop"] == FIRST_DROP
    assert row["validated"] == "passed"
    assert str(row["scored"]).startswith("face-1.1: passed")
    assert Path(str(row["report"])).is_file()


def test_a_clean_drop_has_an_empty_quarantine(cvq: Cvq, evaluated: Path) -> None:
    assert rows(cvq("quarantine", FIRST_DROP, "--json", home=evaluated)) == []


def test_what_is_done_is_not_run_again(cvq: Cvq, evaluated: Path) -> None:
    assert rows(cvq("run", "--json", home=evaluated)) == []


def test_a_report_can_be_written_again(cvq: Cvq, evaluated: Path) -> None:
    (row,) = rows(cvq("report", "face-1.1", "--json", home=evaluated))
    assert row["stage"] == "report"
    assert row["gate"] == "passed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "face-1.l"), "face-1.1"),
        (("quarantine", "no-such-drop"), "no-such-drop"),
        (("simulate", "tinny"), "tiny"),
        (("import", "faces", ".", "--build", "face-1.l"), "did you mean face-1."),
    ],
)
def test_a_wrong_name_ends_in_one_sentence(cvq: Cvq, arguments: tuple[str, ...], said: str) -> None:
    result = cvq(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "an error of the user's is no traceback"
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.startswith("Error: ") or "\nError: " in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("name: [", "YAML"), ("name: mine\nspeed: 9\n", "speed"), ("- a\n- list\n", "mapping")],
)
def test_a_broken_scenario_file_is_named_with_what_is_wrong(cvq: Cvq, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    result = cvq("simulate", str(path))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "ScenarioError" in result.stderr
    assert said in result.stderr


def test_an_unknown_setting_is_refused_with_the_near_name(tmp_path: Path) -> None:
    result = CliRunner(env={"CVQ_HOME": str(tmp_path), "CVQ_LANDNG": "/data"}).invoke(main, ["status"])
    assert result.exit_code == 1
    assert "CVQ_LANDING" in result.stderr


def test_a_refused_drop_is_exit_code_one_and_a_sentence_with_its_name(broken: Path) -> None:
    done = in_a_shell("run", "--json", home=broken)
    assert done.returncode == 1
    assert json.loads(done.stdout) == []
    assert f"refused: {FIRST_DROP}: DropError" in done.stderr
    assert "Traceback" not in done.stderr
    again = in_a_shell("run", home=broken)
    assert again.returncode == 1, "a refused drop waits for its correction"
    assert again.stdout == "nothing could be done\n"
    assert again.stderr.count(f"refused: {FIRST_DROP}: DropError") == 1
    assert f"`cvq why {FIRST_DROP}`" in again.stderr


def test_progress_goes_to_stderr_and_the_document_to_stdout(evaluated: Path, tmp_path: Path) -> None:
    shutil.copytree(evaluated, tmp_path / "home")
    (tmp_path / "home" / "reports" / "face-1.1.html").unlink()
    done = in_a_shell("run", "--json", home=tmp_path / "home")
    assert done.returncode == 0
    assert [row["stage"] for row in json.loads(done.stdout)] == ["report"]
    assert "report builds" in done.stderr
    assert "take drops in" not in done.stderr, "a phase without work has no bar"


def test_a_run_with_nothing_to_do_shows_no_bar(evaluated: Path) -> None:
    done = in_a_shell("run", home=evaluated)
    assert (done.returncode, done.stdout) == (0, "nothing is left to do\n")
    assert "/" not in done.stderr


def test_a_demo_whose_warehouse_fails_names_it_and_no_page_that_is_not_there(history: History, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(history.home, home)
    (home / "reports" / "face-1.2.html").unlink()
    (tmp_path / "taken" / "by a folder").mkdir(parents=True)
    done = in_a_shell("demo", "--scenario", "tiny", home=home, CVQ_WAREHOUSE=str(tmp_path / "taken"))
    assert done.returncode == 1
    assert "metric tables" not in done.stdout
    assert [line.split()[-1] for line in done.stdout.split("\n") if line] == [str(home / "reports" / "face-1.1.html")]
    assert re.search(r"^not done: marts of face-1\.\d: .*taken", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1].startswith("not everything could be done")
    assert "Traceback" not in done.stderr


def test_a_backfill_of_nothing_says_so_and_fails(cvq: Cvq) -> None:
    result = cvq("backfill")
    assert result.exit_code == 1
    assert "nothing to score: no drop" in result.stderr


def test_an_unknown_build_in_a_shell_is_no_traceback(tmp_path: Path) -> None:
    done = in_a_shell("report", "face-1.l", home=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "face-1.1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--build", "face-9.9"), "face-1.1"), (("--drop", "nowhere"), "not validated")]
)
def test_backfill_of_an_unknown_key_is_refused_before_a_partition_is_added(
    cvq: Cvq, arguments: tuple[str, str], named: str
) -> None:
    result = cvq("backfill", *arguments)
    assert result.exit_code == 1
    assert named in result.output
    assert "Traceback" not in result.output


ATTEMPTS = 3_000
Document = dict[str, JsonValue]
Change = Callable[[pl.DataFrame], pl.DataFrame]


def attempts(seed: int = 0, *, rate: float = 0.5, subjects: int = 150) -> pl.DataFrame:
    """Dim light through lens b fails; 20 attempts each of 150 subjects."""
    rng = np.random.default_rng(seed)
    light, lens = rng.choice(["dim", "day"], ATTEMPTS, p=[0.3, 0.7]), rng.choice(["a", "b", "c"], ATTEMPTS)
    return pl.DataFrame(
        {
            "subject": [f"s{row * subjects // ATTEMPTS:03}" for row in range(ATTEMPTS)],
            "light": light,
            "lens": lens,
            "failed": rng.random(ATTEMPTS) < np.where((light == "dim") & (lens == "b"), rate, 0.03),
        }
    )


def strict_json(text: str) -> Document:
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return cast(Document, json.loads(text, parse_constant=refuse))


def document(result: Result) -> Document:
    assert result.exit_code == 0, result.output
    return strict_json(result.stdout)


def sentences(found: Document, name: str = "slices") -> list[str]:
    items = cast("list[dict[str, list[JsonValue]]]", found[name])
    return [Slice.from_list(item["where"]).sentence() for item in items]


@pytest.fixture
def sliced(cvq: Cvq, tmp_path: Path) -> Callable[..., Result]:
    """Writes a table and searches it."""

    def run(frame: pl.DataFrame, *more: str, outcome: str = "failed", subject: str | None = "subject") -> Result:
        path = tmp_path / "attempts.parquet"
        frame.write_parquet(path)
        return cvq("slices", str(path), "--outcome", outcome, *(["--subject", subject] if subject else []), *more)

    return run


Sliced = Callable[..., Result]


def test_the_document_of_slices_has_its_keys_and_reads_back(sliced: Sliced) -> None:
    found = document(sliced(attempts(), "--json"))
    assert set(found) >= {"n_rows", "n_subjects", "base_rate", "slices", "insufficient", "explained_away", "seed"}
    assert set(found) >= {"seconds", "conclusion", "skipped"}
    assert (found["n_rows"], found["n_subjects"], found["seed"]) == (ATTEMPTS, 150, 0)
    assert sentences(found) == ["light is dim and lens is b"]
    (item,) = cast("list[Document]", found["slices"])
    numbers = {"rate", "low", "high", "rest_rate", "support", "subjects", "p_adjusted", "share_of_failures"}
    assert set(item) >= numbers | {"where", "sentence"}
    assert all(isinstance(item[name], int | float) for name in numbers)
    away = cast("list[Document]", found["only_combined"])
    assert {"lens is b", "light is dim"} <= set(sentences(found, "only_combined"))
    assert not {"lens is b", "light is dim"} & set(sentences(found, "explained_away"))
    assert all(set(each) >= {"column", "value", "rate_before", "rate_after", "by"} for each in away)


def test_slices_for_people_are_a_table_and_end_in_one_sentence(sliced: Sliced) -> None:
    result = sliced(attempts())
    assert result.exit_code == 0
    lines = result.stdout.strip().splitlines()
    assert lines[0].startswith("attempts.parquet: 3,000 rows")
    assert "light is dim and lens is b" in " ".join(result.stdout.split())
    assert lines[-1].startswith("This is real: one slice holds")
    assert any(line.startswith("lens is b is bad only in combination (") for line in lines)
    assert "3 of 3" in result.stdout


def test_a_decision_is_set_apart_and_comes_back_when_it_is_kept(sliced: Sliced, tmp_path: Path) -> None:
    frame = attempts().with_columns(decision=pl.when("failed").then(pl.lit("reject")).otherwise(pl.lit("accept")))
    page = tmp_path / "why.html"
    told = sliced(frame, "--report", str(page))
    assert "decision is set apart: it nearly determines the outcome" in told.stdout
    assert "To search it all the same: --keep decision" in told.stdout
    assert "decision is set apart" in page.read_text()
    found = document(sliced(frame, "--json"))
    assert sentences(found) == ["light is dim and lens is b"]
    assert [item["column"] for item in cast("list[Document]", found["set_apart"])] == ["decision"]
    assert sentences(document(sliced(frame, "--keep", "decision", "--json"))) == ["decision is reject"]
    left = document(sliced(frame, "--exclude", "decision", "--json"))
    assert left["set_apart"] == []
    assert cast("Document", left["skipped"]).keys() >= {"decision"}


def test_a_change_is_not_attributed_to_a_decision_and_says_so(cvq: Cvq, tmp_path: Path) -> None:
    decided = pl.when("failed").then(pl.lit("reject")).otherwise(pl.lit("accept")).alias("decision")
    files = [str(tmp_path / name) for name in ("before.parquet", "after.parquet")]
    for file, rate in zip(files, (0.1, 0.5), strict=True):
        attempts(rate=rate).with_columns(decided).write_parquet(file)
    names = ("--outcome", "failed", "--subject", "subject", "--json")
    found = document(cvq("attribute", *files, *names))
    parts = [part["condition"] for part in cast("list[Document]", found["parts"])]
    assert parts == ["light is dim and lens is b", "the rest"]
    assert str(found["conclusion"]).endswith("Set apart, since it nearly determines the outcome: decision.")
    left = document(cvq("attribute", *files, *names, "--exclude", "decision"))
    assert "Set apart" not in str(left["conclusion"])


def test_a_page_says_what_made_it_and_of_what(sliced: Sliced, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    assert sliced(attempts(), "--seed", "7", "--report", str(page)).exit_code == 0
    first, table = page.read_bytes(), tmp_path / "attempts.parquet"
    html = first.decode()
    assert f"cvq slices {table} --outcome failed --subject subject --seed 7 --report {page}" in html
    assert hashlib.sha256(table.read_bytes()).hexdigest() in html
    assert f"{datetime.fromtimestamp(int(table.stat().st_mtime), UTC):%Y-%m-%d %H:%M} UTC" in html
    assert f"cv_quality {version('cv-quality')}" in html
    again = in_a_shell(*shlex.split(html.split("<dt>Made by</dt><dd><code>cvq ")[1].split("</code>")[0]), home=tmp_path)
    assert again.returncode == 0
    assert page.read_bytes() == first


def test_slices_take_columns_and_a_seed_and_are_written_as_a_page(sliced: Sliced, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    found = document(sliced(attempts(), "--columns", "light", "--seed", "7", "--report", str(page), "--json"))
    assert sentences(found) == ["light is dim"]
    assert found["seed"] == 7
    assert "light is dim" in page.read_text()
    both = document(sliced(attempts(), "--columns", "light,lens", "--json"))
    assert sentences(both) == ["light is dim and lens is b"]
    comma = attempts().rename({"light": "light,lens"})
    named = document(sliced(comma, "--columns", "light,lens", "--json"))
    assert sentences(named) == ["light,lens is dim"]


def test_document_of_the_same_table_and_seed_repeats_but_for_the_seconds(sliced: Sliced) -> None:
    one, other = (document(sliced(attempts(), "--json")) for _ in range(2))
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_is_searched_like_a_parquet_file(cvq: Cvq, sliced: Sliced, tmp_path: Path, separator: str) -> None:
    path = tmp_path / "attempts.csv"
    attempts().write_csv(path, separator=separator)
    found = document(cvq("slices", str(path), "--outcome", "failed", "--subject", "subject", "--json"))
    same = {"seconds": 0, "reading": []}
    assert found | same == document(sliced(attempts(), "--json")) | same


def is_bad() -> pl.Expr:
    return (pl.col("light") == "dim") & (pl.col("lens") == "b")


def wide(frame: pl.DataFrame) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    return frame.hstack([pl.Series(f"c{i}", rng.integers(0, 4, ATTEMPTS)) for i in range(197)])


CAUSE = ["light is dim and lens is b"]
ODD_TABLES: dict[str, tuple[Change, list[str], str]] = {
    "no failures": (lambda frame: frame.with_columns(failed=pl.lit(False)), [], "none fails"),
    "all failures": (lambda frame: frame.with_columns(failed=pl.lit(1)), [], "all fail"),
    "one subject": (lambda frame: frame.with_columns(subject=pl.lit("s")), [], "Too small to tell"),
    "a constant column": (lambda frame: frame.with_columns(site=pl.lit("x"), k=pl.lit(1.5)), CAUSE, "real"),
    "an empty column": (lambda frame: frame.with_columns(site=pl.lit(None)), CAUSE, "real"),
    "identifiers": (
        lambda frame: frame.with_row_index("row").with_columns(token=pl.lit("t") + pl.col("row").cast(pl.String)),
        CAUSE,
        "real",
    ),
    "only identifiers": (
        lambda frame: frame.select("subject", "failed").with_row_index("row"),
        [],
        "",
    ),
    "200 columns": (wide, CAUSE, "real"),
    "10,000 values": (
        lambda frame: frame.with_columns(batch=pl.Series([f"b{i * 7919 % 10_007}" for i in range(ATTEMPTS)])),
        CAUSE,
        "real",
    ),
    "missing is the cause": (
        lambda frame: frame.select("subject", "failed", lux=pl.when(~is_bad()).then(pl.int_range(pl.len()) % 97)),
        ["lux is missing"],
        "real",
    ),
    "NaN is the cause": (
        lambda frame: frame.select(
            "subject", "failed", lux=pl.when(is_bad()).then(float("nan")).otherwise(pl.int_range(pl.len()) % 97)
        ),
        ["lux is missing"],
        "real",
    ),
    "infinity among many numbers is the cause": (
        lambda frame: frame.select(
            "subject", "failed", lux=pl.when(is_bad()).then(float("inf")).otherwise(pl.int_range(pl.len()) % 97)
        ),
        ["lux > 96"],
        "real",
    ),
    "names that are SQL": (
        lambda frame: frame.rename({"light": "select", "lens": 'a"b; drop table "'}),
        ['select is dim and a"b; drop table " is b'],
        "real",
    ),
    "dates and lists beside": (
        lambda frame: frame.with_columns(day=pl.date(2020, 1, 1), list=pl.concat_list("lens", "light")),
        CAUSE,
        "real",
    ),
}


@pytest.mark.parametrize("name", list(ODD_TABLES))
def test_an_odd_table_has_a_clear_answer(sliced: Sliced, name: str) -> None:
    change, slices, said = ODD_TABLES[name]
    found = document(sliced(change(attempts()), "--json"))
    assert sentences(found) == slices
    assert said in str(found["conclusion"])
    searched = str([found["slices"], found["insufficient"], found["explained_away"]])
    assert not any(f"'{column}'" in searched for column in cast("dict[str, str]", found["skipped"]))
    if "identifiers" in name:
        assert "row" in cast("dict[str, str]", found["skipped"])


def test_infinity_among_few_numbers_has_a_clear_answer(sliced: Sliced) -> None:
    lux = pl.when(is_bad()).then(float("inf")).otherwise(pl.int_range(pl.len()) % 3)
    found = document(sliced(attempts().select("subject", "failed", lux=lux), "--json"))
    assert len(cast("list[JsonValue]", found["slices"])) == 1


def test_decimals_have_a_clear_answer(sliced: Sliced) -> None:
    gain = pl.when(is_bad()).then(7).otherwise(pl.int_range(pl.len()) % 3).cast(pl.Decimal(10, 2))
    found = document(sliced(attempts().select("subject", "failed", gain=gain), "--json"))
    assert len(cast("list[JsonValue]", found["slices"])) == 1


REFUSED: dict[str, tuple[Change, str]] = {
    "an outcome with nulls": (
        lambda frame: frame.with_columns(failed=pl.when(pl.col("lens") != "c").then("failed")),
        "have no outcome",
    ),
    "an outcome with NaN": (
        lambda frame: frame.with_columns(failed=pl.when(pl.col("lens") == "c").then(float("nan")).otherwise(1.0)),
        "have no outcome",
    ),
    "an endless loss": (lambda frame: frame.with_columns(failed=float("inf")), "3000 of 3000 rows are null or not"),
    "an outcome as text": (
        lambda frame: frame.with_columns(failed=pl.lit("REJECT")),
        "found 'REJECT' (3,000); say which is a failure, for example --failed-when \"failed=REJECT\"",
    ),
    "only the outcome": (lambda frame: frame.select("failed", "subject"), "nothing can describe a slice"),
    "no rows": (lambda frame: frame.clear(), "the table has no rows"),
    "no such outcome": (lambda frame: frame.rename({"failed": "faild"}), "'failed': did you mean faild?"),
    "rows without a subject": (
        lambda frame: frame.with_columns(subject=pl.when(pl.col("lens") != "c").then("subject")),
        "rows name no subject",
    ),
}


def assert_is_one_sentence(result: Result, said: str) -> None:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "an error of the user's is no traceback"
    assert result.stdout == ""
    assert re.search("Error: (Slice|Table)Error: ", result.stderr)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_table_that_cannot_be_searched_is_refused_in_one_sentence(sliced: Sliced, name: str) -> None:
    change, said = REFUSED[name]
    assert_is_one_sentence(sliced(change(attempts()), "--json"), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"failed\n1\n0\n", "nothing can describe a slice"),
        (b"lens,failed\n", "the table has no rows"),
        (b"lens,failed\na,1\nb,0,9,9\n", "expected a CSV table with a header, or Parquet"),
        (b"lens,faild\na,1\n", "did you mean faild"),
        (b"PAR1 and nothing more", "not a readable Parquet file"),
        (bytes(range(256)) * 10, "table.csv: expected a CSV table"),
    ],
)
@pytest.mark.parametrize("command", ["slices", "attribute"])
def test_a_file_that_is_no_table_is_refused_in_one_sentence(
    cvq: Cvq, tmp_path: Path, content: bytes | None, said: str, command: str
) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    files = [str(path)] * (2 if command == "attribute" else 1)
    result = cvq(command, *files, "--outcome", "failed", "--json")
    if command == "attribute" and content == b"failed\n1\n0\n":
        assert document(result)["change"] == 0, "a change of nothing has one part"
        return
    if command == "attribute" and said == "the table has no rows":
        said = "has no rows"
    assert_is_one_sentence(result, said)


def test_a_table_in_a_shell_is_one_document_or_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "attempts.csv"
    attempts().write_csv(path)
    done = in_a_shell("slices", str(path), "--outcome", "failed", "--subject", "subject", "--json", home=tmp_path)
    assert done.returncode == 0
    assert sentences(strict_json(done.stdout)) == CAUSE
    refused = in_a_shell("slices", str(path), "--outcome", "lens", "--json", home=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "say which is a failure" in refused.stderr
    assert "Traceback" not in done.stderr + refused.stderr


def attributed(cvq: Cvq, folder: Path, before: pl.DataFrame, after: pl.DataFrame, *more: str) -> Result:
    before.write_parquet(folder / "before.parquet")
    after.write_csv(folder / "after.csv")
    files = (str(folder / "before.parquet"), str(folder / "after.csv"))
    return cvq("attribute", *files, "--outcome", "failed", "--subject", "subject", *more)


def test_a_change_between_two_tables_is_attributed_to_what_changed(cvq: Cvq, tmp_path: Path) -> None:
    before, after = attempts(0, rate=0.03), attempts(1)
    page = tmp_path / "change.html"
    found = document(attributed(cvq, tmp_path, before, after, "--report", str(page), "--json"))
    parts = cast("list[dict[str, float]]", found["parts"])
    conditions = [str(part["condition"]) for part in parts]
    change = float(after["failed"].to_numpy().mean() - before["failed"].to_numpy().mean())
    assert found["change"] == pytest.approx(change)
    assert sum(part["change"] for part in parts) == pytest.approx(change, abs=1e-12)
    assert conditions == [*CAUSE, "the rest"]
    assert parts[0]["rate"] > 0.9 * change
    assert found["n_paired"] == 150
    assert CAUSE[0] in page.read_text()


def test_change_is_printed_as_a_table_with_the_total_last_and_one_sentence(cvq: Cvq, tmp_path: Path) -> None:
    result = attributed(cvq, tmp_path, attempts(0, rate=0.03), attempts(1))
    assert result.exit_code == 0
    assert result.stdout.startswith("before.parquet to after.csv")
    assert "all rows" in result.stdout
    assert result.stdout.strip().splitlines()[-1].endswith(".")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (attempts().drop("failed"), "no column 'failed'"),
        (attempts().drop("subject"), "no column 'subject'"),
        (attempts().with_columns(failed=pl.lit("x")), "'x' (3,000); say which is a failure"),
        (attempts().clear(), "has no rows"),
    ],
)
def test_two_tables_that_cannot_be_compared_are_refused_in_one_sentence(
    cvq: Cvq, tmp_path: Path, after: pl.DataFrame, said: str
) -> None:
    assert_is_one_sentence(attributed(cvq, tmp_path, attempts(), after), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "FILE"), "--skip-broken"),
        (("evaluate", "FILE", "--format", "json"), "(taken for json, as declared)"),
        (("slices", "FILE", "--outcome", "nosuch"), "table[1].csv: the table has no column 'nosuch'"),
        (("slices", "FILE", "--outcome", "label", "--report", "/proc/x.html"), "--report"),
        (("simulate", "tiny", "--seed", "-1"), "--seed"),
        (("ui", "--port", "99999999"), "--port"),
    ],
)
def test_an_error_speaks_of_options_and_names_the_file(
    cvq: Cvq, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "table[1].csv"
    path.write_text("score,is_genuine,label\n0.5,true,1\nhalf,true,0\n" + "0.1,false,0\n" * 40)
    result = cvq(*(str(path) if item == "FILE" else item for item in arguments))
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), "an error of the user's is no traceback"
    assert said in result.stderr
    assert not re.search(r"on_error|genuine_pattern=|\.part", result.stderr)


def test_scores_of_one_class_are_named_with_what_they_were_taken_for(cvq: Cvq, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("score,is_genuine\n" + "0.7,1\n0.6,1\n" * 30)
    result = cvq("evaluate", str(path))
    assert result.exit_code == 1
    assert f"{path}: " in result.stderr
    assert "taken for " in result.stderr


def test_a_scenario_that_is_no_text_is_named(cvq: Cvq, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(bytes(range(256)))
    result = cvq("simulate", str(path))
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (1, True)
    assert f"{path}: expected a scenario as YAML" in result.stderr


def test_ui_on_a_busy_port_names_the_port_and_its_option(cvq: Cvq) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = cvq("ui", "--port", str(port))
    assert result.exit_code == 2
    assert "--port" in result.stderr
    assert f"port {port} of 127.0.0.1 cannot be used" in result.stderr


def test_no_process_outlives_the_ui_that_is_terminated(tmp_path: Path) -> None:
    worker = "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    leader = (
        f"import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', {worker!r}]);"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    supervise = (
        f"import sys, os; from cv_quality.cli.pipeline import _supervise;"
        f"lock = os.open(os.devnull, os.O_RDONLY);"
        f"sys.exit(_supervise([sys.executable, '-c', {leader!r}], dict(os.environ), inherited=lock))"
    )
    with subprocess.Popen([sys.executable, "-c", supervise]) as process:
        wait_until(
            lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text() != "",
            what="the worker",
            seconds=60,
        )
        child = int((tmp_path / "child").read_text())
        process.terminate()
        assert process.wait(timeout=30) == 0

    def is_gone() -> bool:
        status = Path(f"/proc/{child}/stat")
        return not status.exists() or status.read_text().rsplit(") ", 1)[1].startswith("Z")

    wait_until(is_gone, what="the worker's end", seconds=30)
