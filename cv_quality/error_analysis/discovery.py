"""The slice search: which slices of a table fail more than the rest, and which values are only correlated with them.

Subjects are split in two halves (`halves`); candidates of each (`candidate_search`) are tested on the other
(`holdout`), near-duplicates are merged (`near_duplicates`), and confounded values are told apart (`confounders`).
"""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cv_quality.error_analysis.candidate_search import CONDITION_PENALTY, Candidate, keep_homogeneous, search_candidates
from cv_quality.error_analysis.confounders import ConfirmedSlice, adjusted_odds, find_confounded
from cv_quality.error_analysis.cube import Layout, lay_out
from cv_quality.error_analysis.encoding import Encoded, encode
from cv_quality.error_analysis.halves import Flags, Half, Masks, split_by_failures
from cv_quality.error_analysis.holdout import MIN_SUBJECTS, HoldoutResult, holdout_test, prune_conditions
from cv_quality.error_analysis.near_duplicates import HoldoutCandidate, merge_near_duplicates
from cv_quality.error_analysis.slice_report import ConfoundedValue, InsufficientSlice, SliceFinding, SliceReport, figure
from cv_quality.errors import SliceError
from cv_quality.metrics.rates import clustered_rate

if TYPE_CHECKING:
    import polars as pl

MAX_INSUFFICIENT: Final = 10


