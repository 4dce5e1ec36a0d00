"""What makes a protocol binding: its lock, amendments that name their parent, and the ledger of looks at the data.

Everything is kept as numbered objects `studies/<study>/<kind>-<n>.json`, each written once by the first who writes it,
and each naming the digest of the one before: what was recorded cannot be changed or taken out of the middle unseen.
Where the objects lie, what the clock says and which data exist is the caller's to say.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TypeVar, cast, get_args

import msgspec

from cv_quality.errors import LockError, LookError, ObjectNotFound
from cv_quality.studies.protocol import METRICS, StudyMetric, StudyProtocol, canonical, parse_protocol

FOLDER: Final = "studies"
MAX_RECORDS: Final = 10_000
EARLY: Final = 0.02
"""Part of the information by which a look may come before it is planned: subjects come in whole numbers."""
SHOWN_CHANGES: Final = 5
LookVerdict = Literal["pass", "fail", "insufficient"]
T = TypeVar("T", bound="LockRecord | LookRecord | SeedRecord")


class RecordStore(Protocol):
    """Where records lie: objects by key, of which one can be written once."""

    def read_bytes(self, key: str) -> bytes: ...
    def write_new(self, key: str, data: bytes) -> bool: ...


class LockRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A protocol as it was made binding.

    Attributes:
        study: its name.
        number: 1 for the first lock; an amendment has the next.
        file_sha256: of the file's bytes.
        canonical_sha256: of what it means, in one way of writing.
        protocol: what it means, written that way.
        locked_at: moment, as ISO 8601 in UTC.
        git_commit: of the repository in which the protocol lies; None outside of one.
        seed_commitment: SHA-256 of the seed and a nonce, which are kept apart until subjects are assigned.
        drops: ids of the drops that had been delivered by then, and digests of their manifests.
        parent: digest of the lock that is amended.
        reason: why it is amended.
    """

    study: str
    number: int
    file_sha256: str
    canonical_sha256: str
    protocol: str
    locked_at: str
    git_commit: str | None
    seed_commitment: str
    drops: tuple[tuple[str, str], ...]
    parent: str | None = None
    reason: str | None = None


class SeedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The seed of everything random in a study, and what its commitment is salted with."""

    seed: int
    nonce: str

    @property
    def commitment(self) -> str:
        return hashlib.sha256(f"{self.seed}:{self.nonce}".encode()).hexdigest()


class LookRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A look at the data.

    Attributes:
        study, number: of which study, and which of its looks; from 1.
        by, at: who looked, and when, as ISO 8601 in UTC.
        information: part of the information at the end.
        alpha_spent: up to this look, this one included.
        data_digest: of the data that were looked at.
        verdict: what was decided.
        lock: digest of the lock that was in force: looks before and after an amendment are told apart by it.
        parent: digest of the look before.
    """

    study: str
    number: int
    by: str
    at: str
    information: float
    alpha_spent: float
    data_digest: str
    verdict: LookVerdict
    lock: str
    parent: str | None = None


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
    file_sha256, parent = _sha256(data), locks[-1] if locks else None
    if parent is not None and parent.file_sha256 == file_sha256:
        return LockedStudy(protocol, parent, _digest(parent))
    _check_amendment(parent, meant, file=file, reason=reason, study=protocol.study)
    seed = _seed(store, protocol)
    lock = LockRecord(
        study=protocol.study,
        number=len(locks) + 1,
        file_sha256=file_sha256,
        canonical_sha256=_sha256(meant),
        protocol=meant.decode(),
        locked_at=_moment(now, after=parent.locked_at if parent else None, error=LockError, what="lock"),
        git_commit=git_commit,
        seed_commitment=seed.commitment,
        drops=tuple(sorted(drops)),
        parent=_digest(parent) if parent else None,
        reason=reason,
    )
    if parent is not None and parent.seed_commitment != lock.seed_commitment:
        raise LockError(
            f"{file}: the seed of {protocol.study} is not the one that was committed to; restore its record"
        )
    if not store.write_new(_key(lock.study, "lock", lock.number), _written(lock)):
        raise LockError(
            f"{file}: {protocol.study} was locked by somebody else at this moment; look at it, then try again"
        )
    return LockedStudy(protocol, lock, _digest(lock))


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
    if lock.file_sha256 != _sha256(data):
        older = next((item for item in locks if item.file_sha256 == _sha256(data)), None)
        if older is not None:
            told = f"this is lock {older.number}, which was amended: {lock.reason}; take that of lock {lock.number}"
        elif lock.canonical_sha256 == _sha256(meant):
            told = "its bytes were changed since, though it means the same; restore the file"
        else:
            told = f"it was changed since: {_changes(lock.protocol, meant)}; restore the file, or amend the study"
        raise LockError(f"{file}: {protocol.study} is locked as of {lock.locked_at} (lock {lock.number}): {told}")
    return LockedStudy(protocol, lock, _digest(lock))


