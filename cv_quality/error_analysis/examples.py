"""Examples of a slice: typical failures, their nearest passes, and pairs that differ in one condition.

Rows are chosen by conditions and scores alone, never by consent; what may be shown of them is decided by reports.
Slices are found in `cv_quality.error_analysis.discovery`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.population import Population
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError

if TYPE_CHECKING:
    import polars as pl

MAX_TYPICAL, MAX_PAIRS = 4, 3
TOLERANCE = 0.25
"""Two numbers count as equal up to this part of their column's spread, from the 5th to the 95th percentile."""
PASSES_SEARCHED, FAILURES_SEARCHED, FAILURES_PAIRED = 20_000, 50_000, 256
"""Of more rows a seeded sample is searched, to which the passes of the failure's own unit are added. Pairs are sought
among the failures nearest to the slice's centre."""

Role = Literal["failure", "nearest_pass", "differs_in_one"]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]
Distances = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """A row that shows what a slice is about.

    Attributes:
        rank: place of the slice, from 1.
        role: a typical failure, its nearest pass, or the failure of a pair that differs in one condition.
        position: place within the role, from 1.
        row, partner: index among the rows of the population, and of the row that it is paired with.
        difference: the one condition in which the pair differs, in words.
    """

    rank: int
    role: Role
    position: int
    row: int
    partner: int | None = None
    difference: str | None = None


