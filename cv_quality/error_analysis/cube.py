"""The cube of counts: rows and failures of every conjunction of up to three conditions, on some columns' coarse codes.

It is counted once, and rows that leave are counted off again, so that a search that sets slices aside pays for their
rows alone. Which cell becomes a candidate is decided in `cv_quality.error_analysis.candidate_search`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.cube_kernels import Counts, count_cells, expand_cells, gains
from cv_quality.error_analysis.encoding import Bytes, Encoded, EncodedColumn, Mask
from cv_quality.error_analysis.halves import Flags, Half
from cv_quality.metrics.bootstrap_kernels import Codes, Floats
from cv_quality.metrics.compiled import compiled

MAX_CELLS: Final = 2_000_000
MAX_PAIR_CELLS: Final = 1_000_000
MAX_STEPS: Final = 2e10
"""Rows times tables that are counted in full: some ten seconds a core."""
RESOLUTIONS: Final = ((254, 16), (128, 14), (64, 12), (48, 10), (32, 8), (24, 6), (16, 5), (10, 4), (6, 3))
"""Most values of a column, and bins of a number, from the finest cube to the coarsest."""
_BIN_SHARES: Final = np.array([0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99])


@dataclass(frozen=True, slots=True)
class Axis:
    """One column of the cube: the coarse code of each of its codes, and the conditions that are sought on it.

    Attributes:
        column: index of the table's column; -1 for none.
        coarse: uint8 (256,): a column's code to the cube's.
        size: coarse codes.
        ranges: int64 (conditions, 2): the first and the last coarse code for which each holds.
    """

    column: int
    coarse: Bytes
    size: int
    ranges: Codes

    penalty: float = field(init=False)
    """The logarithm of the number of conditions."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "penalty", math.log(max(len(self.ranges), 2)))

    def mask(self, option: int) -> Mask:
        """Mask the column's own codes for which a condition holds."""
        low, high = self.ranges[option]
        return np.asarray((self.coarse >= low) & (self.coarse <= high), dtype=np.bool_)


WHOLE: Final = Axis(-1, np.zeros(256, np.uint8), 1, np.zeros((1, 2), np.int64))
"""In place of a column in conjunctions of fewer than three."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which tables are counted and where they lie.

    Attributes:
        axes: `WHOLE`, then one a column for conditions alone and in pairs, then one a column for triples.
        tables: int64 (tables, 4) as `count_cells` wants them; `expanded` the same over conditions in place of codes.
        penalty: float32 (expanded cells,), of a cell's description, in log-likelihood.
    """

    axes: tuple[Axis, ...]
    tables: Codes
    expanded: Codes
    penalty: NDArray[np.float32]
    n_cells: int

    def axis(self, column: int) -> Axis:
        """Look up the finer axis of a table's column."""
        return self.axes[column + 1]

    @property
    def sizes(self) -> Codes:
        return np.array([axis.size for axis in self.axes])

    @property
    def ranges(self) -> tuple[Codes, Codes]:
        """The conditions of all axes, filled up to one length, and how many each has."""
        counts = np.array([len(axis.ranges) for axis in self.axes])
        filled = np.zeros((len(self.axes), int(counts.max()), 2), np.int64)
        for row, axis in zip(filled, self.axes, strict=True):
            row[: len(axis.ranges)] = axis.ranges
        return filled, counts

    def masks(self, cell: int) -> dict[int, Mask]:
        """List the conditions of an expanded cell, by index of the table's column."""
        table = int(np.searchsorted(self.expanded[:, 3], cell, side="right")) - 1
        axes = [self.axes[axis] for axis in self.expanded[table, :3]]
        options = np.unravel_index(cell - self.expanded[table, 3], [len(axis.ranges) for axis in axes])
        chosen = zip(axes, options, strict=True)
        return {axis.column: axis.mask(int(option)) for axis, option in chosen if axis.column >= 0}


