"""The whole chain in odd surroundings: the same bytes, and no word to the network."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import FIRST_DROP, deliver, fingerprints, open_workspace, warehouse_tables

ROOT = Path(__file__).resolve().parents[2]
FILES = 96
WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[1][0]
        if address not in ("127.0.0.1", "localhost", "::1", None) and not str(address).startswith("/"):
            with open(os.path.join(os.path.dirname(__file__), "contacts"), "a") as log:
                log.write(f"{event} {address} {sys.argv}\\n")

sys.addaudithook(watch)
"""
"""A module that every Python process imports first, dbt too, and that writes down whom it wants to reach."""


def watched(program: Sequence[str], *, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program with few files, no home folder and the variables given; what it contacts is written to `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(WATCH)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **variables}
    limited = ["bash", "-c", f'ulimit -n {FILES}; exec "$@"', "bash", *program]
    return subprocess.run(limited, env=environment, capture_output=True, text=True, check=False, umask=0o077)


def contacts(folder: Path) -> list[str]:
    log = folder / "contacts"
    return log.read_text().splitlines() if log.exists() else []


def test_whom_a_program_wants_to_reach_is_noticed(tmp_path: Path) -> None:
    program = "import socket; s = socket.socket(); s.setblocking(False); s.connect_ex(('192.0.2.1', 9))"
    assert watched([sys.executable, "-c", program], folder=tmp_path, variables={}).returncode == 0
    (contact,) = contacts(tmp_path)
    assert contact.startswith("socket.connect 192.0.2.1")


def test_odd_surroundings_change_no_byte_and_nobody_is_contacted(
    history: History, tiny_landing: Path, tmp_path: Path
) -> None:
    expected = open_workspace(shutil.copytree(history.first_home, tmp_path / "expected"))
    workspace = open_workspace(tmp_path / "it's #1 [2026] {x} ü")
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    variables = {
        "CVQ_HOME": str(workspace.settings.home),
        "CVQ_THREADS": "1",
        "LC_ALL": "C",
        "TZ": "Pacific/Chatham",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "DBT_EMPTY": "true",
    }
    for command in (["run"], ["backfill", "--build", "face-1.1", "--drop", FIRST_DROP]):
        done = watched(
            [sys.executable, "-O", "-m", "cv_quality.cli", *command], folder=tmp_path / "watch", variables=variables
        )
        assert done.returncode == 0, done.stderr
    assert fingerprints(workspace) == fingerprints(expected)
    assert warehouse_tables(workspace) == warehouse_tables(expected)
    assert contacts(tmp_path / "watch") == []
