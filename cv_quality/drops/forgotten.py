"""Who is forgotten, and which rows, pictures and clips of a delivery are theirs.

A forgotten subject is known by a keyed digest alone: nothing here holds an id in clear. Deliveries that hold such a
subject again are taken in without it (`cv_quality.drops.ingest`); what erases is in `cv_quality.forgetting`.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from cv_quality.drops.frames import FrameEntry
from cv_quality.drops.lines import Block, HashingReader, read_pieces
from cv_quality.drops.media import MediaEntry
from cv_quality.drops.quarantine import Rejection
from cv_quality.errors import ForgettingError
from cv_quality.lake.store import Store

FOLDER: Final = "forgotten"
"""Of the lake: `forgotten/<key id>/<digest>`, an empty object a subject."""
KEY_FILE: Final = "key"
KEY_BYTES: Final = 32
BONA_FIDE: Final = "bona_fide"
_TOKEN = re.compile(rb"[A-Za-z0-9._-]{1,128}")

Told = Callable[[str], bool]
"""Whether a subject, by id, is forgotten."""


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """The private key under which subjects are digested."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Tells this key from another without giving it away."""
        return hashlib.sha256(b"cv_quality forgotten key\n" + self.secret).hexdigest()[:16]

    def digest(self, subject_id: str) -> str:
        return hmac.digest(self.secret, subject_id.encode(), "sha256").hex()

    def tombstone(self, subject_id: str) -> str:
        """Name the object of the lake that says that a subject is forgotten."""
        return f"{FOLDER}/{self.id}/{self.digest(subject_id)}"


class Forgotten:
    """The subjects that a deployment has forgotten; callable with an id."""

    def __init__(self, key: SubjectKey | None = None, digests: frozenset[str] = frozenset()) -> None:
        self._key = key
        self._digests = digests
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __call__(self, subject_id: str) -> bool:
        if self._key is None:
            return False
        known = self._known.get(subject_id)
        if known is None:
            known = self._known[subject_id] = self._key.digest(subject_id) in self._digests
        return known


def read_key(folder: Path) -> SubjectKey | None:
    """Read the key of a deployment; None where nobody was forgotten yet.

    Raises:
        ForgettingError: it cannot be read, or is none.
    """
    path = folder / KEY_FILE
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ForgettingError(f"{path}: {error.strerror}; let it be read by whoever evaluates") from error
    if len(secret) != KEY_BYTES:
        raise ForgettingError(
            f"{path}: expected {KEY_BYTES} bytes, found {len(secret)}; restore the key from a backup: without it "
            "nobody can tell who is forgotten"
        )
    return SubjectKey(secret)


def read_forgotten(store: Store, folder: Path) -> Forgotten:
    """Read who is forgotten.

    Args:
        store: of the lake, where that is said.
        folder: of the private key.

    Raises:
        ForgettingError: somebody was forgotten under a key that is not in this folder.
    """
    names = [info.key.removeprefix(f"{FOLDER}/").split("/") for info in store.list(FOLDER)]
    key = read_key(folder) if names else None
    others = {name[0] for name in names} - ({key.id} if key else set())
    if others:
        raise ForgettingError(
            f"{store.uri}/{FOLDER}: subjects were forgotten under key {sorted(others)[0]}, found "
            f"{f'key {key.id}' if key else 'no key'} in {folder}; copy the file {KEY_FILE} there from the home that "
            "forgot them: without it their data would be taken in again"
        )
    return Forgotten(key, frozenset(name[-1] for name in names))


class Row(msgspec.Struct):
    """What of an event tells whose it is."""

    kind: str | None = None
    event_id: str | None = None
    subject_id: str | None = None
    claimed_subject_id: str | None = None
    target_subject_id: str | None = None
    presentation: str | None = None
    session_id: str | None = None
    transaction_id: str | None = None
    reference_id: str | None = None
    artefact_id: str | None = None
    stream_id: str | None = None
    frame: str | None = None
    clip: str | None = None

    def subjects(self) -> Iterator[str]:
        named = (self.subject_id, self.claimed_subject_id, self.target_subject_id)
        return (subject for subject in named if subject is not None)

    def shows(self, told: Told) -> bool:
        """Tell whether its picture is of somebody: of who stands before the device, or whom an artefact imitates."""
        is_attack = self.presentation not in (None, BONA_FIDE)
        shown = (self.subject_id, self.target_subject_id, self.claimed_subject_id if is_attack else None)
        return any(subject is not None and told(subject) for subject in shown)