def find_slices(
    table: "pl.DataFrame | pl.LazyFrame",
    *,
    outcome: str,
    subject: str | None = None,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    threads: int = 2,
) -> SliceReport:
    """Find slices of up to three conditions (a fourth where it sharpens one) that fail more than the rest of the table.

    Candidates of each half of the subjects are tested on the other half: one-sided, clustered by subject, adjusted by
    Holm over all candidates at a level of 0.5 %. A slice with fewer than 20 subjects is never confirmed.

    Args:
        table: one row an attempt, or whatever fails; read a column at a time.
        outcome: true or 1 for a failure, or a number that is worse the higher it is (a loss).
        subject: whose row it is; rows of one subject are not independent. None takes every row for itself.
        columns: where conditions are looked for; by default all others.
        seed, threads: of the split, and for counting.

    Raises:
        SliceError: no such column, no rows, an outcome that is no flag and no number or has nulls, no column to search.

    >>> import polars as pl
    >>> rows = [(light, lens, light == "dim" and lens == "b" and i % 2 == 0) for i in range(200)
    ...         for light in ("dim", "day") for lens in "abc"]
    >>> found = find_slices(pl.DataFrame(rows, ["light", "lens", "failed"], orient="row"), outcome="failed")
    >>> [item.where.sentence() for item in found.slices]
    ['light is dim and lens is b']
    """
    started = time.perf_counter()
    encoded = encode(table.lazy(), outcome=outcome, subject=subject, columns=columns)
    if not encoded.columns and not encoded.skipped:
        raise SliceError("the table has no column but the outcome and the subject: nothing can describe a slice")
    found = _Found()
    if encoded.columns and encoded.n_subjects > 1 and float(encoded.outcome.var()) > 0:
        found = _search(encoded, seed=seed, threads=threads)
    return SliceReport(
        n_rows=encoded.n_rows,
        n_subjects=None if subject is None else encoded.n_subjects,
        n_failures=float(encoded.outcome.sum()),
        base_rate=float(encoded.outcome.mean()),
        outcome=outcome,
        kind=encoded.kind,
        slices=found.slices,
        insufficient=found.insufficient,
        explained_away=found.confounded,
        skipped=encoded.skipped,
        conclusion=_conclusion(encoded, found),
        seed=seed,
        seconds=round(time.perf_counter() - started, 3),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    slices: tuple[SliceFinding, ...] = ()
    insufficient: tuple[InsufficientSlice, ...] = ()
    confounded: tuple[ConfoundedValue, ...] = ()


def _search(encoded: Encoded, *, seed: int, threads: int) -> _Found:
    is_first = split_by_failures(encoded, seed=seed)
    halves = Half.of(encoded, is_first), Half.of(encoded, ~is_first)
    layout = lay_out(encoded, n_rows=max(half.n_rows for half in halves), condition_penalty=CONDITION_PENALTY)

    def candidates_of(half: Half) -> list[Candidate]:
        return list(search_candidates(half, encoded, layout, threads=max(1, threads // len(halves))))

    with ThreadPoolExecutor(min(threads, len(halves))) as pool:
        candidates = list(pool.map(candidates_of, halves))
    tested, few = list[HoldoutCandidate](), list[Masks]()
    for found_on, holdout in ((0, 1), (1, 0)):
        rest = np.ones(halves[holdout].n_rows, np.bool_)
        for candidate in candidates[found_on]:
            masks = keep_homogeneous(halves[holdout], encoded.columns, candidate.masks)
            result = _tested(encoded, halves[holdout], replace(candidate, masks=masks), holdout, rest)
            if result is None:
                few.append(masks)
            else:
                tested.append(result)
            rest &= ~halves[holdout].inside(masks)
    slices = _slice_findings(encoded, halves, layout, merge_near_duplicates(encoded, halves, tested))
    none = np.empty((0, 0), np.uint8)
    table = Half(none, encoded.outcome, encoded.subjects, encoded.n_subjects, encoded.kind == "rate")
    confirmed = [ConfirmedSlice(item.where, encoded.inside(masks)) for item, masks in slices]
    return _Found(
        tuple(item for item, _ in slices),
        tuple(_insufficient(encoded, few, confirmed)),
        tuple(find_confounded(encoded, layout, table, confirmed)),
    )


def _tested(encoded: Encoded, half: Half, candidate: Candidate, holdout: int, rest: Flags) -> HoldoutCandidate | None:
    """The candidate, pruned, with its holdout test; None where it holds too few subjects.

    Where it holds enough subjects, but the slices before it leave too few on the holdout half, nothing is shown.
    """
    pruned = prune_conditions(half, candidate.masks, rest)
    inside = half.inside(pruned)
    result = holdout_test(half, inside & rest, rest & ~inside)
    if _n_subjects(encoded, encoded.inside(pruned)) < MIN_SUBJECTS:
        return None
    if result is None or result.subjects < MIN_SUBJECTS // 2:
        result = HoldoutResult(0, 0.0, 0.0, 0, 1.0)
    looks = 1 if len(pruned) == len(candidate.masks) else 2 ** len(candidate.masks) - 2
    return HoldoutCandidate(pruned, holdout, result, candidate.weight, looks)


def _slice_findings(
    encoded: Encoded, halves: tuple[Half, Half], layout: Layout, kept: Sequence[HoldoutCandidate]
) -> list[tuple[SliceFinding, Masks]]:
    """The confirmed slices, by the failures that each holds beyond what the rest's rate lets expect."""

    def excess(item: HoldoutCandidate) -> float:
        inside = encoded.outcome[encoded.inside(item.masks)]
        return float(inside.sum()) - item.result.rest_rate * len(inside)

    rests = [np.ones(half.n_rows, np.bool_) for half in halves]
    found = []
    for item in sorted(kept, key=excess, reverse=True):
        for each, other in zip(rests, halves, strict=True):
            each &= ~other.inside(item.masks)
        found.append((_finding(encoded, halves[item.holdout], layout, item, rests[item.holdout]), item.masks))
    return found


def _finding(encoded: Encoded, half: Half, layout: Layout, item: HoldoutCandidate, rest: Flags) -> SliceFinding:
    where, inside, everywhere = encoded.slice_of(item.masks), half.inside(item.masks), encoded.inside(item.masks)
    rate, low, high = _interval(half, inside)
    odds, correlate = adjusted_odds(encoded, layout, everywhere, slice_columns=where.columns)
    above = encoded.outcome - encoded.outcome.min()
    finding = SliceFinding(
        where=where,
        rate=rate,
        low=low,
        high=high,
        rest_rate=float(half.outcome[rest].mean()) if rest.any() else 0.0,
        failures=float(half.outcome[inside].sum()),
        trials=int(inside.sum()),
        support=int(everywhere.sum()),
        subjects=_n_subjects(encoded, everywhere),
        p_adjusted=item.p_adjusted,
        share_of_failures=float(above[everywhere].sum() / above.sum()),
        adjusted_odds_ratio=odds,
        adjusted_for=correlate,
    )
    return replace(finding, sentence=_sentence(finding, encoded))


def _interval(half: Half, inside: Flags) -> tuple[float, float, float]:
    """The slice's rate with its 95 % interval, clustered by subject; for a loss, the mean with t over subjects."""
    from scipy import special

    mean, (rows, sums) = float(half.outcome[inside].mean()), half.per_subject(inside)
    if half.is_rate:
        rate = clustered_rate(sums.astype(np.int64), rows.astype(np.int64))
        return mean, mean if rate.low is None else rate.low, mean if rate.high is None else rate.high
    freedom, deviations = max(len(rows) - 1, 1), sums - mean * rows
    error = math.sqrt(float(deviations @ deviations) * len(rows) / freedom) / np.count_nonzero(inside)
    reach = float(special.stdtrit(freedom, 0.975)) * error
    return mean, mean - reach, mean + reach


def _insufficient(
    encoded: Encoded, few: Sequence[Masks], found: Sequence[ConfirmedSlice]
) -> Iterator[InsufficientSlice]:
    """What stands out on too few subjects, each once and outside of what was confirmed."""
    rest = ~np.logical_or.reduce([item.inside for item in found]) if found else np.ones(encoded.n_rows, np.bool_)
    shown = 0
    for masks in few:
        inside = encoded.inside(masks) & rest
        if shown == MAX_INSUFFICIENT or not inside.any() or inside.all():
            continue
        shown += 1
        where, rest = encoded.slice_of(masks), rest & ~inside
        rate, rest_rate = (float(encoded.outcome[rows].mean()) for rows in (inside, rest))
        subjects = _n_subjects(encoded, inside)
        people = _unit(encoded) if subjects != 1 else _unit(encoded).removesuffix("s")
        sentence = (
            f"{where.sentence()}: {figure(rate, encoded.kind)} against {figure(rest_rate, encoded.kind)} elsewhere, "
            f"but of {subjects} {people} only: not enough to tell the slice from them."
        )
        if rate > rest_rate:
            yield InsufficientSlice(where, rate, rest_rate, int(inside.sum()), subjects, sentence)


def _n_subjects(encoded: Encoded, inside: Flags) -> int:
    """Subjects with a row inside; rows where none are named."""
    if encoded.subjects is None:
        return int(np.count_nonzero(inside))
    return int(np.count_nonzero(np.bincount(encoded.subjects[inside])))


def _unit(encoded: Encoded) -> str:
    return "rows" if encoded.subjects is None else "subjects"


def _sentence(item: SliceFinding, encoded: Encoded) -> str:
    verb = "fail" if encoded.kind == "rate" else "lose on average"
    counts = f"{item.failures:,.0f} of {item.trials:,}" if encoded.kind == "rate" else f"mean of {item.trials:,}"
    rate, low, high, rest = (figure(value, encoded.kind) for value in (item.rate, item.low, item.high, item.rest_rate))
    people = "" if encoded.subjects is None else f" of {item.subjects:,} subjects"
    return (
        f"Where {item.where.sentence()}, {rate} {verb} ({counts} held-out rows, 95 % interval {low} to {high}), "
        f"against {rest} elsewhere; {item.support:,} rows{people} with "
        f"{100 * item.share_of_failures:.0f} % of all failures."
    )


def _conclusion(encoded: Encoded, found: _Found) -> str:
    rows = f"{encoded.n_rows:,} rows"
    if encoded.subjects is not None:
        rows += f" of {encoded.n_subjects:,} {'subject' if encoded.n_subjects == 1 else 'subjects'}"
    lowest, highest = encoded.outcome.min(), encoded.outcome.max()
    if lowest == highest:
        what = "none fails" if highest <= 0 else "all fail" if encoded.kind == "rate" else "all lose alike"
        return f"Nothing to tell apart: of {rows} {what}."
    if not encoded.columns:
        skipped = f"{len(encoded.skipped)} skipped"
        return f"Nothing was searched: of the table's columns none can describe a slice ({skipped})."
    if found.slices:
        share = 100 * min(1.0, sum(item.share_of_failures for item in found.slices))
        p = max(item.p_adjusted for item in found.slices)
        many = f"{len(found.slices)} slices hold" if len(found.slices) > 1 else "one slice holds"
        return (
            f"This is real: {many} on {_unit(encoded)} that did not propose it (adjusted p at most {p:.2g}), with up "
            f"to {share:.0f} % of the failures; first: {found.slices[0].where.sentence()}."
        )
    if encoded.n_subjects < MIN_SUBJECTS:
        return f"Too small to tell: {rows}, and a slice needs at least {MIN_SUBJECTS} {_unit(encoded)}."
    if found.insufficient:
        return f"Not enough to tell: in {rows} only slices of fewer than {MIN_SUBJECTS} {_unit(encoded)} stand out."
    return f"Nothing real was found: in {rows} no slice fails more than the rest in a way that holds on others."
