"""What is refused or waits is told with its rule, rows, and what to do; a name from a drop steers no terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cv_quality.cli import main
from cv_quality.lake.lake import TableKey
from cv_quality.refusals import hindrances, standings
from cv_quality.runner import run_due
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    Orchestra,
    deliver,
    open_workspace,
    quietly,
    redeliver,
    take_in,
    with_garbage,
)

Cvq = Callable[..., Result]
STEERING = "[/bold]\x1b]0;owned\x07\u202e"


def about_nobody(lines: list[bytes]) -> list[bytes]:
    """A log of which nine attempts name a device that no event describes."""
    events = [json.loads(line) for line in lines]
    for event in [event for event in events if event["kind"] == "attempt"][:9]:
        event["device_id"] = "nobody"
    return [json.dumps(event).encode() for event in events]


def with_a_steering_name(lines: list[bytes]) -> list[bytes]:
    return [*lines, json.dumps({"kind": STEERING}).encode()]


@pytest.fixture
def workspace(tmp_path: Path, tiny_landing: Path) -> Workspace:
    """A deployment to which one drop was delivered."""
    opened = open_workspace(tmp_path / "home")
    deliver(tiny_landing, FIRST_DROP, to=opened)
    return opened


@pytest.fixture
def cvq(workspace: Workspace) -> Cvq:
    """Runs a command on the deployment."""

    def run(*arguments: str) -> Result:
        env = {"CVQ_HOME": str(workspace.settings.home), "CVQ_THREADS": "1"}
        return CliRunner(env=env).invoke(main, arguments)

    return run


def test_a_refused_drop_is_told_with_rule_rows_and_remedy(workspace: Workspace, cvq: Cvq) -> None:
    redeliver(workspace, FIRST_DROP, with_garbage)
    assert not run_due(workspace, track=quietly).succeeded
    told = cvq("why", FIRST_DROP)
    assert told.exit_code == 1
    assert f"refused: parse of {FIRST_DROP}\n" in told.stdout
    assert "at most 5% of the rows are quarantined" in told.stdout
    assert "rejected rows: 11 malformed_json\n" in told.stdout
    assert "    events-00000.jsonl.zst line 101: malformed_json: " in told.stdout
    assert (
        f"deliver it again with a new manifest to {workspace.landing.uri}/{FIRST_DROP}, then `cvq run`" in told.stdout
    )
    assert f"waiting: validate of {FIRST_DROP}\n  for parse of {FIRST_DROP}\n" in told.stdout
    again = cvq("run")
    assert (again.exit_code, again.stdout) == (1, "nothing could be done\n")
    assert "not true that at most 5% of the rows are quarantined; rejected: 11 malformed_json" in again.stderr
    shown = cvq("status", "--json")
    assert shown.exit_code == 1
    (row,) = json.loads(shown.stdout)
    assert str(row["why"]).startswith("parse: not true that at most 5%")
    listed = cvq("quarantine", FIRST_DROP)
    assert listed.exit_code == 0
    assert "malformed_json" in listed.stdout
    assert f"refused: {FIRST_DROP}: not true that" in listed.stderr


def test_rows_that_make_no_sense_are_told_of_build_and_cell_too(workspace: Workspace, cvq: Cvq) -> None:
    redeliver(workspace, FIRST_DROP, about_nobody)
    assert not run_due(workspace, track=quietly).succeeded
    for key in (("face-1.1",), ("face-1.1", FIRST_DROP), (f"face-1.1|{FIRST_DROP}",)):
        told = cvq("why", *key)
        assert told.exit_code == 1
        assert f"refused: validate of {FIRST_DROP}\n" in told.stdout
        assert "unknown_device: device_id: expected a device event of the drop, found nobody" in told.stdout
        assert f"waiting: infer, compare, measure of face-1.1/{FIRST_DROP}\n" in told.stdout
    (refused,) = hindrances(workspace)
    assert (refused.stage, refused.key, refused.n_rejected) == (
        "validate",
        TableKey(drop=FIRST_DROP),
        (("unknown_device", 9),),
    )


def test_a_drop_that_is_not_its_manifests_has_its_refusal_in_its_quarantine(workspace: Workspace, cvq: Cvq) -> None:
    with next((Path(workspace.settings.landing) / FIRST_DROP).glob("events-*")).open("ab") as file:
        file.write(b"more")
    assert cvq("run").exit_code == 1
    listed = cvq("quarantine", FIRST_DROP)
    assert listed.exit_code == 1
    assert f"refused: {FIRST_DROP}: DropError: " in listed.stderr
    assert "has been taken in" in listed.stderr
    assert "expected" in cvq("why", FIRST_DROP).stdout


def test_quarantine_of_an_earlier_delivery_is_not_given_as_the_reason(workspace: Workspace) -> None:
    redeliver(workspace, FIRST_DROP, with_a_steering_name)
    take_in(workspace, FIRST_DROP)
    redeliver(workspace, FIRST_DROP, lambda lines: lines[:-1])
    with next((Path(workspace.settings.landing) / FIRST_DROP).glob("events-*")).open("ab") as file:
        file.write(b"more")
    run_due(workspace, track=quietly)
    (parse, *_) = standings(workspace, FIRST_DROP)
    assert parse.state == "refused"
    assert parse.rejected == ()


def test_what_passed_is_told_as_nothing_refused(workspace: Workspace, cvq: Cvq) -> None:
    take_in(workspace, FIRST_DROP)
    told = cvq("why", FIRST_DROP)
    assert told.exit_code == 0
    assert told.stdout.startswith(
        f"nothing of {FIRST_DROP} is refused; the last stage that passed is validate of {FIRST_DROP}\n"
    )
    assert "due: infer of face-1.1" in told.stdout


def test_an_unknown_key_is_refused_with_the_near_names(cvq: Cvq) -> None:
    for key in ("face-1.l", f"face-1.l/{FIRST_DROP}", f"face-1.1/{FIRST_DROP}/more"):
        told = cvq("why", key)
        assert told.exit_code == 1
        assert told.stdout == ""
        assert "UnknownKey" in told.stderr
    assert "did you mean" in cvq("why", FIRST_DROP.replace("08-03", "08-04")).stderr


def test_a_build_that_the_registry_lacks_and_a_damaged_model_are_told(
    workspace: Workspace, tmp_path: Path, tiny_landing: Path
) -> None:
    registry = tmp_path / "registry"
    registry.mkdir()
    for path in Path(workspace.settings.registry).iterdir():
        (registry / path.name).write_bytes(path.read_bytes())
    own = replace(workspace.settings, registry=str(registry))
    deliver(tiny_landing, SECOND_DROP, to=workspace)
    (registry / "face-1.2.yaml").unlink()
    with (registry / "face-b.pt2").open("ab") as file:
        file.write(b"more")
    damaged = Workspace(own, workspace.modalities)
    assert not run_due(damaged, track=quietly).succeeded
    found = {(item.stage, str(item.key)): item for item in hindrances(damaged)}
    assert set(found) == {("infer", f"face-1.1/{FIRST_DROP}"), ("infer", f"face-1.2/{SECOND_DROP}")}
    assert found["infer", f"face-1.1/{FIRST_DROP}"].headline.startswith("ModelError: face-b.pt2: expected sha256")
    assert "no build 'face-1.2' in the registry" in found["infer", f"face-1.2/{SECOND_DROP}"].headline
    env = {"CVQ_HOME": str(own.home), "CVQ_REGISTRY": own.registry, "CVQ_THREADS": "1"}
    shown = CliRunner(env=env).invoke(main, ["status"])
    assert shown.exit_code == 1
    assert shown.stderr.splitlines()[-1].startswith("refused or not to be done: 2 drops or builds; `cvq why KEY`")


def test_a_name_from_a_log_steers_no_terminal(workspace: Workspace, cvq: Cvq) -> None:
    redeliver(workspace, FIRST_DROP, with_a_steering_name)
    take_in(workspace, FIRST_DROP)
    listed = cvq("quarantine", FIRST_DROP)
    assert listed.exit_code == 0
    assert "[/bold]\\x1b]0;owned\\x07\\u202e" in listed.stdout
    assert not re.search("[\x1b\x07\u202e]", listed.output)
    refused = cvq("why", STEERING)
    assert refused.exit_code == 1
    assert not re.search("[\x1b\x07\u202e]", refused.output)


def test_why_a_run_failed_is_in_its_check_and_in_its_error(workspace: Workspace) -> None:
    import dagster as dg

    redeliver(workspace, FIRST_DROP, with_garbage)
    with dg.DagsterInstance.ephemeral() as instance:
        orchestra = Orchestra(workspace, instance)
        orchestra.work_off()
        (check,) = orchestra.runs[0].result.get_asset_check_evaluations()
        assert check.metadata["more"].value == f"cvq why {FIRST_DROP}"
        again = orchestra.execute("ingest_drop", FIRST_DROP, only=VERIFICATION.stage("validate").assets)
    (failure,) = [event for event in again.all_events if event.is_step_failure]
    reason = failure.step_failure_data.user_failure_data
    assert reason is not None
    assert "at most 5% of the rows are quarantined" in str(reason.description)
    assert reason.metadata["more"].value == f"cvq why {FIRST_DROP}"


def in_a_terminal(*arguments: str, columns: int, home: Path) -> str:
    """What a command prints to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "CVQ_HOME": str(home), "COLUMNS": str(columns)}
    with subprocess.Popen([sys.executable, "-m", "cv_quality.cli", *arguments], env=env, stdout=theirs) as process:
        os.close(theirs)
        read = b""
        try:
            while part := os.read(ours, 1 << 16):
                read += part
        except OSError:
            """The other end of a terminal that is gone."""
        os.close(ours)
        assert process.wait() == 0
    return read.decode().replace("\r\n", "\n")


def test_paths_and_names_are_never_wrapped(workspace: Workspace) -> None:
    take_in(workspace, FIRST_DROP)
    page = workspace.report_path("face-1.1")
    page.parent.mkdir()
    page.write_text("a page")
    for columns in (40, 80, 200):
        shown = in_a_terminal("status", columns=columns, home=workspace.settings.home)
        assert FIRST_DROP in shown
        assert str(page) in shown
    assert f"    report: {page}\n" in in_a_terminal("status", columns=80, home=workspace.settings.home)
