"""The manifest: what a drop claims to hold, and the identity under which it is taken in.

Reading and judging `manifest.json` lives here, and nothing else: whether the files keep its promises is checked while
they are streamed, in `cv_quality.drops.ingest`. Drops are written by `cv_quality.drops.writer`.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal, cast, get_args

import msgspec

from cv_quality.drops.conditions import DeclaredCondition, check_conditions
from cv_quality.drops.device_scores import DeviceScores, check_device_scores
from cv_quality.drops.tables import MEDIA_CONTENTS
from cv_quality.errors import DropError, DropIncomplete, ObjectNotFound, ObjectUnusable, UnsafeObject
from cv_quality.lake.kept import Kept
from cv_quality.lake.lake import Survey
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.lake.store import ObjectInfo, Store

SCHEMA_VERSIONS = (1, 2, 3)
"""Version 2 may declare conditions, and the scale of the devices' scores; version 3 may hold clips and what is true of
them."""
MANIFEST = "manifest.json"
FILE_NAME = (
    r"(events)-[A-Za-z0-9._-]{1,100}\.jsonl\.zst|"
    rf"(frames|{'|'.join(MEDIA_CONTENTS)})-[A-Za-z0-9._-]{{1,100}}\.tar"
)

MAX_MANIFEST_BYTES = 32 << 20
"""About 200,000 files."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between which a recording lies: what every program that reads the tables can hold as a time."""
MAX_COUNT = 2**63 - 1
"""What an integer column holds."""
_SHOWN_CHARACTERS = 500

Protocol = Literal["enrolled", "all_pairs", "streams", "presentations"]
"""How references and probes are paired; in streams and presentations nothing is."""
Content = Literal["events", "frames", "clips", "masks", "references", "depth", "results"]
CONTENTS: tuple[Content, ...] = get_args(Content)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file that the manifest names.

    Attributes:
        name: plain file name, `events-*.jsonl.zst`, `frames-*.tar`, or a shard of `MEDIA_CONTENTS`.
        bytes: size of the file.
        sha256: digest of the file, 64 lower-case hexadecimal digits.
        rows: lines of an events file, members of a frames file.
    """

    name: str
    bytes: int
    sha256: str
    rows: int

    @property
    def content(self) -> Content:
        """What the file holds, as its name says."""
        return cast("Content", self.name.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says, and the digest of its bytes; times are UTC, both ends of the window belong to it."""

    schema_version: int
    drop_id: str
    build_id: str
    site: str
    modality: str
    protocol: Protocol
    captured_from: datetime
    captured_until: datetime
    files: tuple[FileEntry, ...]
    manifest_sha256: str
    conditions: tuple[DeclaredCondition, ...] = ()
    device_scores: DeviceScores | None = None

    @property
    def identity(self) -> str:
        """The delivery's identity: the same drop with a corrected manifest has another one."""
        return identity_of(self.drop_id, self.manifest_sha256)

    def entries(self, content: Content) -> tuple[FileEntry, ...]:
        """The files of one content, by name."""
        return tuple(sorted((e for e in self.files if e.content == content), key=lambda entry: entry.name))


@dataclass(frozen=True, slots=True)
class CompletedDrop:
    """A folder of the landing area that has a manifest, whether or not that is sound.

    Attributes:
        modality, build: as far as the manifest says.
    """

    drop_id: str
    manifest_sha256: str
    modality: str | None = None
    build: str | None = None

    @property
    def identity(self) -> str:
        return identity_of(self.drop_id, self.manifest_sha256)


def identity_of(drop_id: str, manifest_sha256: str) -> str:
    """`<drop_id>@<first 16 digits of the manifest's digest>`."""
    return f"{drop_id}@{manifest_sha256[:16]}"


