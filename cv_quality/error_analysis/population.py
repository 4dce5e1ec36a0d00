"""A population: rows with an outcome, the unit that is resampled, and the conditions that may explain it.

It is all that slices, attribution, clusters and examples see: whoever makes one gets root causes. How a task's are
written to its tables is in `cv_quality.tasks.root_causes`; examples are chosen in `cv_quality.error_analysis.examples`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError, near

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.error_analysis.attribution import Attribution
    from cv_quality.error_analysis.clusters import Clusters
    from cv_quality.error_analysis.encoding import Bounds
    from cv_quality.error_analysis.slice_report import SliceReport
    from cv_quality.modality import Dimension


@dataclass(frozen=True, slots=True)
class Outcome:
    """What counts as a failure.

    Attributes:
        name: as tables write it.
        rate, failures, trial: what its rate, its failures, and one row are called.
        unit: what is resampled is called.
    """

    name: str
    rate: str = "failure rate"
    failures: str = "failures"
    trial: str = "row"
    unit: str = "subject"


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Trials with an outcome, and what may explain it.

    Attributes:
        outcome: what counts as a failure.
        rows: one row a trial.
        failed: column: true or 1 for a failure, or a loss, a number that is worse the higher it is.
        unit: column that names what is resampled (subject, artefact, clip): rows of one unit are not independent.
        columns: conditions, in the order in which they are searched.
        key: columns that identify a row; none where no row is shown as an example.
        score: column of the score that decided, where there is one.
        dimensions: declarations of conditions, as far as there are any. What is declared a condition is searched even
            where it determines the outcome, and the edges of its bands are thresholds that the search prefers.
        excluded: those of `columns` that are not searched all the same.
    """

    outcome: Outcome
    rows: "pl.DataFrame"
    failed: str
    unit: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    score: str | None = None
    dimensions: "tuple[Dimension, ...]" = ()
    excluded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that every column is there.

        Raises:
            SliceError: one is not.
        """
        known = self.rows.columns
        for name in (self.failed, self.unit, *self.columns, *self.key, *((self.score,) if self.score else ())):
            if name not in known:
                raise SliceError(f"population {self.outcome.name!r} has no column {name!r}; {near(name, known)}")

    @property
    def bounds(self) -> "Bounds":
        """The edges of the declared bands, by column."""
        return {item.name: item.bands.edges for item in self.dimensions if item.bands}

    def excluding(self, names: Collection[str]) -> "Population":
        """Leave conditions out of every search, by the name of a column or of the column of its levels."""
        alike = [{item.name, item.level_column} for item in self.dimensions]
        away = {*names, *(name for pair in alike if not pair.isdisjoint(names) for name in pair)}
        return replace(self, excluded=tuple(name for name in self.columns if name in away))

    @property
    def is_failure(self) -> NDArray[np.bool_]:
        """Whether each row fails: its flag, or a loss above the mean of all rows."""
        values = self._values
        return np.asarray(values > (values.mean() if self.is_loss else 0.0))

    @property
    def is_loss(self) -> bool:
        """Whether the outcome is a number that is worse the higher it is, rather than a flag."""
        return not np.isin(self._values, (0, 1)).all()

    @property
    def _values(self) -> NDArray[np.float64]:
        import polars as pl

        return self.rows[self.failed].cast(pl.Float64).fill_null(0.0).to_numpy()


def search_slices(
    population: Population, *, found: Sequence[Slice] = (), seed: int = 0, threads: int = 2
) -> "SliceReport":
    """Search the slices of a population; see `cv_quality.error_analysis.discovery.find_slices`.

    Args:
        population: what is searched.
        found: slices of another search, whose thresholds are taken where they part nearly the same rows.
        seed, threads: of the splits of its units, and for counting.
    """
    from cv_quality.error_analysis.discovery import find_slices

    columns, unit, failed = population.columns, population.unit, population.failed
    return find_slices(
        population.rows.select(*columns, unit, failed),
        outcome=failed,
        subject=unit,
        columns=columns,
        exclude=population.excluded,
        keep=[name for item in population.dimensions for name in (item.name, item.level_column) if name in columns],
        bounds=bounds_of(population, found),
        unit=population.outcome.unit,
        seed=seed,
        threads=threads,
    )


def bounds_of(population: Population, found: Sequence[Slice]) -> "Bounds":
    """List the thresholds that a search prefers: those of slices found before, then those that are declared."""
    bounds = {name: list(edges) for name, edges in population.bounds.items()}
    for predicate in (item for where in reversed(found) for item in where.where if item.op in ("<=", ">")):
        bounds.setdefault(predicate.column, []).insert(0, cast("float", predicate.value))
    return bounds


def attribute(before: Population, after: Population, *, slices: Sequence[Slice], seed: int = 0) -> "Attribution":
    """Attribute the change of a rate between two populations; see `attribution.attribute_change`.

    Args:
        before, after: populations of one outcome.
        slices, seed: in the order in which they take their rows, and of the bootstrap.
    """
    from cv_quality.error_analysis.attribution import attribute_change

    rate = after.outcome.rate
    tables = [item.rows.rename({item.failed: rate}) for item in (before, after)]
    return attribute_change(*tables, outcome=rate, subject=after.unit, slices=slices, seed=seed)


def cluster(
    population: Population,
    vectors: ArrayLike,
    *,
    origins: ArrayLike | None = None,
    found: Sequence[Slice] = (),
    seed: int = 0,
    threads: int = 2,
) -> "Clusters":
    """Cluster a population in an embedding; see `cv_quality.error_analysis.clusters.cluster_failures`.

    Args:
        population, vectors: what is clustered, and the vectors of its rows, shape (n, d).
        origins: what each row's unit looks like when all is well, shape (n, d); NaN where unknown.
        found: slices whose thresholds are taken where they part nearly the same rows.
        seed, threads: of the split of its units and the mixtures, and for the search of descriptions.
    """
    from cv_quality.error_analysis.clusters import cluster_failures

    return cluster_failures(
        vectors,
        is_failure=population.is_failure,
        subjects=population.rows[population.unit].to_list(),
        attributes=population.rows.select(name for name in population.columns if name not in population.excluded),
        origins=origins,
        bounds=bounds_of(population, found),
        trial=population.outcome.trial,
        unit=population.outcome.unit,
        seed=seed,
        threads=threads,
    )