@dataclass(frozen=True, slots=True)
class _Conditions:
    """The compared columns of all rows as numbers, shape (rows, columns); NaN is missing.

    Numbers are divided by the spread of their column, so that a distance of 1 is the whole spread; a category is a
    code of its own.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    is_number: Flags

    def distances(self, point: NDArray[np.float32], rows: Rows) -> Distances:
        """Compute the distance of a point to each row in each column, 0 to 1, shape (rows, columns).

        Numbers count their difference, at most 1; categories 0 if equal, else 1; missing is a value of its own.
        """
        others = self.values[rows]
        apart = np.abs(others - point)
        found = np.where(self.is_number, np.minimum(apart, 1), apart > 0).astype(np.float32)
        missing = np.isnan(others) != np.isnan(point)
        return np.asarray(np.where(np.isnan(apart), missing, found), np.float32)


@dataclass(frozen=True, slots=True)
class _Trials:
    """The rows of a population in the order of their keys, as they are compared.

    Attributes:
        frame, order: the rows, and the index of each among those of the population.
        score: scaled as conditions are, shape (rows, 1); (rows, 0) where there is none.
        unit: code of the unit.
    """

    frame: "pl.DataFrame"
    order: Rows
    conditions: _Conditions
    score: NDArray[np.float32]
    unit: NDArray[np.int64]
    is_failure: Flags


def choose_examples(population: Population, *, slices: Sequence[Slice], seed: int = 0) -> list[Example]:
    """Choose rows of a population that show what each slice is about.

    Per slice, its rows in slices before it set aside where failures remain:

    - `failure`: up to four failures of different units nearest to the slice's failures as a whole: to the median of
      every number, the commonest of every category, and the median score;
    - `nearest_pass`: for each of them, under the same position, the nearest pass of the same unit; the nearest of
      anyone where the unit has none;
    - `differs_in_one`: up to three failures of different units, each with a pass outside of the slice that equals
      it in every condition but one, which is one of the slice's own columns; passes of the same unit first.
      `difference` names the condition with the failure's value and that of the pass.

    Nearness is Gower's mean over the population's columns, and the slices' own: numbers count their difference over
    the spread from the 5th to the 95th percentile, at most 1 (those of logarithmic dimensions on that scale),
    categories count 0 or 1 (Gower, Biometrics 27, 1971). Two numbers are equal when they differ by at most a quarter of
    the spread.

    Args:
        population: trials, each once; none is chosen where they have no key. Where the outcome is a loss, those above
            the mean count as failures.
        slices: in the order of their rank, the best first.
        seed: of the sample that is searched where there are more than 20,000 passes or 50,000 failures.

    Raises:
        SliceError: a column of a slice is missing.
    """
    missing = sorted({name for found in slices for name in found.columns} - set(population.rows.columns))
    if missing:
        raise SliceError(f"expected rows with the columns {', '.join(missing)}, found {population.rows.columns}")
    if not slices or not population.key or population.rows.is_empty():
        return []
    trials = _prepare(population, slices)
    rng = np.random.default_rng(seed)
    chosen, taken = list[Example](), np.zeros(len(trials.order), dtype=np.bool_)
    for rank, found in enumerate(slices, 1):
        inside = trials.frame.select(found.expression()).to_series().to_numpy()
        own = inside & ~taken if (inside & ~taken & trials.is_failure).any() else inside
        chosen += _of_slice(trials, _own_columns(population, found), rank=rank, inside=inside, own=own, rng=rng)
        taken |= inside
    return chosen


def _own_columns(population: Population, found: Slice) -> list[str]:
    """The columns that a slice speaks of; the number behind a band, where it is there."""
    known = [item for item in population.dimensions if item.bands and item.name in population.rows.columns]
    numbers = {item.bands.column: item.name for item in known if item.bands}
    return [numbers.get(name, name) for name in found.columns]


def _prepare(population: Population, slices: Sequence[Slice]) -> _Trials:
    import polars as pl

    order = population.rows.select(pl.arg_sort_by(*population.key)).to_series().to_numpy().astype(np.intp)
    frame = population.rows[order]
    own = [name for found in slices for name in _own_columns(population, found) if name in frame.columns]
    names = list(dict.fromkeys([*population.columns, *own]))
    logarithmic = {item.name for item in population.dimensions if item.is_logarithmic}
    is_number = np.array([frame.schema[name].is_numeric() for name in names], dtype=np.bool_)
    columns = [
        # Categories are the ranks of their names; null becomes NaN.
        _numbers(frame[name], is_logarithmic=name in logarithmic)
        if number
        else frame[name].cast(pl.String).rank("dense").cast(pl.Float64).to_numpy()
        for name, number in zip(names, is_number, strict=True)
    ]
    scores = [_scaled(frame[population.score].cast(pl.Float64).to_numpy())] if population.score else []
    return _Trials(
        frame=frame,
        order=order,
        conditions=_Conditions(tuple(names), np.column_stack(columns).astype(np.float32), is_number),
        score=np.array(scores, np.float32).reshape(len(scores), len(order)).T,
        unit=frame[population.unit].rank("dense").cast(pl.Int64).to_numpy(),
        is_failure=population.is_failure[order],
    )


def _numbers(column: "pl.Series", *, is_logarithmic: bool) -> NDArray[np.float64]:
    import polars as pl

    values = column.cast(pl.Float64).to_numpy().copy()
    values[~np.isfinite(values)] = np.nan
    if is_logarithmic:
        values = np.log10(np.maximum(values, 0.1))
    return _scaled(values)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers over the spread between their 5th and 95th percentile, or over their range where there is none."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return values
    low, high = np.quantile(known, (0.05, 0.95))
    spread = float(high - low) or float(known.max() - known.min()) or 1.0
    return np.asarray((values - float(np.median(known))) / spread)


def _of_slice(
    trials: _Trials, own_columns: Sequence[str], *, rank: int, inside: Flags, own: Flags, rng: np.random.Generator
) -> Iterator[Example]:
    failures = _sample(np.flatnonzero(own & trials.is_failure), FAILURES_SEARCHED, rng)
    if failures.size == 0:
        return
    ordered = failures[np.argsort(_distance_to_centre(trials, failures), kind="stable")]
    typical = ordered[np.sort(np.unique(trials.unit[ordered], return_index=True)[1])[:MAX_TYPICAL]]
    passes = np.flatnonzero(~trials.is_failure)
    near = _nearest_passes(trials, typical, _Passes.of(trials, passes, rng))
    outside = _Passes.of(trials, passes[~inside[passes]], rng)
    order = trials.order
    for position, failure in enumerate(typical, 1):
        yield Example(rank, "failure", position, int(order[failure]))
    for position, (failure, row) in enumerate(zip(typical, near, strict=True), 1):
        if row is not None:
            yield Example(rank, "nearest_pass", position, int(order[row]), int(order[failure]))
    for position, pair in enumerate(_pairs(trials, own_columns, ordered[:FAILURES_PAIRED], outside), 1):
        rows, name = [pair.failure, pair.passed], trials.conditions.names[pair.column]
        one, other = (_words(trials.frame[name][int(row)]) for row in rows)
        found, partner = (int(order[row]) for row in rows)
        yield Example(rank, "differs_in_one", position, found, partner, f"{name} {one} against {other}")


def _sample(rows: Rows, at_most: int, rng: np.random.Generator) -> Rows:
    return rows if rows.size <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


def _distance_to_centre(trials: _Trials, failures: Rows) -> Distances:
    """Gower distance of each failure to what is usual among them, the score counted as one more column."""
    values, centre = trials.conditions.values[failures], list[np.float32]()
    for column, is_number in zip(values.T, trials.conditions.is_number, strict=True):
        codes, counts = np.unique(column, return_counts=True)
        centre.append(_median(column) if is_number else codes[np.argmax(counts)])
    columns = [trials.conditions.distances(np.array(centre, np.float32), failures)]
    for score in trials.score[failures].T:
        middle = _median(score)
        apart = np.abs(score - middle)
        columns += [np.where(np.isnan(apart), np.isnan(score) != np.isnan(middle), np.minimum(apart, 1))[:, None]]
    return np.asarray(np.column_stack(columns).mean(axis=1), np.float32)


def _median(values: NDArray[np.float32]) -> np.float32:
    """The median; NaN where more than half of the values are missing."""
    known = values[~np.isnan(values)]
    return np.float32(np.median(known)) if 2 * known.size >= values.size else np.float32(np.nan)


@dataclass(frozen=True, slots=True)
class _Passes:
    """Passes to search: a sample of all, and all of any one unit."""

    sampled: Rows
    by_unit: Rows
    units: NDArray[np.int64]

    @classmethod
    def of(cls, trials: _Trials, passes: Rows, rng: np.random.Generator) -> "_Passes":
        by_unit = passes[np.argsort(trials.unit[passes], kind="stable")]
        return cls(_sample(passes, PASSES_SEARCHED, rng), by_unit, trials.unit[by_unit])

    def of_unit(self, unit: np.int64) -> Rows:
        first, last = np.searchsorted(self.units, unit, "left"), np.searchsorted(self.units, unit, "right")
        return self.by_unit[first:last]


def _nearest_passes(trials: _Trials, failures: Rows, passes: _Passes) -> "list[np.intp | None]":
    """For each failure the nearest pass of its own unit, else of anyone; None where nobody passed."""
    found: list[np.intp | None] = []
    for failure in failures:
        own = passes.of_unit(trials.unit[failure])
        searched = own if own.size else passes.sampled
        distances = trials.conditions.distances(trials.conditions.values[failure], searched).mean(axis=1)
        found.append(searched[np.argmin(distances)] if searched.size else None)
    return found


@dataclass(frozen=True, slots=True, order=True)
class _Pair:
    """A failure and a pass that differ in one column; the order is that of preference."""

    is_other_unit: bool
    distance: float
    failure: np.intp
    passed: np.intp
    column: int


def _pairs(trials: _Trials, own_columns: Sequence[str], failures: Rows, passes: _Passes) -> list[_Pair]:
    is_own = np.array([name in own_columns for name in trials.conditions.names], dtype=np.bool_)
    best: dict[np.int64, _Pair] = {}
    for failure in failures:
        pair = _best_pair(trials, failure, passes, is_own)
        unit = trials.unit[failure]
        if pair is not None and (unit not in best or pair < best[unit]):
            best[unit] = pair
    return sorted(best.values())[:MAX_PAIRS]


def _best_pair(trials: _Trials, failure: np.intp, passes: _Passes, is_own: Flags) -> _Pair | None:
    """The pass that differs from the failure in one of the slice's columns and is nearest in all others."""
    for is_other, searched in ((False, passes.of_unit(trials.unit[failure])), (True, passes.sampled)):
        distances = trials.conditions.distances(trials.conditions.values[failure], searched)
        differs = distances > np.where(trials.conditions.is_number, np.float32(TOLERANCE), np.float32(0))
        fits = np.flatnonzero((differs.sum(axis=1) == 1) & differs[:, is_own].any(axis=1))
        if fits.size:
            rest = np.where(differs[fits], 0, distances[fits]).mean(axis=1)
            nearest = fits[np.argmin(rest)]
            column = int(np.flatnonzero(differs[nearest])[0])
            return _Pair(is_other, float(rest.min()), failure, searched[nearest], column)
    return None


def _words(value: object) -> str:
    """A value for people.

    >>> _words(4.2345), _words(1234.5), _words("glasses"), _words(None)
    ('4.23', '1234', 'glasses', 'missing')
    """
    if isinstance(value, float) and np.isfinite(value):
        return f"{value:.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return "missing" if value is None else str(value)
