"""Who meets which build, and which conditions in which order: permuted blocks, minimisation and Williams designs.

A sheet is a list of batches, each written once: subjects who are added later follow those who are there, whose rows
never move. Everything random is drawn from the seed that the study's lock committed to, by SHA-256 alone, so that a
sheet can be computed again with any release of anything.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from cv_quality.errors import AssignmentError
from cv_quality.studies.locking import LockedStudy, read_seed
from cv_quality.studies.protocol import IDENTIFIER, AssignmentMethod, ConditionPlan, StudyProtocol
from cv_quality.studies.records import (
    NumberedRecord,
    RecordStore,
    append_record,
    moment,
    read_chain,
    record_digest,
)

BIASED_COIN: Final = 0.8
"""Probability of the arm that makes the margins more alike (Pocock and Simon 1975)."""
MOST_STRATA_COLUMNS: Final = 4
"""Beyond so many columns blocks hardly ever fill, and margins are minimised instead."""
SUBJECT: Final = "subject_id"
_COIN_STEPS: Final = 1_000_000
T = TypeVar("T")


class AssignedSubject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the sheet.

    Attributes:
        subject_id: pseudonym.
        stratum: his levels of the columns that are stratified by, in their order.
        arm: the build he meets; empty where both judge the same attempts.
        devices, conditions: in the order in which he meets them.
    """

    subject_id: str
    stratum: tuple[str, ...]
    arm: str
    devices: tuple[str, ...]
    conditions: tuple[str, ...]