def completed_drops(
    landing: Store, *, survey: Survey | None = None, kept: Kept[CompletedDrop] | None = None
) -> list[CompletedDrop]:
    """Every drop whose manifest has arrived, by drop_id; only manifests are read, and none twice.

    A manifest that cannot be understood, or is not read at all, counts too: its bytes, or why they are not read, give
    the identity, so that taking it in fails with a typed error instead of passing unseen. A folder whose name is no
    drop_id can be no partition: it is logged.

    Args:
        landing: where drops arrive.
        survey: a look at it that others share.
        kept: what manifests said when they were read last.
    """
    kept, found = kept or Kept(), []
    listed: dict[str, ObjectInfo] = {}
    with suppress(ObjectUnusable):  # A folder that may not be listed: each drop is read by itself.
        listed = (survey or Survey(landing)).list("")
    for folder in landing.folders():
        info = listed.get(f"{folder}/{MANIFEST}")
        try:
            read = partial(_read_completed, landing, folder)
            drop = kept.value(info, read) if info else read()
        except ObjectNotFound:
            continue
        except (UnsafeObject, ObjectUnusable) as error:
            drop = _completed(folder, str(error).encode())
        if is_drop_id(folder):
            found.append(drop)
        else:
            logger.warning("folder %r of the landing area is no drop_id (%s): it is not taken in", folder, IDENTIFIER)
    return found


def is_drop_id(name: str) -> bool:
    """Tell whether a folder may be a drop; in an object store it may be called `..` too, which is no key of ours."""
    return re.fullmatch(IDENTIFIER, name) is not None and name not in {".", ".."}


def named_drops(landing: Store, names: Collection[str]) -> list[CompletedDrop]:
    """List those of some drops whose manifest has arrived, sorted, as `completed_drops` has them; nothing is listed."""
    found = []
    for name in sorted(names):
        with suppress(ObjectNotFound):
            found.append(_completed(name, _identifying(landing, name)))
    return found


def _read_completed(landing: Store, folder: str) -> CompletedDrop:
    return _completed(folder, landing.read_bytes(f"{folder}/{MANIFEST}", limit=MAX_MANIFEST_BYTES))


def _completed(folder: str, data: bytes) -> CompletedDrop:
    said = _said(data)
    return CompletedDrop(folder, hashlib.sha256(data).hexdigest(), said.modality, said.build_id)


