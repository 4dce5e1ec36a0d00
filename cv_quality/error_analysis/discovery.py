"""The slice search: which slices of a table fail more than the rest, and which values are only correlated with them.

Consequences of the outcome are set apart (`consequences`), slices are searched on several splits of the subjects
(`splits`), and values that only go with them, or are a part of them, are told apart (`confounders`).
"""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cv_quality.error_analysis.candidate_search import CONDITION_PENALTY
from cv_quality.error_analysis.confounders import ConfirmedSlice, adjusted_odds, find_confounded
from cv_quality.error_analysis.consequences import set_apart_consequences
from cv_quality.error_analysis.cube import Layout, lay_out
from cv_quality.error_analysis.encoding import Bounds, Encoded, encode
from cv_quality.error_analysis.halves import Flags, Half, Masks
from cv_quality.error_analysis.holdout import MIN_SUBJECTS
from cv_quality.error_analysis.slice_report import (
    ConfoundedValue,
    InsufficientSlice,
    SetApartColumn,
    SliceFinding,
    SliceReport,
    figure,
    set_apart_words,
)
from cv_quality.error_analysis.splits import StableSlice, agree, search_splits
from cv_quality.errors import SliceError, near
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
    exclude: Collection[str] = (),
    keep: Collection[str] = (),
    bounds: Bounds | None = None,
    unit: str = "subject",
    seed: int = 0,
    threads: int = 2,
) -> SliceReport:
    """Find slices of up to three conditions (a fourth where it sharpens one) that fail more than the rest of the table.

    Candidates of each half of the subjects are tested on the other half: one-sided, clustered by subject, adjusted by
    Holm over all candidates at a level of 0.5 %, on several splits of the subjects, of which most must agree. A slice
    with fewer than 20 subjects is never confirmed. A column that nearly determines the outcome is not searched.

    Args:
        table: one row an attempt, or whatever fails; read a column at a time.
        outcome: true or 1 for a failure, or a number that is worse the higher it is (a loss).
        subject: whose row it is; rows of one subject are not independent. None takes every row for itself.
        columns: where conditions are looked for; by default all others.
        exclude, keep: columns that are left out, or that are searched though they nearly determine the outcome.
        bounds: by column, thresholds that are taken where they part nearly the same rows.
        unit: what a subject is called.
        seed, threads: of the splits, and for counting.

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
    names = _searched(table.lazy().collect_schema().names(), columns, exclude=exclude, keep=keep)
    encoded = _not_empty(
        encode(table.lazy(), outcome=outcome, subject=subject, columns=names, bounds=bounds, unit=unit), exclude
    )
    encoded, set_apart = set_apart_consequences(encoded, keep=keep, seed=seed)
    found = _search(encoded, bounds=bounds or {}, seed=seed, threads=threads)
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
        only_combined=found.combined,
        set_apart=set_apart,
        skipped=encoded.skipped | dict.fromkeys(exclude, "left out by request"),
        conclusion=_conclusion(encoded, found, set_apart),
        n_splits=found.n_splits,
        seed=seed,
        seconds=round(time.perf_counter() - started, 3),
    )


def _not_empty(encoded: Encoded, exclude: Collection[str]) -> Encoded:
    if not encoded.columns and not encoded.skipped:
        named = "the outcome and the subject" + (" and those left out" if exclude else "")
        raise SliceError(f"the table has no column but {named}: nothing can describe a slice")
    return encoded


def _searched(
    names: Sequence[str], columns: Sequence[str] | None, *, exclude: Collection[str], keep: Collection[str]
) -> list[str]:
    for name in (*exclude, *keep):
        if name not in names:
            raise SliceError(f"the table has no column {name!r} to leave out or to keep: {near(name, names)}")
    return [name for name in (names if columns is None else columns) if name not in exclude]


@dataclass(frozen=True, slots=True)
class _Found:
    slices: tuple[SliceFinding, ...] = ()
    insufficient: tuple[InsufficientSlice, ...] = ()
    confounded: tuple[ConfoundedValue, ...] = ()
    combined: tuple[ConfoundedValue, ...] = ()
    n_splits: int = 0


def _search(encoded: Encoded, *, bounds: Bounds, seed: int, threads: int) -> _Found:
    if not encoded.columns or encoded.n_subjects < 2 or float(encoded.outcome.var()) == 0:
        return _Found()
    layout = lay_out(encoded, n_rows=(encoded.n_rows + 1) // 2, condition_penalty=CONDITION_PENALTY)
    splits = search_splits(encoded, layout, seed=seed, threads=threads)
    slices = _slice_findings(encoded, layout, agree(encoded, splits, bounds=bounds))
    confirmed = [ConfirmedSlice(item.where, masks, encoded.inside(masks)) for item, masks in slices]
    confounded = list(find_confounded(encoded, layout, confirmed))
    return _Found(
        tuple(item for item, _ in slices),
        tuple(_insufficient(encoded, splits[0].insufficient, confirmed)),
        tuple(item for item in confounded if not item.is_part),
        tuple(item for item in confounded if item.is_part),
        len(splits),
    )


def _slice_findings(encoded: Encoded, layout: Layout, kept: Sequence[StableSlice]) -> list[tuple[SliceFinding, Masks]]:
    """The confirmed slices, by the failures that each holds beyond what the rest's rate lets expect."""

    def excess(one: StableSlice) -> float:
        inside = encoded.outcome[encoded.inside(one.item.masks)]
        return float(inside.sum()) - one.item.result.rest_rate * len(inside)

    table, rest, found = Half.whole(encoded), np.ones(encoded.n_rows, np.bool_), []
    for one in sorted(kept, key=excess, reverse=True):
        rest &= ~encoded.inside(one.item.masks)
        finding = _finding(encoded, table, layout, one, rest & one.holdout_rows)
        found.append((finding, one.item.masks))
    return found