def read_locks(store: RecordStore, study: str) -> tuple[LockRecord, ...]:
    """Read the locks of a study, the first one first; none where it is not locked.

    Raises:
        LockError: one of them was changed after it was written.
    """
    locks = _chain(store, study, "lock", LockRecord, LockError)
    for lock in locks:
        if lock.canonical_sha256 != _sha256(lock.protocol.encode()):
            raise LockError(f"{_key(study, 'lock', lock.number)}: the protocol in it is not the one that was locked")
    return locks


def read_seed(store: RecordStore, locked: LockedStudy) -> int:
    """Read the seed that a lock committed to.

    Raises:
        LockError: it is lost, or is another one.
    """
    key = _seed_key(locked.protocol.study)
    try:
        seed = _decoded(store.read_bytes(key), SeedRecord, key=key, error=LockError)
    except ObjectNotFound as error:
        raise LockError(f"{key}: the seed of a locked study is lost; restore it from a backup") from error
    if seed.commitment != locked.lock.seed_commitment:
        raise LockError(f"{key}: not the seed that the lock committed to; restore it from a backup")
    return seed.seed


def read_looks(store: RecordStore, study: str) -> tuple[LookRecord, ...]:
    """Read the ledger of looks, the first one first.

    Raises:
        LookError: an entry was changed after it was written.
    """
    return _chain(store, study, "look", LookRecord, LookError)


def require_look(
    locked: LockedStudy, looks: Sequence[LookRecord], *, number: int, information: float, data_digest: str = ""
) -> None:
    """Refuse a look that the protocol has not budgeted, that comes out of turn, or before the data.

    A look that is recorded may be repeated on the same data.

    Args:
        locked: the study.
        looks: those recorded.
        number: which look it is to be, from 1.
        information: part of the information at the end that the data have.
        data_digest: of the data.

    Raises:
        LookError: says which looks are budgeted and what is there.
    """
    study, planned = locked.protocol.study, locked.protocol.looks.at_information
    budget = f"looks at {', '.join(f'{part:g}' for part in planned)} of the information" if planned else "any number"
    if number < 1 or (planned and number > len(planned)):
        raise LookError(f"{study}: look {number} is not budgeted; the protocol has {budget}: amend it before looking")
    if number <= len(looks):
        if looks[number - 1].data_digest == data_digest:
            return
        raise LookError(
            f"{study}: look {number} was on {looks[number - 1].at}, on other data; next is look {len(looks) + 1}"
        )
    if number > len(looks) + 1:
        raise LookError(f"{study}: look {number} comes before look {len(looks) + 1}; take them in their order")
    if looks and looks[-1].verdict != "insufficient":
        raise LookError(f"{study}: ended with {looks[-1].verdict} at look {len(looks)}; a later look decides nothing")
    if not information > 0:
        raise LookError(f"{study}: look {number} comes before the data: there is nothing to look at yet")
    if looks and information <= looks[-1].information:
        raise LookError(
            f"{study}: look {number} has {information:.3g} of the information, and the look before had "
            f"{looks[-1].information:.3g}; wait for more data"
        )
    if planned and information < planned[number - 1] - EARLY:
        raise LookError(
            f"{study}: look {number} is budgeted at {planned[number - 1]:g} of the information, and "
            f"{information:.3g} is there; wait for the data, or amend the protocol before looking"
        )