def _said(data: bytes) -> "_Said":
    """What a manifest says of its modality and build, however unsound it is otherwise."""
    try:
        return msgspec.json.decode(data, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Said()


def _identifying(landing: Store, drop_id: str) -> bytes:
    """The manifest's bytes; of one that is too large, no plain file or unreadable, why it is not read."""
    try:
        return landing.read_bytes(f"{drop_id}/{MANIFEST}", limit=MAX_MANIFEST_BYTES)
    except ObjectNotFound:
        raise
    except (UnsafeObject, ObjectUnusable) as error:
        return str(error).encode()


def delivered(landing: Store, drop_id: str) -> str:
    """The identity of the delivery that lies in the landing area now; empty without a manifest."""
    try:
        data = _identifying(landing, drop_id)
    except ObjectNotFound:
        return ""
    return identity_of(drop_id, hashlib.sha256(data).hexdigest())


def read_manifest(landing: Store, drop_id: str) -> Manifest:
    """The manifest of one drop, every rule of the contract checked.

    Raises:
        DropIncomplete: it is missing.
        DropError: it is too large, a link that leads outside, not JSON, of another schema version, or breaks a rule.
    """
    key = f"{drop_id}/{MANIFEST}"
    try:
        data = landing.read_bytes(key, limit=MAX_MANIFEST_BYTES)
    except ObjectNotFound as error:
        raise DropIncomplete(
            f"{key}: expected the manifest that completes the drop, found none in {landing.uri}; "
            "a drop counts once its manifest, written last, has arrived"
        ) from error
    fields = _decoded(data, key=key)
    manifest = _to_manifest(fields, manifest_sha256=hashlib.sha256(data).hexdigest(), key=key)
    _check(manifest, drop_id=drop_id, key=key)
    return manifest


Promise = tuple[tuple[str, int], ...]
"""The names of the files of a drop, with their sizes in bytes."""


def awaited_files(
    landing: Store, drop_id: str, *, survey: Survey | None = None, kept: Kept[Promise] | None = None
) -> tuple[str, ...]:
    """Name the files of a drop that have not arrived in full: absent, or shorter than its manifest says.

    Only the manifest is read, and only once, and the folder listed. A manifest that is refused waits for nothing:
    taking the drop in says what is wrong with it.

    Args:
        landing, drop_id: where the drop arrives.
        survey: a look at the landing area that others share.
        kept: what manifests promised when they were read last.
    """
    survey = survey or Survey(landing)
    info, read = survey.list(drop_id).get(f"{drop_id}/{MANIFEST}"), partial(_promised, landing, drop_id)
    promised = kept.value(info, read) if kept and info else read()
    sizes = _sizes(survey, drop_id)
    return tuple(name for name, size in promised if sizes.get(name, -1) < size)


def _promised(landing: Store, drop_id: str) -> Promise:
    try:
        return tuple((entry.name, entry.bytes) for entry in read_manifest(landing, drop_id).files)
    except DropError:
        return ()


def check_file_set(landing: Store, manifest: Manifest) -> None:
    """Compare the drop's folder with its manifest, by name and size.

    Raises:
        DropIncomplete: a named file is absent or shorter: it is being delivered, or was not.
        DropError: a named file is longer, or a file lies there that the manifest does not name.
    """
    folder = f"{manifest.drop_id}/"
    sizes = _sizes(Survey(landing), manifest.drop_id)
    extra = sorted(set(sizes) - {entry.name for entry in manifest.files} - {MANIFEST})
    if extra:
        raise DropError(
            f"{folder}: files without a manifest entry: {', '.join(extra[:5])}; add them to the manifest or remove them"
        )
    for entry in manifest.files:
        if entry.name not in sizes:
            with suppress(ObjectNotFound):
                landing.local(f"{folder}{entry.name}")
            raise DropIncomplete(
                f"{folder}{entry.name}: named by the manifest but absent; the drop is taken in once it is delivered"
            )
        if sizes[entry.name] != entry.bytes:
            kind = DropIncomplete if sizes[entry.name] < entry.bytes else DropError
            raise kind(
                f"{folder}{entry.name}: expected {entry.bytes} bytes, found {sizes[entry.name]}; deliver the file again"
            )


def files_digest(survey: Survey, drop_id: str) -> str:
    """Digest how a drop's files lie in the landing area: another one once any of them has been delivered again."""
    files = [(info.key, info.size, info.changed_ns, info.version) for info in survey.list(drop_id).values()]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


def _sizes(survey: Survey, drop_id: str) -> dict[str, int]:
    return {key.removeprefix(f"{drop_id}/"): info.size for key, info in survey.list(drop_id).items()}


_Id = Annotated[str, msgspec.Meta(pattern=rf"^{IDENTIFIER}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class _Said(msgspec.Struct):
    modality: str | None = None
    build_id: str | None = None


class _Version(msgspec.Struct):
    schema_version: msgspec.Raw = msgspec.Raw(b"none")


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=rf"^(?:{FILE_NAME})\Z")]
    bytes: _Count
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    rows: _Count


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    schema_version: int
    drop_id: _Id
    build_id: _Id
    site: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    modality: _Id
    protocol: Protocol
    captured_from: Annotated[datetime, msgspec.Meta(tz=True)]
    captured_until: Annotated[datetime, msgspec.Meta(tz=True)]
    files: list[_Entry]


class _Fields2(_Fields, forbid_unknown_fields=True):
    conditions: tuple[DeclaredCondition, ...] = ()
    device_scores: DeviceScores | None = None


_FIELDS: dict[bytes, type[_Fields]] = {b"1": _Fields, b"2": _Fields2, b"3": _Fields2}


def _decoded(data: bytes, *, key: str) -> _Fields:
    """The fields; the version is looked at first, and nothing is built of what the contract does not name."""
    try:
        version = bytes(msgspec.json.decode(data, type=_Version).schema_version)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DropError(f"{key}: expected a JSON object, found {len(data)} bytes that are none: {error}") from error
    if version not in _FIELDS:
        found = version[:_SHOWN_CHARACTERS].decode(errors="backslashreplace")
        raise DropError(
            f"{key}: expected schema_version {' or '.join(map(str, SCHEMA_VERSIONS))}, found {found}; "
            "write the drop in that version of the contract, or take it in with a release that knows its version"
        )
    try:
        return msgspec.json.decode(data, type=_FIELDS[version])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error)[:_SHOWN_CHARACTERS]
        raise DropError(f"{key}: {problem}; correct the manifest and deliver it again") from error


