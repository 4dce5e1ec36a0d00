"""Forgetting a subject: nothing is left, nothing of others is lost, and it never comes back."""

import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cv_quality.drops.manifest import read_manifest
from cv_quality.drops.tables import DROP_FILES, QUARANTINE_PARSE, RAW_ATTEMPTS, RAW_SUBJECTS, SUBJECTS
from cv_quality.errors import ForgettingError, StoreError
from cv_quality.forgetting.forget import forget, look_for
from cv_quality.forgetting.places import SIGNING_KEY
from cv_quality.forgetting.receipt import public_key, verified
from cv_quality.lake.lake import TableKey
from cv_quality.studies.assignment import AssignedSubject, SheetRecord
from cv_quality.studies.records import append_record, read_chain, record_digest
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import due_keys, open_workspace, redeliver, take_in
from cv_quality_tests.end_to_end.killing import exit_code_of
from cv_quality_tests.forgetting.holding import (
    DROP,
    LIKE,
    NOW,
    OTHER,
    SUBJECT,
    UNTOUCHED,
    deliver_people,
    documents,
)

KEY = TableKey(drop=DROP)


def _found(workspace: Workspace) -> set[str]:
    return {str(place) for place in look_for(workspace, SUBJECT).found}


def _receipts(workspace: Workspace) -> list[dict[str, Any]]:
    public = public_key(workspace.settings.forgetting / SIGNING_KEY)
    paths = sorted((workspace.settings.forgetting / "receipts").iterdir())
    return [verified(path.read_bytes(), public) for path in paths]


def _subjects(workspace: Workspace, drop: str) -> list[str]:
    return workspace.lake.read(SUBJECTS, TableKey(drop=drop))["subject_id"].sort().to_list()


def test_everything_that_holds_the_subject_is_found_before_and_nothing_after(held: Workspace) -> None:
    before = _found(held)
    assert f"landing/{DROP}/events-00000.jsonl.zst" in before
    assert f"lake/raw_attempts/{DROP}.parquet" in before
    assert {f"published/other-build/2026-09-01-abc/{name}" for name, _ in documents(SUBJECT)} <= before
    assert not any(UNTOUCHED in place for place in before)
    forget(held, SUBJECT, now=NOW)
    assert _found(held) == set()


def test_a_drop_is_taken_in_again_without_the_subject_and_with_all_others(held: Workspace) -> None:
    untouched = held.lake.read(RAW_SUBJECTS, TableKey(drop=UNTOUCHED))
    forget(held, SUBJECT, now=NOW)
    assert due_keys(held, "ingest_drop") == [DROP]
    take_in(held, DROP)
    assert due_keys(held, "ingest_drop") == []
    assert (_subjects(held, DROP), _subjects(held, UNTOUCHED)) == ([OTHER], [LIKE, OTHER])
    attempts = held.lake.read(RAW_ATTEMPTS, KEY)
    assert attempts["claimed_subject_id"].unique().to_list() == [OTHER]
    assert attempts.height == 2
    assert held.lake.read(RAW_SUBJECTS, TableKey(drop=UNTOUCHED)).equals(untouched)


def test_pictures_of_the_subject_go_and_those_of_who_claimed_to_be_it_stay(held: Workspace) -> None:
    before = {entry.name: entry.rows for entry in read_manifest(held.landing, DROP).files}
    forget(held, SUBJECT, now=NOW)
    after = {entry.name: entry.rows for entry in read_manifest(held.landing, DROP).files}
    assert before["frames-00000.tar"] - after["frames-00000.tar"] == 3
    assert before["events-00000.jsonl.zst"] - after["events-00000.jsonl.zst"] == 6


