"""A gate's recorded answer for one key, and the refusal to go on without a good one.

A verdict names the digest of every file that it judged, and of the earlier tables that it held them against, so it
says nothing about data that came later: after a corrected drop every verdict downstream is void. Verdicts are written
by `cv_quality.gates.runner`; whether one still holds is asked of `cv_quality.freshness`.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import msgspec

from cv_quality.errors import CvQualityError, GateFailed, ObjectNotFound
from cv_quality.lake.lake import Lake, Survey, TableKey
from cv_quality.lake.schema import Table

_WHOLE = "drop"
"""Stands for a table where nothing of a drop could be read."""
_CANONICAL = json.JSONEncoder(sort_keys=True)
logger = logging.getLogger(__name__)


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


class Record(msgspec.Struct, frozen=True, gc=False):
    """The part of a verdict that says whether it still holds, small enough to keep those of a whole lake.

    Attributes:
        text: `Verdict.judged` as JSON, of which identities are digests.
        sizes: bytes of every file judged, by table.
        passed, delivery, about, files: see `Verdict`.
    """

    passed: bool
    text: str = "{}"
    delivery: str = ""
    sizes: dict[str, int] = {}
    about: dict[str, str] = {}
    files: str = ""

    @property
    def judged(self) -> dict[str, str]:
        return msgspec.json.decode(self.text, type=dict[str, str])


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer for one key.

    Attributes:
        judged: sha256 of every table file judged or looked into, by object key.
        delivery: identity of what the judged tables were made of: of the drop's delivery, or of the tables read. Empty
            in a lake written before stages recorded what they read.
        sizes: bytes of every file of `judged`.
        about: of a drop's delivery, its build and modality, so that the drop is not forgotten with its tables.
        files: of a refused delivery, a digest of how its files lay there, so that it is tried again when they change.
    """

    gate: str
    key: str
    passed: bool
    judged: dict[str, str]
    expectations: tuple[ExpectationResult, ...]
    delivery: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    files: str = ""

    @property
    def failures(self) -> tuple[ExpectationResult, ...]:
        """The broken rules that block."""
        return tuple(item for item in self.expectations if not item.passed and not item.is_warning)

    @property
    def warnings(self) -> tuple[ExpectationResult, ...]:
        """The broken rules that do not block."""
        return tuple(item for item in self.expectations if not item.passed and item.is_warning)


@dataclass(frozen=True, slots=True)
class Origin:
    """What judged tables were made of; see `Verdict`."""

    delivery: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    files: str = ""


def refusal(gate: str, key: TableKey, error: CvQualityError, origin: Origin) -> Verdict:
    """The verdict on something that could not even be read: failed, with the error as its one broken rule.

    Args:
        gate, key: what refuses, and what for.
        error: why.
        origin: of what could not be read.
    """
    rule = ExpectationResult(str(error), _WHOLE, type(error).__name__, False, False, n_rows=0, n_unexpected=1)
    about, files = dict(origin.about), origin.files
    return Verdict(gate, str(key), False, {}, (rule,), origin.delivery, about=about, files=files)


def key_for(table: Table, key: TableKey) -> TableKey:
    """The part of `key` that a table is keyed by."""
    if table.key == "build_drop":
        return key
    if table.key == "drop":
        return TableKey(drop=key.drop) if key.build else key
    return TableKey(build=key.build) if key.drop else key


def lies_as_judged(lake: Lake, survey: Survey, verdict: str, record: Record, names: Sequence[str]) -> bool:
    """Tell whether files lie in the lake as a gate judged them.

    A file of the recorded size that is no younger than the verdict is taken for the one judged; any other is read.

    Args:
        lake, survey: where they lie, and what lies there.
        verdict, record: the verdict's object key, and what it says.
        names: object keys of the files.
    """
    when = survey.info(verdict)
    for name in names:
        info, size = survey.info(name), record.sizes.get(name.partition("/")[0])
        if info is None or size not in (info.size, None):
            return False
        is_older = when is not None and info.modified_ns <= when.modified_ns
        if not (is_older and size is not None) and lake.digest(name, info) != record.judged.get(name):
            return False
    return True


def object_key(gate: str, key: TableKey | str) -> str:
    return f"verdicts/{gate}/{key}.json"


