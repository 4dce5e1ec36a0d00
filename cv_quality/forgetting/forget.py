"""Forgets a subject: finds, erases, looks again until nothing is left, and writes the receipt.

The tombstone comes first, so that nothing of the subject is taken in again; then what was found is written down, so
that a forgetting that was killed is taken up where it was; then deliveries, what was made of them, and whatever else
holds the subject.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from cv_quality.drops.forgotten import KEY_BYTES, KEY_FILE, Row, SubjectKey, read_key, rows_of
from cv_quality.drops.manifest import FILE_NAME, MANIFEST
from cv_quality.errors import ForgettingError
from cv_quality.forgetting.erasing import affected_builds, blocks, empty_folders, erase, is_rewritten, made_of
from cv_quality.forgetting.landing import Delivery, look_at, rewrite
from cv_quality.forgetting.places import LOCK, PENDING, SIGNING_KEY, Place, Scan, former_versions, scan
from cv_quality.forgetting.receipt import FORMAT, OUT_OF_REACH, moment, signed
from cv_quality.forgetting.words import Words, holds
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.lake.store import PRIVATE_FILE, atomic_path, make_private, open_store
from cv_quality.reports.provenance import package_version
from cv_quality.workspace import Workspace

MAX_ROUNDS: Final = 4
"""How often what others write meanwhile is erased."""
RECEIPTS: Final = "receipts"


class Removed(msgspec.Struct, frozen=True):
    """Something that was removed, or written anew without the subject: where it lies or lay, its digest before."""

    place: str
    sha256: str
    is_written_anew: bool


class Pending(msgspec.Struct):
    """What a forgetting has found; it lies in the home until the receipt is written.

    Attributes:
        deliveries: by drop.
        names: that are the subject's alone.
        others: ids of other subjects that hold the subject's.
        builds: whose numbers were computed with the subject.
        n_before: files that held the subject.
        n_files: that were looked through then.
        removed: what was, or is about to be.
        is_done: whether all that was found is removed.
    """

    deliveries: dict[str, Delivery] = {}
    names: set[str] = set()
    others: set[str] = set()
    builds: set[str] = set()
    drops: set[str] = set()
    n_before: int = 0
    n_files: int = 0
    removed: set[Removed] = set()
    is_done: bool = True


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What was done.

    Attributes:
        receipt: where it lies.
        document: what it says.
    """

    receipt: Path
    document: dict[str, Any]


def checked_subject(subject: str) -> str:
    """Check that something can be the id of a subject.

    Raises:
        ForgettingError: no delivery could name a subject so.
    """
    if not re.fullmatch(IDENTIFIER, subject):
        raise ForgettingError(f"{subject!r} cannot be the id of a subject: expected {IDENTIFIER}")
    return subject


def look_for(workspace: Workspace, subject: str) -> Scan:
    """Look through everything that is kept for a subject, and change nothing."""
    pending = Pending()
    _find(workspace, checked_subject(subject), pending)
    return scan(workspace, _words(subject, pending))


def forget(workspace: Workspace, subject: str, *, now: datetime) -> Forgetting:
    """Erase everything that is held of a subject, and never take it in again.

    What was made of deliveries that held it goes as a whole, and is due: it is made again without it. Whether there is
    such a subject is not told.

    Args:
        workspace: what is searched.
        subject: its id.
        now: the time on the receipt.

    Raises:
        ForgettingError: somebody else forgets at the moment, the UI works on the home, or something still holds the
            subject after all was done.
        StoreError: something cannot be written or deleted; the forgetting is taken up when it is asked for again.
    """
    checked_subject(subject)
    with _alone(workspace):
        key = _key(workspace.settings.forgetting)
        mark = key.digest(subject)
        workspace.lake.store.write_bytes(key.tombstone(subject), b"")
        pending_file = workspace.settings.forgetting / PENDING / mark
        pending = _taken_up(pending_file)
        left = _erased(workspace, subject, pending, pending_file, alias=f"forgotten-{mark[:16]}")
        receipt = workspace.settings.forgetting / RECEIPTS / _file_name(now)
        document = _document(pending, left, mark=mark, key=key, now=now)
        data = signed(document, workspace.settings.forgetting / SIGNING_KEY)
        with atomic_path(receipt) as new:
            new.write_bytes(data)
        for path in (pending_file, *pending_file.parent.glob(f".{mark}.*")):
            path.unlink(missing_ok=True)
    return Forgetting(receipt, msgspec.json.decode(data))


