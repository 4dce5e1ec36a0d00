"""The troubleshooting page quotes what the commands say, and the shell completes them as it tells."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv_quality

PACKAGE = Path(cv_quality.__file__).parent
PAGE = PACKAGE.parent / "docs" / "troubleshooting.md"
BY_THE_SYSTEM = {"No space left on device"}
CVQ = str(Path(sys.executable).parent / "cvq")


def source() -> str:
    """The package's text, with literals that follow one another joined, and what is filled into them as an ellipsis."""
    text = "\n".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")))
    joined = re.sub(r"\"\s*\n\s*f?\"", "", text)
    return re.sub(r"\{[^{}]*\}", "…", joined)


def quotes() -> list[str]:
    """What the first columns of the page quote of messages."""
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [quote for cell in rows for quote in re.findall(r"`([^`]+)`", cell) if " " in quote and "cvq " not in quote]


def test_every_message_of_the_page_is_one_that_is_said() -> None:
    said = source()
    parts = {part.strip(" …") for quote in quotes() for part in quote.split("…")} - BY_THE_SYSTEM - {""}
    assert len(parts) > 20
    assert sorted(part for part in parts if part not in said) == []


def test_the_shell_completes_commands() -> None:
    environment = {**os.environ, "_CVQ_COMPLETE": "bash_complete", "COMP_WORDS": "cvq s", "COMP_CWORD": "1"}
    found = subprocess.run([CVQ], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["plain,simulate", "plain,slices", "plain,sql", "plain,status", "plain,study"]
