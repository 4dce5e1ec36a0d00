"""The one description of a column and a table; everything else about columns is derived from it.

Parquet writers, quarantine rules, Great Expectations suites, the warehouse's models and the documentation of columns
come from `Table` values, each beside its writer. Nothing here knows where a table lies.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from cv_quality.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "integer", "real", "flag", "instant", "vector", "integers", "reals", "texts", "bytes"]
Key = Literal["drop", "build", "build_drop"]
Bounds = Literal["score", "device_score", "threshold", "name", "status"]
Conditions = Literal["recorded", "measured", "banded"]

PARTITION_COLUMNS: dict[Key, tuple[str, ...]] = {
    "drop": ("drop_id",),
    "build": ("build_id",),
    "build_drop": ("build_id", "drop_id"),
}
"""The columns that hold the key of a file in its rows."""
IDENTIFIER = r"[A-Za-z0-9._-]{1,128}"
NOT_IN_IDENTIFIER = r"[^A-Za-z0-9._-]"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: with its unit, where it has one (`latency_ms`).
        kind: logical type; `vector` is a list of float32, `instant` a UTC timestamp in microseconds, `bytes` an encoded
            picture or packed bits.
        meaning: one line for people, with the range when it is not obvious.
        nullable: whether null is a legal value.
        low, high: closed range of a number; None is unbounded.
        levels: the closed set of values of a text column; empty when open.
        pattern: regular expression that a whole text value must match.
        bounds: what the modality says of the values: the range of its scores, of those of devices, of thresholds on
            scores, its own name, or why a sample has no model output, besides `levels`.
        is_lake_only: whether the warehouse must not read it.
    """

    name: str
    kind: Kind
    meaning: str
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    levels: tuple[str, ...] = ()
    pattern: str | None = None
    bounds: Bounds | None = None
    is_lake_only: bool = False

    @property
    def arrow_type(self) -> "pa.DataType":
        """The physical type in Parquet and in memory."""
        import pyarrow as pa

        types: dict[Kind, pa.DataType] = {
            "text": pa.string(),
            "integer": pa.int64(),
            "real": pa.float64(),
            "flag": pa.bool_(),
            "instant": pa.timestamp("us", tz="UTC"),
            "vector": pa.list_(pa.float32()),
            "integers": pa.list_(pa.int64()),
            "reals": pa.list_(pa.float64()),
            "texts": pa.list_(pa.string()),
            "bytes": pa.binary(),
        }
        return types[self.kind]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the lake.

    Attributes:
        name: also the folder in the lake.
        key: which partition writes one file of it.
        grain: what one row is, for people.
        columns: in the order of the file.
        unique: columns that identify a row within one file; empty when rows may repeat.
        conditions: which dimensions of a modality are columns too: those that devices record, those that are measured
            of a sample, or both with their bands.
        mart: whether the warehouse has it row by row, as `fct_<name>`; models written by hand may read any table.
        asset: the Dagster asset that shows it; by default one of its own name.
    """

    name: str
    key: Key
    grain: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...] = ()
    conditions: Conditions | None = None
    mart: bool = False
    asset: str = ""

    def __post_init__(self) -> None:
        """Check that what identifies a row is there.

        Raises:
            SchemaError: a unique column, or in a mart the build or drop that tells its files apart, is no column.
        """
        missing = [name for name in (self.mart_key if self.mart else self.unique) if name not in self.names]
        if missing:
            raise SchemaError(f"table {self.name}, keyed by {self.key}, has no column {', '.join(missing)}: declare it")

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def column(self, name: str) -> Column:
        """Return the column called `name`; KeyError when the table has none."""
        return {column.name: column for column in self.columns}[name]

    @property
    def mart_key(self) -> tuple[str, ...]:
        """The columns that identify a row over all files, as far as rows do not repeat."""
        return tuple(dict.fromkeys((*PARTITION_COLUMNS[self.key], *self.unique)))

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def arrow_schema(self) -> "pa.Schema":
        import pyarrow as pa

        return pa.schema([pa.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns])


def quoted(name: str) -> str:
    """Write a column's name in SQL, so that it may be a word of SQL."""
    return f'"{name}"'


def identifier(name: str, meaning: str, *, nullable: bool = False) -> Column:
    """Declare a pseudonymous id or key."""
    return Column(name, "text", meaning, nullable=nullable, pattern=IDENTIFIER)


def optional(column: Column) -> Column:
    """Allow null in a column."""
    return replace(column, nullable=True)