def _erased(workspace: Workspace, subject: str, pending: Pending, file: Path, *, alias: str) -> Scan:
    """Erase and look until nothing is found; the last look."""
    before = None
    for _ in range(MAX_ROUNDS):
        _find(workspace, subject, pending)
        words = _words(subject, pending)
        before = scan(workspace, words)
        _note_lake(workspace, before, pending)
        pending.n_before, pending.n_files = max(pending.n_before, len(before.found)), before.n_files
        _keep(file, pending)
        if not before.found and pending.is_done and not pending.drops:
            return before
        pending.is_done = False
        _erase_round(workspace, subject, pending, before, words, file, alias=alias)
        pending.is_done = True
        _keep(file, pending)
        after = scan(workspace, words)
        if not after.found and not _changed_since(workspace, subject):
            return after
    held = ", ".join(str(place) for place in (before.found if before else ())[:5])
    raise ForgettingError(
        f"{held}: still hold the subject after {MAX_ROUNDS} rounds; end what writes there, correct deliveries that "
        "name it beyond their rows, and forget again"
    )


def _changed_since(workspace: Workspace, subject: str) -> bool:
    return any(look_at(workspace.landing, drop, subject.__eq__, None) for drop in workspace.landing.folders())


def _erase_round(
    workspace: Workspace, subject: str, pending: Pending, found: Scan, words: Words, file: Path, *, alias: str
) -> None:
    made = {str(place): place for place in made_of(workspace, pending.drops, pending.builds)}
    others = {str(place): place for place in found.found if not _is_delivered(place, pending)}
    doomed = _noted((made | others).values(), pending, words, file)
    touched = [
        ("landing", key)
        for drop, delivery in pending.deliveries.items()
        for key in rewrite(workspace.landing, drop, subject.__eq__, delivery, home=workspace.settings.home)
    ]
    for place in doomed:
        erase(workspace, place, words, alias=alias)
    for place in _noted(blocks(workspace), pending, words, file):
        erase(workspace, place, words, alias=alias)
    touched += [(place.where, place.key) for place in doomed]
    touched += [(where, key) for where, _, key in (item.place.partition("/") for item in pending.removed)]
    for place in [*former_versions(workspace, touched)]:
        place.delete()
    empty_folders(workspace)


def _noted(places: Iterable[Place], pending: Pending, words: Words, file: Path) -> list[Place]:
    """Write down what is about to be removed."""
    doomed = list[Place]()
    for place in places:
        with suppress(FileNotFoundError):
            digest = place.digest()
            pending.removed.add(Removed(words.replaced(str(place)), digest, is_rewritten(place)))
            doomed.append(place)
    _keep(file, pending)
    return doomed


def _is_delivered(place: Place, pending: Pending) -> bool:
    """Tell whether a place is a file of a delivery, which is written anew, not deleted."""
    drop, _, name = place.key.partition("/")
    is_file_of_drop = name == MANIFEST or re.fullmatch(FILE_NAME, name) is not None
    return place.where == "landing" and place.version is None and drop in pending.deliveries and is_file_of_drop


def _find(workspace: Workspace, subject: str, pending: Pending) -> None:
    """Find the subject in the landing area: what is its alone of names, and whose ids hold its own."""
    landing, told = workspace.landing, subject.__eq__
    for drop in landing.folders():
        found = look_at(landing, drop, told, pending.deliveries.get(drop))
        if found is not None:
            pending.deliveries[drop] = found
            pending.names |= found.names
    pending.drops |= set(pending.deliveries)
    pending.builds |= affected_builds(workspace, pending.drops) if pending.drops else set()
    for drop in landing.folders():
        logs = {info.key: landing.local(info.key) for info in landing.list(drop) if info.key.endswith(".jsonl.zst")}
        for _, _, row, _ in rows_of(logs):
            if row is None or any(map(told, row.subjects())) or _is_named(row, pending.deliveries.get(drop)):
                continue
            pending.others |= {other for other in row.subjects() if holds(subject, other)}
            kept = (row.event_id, row.session_id, row.transaction_id, row.reference_id, row.stream_id, row.frame)
            pending.names -= {name for name in (*kept, row.clip) if name}


