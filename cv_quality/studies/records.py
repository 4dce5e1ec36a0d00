"""Records of a study that follow one another: each written once, each naming the digest of the one before.

They are objects `studies/<study>/<kind>-<n>.json`: what was recorded cannot be changed or taken out of the middle
unseen. Where they lie and what the clock says is the caller's to say. Locks are in `cv_quality.studies.locking`, looks
in `cv_quality.studies.looks`, sheets in `cv_quality.studies.assignment`.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar

import msgspec

from cv_quality.errors import AssignmentError, LockError, LookError, MonitorError, ObjectNotFound

FOLDER: Final = "studies"
MAX_RECORDS: Final = 10_000
T = TypeVar("T", bound=msgspec.Struct)
N = TypeVar("N", bound="NumberedRecord")
StudyFault = type[LockError] | type[LookError] | type[AssignmentError] | type[MonitorError]


class RecordStore(Protocol):
    """Where records lie: objects by key, of which one can be written once."""

    def read_bytes(self, key: str) -> bytes: ...
    def write_new(self, key: str, data: bytes) -> bool: ...


class NumberedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of the records of a study that follow one another.

    Attributes:
        study: its name.
        number: from 1.
        parent: digest of the record before.
    """

    study: str
    number: int
    parent: str | None = None


def read_chain(store: RecordStore, study: str, kind: str, record: type[N], *, error: StudyFault) -> tuple[N, ...]:
    """Read the numbered records of a kind, each of which must name the one before.

    Args:
        store: where records lie.
        study: its name.
        kind: begins the names of their objects.
        record: what they are.
        error: raised where one was changed after it was written.
    """
    found: list[N] = []
    for number in range(1, MAX_RECORDS + 1):
        key = record_key(study, kind, number)
        try:
            item = decoded(store.read_bytes(key), record, key=key, error=error)
        except ObjectNotFound:
            break
        if (item.number, item.parent) != (number, record_digest(found[-1]) if found else None):
            raise error(f"{key}: does not follow the {kind} before it: one of them was changed after it was written")
        found.append(item)
    return tuple(found)


def append_record(store: RecordStore, kind: str, record: NumberedRecord) -> bool:
    """Write a numbered record; whether nobody else had written that number."""
    return store.write_new(record_key(record.study, kind, record.number), written(record))


def record_digest(record: NumberedRecord) -> str:
    """Compute the digest by which the next record names this one."""
    return sha256_of(written(record))


def moment(now: datetime, *, after: str | None, error: StudyFault, what: str) -> str:
    """Write the moment of a record as ISO 8601 in UTC.

    Args:
        now: the moment.
        after: that of the record that it follows.
        error: raised where that is later: the clock went back.
        what: is recorded.
    """
    text = now.astimezone(UTC).isoformat(timespec="seconds")
    if after is not None and datetime.fromisoformat(text) < datetime.fromisoformat(after):
        raise error(f"the clock went back: this {what} would be of {text}, before the record of {after}; set the clock")
    return text


def record_key(study: str, kind: str, number: int) -> str:
    """Name the object of a record."""
    return f"{FOLDER}/{study}/{kind}-{number}.json"


def decoded(data: bytes, record: type[T], *, key: str, error: StudyFault) -> T:
    """Read a record strictly.

    Args:
        data: bytes of the object.
        record: what it is.
        key: of the object.
        error: raised where it is not as it was written.
    """
    try:
        return msgspec.json.decode(data, type=record)
    except msgspec.DecodeError as fault:
        raise error(f"{key}: not as it was written: {fault}; restore it from a backup") from fault


def written(record: msgspec.Struct) -> bytes:
    """Write a record as JSON with sorted keys, in one way only."""
    said = msgspec.to_builtins(record)
    return (json.dumps(said, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def sha256_of(data: bytes) -> str:
    """Compute the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()
