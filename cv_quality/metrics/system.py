"""System rates: FRR and FAR with failures to acquire and to enrol, and of transactions of several attempts.

FMR and FNMR come from `cv_quality.metrics.verification`. Rates over transactions are counted from recorded attempts:
attempts of one person are alike, so the FRR of k attempts is not the k-th power of that of one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.metrics.results import Result
from cv_quality.metrics.validation import column, truth

NO_FTE = "the failure-to-enrol rate is not given"


@dataclass(frozen=True, slots=True)
class SystemRates(Result):
    """Rates of a whole system; all 0 to 1, lower is better.

    Attributes:
        frr: false reject rate, failures to acquire counted as rejections.
        far: false accept rate.
        gfrr, gfar: the same, generalised: a subject that failed to enrol is always rejected; None without an FTE.
        reason: why gfrr and gfar are None; None when they are not.
    """

    frr: float
    far: float
    fte: float | None
    gfrr: float | None
    gfar: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TransactionCounts(Result):
    """Outcomes of transactions as counts, which add up over drops with `+`.

    Attributes:
        accepted_at: transactions whose first accepted attempt was the 1st, 2nd, ... k-th; shape (k,).
        n_transactions: all of them, accepted or not.
        n_cut_short: transactions without an accepted attempt that had fewer than k attempts; they count as rejected.
    """

    accepted_at: NDArray[np.int64]
    n_transactions: int
    n_cut_short: int

    def __add__(self, other: "TransactionCounts") -> "TransactionCounts":
        """The counts of both.

        Raises:
            MetricError: they allow different numbers of attempts.
        """
        if len(self.accepted_at) != len(other.accepted_at):
            found = f"{len(self.accepted_at)} and {len(other.accepted_at)}"
            raise MetricError(f"transactions of up to {found} attempts do not add up: count them with the same number")
        return TransactionCounts(
            self.accepted_at + other.accepted_at,
            self.n_transactions + other.n_transactions,
            self.n_cut_short + other.n_cut_short,
        )

    def n_accepted(self, within: int) -> int:
        """Count transactions accepted by one of their first `within` attempts.

        Raises:
            MetricError: `within` is not in 1 to k.
        """
        _require_within(within, len(self.accepted_at))
        return int(self.accepted_at[:within].sum())


@dataclass(frozen=True, slots=True, eq=False)
class TransactionOutcomes:
    """What became of each transaction.

    Attributes:
        transactions: the distinct identifiers, ascending; shape (t,).
        first_accepted: number of the first accepted attempt, from 1; 0 where none of the first k was; shape (t,).
        n_attempts: recorded attempts, at most k; shape (t,).
        subjects: who made it; shape (t,), None where not given.
        attempts: k, the largest number of attempts that a transaction may use.
    """

    transactions: NDArray[np.generic]
    first_accepted: NDArray[np.int64]
    n_attempts: NDArray[np.int64]
    subjects: NDArray[np.generic] | None
    attempts: int

    def counts(self) -> TransactionCounts:
        """Count the outcomes."""
        accepted_at = np.bincount(self.first_accepted, minlength=self.attempts + 1)[1:]
        is_cut_short = (self.first_accepted == 0) & (self.n_attempts < self.attempts)
        return TransactionCounts(accepted_at, len(self.transactions), int(is_cut_short.sum()))

    def is_accepted(self, within: int) -> NDArray[np.bool_]:
        """Tell whether one of the first `within` attempts was accepted; shape (t,).

        Raises:
            MetricError: `within` is not in 1 to k.
        """
        _require_within(within, self.attempts)
        accepted: NDArray[np.bool_] = (self.first_accepted > 0) & (self.first_accepted <= within)
        return accepted


@dataclass(frozen=True, slots=True)
class TransactionRates(Result):
    """Rates of transactions of up to `within` attempts, with their counts."""

    within: int
    rates: SystemRates
    n_false_rejects: int
    n_genuine: int
    n_false_accepts: int
    n_impostor: int


def system_rates(*, fmr: float, fnmr: float, fta: float, fte: float | None = None) -> SystemRates:
    """Compute the rates of one attempt (ISO/IEC 19795-1): lower is better for all.

    FRR = FTA + FNMR (1 - FTA), FAR = FMR (1 - FTA); GFRR = FTE + (1 - FTE) FRR, GFAR = FAR (1 - FTE).

    Args:
        fmr, fnmr: shares of comparisons, 0 to 1.
        fta: failures to acquire over attempts, 0 to 1.
        fte: subjects that failed to enrol over subjects, 0 to 1; None when unknown, which is not 0.

    Raises:
        MetricError: a rate is outside [0, 1].

    >>> rates = system_rates(fmr=0.001, fnmr=0.02, fta=0.05, fte=0.01)
    >>> round(rates.frr, 6), round(rates.gfrr, 6)
    (0.069, 0.07831)
    """
    for name, rate in (("FMR", fmr), ("FNMR", fnmr), ("FTA", fta)):
        _require_rate(rate, name)
    return _generalised(fta + fnmr * (1 - fta), fmr * (1 - fta), fte=fte)


def transaction_outcomes(
    transaction: ArrayLike,
    is_accepted: ArrayLike,
    *,
    attempts: int,
    order: ArrayLike | None = None,
    subject: ArrayLike | None = None,
) -> TransactionOutcomes:
    """Group recorded attempts: a transaction accepts when any of its first `attempts` attempts accepts.

    Args:
        transaction: identifier of each attempt's transaction, text or whole numbers, shape (n,).
        is_accepted: whether each attempt was accepted, shape (n,), bool; an attempt that failed to acquire was not.
        attempts: k >= 1; later attempts of a transaction do not count.
        order: sorts attempts within a transaction, such as a time, shape (n,); else they count in the order of rows.
        subject: who made each attempt, shape (n,), to cluster by.

    Raises:
        MetricError: there is no attempt, shapes differ, a value is missing, decisions are not bool, `attempts` < 1, or
            one transaction has several subjects.

    >>> outcomes = transaction_outcomes(["a", "a", "b"], [False, True, False], attempts=2)
    >>> outcomes.first_accepted.tolist(), outcomes.counts().accepted_at.tolist()
    ([2, 0], [0, 1])
    """
    if attempts < 1:
        raise MetricError(f"a transaction has 1 attempt or more, found {attempts}")
    ids = column(transaction, name="transaction")
    if len(ids) == 0:
        raise MetricError("no attempt: a transaction has 1 or more")
    decisions = truth(is_accepted, name="is_accepted", size=len(ids))
    names, codes = np.unique(ids, return_inverse=True)
    rows = np.argsort(codes, kind="stable")
    if order is not None:
        keys = column(order, name="order", size=len(ids))
        if keys.dtype.kind not in "iufmM":
            raise MetricError(f"expected order as numbers or times, found {keys.dtype}")
        rows = np.lexsort((keys, codes))
    starts = np.searchsorted(codes[rows], np.arange(len(names)))
    sizes = np.diff(starts, append=len(rows))
    number = np.arange(len(rows)) - np.repeat(starts, sizes) + 1
    first = np.minimum.reduceat(np.where(decisions[rows] & (number <= attempts), number, attempts + 1), starts)
    owners = None
    if subject is not None:
        subjects = column(subject, name="subject", size=len(ids))[rows]
        owners = subjects[starts]
        if strangers := int(np.count_nonzero(subjects != np.repeat(owners, sizes))):
            raise MetricError(f"{strangers} attempts are of another subject than the first one of their transaction")
    first_accepted = np.where(first > attempts, 0, first)
    return TransactionOutcomes(names, first_accepted, np.minimum(sizes, attempts), owners, attempts)


def transaction_rates(
    genuine: TransactionCounts, impostor: TransactionCounts, *, within: int, fte: float | None = None
) -> TransactionRates:
    """Compute FRR and FAR of transactions of up to `within` attempts; lower is better.

    FRR = genuine transactions without an accepted attempt / genuine transactions; FAR = impostor transactions with an
    accepted attempt / impostor transactions. GFRR and GFAR as in `system_rates`.

    Args:
        within: 1 to the smaller k of both counts.
        fte: subjects that failed to enrol over subjects; None when unknown.

    Raises:
        MetricError: one side has no transaction, or `within` or `fte` is out of range.

    >>> tried = transaction_outcomes([1, 1, 2, 2], [False, True, False, False], attempts=2).counts()
    >>> rates = transaction_rates(tried, tried, within=2).rates
    >>> rates.frr, rates.far
    (0.5, 0.5)
    """
    for name, counts in (("genuine", genuine), ("impostor", impostor)):
        if counts.n_transactions == 0:
            raise MetricError(f"no {name} transaction: rates need transactions of both kinds")
    rejects = genuine.n_transactions - genuine.n_accepted(within)
    accepts = impostor.n_accepted(within)
    rates = _generalised(rejects / genuine.n_transactions, accepts / impostor.n_transactions, fte=fte)
    return TransactionRates(within, rates, rejects, genuine.n_transactions, accepts, impostor.n_transactions)


def frr_by_subject(genuine: TransactionOutcomes, *, within: int) -> Rate:
    """Estimate the FRR of transactions of up to `within` attempts, clustered by subject; lower is better.

    Raises:
        MetricError: the outcomes carry no subjects, or `within` is out of range.

    >>> outcomes = transaction_outcomes([1, 2, 3], [True, False, True], attempts=1, subject=["p", "p", "q"])
    >>> rate = frr_by_subject(outcomes, within=1)
    >>> rate.numerator, rate.denominator, rate.n_subjects
    (1, 3, 2)
    """
    if genuine.subjects is None:
        raise MetricError("an interval by subject needs to know who made each transaction: pass `subject`")
    _, codes = np.unique(genuine.subjects, return_inverse=True)
    return clustered_rate(np.bincount(codes, weights=~genuine.is_accepted(within)), np.bincount(codes))


def _generalised(frr: float, far: float, *, fte: float | None) -> SystemRates:
    if fte is None:
        return SystemRates(frr, far, None, None, None, NO_FTE)
    _require_rate(fte, "FTE")
    return SystemRates(frr, far, fte, fte + (1 - fte) * frr, far * (1 - fte))


def _require_rate(rate: float, name: str) -> None:
    if not 0.0 <= rate <= 1.0:
        raise MetricError(f"the {name} is a share in [0, 1], found {rate}")


def _require_within(within: int, attempts: int) -> None:
    if not 1 <= within <= attempts:
        raise MetricError(f"counted for 1 to {attempts} attempts, asked for {within}: count again with more attempts")