def lay_out(encoded: Encoded, *, n_rows: int, condition_penalty: float) -> Layout:
    """Lay out the finest cube within the limits of cells and steps: singles and pairs finer than triples.

    With very many columns not every triple can be counted, nor every pair: the search goes on from those that are.

    Args:
        encoded, n_rows: the table, and how many rows will be counted.
        condition_penalty: of a condition, in units of the logarithm of the number of conditions to choose from.
    """
    n = len(encoded.columns)
    singles = [(0, 0, column) for column in range(1, n + 1)]
    pairs = [(0, a, b) for a, b in _combined(n, 2, n_rows)]
    finer = _finest(encoded, singles + pairs, most=MAX_PAIR_CELLS)
    if finer is None:
        pairs, finer = [], _finest(encoded, singles, most=None)
    triples = [(a, b, c) for a, b, c in _combined(n, 3, n_rows)] if pairs else []
    coarser = _finest(encoded, triples, most=MAX_CELLS - MAX_PAIR_CELLS) if triples else None
    shifted = [(a + n, b + n, c + n) for a, b, c in triples] if coarser else []
    axes, columns = (WHOLE, *(finer or ()), *(coarser or ())), np.array(singles + pairs + shifted, np.int64)
    cells, expanded = (
        np.array(sizes)[columns].prod(axis=1)
        for sizes in ([axis.size for axis in axes], [len(axis.ranges) for axis in axes])
    )
    single = np.array([0.0 if axis.column < 0 else math.log(n) + axes[axis.column + 1].penalty for axis in axes])
    order = (columns > 0).sum(axis=1)
    penalty = condition_penalty * (single[columns].sum(axis=1) - np.log(np.array([1, 1, 2, 6])[order]))
    return Layout(
        axes,
        np.column_stack([columns, np.cumsum(cells) - cells]),
        np.column_stack([columns, np.cumsum(expanded) - expanded]),
        np.repeat(penalty, expanded).astype(np.float32),
        int(cells.sum()),
    )


def _combined(n: int, order: int, n_rows: int) -> Iterable[tuple[int, ...]]:
    """Every combination of columns 1 to n, or none where that would be more than can be counted."""
    tables = math.comb(n, order)
    return combinations(range(1, n + 1), order) if tables * n_rows <= MAX_STEPS and tables <= MAX_CELLS else ()


def _finest(encoded: Encoded, tables: Sequence[tuple[int, int, int]], *, most: int | None) -> tuple[Axis, ...] | None:
    """The axes of the finest resolution that keeps all tables within `most` cells, of codes and of conditions.

    None where even the coarsest does not.
    """
    columns = np.array(tables, np.int64).reshape(-1, 3)
    for values, bins in RESOLUTIONS:
        axes = tuple(
            _bins(column, index, bins=bins) if column.is_ordered else _levels(column, index, most=values)
            for index, column in enumerate(encoded.columns)
        )
        widest = np.array([1, *(max(axis.size, len(axis.ranges)) for axis in axes)], np.float64)
        if most is None or widest[columns].prod(axis=1).sum() <= most:
            return axes
    return None


def _levels(column: EncodedColumn, index: int, *, most: int) -> Axis:
    """The most frequent values, each a condition; all others share a code that no condition names."""
    named = len(column.labels)
    kept = min(named, most)
    size = kept + (kept < named or column.other is not None)
    coarse = np.minimum(np.arange(256), size - 1).astype(np.uint8)
    return Axis(index, coarse, size, np.repeat(np.arange(kept)[:, None], 2, axis=1))


def _bins(column: EncodedColumn, index: int, *, bins: int) -> Axis:
    """Bins of a number, thresholds on both sides between them, and missing."""
    n_fine = len(column.edges) + 1
    filled = np.bincount(column.codes, minlength=256)[:n_fine]
    below = np.cumsum(filled)[:-1] / max(filled.sum(), 1)
    shares = _BIN_SHARES if bins > len(_BIN_SHARES) else np.linspace(0, 1, bins + 1)[1:-1]
    if column.labels:
        cuts = np.arange(n_fine - 1)
    else:
        cuts = np.unique([int(np.argmin(np.abs(below - share))) for share in shares])
    n_bins = len(cuts) + 1
    coarse = np.full(256, n_bins, np.uint8)
    coarse[:n_fine] = np.searchsorted(cuts, np.arange(n_fine), side="left")
    has_missing = column.missing is not None
    if not has_missing:
        coarse = np.minimum(coarse, n_bins - 1).astype(np.uint8)
    upto = [(0, cut) for cut in range(n_bins - 1)]
    above = [(cut + 1, n_bins - 1) for cut in range(n_bins - 1)]
    inner = [(cut, cut) for cut in range(1, n_bins - 1)]
    ranges = np.array([*upto, *above, *inner, *([(n_bins, n_bins)] if has_missing else [])], np.int64).reshape(-1, 2)
    return Axis(index, coarse, n_bins + has_missing, ranges)


