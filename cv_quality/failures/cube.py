"""The cube of counts: rows and failures of every conjunction of up to three conditions, on some columns' coarse codes.

It is counted once, and rows that leave are counted off again, so that a search that sets slices aside pays for their
rows alone. Which cell is worth a proposal is decided in `cv_quality.failures.proposing`.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.failures.cube_kernels import gains, tally, weigh
from cv_quality.failures.encoding import Bytes, Column, Encoded, Mask
from cv_quality.metrics.compiled import compiled

MOST_CELLS: Final = 3_000_000
MOST_STEPS: Final = 2e10
"""Rows times tables that are counted in full: some ten seconds a core."""
RESOLUTIONS: Final = ((64, 14), (48, 10), (32, 8), (24, 6), (16, 5), (10, 4), (6, 3))
"""Most values of a column, and bins of a number, from the finest cube to the coarsest."""
_BIN_SHARES: Final = np.array([0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99])


@dataclass(frozen=True, slots=True)
class Axis:
    """One column of the cube: the coarse code of each of its codes, and the conditions that are sought on it.

    Attributes:
        coarse: uint8 (256,): a column's code to the cube's.
        size: coarse codes.
        options: bool (conditions, size): for which coarse codes each holds.
    """

    coarse: Bytes
    size: int
    options: NDArray[np.bool_]

    @property
    def price(self) -> float:
        """The logarithm of the number of conditions."""
        return math.log(max(len(self.options), 2))

    @property
    def is_plain(self) -> bool:
        """Whether each code is a condition."""
        return len(self.options) == self.size and bool(self.options.diagonal().all())

    @property
    def is_leading(self) -> bool:
        """Whether the first codes are a condition each and the others none."""
        return bool(self.options.sum() == len(self.options)) and bool(self.options.diagonal().all())

    def mask(self, option: int) -> Mask:
        """A condition over the column's own codes."""
        return np.asarray(self.options[option][self.coarse], dtype=np.bool_)


WHOLE: Final = Axis(np.zeros(256, np.uint8), 1, np.ones((1, 1), np.bool_))
"""In place of a column in conjunctions of fewer than three."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which tables are counted and where they lie; column 0 is `WHOLE`, column i + 1 the table's column i.

    Attributes:
        triples: int64 (tables, 4) as `tally` wants them; `expanded` the same over conditions in place of codes.
        price: float32 (expanded cells,), what a cell's description costs, in log-likelihood.
    """

    axes: tuple[Axis, ...]
    triples: NDArray[np.int64]
    expanded: NDArray[np.int64]
    price: NDArray[np.float32]
    n_cells: int

    @property
    def is_plain(self) -> bool:
        return all(axis.is_plain for axis in self.axes)

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.array([axis.size for axis in self.axes])

    def shape(self, table: int) -> tuple[int, int, int]:
        """Conditions of each of a table's three columns."""
        first, second, third = (len(self.axes[column].options) for column in self.expanded[table, :3])
        return first, second, third

    def masks(self, cell: int) -> dict[int, Mask]:
        """The conditions of an expanded cell, by index of the table's column."""
        table = int(np.searchsorted(self.expanded[:, 3], cell, side="right")) - 1
        options = np.unravel_index(cell - self.expanded[table, 3], self.shape(table))
        chosen = zip(self.expanded[table, :3].tolist(), options, strict=True)
        return {column - 1: self.axes[column].mask(int(option)) for column, option in chosen if column > 0}


def lay_out(encoded: Encoded, *, n_rows: int, thrift: float) -> Layout:
    """The finest cube that is counted within the limits of cells and steps.

    With very many columns not every triple can be counted: pairs are, and the search goes on from them.

    Args:
        n_rows: how many rows will be counted.
        thrift: the price of a condition in units of the logarithm of the number of conditions to choose from.
    """
    for values, bins in RESOLUTIONS:
        axes = (WHOLE, *(_axis(column, values=values, bins=bins) for column in encoded.columns))
        layout = _laid_out(axes, _triples(len(encoded.columns), n_rows), thrift=thrift)
        if len(layout.price) <= MOST_CELLS:
            break
    return layout


def _triples(n_columns: int, n_rows: int) -> list[tuple[int, int, int]]:
    """Singles, pairs and, as far as they can be paid for, triples of columns 1 to n; 0 stands for no column."""
    order = 3 if math.comb(n_columns, 3) * n_rows <= MOST_STEPS else 2
    padded = [
        (0,) * (3 - size) + found
        for size in range(1, order + 1)
        for found in combinations(range(1, n_columns + 1), size)
    ]
    return sorted((a, b, c) for a, b, c in padded)


def _laid_out(axes: tuple[Axis, ...], triples: Sequence[tuple[int, int, int]], *, thrift: float) -> Layout:
    columns = np.array(triples, np.int64).reshape(-1, 3)
    sizes, options = np.array([axis.size for axis in axes]), np.array([len(axis.options) for axis in axes])
    cells, expanded = sizes[columns].prod(axis=1), options[columns].prod(axis=1)
    prices = np.array([0.0, *(math.log(len(axes) - 1) + axis.price for axis in axes[1:])])
    order = (columns > 0).sum(axis=1)
    cost = thrift * (prices[columns].sum(axis=1) - np.log(np.array([1, 1, 2, 6])[order]))
    return Layout(
        axes,
        np.column_stack([columns, np.cumsum(cells) - cells]),
        np.column_stack([columns, np.cumsum(expanded) - expanded]),
        np.repeat(cost, expanded).astype(np.float32),
        int(cells.sum()),
    )


