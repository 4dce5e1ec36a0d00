"""A gate's recorded answer for one key, and the refusal to go on without a good one.

A verdict names the digest of every file that it judged, and of the earlier tables that it held them against, so it
says nothing about data that came later: after a corrected drop every verdict downstream is void. Verdicts are written
by `cv_quality.gates.runner`; whether one still holds is asked of `cv_quality.freshness`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import msgspec

from cv_quality.errors import CvQualityError, GateFailed, ObjectNotFound
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table

_WHOLE = "drop"
"""Stands for a table where nothing of a drop could be read."""


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One rule's answer.

    Attributes:
        n_unexpected: rows that break the rule.
        examples: keys of some of them; keys only, never a subject's data.
    """

    name: str
    table: str
    expectation: str
    passed: bool
    is_warning: bool
    n_rows: int
    n_unexpected: int
    examples: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """What is broken, in short."""
        return f"{self.expectation}: {self.name}" if self.table == _WHOLE else f"not true that {self.name}"

    @property
    def sentence(self) -> str:
        """What was expected and how often that is broken; of something that could not be read, the error."""
        if self.table == _WHOLE:
            return self.headline
        keys = f" ({', '.join(self.examples[:3])})" if self.examples else ""
        often = f"broken by {self.n_unexpected} of {self.n_rows} rows" if self.n_rows else "there is no row"
        return f"expected in {self.table} that {self.name}: {often}{keys}"


@dataclass(frozen=True, slots=True)
class Record:
    """The part of a verdict that says whether it still holds; see `Verdict`."""

    passed: bool
    judged: dict[str, str]
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer for one key.

    Attributes:
        judged: sha256 of every table file judged or looked into, by object key.
        delivery: identity of what the judged tables were made of: of the drop's delivery, or of the tables read. Empty
            in a lake written before stages recorded what they read.
    """

    gate: str
    key: str
    passed: bool
    judged: dict[str, str]
    expectations: tuple[ExpectationResult, ...]
    delivery: str = ""

    @property
    def failures(self) -> tuple[ExpectationResult, ...]:
        """The broken rules that block."""
        return tuple(item for item in self.expectations if not item.passed and not item.is_warning)

    @property
    def warnings(self) -> tuple[ExpectationResult, ...]:
        """The broken rules that do not block."""
        return tuple(item for item in self.expectations if not item.passed and item.is_warning)


def refusal(gate: str, key: TableKey, error: CvQualityError, *, delivery: str) -> Verdict:
    """The verdict on something that could not even be read: failed, with the error as its one broken rule."""
    rule = ExpectationResult(str(error), _WHOLE, type(error).__name__, False, False, n_rows=0, n_unexpected=1)
    return Verdict(gate, str(key), False, {}, (rule,), delivery)


def key_for(table: Table, key: TableKey) -> TableKey:
    """The part of `key` that a table is keyed by."""
    return TableKey(
        build=key.build if table.key in ("build", "build_drop") else None,
        drop=key.drop if table.key in ("drop", "build_drop") else None,
    )


def digest_of(lake: Lake, table: Table, key: TableKey) -> str:
    """The sha256 of a table's file."""
    with lake.path(table, key).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def object_key(gate: str, key: TableKey | str) -> str:
    return f"verdicts/{gate}/{key}.json"


def write_verdict(lake: Lake, verdict: Verdict) -> None:
    """Record a verdict in the lake; one atomic JSON object per gate and key."""
    text = json.dumps(asdict(verdict), indent=1, sort_keys=True)
    lake.store.write_bytes(object_key(verdict.gate, verdict.key), text.encode())


def read_verdict(lake: Lake, gate: str, key: TableKey) -> Verdict | None:
    """The recorded verdict, or None when the gate never ran for `key`."""
    return _read(lake, gate, key, Verdict)


def read_record(lake: Lake, gate: str, key: TableKey) -> Record | None:
    """What freshness needs of the recorded verdict, without its expectations; None when the gate never ran."""
    return _read(lake, gate, key, Record)


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that ended the last attempt at a stage, and the identity of what it read."""

    error: str
    identity: str


def write_failure(lake: Lake, gate: str, key: TableKey, failure: Failure) -> None:
    """Record the error that ended an attempt before its gate could judge.

    Args:
        lake: to write to.
        gate, key: what was attempted.
        failure: how it ended.
    """
    lake.store.write_bytes(f"failures/{gate}/{key}.json", msgspec.json.encode(failure))


def read_failure(lake: Lake, gate: str, key: TableKey) -> Failure | None:
    """The recorded error of the last attempt that failed, or None when none did."""
    try:
        return msgspec.json.decode(lake.store.read_bytes(f"failures/{gate}/{key}.json"), type=Failure)
    except (ObjectNotFound, msgspec.DecodeError, UnicodeDecodeError):
        return None


T = TypeVar("T")


def _read(lake: Lake, gate: str, key: TableKey, kind: type[T]) -> T | None:
    try:
        data = lake.store.read_bytes(object_key(gate, key))
    except ObjectNotFound:
        return None
    return msgspec.json.decode(data, type=kind)


def require_passed(lake: Lake, gate: str, key: TableKey, *, tables: Sequence[Table]) -> None:
    """Refuse unless `gate` passed for `key`, and judged `tables` as they lie in the lake now.

    Raises:
        GateFailed: the gate never ran for `key`, failed, or judged other data than what lies there now.
    """
    verdict = read_verdict(lake, gate, key)
    if verdict is None:
        raise GateFailed(f"gate {gate!r} has no verdict for {key}: materialize that stage first")
    if not verdict.passed:
        broken = "; ".join(item.sentence for item in verdict.failures)
        raise GateFailed(
            f"gate {gate!r} failed for {key}: {broken}. Correct the input (a corrected drop replaces its partition) "
            f"or the build, then materialize that stage again; details: {object_key(gate, key)} in the lake"
        )
    for table in tables:
        own = key_for(table, key)
        if verdict.judged.get(lake.object_key(table, own)) != digest_of(lake, table, own):
            raise GateFailed(
                f"gate {gate!r} judged other data for {key} than what lies in the lake: run the stage again"
            )
