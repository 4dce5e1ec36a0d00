"""Deliveries that are bad, half there, delivered again or taken away: each is its own affair, and no other drop's."""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from cv_quality.errors import DropIncomplete, StoreError
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.planning import Work, drop_states
from cv_quality.runner import run_due
from cv_quality.stage import JOBS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    deliver,
    do,
    due_keys,
    open_workspace,
    quietly,
)

TASK = VERIFICATION
EVENTS = "events-00000.jsonl.zst"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty deployment."""
    return open_workspace(tmp_path / "home")


@pytest.fixture
def done(history: History, tmp_path: Path) -> Workspace:
    """A copy of the deployment in which both drops are done."""
    shutil.copytree(history.home, tmp_path / "home")
    return open_workspace(tmp_path / "home")


def folder_of(workspace: Workspace, drop: str) -> Path:
    return Path(workspace.settings.landing) / drop


def states(workspace: Workspace) -> dict[str, str]:
    return {item.drop: item.validated for item in drop_states(Freshness(workspace, TASK))}


def test_a_refused_drop_is_tried_again_once_its_file_is_delivered_again(
    workspace: Workspace, tiny_landing: Path
) -> None:
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    events = folder_of(workspace, FIRST_DROP) / EVENTS
    events.write_bytes(events.read_bytes()[:-1] + b"\x00")
    os.utime(events, ns=(0, (tiny_landing / FIRST_DROP / EVENTS).stat().st_mtime_ns))
    assert len(run_due(workspace, track=quietly).refused) == 1
    assert states(workspace) == {FIRST_DROP: "refused"}
    assert due_keys(workspace, JOBS[0]) == []
    shutil.copy2(tiny_landing / FIRST_DROP / EVENTS, events)
    assert states(workspace) == {FIRST_DROP: "due"}
    assert due_keys(workspace, JOBS[0]) == [FIRST_DROP]
    do(workspace, "parse", "validate", drop=FIRST_DROP)
    assert states(workspace) == {FIRST_DROP: "passed"}


@pytest.mark.parametrize("name", [EVENTS, "frames-00000.tar"])
def test_a_drop_that_is_still_being_copied_waits_and_is_not_refused(
    workspace: Workspace, tiny_landing: Path, name: str
) -> None:
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    path = folder_of(workspace, FIRST_DROP) / name
    whole = path.read_bytes()
    for part in (None, whole[: len(whole) // 2]):
        path.unlink() if part is None else path.write_bytes(part)
        assert states(workspace) == {FIRST_DROP: "waiting"}
        assert run_due(workspace, track=quietly).results == []
        with pytest.raises(DropIncomplete, match=name):
            do(workspace, "parse", drop=FIRST_DROP)
        assert read_verdict(workspace.lake, "parse", TableKey(drop=FIRST_DROP)) is None
    path.write_bytes(whole)
    assert due_keys(workspace, JOBS[0]) == [FIRST_DROP]


def test_a_delivery_that_is_gone_voids_nothing_that_was_taken_in(done: Workspace) -> None:
    shutil.rmtree(done.settings.landing)
    assert states(done) == {FIRST_DROP: "passed", SECOND_DROP: "passed"}
    assert [due_keys(done, job) for job in JOBS] == [[]] * len(JOBS)
    with pytest.raises(DropIncomplete, match="expected the manifest"):
        do(done, "parse", drop=FIRST_DROP)
    assert states(done) == {FIRST_DROP: "passed", SECOND_DROP: "passed"}
    done.report_path("face-1.2").unlink()
    assert [result.stage for result in run_due(done, track=quietly).results] == ["report"]


def test_what_is_lost_without_its_delivery_is_made_from_the_lake_or_said(done: Workspace) -> None:
    shutil.rmtree(done.settings.landing)
    lake = Path(done.settings.lake)
    (lake / "validated_attempts" / f"{FIRST_DROP}.parquet").unlink()
    (lake / "raw_attempts" / f"{SECOND_DROP}.parquet").unlink()
    result = run_due(done, track=quietly)
    assert [f"{item.stage} {item.key}" for item in result.results] == [f"validate {FIRST_DROP}"]
    (message,) = result.refused
    assert message.startswith(f"{SECOND_DROP}: DropIncomplete: ")


def test_bad_drops_keep_no_other_from_being_taken_in(workspace: Workspace, tiny_landing: Path) -> None:
    landing = Path(workspace.settings.landing)
    landing.mkdir(parents=True)
    deliver(tiny_landing, SECOND_DROP, to=workspace)
    for odd in (b"a\\b", b"\xff\xfe", b"a" * 255, b" ", b"~", b"a\nb"):
        folder = Path(os.fsdecode(os.fsencode(landing) + b"/" + odd))
        shutil.copytree(tiny_landing / FIRST_DROP, folder)
    (landing / "2026-01-01_folder" / "manifest.json").mkdir(parents=True)
    for name, text in (("2026-01-01_list", "[]"), ("2026-01-01_deep", "[" * 10_000), ("2026-01-01_text", "\x00")):
        (landing / name).mkdir()
        (landing / name / "manifest.json").write_text(text)
    (landing / "2026-01-01_link").symlink_to(landing / "2026-01-01_link")
    result = run_due(workspace, track=quietly)
    assert {item.stage for item in result.results if item.key == SECOND_DROP} == {"parse", "validate"}
    assert sorted(message.partition(":")[0] for message in result.refused) == [
        "2026-01-01_deep",
        "2026-01-01_list",
        "2026-01-01_text",
    ]
    assert states(workspace)[SECOND_DROP] == "passed"


def test_a_folder_removed_while_a_run_works_keeps_no_other_from_being_done(
    workspace: Workspace, tiny_landing: Path
) -> None:
    for drop in (FIRST_DROP, SECOND_DROP):
        deliver(tiny_landing, drop, to=workspace)

    def removing(sequence: Sequence[Work], /, *, description: str) -> Iterable[Work]:
        for item in sequence:
            if description == "take drops in" and item.key.drop == FIRST_DROP:
                shutil.rmtree(folder_of(workspace, FIRST_DROP))
            if description == "score builds on drops":
                shutil.rmtree(folder_of(workspace, SECOND_DROP), ignore_errors=True)
            yield item

    result = run_due(workspace, track=removing)
    assert {item.stage for item in result.results} >= {"parse", "validate", "marts"}
    assert {message.partition(":")[0] for message in result.refused} == {
        FIRST_DROP,
        f"face-1.1/{SECOND_DROP}",
        f"face-1.2/{SECOND_DROP}",
    }
    assert states(workspace) == {SECOND_DROP: "passed"}


@pytest.mark.parametrize("setting", ["landing", "lake"])
def test_only_a_store_that_cannot_be_reached_stops_a_run(
    workspace: Workspace, tiny_landing: Path, setting: str
) -> None:
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    place = Path(getattr(workspace.settings, setting))
    shutil.rmtree(place, ignore_errors=True)
    place.write_text("a file")
    with pytest.raises(StoreError, match=rf"{setting}.*folder"):
        run_due(workspace, track=quietly)


def test_a_manifest_that_says_little_still_names_what_it_says(workspace: Workspace, tiny_landing: Path) -> None:
    deliver(tiny_landing, FIRST_DROP, to=workspace)
    manifest = folder_of(workspace, FIRST_DROP) / "manifest.json"
    manifest.write_text(json.dumps({"modality": "face", "build_id": 7}))
    assert due_keys(workspace, JOBS[0]) == [FIRST_DROP]
