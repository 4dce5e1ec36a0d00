"""A table as small whole numbers: every column a byte a row, every condition a set of bytes.

Columns are read one at a time, so a table never lies in memory as a whole. What cannot carry a slice (an identifier, a
constant) is left out here, with the reason; the rest is searched in `cv_quality.error_analysis.candidate_search`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.slice_report import Kind, kind_of_outcome
from cv_quality.error_analysis.slices import Predicate, Slice, Value, epoch_words, is_missing
from cv_quality.errors import SliceError, near
from cv_quality.metrics.bootstrap_kernels import Codes

if TYPE_CHECKING:
    import polars as pl

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
"""Which of the 256 codes of a column a condition holds for."""
Bounds = Mapping[str, Sequence[float]]
"""Thresholds by column that are taken where they part nearly the same rows: those declared, or said before."""

MAX_CODES: Final = 254
MIN_ROWS, MIN_SHARE = 5, 1e-3
"""Values with fewer rows than these are pooled: no slice of a report rests on one of them."""
MAX_LISTED_VALUES: Final = 12
"""A number with no more distinct values than this is searched value by value."""
MAX_LOSS: Final = 1e100
"""Losses of this size still have squares and sums that a double holds."""
IDENTIFIER_SHARE: Final = 0.9
QUANTILE_SAMPLE: Final = 200_000
_TAIL = np.concatenate([np.arange(0.001, 0.01, 0.001), np.arange(0.01, 0.05, 0.0025)])
FINE_QUANTILES: Final = np.concatenate([_TAIL, np.arange(0.05, 0.951, 0.01), 1 - _TAIL[::-1]])
"""Where thresholds may lie: closer in the tails, so that a slice of 1 % of the rows can be told from one of 1.3 %."""


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """One column of the search.

    Attributes:
        codes: uint8 (n,), in the order of the rows.
        labels: for values: the value of each code from 0; None is missing.
        edges: for numbers: code j holds edges[j - 1] < x <= edges[j]; the last code is unbounded. Empty for values.
        missing: the code of missing numbers, or None.
        other: the code of pooled rare values, which no condition can name, or None.
    """

    name: str
    codes: Bytes
    labels: tuple[Value, ...]
    edges: tuple[float, ...]
    missing: int | None
    other: int | None

    @property
    def is_ordered(self) -> bool:
        return bool(self.edges)

    @property
    def n_codes(self) -> int:
        return 1 + max(len(self.labels) - 1, len(self.edges), self.missing or 0, self.other or 0)

    def with_bound(self, mask: Mask, bound: float) -> Mask | None:
        """Move the bound of a one-sided condition; None for another condition, or where `bound` is no edge."""
        held = np.flatnonzero(mask[: self.n_codes])
        is_run = self.is_ordered and len(held) == held[-1] - held[0] + 1 and self.missing not in held
        if not is_run or (held[0] > 0) == (held[-1] < len(self.edges)) or bound not in self.edges:
            return None
        codes, edge = np.arange(len(mask)), self.edges.index(bound)
        return codes <= edge if held[0] == 0 else (codes > edge) & (codes <= len(self.edges))

    def predicates(self, mask: Mask) -> tuple[Predicate, ...]:
        """Name the conditions that hold for exactly the codes in `mask`: one, or two bounds of an interval."""
        held = np.flatnonzero(mask[: self.n_codes]).tolist()
        if held == [self.missing]:
            return (Predicate(self.name, "==", None),)
        is_bound = self.is_ordered and held == list(range(held[0], held[-1] + 1)) and self.missing not in held
        is_one_sided = is_bound and len(held) > 1 and (held[0] == 0 or held[-1] == len(self.edges))
        if self.labels and not is_one_sided:
            values = tuple(sorted((None if code == self.missing else self.labels[code] for code in held), key=_order))
            return (Predicate(self.name, "==", values[0]) if len(values) == 1 else Predicate(self.name, "in", values),)
        low, high = held[0], held[-1]
        lower = (Predicate(self.name, ">", self.edges[low - 1]),) if low > 0 else ()
        upper = (Predicate(self.name, "<=", self.edges[high]),) if high < len(self.edges) else ()
        return lower + upper


@dataclass(frozen=True, slots=True)
class Encoded:
    """A table ready for the search.

    Attributes:
        columns, skipped: what is searched, and what is not, with the reason.
        outcome: float64 (n,): 1 for a failure and 0 for none, or a loss.
        subjects: int64 (n,), 0 to n_subjects - 1, or None where rows stand for themselves.
        unit: what a subject is called.
    """

    columns: tuple[EncodedColumn, ...]
    skipped: dict[str, str]
    kind: Kind
    outcome: NDArray[np.float64]
    subjects: Codes | None
    n_subjects: int
    unit: str = "subject"

    @property
    def n_rows(self) -> int:
        return len(self.outcome)

    def inside(self, masks: Mapping[int, Mask]) -> NDArray[np.bool_]:
        """Flag the rows of a slice, given as a mask of codes by index of the column."""
        inside = np.ones(self.n_rows, np.bool_)
        for column, mask in masks.items():
            inside &= holds(self.columns[column].codes, mask)
        return inside

    def n_subjects_of(self, inside: NDArray[np.bool_]) -> int:
        """Count the subjects with a row inside; rows where no subjects are named."""
        if self.subjects is None:
            return int(np.count_nonzero(inside))
        return int(np.count_nonzero(np.bincount(self.subjects[inside])))

    def slice_of(self, masks: Mapping[int, Mask]) -> Slice:
        """Name a slice, given as a mask of codes by index of the column: its conditions in the order of the columns."""
        return Slice(tuple(item for index in sorted(masks) for item in self.columns[index].predicates(masks[index])))


def holds(codes: Bytes, mask: Mask) -> NDArray[np.bool_]:
    """Flag the rows whose code is in a mask, by a comparison with each run of codes: ten times as fast as looking up.

    >>> holds(np.array([0, 1, 2, 3], np.uint8), np.array([True, False, True, True] + 252 * [False])).tolist()
    [True, False, True, True]
    """
    bounds = [0, *(np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist(), len(mask)]
    flags: NDArray[np.bool_] | None = None
    for first, end in zip(bounds[not mask[0] :: 2], bounds[1 + (not mask[0]) :: 2], strict=False):
        within = codes == first if end == first + 1 else codes - np.uint8(first) <= end - first - 1
        flags = within if flags is None else flags | within
    return np.zeros(len(codes), np.bool_) if flags is None else flags


def encode(
    table: "pl.LazyFrame",
    *,
    outcome: str,
    subject: str | None = None,
    columns: Sequence[str] | None = None,
    bounds: Bounds | None = None,
    unit: str = "subject",
) -> Encoded:
    """Encode the columns of a table, read one by one.

    Args:
        table: one row a trial.
        outcome: true or 1 for a failure, or a loss.
        subject: whose row it is; None takes every row for itself.
        columns: what may describe a slice; by default every column but the outcome and the subject.
        bounds: thresholds that the search may choose, beside its own.
        unit: what a subject is called.

    Raises:
        SliceError: no such column, no row, or an outcome or subject that cannot be used.
    """
    schema = table.collect_schema()
    for name in (outcome, *((subject,) if subject else ()), *(columns or ())):
        if name not in schema:
            raise SliceError(f"the table has no column {name!r}: {near(name, schema)}")
    values, kind = _outcome(_read(table, outcome), name=outcome)
    subjects, n_subjects = (None, len(values)) if subject is None else _subjects(_read(table, subject), name=subject)
    names = dict.fromkeys(schema if columns is None else columns)
    searched = [name for name in names if name not in (outcome, subject)]
    further, found = bounds or {}, dict[str, EncodedColumn | str]()
    for name in searched:
        found[name] = _column(_read(table, name), name, subjects, n_subjects, bounds=further.get(name, ()), unit=unit)
    return Encoded(
        columns=tuple(item for item in found.values() if isinstance(item, EncodedColumn)),
        skipped={name: item for name, item in found.items() if isinstance(item, str)},
        kind=kind,
        outcome=values,
        subjects=subjects,
        n_subjects=n_subjects,
        unit=unit,
    )


def min_rows(n_rows: int) -> int:
    """Compute the fewest rows of a value or a slice that is looked at, in a table of `n_rows`."""
    return max(MIN_ROWS, math.ceil(MIN_SHARE * n_rows))


def _read(table: "pl.LazyFrame", name: str) -> "pl.Series":
    import polars as pl

    return table.select(pl.col(name)).collect(engine="streaming").to_series()


def _outcome(values: "pl.Series", *, name: str) -> tuple[NDArray[np.float64], Kind]:
    import polars as pl

    if values.is_empty():
        raise SliceError("the table has no rows")
    if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        raise SliceError(
            f"outcome {name!r}: expected true and false, 0 and 1, or a loss as a number, found {values.dtype}; "
            "make it one, for example with a comparison"
        )
    numbers = values.cast(pl.Float64).to_numpy(writable=True)
    if unusable := np.count_nonzero(~np.isfinite(numbers)):
        rows = f"{unusable} of {len(numbers)} rows"
        raise SliceError(f"outcome {name!r}: {rows} are null or not finite: fill them or leave them out")
    if (largest := float(np.abs(numbers).max())) > MAX_LOSS:
        raise SliceError(
            f"outcome {name!r}: expected losses up to {MAX_LOSS:g} in size, whose squares can be added up, found "
            f"{largest:g}: leave such rows out, or give the loss in a larger unit"
        )
    return numbers, kind_of_outcome(values.unique().cast(pl.Float64).to_numpy(), name=name)


def _subjects(values: "pl.Series", *, name: str) -> tuple[NDArray[np.int64], int]:
    """Codes by the sorted ids, so that the order of rows changes nothing."""
    import polars as pl

    if values.dtype.is_nested() or values.dtype == pl.Object:
        raise SliceError(f"subject {name!r}: expected a name or a number, found {values.dtype}")
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if nulls := values.null_count():
        rows = f"{nulls} of {len(values)} rows"
        raise SliceError(f"subject {name!r}: {rows} name no subject: fill them or leave them out")
    known = values.unique().sort()
    codes = values.replace_strict(known, pl.int_range(len(known), eager=True), return_dtype=pl.Int64)
    return codes.to_numpy(writable=True), len(known)


def _column(
    values: "pl.Series", name: str, subjects: Codes | None, n_subjects: int, *, bounds: Sequence[float], unit: str
) -> EncodedColumn | str:
    """The column as codes, or the reason why it is not searched.

    Args:
        values, name: of the column.
        subjects, n_subjects: whose rows they are, if that is known.
        bounds: thresholds that the search may choose.
        unit: what a subject is called.
    """
    import polars as pl

    if values.dtype.is_decimal():
        values = values.cast(pl.Float64)
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.dtype.is_nested() or values.dtype.is_temporal() or values.dtype in (pl.Binary, pl.Object):
        return f"columns of type {values.dtype} are not searched"
    n_known = len(values) - values.null_count()
    counted = values.value_counts(name="rows")
    n_values = counted.height - (n_known < len(values))
    if n_values + (n_known < len(values)) < 2:
        return "constant"
    if _is_time(values, name):
        return _numbers(values, name=name, n_values=n_values, bounds=bounds)
    is_whole = not values.dtype.is_float() or bool((values.drop_nulls() % 1 == 0).all())
    # Whole numbers may be measured, as 9,840 of a hundredth of a lux: then some occur twice.
    share = (n_known - 1) / n_known if values.dtype.is_numeric() else IDENTIFIER_SHARE
    if is_whole and n_values > max(share * n_known, MAX_LISTED_VALUES):
        return f"an identifier: {n_values} values in {n_known} rows"
    is_many = n_values > MAX_LISTED_VALUES and n_values >= IDENTIFIER_SHARE * n_subjects
    if is_whole and subjects is not None and is_many:
        # Whether every subject has values of its own, one or, as with sessions, several.
        pairs = pl.DataFrame({"value": values, "subject": subjects}).drop_nulls()
        if pairs.n_unique() == n_values:
            return f"an identifier of the {unit}s: {n_values} values for {n_subjects}"
    if values.dtype.is_numeric():
        return _numbers(values, name=name, n_values=n_values, bounds=bounds)
    return _values(values, counted, name=name)


def _is_time(values: "pl.Series", name: str) -> bool:
    """Whether a column holds points in time as numbers, which name no row though each may occur once."""
    if not values.dtype.is_numeric():
        return False
    return all(epoch_words(name, cast("float", value)) for value in (values.min(), values.max()))


def _values(values: "pl.Series", counted: "pl.DataFrame", *, name: str) -> EncodedColumn | str:
    """Codes by falling frequency, ties by value; missing is a value, rare ones are pooled.

    Text is looked at once a value, not once a row.
    """
    import polars as pl

    text = pl.col(values.name).cast(pl.String)
    known = pl.col(values.name) if values.dtype == pl.Boolean else pl.when(~is_missing(text)).then(text)
    spelt = counted.select(known.alias("value"), pl.col(values.name).alias("spelt"), "rows")
    summed = spelt.group_by("value").agg(pl.col("rows").sum())
    summed = summed.sort("rows", "value", descending=[True, False], nulls_last=True)
    kept = summed.filter(pl.col("rows") >= min_rows(len(values))).head(MAX_CODES).with_row_index("code")
    if kept.is_empty():
        return f"no value of {summed.height} reaches {min_rows(len(values))} rows"
    other = None if kept.height == summed.height else kept.height
    named = spelt.join(kept, on="value", nulls_equal=True)
    codes = values.replace_strict(named["spelt"], named["code"], default=other, return_dtype=pl.UInt8)
    return EncodedColumn(name, codes.to_numpy(writable=True), tuple(kept["value"].to_list()), (), None, other)


def _numbers(values: "pl.Series", *, name: str, n_values: int, bounds: Sequence[float]) -> EncodedColumn | str:
    """Codes by rising bins; `searchsorted` from the left puts x <= edge below it."""
    import polars as pl

    known = values.drop_nulls()
    few = known.unique().sort().to_list() if n_values <= MAX_LISTED_VALUES else []
    if len(few) == 1 and math.isfinite(few[0]):
        return EncodedColumn(
            name, values.is_null().cast(pl.UInt8).to_numpy(writable=True), (few[0], None), (), None, None
        )
    labels: tuple[Value, ...] = tuple(few) if all(math.isfinite(value) for value in few) else ()
    edges = _edges_between(few) if few else _edges(known.cast(pl.Float64).to_numpy(), bounds)
    if not len(edges):
        return "nearly constant"
    numbers = values.cast(pl.Float64).fill_null(0.0).to_numpy()
    codes = np.searchsorted(edges, numbers, side="left").astype(np.uint8)
    missing = len(edges) + 1 if values.null_count() else None
    if missing is not None:
        codes[values.is_null().to_numpy()] = missing
    return EncodedColumn(name, codes, labels, tuple(edges.tolist()), missing, None)


def _edges_between(values: Sequence[float]) -> NDArray[np.float64]:
    """Edges that part all of a few values; those beside infinity are finite all the same."""
    finite = [float(value) for value in values if math.isfinite(value)]
    below = [(finite[0] if finite else 0.0) - 1.0] if values[0] == -math.inf else []
    return np.array([*below, *(finite if values[-1] == math.inf else finite[:-1])], np.float64)


def _edges(numbers: NDArray[np.float64], bounds: Sequence[float]) -> NDArray[np.float64]:
    """Distinct finite quantiles, each the roundest number that parts the same rows to within a fraction of a step.

    Bounds that part some rows are edges too.
    """
    step = max(1, len(numbers) // QUANTILE_SAMPLE)
    sample = np.sort(numbers[::step])
    inner = (FINE_QUANTILES * len(sample)).astype(np.int64).clip(0, len(sample) - 2)
    slack = max(1, len(sample) // 4000)
    above = sample[np.minimum(inner + slack, len(sample) - 1)]
    edges = [_roundest(low, high) for low, high in zip(sample[inner], above, strict=True)]
    chosen = [edge for edge in (*edges, *bounds) if math.isfinite(edge) and sample[0] <= edge < sample[-1]]
    return np.unique(np.array(chosen, np.float64))[: MAX_CODES - 1]


def _roundest(low: float, high: float) -> float:
    """The number with the fewest digits in [low, high).

    >>> _roundest(9.9713, 10.0482), _roundest(3.0, 3.0), _roundest(0.12391, 0.12412)
    (10.0, 3.0, 0.124)
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low >= high:
        return float(low)
    for digits in range(-math.ceil(math.log10(max(abs(low), abs(high)))), 17):
        scale = 10.0**digits
        rounded = math.ceil(low * scale) / scale
        if low <= rounded < high:
            return float(rounded)
    return float(low)


def _order(value: Value) -> tuple[bool, bool, float, str]:
    """Numbers by size, then texts, missing last."""
    size = float(value) if isinstance(value, int | float) else None
    return value is None, size is None, size or 0.0, str(value)
