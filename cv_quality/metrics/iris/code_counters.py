"""Counting one tile of pairs of iris codes: their scores, those of every odd number of shifts, or sums of distances.

The public counts are in `cv_quality.metrics.iris.counting` and `spread`; tiles are handed out by
`cv_quality.metrics.pair_engine`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.iris.codes import Codes
from cv_quality.metrics.iris.hamming import compare
from cv_quality.metrics.iris.hamming_kernels import (
    INCOMPARABLE,
    OUT,
    Bins,
    BitRule,
    add_distances,
    count_scores,
    rotate_rows,
    score_tile,
)
from cv_quality.metrics.iris.popcount import LANES, LINE, ROWS, compiled_bits
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.pair_counters import NOTHING, Counter, Found
from cv_quality.metrics.pair_kernels import Pairing
from cv_quality.metrics.score_bins import BINS, ScoreScale

TILE = (256, 64)
"""Rows and columns at once: columns at all rotations take 8 MB a thread at 16,384 bits and 31 shifts."""
Reals = NDArray[np.float64]
Order = NDArray[np.int64] | None
Fuse = Callable[[Reals], Reals]
"""Makes one oriented score of those of both eyes, shape (2, ...)."""
Kept = Literal["scores", "shifts", "sums"]


def scale_of(rule: HammingRule) -> ScoreScale:
    """The bins of a rule's oriented scores."""
    low, high = rule.score_range
    return ScoreScale(0.0 - high, 0.0 - low)


