"""Candidate search on one half of the subjects: the best cell of the count cube, refined, set aside, and again.

A candidate is a conjunction whose own failure rate gains more log-likelihood, counted in independent rows, than the
penalty for its description. Whether it holds is tested on the other half, in `cv_quality.error_analysis.holdout`.
The penalties and limits were chosen on planted tables: what is recovered and what is false at these values is measured
by `benchmarks/slices.py` and told in `docs/failures.md`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.cube import Cube, Layout, cell_gains
from cv_quality.error_analysis.encoding import Encoded, EncodedColumn, Mask, min_rows
from cv_quality.error_analysis.halves import Codes, Flags, Floats, Half, Masks, row_numbers

MAX_CANDIDATES: Final = 25
MAX_CONDITIONS: Final = 4
MIN_LIFT: Final = 1.25
TOP_CANDIDATES: Final = 64
"""Cells whose subjects are counted before one is taken: the best by rows, whose gain by subjects is never larger."""
MAX_REFINEMENTS: Final = 8
CONDITION_PENALTY: Final = 0.6
"""Penalty of a condition, in units of the logarithm of the number of conditions that could have been named."""
VALUE_PENALTY: Final = 0.5
"""Penalty of each further value of a condition beyond the logarithm of the number to choose from, in log-likelihood."""
MAX_HETEROGENEITY: Final = 2.5
"""Values are joined while rates of their own would gain no more than this, and one more for each further value."""
MAX_PARTS: Final = 4
SPLIT_PENALTY: Final = 3.0
"""Penalty of each part beyond that of its condition: the part is the best of all that could be cut off."""
MIN_WEIGHED_GAIN, MAX_WEIGHED_GAIN = 0.5, 12.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A slice as masks of codes by column index, with the log-likelihood that it gained net of its penalty."""

    masks: Masks
    gain: float

    @property
    def weight(self) -> float:
        """Its share of the confirmation level beside other candidates: what chance finds gains little."""
        return min(max(self.gain, MIN_WEIGHED_GAIN), MAX_WEIGHED_GAIN) ** 2


def search_candidates(half: Half, encoded: Encoded, cube: Cube) -> Iterator[Candidate]:
    """Search slices one after the other, each on the rows that those before it left.

    Args:
        half, encoded: the subjects to search on, and the table whose rows they are.
        cube: the half's counts; rows that are set aside are counted off it.
    """
    left = np.ones(half.n_rows, np.bool_)
    for _ in range(MAX_CANDIDATES):
        totals, least = search_totals(half, left), min_rows(int(np.count_nonzero(left)))
        best = _Search(half, left, encoded.columns, cube.layout, totals, least).best(cube)
        if best is None:
            return
        yield best
        gone = half.inside(best.masks) & left
        removed = half.take(gone)
        cube.add(removed.codes, removed.outcome, sign=-1)
        left = left & ~gone


