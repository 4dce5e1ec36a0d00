"""Counting one tile of pairs: in float32 with a histogram, through an eight-bit filter without, or torch on a device.

Each way lists the pairs that may reach the floor and lets float64 decide; any other score than the cosine is taken in
float64 at once. The order of tiles, the threads and the choice of the floor are in `cv_quality.metrics.pair_engine`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.pair_kernels import (
    Bounds,
    Dots,
    Pairing,
    close_dots,
    count_matches,
    count_tile,
    dot_pairs,
    filter_tile,
)
from cv_quality.metrics.products import STEP, TILE, Onto, Tile, float32_error, is_faithful, product_for
from cv_quality.metrics.quantised import FILTER_ROUNDING, int8_product, quantised
from cv_quality.metrics.score_bins import BINS, BINS_PER_UNIT, ScoreScale, histogram_of

if TYPE_CHECKING:
    import torch

    from cv_quality.metrics.pairs import Score, TemplateArray

ROWS_AT_ONCE = 4_096
DEVICE_TILE: Tile = (2_048, 4_096)
SCORED_TILE: Tile = (128, 128)
"""Gathered templates of both sides stay below 70 MB a thread at 256 dimensions."""
CLOSE = 1e-9
"""More than float64 sums of a million products of unit vectors can differ by their order (gamma_k of 2**-53)."""
BATCH = 1_024
"""Candidates are decided while their vectors are still near the processor."""
FLUSH = 2**31
"""Pairs that a 32-bit histogram takes before it is added to the 64-bit one."""


class Found(NamedTuple):
    """Pairs at or above the floor.

    Attributes:
        rows, columns: int64, positions in the order of the pairing.
        scores: float64.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scores: NDArray[np.float64]

    def above(self, floor: float) -> "Found":
        """Those at or above a higher floor."""
        kept = self.scores >= floor
        return Found(self.rows[kept], self.columns[kept], self.scores[kept])

    def ordered(self) -> "Found":
        """By row and column: the same order for any number of threads."""
        order = np.argsort(self.rows * (self.columns.max(initial=0) + 1) + self.columns)
        return Found(self.rows[order], self.columns[order], self.scores[order])


NOTHING = Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))