def _finding(encoded: Encoded, table: Half, layout: Layout, one: StableSlice, rest: Flags) -> SliceFinding:
    where, everywhere = encoded.slice_of(one.item.masks), encoded.inside(one.item.masks)
    inside = everywhere & one.holdout_rows
    rate, low, high = _interval(table, inside)
    (trials, failures), (others, others_failures) = table.totals(inside), table.totals(rest)
    odds, correlate = adjusted_odds(encoded, layout, everywhere, slice_columns=where.columns)
    above = encoded.outcome - encoded.outcome.min()
    finding = SliceFinding(
        where=where,
        rate=rate,
        low=low,
        high=high,
        rest_rate=others_failures / others if others else 0.0,
        failures=failures,
        trials=int(trials),
        support=int(np.count_nonzero(everywhere)),
        subjects=encoded.n_subjects_of(everywhere),
        p_adjusted=one.item.p_adjusted,
        share_of_failures=float(above[everywhere].sum() / above.sum()),
        stability=one.stability,
        adjusted_odds_ratio=odds,
        adjusted_for=correlate,
    )
    return replace(finding, sentence=_sentence(finding, encoded, one.n_splits))


def _interval(table: Half, inside: Flags) -> tuple[float, float, float]:
    """The slice's rate with its 95 % interval, clustered by subject; for a loss, the mean with t over subjects."""
    from scipy import special

    mean, (rows, sums) = float(table.outcome[inside].mean()), table.per_subject(inside)
    if table.is_rate:
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
        subjects = encoded.n_subjects_of(inside)
        people = _unit(encoded) if subjects != 1 else _unit(encoded).removesuffix("s")
        sentence = (
            f"{where.sentence()}: {figure(rate, encoded.kind)} against {figure(rest_rate, encoded.kind)} elsewhere, "
            f"but of {subjects} {people} only: not enough to tell the slice from them."
        )
        if rate > rest_rate:
            yield InsufficientSlice(where, rate, rest_rate, int(inside.sum()), subjects, sentence)


def _unit(encoded: Encoded) -> str:
    return "rows" if encoded.subjects is None else f"{encoded.unit}s"


def _sentence(item: SliceFinding, encoded: Encoded, n_splits: int) -> str:
    verb = "fail" if encoded.kind == "rate" else "lose on average"
    counts = f"{item.failures:,.0f} of {item.trials:,}" if encoded.kind == "rate" else f"mean of {item.trials:,}"
    rate, low, high, rest = (figure(value, encoded.kind) for value in (item.rate, item.low, item.high, item.rest_rate))
    people = "" if encoded.subjects is None else f" of {item.subjects:,} {encoded.unit}s"
    return (
        f"Where {item.where.sentence()}, {rate} {verb} ({counts} held-out rows, 95 % interval {low} to {high}), "
        f"against {rest} elsewhere; {item.support:,} rows{people} with "
        f"{100 * item.share_of_failures:.0f} % of all failures. {_stability(item, encoded, n_splits)}"
    )


def _stability(item: SliceFinding, encoded: Encoded, n_splits: int) -> str:
    holding = round(item.stability * n_splits)
    same = "It holds, to within a fifth of its rows," if holding < n_splits else "It holds"
    return (
        f"{same} in {f'{holding} of {n_splits}' if holding < n_splits else f'all {n_splits}'} splits of the "
        f"{encoded.unit}s."
    )


def _conclusion(encoded: Encoded, found: _Found, set_apart: Sequence[SetApartColumn]) -> str:
    said = _search_conclusion(encoded, found)
    return f"{said} {set_apart_words([item.column for item in set_apart])}" if set_apart else said


def _search_conclusion(encoded: Encoded, found: _Found) -> str:
    rows = f"{encoded.n_rows:,} rows"
    if encoded.subjects is not None:
        rows += f" of {encoded.n_subjects:,} {encoded.unit}{'' if encoded.n_subjects == 1 else 's'}"
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