def _to_manifest(fields: _Fields, *, manifest_sha256: str, key: str) -> Manifest:
    values = msgspec.structs.asdict(fields) | {
        "captured_from": _instant(fields.captured_from, where=f"{key}: captured_from"),
        "captured_until": _instant(fields.captured_until, where=f"{key}: captured_until"),
        "files": tuple(FileEntry(e.name, e.bytes, e.sha256, e.rows) for e in fields.files),
    }
    return Manifest(**values, manifest_sha256=manifest_sha256)


def _instant(value: datetime, *, where: str) -> datetime:
    if not EARLIEST <= value <= LATEST:
        raise DropError(f"{where}: expected a time from {EARLIEST:%Y} to {LATEST:%Y}, found {value.isoformat()}")
    return value.astimezone(UTC)


def _check(manifest: Manifest, *, drop_id: str, key: str) -> None:
    if manifest.drop_id != drop_id:
        raise DropError(f"{key}: expected drop_id {drop_id!r} as the folder says, found {manifest.drop_id!r}")
    if manifest.captured_from >= manifest.captured_until:
        raise DropError(
            f"{key}: expected captured_from before captured_until, "
            f"found {manifest.captured_from.isoformat()} and {manifest.captured_until.isoformat()}"
        )
    early = [entry.name for entry in manifest.files if entry.content in MEDIA_CONTENTS]
    if manifest.schema_version < 3 and (early or manifest.protocol in ("streams", "presentations")):
        found = early[0] if early else f"protocol {manifest.protocol!r}"
        raise DropError(f"{key}: {found} needs schema_version 3, found {manifest.schema_version}; write it as such")
    check_conditions(manifest.conditions, where=key)
    check_device_scores(manifest.device_scores, where=key)
    names = Counter(entry.name for entry in manifest.files)
    repeated = sorted(name for name, count in names.items() if count > 1)
    if repeated:
        raise DropError(f"{key}: expected each file once, found {', '.join(repeated[:5])} more than once")


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`; `manifest.manifest_sha256` is not part of them.

    Raises:
        DropError: the manifest breaks a rule that `read_manifest` would refuse.
    """
    value = asdict(manifest)
    del value["manifest_sha256"]
    if manifest.schema_version == 1:
        del value["conditions"]
    if manifest.device_scores is None:
        del value["device_scores"]
    value |= {name: format_instant(value[name]) for name in ("captured_from", "captured_until")}
    data = msgspec.json.format(msgspec.json.encode(value), indent=2)
    key = f"{manifest.drop_id}/{MANIFEST}"
    _check(_to_manifest(_decoded(data, key=key), manifest_sha256="", key=key), drop_id=manifest.drop_id, key=key)
    return data


def format_instant(instant: datetime) -> str:
    """UTC with microseconds, as the contract writes times.

    >>> format_instant(datetime(2026, 9, 1, 12, tzinfo=UTC))
    '2026-09-01T12:00:00.000000Z'
    """
    if instant.tzinfo is None:
        raise DropError(f"expected a time with a zone, found {instant.isoformat()} without one")
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
