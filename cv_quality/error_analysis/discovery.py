"""Which slices of a table fail more than the rest, how sure that is, and what only looks as if.

The way in to the search: subjects are split in two, each half proposes (`proposing`), the other confirms
(`confirming`), and what looks bad beside what was found is explained (`bystanders`).
"""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.candidate_search import THRIFT, Half, Masks, Proposal, alike, half_of, propose
from cv_quality.error_analysis.confounders import Found, adjusted_odds, explained_away
from cv_quality.error_analysis.cube import Layout, lay_out
from cv_quality.error_analysis.encoding import Encoded, conditions, encode
from cv_quality.error_analysis.holdout_test import FEW_SUBJECTS, Evidence, members, shortened, tested
from cv_quality.error_analysis.near_duplicates import Candidate, inside_of, settle
from cv_quality.error_analysis.slice_report import ExplainedAway, Finding, Findings, Insufficient, figure
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError
from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.resampling import seeded

if TYPE_CHECKING:
    import polars as pl

MOST_INSUFFICIENT: Final = 10

Flags = NDArray[np.bool_]


def find_slices(
    table: "pl.DataFrame | pl.LazyFrame",
    *,
    outcome: str,
    subject: str | None = None,
    columns: Sequence[str] | None = None,
    seed: int = 0,
    threads: int = 2,
) -> Findings:
    """Slices of up to three conditions (a fourth where it sharpens one) that fail more than the rest of the table.

    Each half of the subjects proposes slices, the other half confirms them: one-sided, clustered by subject, adjusted
    by Holm over all proposals at a level of 0.5 %. A slice with fewer than 20 subjects is never confirmed.

    Args:
        table: one row an attempt, or whatever fails; read a column at a time.
        outcome: true or 1 for a failure, or a number that is worse the higher it is (a loss).
        subject: whose row it is; rows of one subject are not independent. None takes every row for itself.
        columns: where conditions are looked for; by default all others.
        seed: of the split.
        threads: for counting.

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
    found = _Found((), (), ())
    if encoded.columns and encoded.n_subjects > 1 and float(encoded.outcome.var()) > 0:
        found = _search(encoded, seed=seed, threads=threads)
    return Findings(
        n_rows=encoded.n_rows,
        n_subjects=None if subject is None else encoded.n_subjects,
        n_failures=float(encoded.outcome.sum()),
        base_rate=float(encoded.outcome.mean()),
        outcome=outcome,
        kind=encoded.kind,
        slices=found.slices,
        insufficient=found.insufficient,
        explained_away=found.explained_away,
        skipped=encoded.skipped,
        conclusion=_conclusion(encoded, found, has_subjects=subject is not None),
        seed=seed,
        seconds=round(time.perf_counter() - started, 3),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    slices: tuple[Finding, ...]
    insufficient: tuple[Insufficient, ...]
    explained_away: tuple[ExplainedAway, ...]


def _search(encoded: Encoded, *, seed: int, threads: int) -> _Found:
    is_first = _split(encoded, seed=seed)
    halves = half_of(encoded, is_first), half_of(encoded, ~is_first)
    layout = lay_out(encoded, n_rows=max(half.n_rows for half in halves), thrift=THRIFT)
    candidates: list[Candidate] = []
    few: list[Masks] = []

    def proposed(half: Half) -> list[Proposal]:
        return list(propose(half, encoded, layout, threads=max(1, threads // len(halves))))

    with ThreadPoolExecutor(min(threads, len(halves))) as pool:
        proposals = list(pool.map(proposed, halves))
    for proposer, judge in ((0, 1), (1, 0)):
        rest = np.ones(halves[judge].n_rows, np.bool_)
        for proposal in proposals[proposer]:
            masks = alike(halves[judge], encoded.columns, proposal.masks)
            candidate = _judged(encoded, halves[judge], replace(proposal, masks=masks), judge, rest)
            if candidate is None:
                few.append(masks)
            else:
                candidates.append(candidate)
            rest &= ~members(halves[judge], masks)
    slices = _findings(encoded, halves, layout, settle(encoded, halves, candidates))
    none = np.empty((0, 0), np.uint8)
    table = Half(none, encoded.outcome, encoded.subjects, encoded.n_subjects, encoded.kind == "rate")
    found = [Found(item.where, inside_of(encoded, candidate.masks)) for item, candidate in slices]
    return _Found(
        tuple(item for item, _ in slices),
        tuple(_insufficient(encoded, few, found)),
        tuple(explained_away(encoded, layout, table, found)),
    )


def _split(encoded: Encoded, *, seed: int) -> Flags:
    """Which rows propose first: those of every other subject in the order of their failures, pair by pair at random."""
    rng = seeded(seed)
    failures = encoded.outcome
    if encoded.subjects is not None:
        failures = np.asarray(np.bincount(encoded.subjects, weights=failures, minlength=encoded.n_subjects), np.float64)
    shuffled = rng.permutation(len(failures))
    order = shuffled[np.argsort(failures[shuffled], kind="stable")]
    is_first = np.zeros(len(failures), np.bool_)
    first_of_pair = rng.integers(0, 2, (len(order) + 1) // 2)
    places = np.minimum(2 * np.arange(len(first_of_pair)) + first_of_pair, len(order) - 1)
    is_first[order[places]] = True
    return is_first if encoded.subjects is None else is_first[encoded.subjects]


def _judged(encoded: Encoded, half: Half, proposal: Proposal, judge: int, rest: Flags) -> Candidate | None:
    """The proposal, shortened, with its evidence; None where too few subjects stand behind it.

    Where it holds enough subjects, but too few that judge it are left by the slices before it, nothing is shown.
    """
    shorter = shortened(half, proposal.masks, rest)
    inside = members(half, shorter)
    evidence = tested(half, inside & rest, rest & ~inside)
    if _n_subjects(encoded, inside_of(encoded, shorter)) < FEW_SUBJECTS:
        return None
    if evidence is None or evidence.subjects < FEW_SUBJECTS // 2:
        evidence = Evidence(0, 0.0, 0.0, 0, 1.0)
    looks = 1 if len(shorter) == len(proposal.masks) else 2 ** len(proposal.masks) - 2
    return Candidate(shorter, judge, evidence, proposal.weight, looks)


def _findings(
    encoded: Encoded, halves: tuple[Half, Half], layout: Layout, kept: Sequence[Candidate]
) -> list[tuple[Finding, Candidate]]:
    """The confirmed slices, by the failures that each holds beyond what the rest's rate lets expect."""
    rests = [np.ones(half.n_rows, np.bool_) for half in halves]
    found = []
    for item in sorted(kept, key=lambda item: -_excess(encoded, item)):
        for each, other in zip(rests, halves, strict=True):
            each &= ~members(other, item.masks)
        found.append((_finding(encoded, halves[item.judge], layout, item, rests[item.judge]), item))
    return found


