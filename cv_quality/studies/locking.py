"""What makes a protocol binding: its lock, amendments that name the lock they change, and the seed it commits to.

What the clock says and which data exist is the caller's to say. Looks at the data of a locked study are in
`cv_quality.studies.looks`.
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import msgspec

from cv_quality.errors import LockError, ObjectNotFound
from cv_quality.studies.protocol import METRICS, StudyMetric, StudyProtocol, canonical, parse_protocol
from cv_quality.studies.records import (
    FOLDER,
    NumberedRecord,
    RecordStore,
    append_record,
    decoded,
    moment,
    read_chain,
    record_digest,
    record_key,
    sha256_of,
    written,
)

SHOWN_CHANGES: Final = 5


class LockRecord(NumberedRecord, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A protocol as it was made binding; an amendment is the next one.

    Attributes:
        file_sha256: of the file's bytes.
        canonical_sha256: of what it means, in one way of writing.
        protocol: what it means, written that way.
        locked_at: moment, as ISO 8601 in UTC.
        git_commit: of the repository in which the protocol lies; None outside of one.
        seed_commitment: SHA-256 of the seed and a nonce, which are kept apart until subjects are assigned.
        drops: ids of the drops that had been delivered by then, and digests of their manifests.
        reason: why the lock before is amended.
    """

    file_sha256: str
    canonical_sha256: str
    protocol: str
    locked_at: str
    git_commit: str | None
    seed_commitment: str
    drops: tuple[tuple[str, str], ...]
    reason: str | None = None


class SeedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The seed of everything random in a study, and what its commitment is salted with."""

    seed: int
    nonce: str

    @property
    def commitment(self) -> str:
        return sha256_of(f"{self.seed}:{self.nonce}".encode())


@dataclass(frozen=True, slots=True)
class LockedStudy:
    """A protocol that is the locked one.

    Attributes:
        digest: of its lock.
        n_amendments: that came before it.
    """

    protocol: StudyProtocol
    lock: LockRecord
    digest: str

    @property
    def n_amendments(self) -> int:
        return self.lock.number - 1


def lock_protocol(
    store: RecordStore,
    data: bytes,
    *,
    file: str,
    now: datetime,
    git_commit: str | None = None,
    drops: Sequence[tuple[str, str]] = (),
    reason: str | None = None,
    metrics: Mapping[str, StudyMetric] = METRICS,
) -> LockedStudy:
    """Make a protocol binding, or amend one that is; the same bytes are locked once.

    Args:
        store: where records lie.
        data: bytes of the protocol.
        file: its name, ending in `.yaml`.
        now: the moment.
        git_commit: of the repository in which the protocol lies.
        drops: ids and manifest digests of the drops that have been delivered.
        reason: why a locked protocol is amended; None to lock a new one.
        metrics: those that endpoints may be of.

    Raises:
        ProtocolError: the protocol is malformed.
        LockError: another protocol is locked under this name and no reason is given to amend it, there is nothing to
            amend, the seed is changed, the clock went back, or somebody else locked meanwhile.
    """
    protocol = parse_protocol(data, file=file, metrics=metrics)
    locks = read_locks(store, protocol.study)
    meant = canonical(protocol)
    file_sha256, parent = sha256_of(data), locks[-1] if locks else None
    if parent is not None and parent.file_sha256 == file_sha256:
        return LockedStudy(protocol, parent, record_digest(parent))
    _check_amendment(parent, meant, file=file, reason=reason, study=protocol.study)
    seed = _seed(store, protocol)
    lock = LockRecord(
        study=protocol.study,
        number=len(locks) + 1,
        file_sha256=file_sha256,
        canonical_sha256=sha256_of(meant),
        protocol=meant.decode(),
        locked_at=moment(now, after=parent.locked_at if parent else None, error=LockError, what="lock"),
        git_commit=git_commit,
        seed_commitment=seed.commitment,
        drops=tuple(sorted(drops)),
        parent=record_digest(parent) if parent else None,
        reason=reason,
    )
    if parent is not None and parent.seed_commitment != lock.seed_commitment:
        raise LockError(
            f"{file}: the seed of {protocol.study} is not the one that was committed to; restore its record"
        )
    if not append_record(store, "lock", lock):
        raise LockError(
            f"{file}: {protocol.study} was locked by somebody else at this moment; look at it, then try again"
        )
    return LockedStudy(protocol, lock, record_digest(lock))


def require_locked(
    store: RecordStore, data: bytes, *, file: str, metrics: Mapping[str, StudyMetric] = METRICS
) -> LockedStudy:
    """Read a protocol that must be the locked one, byte by byte.

    Args:
        store: where records lie.
        data: bytes of the protocol.
        file: its name, ending in `.yaml`.
        metrics: those that endpoints may be of.

    Raises:
        ProtocolError: the protocol is malformed.
        LockError: it is not locked, or is not what was locked; tells whether its meaning was changed, and where.
    """
    protocol = parse_protocol(data, file=file, metrics=metrics)
    locks = read_locks(store, protocol.study)
    if not locks:
        raise LockError(f"{file}: {protocol.study} is not locked; before any data: cvq study lock {file}")
    lock, meant = locks[-1], canonical(protocol)
    if lock.file_sha256 != sha256_of(data):
        older = next((item for item in locks if item.file_sha256 == sha256_of(data)), None)
        if older is not None:
            told = f"this is lock {older.number}, which was amended: {lock.reason}; take that of lock {lock.number}"
        elif lock.canonical_sha256 == sha256_of(meant):
            told = "its bytes were changed since, though it means the same; restore the file"
        else:
            told = f"it was changed since: {_changes(lock.protocol, meant)}; restore the file, or amend the study"
        raise LockError(f"{file}: {protocol.study} is locked as of {lock.locked_at} (lock {lock.number}): {told}")
    return LockedStudy(protocol, lock, record_digest(lock))


def read_locks(store: RecordStore, study: str) -> tuple[LockRecord, ...]:
    """Read the locks of a study, the first one first; none where it is not locked.

    Raises:
        LockError: one of them was changed after it was written.
    """
    locks = read_chain(store, study, "lock", LockRecord, error=LockError)
    for lock in locks:
        if lock.canonical_sha256 != sha256_of(lock.protocol.encode()):
            raise LockError(
                f"{record_key(study, 'lock', lock.number)}: the protocol in it is not the one that was locked"
            )
    return locks


def read_seed(store: RecordStore, locked: LockedStudy) -> int:
    """Read the seed that a lock committed to.

    Raises:
        LockError: it is lost, or is another one.
    """
    key = _seed_key(locked.protocol.study)
    try:
        seed = decoded(store.read_bytes(key), SeedRecord, key=key, error=LockError)
    except ObjectNotFound as error:
        raise LockError(f"{key}: the seed of a locked study is lost; restore it from a backup") from error
    if seed.commitment != locked.lock.seed_commitment:
        raise LockError(f"{key}: not the seed that the lock committed to; restore it from a backup")
    return seed.seed


def _check_amendment(parent: LockRecord | None, meant: bytes, *, file: str, reason: str | None, study: str) -> None:
    """A new study is locked without a reason, a locked one is amended with one."""
    if parent is None:
        if reason is not None:
            raise LockError(f"{file}: {study} is not locked, so there is nothing to amend; lock it without a reason")
        return
    if reason is None:
        changes = _changes(parent.protocol, meant)
        raise LockError(
            f"{file}: a protocol named {study!r} is locked as of {parent.locked_at}, and this is another one "
            f"({changes}); give this study another name, or amend that one and say why: --amend REASON"
        )
    if not reason.strip():
        raise LockError(f"{file}: an amendment of {study} needs a reason in words")


def _seed(store: RecordStore, protocol: StudyProtocol) -> SeedRecord:
    """The seed of a study: that which lies there, or a new one, the protocol's own where it has one."""
    key = _seed_key(protocol.study)
    drawn = secrets.randbits(63) if protocol.seed is None else protocol.seed
    store.write_new(key, written(SeedRecord(drawn, secrets.token_hex(16))))
    seed = decoded(store.read_bytes(key), SeedRecord, key=key, error=LockError)
    if protocol.seed is not None and seed.seed != protocol.seed:
        raise LockError(f"{key}: another seed than {protocol.seed} was committed to; subjects may be assigned by it")
    return seed


def _seed_key(study: str) -> str:
    return f"{FOLDER}/{study}/seed.json"


def _changes(before: str, after: bytes) -> str:
    """What two canonical protocols differ in, by key path."""
    old, new = dict(_leaves(json.loads(before))), dict(_leaves(json.loads(after)))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    told = [f"{key}: {old.get(key)!r} to {new.get(key)!r}" for key in changed[:SHOWN_CHANGES]]
    more = [f"and {len(changed) - SHOWN_CHANGES} more"] if len(changed) > SHOWN_CHANGES else []
    return "; ".join([*told, *more]) or "only in how it is written"


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in cast(Mapping[str, object], value).items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]")
    else:
        yield path, value
