"""Walks of the documentation: pages whose commands are run as they are written, in an empty folder."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).parents[2]
DOCS = CLONE / "docs"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "…"


@dataclass(frozen=True, slots=True)
class Said:
    """A command of the page, and the lines that it quotes of what is said."""

    command: str
    quoted: tuple[str, ...]


def sections(page: str, titles: Sequence[str]) -> str:
    """What a page says before its first title, and under these ones."""
    first, *others = (DOCS / page).read_text().split("\n## ")
    return "\n".join([first, *(next(text for text in others if text.startswith(title)) for title in titles)])


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


def walk(page: str, titles: Sequence[str], folder: Path) -> None:
    """Run every command of sections in an empty folder, and expect what is quoted of each.

    Args:
        page: its name in the documentation.
        titles: of the sections, each after what the page says before the first.
        folder: where an empty one is made.
    """
    home = folder / "home"
    home.mkdir()
    (home / "cv_quality").symlink_to(CLONE)
    work = folder / "empty"
    work.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"HOME": str(home), "PATH": path, "PYTHONPATH": str(CLONE), "CVQ_EXPLAINED_PAIRS": "0"}
    for language, name, text in BLOCK.findall(sections(page, titles)):
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
        ["bash", "-c", f"{{ {command}\n}} 2>&1"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, (command, found.stdout)
    return found.stdout