def test_a_redelivered_drop_sets_the_subject_aside_counted_and_without_text(held: Workspace) -> None:
    forget(held, SUBJECT, now=NOW)
    deliver_people(held.landing, DROP, OTHER, SUBJECT)
    redeliver(held, DROP, lambda lines: [*lines, f'{{"kind":"attempt", "who": "{SUBJECT}" broken'.encode()])
    take_in(held, DROP)
    files = held.lake.read(DROP_FILES, KEY)
    assert files["rows_forgotten"].to_list() == [7, 3]
    assert (files["rows_in"] == files["rows_declared"]).all()
    assert held.lake.read(QUARANTINE_PARSE, KEY).is_empty()
    assert _subjects(held, DROP) == [OTHER]
    assert {place for place in _found(held) if not place.startswith("landing/")} == set()


def test_without_the_key_nothing_is_taken_in(held: Workspace) -> None:
    forget(held, SUBJECT, now=NOW)
    (held.settings.forgetting / "key").unlink()
    with pytest.raises(ForgettingError, match="copy the file key there"):
        take_in(held, DROP)


def test_records_of_runs_stay_without_the_subject(held: Workspace) -> None:
    path = held.settings.dagster_home / "history" / "runs.db"
    forget(held, SUBJECT, now=NOW)
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT value FROM run_tags ORDER BY id").fetchall()
    assert rows == [('{"who": "[forgotten]"}',), (OTHER,)]
    assert SUBJECT.encode() not in path.read_bytes()


def test_the_sheets_of_a_study_stay_a_chain_without_the_subject(held: Workspace) -> None:
    store, parent = held.lake.store, None
    for number, subject in enumerate((SUBJECT, OTHER), start=1):
        row = AssignedSubject(subject, (), "face-1.2", (), ())
        sheet = SheetRecord(study="s", number=number, parent=parent, at="2026-09-01", lock="x", rows=(row,))
        assert append_record(store, "sheet", sheet)
        parent = record_digest(sheet)
    forget(held, SUBJECT, now=NOW)
    sheets = read_chain(store, "s", "sheet", SheetRecord, error=ForgettingError)  # type: ignore[arg-type]
    first, second = (sheet.rows[0].subject_id for sheet in sheets)
    assert first.startswith("forgotten-")
    assert second == OTHER


def test_the_receipt_names_nobody_and_lists_what_went_and_what_is_out_of_reach(held: Workspace) -> None:
    done = forget(held, SUBJECT, now=NOW)
    (document,) = _receipts(held)
    text = done.receipt.read_text()
    assert SUBJECT not in text
    assert "tried-0001-1" not in text
    assert document["found"]["rows_of_logs"] == 6
    assert document["found"]["members_of_shards"] == 3
    assert document["left"]["files_with_the_subject"] == 0
    assert f"lake/raw_subjects/{DROP}.parquet" in {item["place"] for item in document["removed"]}
    assert any("backups" in item for item in document["out_of_reach"])


@pytest.mark.parametrize("change", [("forgotten_at", "2020-01-01T00:00:00Z"), ("removed", []), ("subject", "0" * 64)])
def test_a_receipt_that_was_changed_does_not_hold(held: Workspace, change: tuple[str, object]) -> None:
    done = forget(held, SUBJECT, now=NOW)
    document = json.loads(done.receipt.read_bytes()) | dict([change])
    with pytest.raises(ForgettingError, match="does not hold"):
        verified(json.dumps(document).encode(), public_key(held.settings.forgetting / SIGNING_KEY))


def test_a_subject_that_is_nowhere_gives_a_receipt_of_the_same_shape(held: Workspace) -> None:
    real, none = forget(held, SUBJECT, now=NOW).document, forget(held, "nobody-0001", now=NOW).document
    assert {key: type(value) for key, value in real.items()} == {key: type(value) for key, value in none.items()}
    assert real["found"].keys() == none["found"].keys()
    assert none["removed"] == []


def test_a_second_forgetting_at_the_same_time_is_refused(held: Workspace) -> None:
    from cv_quality.forgetting.forget import _alone

    with _alone(held), pytest.raises(ForgettingError, match="being forgotten at the moment"):
        forget(held, SUBJECT, now=NOW)


@pytest.mark.parametrize("subject", ["", "a/b", "../x", "person 7", "x" * 200])
def test_what_no_delivery_could_name_is_refused(held: Workspace, subject: str) -> None:
    with pytest.raises(ForgettingError, match="cannot be the id of a subject"):
        forget(held, subject, now=NOW)