class SheetRecord(NumberedRecord, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A batch of subjects that were assigned together.

    Attributes:
        at: moment, as ISO 8601 in UTC.
        lock: digest of the lock that was in force.
        rows: in the order of their coming.
    """

    at: str
    lock: str
    rows: tuple[AssignedSubject, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All subjects that are assigned, in the order of their coming.

    Attributes:
        columns: that are stratified by.
        method: by which arms were assigned.
        n_new: subjects that were added last.
    """

    study: str
    columns: tuple[str, ...]
    method: AssignmentMethod
    rows: tuple[AssignedSubject, ...]
    n_new: int = 0

    @property
    def lone_strata(self) -> tuple[tuple[str, ...], ...]:
        """Strata with one subject: nothing can be compared within them."""
        return tuple(sorted(name for name, count in Counter(row.stratum for row in self.rows).items() if count == 1))

    @property
    def arms(self) -> dict[str, int]:
        """Subjects of each arm."""
        return dict(sorted(Counter(row.arm for row in self.rows if row.arm).items()))


def williams_orders(n: int) -> tuple[tuple[int, ...], ...]:
    """Compute the rows of a Williams design: each treatment has each place, and follows each other one, equally often.

    An even number takes n rows, an odd one 2 n. Williams, Aust. J. Sci. Res. A 2 (1949) 149.

    >>> ["".join(map(str, row)) for row in williams_orders(4)]
    ['0132', '1203', '2310', '3021']
    """
    first = [0, *(number // 2 + 1 if number % 2 == 0 else n - 1 - number // 2 for number in range(n - 1))]
    rows = [tuple((place + shift) % n for place in first) for shift in range(n)]
    return tuple(rows if n % 2 == 0 else [*rows, *(row[::-1] for row in rows)])


def assign(
    protocol: StudyProtocol,
    subjects: Sequence[Mapping[str, str]],
    *,
    seed: int,
    earlier: Sequence[AssignedSubject] = (),
) -> Sheet:
    """Assign subjects to arms and orders, in the order of their coming; those who are assigned stay as they are.

    Args:
        protocol: what is assigned, and how.
        subjects: `subject_id` and the columns of the strata, a mapping a subject; those assigned may be among them.
        seed: of everything random.
        earlier: rows of the sheet so far.

    Raises:
        AssignmentError: the protocol assigns nothing, a subject stands twice, is in two arms, lacks a stratum or has
            another one than before.
    """
    plan = protocol.design.assignment
    _check_assigns(protocol)
    _check_earlier(protocol, earlier)
    known = {row.subject_id: row for row in earlier}
    rows, seen = list(earlier), set[str]()
    method: AssignmentMethod = "minimisation" if len(plan.stratified_by) > MOST_STRATA_COLUMNS else plan.method
    draws = _Draws(protocol, seed, method, earlier)
    for number, subject in enumerate(subjects, 1):
        name, stratum = _subject(subject, plan.stratified_by, number=number)
        if name in seen:
            raise AssignmentError(f"subject {name!r} stands twice among the subjects (second time as number {number})")
        seen.add(name)
        if name not in known:
            rows.append(draws.row(name, stratum))
        elif known[name].stratum != stratum:
            was, now = (" | ".join(item) for item in (known[name].stratum, stratum))
            raise AssignmentError(f"subject {name!r} was assigned in stratum {was}, and is now said to be in {now}")
    return Sheet(protocol.study, plan.stratified_by, method, tuple(rows), len(rows) - len(earlier))


def read_sheet(store: RecordStore, study: str) -> tuple[AssignedSubject, ...]:
    """Read the rows of a study's sheet, in the order of their coming; none where nobody is assigned.

    Raises:
        AssignmentError: a batch was changed after it was written.
    """
    batches = read_chain(store, study, "sheet", SheetRecord, error=AssignmentError)
    return tuple(row for batch in batches for row in batch.rows)


def continue_sheet(
    store: RecordStore, locked: LockedStudy, subjects: Sequence[Mapping[str, str]], *, now: datetime
) -> Sheet:
    """Assign the subjects who are not on a locked study's sheet yet, and write them there.

    Args:
        store: where the sheet lies.
        locked: the study.
        subjects: as of `assign`.
        now: the moment.

    Raises:
        AssignmentError: as of `assign`; the clock went back, or somebody else assigned subjects meanwhile.
        LockError: the seed is not the one that the lock committed to.
    """
    study = locked.protocol.study
    batches = read_chain(store, study, "sheet", SheetRecord, error=AssignmentError)
    earlier = [row for batch in batches for row in batch.rows]
    sheet = assign(locked.protocol, subjects, seed=read_seed(store, locked), earlier=earlier)
    if sheet.n_new:
        after = batches[-1].at if batches else locked.lock.locked_at
        batch = SheetRecord(
            study=study,
            number=len(batches) + 1,
            parent=record_digest(batches[-1]) if batches else None,
            at=moment(now, after=after, error=AssignmentError, what="sheet"),
            lock=locked.digest,
            rows=sheet.rows[len(earlier) :],
        )
        if not append_record(store, "sheet", batch):
            raise AssignmentError(f"{study}: somebody else assigned subjects at this moment; run it again")
    return sheet


def sheet_rows(sheet: Sheet) -> list[dict[str, str]]:
    """List a sheet for the study's staff: only what they need, and only the columns that the study has."""
    rows = [
        {
            SUBJECT: row.subject_id,
            "stratum": " | ".join(row.stratum),
            "arm": row.arm,
            "devices": " > ".join(row.devices),
            "conditions": " > ".join(row.conditions),
        }
        for row in sheet.rows
    ]
    return [{name: row[name] for name in row if any(other[name] for other in rows)} for row in rows]


class _Draws:
    """What is drawn for a study, and what of it was used: a stream of its own for every stratum."""

    def __init__(
        self, protocol: StudyProtocol, seed: int, method: AssignmentMethod, earlier: Sequence[AssignedSubject]
    ) -> None:
        self._design, self._arms = protocol.design, protocol.arms
        self._seed, self._method = seed, method
        self._streams: dict[tuple[str, ...], _Stream] = {}
        self._drawn: dict[tuple[str, ...], list[str]] = {}
        self._orders: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
        self._places = Counter[tuple[str, ...]]()
        self._margins: dict[tuple[int, str], Counter[str]] = {}
        self._n_rows = 0
        for row in earlier:
            self._count(row)

    def row(self, subject: str, stratum: tuple[str, ...]) -> AssignedSubject:
        """Assign the next subject."""
        arm = ""
        if self._arms:
            arm = self._minimised(stratum) if self._method == "minimisation" else self._of_block(stratum)
        devices = self._order("devices", self._design.devices, stratum, arm)
        conditions = self._order("conditions", self._design.conditions, stratum, arm)
        assigned = AssignedSubject(subject, stratum, arm, devices, conditions)
        self._count(assigned)
        return assigned

    def _count(self, row: AssignedSubject) -> None:
        self._n_rows += 1
        self._places["arms", *row.stratum] += 1
        for kind in ("devices", "conditions"):
            self._places[self._group(kind, row.stratum, row.arm)] += 1
        for margin in _margins(row.stratum):
            self._margins.setdefault(margin, Counter())[row.arm] += 1

    def _group(self, kind: str, stratum: tuple[str, ...], arm: str) -> tuple[str, ...]:
        """Within which orders are balanced: margins are minimised where cells are too small to fill a block."""
        return (kind, arm) if self._method == "minimisation" else (kind, arm, *stratum)

    def _stream(self, name: tuple[str, ...]) -> "_Stream":
        return self._streams.setdefault(name, _Stream(self._seed, *name))

    def _of_block(self, stratum: tuple[str, ...]) -> str:
        """The next place of the stratum's permuted blocks, each of a size that is drawn."""
        name, sizes = ("arms", *stratum), self._design.assignment.block_sizes
        drawn, stream = self._drawn.setdefault(name, []), self._stream(name)
        while len(drawn) <= self._places[name]:
            size = sizes[stream.below(len(sizes))]
            drawn += stream.shuffled([arm for arm in self._arms for _ in range(size // len(self._arms))])
        return drawn[self._places[name]]

    def _minimised(self, stratum: tuple[str, ...]) -> str:
        """The arm that makes the margins of the strata most alike, with the probability of a biased coin."""
        stream = _Stream(self._seed, "minimisation", str(self._n_rows))
        imbalances = [self._imbalance(arm, stratum) for arm in self._arms]
        best = [arm for arm, item in zip(self._arms, imbalances, strict=True) if item == min(imbalances)]
        if len(best) > 1 or stream.below(_COIN_STEPS) < BIASED_COIN * _COIN_STEPS:
            return best[stream.below(len(best))]
        others = [arm for arm in self._arms if arm not in best]
        return others[stream.below(len(others))]

    def _imbalance(self, arm: str, stratum: tuple[str, ...]) -> int:
        """Sum over the margins of the range of the arms' counts, if the subject came to `arm`."""
        total = 0
        for margin in _margins(stratum):
            of = self._margins.get(margin, Counter())
            counts = [of[name] + (name == arm) for name in self._arms]
            total += max(counts) - min(counts)
        return total

    def _order(self, kind: str, plan: ConditionPlan | None, stratum: tuple[str, ...], arm: str) -> tuple[str, ...]:
        """The next order of a Williams design, each of which comes once before any comes again."""
        if plan is None or plan.order == "fixed":
            return plan.levels if plan else ()
        name = self._group(kind, stratum, arm)
        drawn, stream = self._orders.setdefault(name, []), self._stream(name)
        while len(drawn) <= self._places[name]:
            drawn += stream.shuffled(list(williams_orders(len(plan.levels))))
        return tuple(plan.levels[level] for level in drawn[self._places[name]])


def _margins(stratum: tuple[str, ...]) -> list[tuple[int, str]]:
    """The margins that a subject counts in: all subjects, and those of each of his levels."""
    return [(-1, ""), *enumerate(stratum)]


class _Stream:
    """Whole numbers drawn from a seed and a name by SHA-256 in counter mode."""

    def __init__(self, seed: int, *name: str) -> None:
        self._key = hashlib.sha256("\x00".join([str(seed), *name]).encode()).digest()
        self._counter = 0

    def below(self, n: int) -> int:
        """Draw one of 0 to n - 1, all alike."""
        most = 2**64 - 2**64 % n
        while True:
            block = hashlib.sha256(self._key + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
            drawn = int.from_bytes(block[:8], "big")
            if drawn < most:
                return drawn % n

    def shuffled(self, items: list[T]) -> list[T]:
        """Put items into an order, all alike (Fisher and Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
        return items


def _check_assigns(protocol: StudyProtocol) -> None:
    if not (protocol.arms or protocol.design.devices or protocol.design.conditions):
        raise AssignmentError(
            f"{protocol.study}: nothing to assign: both builds judge the same attempts, and no devices and no "
            "conditions are planned"
        )


def _check_earlier(protocol: StudyProtocol, earlier: Sequence[AssignedSubject]) -> None:
    """Nobody stands twice on a sheet, and everybody is in an arm of the protocol."""
    arms: dict[str, str] = {}
    for row in earlier:
        if row.subject_id in arms:
            other = arms[row.subject_id]
            both = f"in both arms, {other} and {row.arm}" if other != row.arm else "twice on the sheet"
            raise AssignmentError(f"{protocol.study}: subject {row.subject_id!r} is {both}; restore the sheet")
        arms[row.subject_id] = row.arm
        if row.arm not in (protocol.arms or ("",)) or len(row.stratum) != len(protocol.design.assignment.stratified_by):
            raise AssignmentError(
                f"{protocol.study}: subject {row.subject_id!r} was assigned by another design (arm "
                f"{row.arm or 'none'}, {len(row.stratum)} strata); a new design is a new study"
            )


def _subject(subject: Mapping[str, str], columns: Sequence[str], *, number: int) -> tuple[str, tuple[str, ...]]:
    """The pseudonym and the stratum of a subject."""
    name = subject.get(SUBJECT) or ""
    if not name.strip():
        raise AssignmentError(f"subject number {number} has no {SUBJECT}")
    if re.fullmatch(IDENTIFIER, name) is None:
        raise AssignmentError(f"subject number {number}: expected a pseudonym of [A-Za-z0-9._-], found {name!r}")
    for column in columns:
        if not (subject.get(column) or "").strip():
            raise AssignmentError(f"subject {name!r} has no {column}, by which the study stratifies; fill it in")
    return name, tuple(subject[column].strip() for column in columns)
