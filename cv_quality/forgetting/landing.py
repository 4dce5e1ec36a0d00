"""Deliveries without a subject: logs and shards written anew, then the manifest with their digests.

Pictures go first, then logs, the manifest last. What was found before anything was changed is kept by the caller, so
that a rewrite that was broken off is taken up where it was. What is a subject's is decided in `drops.forgotten`.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cv_quality.drops.forgotten import Row, Told, Withdrawn, find_withdrawn
from cv_quality.drops.manifest import FILE_NAME, MANIFEST, MAX_MANIFEST_BYTES
from cv_quality.errors import ForgettingError, ObjectNotFound
from cv_quality.lake.staging import staging_folder
from cv_quality.lake.store import Store

MAX_CORRECTIONS = 5
"""How often a delivery may be corrected while it is written anew."""


class Held(msgspec.Struct, frozen=True):
    """A file that holds something of the subject.

    Attributes:
        sha256: of the file.
        rows: that will be left of those that the manifest says; None where the file is not as that says.
    """

    sha256: str
    rows: int | None


class Delivery(msgspec.Struct):
    """What of a delivery is the subject's.

    Attributes:
        frames, streams, clips: by name.
        names: of events, sessions and the like that are theirs, and digests of their pictures.
        files: by name, those that are written anew.
        manifest: digest of the manifest before.
        n_rows, n_members: that go.
    """

    frames: set[str] = set()
    streams: set[str] = set()
    clips: set[str] = set()
    names: set[str] = set()
    files: dict[str, Held] = {}
    manifest: str = ""
    n_rows: int = 0
    n_members: int = 0


def look_at(landing: Store, drop: str, told: Told, known: Delivery | None) -> Delivery | None:
    """Find what of a delivery is the subject's; None where nothing is and nothing was.

    Args:
        landing, drop: the folder.
        told: the subject.
        known: what was found before a rewrite was broken off; it is added to.
    """
    delivery = known or Delivery()
    logs = logs_of(landing, drop)
    found = _withdrawn(logs, told, delivery)
    shards = shards_of(landing, drop) if found.frames or found.streams or found.clips else {}
    n_gone = {name: len(lines) for name, lines in found.lines.items()}
    delivery.n_rows = max(delivery.n_rows, sum(n_gone.values()))
    for name, path in shards.items():
        digests = [_digest_of(member, archive) for member, archive in members_of(path) if found.has_member(member.name)]
        n_gone[name] = len(digests)
        delivery.names |= set(digests)
    delivery.n_members = max(delivery.n_members, sum(n_gone[name] for name in shards))
    if not any(n_gone.values()) and known is None:
        return None
    delivery.frames, delivery.streams, delivery.clips = found.frames, found.streams, found.clips
    delivery.names |= {name for row in found.rows for name in _names_of(row, told)}
    manifest = _manifest(landing, drop) or b""
    delivery.manifest = delivery.manifest or hashlib.sha256(manifest).hexdigest()
    said = {entry["name"]: entry for entry in _document(manifest).get("files", [])}
    for name, n in n_gone.items():
        if n:
            digest, entry = _digest((logs | shards)[name]), said.get(name)
            is_as_said = entry is not None and entry["sha256"] == digest
            delivery.files[name] = Held(digest, max(0, int(entry["rows"]) - n) if entry and is_as_said else None)
    return delivery


def _names_of(row: Row, told: Told) -> Iterator[str]:
    """What of an event is named by nobody else; of a claim on the subject by another one, the event alone."""
    own: tuple[str | None, ...] = (row.event_id,)
    if row.shows(told) or not any(row.subjects()):
        own = (*own, row.session_id, row.transaction_id, row.stream_id, row.frame, row.clip, row.artefact_id)
    if row.subject_id is not None and told(row.subject_id):
        own = (*own, row.reference_id)
    return (name for name in own if name)


def rewrite(landing: Store, drop: str, told: Told, delivery: Delivery, *, home: Path) -> list[str]:
    """Write a delivery anew without the subject; the object keys of its files and manifest.

    Args:
        landing, drop: the folder.
        told: the subject.
        delivery: as `look_at` found it.
        home: where files are made.

    Raises:
        ForgettingError: it is being delivered again and again meanwhile.
    """
    for _ in range(MAX_CORRECTIONS):
        before = _manifest(landing, drop)
        logs, shards = logs_of(landing, drop), shards_of(landing, drop)
        found = _withdrawn(logs, told, delivery)
        with staging_folder(home, prefix=".forgetting-") as folder:
            for name, path in shards.items():
                if any(found.has_member(member.name) for member, _ in members_of(path)):
                    landing.put_file(f"{drop}/{name}", _shard(path, folder / name, found))
            for name, path in logs.items():
                if lines := found.lines.get(name):
                    landing.put_file(f"{drop}/{name}", _log(path, folder / name, lines))
        if _manifest(landing, drop) == before:
            _vouch(landing, drop, before or b"", delivery)
            return [f"{drop}/{name}" for name in (*delivery.files, MANIFEST)]
    raise ForgettingError(f"{drop}: delivered again {MAX_CORRECTIONS} times while it was written anew; try again later")


def _withdrawn(logs: Mapping[str, Path], told: Told, delivery: Delivery) -> Withdrawn:
    known = Withdrawn(told, frames=set(delivery.frames), streams=set(delivery.streams), clips=set(delivery.clips))
    return find_withdrawn(logs, told, known=known, is_searched=True)


def logs_of(landing: Store, drop: str) -> dict[str, Path]:
    """The logs of a delivery as local files, whether or not its manifest names them."""
    return {name: landing.local(f"{drop}/{name}") for name in _files(landing, drop) if name.startswith("events-")}


def shards_of(landing: Store, drop: str) -> dict[str, Path]:
    return {name: landing.local(f"{drop}/{name}") for name in _files(landing, drop) if not name.startswith("events-")}


def _files(landing: Store, drop: str) -> list[str]:
    names = (info.key.removeprefix(f"{drop}/") for info in landing.list(drop))
    return [name for name in names if re.fullmatch(FILE_NAME, name)]


def _manifest(landing: Store, drop: str) -> bytes | None:
    try:
        return landing.read_bytes(f"{drop}/{MANIFEST}", limit=MAX_MANIFEST_BYTES)
    except ObjectNotFound:
        return None


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
        sound = all({"name", "bytes", "sha256", "rows"} <= entry.keys() for entry in document["files"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return dict(document) if sound else {}


def _vouch(landing: Store, drop: str, before: bytes, delivery: Delivery) -> None:
    """Write the manifest with the digests of files that were as it said; others stay as refusable as they were."""
    document = _document(before)
    for entry in document.get("files", []):
        held = delivery.files.get(entry["name"])
        if held and held.rows is not None and held.sha256 == entry["sha256"]:
            path = landing.local(f"{drop}/{entry['name']}")
            entry |= {"bytes": path.stat().st_size, "sha256": _digest(path), "rows": held.rows}
    data = msgspec.json.format(msgspec.json.encode(document), indent=2)
    if document and data != before:
        landing.write_bytes(f"{drop}/{MANIFEST}", data)


def _digest_of(member: tarfile.TarInfo, archive: tarfile.TarFile) -> str:
    opened = archive.extractfile(member) if member.isfile() else None
    return hashlib.file_digest(opened, "sha256").hexdigest() if opened else ""  # type: ignore[arg-type]


def members_of(path: Path) -> Iterator[tuple[tarfile.TarInfo, "tarfile.TarFile"]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                yield member, archive
    except tarfile.TarError:
        return


def _shard(path: Path, target: Path, found: Withdrawn) -> Path:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as written:
        for member, archive in members_of(path):
            if not found.has_member(member.name):
                written.addfile(member, archive.extractfile(member) if member.isfile() else None)
    return target


def _log(path: Path, target: Path, lines: set[int]) -> Path:
    """The lines that stay, byte for byte; one that breaks off in the middle goes with what cannot be read behind it."""
    import pyarrow as pa

    with path.open("rb") as file, target.open("wb") as opened, pa.CompressedOutputStream(opened, "zstd") as written:
        for number, line in enumerate(_lines(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")), start=1):
            if number not in lines:
                written.write(line)
    return target


def _lines(stream: Any) -> Iterator[bytes]:
    rest = b""
    try:
        while data := stream.read(1 << 20):
            *whole, rest = (rest + data).split(b"\n")
            yield from (line + b"\n" for line in whole)
    except OSError:
        return
    if rest:
        yield rest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
