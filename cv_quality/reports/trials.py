"""The trials of a build one by one, as a person looks through them: what each task hands to the explorer.

A task makes them of its primary population (`Task.trials`). How they are shown is in
`cv_quality.publishing.explorer`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cv_quality.error_analysis.population import Population
from cv_quality.error_analysis.slices import Slice
from cv_quality.lake.schema import quoted
from cv_quality.reports.pictures import Picture

TrialName = tuple[str, str]
"""Drop and name of a trial."""
BADNESS = "badness"
"""The column that orders trials by how bad they are, the higher the worse."""
MAY_SHOW = "may_show"
"""The column that says whether a trial has an image that may be shown."""
WHY_HIDDEN = "why_hidden"
"""The column with the words in place of an image that may not be shown."""


@dataclass(frozen=True, slots=True)
class TrialColumn:
    """One thing that is known of every trial.

    Attributes:
        name: its column.
        label: for people.
        kind: a level that trials are told apart by, a number, or a name.
        sql: what it is in a question to the lake's table; the column itself by default.
    """

    name: str
    label: str
    kind: Literal["level", "number", "name"]
    sql: str = ""

    @property
    def expression(self) -> str:
        return self.sql or quoted(self.name)


@dataclass(frozen=True, slots=True)
class TrialSlice:
    """A confirmed slice, and what was published of it."""

    rank: int
    where: Slice
    condition: str
    sentence: str


@dataclass(frozen=True, slots=True, eq=False)
class TrialKind:
    """Trials of which one rate is told: those of another kind are never counted with them.

    Attributes:
        name: in addresses and file names.
        label: for people, in the plural.
        population: its rows have every column besides, and `badness`, `may_show` and `why_hidden`.
        slices: confirmed among these trials, the best first.
        where, failed: what selects them in the lake's table, and the failures of them, as SQL.
        interval: how the metrics bound the rate: by unit, by pair of units, or by artefact.
        other_unit: the column of the second unit of a pair.
        worst_of: the column whose levels are never pooled in the rate: that of the worst is told.
    """

    name: str
    label: str
    population: Population
    slices: tuple[TrialSlice, ...]
    where: str
    failed: str
    interval: Literal["unit", "pair", "artefact"] = "unit"
    other_unit: str | None = None
    worst_of: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """The trials of a build.

    Attributes:
        kinds: the one that is shown first leads; their populations share key, unit and columns.
        columns: what is shown of a trial, in this order.
        table: the lake's table whose rows they are.
        score: the number that the page opens with.
        thresholds: values of it that decide.
        max_thumbnails: how many are drawn; what that costs, the task knows.
        read_thumbnails: draws the images of trials anew, so small; it is asked only for those that may be shown.
    """

    kinds: tuple[TrialKind, ...]
    columns: tuple[TrialColumn, ...]
    table: str
    score: str
    thresholds: tuple[float, ...]
    max_thumbnails: int
    read_thumbnails: Callable[[Sequence[TrialName]], Mapping[TrialName, Picture]]

    @property
    def key(self) -> tuple[str, ...]:
        return self.kinds[0].population.key

    @property
    def unit(self) -> str:
        return self.kinds[0].population.unit

    @property
    def n(self) -> int:
        """How many there are, of all kinds."""
        return sum(kind.population.rows.height for kind in self.kinds)
