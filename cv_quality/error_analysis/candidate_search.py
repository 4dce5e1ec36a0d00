"""Which slices one half of the subjects proposes: the best cell of the count cube, refined, set aside, and again.

A proposal is a conjunction whose own failure rate gains more log-likelihood than its description costs, counted in
independent rows. Whether it holds is for the other half of the subjects, in `cv_quality.error_analysis.holdout_test`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.cube import Cube, Layout, cell_gains
from cv_quality.error_analysis.encoding import Bytes, Column, Encoded, Mask, least_rows

MOST_PROPOSALS: Final = 25
MOST_CONDITIONS: Final = 4
LEAST_LIFT: Final = 1.25
THRIFT: Final = 0.6
"""Price of a condition, in units of the logarithm of the number of conditions that could have been named."""
LOOKED_AT: Final = 64
"""Cells whose subjects are looked at before one is taken: the best by rows, whose gain by subjects is never larger."""
ROUNDS: Final = 8
JOINING: Final = 0.5
"""Price of each further value of a condition beyond the logarithm of the number to choose from, in log-likelihood."""

UNLIKE: Final = 2.5
"""Values are joined while rates of their own would gain no more than this, and one more for each further value."""

MOST_PARTS: Final = 4
SPLITTING: Final = 3.0
"""Price of each part beyond that of its condition: the part is the best of all that could be cut off."""

LEAST_WEIGHED, MOST_WEIGHED = 0.5, 12.0

Masks = dict[int, Mask]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Half:
    """The rows of some subjects.

    Attributes:
        codes: uint8 (columns, rows).
        outcome: float64 (rows,).
        subjects: int64 (rows,); None where every row stands for itself.
        n_subjects: of the whole table.
    """

    codes: Bytes
    outcome: Floats
    subjects: NDArray[np.int64] | None
    n_subjects: int
    is_rate: bool

    @property
    def n_rows(self) -> int:
        return len(self.outcome)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Half":
        subjects = None if self.subjects is None else self.subjects[rows]
        return replace(self, codes=self.codes[:, rows], outcome=self.outcome[rows], subjects=subjects)

    def per_subject(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Rows and failures (or loss) of each subject that has any among `rows`."""
        outcome = self.outcome[rows]
        if self.subjects is None:
            return np.ones(len(outcome)), outcome
        subjects = self.subjects[rows]
        counts = np.bincount(subjects, minlength=self.n_subjects).astype(np.float64)
        sums = np.bincount(subjects, weights=outcome, minlength=self.n_subjects).astype(np.float64)
        known = counts > 0
        return counts[known], sums[known]

    def inflation(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> float:
        """The design effect of the mean over `rows`; see the function."""
        if self.subjects is None:
            return 1.0
        counts, sums = self.per_subject(rows)
        return inflation(counts, sums, variance=float(self.outcome[rows].var()) if len(counts) else 0.0)

    def rows(self, masks: Mapping[int, Mask]) -> NDArray[np.int64]:
        """The rows for which every condition holds."""
        found = np.arange(self.n_rows) if not masks else None
        for column, mask in masks.items():
            if found is None:
                found = np.flatnonzero(mask[self.codes[column]])
            else:
                found = found[mask[self.codes[column, found]]]
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Proposal:
    """A slice as masks of codes by column index, with the log-likelihood that it gained net of its price."""

    masks: Masks
    gain: float

    @property
    def weight(self) -> float:
        """The share of the level at which it is tested, beside others: what chance proposes gains little."""
        return min(max(self.gain, LEAST_WEIGHED), MOST_WEIGHED) ** 2


def half_of(encoded: Encoded, rows: NDArray[np.bool_]) -> Half:
    subjects = None if encoded.subjects is None else encoded.subjects[rows]
    codes = np.empty((len(encoded.columns), int(rows.sum())), np.uint8)
    for index, column in enumerate(encoded.columns):
        codes[index] = column.codes[rows]
    return Half(codes, encoded.outcome[rows], subjects, encoded.n_subjects, encoded.kind == "rate")


def propose(half: Half, encoded: Encoded, layout: Layout, *, threads: int) -> Iterator[Proposal]:
    """Slices in the order in which they were found, each on the rows that those before it left."""
    cube = Cube(layout, threads=threads)
    cube.add(half.codes, half.outcome, is_rate=half.is_rate)
    for _ in range(MOST_PROPOSALS):
        search = _Search(half, encoded.columns, layout, totals(half.outcome, is_rate=half.is_rate))
        best = search.best(cube)
        if best is None:
            return
        yield best
        gone = np.zeros(half.n_rows, np.bool_)
        gone[half.rows(best.masks)] = True
        removed = half.take(gone)
        cube.add(removed.codes, removed.outcome, is_rate=half.is_rate, sign=-1)
        half = half.take(~gone)


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for one proposal on the rows that are left."""

    half: Half
    columns: tuple[Column, ...]
    layout: Layout
    totals: tuple[float, float, float]

    def best(self, cube: Cube) -> Proposal | None:
        """The cell that gains most once subjects, not rows, are counted, refined; None if none gains."""
        counts, sums = cube.cells()
        gains = self._gains(counts, sums) - self.layout.price
        near = np.flatnonzero(gains > 0)
        if len(near) > LOOKED_AT:
            near = near[np.argpartition(gains[near], -LOOKED_AT)[-LOOKED_AT:]]
        best: Proposal | None = None
        for cell in near[np.argsort(-gains[near], kind="stable")]:
            if gains[cell] <= (best.gain if best else 0.0):
                break
            masks = self.layout.masks(int(cell))
            price = float(self.layout.price[cell])
            gain = (float(gains[cell]) + price) / self.half.inflation(self.half.rows(masks)) - price
            if gain > (best.gain if best else 0.0):
                best = Proposal(masks, gain)
        return self._refined(best) if best else None

    def _gains(self, counts: Floats, sums: Floats) -> NDArray[np.float32]:
        least = least_rows(self.half.n_rows)
        return cell_gains(counts.ravel(), sums.ravel(), totals=self.totals, least=least, lift=LEAST_LIFT)

    def _refined(self, proposal: Proposal) -> Proposal:
        """The proposal with one condition changed, dropped or added at a time, as long as that gains."""
        inflation = self.half.inflation(self.half.rows(proposal.masks))
        gain = self._worth(proposal.masks, inflation)
        best = Proposal(proposal.masks, gain)
        for _ in range(ROUNDS):
            changed = max(self._changes(best.masks, inflation), key=lambda item: item.gain, default=best)
            if changed.gain <= best.gain + 1e-9:
                break
            best = changed
        return self._split(best, inflation)

    def _split(self, parent: Proposal, inflation: float) -> Proposal:
        """The first part of a slice that is better told as several, each with one condition more; else the slice.

        A conjunction that two causes share fails more than the rest, and more than either by its number of rows.
        """
        rows, parts = self.half.rows(parent.masks), list[Masks]()
        counts, sums, price = list[float](), list[float](), self._price(parent.masks)
        for _ in range(MOST_PARTS):
            part = self._part(parent.masks, rows)
            if part is None:
                break
            inside = np.isin(rows, self.half.rows(part), assume_unique=True)
            counts.append(float(inside.sum()))
            sums.append(float(self.half.outcome[rows[inside]].sum()))
            price += self._price(part) - self._price(parent.masks) + SPLITTING
            parts.append(part)
            rows = rows[~inside]
            worth = self._gain_of_parts(np.array(counts), np.array(sums)) / inflation - price
            if len(parts) > 1 and worth > parent.gain:
                return Proposal(parts[0], self._worth(parts[0], inflation))
        return parent

    def _part(self, masks: Masks, rows: NDArray[np.int64]) -> Masks | None:
        """The condition that tells most within `rows` of a slice, added to it."""
        if len(masks) == MOST_CONDITIONS or not len(rows):
            return None
        within = replace(self, totals=totals(self.half.outcome[rows], is_rate=self.half.is_rate))
        others = [column for column in range(len(self.columns)) if column not in masks]
        found = [item for column in others for item in within._with_condition(masks, column, rows, 1.0)]
        return max(found, key=lambda item: item.gain).masks if found else None

    def _gain_of_parts(self, counts: Floats, sums: Floats) -> float:
        """What rates of their own gain for disjoint slices, over one rate for all rows."""
        n, k, variance = self.totals
        rest = np.append(counts, n - counts.sum()), np.append(sums, k - sums.sum())
        return float(unlikeness(*rest, variance)[-1])

    def _worth(self, masks: Masks, inflation: float) -> float:
        rows = self.half.rows(masks)
        count, total = np.array([float(len(rows))]), np.array([self.half.outcome[rows].sum()])
        return float(self._gains(count, total)[0]) / inflation - self._price(masks)

    def _changes(self, masks: Masks, inflation: float) -> Iterator[Proposal]:
        for column in masks:
            others = {name: mask for name, mask in masks.items() if name != column}
            yield from self._with_condition(others, column, self.half.rows(others), inflation)
            if others:
                yield Proposal(others, self._worth(others, inflation))
        if len(masks) < MOST_CONDITIONS:
            rows = self.half.rows(masks)
            for column in range(len(self.columns)):
                if column not in masks:
                    yield from self._with_condition(masks, column, rows, inflation)

    def _with_condition(
        self, others: Masks, column: int, rows: NDArray[np.int64], inflation: float
    ) -> Iterator[Proposal]:
        """The best condition on one column, within the rows for which the others hold."""
        item, step = self.columns[column], self._step(column)
        codes = self.half.codes[column, rows]
        counts = np.bincount(codes, minlength=item.n_codes).astype(np.float64)
        sums = np.bincount(codes, weights=self.half.outcome[rows], minlength=item.n_codes).astype(np.float64)
        for choice in _choices(item, counts, sums, variance=self.totals[2]):
            gains = self._gains(choice.counts, choice.sums).astype(np.float64) / inflation
            worth = gains - self._price(others, with_column=column) - step * choice.extra
            if len(worth) and np.isfinite(worth.max()):
                top = int(np.argmax(worth))
                yield Proposal({**others, column: choice.mask(top)}, float(worth[top]))

    def _price(self, masks: Masks, with_column: int | None = None) -> float:
        columns = [*masks, *([] if with_column is None else [with_column])]
        single = [math.log(len(self.columns)) + self.layout.axis(column).price for column in columns]
        further = [_extra(self.columns[column], mask) * self._step(column) for column, mask in masks.items()]
        return THRIFT * (sum(single) - math.lgamma(len(columns) + 1)) + sum(further)

    def _step(self, column: int) -> float:
        return self.layout.axis(column).price + JOINING


def alike(half: Half, columns: tuple[Column, ...], masks: Masks) -> Masks:
    """The slice without joined values whose rate is clearly lower than that of the others."""
    found = dict(masks)
    for column in masks:
        held = np.flatnonzero(masks[column][: len(columns[column].labels)])
        if len(held) < 2 or not columns[column].labels:
            continue
        rows = half.rows({name: mask for name, mask in found.items() if name != column})
        codes = half.codes[column, rows]
        counts = np.bincount(codes, minlength=256)[held].astype(np.float64)
        sums = np.bincount(codes, weights=half.outcome[rows], minlength=256)[held].astype(np.float64)
        order = np.argsort(-sums / np.maximum(counts, 1), kind="stable")
        variance = totals(half.outcome, is_rate=half.is_rate)[2]
        unlike = unlikeness(counts[order], sums[order], variance) > UNLIKE + np.arange(len(held))
        mask = masks[column].copy()
        mask[held[order[int(np.argmax(unlike)) :]]] = not unlike.any()
        found[column] = mask
    return found


def totals(outcome: Floats, *, is_rate: bool) -> tuple[float, float, float]:
    """Rows, failures (or loss), and the variance of a loss, as `cell_gains` wants them."""
    return float(len(outcome)), float(outcome.sum()), -1.0 if is_rate else float(outcome.var())


def gain_of(outcome: Floats, inside: NDArray[np.bool_], among: NDArray[np.bool_], *, is_rate: bool) -> float:
    """The log-likelihood that `inside` gains by a rate of its own among the rows `among`; -inf where it is no worse."""
    own, known = outcome[inside & among], outcome[among]
    count, total = np.array([float(len(own))]), np.array([own.sum()])
    return float(cell_gains(count, total, totals=totals(known, is_rate=is_rate), least=1, lift=1.0)[0])


def inflation(counts: Floats, sums: Floats, *, variance: float) -> float:
    """How many times the variance of a mean over rows clustered by subject is that of independent rows; at least 1.

    The variance of the ratio over subjects, sum((k_i - p n_i)^2) G / (G - 1) / n^2, over that of independent rows,
    `variance` / n. Given are each subject's rows n_i and failures (or loss) k_i.
    """
    n, clusters = float(counts.sum()), len(counts)
    if clusters < 2 or clusters == n or variance <= 0:
        return 1.0
    deviations = sums - float(sums.sum()) / n * counts
    return max(1.0, float(deviations @ deviations) * clusters / (clusters - 1) / (n * variance))


@dataclass(frozen=True, slots=True)
class _Choice:
    """Conditions on one column to choose from: rows and failures of each, and how often its price is to be paid again.

    Attributes:
        low, high: first and last code of each condition in `order`.
    """

    order: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    counts: Floats
    sums: Floats
    extra: Floats

    def mask(self, index: int) -> Mask:
        mask = np.zeros(256, np.bool_)
        mask[self.order[self.low[index] : self.high[index] + 1]] = True
        return mask


def _choices(column: Column, counts: Floats, sums: Floats, *, variance: float) -> Iterator[_Choice]:
    """Values where the column has few, thresholds where it is of numbers."""
    if column.labels:
        yield _joined(column, counts, sums, variance=variance)
    if column.is_ordered:
        yield _intervals(column, counts, sums)


def _choice(
    order: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    counts: Floats,
    sums: Floats,
    extra: Floats,
) -> _Choice:
    """Sums over runs of codes, by differences of running sums."""
    below_counts, below_sums = (np.concatenate([[0.0], np.cumsum(item[order])]) for item in (counts, sums))
    return _Choice(
        order, low, high, below_counts[high + 1] - below_counts[low], below_sums[high + 1] - below_sums[low], extra
    )


def _joined(column: Column, counts: Floats, sums: Floats, *, variance: float) -> _Choice:
    """Each value alone, and values of one rate joined from the worst down."""
    n_named = len(column.labels)
    named = np.flatnonzero(counts[:n_named] > 0)
    if n_named and column.missing is not None and counts[column.missing] > 0:
        named = np.append(named, column.missing)
    order = named[np.argsort(-sums[named] / np.maximum(counts[named], 1), kind="stable")]
    single = np.arange(len(order))
    joined = np.arange(1, max(len(order) - 1, 1))
    joined = joined[unlikeness(counts[order], sums[order], variance)[joined] <= UNLIKE + joined]
    low, high = np.concatenate([single, np.zeros_like(joined)]), np.concatenate([single, joined])
    return _choice(order, low, high, counts, sums, (high - low).astype(np.float64))


def unlikeness(counts: Floats, sums: Floats, variance: float) -> Floats:
    """The log-likelihood that rates of their own gain over one rate for the first 1, 2, ... values."""
    n, k = np.cumsum(counts), np.cumsum(sums)
    if variance >= 0:
        squares = np.cumsum(sums**2 / counts) - k**2 / n
        return np.asarray(squares / (2 * variance), np.float64) if variance > 0 else np.zeros(len(n))
    return np.cumsum(_log_likelihood(counts, sums)) - _log_likelihood(n, k)


def _log_likelihood(n: Floats, k: Floats) -> Floats:
    from scipy import special

    n = np.maximum(n, 1.0)
    return np.asarray(special.xlogy(k, k / n) + special.xlogy(n - k, 1 - k / n), np.float64)


def _intervals(column: Column, counts: Floats, sums: Floats) -> _Choice:
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


def _extra(column: Column, mask: Mask) -> float:
    """How often the price of a condition is paid again: for each further value, or for a second bound."""
    if not column.is_ordered:
        return float(mask.sum() - 1)
    held = np.flatnonzero(mask[: len(column.edges) + 1])
    if column.labels and len(held) > 1 and len(held) <= held[-1] - held[0]:
        return float(mask.sum() - 1)
    return float(len(held) > 0 and held[0] > 0 and held[-1] < len(column.edges))
