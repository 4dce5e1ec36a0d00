"""The command line: a tour in its help, one JSON document on standard output, errors that are sentences."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click
import pytest
from click.testing import CliRunner, Result

from cv_quality.chain import run_pending
from cv_quality.cli import main
from cv_quality.settings import Settings
from cv_quality.stages import Workspace
from cv_quality_tests.deployment import FIRST_DROP, deliver, quietly

CVQ = str(Path(sys.executable).parent / "cvq")
Rows = list[dict[str, object]]
Cvq = Callable[..., Result]


def environment(home: Path) -> dict[str, str]:
    return {"CVQ_HOME": str(home), "CVQ_THREADS": "1"}


def open_workspace(home: Path) -> Workspace:
    return Workspace(Settings.from_environment(environment(home)))


@pytest.fixture
def cvq(tmp_path: Path) -> Cvq:
    """Runs a command in this process, by default on an empty deployment."""

    def run(*arguments: str, home: Path = tmp_path / "home") -> Result:
        return CliRunner(env=environment(home)).invoke(main, arguments)

    return run


@pytest.fixture(scope="module")
def evaluated(tiny_landing: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a deployment that has worked off one drop."""
    home = tmp_path_factory.mktemp("evaluated")
    workspace = open_workspace(home)
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    assert run_pending(workspace, track=quietly).succeeded
    return home


@pytest.fixture
def broken(tiny_landing: Path, tmp_path: Path) -> Path:
    """The home of a deployment whose only drop is not what its manifest says."""
    home = tmp_path / "broken"
    deliver(tiny_landing, FIRST_DROP, to=open_workspace(home))
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


def test_the_help_reads_as_a_tour_of_every_command(cvq: Cvq) -> None:
    text = cvq("--help").stdout
    tour = re.findall(r"^ +cvq (\w+)", text, re.MULTILINE)
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
    assert again.returncode == 0, "a refused drop waits for its correction"


def test_progress_goes_to_standard_error_and_the_document_to_standard_output(evaluated: Path) -> None:
    done = in_a_shell("run", "--json", home=evaluated)
    assert done.returncode == 0
    assert json.loads(done.stdout) == []
    assert "take drops in" in done.stderr


def test_an_unknown_build_in_a_shell_is_no_traceback(tmp_path: Path) -> None:
    done = in_a_shell("report", "face-1.l", home=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "face-1.1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--build", "face-9.9"), "face-1.1"), (("--drop", "nowhere"), "not validated")]
)
def test_a_backfill_of_an_unknown_key_is_refused_before_a_partition_is_added(
    cvq: Cvq, arguments: tuple[str, str], named: str
) -> None:
    result = cvq("backfill", *arguments)
    assert result.exit_code == 1
    assert named in result.output
    assert "Traceback" not in result.output