class Exact(Protocol):
    """Scores of listed pairs."""

    def exact(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """The score of each pair, which depends on its two templates only."""

    def close(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same to within CLOSE, if that is faster."""


class Counter(Protocol):
    """Counts tiles for one thread."""

    def count(self, row: int, column: int, *, floor: float) -> Found:
        """Count the tile whose first pair this is, and find the pairs of tiles so far with scores of `floor` or more.

        A floor is never lower than the one before. A counter may keep candidates for a later call.
        """

    def rest(self, *, floor: float) -> Found:
        """Find the pairs at or above the floor that no call of `count` has given yet."""
        return NOTHING.above(floor)

    def histogram(self) -> NDArray[np.int64] | None:
        """Return all pairs counted so far, shape (BINS,); None from a counter that keeps none."""
        return None

    def matches(self) -> NDArray[np.int64] | None:
        """Return the pairs of each subject at or above the threshold that was given; None without one."""
        return None

    def incomparable(self) -> int:
        """Return how many pairs had no score."""
        return 0


class Counting(Protocol):
    """What the threads of one count share."""

    @property
    def tile(self) -> Tile:
        """Rows and columns counted at once; a tile begins at multiples of them."""

    @property
    def is_threaded(self) -> bool:
        """Whether more than one thread helps."""

    def counter(self) -> Counter:
        """A counter for one more thread."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One side's vectors as they were given.

    Attributes:
        vectors: unit vectors, float64 or float32, C-contiguous, shape (n, dimension).
        order: row i of the pairing is vector order[i]; None when they are in order.
    """

    vectors: NDArray[np.float64] | NDArray[np.float32]
    order: NDArray[np.int64] | None = None

    def narrow(self) -> NDArray[np.float32]:
        """The rows in order as float32; without a copy where they are that already, and torch may have them."""
        if self.order is None and self.vectors.dtype == np.float32 and self.vectors.flags.writeable:
            return self.vectors.astype(np.float32, copy=False)
        rows = np.empty(self.vectors.shape, np.float32)
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            block = slice(begin, begin + ROWS_AT_ONCE)
            rows[block] = self.vectors[block if self.order is None else self.order[block]]
        return rows

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where these rows of the pairing lie in `vectors`."""
        return rows if self.order is None else self.order[rows]


@dataclass(frozen=True, slots=True)
class CosinePairs:
    """Dot products of listed pairs of unit vectors; see `Exact`."""

    left: Operand
    right: Operand

    @property
    def dimension(self) -> int:
        return int(self.left.vectors.shape[1])

    def exact(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Dot products in float64, added up in the order of the dimensions and cut to [-1, 1]."""
        return self._dots(compiled(dot_pairs), rows, columns)

    def close(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Dot products in float64, cut to [-1, 1]."""
        return self._dots(compiled(close_dots, has_order=False), rows, columns)

    def _dots(self, dots: Dots, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        scores = np.empty(rows.size)
        dots(self.left.vectors, self.right.vectors, self.left.places(rows), self.right.places(columns), scores)
        return scores.clip(-1.0, 1.0, out=scores)


@dataclass(frozen=True, slots=True)
class Cosine(CosinePairs):
    """Dot products of unit vectors, exact by the pair and fast by the tile.

    Attributes:
        rows, columns: both sides as float32.
    """

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    onto: Onto

    @classmethod
    def of(cls, left: Operand, right: Operand) -> "Cosine":
        rows = left.narrow()
        columns = rows if right is left else right.narrow()
        return cls(left, right, rows, columns, product_for(rows.shape[1]).onto)

    def against(self, columns: slice) -> Callable[[slice], NDArray[np.float32]]:
        """Score rows with these columns; both begin at multiples of STEP, and may end beyond the sets."""
        multiply = self.onto(padded(self.columns[columns], STEP))
        return lambda rows: multiply(padded(self.rows[rows], STEP))


class _Candidates:
    """Pairs that may reach the floor, collected over tiles and decided many at a time.

    Attributes:
        are_rough: whether most of them will not reach it, so that a faster score is worth a look first.
        places: rows and columns; shape (2, BATCH and the pairs of a tile).
        count: how many there are.
    """

    def __init__(self, pairs: Exact, tile: Tile, *, are_rough: bool) -> None:
        self.pairs = pairs
        self.are_rough = are_rough
        self.places = np.empty((2, BATCH + tile[0] * tile[1]), np.int32)
        self.count = 0

    @property
    def is_full(self) -> bool:
        return self.count >= BATCH

    def decided(self, floor: float) -> Found:
        """Those whose exact score is at least the floor; none is left."""
        rows, columns = self.places[:, : self.count].astype(np.int64)
        self.count = 0
        if self.are_rough:
            rows, columns, _ = Found(rows, columns, self.pairs.close(rows, columns)).above(floor - CLOSE)
        return Found(rows, columns, self.pairs.exact(rows, columns)).above(floor)


class _Matches:
    """Pairs of each subject at or above a threshold; those too near to it for float32 are decided by their exact score.

    Attributes:
        limits: float32 scores below the first are no match, those at or above the second are one.
    """

    def __init__(self, pairs: CosinePairs, pairing: Pairing, threshold: float, tile: Tile) -> None:
        error = float32_error(pairs.dimension)
        self.pairing = pairing
        self.threshold = threshold
        self.limits = _below(threshold - error), _above(threshold + error)
        self.counts = np.zeros(pairing.offsets.size - 1, np.int64)
        self.near = _Candidates(pairs, tile, are_rough=False)

    def add(self, scores: NDArray[np.float32], row: int, column: int) -> None:
        near = self.near
        near.count = compiled(count_matches)(
            scores, row, column, self.pairing, self.limits, self.counts, near.places, near.count
        )
        if near.is_full:
            self.decide()

    def decide(self) -> None:
        self.add_pairs(*self.near.decided(self.threshold)[:2])

    def add_pairs(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        for codes in (self.pairing.row_codes[rows], self.pairing.column_codes[columns]):
            self.counts += np.bincount(codes, minlength=self.counts.size)


@dataclass(frozen=True, slots=True)
class Float32Counting:
    """Every pair in float32: a full histogram, and candidates for the tail."""

    scorer: Cosine
    pairing: Pairing
    threshold: float | None = None
    tile: Tile = TILE
    is_threaded: bool = True

    def counter(self) -> Counter:
        return _Float32Counter(self)


class _Float32Counter(Counter):
    def __init__(self, shared: Float32Counting) -> None:
        self.shared = shared
        self.error = float32_error(shared.scorer.dimension)
        self.candidates = _Candidates(shared.scorer, shared.tile, are_rough=False)
        self.matched = None
        if shared.threshold is not None:
            self.matched = _Matches(shared.scorer, shared.pairing, shared.threshold, shared.tile)
        self.columns = slice(0, shared.tile[1])
        self.against = shared.scorer.against(self.columns)
        self.total = np.zeros(BINS, np.int64)
        self.recent = np.zeros(BINS, np.uint32)
        self.pairs = 0

    def count(self, row: int, column: int, *, floor: float) -> Found:
        found, (rows, columns) = self.candidates, _slices(self.shared.tile, row, column)
        if columns != self.columns:
            self.columns, self.against = columns, self.shared.scorer.against(columns)
        scores = self.against(rows)
        self.pairs += scores.size
        if self.pairs > FLUSH:
            self._flush(scores.size)
        threshold = _below(floor - self.error)
        found.count = compiled(count_tile)(
            scores, row, column, self.shared.pairing, threshold, self.recent, found.places, found.count
        )
        if self.matched is not None:
            self.matched.add(scores, row, column)
        return found.decided(floor) if found.is_full else NOTHING

    def rest(self, *, floor: float) -> Found:
        return self.candidates.decided(floor)

    def histogram(self) -> NDArray[np.int64]:
        self._flush(0)
        return self.total

    def matches(self) -> NDArray[np.int64] | None:
        if self.matched is None:
            return None
        self.matched.decide()
        return self.matched.counts

    def _flush(self, pairs: int) -> None:
        self.total += self.recent
        self.recent[:] = 0
        self.pairs = pairs


@dataclass(frozen=True, slots=True)
class CertifiedCounting:
    """Only pairs that eight bits cannot rule out are scored: the tail is exact, and there is no histogram."""

    pairs: Exact
    pairing: Pairing
    rows: NDArray[np.int8]
    columns: NDArray[np.int8]
    bounds: Bounds
    tile: Tile = TILE
    is_threaded: bool = True

    @classmethod
    def of(cls, left: Operand, right: Operand, pairing: Pairing) -> "CertifiedCounting":
        a = quantised(left.vectors, left.order)
        b = a if right is left else quantised(right.vectors, right.order)
        bounds = Bounds(a.scales, a.norms, a.residuals, b.scales, b.code_norms, b.residuals)
        return cls(CosinePairs(left, right), pairing, a.codes, b.codes, bounds)

    def counter(self) -> Counter:
        return _CertifiedCounter(self)


class _CertifiedCounter(Counter):
    def __init__(self, shared: CertifiedCounting) -> None:
        self.shared = shared
        self.candidates = _Candidates(shared.pairs, shared.tile, are_rough=True)

    def count(self, row: int, column: int, *, floor: float) -> Found:
        shared, found = self.shared, self.candidates
        rows, columns = _slices(shared.tile, row, column)
        products = int8_product(shared.rows[rows], shared.columns[columns])
        least = _below(floor - FILTER_ROUNDING)
        found.count = compiled(filter_tile)(
            products, row, column, shared.pairing, shared.bounds, least, found.places, found.count
        )
        return found.decided(floor) if found.is_full else NOTHING

    def rest(self, *, floor: float) -> Found:
        return self.candidates.decided(floor)


@dataclass(frozen=True, slots=True)
class DeviceCounting:
    """The float32 grade with torch's own operations, for a device that runs no compiled loops of ours.

    Tiles lie on a grid and are padded with zeros: all products have one shape, as a library chooses its loops by shape.
    """

    pairs: CosinePairs
    pairing: Pairing
    device: str
    threshold: float | None = None
    tile: Tile = DEVICE_TILE
    is_threaded: bool = False

    def counter(self) -> Counter:
        return _DeviceCounter(self)


class _DeviceCounter(Counter):
    def __init__(self, shared: DeviceCounting) -> None:
        import torch

        self.shared = shared
        device, pairing = shared.device, shared.pairing
        self.left = torch.from_numpy(padded(shared.pairs.left.narrow(), shared.tile[0])).to(device)
        self.right = torch.from_numpy(padded(shared.pairs.right.narrow(), shared.tile[1])).to(device)
        self.codes = [torch.from_numpy(codes).to(device) for codes in (pairing.row_codes, pairing.column_codes)]
        self.starts = torch.from_numpy(pairing.starts).to(device)
        self.counts = torch.zeros(BINS, dtype=torch.int64, device=device)
        self.matched, self.matches_on_device = None, None
        if shared.threshold is not None:
            self.matched = _Matches(shared.pairs, pairing, shared.threshold, (1, 1))
            self.matches_on_device = torch.zeros(self.matched.counts.size, dtype=torch.int64, device=device)

    def count(self, row: int, column: int, *, floor: float) -> Found:
        import torch

        rows, columns = _slices(self.shared.tile, row, column)
        row_codes, column_codes = self.codes[0][rows, None], self.codes[1][None, columns]
        places = torch.arange(column, column + column_codes.shape[1], device=self.shared.device)
        counted = (row_codes != column_codes) & (places[None, :] >= self.starts[rows, None])
        scores = (self.left[rows] @ self.right[columns].T)[: counted.shape[0], : counted.shape[1]]
        bins = (scores[counted] * BINS_PER_UNIT).floor().long() + BINS_PER_UNIT
        self.counts += bins.clamp(0, BINS - 1).bincount(minlength=BINS)
        if self.matched is not None:
            self._match(scores, counted, row, column)
        least = float(_below(floor - float32_error(self.shared.pairs.dimension)))
        found = (counted & (scores >= least)).nonzero(as_tuple=True)
        high_rows, high_columns = found[0].cpu().numpy() + row, found[1].cpu().numpy() + column
        return Found(high_rows, high_columns, self.shared.pairs.exact(high_rows, high_columns)).above(floor)

    def histogram(self) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = self.counts.cpu().numpy()
        return counts

    def _match(self, scores: "torch.Tensor", counted: "torch.Tensor", row: int, column: int) -> None:
        assert self.matched is not None
        assert self.matches_on_device is not None
        lowest, highest = (float(limit) for limit in self.matched.limits)
        is_match = counted & (scores >= highest)
        rows, columns = self.codes[0][row : row + len(scores)], self.codes[1][column : column + scores.shape[1]]
        self.matches_on_device.index_add_(0, rows, is_match.sum(dim=1))
        self.matches_on_device.index_add_(0, columns, is_match.sum(dim=0))
        near = (counted & (scores >= lowest) & (scores < highest)).nonzero(as_tuple=True)
        near_rows, near_columns = near[0].cpu().numpy() + row, near[1].cpu().numpy() + column
        is_exact = self.shared.pairs.exact(near_rows, near_columns) >= self.matched.threshold
        self.matched.add_pairs(near_rows[is_exact], near_columns[is_exact])

    def matches(self) -> NDArray[np.int64] | None:
        if self.matched is None or self.matches_on_device is None:
            return None
        on_device: NDArray[np.int64] = self.matches_on_device.cpu().numpy()
        return self.matched.counts + on_device


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Scores of listed pairs by a function; see `Exact`.

    Attributes:
        sides: the templates of references and of probes.
        orders: row i of the pairing is template order[i]; None when they are in order.
    """

    score: "Score"
    sides: "tuple[TemplateArray, TemplateArray]"
    orders: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]

    def exact(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        left, right = (
            places if order is None else order[places]
            for places, order in zip((rows, columns), self.orders, strict=True)
        )
        return self.score(*self.sides, (left, right))

    close = exact


@dataclass(frozen=True, slots=True)
class ScoredCounting:
    """Every pair by its exact score, on any scale: for scores without a fast product."""

    pairs: ScoredPairs
    pairing: Pairing
    scale: ScoreScale
    threshold: float | None = None
    tile: Tile = SCORED_TILE
    is_threaded: bool = True

    def counter(self) -> Counter:
        return _ScoredCounter(self)


class _ScoredCounter(Counter):
    def __init__(self, shared: ScoredCounting) -> None:
        self.shared = shared
        self.total = np.zeros(BINS, np.int64)
        self.matched = np.zeros(shared.pairing.offsets.size - 1, np.int64)
        self.missing = 0

    def count(self, row: int, column: int, *, floor: float) -> Found:
        pairing, (rows, columns) = self.shared.pairing, _slices(self.shared.tile, row, column)
        column_codes = pairing.column_codes[columns]
        is_counted = pairing.row_codes[rows, None] != column_codes
        is_counted &= column + np.arange(column_codes.size) >= pairing.starts[rows, None]
        places = np.nonzero(is_counted)
        found_rows, found_columns = places[0] + row, places[1] + column
        scores = self.shared.pairs.exact(found_rows, found_columns)
        if (is_missing := np.isnan(scores)).any():
            self.missing += int(is_missing.sum())
            found_rows, found_columns = found_rows[~is_missing], found_columns[~is_missing]
            scores = scores[~is_missing]
        self.total += histogram_of(scores, self.shared.scale)
        if self.shared.threshold is not None:
            is_match = scores >= self.shared.threshold
            for codes, sides in ((pairing.row_codes, found_rows), (pairing.column_codes, found_columns)):
                self.matched += np.bincount(codes[sides[is_match]], minlength=self.matched.size)
        return Found(found_rows, found_columns, scores).above(floor)

    def histogram(self) -> NDArray[np.int64]:
        return self.total

    def matches(self) -> NDArray[np.int64] | None:
        return None if self.shared.threshold is None else self.matched

    def incomparable(self) -> int:
        return self.missing


def padded(rows: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """The rows, and rows of zeros up to a multiple of `step`; without a copy where none are missing."""
    missing = -len(rows) % step
    return rows if missing == 0 else np.concatenate([rows, np.zeros((missing, rows.shape[1]), np.float32)])


@lru_cache(maxsize=64)
def faithful_device(dimension: int) -> str | None:
    """The device that torch finds beside the processor, if it gives a pair the same float32 score in every place."""
    import torch

    if not torch.cuda.is_available():
        return None
    return "cuda" if is_faithful(device_product("cuda"), dimension, shapes=(DEVICE_TILE,)) else None


def device_product(device: str) -> Onto:
    """The product that `DeviceCounting` uses, with operands and scores outside of the device."""
    import torch

    def onto(right: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        columns = torch.from_numpy(right).to(device).T
        return lambda left: cast(NDArray[np.float32], (torch.from_numpy(left).to(device) @ columns).cpu().numpy())

    return onto


def _slices(tile: Tile, row: int, column: int) -> tuple[slice, slice]:
    return slice(row, row + tile[0]), slice(column, column + tile[1])


def _above(value: float) -> np.float32:
    """The float32 number above this value, so that rounding cannot lower a threshold."""
    return np.float32(np.nextafter(np.float32(value), np.float32(np.inf)))


def _below(value: float) -> np.float32:
    """The float32 number below this value, so that rounding cannot raise a threshold."""
    return np.float32(np.nextafter(np.float32(value), np.float32(-np.inf)))