def test_keys_tombstones_and_receipts_are_their_owner_s_alone(held: Workspace) -> None:
    forget(held, SUBJECT, now=NOW)
    files = [path for path in held.settings.forgetting.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"key", SIGNING_KEY}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    assert not any(SUBJECT in str(path) for path in held.settings.home.rglob("*"))


def test_a_delivery_that_did_not_hold_its_manifest_is_not_vouched_for(held: Workspace) -> None:
    path = Path(held.settings.landing) / DROP / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["files"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    forget(held, SUBJECT, now=NOW)
    assert json.loads(path.read_bytes())["files"][0]["sha256"] == "0" * 64
    assert _found(held) == set()


def test_a_delivery_corrected_meanwhile_is_written_anew_once_more(
    held: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cv_quality.forgetting import landing

    written, corrected = landing._log, list[bool]()

    def correct_once(path: Path, target: Path, lines: set[int]) -> Path:
        if not corrected:
            corrected.append(True)
            redeliver(held, DROP, lambda old: old[:-1])
        return written(path, target, lines)

    monkeypatch.setattr(landing, "_log", correct_once)
    forget(held, SUBJECT, now=NOW)
    assert corrected
    assert _found(held) == set()


def test_a_row_that_names_the_subject_in_any_field_and_a_file_beside_go_too(held: Workspace) -> None:
    folder = Path(held.settings.landing)
    redeliver(held, DROP, lambda lines: [*lines, f'{{"kind":"device","operator":"{SUBJECT}"}}'.encode()])
    (folder / DROP / "notes.txt").write_text(f"{SUBJECT} was late")
    (folder / f"{DROP}-quarantine.csv").write_text(f"line,who\n1,{SUBJECT}\n")
    forget(held, SUBJECT, now=NOW)
    assert _found(held) == set()
    assert {path.name for path in folder.iterdir()} == {DROP, UNTOUCHED}


def test_tables_of_a_drop_whose_delivery_is_gone_go_as_a_whole(held: Workspace) -> None:
    shutil.rmtree(Path(held.settings.landing) / DROP)
    forget(held, SUBJECT, now=NOW)
    assert _found(held) == set()
    assert {key.drop for key in held.lake.keys(DROP_FILES)} == {UNTOUCHED}


def test_a_file_that_may_not_be_deleted_is_named_and_nothing_is_signed(
    held: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.name == "log.gz":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        with pytest.raises(StoreError, match=r"log\.gz: Permission denied; let it be deleted"):
            forget(held, SUBJECT, now=NOW)
    assert not (held.settings.forgetting / "receipts").exists()
    forget(held, SUBJECT, now=NOW)
    assert _found(held) == set()


def die_at(home: Path, count: int) -> None:
    """Forget, and die just before the given one of the renames and removals."""
    left = [count]

    def hook(event: str, _: tuple[object, ...]) -> None:
        if event in ("os.rename", "os.remove"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    workspace = open_workspace(home)
    sys.addaudithook(hook)
    forget(workspace, SUBJECT, now=NOW)


def test_a_forgetting_killed_again_and_again_ends_as_one_that_was_not(held: Workspace, held_home: Path) -> None:
    codes = [exit_code_of(die_at, held.settings.home, count) for count in (1, 4, 6, 9, 20)]
    assert codes == [-signal.SIGKILL] * len(codes)
    assert not (held.settings.forgetting / "receipts").exists()
    forget(held, SUBJECT, now=NOW)
    assert _found(held) == set()
    assert [*(held.settings.forgetting / "pending").iterdir()] == []
    (document,) = _receipts(held)
    places = {item["place"] for item in document["removed"]}
    assert {f"lake/raw_subjects/{DROP}.parquet", f"landing/{DROP}/frames-00000.tar"} <= places
    take_in(held, DROP)
    assert _subjects(held, DROP) == [OTHER]
    assert open_workspace(held_home).landing.folders() == held.landing.folders()
