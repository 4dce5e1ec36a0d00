"""Counts of all pairs of iris codes: exact by bin, with an exact tail; for every number of rotations, or two eyes.

What a count is, is told in `cv_quality.metrics.pairs`; scores are oriented, minus the distance, higher more alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.iris.codes import Codes, check_templates
from cv_quality.metrics.iris.hamming import compare, turns_of
from cv_quality.metrics.iris.rules import NORMS, HammingRule
from cv_quality.metrics.pair_counters import Counter, Found, ScoredPairs
from cv_quality.metrics.pair_engine import tally
from cv_quality.metrics.pairs import (
    KEEP_ALL_PAIRS,
    KEEP_PAIRS,
    PairCounts,
    Rows,
    Side,
    TemplateArray,
    block_counts,
    kept_pairs,
    paired,
)
from cv_quality.metrics.products import Tile
from cv_quality.metrics.score_bins import BINS, ScoreScale

if TYPE_CHECKING:
    from cv_quality.metrics.pair_kernels import Pairing

TILE: Tile = (64, 512)
"""Rows and columns that are counted at once: the rows, in all their rotations, stay near the processor."""
Fusion = Literal["minimum", "maximum", "mean"]
FUSIONS: tuple[Fusion, ...] = ("minimum", "maximum", "mean")
"""Of the distances of two eyes: the smaller one accepts where either eye does (OR), the larger where both do (AND)."""
Reals = NDArray[np.float64]
Fuse = Callable[[Reals], Reals]
"""Makes one score of those of several instances, shape (instances, ...)."""


def count_codes(
    references: Side,
    probes: Side,
    *,
    rule: HammingRule,
    threshold: float | None = None,
    keep_all: int = KEEP_ALL_PAIRS,
    keep: int = KEEP_PAIRS,
    threads: int | None = None,
) -> PairCounts:
    """Count the pairs of different subjects between two sides of iris codes.

    Every score is bit for bit that of `compare`; a pair that cannot be compared is in `n_incomparable`.

    Args:
        references, probes: templates, uint64, shape (n, 2, words).
        rule: how they are compared.
        threshold, keep_all, keep, threads: as of `count_block`; the threshold is oriented.

    Raises:
        MetricError: the templates are no codes of the rule's bits, or subjects or ranks do not fit.
    """
    if len(references) == 0 or len(probes) == 0:
        return PairCounts.empty(scale_of(rule))
    sides = [
        [check_templates(side.vectors, rule, name=name)]
        for side, name in ((references, "references"), (probes, "probes"))
    ]
    wanted = {"keep_all": keep_all, "keep": keep}
    return _counted(references, probes, sides, CodeScores(rule), threshold=threshold, wanted=wanted, threads=threads)


def count_fused(
    references: Side,
    probes: Side,
    *,
    rule: HammingRule,
    fusion: Fusion,
    threshold: float | None = None,
    keep_all: int = KEEP_ALL_PAIRS,
    keep: int = KEEP_PAIRS,
    threads: int | None = None,
) -> PairCounts:
    """Count the pairs of different subjects between two sides of captures, each of both eyes.

    Where one eye cannot be compared, "minimum" and "mean" take the other, and "maximum" has no score.

    Args:
        references, probes: templates of captures, uint64, shape (n, 2, 2, words): left eye, right eye.
        rule: how two eyes are compared.
        fusion: of the distances of the left and the right eyes.
        threshold, keep_all, keep, threads: as of `count_block`; the threshold is oriented.

    Raises:
        MetricError: the templates are no codes of the rule's bits, or subjects or ranks do not fit.
    """
    if len(references) == 0 or len(probes) == 0:
        return PairCounts.empty(scale_of(rule))
    sides = [
        [check_templates(side.vectors[:, eye], rule, name=name) for eye in (0, 1)]
        for side, name in ((references, "references"), (probes, "probes"))
    ]
    wanted, scores = {"keep_all": keep_all, "keep": keep}, CodeScores(rule, fuse_by(fusion))
    return _counted(references, probes, sides, scores, threshold=threshold, wanted=wanted, threads=threads)


def fuse_by(fusion: Fusion) -> Fuse:
    """Choose how the oriented scores of two eyes, shape (2, ...), become one.

    Raises:
        MetricError: there is no such fusion.
    """
    if fusion == "minimum":
        return lambda scores: np.fmax(scores[0], scores[1])
    if fusion == "maximum":
        return lambda scores: np.minimum(scores[0], scores[1])
    if fusion == "mean":
        return lambda scores: np.where(
            np.isnan(scores).any(axis=0), np.fmax(scores[0], scores[1]), (scores[0] + scores[1]) / 2
        )
    raise MetricError(f"expected a fusion of {', '.join(FUSIONS)}, found {fusion!r}")


def shift_curves(references: Side, probes: Side, *, rule: HammingRule) -> NDArray[np.int64]:
    """Count the pairs of different subjects by score after 1, 3, 5, ... rotations, in one pass.

    Args:
        references, probes: templates, uint64, shape (n, 2, words).
        rule: with the most rotations.

    Returns:
        Histograms on `scale_of`, shape ((shifts + 1) / 2, BINS); the last is that of `count_codes`.

    Raises:
        MetricError: the templates are no codes of the rule's bits, or subjects or ranks do not fit.
    """
    n_curves = (rule.shifts + 1) // 2
    if len(references) == 0 or len(probes) == 0:
        return np.zeros((n_curves, BINS), np.int64)
    sides = [
        [check_templates(side.vectors, rule, name=name)]
        for side, name in ((references, "references"), (probes, "probes"))
    ]
    block = paired(references, probes)
    counting = CodeCounting(CodeScores(rule), *_in_order(sides, block.orders), block.pairing, None)
    tiles = _Tiles(counting, n_curves)
    counters = [_CodeCounter(counting) for _ in range(n_curves)]
    for column in range(0, block.pairing.column_codes.size, TILE[1]):
        for row in range(0, block.pairing.row_codes.size, TILE[0]):
            for counter, scores in zip(counters, tiles.scores(row, column), strict=True):
                counter.add(scores, row, column, floor=np.inf)
    return np.stack([counter.total for counter in counters])


def scale_of(rule: HammingRule) -> ScoreScale:
    """The bins of a rule's oriented scores."""
    low, high = rule.score_range
    return ScoreScale(0.0 - high, 0.0 - low)