@dataclass(slots=True)
class Withdrawn:
    """What of a delivery belongs to forgotten subjects.

    Attributes:
        told: who is forgotten.
        lines: numbers of lines, from 1, by file.
        frames: names of images.
        streams, clips: ids of streams, and names of their video files.
        rows: the events found, as far as they could be read.
    """

    told: Told
    lines: dict[str, set[int]] = field(default_factory=dict)
    frames: set[str] = field(default_factory=set)
    streams: set[str] = field(default_factory=set)
    clips: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.lines.values()))

    def has_line(self, file: str, line: int) -> bool:
        return line in self.lines.get(file, ())

    def has_member(self, name: str) -> bool:
        """Tell whether a picture or video file is of a forgotten subject, by its name in the shard."""
        parts = [word for part in name.split("/") for word in (part, part.rpartition(".")[0])]
        is_theirs = name in self.frames or name in self.clips or not self.streams.isdisjoint(parts[:2])
        return is_theirs or any(map(self.told, parts))

    def has(self, found: FrameEntry | MediaEntry | Rejection, *, file: str) -> bool:
        """Tell whether what a file held is of a forgotten subject; of a rejected row its text is looked through."""
        if isinstance(found, FrameEntry):
            return self.has_member(found.frame)
        if isinstance(found, MediaEntry):
            return self.has_member(found.member) or (found.stream_id or "") in self.streams
        if found.raw is not None:
            return self.has_line(file, found.line) or names_somebody(found.raw, self.told)
        return any(name in found.detail for name in (*self.frames, *self.clips))


NOBODY: Final = Forgotten()


def names_somebody(text: bytes, told: Told) -> bool:
    """Tell whether a word of a text is the id of somebody forgotten."""
    return any(told(word.decode()) for word in set(_TOKEN.findall(text)))


def find_withdrawn(
    files: Mapping[str, Path], told: Told, *, known: Withdrawn | None = None, is_searched: bool = False
) -> Withdrawn:
    """Find what logs say is of forgotten subjects: their events, claims on them, artefacts of them, their streams.

    A line that cannot be read is theirs if a word of it is their id. What a picture of them is said of goes with it.

    Args:
        files: the logs, by name.
        told: who is forgotten.
        known: pictures and streams that are known to be theirs.
        is_searched: whether every word of a line that can be read is asked about too, wherever it stands.
    """
    found = known or Withdrawn(told)
    for name, number, row, line in rows_of(files):
        is_named = (row is None or is_searched) and names_somebody(line, told)
        if is_named or (row is not None and any(map(told, row.subjects()))):
            found.lines.setdefault(name, set()).add(number)
            if row is not None:
                _belongs(row, found)
    if found.frames or found.streams:
        for name, number, row, _ in rows_of(files):
            is_theirs = row and (row.frame in found.frames or row.stream_id in found.streams)
            if row is not None and is_theirs and not found.has_line(name, number):
                found.lines.setdefault(name, set()).add(number)
                found.frames |= {row.frame} if row.frame and row.stream_id in found.streams else set()
                found.rows.append(row)
    return found


def _belongs(row: Row, found: Withdrawn) -> None:
    found.rows.append(row)
    if row.shows(found.told):
        found.frames |= {row.frame} if row.frame else set()
        found.clips |= {row.clip} if row.clip else set()
        found.streams |= {row.stream_id} if row.stream_id else set()


def rows_of(files: Mapping[str, Path]) -> Iterator[tuple[str, int, Row | None, bytes]]:
    """Every line of logs: its file, its number, what tells whose it is, None where it cannot be read, and its bytes."""
    decoder = msgspec.json.Decoder(Row)
    for name, path in files.items():
        with path.open("rb") as file:
            for piece in read_pieces(path, HashingReader(file)):
                if not isinstance(piece, Block):
                    yield name, piece.line, None, piece.head
                    continue
                for number, line in enumerate(piece.data.split(b"\n")[:-1], start=piece.first_line):
                    yield name, number, _row(decoder, line), line


def _row(decoder: "msgspec.json.Decoder[Row]", line: bytes) -> Row | None:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
