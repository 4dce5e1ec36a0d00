"""A gate's recorded answer for one key, and the refusal to go on without a good one.

A verdict names the digest of every file that it judged, and of the earlier tables that it held them against, so it
says nothing about data that came later: after a corrected drop every verdict downstream is void. Verdicts are written
by `cv_quality.gates.runner`; stages call `require_passed` before they read.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from cv_quality.errors import CvQualityError, GateFailed, ObjectNotFound
from cv_quality.gates.suites import SUITES, Gate
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table

State = Literal["due", "refused", "passed"]


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer for one key.

    Attributes:
        judged: sha256 of every table file judged or looked into, by object key.
        delivery: identity of what the judged tables were made of: of the drop's delivery, or of a build's scores.
    """

    gate: Gate
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


def refusal(gate: Gate, key: TableKey, error: CvQualityError, *, delivery: str) -> Verdict:
    """The verdict on something that could not even be read: failed, with the error as its one broken rule."""
    rule = ExpectationResult(str(error), "drop", type(error).__name__, False, False, n_rows=0, n_unexpected=1)
    return Verdict(gate, str(key), False, {}, (rule,), delivery)


def key_for(table: Table, key: TableKey) -> TableKey:
    """The part of `key` that a table is keyed by."""
    return TableKey(
        build=key.build if table.key in ("build", "build_drop") else None,
        drop=key.drop if table.key in ("drop", "build_drop") else None,
    )


def digests(lake: Lake, gate: Gate, key: TableKey) -> dict[str, str]:
    """The sha256 of every file that a gate judges or looks into for `key`, by object key."""
    found = {}
    for table in (*SUITES[gate].judged, *SUITES[gate].context):
        own = key_for(table, key)
        with lake.path(table, own).open("rb") as file:
            found[lake.object_key(table, own)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def object_key(gate: Gate, key: TableKey) -> str:
    return f"verdicts/{gate}/{key}.json"


def write_verdict(lake: Lake, verdict: Verdict) -> None:
    """Record a verdict in the lake; one atomic JSON object per gate and key."""
    text = json.dumps(asdict(verdict), indent=1, sort_keys=True)
    lake.store.write_bytes(f"verdicts/{verdict.gate}/{verdict.key}.json", text.encode())


def read_verdict(lake: Lake, gate: Gate, key: TableKey) -> Verdict | None:
    """The recorded verdict, or None when the gate never ran for `key`."""
    try:
        data = json.loads(lake.store.read_bytes(object_key(gate, key)))
    except ObjectNotFound:
        return None
    results = tuple(ExpectationResult(**{**item, "examples": tuple(item["examples"])}) for item in data["expectations"])
    return Verdict(data["gate"], data["key"], data["passed"], data["judged"], results, data["delivery"])


def require_passed(lake: Lake, gate: Gate, key: TableKey) -> Verdict:
    """The passed verdict of `gate` on the data that lies in the lake now.

    Raises:
        GateFailed: the gate never ran for `key`, failed, or judged other data than what lies there now.
    """
    verdict = read_verdict(lake, gate, key)
    if verdict is None:
        raise GateFailed(f"gate {gate!r} has no verdict for {key}: materialize that stage first")
    if not verdict.passed:
        broken = "; ".join(_sentence(item) for item in verdict.failures)
        raise GateFailed(
            f"gate {gate!r} failed for {key}: {broken}. Correct the input (a corrected drop replaces its partition) "
            f"or the build, then materialize that stage again; details: {object_key(gate, key)} in the lake"
        )
    if verdict.judged != digests(lake, gate, key):
        raise GateFailed(f"gate {gate!r} judged other data for {key} than what lies in the lake: run the stage again")
    return verdict


def state_of(lake: Lake, gates: Mapping[Gate, TableKey]) -> State:
    """Where a chain of gates stands, each asked for its own key, in the order of the data.

    Compares recorded digests only, so asking costs a few small objects however large the tables are: "due" when a
    gate never ran or judged other data than the gate before it, "refused" at the first failed one, else "passed".
    """
    known: dict[str, str] = {}
    for gate, key in gates.items():
        verdict = read_verdict(lake, gate, key)
        if verdict is None:
            return "due"
        if any(known.setdefault(name, digest) != digest for name, digest in verdict.judged.items()):
            return "due"
        if not verdict.passed:
            return "refused"
    return "passed"


def drop_gates(drop: str) -> dict[Gate, TableKey]:
    """The gates between a delivered drop and its validated tables."""
    key = TableKey(drop=drop)
    return {"parse": key, "validate": key}


def cell_gates(build: str, drop: str) -> dict[Gate, TableKey]:
    """The gates between a delivered drop and its counts under one build."""
    key = TableKey(build=build, drop=drop)
    return {**drop_gates(drop), "infer": key, "compare": key, "measure": key}


def _sentence(item: ExpectationResult) -> str:
    keys = f" ({', '.join(item.examples[:3])})" if item.examples else ""
    return f"expected in {item.table} that {item.name}: broken by {item.n_unexpected} of {item.n_rows} rows{keys}"