@dataclass(frozen=True, slots=True)
class CodeScores:
    """Oriented scores of iris codes.

    Attributes:
        rule: how two codes are compared.
        fuse: how the scores of several eyes, shape (eyes, ...), become one; None with one eye.
    """

    rule: HammingRule
    fuse: Fuse | None = None

    def fused(self, scores: Reals) -> Reals:
        return scores[0] if self.fuse is None else self.fuse(scores)

    def __call__(self, references: TemplateArray, probes: TemplateArray, rows: Rows) -> Reals:
        """Score listed pairs of templates, shape (n, eyes, 2, words)."""
        eyes = range(references.shape[1])
        found = [0.0 - compare(references[:, eye], probes[:, eye], rows, self.rule).hd_norm for eye in eyes]
        return self.fused(np.stack(found))


def _counted(
    references: Side,
    probes: Side,
    sides: Sequence[Sequence[Codes]],
    scores: CodeScores,
    *,
    threshold: float | None,
    wanted: Mapping[str, int],
    threads: int | None,
) -> PairCounts:
    block, scale = paired(references, probes), scale_of(scores.rule)
    counting = CodeCounting(scores, *_in_order(sides, block.orders), block.pairing, threshold)
    pairs = _CodePairs(scores, (np.stack(sides[0], axis=1), np.stack(sides[1], axis=1)), block.orders, counting)
    n_kept = kept_pairs(block.pairing, **wanted)
    done = tally(counting, block.pairing, pairs, wanted=n_kept, scale=scale, threads=threads)
    return block_counts(done, block, scale, threshold)


def _in_order(
    sides: Sequence[Sequence[Codes]], orders: Sequence[NDArray[np.int64] | None]
) -> tuple[Sequence[Codes], Sequence[Codes]]:
    """The templates of every eye in the order of the pairing."""
    rows, columns = (
        [eye if order is None else eye[order] for eye in eyes] for eyes, order in zip(sides, orders, strict=True)
    )
    return rows, columns


@dataclass(frozen=True, slots=True)
class CodeCounting:
    """Every pair of iris codes by its exact score; see `Counting`.

    Attributes:
        scores: how they are scored.
        rows, columns: the templates of every eye, in the order of the pairing.
        pairing: which pairs count.
        threshold: at which matches are counted.
    """

    scores: CodeScores
    rows: Sequence[Codes]
    columns: Sequence[Codes]
    pairing: "Pairing"
    threshold: float | None
    tile: Tile = TILE
    is_threaded: bool = True

    def counter(self) -> Counter:
        return _CodeCounter(self)


