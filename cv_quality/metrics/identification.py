"""Identification, one against many: CMC in a closed set, DIR and FPIR in an open one.

Ties are pessimistic throughout: another identity with the same score as the right one stands before it. Decisions
accept when score >= threshold, as in `cv_quality.metrics.verification`. Terms follow ISO/IEC 19795-1.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.results import Result
from cv_quality.metrics.sorted_scores import Scores, SortedScores, count_below, in_order, thresholds_of
from cv_quality.metrics.validation import column
from cv_quality.metrics.verification import fnmr_at_fmr

SCORES_AT_ONCE = 1 << 22
"""Entries of the score matrix that are ranked in one step."""
NO_MATED = "no mated search: no probe has its identity in the gallery"
NO_UNMATED = "no non-mated search: every probe has its identity in the gallery"


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """What is needed of searches of probes in a gallery: `searches` and `searches_of_lists` make it.

    Attributes:
        mated_score: best score against the own identity, of each mated probe; shape (m,).
        mated_rank: 1 + number of other identities whose best score is at least that; shape (m,).
        unmated_best: best score against any identity, of each probe whose identity is not in the gallery; shape (u,).
        n_identities: identities in the largest gallery searched.
    """

    mated_score: Scores
    mated_rank: NDArray[np.int64]
    unmated_best: Scores
    n_identities: int


@dataclass(frozen=True, slots=True, eq=False)
class Cmc(Result):
    """The cumulative match characteristic; arrays have the shape (r,), for ranks 1 to r.

    Attributes:
        hit_rate: n_hits / n_mated, rising to 1 at the rank of all identities; higher is better.
        n_hits: mated searches whose own identity stands at that rank or before it.
    """

    hit_rate: NDArray[np.float64]
    n_hits: NDArray[np.int64]
    n_mated: int


@dataclass(frozen=True, slots=True)
class OpenSetRates(Result):
    """Rates of searches in which the probe may be a stranger; a rate is None when nothing was searched for it.

    Attributes:
        rank: the own identity counts down to this rank.
        dir: detection and identification rate, n_hits / n_mated; higher is better.
        fnir: 1 - dir, lower is better.
        fpir: n_false_positives / n_unmated, lower is better.
        reason: why a rate is None; None when none is.
    """

    threshold: float
    rank: int
    dir: float | None
    fnir: float | None
    fpir: float | None
    n_hits: int
    n_mated: int
    n_false_positives: int
    n_unmated: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DirAtFpir(Result):
    """DIR at the smallest threshold whose FPIR is at most `fpir_target`; undefined, `rates` is None with a `reason`."""

    fpir_target: float
    rates: OpenSetRates | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class OpenSetCurve(Result):
    """DIR against FPIR at one rank; arrays have the shape (m,).

    Attributes:
        thresholds: the distinct scores of hits, ascending: between two of them the DIR stays and the FPIR only falls.
        dir: higher is better; falls along the thresholds.
        fpir: lower is better; falls along the thresholds.
    """

    rank: int
    thresholds: NDArray[np.float64]
    dir: NDArray[np.float64]
    fpir: NDArray[np.float64]
    n_hits: NDArray[np.int64]
    n_mated: int
    n_false_positives: NDArray[np.int64]
    n_unmated: int


def searches(scores: ArrayLike, *, probe_subject: ArrayLike, gallery_subject: ArrayLike) -> Searches:
    """Rank searches from the matrix of all probes against all gallery entries.

    Several entries of one subject are one identity with the best of their scores. A probe that failed to be acquired
    may be given a row of -inf: it then stands at the last rank.

    Args:
        scores: higher is more alike, shape (probes, entries).
        probe_subject: whose each probe is, shape (probes,).
        gallery_subject: whose each entry is, shape (entries,).

    Raises:
        MetricError: there is no probe or no entry, shapes differ, a score is NaN, a subject is missing, or one side
            names subjects by text and the other by numbers.

    >>> found = searches([[0.9, 0.2], [0.3, 0.3], [0.1, 0.6]], probe_subject=list("abc"), gallery_subject=["a", "b"])
    >>> found.mated_rank.tolist(), found.unmated_best.tolist()
    ([1, 2], [0.6])
    """
    given = np.asarray(scores)
    if given.ndim != 2 or given.size == 0:
        raise MetricError(f"expected scores of shape (probes, entries), at least (1, 1), found shape {given.shape}")
    matrix = in_order(given.ravel(), name="search").reshape(len(given), -1)
    probes = column(probe_subject, name="probe_subject", size=len(matrix))
    entries = column(gallery_subject, name="gallery_subject", size=matrix.shape[1])
    if (probes.dtype.kind in "UT") != (entries.dtype.kind in "UT"):
        raise MetricError(
            f"expected both subjects as text or both as numbers, found {probes.dtype} and {entries.dtype}"
        )
    identities, codes = np.unique(entries, return_inverse=True)
    own = np.searchsorted(identities, probes).clip(max=len(identities) - 1)
    is_mated = identities[own] == probes
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(identities)))
    step = max(1, SCORES_AT_ONCE // matrix.shape[1])
    parts = []
    for row in range(0, len(matrix), step):
        best = np.maximum.reduceat(matrix[row : row + step, order], starts, axis=1)
        at_own = np.take_along_axis(best, own[row : row + step, None], axis=1)
        parts.append((at_own[:, 0], np.count_nonzero(best >= at_own, axis=1), best.max(axis=1)))
    at_own, rank, highest = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Searches(at_own[is_mated], rank[is_mated], highest[~is_mated], len(identities))


def searches_of_lists(probes: Iterable[tuple[ArrayLike | None, ArrayLike | None]]) -> Searches:
    """Rank searches from lists: the scores of each probe against its own identity, and one per other identity.

    Args:
        probes: (own, others); own is None or empty for a probe that is not in the gallery.

    Raises:
        MetricError: there is no probe, one has no score at all, or a score is null, NaN or no number.

    >>> found = searches_of_lists([([0.7], [0.3, 1.1, 0.5]), (None, [0.2])])
    >>> found.mated_rank.tolist(), found.unmated_best.tolist()
    ([2], [0.2])
    """
    mated, ranks, unmated, identities = [], [], [], [0]
    for number, (own, others) in enumerate(probes, start=1):
        right, wrong = _side(own), _side(others)
        if right.size + wrong.size == 0:
            raise MetricError(f"probe {number} has no score: a search compares it with one identity or more")
        if right.size:
            mated.append(right.max())
            ranks.append(1 + int(np.count_nonzero(wrong >= right.max())))
        else:
            unmated.append(wrong.max())
        identities.append(wrong.size + (right.size > 0))
    if len(identities) == 1:
        raise MetricError("no probe: identification needs searches")
    return Searches(
        np.array(mated, np.float64), np.array(ranks, np.int64), np.array(unmated, np.float64), max(identities)
    )


def cmc(searched: Searches, *, max_rank: int | None = None) -> Cmc:
    """Compute the cumulative match characteristic: hits at rank r or before it, for r = 1, 2, ...; higher is better.

    Ties are pessimistic: identities of equal score stand before the own one.

    Args:
        max_rank: the last rank, by default the number of identities.

    Raises:
        MetricError: no search is mated, or `max_rank` is not in 1 to the number of identities.

    >>> cmc(searches_of_lists([([0.7], [0.3, 1.1]), ([0.9], [0.1, 0.2])])).hit_rate.tolist()
    [0.5, 1.0, 1.0]
    """
    last = searched.n_identities if max_rank is None else max_rank
    _require_rank(last, searched)
    n_mated = len(searched.mated_rank)
    if n_mated == 0:
        raise MetricError(NO_MATED)
    n_hits = np.cumsum(np.bincount(searched.mated_rank, minlength=searched.n_identities + 1)[1:])[:last]
    return Cmc(n_hits / n_mated, n_hits, n_mated)


def open_set_rates(searched: Searches, *, threshold: float, rank: int = 1) -> OpenSetRates:
    """Compute DIR and FNIR of mated searches, FPIR of non-mated ones, at a threshold and a rank.

    DIR(t, r) = #(mated, own identity at rank <= r, its score >= t) / #mated, FNIR = 1 - DIR;
    FPIR(t) = #(non-mated, best score >= t) / #non-mated.

    Args:
        threshold: accept at or above.
        rank: 1 to the number of identities. Ties are pessimistic.

    Raises:
        MetricError: the threshold is NaN, or the rank is out of range.

    >>> found = searches_of_lists([([0.7], [0.3]), ([0.2], [0.1]), (None, [0.4])])
    >>> rates = open_set_rates(found, threshold=0.5)
    >>> rates.dir, rates.fpir
    (0.5, 0.0)
    """
    _require_rank(rank, searched)
    asked = thresholds_of(threshold)
    n_mated, n_unmated = len(searched.mated_score), len(searched.unmated_best)
    n_hits = int(_count_from(_hits(searched, rank=rank), asked))
    n_false = int(_count_from(np.sort(searched.unmated_best), asked))
    return OpenSetRates(
        threshold=float(asked),
        rank=rank,
        dir=n_hits / n_mated if n_mated else None,
        fnir=(n_mated - n_hits) / n_mated if n_mated else None,
        fpir=n_false / n_unmated if n_unmated else None,
        n_hits=n_hits,
        n_mated=n_mated,
        n_false_positives=n_false,
        n_unmated=n_unmated,
        reason=_lacking(searched),
    )


def dir_at_fpir(searched: Searches, *, fpir: float, rank: int = 1) -> DirAtFpir:
    """Compute DIR at the smallest threshold, among scores and +inf, whose FPIR is at most `fpir`; higher is better.

    A positive target needs at least 1/fpir non-mated searches; with fewer the answer is undefined.

    Args:
        fpir: the highest FPIR allowed, 0 to 1.
        rank: 1 to the number of identities. Ties are pessimistic.

    Raises:
        MetricError: no search is mated or none is non-mated, the target is outside [0, 1], or the rank out of range.

    >>> found = searches_of_lists([([0.7], [0.3]), ([0.2], [0.1]), (None, [0.4])])
    >>> dir_at_fpir(found, fpir=0).rates.dir
    0.5
    """
    _require_rank(rank, searched)
    _require_both(searched)
    if not 0.0 <= fpir <= 1.0:
        raise MetricError(f"an FPIR target lies in [0, 1], found {fpir}")
    chosen = fnmr_at_fmr(searched.mated_score, searched.unmated_best, fmr=fpir)
    if chosen.rates is None:
        return DirAtFpir(fpir, None, None if chosen.reason is None else f"non-mated searches: {chosen.reason}")
    return DirAtFpir(fpir, open_set_rates(searched, threshold=chosen.rates.threshold, rank=rank))


def open_set_curve(searched: Searches, *, rank: int = 1) -> OpenSetCurve:
    """Compute DIR and FPIR at the distinct scores of the hits within `rank`, and at +inf: every trade-off between them.

    Raises:
        MetricError: no search is mated or none is non-mated, or the rank is out of range.

    >>> curve = open_set_curve(searches_of_lists([([0.7], [0.3]), ([0.2], [0.1]), (None, [0.4])]))
    >>> curve.dir.tolist(), curve.fpir.tolist()
    ([1.0, 0.5, 0.0], [1.0, 0.0, 0.0])
    """
    _require_rank(rank, searched)
    _require_both(searched)
    hits, strangers = _hits(searched, rank=rank), SortedScores(searched.unmated_best, name="non-mated")
    thresholds = np.unique(np.append(hits, np.inf).astype(np.float64))
    n_hits, n_false = _count_from(hits, thresholds), _count_from(strangers.scores, thresholds)
    n_mated = len(searched.mated_score)
    return OpenSetCurve(
        rank, thresholds, n_hits / n_mated, n_false / strangers.n, n_hits, n_mated, n_false, strangers.n
    )


def _side(scores: ArrayLike | None) -> Scores:
    if scores is None or np.size(scores) == 0:
        return np.empty(0)
    return in_order(np.atleast_1d(np.asarray(scores)), name="search")


def _hits(searched: Searches, *, rank: int) -> Scores:
    return np.sort(searched.mated_score[searched.mated_rank <= rank])


def _count_from(ascending: Scores, thresholds: Scores) -> NDArray[np.int64]:
    return len(ascending) - count_below(ascending, thresholds)


def _require_rank(rank: int, searched: Searches) -> None:
    if not 1 <= rank <= searched.n_identities:
        raise MetricError(f"a rank lies in 1 to {searched.n_identities}, the number of identities, found {rank}")


def _lacking(searched: Searches) -> str | None:
    if len(searched.mated_score) == 0:
        return NO_MATED
    return NO_UNMATED if len(searched.unmated_best) == 0 else None


def _require_both(searched: Searches) -> None:
    lacking = _lacking(searched)
    if lacking is not None:
        raise MetricError(lacking)
