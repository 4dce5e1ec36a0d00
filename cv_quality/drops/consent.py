"""Whose images may be shown, and the only way by which an image leaves the landing area for a person's eyes.

Whoever said no anywhere is never shown: in any drop of the lake, in an event that was repeated or rejected, or in a
line that is no event but still says so. An image is shown when all subjects agreed whose events name it, or the same
bytes under another name; a clip, and the images that its frames name, when its event says so and its subject agreed.
Models read images by `cv_quality.drops.frames`; what they find are numbers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.tables import (
    CLIPS,
    FRAME_INDEX,
    MEDIA_INDEX,
    QUARANTINE_PARSE,
    RAW_ATTEMPTS,
    RAW_CLIPS,
    RAW_ENROLS,
    RAW_STREAM_FRAMES,
    RAW_SUBJECTS,
    SUBJECTS,
    VALIDATED_ATTEMPTS,
    VALIDATED_ENROLS,
)
from cv_quality.errors import DropError, ObjectUnusable
from cv_quality.lake.kept import Kept
from cv_quality.lake.lake import Lake, Survey, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store

if TYPE_CHECKING:
    import polars as pl

FrameName = tuple[str, str]
"""Drop and member name of an image."""
StreamName = tuple[str, str]
"""Drop and name of a stream."""
NamedClip = tuple[str, str | None, str | None, bool]
"""Stream, file and subject of an event about a clip, and whether it says yes."""

_CONSENT, _SUBJECT, _FRAME, _STREAM = "has_image_consent", "subject_id", "frame", "stream_id"
_OF_CLIP = (_STREAM, "clip", _SUBJECT, _CONSENT)
_NAMING = (RAW_ATTEMPTS, RAW_ENROLS, VALIDATED_ATTEMPTS, VALIDATED_ENROLS)
_TELLING = (SUBJECTS, RAW_SUBJECTS, QUARANTINE_PARSE, RAW_CLIPS, MEDIA_INDEX)
_PATH = "path_of_file"
_FILES_AT_ONCE = 1_000
_DIGEST_BYTES = 8
_NOBODY = ""
"""In place of a subject where it cannot be told who is on an image."""
_SHOWN_STREAM = "\0"
"""In place of a subject where a stream that may be shown names an image."""


@dataclass(frozen=True, slots=True)
class Consents:
    """What the subjects of a lake said about showing their images.

    Attributes:
        agreed: said yes in a sound event, and no nowhere; of all others nothing is shown.
        refused: said no somewhere.
    """

    agreed: frozenset[str]
    refused: frozenset[str]


def read_consents(lake: Lake) -> Consents:
    """Read what every subject said, in all drops of a lake."""
    import polars as pl

    yes: set[str] = set()
    no: set[str] = set()
    for table in (SUBJECTS, RAW_SUBJECTS):
        said = lake.scan(table, lake.keys(table)).select(_SUBJECT, _CONSENT).unique().collect()
        no.update(said.filter(~pl.col(_CONSENT).fill_null(value=False))[_SUBJECT])
        if table is SUBJECTS:
            yes.update(said.filter(pl.col(_CONSENT))[_SUBJECT])
    for line in _rejected_lines(lake, lake.keys(QUARANTINE_PARSE), kinds=("subject",), word=_CONSENT):
        no.update(_refusing(line))
    return Consents(frozenset(yes - no), frozenset(no))


@dataclass(frozen=True, slots=True)
class SaidOfConsent:
    """What one file of the lake says of consent.

    Attributes:
        refused: who said no in it.
        subjects: whom it lists, a digest of eight bytes each.
        clips: what its events say of clips.
        digests: file and SHA-256 of each clip that it indexes.
    """

    refused: tuple[str, ...]
    subjects: bytes
    clips: tuple[NamedClip, ...]
    digests: tuple[tuple[str, str], ...]


_SAYS_NOTHING = SaidOfConsent((), b"", (), ())


class Refusals:
    """Who and what must not be shown, as of one look at a lake; a file that is unchanged is not read again."""

    def __init__(self, lake: Lake, survey: Survey, *, kept: Kept[SaidOfConsent]) -> None:
        """Read what is not known.

        Args:
            lake, survey: with all drops, and what lies there.
            kept: what files said when they were read last.
        """
        self._said = {table.name: _said(lake, table, survey, kept=kept) for table in _TELLING}
        kept.save(survey)
        files = [found for of_table in self._said.values() for found in of_table.values()]
        self._refused = {_digest(name): name for name in sorted({name for found in files for name in found.refused})}

    def identity(self, drops: Iterable[str]) -> str:
        """Identify whom and which clips of these drops nobody may see: a page that must hide more, or less, is due."""
        own = set(drops)
        of_own = (self._said[SUBJECTS.name][drop].subjects for drop in own & self._said[SUBJECTS.name].keys())
        listed = {digest for found in of_own for digest in _digests(found)}
        hidden = sorted(name for digest, name in self._refused.items() if digest in listed)
        streams = sorted(stream for stream in self._refused_streams if stream[0] in own)
        return hashlib.sha256(json.dumps([hidden, streams]).encode()).hexdigest() if hidden or streams else ""

    @cached_property
    def _refused_streams(self) -> set[StreamName]:
        clips = [
            (drop, clip)
            for table in (RAW_CLIPS, QUARANTINE_PARSE)
            for drop, found in self._said[table.name].items()
            for clip in found.clips
        ]
        if not clips:
            return set()
        listed = {digest for found in self._said[SUBJECTS.name].values() for digest in _digests(found.subjects)}
        agreed = listed - self._refused.keys()
        named = {subject for _, (_, _, subject, _) in clips if subject is not None}
        files = [(drop, *item) for drop, found in self._said[MEDIA_INDEX.name].items() for item in found.digests]
        return _refused_streams(clips, files, agreed={subject for subject in named if _digest(subject) in agreed})


def _digests(subjects: bytes) -> Iterator[bytes]:
    return (subjects[start : start + _DIGEST_BYTES] for start in range(0, len(subjects), _DIGEST_BYTES))


def _refused_streams(
    clips: Iterable[tuple[str, NamedClip]], files: Iterable[tuple[str, str, str]], *, agreed: Set[str]
) -> set[StreamName]:
    """Find the streams of which an event, or one about the same bytes anywhere, says no or names who has not agreed.

    Args:
        clips: what events say, each with its drop.
        files: drop, name and SHA-256 of the files of clips.
        agreed: the subjects who did.
    """
    refused, members = set[StreamName](), dict[tuple[str, str | None], set[StreamName]]()
    for drop, (stream, member, subject, says_yes) in clips:
        if not says_yes or (subject is not None and subject not in agreed):
            refused.add((drop, stream))
        members.setdefault((drop, member), set()).add((drop, stream))
    alike: dict[str, set[StreamName]] = {}
    for drop, member, sha256 in files:
        alike.setdefault(sha256, set()).update(members.get((drop, member), ()))
    return refused.union(*(streams for streams in alike.values() if streams & refused))


def _said(lake: Lake, table: Table, survey: Survey, *, kept: Kept[SaidOfConsent]) -> dict[str, SaidOfConsent]:
    """What each file of a table says of consent, by drop."""
    infos = {lake.object_key(table, key): key for key in lake.keys(table, survey)}
    said = {name: kept.get(survey.list(table.name)[name]) for name in infos}
    unread = [name for name, found in said.items() if found is None]
    for start in range(0, len(unread), _FILES_AT_ONCE):
        names = unread[start : start + _FILES_AT_ONCE]
        read = _read_said(lake, table, {name: infos[name] for name in names})
        kept.keep({survey.list(table.name)[name]: found for name, found in read.items()})
        said |= read
    return {str(infos[name].drop): found for name, found in said.items() if found is not None}


def _read_said(lake: Lake, table: Table, keys: Mapping[str, TableKey]) -> dict[str, SaidOfConsent]:
    """Read what files of a table say of consent, all at once.

    Raises:
        DamagedTable: one of them cannot be read.
    """
    import polars as pl

    paths = {str(lake.path(table, key)): name for name, key in keys.items()}
    rows = pl.scan_parquet(list(paths), glob=False, include_file_paths=_PATH)
    try:
        told = _READERS[table.name](rows)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        for key in keys.values():
            lake.read(table, key)
        raise
    return {name: told.get(path, _SAYS_NOTHING) for path, name in paths.items()}


def _said_in_lines(rows: "pl.LazyFrame") -> dict[str, SaidOfConsent]:
    refused: dict[str, set[str]] = {}
    for path, line in _with_word(rows, kinds=("subject",), word=_CONSENT).select(_PATH, "raw").collect().iter_rows():
        refused.setdefault(path, set()).update(_refusing(line))
    clips: dict[str, set[NamedClip]] = {}
    for path, line in _with_word(rows, kinds=("clip",), word=_STREAM).select(_PATH, "raw").collect().iter_rows():
        clips.setdefault(path, set()).update(_refused_clips(line))
    return {
        path: replace(_SAYS_NOTHING, refused=tuple(sorted(refused.get(path, ()))), clips=_sorted(clips.get(path, ())))
        for path in refused.keys() | clips.keys()
    }


def _said_of_subjects(rows: "pl.LazyFrame", *, is_listed: bool) -> dict[str, SaidOfConsent]:
    import polars as pl

    subject, said_no = pl.col(_SUBJECT), ~pl.col(_CONSENT).fill_null(value=False)
    asked = (subject.filter(said_no).unique().sort().alias("refused"), subject.unique())
    said = rows.group_by(_PATH).agg(asked).select(_PATH, "refused", _SUBJECT).collect()
    return {
        path: replace(
            _SAYS_NOTHING, refused=tuple(refused), subjects=b"".join(map(_digest, subjects)) if is_listed else b""
        )
        for path, refused, subjects in said.iter_rows()
    }


def _said_of_clips(rows: "pl.LazyFrame") -> dict[str, SaidOfConsent]:
    found: dict[str, set[NamedClip]] = {}
    said = rows.select(_PATH, *_OF_CLIP).unique().collect()
    for path, stream, member, subject, has_consent in said.iter_rows():
        found.setdefault(path, set()).add((stream, member, subject, has_consent is True))
    return {path: replace(_SAYS_NOTHING, clips=_sorted(clips)) for path, clips in found.items()}


def _clip_digests(rows: "pl.LazyFrame") -> dict[str, SaidOfConsent]:
    found: dict[str, list[tuple[str, str]]] = {}
    for path, member, sha256 in rows.filter(content="clips").select(_PATH, "member", "sha256").collect().iter_rows():
        found.setdefault(path, []).append((member, sha256))
    return {path: replace(_SAYS_NOTHING, digests=tuple(sorted(files))) for path, files in found.items()}


def _sorted(clips: Iterable[NamedClip]) -> tuple[NamedClip, ...]:
    return tuple(sorted(clips, key=repr))


_READERS: "Mapping[str, Callable[[pl.LazyFrame], dict[str, SaidOfConsent]]]" = {
    SUBJECTS.name: partial(_said_of_subjects, is_listed=True),
    RAW_SUBJECTS.name: partial(_said_of_subjects, is_listed=False),
    QUARANTINE_PARSE.name: _said_in_lines,
    RAW_CLIPS.name: _said_of_clips,
    MEDIA_INDEX.name: _clip_digests,
}


def _digest(subject: str) -> bytes:
    return hashlib.blake2b(subject.encode(), digest_size=_DIGEST_BYTES).digest()


def _refusing(line: str) -> set[str]:
    """Whom a line that is no event names, if it says anything but yes."""
    answers = _told(line, _CONSENT)
    return {str(subject) for subject in _told(line, _SUBJECT)} if any(item is not True for item in answers) else set()


def _refused_clips(line: str) -> set[NamedClip]:
    """Which streams a line that is no event names, unless it says yes and nothing else."""
    if _told(line, _CONSENT) == [True]:
        return set()
    return {(str(stream), None, None, False) for stream in _told(line, _STREAM)}


def read_shown(
    lake: Lake, landing: Store, frames: Iterable[FrameName], *, consents: Consents
) -> dict[FrameName, bytes | None]:
    """Read those of the images that may be shown, encoded as they were delivered; no other is even read.

    Those of a drop whose files are gone, or no longer the bytes that were indexed, are None.

    Args:
        lake: with all drops.
        landing: where the images lie.
        frames: that a page would show.
        consents: as `read_consents` gives them.
    """
    allowed = _allowed(lake, set(frames), consents=consents)
    shown: dict[FrameName, bytes | None] = {}
    for drop in sorted({drop for drop, _ in allowed}):
        reader = FrameReader(landing, drop, lake.read(FRAME_INDEX, TableKey(drop=drop)))
        names = sorted(frame for other, frame in allowed if other == drop)
        try:
            shown |= {(drop, frame): data for frame, data in reader.read(names)}
        except (DropError, ObjectUnusable):
            shown |= {(drop, frame): None for frame in names}
    return shown


def read_shown_streams(lake: Lake, drops: Iterable[str], *, consents: Consents) -> frozenset[StreamName]:
    """Find the streams of these drops whose pictures may be shown.

    Every event about the clip, also one that was repeated or rejected, says yes; whoever one of them names agreed; and
    so it is with every clip of the same bytes, in any drop.

    Args:
        lake: with all drops.
        drops: whose streams are asked about.
        consents: as `read_consents` gives them.
    """
    import polars as pl

    keys = [key for drop in sorted(set(drops)) if lake.has(CLIPS, key := TableKey(drop=drop))]
    sound = lake.scan(CLIPS, keys).filter(pl.col(_CONSENT)).select("drop_id", "stream_id").collect()
    if sound.is_empty():
        return frozenset()
    said = lake.scan(RAW_CLIPS, lake.keys(RAW_CLIPS)).select("drop_id", *_OF_CLIP).unique().collect()
    clips = [(drop, (*clip, has_consent is True)) for drop, *clip, has_consent in said.iter_rows()]
    lines = _with_word(lake.scan(QUARANTINE_PARSE, lake.keys(QUARANTINE_PARSE)), kinds=("clip",), word=_STREAM)
    for drop, line in lines.select("drop_id", "raw").collect().iter_rows():
        clips.extend((drop, clip) for clip in _refused_clips(line))
    files = lake.scan(MEDIA_INDEX, lake.keys(MEDIA_INDEX)).filter(content="clips").select("drop_id", "member", "sha256")
    return frozenset(sound.iter_rows()) - _refused_streams(clips, files.collect().iter_rows(), agreed=consents.agreed)


def _allowed(lake: Lake, wanted: set[FrameName], *, consents: Consents) -> set[FrameName]:
    """Those of which all who name the same bytes agreed, and someone does."""
    import polars as pl

    asked = pl.DataFrame(sorted(wanted), schema={"drop_id": pl.String, _FRAME: pl.String}, orient="row")
    columns = ("drop_id", _FRAME, "sha256")
    drops = [TableKey(drop=drop) for drop in asked["drop_id"].unique().sort()]
    found = lake.scan(FRAME_INDEX, drops).select(columns).collect().join(asked, on=["drop_id", _FRAME])
    everywhere = lake.scan(FRAME_INDEX, lake.keys(FRAME_INDEX)).select(columns)
    same = everywhere.filter(pl.col("sha256").is_in(found["sha256"].unique().implode())).collect()
    names = {(drop, frame): sha256 for drop, frame, sha256 in same.iter_rows()}
    people: dict[str, set[str]] = {}
    for drop, frame, subject in _naming(lake, sorted({drop for drop, _ in names}), consents=consents):
        if (sha256 := names.get((drop, frame))) is not None:
            people.setdefault(sha256, set()).add(subject)
    return {
        (drop, frame)
        for drop, frame, sha256 in found.iter_rows()
        if sha256 in people and people[sha256] <= consents.agreed | {_SHOWN_STREAM}
    }


def _naming(lake: Lake, drops: Sequence[str], *, consents: Consents) -> Iterator[tuple[str, str, str]]:
    """Drop, frame and subject of every event of these drops that names an image, also of those that were rejected."""
    for table in _NAMING:
        for drop, rows in _rows(lake, table, drops, columns=(_FRAME, _SUBJECT)):
            yield from ((drop, frame, subject) for frame, subject in rows.drop_nulls(_FRAME).unique().iter_rows())
    shown = read_shown_streams(lake, drops, consents=consents)
    for drop, rows in _rows(lake, RAW_STREAM_FRAMES, drops, columns=(_FRAME, "stream_id")):
        for frame, stream in rows.drop_nulls(_FRAME).unique().iter_rows():
            yield drop, frame, _SHOWN_STREAM if (drop, stream) in shown else _NOBODY
    for drop in drops:
        keys = [key for key in [TableKey(drop=drop)] if lake.has(QUARANTINE_PARSE, key)]
        for line in _rejected_lines(lake, keys, kinds=("attempt", "enrol", "stream_frame"), word=_FRAME):
            subjects = [str(subject) for subject in _told(line, _SUBJECT)] or [_NOBODY]
            yield from ((drop, str(frame), subject) for frame in _told(line, _FRAME) for subject in subjects)


def _rows(
    lake: Lake, table: Table, drops: Sequence[str], *, columns: Sequence[str]
) -> "Iterator[tuple[str, pl.DataFrame]]":
    keys = [TableKey(drop=drop) for drop in drops]
    yield from ((str(key.drop), lake.read(table, key, columns=columns)) for key in keys if lake.has(table, key))


def _rejected_lines(lake: Lake, keys: Sequence[TableKey], *, kinds: Sequence[str], word: str) -> list[str]:
    """The lines that are no events, of these kinds or of none that can be told, in which a word can stand."""
    lines = _with_word(lake.scan(QUARANTINE_PARSE, keys), kinds=kinds, word=word)
    return lines.select("raw").collect()["raw"].to_list()


def _with_word(lines: "pl.LazyFrame", *, kinds: Sequence[str], word: str) -> "pl.LazyFrame":
    import polars as pl

    kind, raw = pl.col("event_kind"), pl.col("raw")
    spelt = raw.str.contains(word, literal=True) | raw.str.contains("\\u", literal=True)
    return lines.filter((kind.is_null() | kind.is_in(kinds)) & spelt)


def _told(line: str, key: str) -> list[object]:
    """Every value that a line gives to a key, as far as it can be read; of broken JSON as text, or True.

    >>> _told('{"subject_id": "s1", "subject_id": "s2"}', "subject_id")
    ['s1', 's2']
    >>> _told('{"subject_id": "s1", "has_image_consent": tr', "has_image_consent")
    ['tr']
    """
    try:
        pairs = json.loads(line, object_pairs_hook=list)
    except (ValueError, RecursionError):
        found = re.findall(rf'"{key}"\s*:\s*(?:"([^"]*)"|([^\s,}}]*))', line)
        return [True if bare == "true" else quoted or bare for quoted, bare in found]
    return [value for name, value in pairs if name == key] if isinstance(pairs, list) else []