@dataclass(frozen=True, slots=True)
class _Search:
    """One search on the rows of a half that are left.

    Attributes:
        totals: of these rows, or of those that are parted, as `cell_gains` wants them.
        least: fewest rows of a slice.
    """

    half: Half
    left: Flags
    columns: tuple[EncodedColumn, ...]
    layout: Layout
    totals: tuple[float, float, float]
    least: int

    def best(self, cube: Cube) -> Candidate | None:
        """Find the cell that gains most once subjects, not rows, are counted, refined; None if none gains."""
        counts, sums = cube.cells()
        gains = self._gains(counts, sums) - self.layout.penalty
        near = np.flatnonzero(gains > 0)
        if len(near) > TOP_CANDIDATES:
            near = near[np.argpartition(gains[near], -TOP_CANDIDATES)[-TOP_CANDIDATES:]]
        best: Candidate | None = None
        for cell in near[np.argsort(-gains[near], kind="stable")]:
            if gains[cell] <= (best.gain if best else 0.0):
                break
            masks, penalty = self.layout.masks(int(cell)), float(self.layout.penalty[cell])
            gain = (float(gains[cell]) + penalty) / self._design_effect(masks) - penalty
            if gain > (best.gain if best else 0.0):
                best = Candidate(masks, gain)
        return self._refined(best) if best else None

    def _inside(self, masks: Masks) -> Flags:
        return self.half.inside(masks) & self.left

    def _design_effect(self, masks: Masks) -> float:
        return 1.0 if self.half.subjects is None else self.half.design_effect(self._inside(masks))

    def _gains(self, counts: Floats, sums: Floats) -> NDArray[np.float32]:
        return cell_gains(counts.ravel(), sums.ravel(), totals=self.totals, least=self.least, lift=MIN_LIFT)

    def _refined(self, candidate: Candidate) -> Candidate:
        """The candidate with one condition changed, dropped or added at a time, as long as that gains."""
        effect = self._design_effect(candidate.masks)
        best = Candidate(candidate.masks, self._net_gain(candidate.masks, effect))
        for _ in range(MAX_REFINEMENTS):
            changed = self._changed(best, effect)
            if changed is None:
                break
            best = changed
        return self._split(best, effect)

    def _split(self, parent: Candidate, effect: float) -> Candidate:
        """The first part of a slice that is better told as several, each with one condition more; else the slice.

        A conjunction that two causes share fails more than the rest, and more than either by its number of rows.
        """
        inside, parts = self._inside(parent.masks), list[Masks]()
        counts, sums, penalty = list[float](), list[float](), self._penalty(parent.masks)
        for _ in range(MAX_PARTS):
            part = self._part(parent.masks, inside)
            if part is None:
                break
            own = self.half.inside(part) & inside
            count, total = self.half.totals(own)
            counts.append(count)
            sums.append(total)
            penalty += self._penalty(part) - self._penalty(parent.masks) + SPLIT_PENALTY
            parts.append(part)
            inside &= ~own
            # What rates of their own gain over one rate for all rows.
            n, k, variance = self.totals
            gains = heterogeneity(np.array([*counts, n - sum(counts)]), np.array([*sums, k - sum(sums)]), variance)
            if len(parts) > 1 and float(gains[-1]) / effect - penalty > parent.gain:
                return Candidate(parts[0], self._net_gain(parts[0], effect))
        return parent

    def _part(self, masks: Masks, inside: Flags) -> Masks | None:
        """The condition that tells most within the rows `inside` of a slice, added to it."""
        if len(masks) == MAX_CONDITIONS or not inside.any():
            return None
        within = replace(self, left=inside, totals=search_totals(self.half, inside))
        found = within._with_condition(masks, within._others(masks), 1.0, least=-math.inf)
        return found.masks if found else None

    def _net_gain(self, masks: Masks, effect: float) -> float:
        count, total = (np.array([value]) for value in self.half.totals(self._inside(masks)))
        return float(self._gains(count, total)[0]) / effect - self._penalty(masks)

    def _changed(self, candidate: Candidate, effect: float) -> Candidate | None:
        """The candidate with the change that gains most; None if none gains."""
        masks, best, least = candidate.masks, None, candidate.gain + 1e-9
        for column in masks:
            others = {name: mask for name, mask in masks.items() if name != column}
            found = [self._with_condition(others, [column], effect, least=best.gain if best else least)]
            found += [Candidate(others, self._net_gain(others, effect))] if others else []
            for item in found:
                best = item if item and item.gain > (best.gain if best else least) else best
        if len(masks) < MAX_CONDITIONS:
            best = self._with_condition(masks, self._others(masks), effect, least=best.gain if best else least) or best
        return best

    def _others(self, masks: Masks) -> list[int]:
        return [column for column in range(len(self.columns)) if column not in masks]

    def _with_condition(
        self, others: Masks, columns: Sequence[int], effect: float, *, least: float
    ) -> Candidate | None:
        """The best condition on one of the columns, within the rows for which the others hold, if it gains more."""
        if not columns:
            return None
        rows = row_numbers(self._inside(others))
        per_code = [self.half.per_code(column, rows) for column in columns]
        reach = _most_gains(per_code, self.totals) / effect
        reach -= [self._penalty(others, with_column=column) for column in columns]
        best: Candidate | None = None
        for place in np.argsort(-reach, kind="stable"):
            if reach[place] <= (best.gain if best else least):
                break
            for item in self._conditions(others, columns[place], per_code[place], effect):
                best = item if item.gain > (best.gain if best else least) else best
        return best

    def _conditions(
        self, others: Masks, column: int, per_code: tuple[Floats, Floats], effect: float
    ) -> Iterator[Candidate]:
        """The best condition on one column, of its values and of its intervals."""
        item, step = self.columns[column], self._step(column)
        counts, sums = (found[: item.n_codes] for found in per_code)
        choices = [_joined(item, counts, sums, variance=self.totals[2])] if item.labels else []
        choices += [_intervals(item, counts, sums)] if item.is_ordered else []
        for choice in choices:
            gains = self._gains(choice.counts, choice.sums).astype(np.float64) / effect
            net = gains - self._penalty(others, with_column=column) - step * choice.extra
            if len(net) and np.isfinite(net.max()):
                top = int(np.argmax(net))
                yield Candidate({**others, column: choice.mask(top)}, float(net[top]))

    def _penalty(self, masks: Masks, with_column: int | None = None) -> float:
        columns = [*masks, *([] if with_column is None else [with_column])]
        single = [math.log(len(self.columns)) + self.layout.axis(column).penalty for column in columns]
        further = [_extra(self.columns[column], mask) * self._step(column) for column, mask in masks.items()]
        return CONDITION_PENALTY * (sum(single) - math.lgamma(len(columns) + 1)) + sum(further)

    def _step(self, column: int) -> float:
        return self.layout.axis(column).penalty + VALUE_PENALTY


