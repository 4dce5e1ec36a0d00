"""The ledger of looks at a study's data: which are budgeted, who looked when, and what was decided.

A look that is not budgeted, out of turn or before the data is refused, so that the error that was planned is the error
that is made.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, get_args

from cv_quality.errors import LookError
from cv_quality.studies.locking import LockedStudy
from cv_quality.studies.records import (
    NumberedRecord,
    RecordStore,
    append_record,
    moment,
    read_chain,
    record_digest,
)

EARLY: Final = 0.02
"""Part of the information by which a look may come before it is planned: subjects come in whole numbers."""
LookVerdict = Literal["pass", "fail", "insufficient"]


class LookRecord(NumberedRecord, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A look at the data.

    Attributes:
        by, at: who looked, and when, as ISO 8601 in UTC.
        information: part of the information at the end.
        alpha_spent: up to this look, this one included.
        data_digest: of the data that were looked at.
        verdict: what was decided.
        lock: digest of the lock that was in force: looks before and after an amendment are told apart by it.
    """

    by: str
    at: str
    information: float
    alpha_spent: float
    data_digest: str
    verdict: LookVerdict
    lock: str


def read_looks(store: RecordStore, study: str) -> tuple[LookRecord, ...]:
    """Read the ledger of looks, the first one first.

    Raises:
        LookError: an entry was changed after it was written.
    """
    return read_chain(store, study, "look", LookRecord, error=LookError)


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
    budgeted = len(planned) + locked.protocol.top_up.allowed
    if planned and locked.protocol.top_up.allowed:
        budget = f"{budget} and one after a top-up"
    if number < 1 or (planned and number > budgeted):
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
    if planned and number <= len(planned) and information < planned[number - 1] - EARLY:
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
        at=moment(now, after=looks[-1].at if looks else locked.lock.locked_at, error=LookError, what="look"),
        information=information,
        alpha_spent=alpha_spent,
        data_digest=data_digest,
        verdict=verdict,
        lock=locked.digest,
        parent=record_digest(looks[-1]) if looks else None,
    )
    if not append_record(store, "look", look):
        raise LookError(f"{study}: somebody else took look {number} at this moment; read the ledger")
    return look
