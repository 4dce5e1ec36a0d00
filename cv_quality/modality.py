"""What a sample is: the conditions under which it is taken, each declared once, and the tables as they are for it.

A modality of a task is a value with at least these fields (`Modality`); what more it needs, an encoder or a comparator,
is the task's business, for instance in `cv_quality.tasks.verification.modality`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from cv_quality.errors import SchemaError
from cv_quality.lake.schema import Bounds, Column, Conditions, Table
from cv_quality.text import figures

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.inference.registry import BuildEntry, EntryFields

Setting = float | str
"""A value of a condition."""


@dataclass(frozen=True, slots=True)
class Bands:
    """Intervals that a numeric column is cut into, the lower edge included.

    Attributes:
        column: name of the column of bands.
        edges: ascending; one less than `names`.
        label: the banded quantity for people, with its unit.
    """

    column: str
    edges: tuple[float, ...]
    names: tuple[str, ...]
    label: str

    def of(self, value: "pl.Expr") -> "pl.Expr":
        """Cut a number into its band; null stays null."""
        import polars as pl

        band = pl.lit(self.names[-1])
        for edge, name in reversed(list(zip(self.edges, self.names[:-1], strict=True))):
            band = pl.when(value < edge).then(pl.lit(name)).otherwise(band)
        return pl.when(value.is_not_null()).then(band)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that is known of a sample, its subject or its device, and how it is shown, sliced and changed.

    Attributes:
        column: name, type, unit, range or levels, as logged.
        label: for people, with the unit.
        phrase: a value in words, `{}` in its place.
        level_phrase: a level in words, `{}` in its place; by default the label before it.
        bands: intervals that rates are broken down by, in place of the numbers.
        is_counted: whether rates are broken down by it (a number needs bands for that).
        is_logarithmic: whether distances between values are those of their logarithms.
        benign: value under which attempts are expected to pass, with the words for it.
        ordinary: value that goes without saying.
        is_declared: whether a drop declared it, beyond what the modality has.
        is_searched: whether failures are searched by it; not what a build's own fault would move, such as the part of
            an iris that its mask keeps, which would stand for the cause.
    """

    column: Column
    label: str
    phrase: str = "{}"
    level_phrase: str = ""
    bands: Bands | None = None
    is_counted: bool = False
    is_logarithmic: bool = False
    benign: tuple[str, Setting] | None = None
    ordinary: str | None = None
    is_declared: bool = False
    is_searched: bool = True

    def __post_init__(self) -> None:
        """Check that what is counted has levels.

        Raises:
            SchemaError: a counted number has no bands.
        """
        if self.is_counted and self.column.kind == "real" and self.bands is None:
            raise SchemaError(f"{self.name}: rates are broken down by levels, so a counted number needs bands")

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def level_column(self) -> str:
        """The column whose values are the levels that rates are broken down by."""
        return self.bands.column if self.bands else self.name

    @property
    def level_label(self) -> str:
        return self.bands.label if self.bands else self.label

    @property
    def levels(self) -> tuple[str, ...]:
        """The closed set of levels, in their order; empty when open."""
        return self.bands.names if self.bands else self.column.levels

    def words(self, value: Setting | None) -> str | None:
        """Put a value for people; None where it was not recorded or goes without saying.

        >>> Dimension(Column("yaw_deg", "real", "head yaw"), "yaw in degrees", phrase="yaw {}°").words(12.5)
        'yaw 12.5°'
        """
        if value is None or value == self.ordinary:
            return None
        if isinstance(value, bool):
            return self.phrase.format("yes" if value else "no")
        return self.phrase.format(figures(value) if isinstance(value, float) else value)

    def level_words(self, level: str) -> str:
        """Put a level for people.

        >>> Dimension(Column("sex", "text", "as stated"), "sex").level_words("female")
        'sex female'
        >>> Dimension(Column("light_lux", "real", "light"), "light", level_phrase="light {} lux").level_words("<10")
        'light below 10 lux'
        """
        value = level.replace(">=", "at least ").replace("<", "below ")
        return (self.level_phrase or f"{self.level_label} {{}}").format(value)


class Modality(Protocol):
    """What every task knows of a modality."""

    @property
    def name(self) -> str:
        """As manifests and registry entries write it."""

    @property
    def conditions(self) -> tuple[Dimension, ...]:
        """What devices log of the circumstances of a sample, in the order of the tables."""

    @property
    def measured(self) -> tuple[Dimension, ...]:
        """What the evaluation measures of a sample, beside what was logged."""

    @property
    def instance(self) -> str | None:
        """The condition that tells a subject's instances apart, such as left and right eye; None where it has one."""

    @property
    def event_kinds(self) -> tuple[str, ...]:
        """The kinds of events of its drops, in the order in which they refer to each other."""

    @property
    def failure_statuses(self) -> tuple[str, ...]:
        """Why a sample that could be read gives no model output."""

    @property
    def bounds(self) -> Mapping[Bounds, tuple[float | None, float | None]]:
        """The closed range of scores and of thresholds, where it has scores; None is unbounded."""

    @property
    def task(self) -> str:
        """The name of the task that evaluates it."""

    def of_build(self, entry: "BuildEntry") -> "Modality":
        """Itself as a build's entry says: how it compares, or that the devices' scores are its own."""

    @property
    def parse_entry(self) -> "Callable[[EntryFields], BuildEntry]":
        """Reads a build's registry file, beyond what every entry has."""

    @property
    def parse_recorded_entry(self) -> "Callable[[EntryFields], BuildEntry]":
        """Reads the file of a build that is evaluated as its devices recorded it."""


def of_modality(table: Table, modality: Modality) -> Table:
    """Complete a table for one modality: its dimensions after the frame, the ranges of scores filled in.

    Raises:
        SchemaError: the table has a column of a condition's name already.
    """
    columns = list(table.columns)
    if table.conditions:
        added = dimension_columns(modality, table.conditions)
        twice = sorted({column.name for column in added} & set(table.names))
        if twice:
            raise SchemaError(
                f"modality {modality.name}: {twice[0]!r} is a column of every {table.name}; name it otherwise"
            )
        place = table.names.index("frame") + 1
        columns[place:place] = added
    return replace(table, columns=tuple(_bounded(column, modality) for column in columns), conditions=None)


def dimension_columns(modality: Modality, which: Conditions) -> tuple[Column, ...]:
    """List the columns of a modality's dimensions: as logged, as measured, or both and then their bands."""
    if which == "recorded":
        return tuple(item.column for item in modality.conditions)
    if which == "measured":
        return tuple(item.column for item in modality.measured)
    dimensions = (*modality.conditions, *modality.measured)
    return (*(item.column for item in dimensions), *(level_column(item) for item in dimensions if item.bands))


def level_column(dimension: Dimension) -> Column:
    """Declare the column of a dimension's levels: of its bands, where it has some."""
    if dimension.bands is None:
        return dimension.column
    return Column(dimension.level_column, "text", f"{dimension.level_label}, in bands", nullable=True)


def _bounded(column: Column, modality: Modality) -> Column:
    if column.bounds is None:
        return column
    if column.bounds == "name":
        return replace(column, levels=(modality.name,))
    if column.bounds == "status":
        return replace(column, levels=("ok", *modality.failure_statuses, *column.levels))
    low, high = modality.bounds.get(column.bounds, (None, None))
    return replace(column, low=low, high=high)