def record_look(
    store: RecordStore,
    locked: LockedStudy,
    *,
    by: str,
    now: datetime,
    number: int,
    information: float,
    alpha_spent: float,
    data_digest: str,
    verdict: LookVerdict,
) -> LookRecord:
    """Add a look to the ledger; the same look at the same data is recorded once.

    Args:
        store: where records lie.
        locked: the study.
        by, now: who looks, and the moment.
        number: which look it is, from 1.
        information: part of the information at the end that the data have.
        alpha_spent: up to this look, this one included.
        data_digest: of the data.
        verdict: what was decided.

    Raises:
        LookError: it is not budgeted or comes too early, spends more than alpha or less than before, the clock went
            back, or somebody else looked meanwhile.
    """
    study, alpha = locked.protocol.study, locked.protocol.analysis.alpha
    looks = read_looks(store, study)
    require_look(locked, looks, number=number, information=information, data_digest=data_digest)
    if number <= len(looks):
        return looks[number - 1]
    if verdict not in get_args(LookVerdict):
        raise LookError(f"{study}: expected a verdict of {' or '.join(get_args(LookVerdict))}, found {verdict!r}")
    before = looks[-1].alpha_spent if looks else 0.0
    if not before <= alpha_spent <= alpha * (1 + 1e-9):
        raise LookError(f"{study}: expected alpha spent from {before:g} to {alpha:g}, found {alpha_spent:g}")
    look = LookRecord(
        study=study,
        number=number,
        by=by,
        at=_moment(now, after=looks[-1].at if looks else locked.lock.locked_at, error=LookError, what="look"),
        information=information,
        alpha_spent=alpha_spent,
        data_digest=data_digest,
        verdict=verdict,
        lock=locked.digest,
        parent=_digest(looks[-1]) if looks else None,
    )
    if not store.write_new(_key(study, "look", number), _written(look)):
        raise LookError(f"{study}: somebody else took look {number} at this moment; read the ledger")
    return look


def record_key(study: str, kind: str, number: int, *, suffix: str = "json") -> str:
    """Name the object of a numbered record of a study."""
    return f"{FOLDER}/{study}/{kind}-{number}.{suffix}"


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
    store.write_new(key, _written(SeedRecord(drawn, secrets.token_hex(16))))
    seed = _decoded(store.read_bytes(key), SeedRecord, key=key, error=LockError)
    if protocol.seed is not None and seed.seed != protocol.seed:
        raise LockError(f"{key}: another seed than {protocol.seed} was committed to; subjects may be assigned by it")
    return seed


def _seed_key(study: str) -> str:
    return f"{FOLDER}/{study}/seed.json"


def _key(study: str, kind: str, number: int) -> str:
    return record_key(study, kind, number)


def _chain(
    store: RecordStore, study: str, kind: str, record: type[T], error: type[LockError] | type[LookError]
) -> tuple[T, ...]:
    """The numbered records of a study, each of which must name the one before."""
    found: list[T] = []
    for number in range(1, MAX_RECORDS + 1):
        key = _key(study, kind, number)
        try:
            item = _decoded(store.read_bytes(key), record, key=key, error=error)
        except ObjectNotFound:
            break
        if not isinstance(item, SeedRecord):
            before = _digest(found[-1]) if found else None
            if (item.number, item.parent) != (number, before):
                raise error(
                    f"{key}: does not follow the {kind} before it: one of them was changed after it was written"
                )
        found.append(item)
    return tuple(found)


def _decoded(data: bytes, record: type[T], *, key: str, error: type[LockError] | type[LookError]) -> T:
    try:
        return msgspec.json.decode(data, type=record)
    except msgspec.DecodeError as fault:
        raise error(f"{key}: not as it was written: {fault}; restore it from a backup") from fault


def _written(record: "LockRecord | LookRecord | SeedRecord") -> bytes:
    said = msgspec.to_builtins(record)
    return (json.dumps(said, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _digest(record: "LockRecord | LookRecord | SeedRecord") -> str:
    return _sha256(_written(record))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _moment(now: datetime, *, after: str | None, error: type[LockError] | type[LookError], what: str) -> str:
    """The moment in UTC; it may not lie before the record that it follows."""
    text = now.astimezone(UTC).isoformat(timespec="seconds")
    if after is not None and datetime.fromisoformat(text) < datetime.fromisoformat(after):
        raise error(f"the clock went back: this {what} would be of {text}, before the record of {after}; set the clock")
    return text


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