@dataclass(frozen=True, slots=True)
class _CodePairs(ScoredPairs):
    """Scores of listed pairs; those of nearly all rows with nearly all columns, as a sample asks, by tiles."""

    counting: CodeCounting

    def close(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Reals:
        (rows, row), (columns, column) = (np.unique(side, return_inverse=True) for side in (rows, columns))
        some = replace(
            self.counting,
            rows=[eye[rows] for eye in self.counting.rows],
            columns=[eye[columns] for eye in self.counting.columns],
        )
        tiles, (height, width) = _Tiles(some), TILE
        found = np.empty((-(-len(rows) // height) * height, -(-len(columns) // width) * width))
        for first in range(0, len(columns), width):
            for at in range(0, len(rows), height):
                found[at : at + height, first : first + width] = tiles.scores(at, first)[0]
        scores: Reals = found[row, column]
        return scores


class _Tiles:
    """Scores of tiles for one thread, in room of its own; the columns stay laid out while they are the same."""

    def __init__(self, shared: CodeCounting, n_curves: int = 1) -> None:
        rule, eyes = shared.scores.rule, len(shared.rows)
        height, width = TILE
        self.shared = shared
        self.lanes = np.empty((eyes, width * rule.words * 2), np.uint64)
        self.rows = np.empty((eyes, height * rule.shifts * rule.words * 2), np.uint64)
        self.ring = np.empty(2 * rule.words + 2, np.uint64)
        self.room = np.zeros(32, np.int64), np.zeros(32, np.int64), np.zeros(32), np.zeros(32)
        self.found = np.empty((eyes, n_curves, height, width))
        self.column = -1

    def scores(self, row: int, column: int) -> Reals:
        """Score the tile whose first pair this is, shape (curves, rows, columns), NaN beyond the sides."""
        from cv_quality.metrics.iris import hamming_kernels as kernels

        rule, turns = self.shared.scores.rule, turns_of(self.shared.scores.rule)
        height, width = TILE
        for eye, (rows, columns) in enumerate(zip(self.shared.rows, self.shared.columns, strict=True)):
            if column != self.column:
                compiled(kernels.lay_columns)(columns[column : column + width], self.lanes[eye])
            compiled(kernels.turn_rows)(rows[row : row + height], turns, rule.bits, self.ring, self.rows[eye])
            compiled(kernels.score_tile)(
                self.lanes[eye],
                self.rows[eye],
                (height, rule.shifts, rule.words),
                (NORMS.index(rule.norm), rule.minimum_bits),
                self.room,
                self.found[eye],
            )
        self.column = column
        return self.shared.scores.fused(self.found)


class _CodeCounter(Counter):
    def __init__(self, shared: CodeCounting) -> None:
        scale = scale_of(shared.scores.rule)
        self.shared = shared
        self.scale = (scale.low + scale.high) / 2, (scale.high - scale.low) / 2
        if not np.isfinite(scale.low):
            self.scale = 0.0, np.inf
        self.total = np.zeros(BINS, np.int64)
        self.matched = np.zeros(shared.pairing.offsets.size - 1, np.int64)
        self.missing = np.zeros(1, np.int64)
        self.places = np.empty((2, TILE[0] * TILE[1]), np.int32)
        self.values = np.empty(TILE[0] * TILE[1])

    @cached_property
    def tiles(self) -> _Tiles:
        return _Tiles(self.shared)

    def count(self, row: int, column: int, *, floor: float) -> Found:
        return self.add(self.tiles.scores(row, column)[0], row, column, floor=floor)

    def add(self, scores: Reals, row: int, column: int, *, floor: float) -> Found:
        """Count a tile's scores, shape (rows, columns), and find those at or above the floor."""
        from cv_quality.metrics.iris import hamming_kernels as kernels

        threshold = np.inf if self.shared.threshold is None else self.shared.threshold
        n = compiled(kernels.count_scores)(
            scores,
            (row, column),
            self.shared.pairing,
            (floor, threshold),
            self.scale,
            (self.total, self.matched, self.missing),
            (self.places, self.values),
        )
        rows, columns = self.places[:, :n].astype(np.int64)
        return Found(rows, columns, self.values[:n].copy())

    def histogram(self) -> NDArray[np.int64]:
        return self.total

    def matches(self) -> NDArray[np.int64] | None:
        return None if self.shared.threshold is None else self.matched

    def incomparable(self) -> int:
        return int(self.missing[0])