def _excess(encoded: Encoded, item: Candidate) -> float:
    inside = encoded.outcome[inside_of(encoded, item.masks)]
    return float(inside.sum()) - item.evidence.rest_rate * len(inside)


def _finding(encoded: Encoded, half: Half, layout: Layout, item: Candidate, rest: Flags) -> Finding:
    where = Slice(tuple(conditions(item.masks, encoded)))
    inside = members(half, item.masks)
    rate, low, high = _interval(half, inside)
    everywhere = inside_of(encoded, item.masks)
    odds, correlate = adjusted_odds(encoded, layout, everywhere, slice_columns=where.columns)
    above = encoded.outcome - encoded.outcome.min()
    finding = Finding(
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
    outcome = half.outcome[inside]
    rows, sums = half.per_subject(inside)
    if half.is_rate:
        rate = clustered_rate(sums.astype(np.int64), rows.astype(np.int64))
        mean = float(outcome.mean())
        return mean, mean if rate.low is None else rate.low, mean if rate.high is None else rate.high
    from scipy import special

    mean = float(outcome.mean())
    deviations = sums - mean * rows
    error = math.sqrt(float(deviations @ deviations) * len(rows) / max(len(rows) - 1, 1)) / len(outcome)
    reach = float(special.stdtrit(max(len(rows) - 1, 1), 0.975)) * error
    return mean, mean - reach, mean + reach


def _insufficient(encoded: Encoded, few: Sequence[Masks], found: Sequence[Found]) -> Iterator[Insufficient]:
    """What stands out on too few subjects, each once and outside of what was confirmed."""
    rest = ~np.logical_or.reduce([item.inside for item in found]) if found else np.ones(encoded.n_rows, np.bool_)
    shown = 0
    for masks in few:
        inside = inside_of(encoded, masks) & rest
        if shown == MOST_INSUFFICIENT or not inside.any() or inside.all():
            continue
        shown += 1
        where = Slice(tuple(conditions(masks, encoded)))
        rate, rest_rate = float(encoded.outcome[inside].mean()), float(encoded.outcome[rest & ~inside].mean())
        subjects = _n_subjects(encoded, inside)
        people = _unit(encoded) if subjects != 1 else _unit(encoded).removesuffix("s")
        rest = rest & ~inside
        if rate > rest_rate:
            yield Insufficient(
                where=where,
                rate=rate,
                rest_rate=rest_rate,
                support=int(inside.sum()),
                subjects=subjects,
                sentence=f"{where.sentence()}: {figure(rate, encoded.kind)} against {figure(rest_rate, encoded.kind)} "
                f"elsewhere, but of {subjects} {people} only: not enough to tell the slice from them.",
            )


def _n_subjects(encoded: Encoded, inside: Flags) -> int:
    """Subjects with a row inside; rows where none are named."""
    if encoded.subjects is None:
        return int(np.count_nonzero(inside))
    return int(np.count_nonzero(np.bincount(encoded.subjects[inside])))


def _unit(encoded: Encoded) -> str:
    return "rows" if encoded.subjects is None else "subjects"


def _sentence(item: Finding, encoded: Encoded) -> str:
    verb = "fail" if encoded.kind == "rate" else "lose on average"
    counts = f"{item.failures:,.0f} of {item.trials:,}" if encoded.kind == "rate" else f"mean of {item.trials:,}"
    rate, low, high, rest = (figure(value, encoded.kind) for value in (item.rate, item.low, item.high, item.rest_rate))
    people = "" if encoded.subjects is None else f" of {item.subjects:,} subjects"
    return (
        f"Where {item.where.sentence()}, {rate} {verb} ({counts} held-out rows, 95 % interval {low} to {high}), "
        f"against {rest} elsewhere; {item.support:,} rows{people} with "
        f"{100 * item.share_of_failures:.0f} % of all failures."
    )


def _conclusion(encoded: Encoded, found: _Found, *, has_subjects: bool) -> str:
    """One plain sentence on whether anything is real."""
    people = "subject" if encoded.n_subjects == 1 else "subjects"
    rows = f"{encoded.n_rows:,} rows" + (f" of {encoded.n_subjects:,} {people}" if has_subjects else "")
    if encoded.outcome.min() == encoded.outcome.max():
        what = (
            "none fails" if encoded.outcome.max() <= 0 else "all fail" if encoded.kind == "rate" else "all lose alike"
        )
        return f"Nothing to tell apart: of {rows} {what}."
    if not encoded.columns:
        return (
            f"Nothing was searched: of the table's columns none can describe a slice ({len(encoded.skipped)} skipped)."
        )
    if found.slices:
        share = 100 * min(1.0, sum(item.share_of_failures for item in found.slices))
        p = max(item.p_adjusted for item in found.slices)
        many = f"{len(found.slices)} slices hold" if len(found.slices) > 1 else "one slice holds"
        return (
            f"This is real: {many} on {_unit(encoded)} that did not propose it (adjusted p at most {p:.2g}), with up "
            f"to {share:.0f} % of the failures; first: {found.slices[0].where.sentence()}."
        )
    if encoded.n_subjects < FEW_SUBJECTS:
        return f"Too small to tell: {rows}, and a slice needs at least {FEW_SUBJECTS} {_unit(encoded)}."
    if found.insufficient:
        return f"Not enough to tell: in {rows} only slices of fewer than {FEW_SUBJECTS} {_unit(encoded)} stand out."
    return f"Nothing real was found: in {rows} no slice fails more than the rest in a way that holds on others."