@dataclass(frozen=True, slots=True)
class CodePairs:
    """Oriented scores of listed pairs of templates or captures; see `cv_quality.metrics.pair_counters.Exact`.

    Attributes:
        eyes: references and probes, once for each eye that is compared.
        orders: row i of the pairing is template order[i]; None when they are in order.
        rule: how two eyes are compared.
        fuse: None where one eye is compared.
    """

    eyes: tuple[tuple[Codes, Codes], ...]
    orders: tuple[Order, Order]
    rule: HammingRule
    fuse: Fuse | None = None

    def exact(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Reals:
        """The negative distance of each pair."""
        left, right = (
            places if order is None else order[places]
            for places, order in zip((rows, columns), self.orders, strict=True)
        )
        return self.fused(np.stack([0.0 - compare(*eye, (left, right), self.rule).hd_norm for eye in self.eyes]))

    close = exact

    def fused(self, scores: Reals) -> Reals:
        """One score a pair, from those of its eyes, shape (eyes, ...)."""
        return scores[0] if self.fuse is None else self.fuse(scores)


@dataclass(frozen=True, slots=True)
class CodeCounting:
    """What the threads of one count of codes share; see `cv_quality.metrics.pair_counters.Counting`.

    Attributes:
        pairs: what is compared, and how.
        pairing: which pairs count.
        rows: the references of each eye in the order of the pairing, and zeros up to a multiple of ROWS.
        kept: scores; scores for every odd number of shifts; or sums of distances for each subject.
        threshold: oriented; where scores are kept, the pairs at or above it are counted.
    """

    pairs: CodePairs
    pairing: Pairing
    rows: tuple[Codes, ...]
    kept: Kept = "scores"
    threshold: float | None = None
    tile: tuple[int, int] = TILE
    is_threaded: bool = True

    @classmethod
    def of(
        cls,
        pairs: CodePairs,
        pairing: Pairing,
        *,
        kept: Kept = "scores",
        threshold: float | None = None,
    ) -> "CodeCounting":
        """Prepare the references.

        Args:
            pairs, pairing, kept, threshold: as the attributes.
        """
        rows = tuple(_filled(_in_order(eye[0], pairs.orders[0]), ROWS) for eye in pairs.eyes)
        return cls(pairs, pairing, rows, kept, threshold)

    def counter(self) -> Counter:
        """A counter for one more thread."""
        if self.kept == "scores":
            return _ScoreCounter(self)
        return _ShiftCounter(self) if self.kept == "shifts" else _SumCounter(self)


class _TileScores:
    """Scores tiles for one thread, in memory of its own; columns stay laid out while tiles have the same ones."""

    steps = 1

    def __init__(self, shared: CodeCounting) -> None:
        rule, eyes = shared.pairs.rule, len(shared.rows)
        self.shared = shared
        self.rule = BitRule.of(rule)
        self.column = -1
        self.columns = _aligned((eyes, shared.tile[1] // LANES, rule.shifts, rule.words, 2, LANES))
        self.scores = np.zeros((eyes, self.steps, *shared.tile))

    def score(self, row: int, column: int) -> Reals:
        """Score the tile that begins here, shape (steps, rows, columns); valid until the next call."""
        pairs, starts = self.shared.pairs, self.shared.pairing.starts
        if column != self.column:
            self.column, part = column, slice(column, column + self.shared.tile[1])
            places = part if pairs.orders[1] is None else pairs.orders[1][part]
            for (_, templates), columns in zip(pairs.eyes, self.columns, strict=True):
                _lay(templates[places], self.rule, columns)
        for rows, columns, scores in zip(self.shared.rows, self.columns, self.scores, strict=True):
            compiled_bits(score_tile)(rows, columns, row, column, starts, self.rule, scores)
        return pairs.fused(self.scores)


class _ScoreCounter(_TileScores, Counter):
    def __init__(self, shared: CodeCounting) -> None:
        super().__init__(shared)
        self.counts = np.zeros(OUT, np.int64)
        self.matched = np.zeros(shared.pairing.offsets.size - 1, np.int64)
        self.places = np.empty((2, math.prod(shared.tile)), np.int32)

    def count(self, row: int, column: int, *, floor: float) -> Found:
        scores, shared = self.score(row, column)[0], self.shared
        limits = (floor, math.nan if shared.threshold is None else shared.threshold)
        bins, counts = _bins(scale_of(shared.pairs.rule)), (self.counts, self.matched, self.places)
        n = compiled_bits(count_scores)(scores, row, column, shared.pairing, bins, limits, *counts)
        if n == 0:
            return NOTHING
        rows, columns = self.places[:, :n].astype(np.int64)
        return Found(rows, columns, scores[rows - row, columns - column])

    def histogram(self) -> NDArray[np.int64]:
        return self.counts[:BINS]

    def matches(self) -> NDArray[np.int64] | None:
        return None if self.shared.threshold is None else self.matched

    def incomparable(self) -> int:
        return int(self.counts[INCOMPARABLE])


class _ShiftCounter(_TileScores, Counter):
    def __init__(self, shared: CodeCounting) -> None:
        self.steps = shared.pairs.rule.shifts // 2 + 1
        super().__init__(shared)
        self.counts = np.zeros((self.steps, OUT), np.int64)
        self.unused = np.zeros(shared.pairing.offsets.size - 1, np.int64), np.empty((2, 0), np.int32)

    def count(self, row: int, column: int, *, floor: float) -> Found:  # noqa: ARG002 - no tail is kept
        bins, limits = _bins(scale_of(self.shared.pairs.rule)), (math.inf, math.nan)
        for scores, counts in zip(self.score(row, column), self.counts, strict=True):
            compiled_bits(count_scores)(scores, row, column, self.shared.pairing, bins, limits, counts, *self.unused)
        return NOTHING

    def histogram(self) -> NDArray[np.int64]:
        return self.counts[:, :BINS]


class _SumCounter(_TileScores, Counter):
    def __init__(self, shared: CodeCounting) -> None:
        super().__init__(shared)
        self.sums = np.zeros((shared.pairing.offsets.size - 1, 3), np.int64)

    def count(self, row: int, column: int, *, floor: float) -> Found:  # noqa: ARG002 - no tail is kept
        scores = self.score(row, column)[0]
        compiled_bits(add_distances)(scores, row, column, self.shared.pairing, self.sums)
        return NOTHING

    def histogram(self) -> NDArray[np.int64]:
        return self.sums


def _bins(scale: ScoreScale) -> Bins:
    return Bins((scale.low + scale.high) / 2, (scale.high - scale.low) / 2, math.isfinite(scale.low))


def _in_order(templates: Codes, order: Order) -> Codes:
    """The templates in that order; without a copy where they are in it."""
    is_given = order is None or np.array_equal(order, np.arange(len(templates)))
    return templates if is_given else templates[order]


def _filled(templates: Codes, step: int) -> Codes:
    """The templates, and zeros up to a multiple of `step`; without a copy where none are missing."""
    missing = -len(templates) % step
    filling = np.zeros((missing, *templates.shape[1:]), np.uint64)
    return templates if missing == 0 else np.concatenate([templates, filling])


def _lay(templates: Codes, rule: BitRule, columns: Codes) -> None:
    """Lay templates out at all rotations, as `score_tile` takes its columns; zeros where there are fewer."""
    whole = np.zeros((columns.shape[0] * LANES, 2, rule.words), np.uint64)
    whole[: len(templates)] = templates
    turned = np.empty_like(whole)
    for place, turn in enumerate(rule.turns.tolist()):
        compiled_bits(rotate_rows)(whole.reshape(-1, rule.words), turned.reshape(-1, rule.words), turn, rule.bits)
        columns[:, place] = turned.reshape(-1, LANES, 2, rule.words).transpose(0, 3, 2, 1)


def _aligned(shape: tuple[int, ...]) -> Codes:
    """Memory that begins at a multiple of LINE bytes."""
    size = math.prod(shape)
    spare = np.empty(size + LINE // 8, np.uint64)
    begin = -spare.ctypes.data % LINE // 8
    return spare[begin : begin + size].reshape(shape)