def keep_homogeneous(half: Half, columns: tuple[EncodedColumn, ...], masks: Masks) -> Masks:
    """Drop joined values of a slice whose rate is clearly lower than that of the others.

    Args:
        half: the subjects on whose rows the rates are compared.
        columns, masks: of the table, and of the slice.
    """
    found = dict(masks)
    for column in masks:
        held = np.flatnonzero(masks[column][: len(columns[column].labels)])
        if len(held) < 2 or not columns[column].labels:
            continue
        rows = half.rows({name: mask for name, mask in found.items() if name != column})
        counts, sums = (per_code[held] for per_code in half.per_code(column, rows))
        order = np.argsort(-sums / np.maximum(counts, 1), kind="stable")
        variance = search_totals(half, np.ones(half.n_rows, np.bool_))[2]
        unlike = heterogeneity(counts[order], sums[order], variance) > MAX_HETEROGENEITY + np.arange(len(held))
        mask = masks[column].copy()
        mask[held[order[int(np.argmax(unlike)) :]]] = not unlike.any()
        found[column] = mask
    return found


def outcome_totals(outcome: Floats, *, is_rate: bool) -> tuple[float, float, float]:
    """Sum up an outcome for `cell_gains`: rows, failures (or loss), and the variance of a loss, -1 for a rate."""
    return float(len(outcome)), float(outcome.sum()), -1.0 if is_rate else float(outcome.var())


def search_totals(half: Half, rows: Flags) -> tuple[float, float, float]:
    """Sum up some rows for `cell_gains`; see `outcome_totals`."""
    return *half.totals(rows), -1.0 if half.is_rate else half.variance(rows)


def log_likelihood_gain(half: Half, inside: Flags, among: Flags) -> float:
    """Compute the log-likelihood that rows gain by a rate of their own; -inf where they fail no more than the others.

    Args:
        half: the table, or the half of it, that the rows are of.
        inside, among: the rows with the rate of their own, and the rows that are looked at.
    """
    count, total = (np.array([value]) for value in half.totals(inside & among))
    return float(cell_gains(count, total, totals=search_totals(half, among), least=1, lift=1.0)[0])


@dataclass(frozen=True, slots=True)
class _Choice:
    """Conditions on one column to choose from: rows and failures of each, and how often its penalty is added.

    Attributes:
        low, high: first and last code of each condition in `order`.
    """

    order: Codes
    low: Codes
    high: Codes
    counts: Floats
    sums: Floats
    extra: Floats

    def mask(self, index: int) -> Mask:
        mask = np.zeros(256, np.bool_)
        mask[self.order[self.low[index] : self.high[index] + 1]] = True
        return mask


def _choice(order: Codes, low: Codes, high: Codes, counts: Floats, sums: Floats, extra: Floats) -> _Choice:
    """Sums over runs of codes, by differences of running sums."""
    below = [np.concatenate([[0.0], np.cumsum(item[order])]) for item in (counts, sums)]
    n, k = (item[high + 1] - item[low] for item in below)
    return _Choice(order, low, high, n, k, extra)