def _axis(column: Column, *, values: int, bins: int) -> Axis:
    return _bins(column, bins=bins) if column.is_ordered else _levels(column, most=values)


def _levels(column: Column, *, most: int) -> Axis:
    """The most frequent values, each a condition; all others share a code that no condition names."""
    named = len(column.labels)
    kept = min(named, most)
    is_pooled = kept < named or column.other is not None
    size = kept + is_pooled
    coarse = np.minimum(np.arange(256), size - 1).astype(np.uint8)
    return Axis(coarse, size, np.eye(kept, size, dtype=np.bool_))


def _bins(column: Column, *, bins: int) -> Axis:
    """Bins of a number, thresholds on both sides between them, and missing."""
    n_fine = len(column.edges) + 1
    filled = np.bincount(column.codes, minlength=256)[:n_fine]
    below = np.cumsum(filled)[:-1] / max(filled.sum(), 1)
    shares = _BIN_SHARES if bins >= len(_BIN_SHARES) - 1 else np.linspace(0, 1, bins + 1)[1:-1]
    if column.labels:
        cuts = np.arange(n_fine - 1)
    else:
        cuts = np.unique([int(np.argmin(np.abs(below - share))) for share in shares])
    n_bins = len(cuts) + 1
    coarse = np.full(256, n_bins, np.uint8)
    coarse[:n_fine] = np.searchsorted(cuts, np.arange(n_fine), side="left")
    has_missing = column.missing is not None
    options = _sided(n_bins, size=n_bins + has_missing, has_missing=has_missing)
    return Axis(
        coarse if has_missing else np.minimum(coarse, n_bins - 1).astype(np.uint8), n_bins + has_missing, options
    )


def _sided(n_bins: int, *, size: int, has_missing: bool) -> NDArray[np.bool_]:
    bins = np.arange(size)
    upto = [bins <= cut for cut in range(n_bins - 1)]
    above = [(bins > cut) & (bins < n_bins) for cut in range(n_bins - 1)]
    inner = [bins == cut for cut in range(1, n_bins - 1)]
    return np.array([*upto, *above, *inner, *([bins == n_bins] if has_missing else [])])


class Cube:
    """Counts of rows and of failures (or of a loss) over a layout."""

    def __init__(self, layout: Layout, *, threads: int) -> None:
        self.layout = layout
        self._threads = threads
        self._rows = np.zeros(layout.n_cells, np.int32)
        self._failures = np.zeros(layout.n_cells, np.float64)

    def add(self, codes: Bytes, outcome: NDArray[np.float64], *, is_rate: bool, sign: int = 1) -> None:
        """Count rows in, or off again with sign -1; codes uint8 (columns, rows) are those of the table's columns."""
        coarse = self._coarse(codes)
        self._rows += sign * self._tallied(coarse)
        added = self._tallied(coarse[:, outcome > 0]) if is_rate else self._weighed(coarse, outcome)
        self._failures += sign * added

    def cells(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and failures of every conjunction of conditions."""
        return self._expand(self._rows), self._expand(self._failures)

    def _coarse(self, codes: Bytes) -> Bytes:
        coarse = np.zeros((1 + len(codes), codes.shape[1]), np.uint8)
        for column, row in enumerate(codes, start=1):
            np.take(self.layout.axes[column].coarse, row, out=coarse[column])
        return coarse

    def _tallied(self, coarse: Bytes) -> NDArray[np.int32]:
        out = np.zeros(self.layout.n_cells, np.int32)
        self._over_tables(lambda part: compiled(tally)(coarse, part, self.layout.sizes, out))
        return out

    def _weighed(self, coarse: Bytes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(self.layout.n_cells, np.float64)
        self._over_tables(lambda part: compiled(weigh)(coarse, weights, part, self.layout.sizes, out))
        return out

    def _over_tables(self, count: Callable[[NDArray[np.int64]], None]) -> None:
        """Each thread counts tables of its own, so that no two write to one place."""
        parts = np.array_split(self.layout.triples, self._threads)
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(count, parts))

    def _expand(self, cells: NDArray[np.int32] | NDArray[np.float64]) -> NDArray[np.float64]:
        """From codes to conditions: each axis is summed over the codes for which a condition holds."""
        layout = self.layout
        if layout.is_plain:
            return cells.astype(np.float64)
        out = np.empty(len(layout.price))
        options = [axis.options.astype(np.float64) for axis in layout.axes]
        is_leading = [axis.is_leading for axis in layout.axes]
        for table, (a, b, c, start) in enumerate(layout.triples.tolist()):
            sizes = layout.axes[a].size, layout.axes[b].size, layout.axes[c].size
            block = cells[start : start + math.prod(sizes)].reshape(sizes).astype(np.float64)
            for axis, column in enumerate((a, b, c)):
                named = len(options[column])
                if is_leading[column]:
                    block = block.take(range(named), axis=axis) if named < block.shape[axis] else block
                else:
                    block = np.moveaxis(np.tensordot(options[column], block, axes=(1, axis)), 0, axis)
            first = layout.expanded[table, 3]
            out[first : first + block.size] = block.ravel()
        return out


def cell_gains(
    counts: NDArray[np.float64],
    sums: NDArray[np.float64],
    *,
    totals: tuple[float, float, float],
    least: int,
    lift: float,
) -> NDArray[np.float32]:
    """`cube_kernels.gains` of every cell."""
    out = np.empty(len(counts), np.float32)
    compiled(gains)(counts, sums, np.array(totals), np.array([float(least), lift]), out)
    return out