class Cube:
    """Counts of rows and of failures (or of a loss) over a layout."""

    def __init__(self, layout: Layout, *, is_rate: bool, threads: int) -> None:
        """Start with no rows.

        Args:
            layout: what is counted.
            is_rate: whether the outcome is a failure, not a loss.
            threads: for counting.
        """
        self.layout = layout
        self._threads = threads
        self._rows = np.zeros(layout.n_cells, np.int32)
        self._failures: Counts = np.zeros(layout.n_cells, np.int32) if is_rate else np.zeros(layout.n_cells, np.float64)

    def add(self, codes: Sequence[Bytes] | Bytes, outcome: Floats, *, sign: int = 1) -> None:
        """Count rows in, or off again.

        Args:
            codes: uint8 (rows,) of each of the table's columns.
            outcome: of each row.
            sign: -1 to count off.
        """
        coarse = np.zeros((len(self.layout.axes), len(outcome)), np.uint8)
        for row, axis in zip(coarse[1:], self.layout.axes[1:], strict=True):
            np.take(axis.coarse, codes[axis.column], out=row)
        self._count(self._rows, coarse, sign)
        if self._failures.dtype == np.int32:
            self._count(self._failures, coarse[:, outcome > 0], sign)
        else:
            self._count(self._failures, coarse, sign, outcome)

    def include(self, other: "Cube") -> None:
        """Count in what another cube has counted."""
        self._rows += other._rows
        np.add(self._failures, other._failures, out=self._failures)

    def cells(self) -> tuple[Floats, Floats]:
        """Sum up rows and failures of every conjunction of conditions."""
        return self._expand(self._rows), self._expand(self._failures)

    def _count(self, out: Counts, coarse: Bytes, sign: int, weights: Floats | None = None) -> None:
        tables, sizes = self.layout.tables, self.layout.sizes
        self._over_tables(lambda part: compiled(count_cells)(coarse, weights, sign, tables[part], sizes, out))

    def _over_tables(self, count: Callable[[Codes], None]) -> None:
        """Each thread has tables of its own, so that no two write to one place."""
        parts = np.array_split(np.arange(len(self.layout.tables)), self._threads)
        if len(parts) == 1:
            count(parts[0])
            return
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(count, parts))

    def _expand(self, cells: Counts) -> Floats:
        layout, whole = self.layout, cells.astype(np.float64)
        if len(layout.penalty) == len(whole) and all(len(axis.ranges) == axis.size for axis in layout.axes):
            return whole
        out = np.empty(len(layout.penalty))
        ranges, n_ranges = layout.ranges

        def fill(part: Codes) -> None:
            tables, expanded = layout.tables[part], layout.expanded[part]
            compiled(expand_cells)(whole, tables, expanded, layout.sizes, ranges, n_ranges, out)

        self._over_tables(fill)
        return out


def count_halves(table: Half, layout: Layout, firsts: Sequence[Flags], *, threads: int) -> list[tuple[Cube, Cube]]:
    """Count both halves of every split in one pass: rows on the same side of all splits are counted once.

    Args:
        table, layout: all rows, and what is counted of them.
        firsts: of each split, up to eight of them, the rows of the first half.
        threads: for counting; each half goes on with one.
    """
    halves = [tuple(Cube(layout, is_rate=table.is_rate, threads=1) for _ in range(2)) for _ in firsts]
    sides = np.zeros(table.n_rows, np.uint8)
    for place, first in enumerate(firsts):
        sides |= (~first).view(np.uint8) << place
    order = np.argsort(sides, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(sides[order])) + 1):
        part, same = Cube(layout, is_rate=table.is_rate, threads=threads), table.take(rows)
        part.add(same.codes, same.outcome)
        for place, cubes in enumerate(halves):
            cubes[sides[rows[0]] >> place & 1].include(part)
    return [(first, second) for first, second in halves]


def cell_gains(
    counts: Floats, sums: Floats, *, totals: tuple[float, float, float], least: int, lift: float
) -> NDArray[np.float32]:
    """Compute the gain of every cell; see `cube_kernels.gains`.

    Args:
        counts, sums: rows and failures (or loss) of each cell.
        totals: rows, failures (or loss), and the variance of a loss; below 0 for a rate.
        least: fewest rows of a cell, and of the rest.
        lift: how many times the rest's rate it must have.
    """
    out = np.empty(len(counts), np.float32)
    compiled(gains)(counts, sums, np.array(totals), np.array([float(least), lift]), out)
    return out
