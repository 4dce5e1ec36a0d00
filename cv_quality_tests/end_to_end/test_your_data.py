"""The docs' walk from five kinds of foreign data to their reports, run as it is written, in an empty folder."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]
PAGE = CLONE / "docs" / "your-data.md"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "…"


@dataclass(frozen=True, slots=True)
class Said:
    """A command of the page, and the lines that it quotes of what is said."""

    command: str
    quoted: tuple[str, ...]


def section(title: str) -> str:
    """What the page says before its first title, and under this one."""
    first, *others = PAGE.read_text().split("\n## ")
    return first + next(text for text in others if text.startswith(title))


def session(text: str) -> list[Said]:
    """Take a shell session apart."""
    parts = [part.splitlines() for part in re.split(r"^\$ ", text, flags=re.MULTILINE) if part]
    return [Said(command, tuple(quoted)) for command, *quoted in parts]


def in_order(quoted: Sequence[str], said: str) -> list[str]:
    """Find lines one after the other in what was said; those that are not there."""
    lines, missing = iter(map(str.rstrip, said.splitlines())), []
    for line in quoted:
        form = re.compile(".*".join(map(re.escape, line.split(ANYTHING))))
        if line != ANYTHING and not any(map(form.fullmatch, lines)):
            missing.append(line)
    return missing


def walk(title: str, folder: Path) -> None:
    """Run every command of a section in an empty folder, and expect what is quoted of each."""
    home = folder / "home"
    home.mkdir()
    (home / "cv_quality").symlink_to(CLONE)
    work = folder / "empty"
    work.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"HOME": str(home), "PATH": path, "PYTHONPATH": str(CLONE), "CVQ_EXPLAINED_PAIRS": "0"}
    for language, name, text in BLOCK.findall(section(title)):
        if name:
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_text(text)
        for step in session(text) if language == "console" else ():
            if step.command.startswith("export "):
                variable, _, value = step.command.removeprefix("export ").partition("=")
                environment[variable] = value
            else:
                said = run(step.command, folder=work, environment=environment)
                assert in_order(step.quoted, said) == [], (step.command, said)


def run(command: str, *, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command of the page that succeeds; what it says."""
    found = subprocess.run(
        ["bash", "-c", f"{command} 2>&1"], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, (command, found.stdout)
    return found.stdout


@pytest.mark.parametrize(
    ("title", "report", "told"),
    [
        ("A score file", "trials.html", "4.01 % to 4.88 %"),
        ("Device logs as CSV", "attempts.html", "firmware is 2.1 and lux &lt;= 20.6"),
        ("Device logs as CSV", "fleet/reports/face-1.1.html", "As recorded on the devices"),
        ("Iris codes", "codes.html", "3.33 % to 9.92 %"),
        ("Clips with their truth", "clips.html", "5 clips worse, 1 better"),
        pytest.param(
            "A folder of images",
            "study/reports/face-1.2.html",
            "illuminance_lux &lt;= 7.1",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_each_kind_of_data_becomes_a_report(tmp_path: Path, title: str, report: str, told: str) -> None:
    walk(title, tmp_path)
    assert told in (tmp_path / "empty" / report).read_text()