def _is_named(row: Row, delivery: Delivery | None) -> bool:
    """Tell whether a row goes with the subject's pictures or streams."""
    return delivery is not None and (row.frame in delivery.frames or row.stream_id in delivery.streams)


def _note_lake(workspace: Workspace, found: Scan, pending: Pending) -> None:
    """Take drops and builds into account of which the lake tells, though their deliveries do not."""
    drops = set(workspace.landing.folders()) | {
        info.key.split("/")[-1].removesuffix(".parquet") for info in workspace.lake.store.list("drop_files")
    }
    for place in found.found:
        if place.where == "lake":
            stems = {part.removesuffix(".parquet").removesuffix(".json") for part in place.key.split("/")[1:]}
            pending.drops |= stems & drops
    pending.builds |= affected_builds(workspace, pending.drops) if pending.drops else set()


def _file_name(now: datetime) -> str:
    return f"{moment(now).replace(':', '')}-{secrets.token_hex(4)}.json"


def _words(subject: str, pending: Pending) -> Words:
    return Words(subject, tuple(sorted(pending.others)), tuple(sorted(pending.names)))


def _document(pending: Pending, left: Scan, *, mark: str, key: SubjectKey, now: datetime) -> dict[str, object]:
    removed = sorted({*pending.removed, *_rewritten(pending)}, key=lambda item: (item.place, item.sha256))
    return {
        "format": FORMAT,
        "made_with": package_version(),
        "forgotten_at": moment(now),
        "subject": mark,
        "key": key.id,
        "found": {
            "files_looked_through": pending.n_files,
            "files_with_the_subject": pending.n_before,
            "rows_of_logs": sum(item.n_rows for item in pending.deliveries.values()),
            "members_of_shards": sum(item.n_members for item in pending.deliveries.values()),
        },
        "removed": [msgspec.to_builtins(item) for item in removed],
        "left": {
            "files_looked_through": left.n_files,
            "files_with_the_subject": len(left.found),
            "not_decoded": list(left.not_read),
        },
        "out_of_reach": list(OUT_OF_REACH),
    }


def _rewritten(pending: Pending) -> Iterator[Removed]:
    """The files of deliveries that were written anew."""
    for drop, delivery in pending.deliveries.items():
        yield Removed(f"landing/{drop}/{MANIFEST}", delivery.manifest, is_written_anew=True)
        for name, held in delivery.files.items():
            yield Removed(f"landing/{drop}/{name}", held.sha256, is_written_anew=True)


def _key(folder: Path) -> SubjectKey:
    """Read the private key, or draw one."""
    if (key := read_key(folder)) is None:
        make_private(folder)
        open_store(str(folder)).write_new(KEY_FILE, secrets.token_bytes(KEY_BYTES))
        key = read_key(folder)
        assert key is not None
    return key


def _taken_up(file: Path) -> Pending:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Pending)
    except FileNotFoundError:
        return Pending()
    except msgspec.DecodeError as error:
        raise ForgettingError(f"{file}: what a forgetting found cannot be read ({error}); restore it") from error


def _keep(file: Path, pending: Pending) -> None:
    with atomic_path(file) as new:
        new.write_bytes(msgspec.json.encode(pending))


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of forgetting, while no UI works on the home."""
    folder = workspace.settings.forgetting
    make_private(folder)
    _require_free(workspace.settings.dagster_home / "ui.lock")
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ForgettingError(f"{folder}: a subject is being forgotten at the moment; wait, then ask again") from None
    finally:
        os.close(handle)


def _require_free(path: Path) -> None:
    if path.exists():
        with closing(path.open("rb")) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ForgettingError(
                    f"`cvq ui` works on {path.parent}: its runs would write again what is erased; end it first"
                ) from None