def _most_gains(per_code: Sequence[tuple[Floats, Floats]], totals: tuple[float, float, float]) -> Floats:
    """A bound on what a condition on each column can gain: what a rate of its own for every code gains.

    Args:
        per_code: rows and failures (or loss) of every code of each column.
        totals: of these rows and the others, as `cell_gains` wants them.
    """
    n, k, variance = totals
    counts, sums = (np.array(items) for items in zip(*per_code, strict=True))
    counts, sums = (np.column_stack([items, whole - items.sum(axis=1)]) for items, whole in ((counts, n), (sums, k)))
    if variance < 0:
        gains = _log_likelihood(counts, sums).sum(axis=1) - _log_likelihood(np.array(n), np.array(k))
    else:
        squares = (sums**2 / np.maximum(counts, 1)).sum(axis=1) - k**2 / max(n, 1)
        gains = squares / (2 * variance) if variance > 0 else np.zeros(len(counts))
    # The gains themselves are rounded to single precision.
    return np.asarray(gains + 1e-6 * np.abs(gains) + 1e-6, np.float64)


def _joined(column: EncodedColumn, counts: Floats, sums: Floats, *, variance: float) -> _Choice:
    """Each value alone, and values of one rate joined from the worst down."""
    n_named = len(column.labels)
    named = np.flatnonzero(counts[:n_named] > 0)
    if n_named and column.missing is not None and counts[column.missing] > 0:
        named = np.append(named, column.missing)
    order = named[np.argsort(-sums[named] / np.maximum(counts[named], 1), kind="stable")]
    single = np.arange(len(order))
    joined = np.arange(1, max(len(order) - 1, 1))
    joined = joined[heterogeneity(counts[order], sums[order], variance)[joined] <= MAX_HETEROGENEITY + joined]
    low, high = np.concatenate([single, np.zeros_like(joined)]), np.concatenate([single, joined])
    return _choice(order, low, high, counts, sums, (high - low).astype(np.float64))


def heterogeneity(counts: Floats, sums: Floats, variance: float) -> Floats:
    """Compute the log-likelihood that rates of their own gain over one rate, for the first 1, 2, ... values.

    Args:
        counts, sums: rows and failures (or loss) of each value.
        variance: of a loss; below 0 for a rate.
    """
    n, k = np.cumsum(counts), np.cumsum(sums)
    if variance >= 0:
        squares = np.cumsum(sums**2 / np.maximum(counts, 1)) - k**2 / np.maximum(n, 1)
        return np.asarray(squares / (2 * variance), np.float64) if variance > 0 else np.zeros(len(n))
    return np.cumsum(_log_likelihood(counts, sums)) - _log_likelihood(n, k)


def _log_likelihood(n: Floats, k: Floats) -> Floats:
    from scipy import special

    n = np.maximum(n, 1.0)
    return np.asarray(special.xlogy(k, k / n) + special.xlogy(n - k, 1 - k / n), np.float64)


def _intervals(column: EncodedColumn, counts: Floats, sums: Floats) -> _Choice:
    """Thresholds on both sides at every edge, intervals between two of them, and missing alone."""
    last = len(column.edges)
    order = np.arange(last + 1)
    low, high = np.triu_indices(last + 1)
    is_part = (low > 0) | (high < last)
    low, high = low[is_part], high[is_part]
    extra = ((low > 0) & (high < last)).astype(np.float64)
    if column.missing is not None:
        order = np.append(order, column.missing)
        low, high, extra = np.append(low, last + 1), np.append(high, last + 1), np.append(extra, 0.0)
    return _choice(order, low, high, counts, sums, extra)


def _extra(column: EncodedColumn, mask: Mask) -> float:
    """How often the penalty of a condition is added: for each further value, or for a second bound."""
    if not column.is_ordered:
        return float(mask.sum() - 1)
    held = np.flatnonzero(mask[: len(column.edges) + 1])
    if column.labels and len(held) > 1 and len(held) <= held[-1] - held[0]:
        return float(mask.sum() - 1)
    return float(len(held) > 0 and held[0] > 0 and held[-1] < len(column.edges))
