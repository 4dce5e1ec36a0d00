"""`cvq monitor`: what it prints, its exit codes, and a page without a person in it."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.lake.lake import TableKey
from cv_quality.tasks.verification.tables import METRIC_COUNTS
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import FIRST_DROP, open_workspace
from cv_quality_tests.end_to_end.walking import BLOCK, DOCS, in_order, session

TARGET = ("--target", "0.03", "--alpha", "0.2")


@pytest.fixture
def home(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The evaluated deployment with a lake to write into, and the rest of it as it is."""
    from shutil import copytree

    copytree(history.home, tmp_path / "home")
    monkeypatch.setenv("CVQ_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def monitor(*words: str) -> Result:
    return CliRunner().invoke(main, ["monitor", *words])


def test_an_alarm_is_exit_code_1_and_stays_without_options(home: Path) -> None:
    first = monitor("face-1.2", *TARGET)
    assert first.exit_code == 1
    assert first.output.startswith("face-1.2: alarm after 1 look, 2026-08-31 to 2026-08-31\n")
    assert "frr, population: alarm since 2026-08-31: 0.339 against 0.03" in first.output
    page = (home / "reports/face-1.2-monitor.html").read_text()
    assert "Evidence against each claim, look by look" in page
    again = monitor("face-1.2", "--json")
    assert again.exit_code == 1
    (claim,) = json.loads(again.stdout)["claims"]
    assert (claim["state"], claim["since"], claim["n_subjects"]) == ("alarm", "2026-08-31", 8)


def test_a_quiet_build_is_exit_code_0(home: Path) -> None:
    assert monitor("face-1.1", *TARGET, "--report", str(home / "page.html")).exit_code == 0
    counts = open_workspace(home).lake.read(METRIC_COUNTS, TableKey(build="face-1.1", drop=FIRST_DROP))
    page = (home / "page.html").read_text()
    assert not [subject for subject in counts["subject_id"].unique() if subject in page]


def test_one_look_at_a_change_is_exit_code_3(home: Path) -> None:  # noqa: ARG001 - the deployment
    found = monitor("face-1.2", "--against", "face-1.1", "--metric", "frr", "--metric", "fta")
    assert found.exit_code == 3
    assert "cannot tell: a first look is only learned from; panel of 8 subjects, not population" in found.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("face-1.1",), "face-1.1 is not watched yet; say what is claimed of it: --target RATE, or --against BUILD"),
        (("face-1.9", *TARGET), "no drop of face-1.9 has been taken in; did you mean face-1.2 or face-1.1"),
        (("face-1.1", "--target", "3 %"), "--target: expected a rate such as 0.03, or frr=0.03, found '3 %'"),
        (("face-1.1", "--metric", "frr", "--metric", "fta", "--target", "0.03"), "say of which the target is"),
        (("face-1.1", "--against", "face-9"), "no drop of face-1.1 is measured by face-9 yet"),
        (("face-1.1", "--target", "nan"), "between 0 and 1, such as 0.03, found nan"),
        (("face-1.1", *TARGET, "--slice", "device"), "no attempt has a level of device"),
    ],
)
def test_what_cannot_be_watched_is_exit_code_2(home: Path, words: tuple[str, ...], told: str) -> None:
    found = monitor(*words)
    assert (found.exit_code, told in found.output) == (2, True), found.output
    assert not (home / "lake/monitors").exists()


def test_the_commands_of_the_page_say_what_it_quotes(home: Path) -> None:  # noqa: ARG001 - the deployment
    (said,) = [text for kind, _, text in BLOCK.findall((DOCS / "monitoring.md").read_text()) if kind == "console"]
    looks = [item for item in session(said) if item.command.startswith("cvq monitor ")]
    assert len(looks) == 5
    for item in looks:
        assert in_order(item.quoted, monitor(*shlex.split(item.command)[2:]).output) == []