def write_verdict(lake: Lake, verdict: Verdict) -> None:
    """Record a verdict in the lake; one atomic JSON object per gate and key."""
    text = json.dumps(asdict(verdict), indent=1, sort_keys=True)
    lake.store.write_bytes(object_key(verdict.gate, verdict.key), text.encode())


def read_verdict(lake: Lake, gate: str, key: TableKey) -> Verdict | None:
    """The recorded verdict, or None when the gate never ran for `key`."""
    return _read(lake, gate, key, Verdict)


def read_record(lake: Lake, gate: str, key: TableKey | str) -> Record | None:
    """What freshness needs of the recorded verdict, without its expectations; None when the gate never ran."""
    found = _read(lake, gate, key, _Recorded)
    if found is None:
        return None
    sizes = {name.partition("/")[0]: size for name, size in found.sizes.items()}
    return Record(
        found.passed, _CANONICAL.encode(found.judged), found.delivery, sizes, about=found.about, files=found.files
    )


class _Recorded(msgspec.Struct):
    """What is read of a verdict's file, without its expectations."""

    passed: bool
    judged: dict[str, str]
    delivery: str = ""
    sizes: dict[str, int] = {}
    about: dict[str, str] = {}
    files: str = ""
    gate: str = ""
    key: str = ""


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


def forget_failure(lake: Lake, gate: str, key: TableKey) -> None:
    """Remove the recorded error of attempts before one that came to its end."""
    lake.store.delete(f"failures/{gate}/{key}.json")


def read_failure(lake: Lake, gate: str, key: TableKey) -> Failure | None:
    """The recorded error of the last attempt that failed, or None when none did."""
    try:
        return msgspec.json.decode(lake.store.read_bytes(f"failures/{gate}/{key}.json"), type=Failure)
    except (ObjectNotFound, msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_verdict(lake: Lake, name: str) -> bool:
    """Tell whether an object below `verdicts/` can be read as the verdict that its key says."""
    _, gate, *parts = name.removesuffix(".json").split("/")
    return name.endswith(".json") and bool(parts) and read_record(lake, gate, "/".join(parts)) is not None


def judged_keys(survey: Survey, gate: str) -> list[str]:
    """List the keys for which a gate has recorded a verdict, as text, sorted."""
    folder = f"verdicts/{gate}/"
    names = (name.removeprefix(folder) for name in survey.list(folder.removesuffix("/")))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


T = TypeVar("T", _Recorded, Verdict)


def _read(lake: Lake, gate: str, key: TableKey | str, kind: type[T]) -> T | None:
    try:
        data = lake.store.read_bytes(object_key(gate, key))
    except ObjectNotFound:
        return None
    try:
        found = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = str(error)
    else:
        if (found.gate, found.key) == (gate, str(key)):
            return found
        why = f"it is gate {found.gate!r}'s for {found.key!r}"
    logger.warning(
        "%s in the lake is not its verdict (%s): `cvq run` does that stage again", object_key(gate, key), why
    )
    return None


def require_passed(lake: Lake, gate: str, key: TableKey, *, tables: Sequence[Table]) -> None:
    """Refuse unless `gate` passed for `key`, and judged `tables` as they lie in the lake now.

    Raises:
        GateFailed: the gate never ran for `key`, failed, or judged other data than what lies there now.
    """
    verdict = read_verdict(lake, gate, key)
    if verdict is None:
        raise GateFailed(
            f"gate {gate!r} has no verdict for {key}: `cvq run` does what is due, or materialize that stage"
        )
    if not verdict.passed:
        broken = "; ".join(item.sentence for item in verdict.failures)
        raise GateFailed(
            f"gate {gate!r} failed for {key}: {broken}. Correct the input (a corrected drop replaces its partition) "
            f"or the build, then `cvq run` does that stage again; details: {object_key(gate, key)} in the lake"
        )
    for table in tables:
        name = lake.object_key(table, key_for(table, key))
        info = lake.store.info(name)
        if info is None or verdict.judged.get(name) != lake.digest(name, info):
            raise GateFailed(
                f"gate {gate!r} judged other data for {key} than what lies in the lake: {name} was "
                f"{'deleted' if info is None else 'changed'} since; `cvq run` makes it anew"
            )
