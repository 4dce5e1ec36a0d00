"""Two tables read as one: which subject, which part and what outcome every row of both has.

Both must have the columns that are asked for, in types that can be compared; what differs is refused here, by name.
What follows from the rows is in `cv_quality.error_analysis.attribution`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.error_analysis.decomposition import Rows
from cv_quality.error_analysis.slice_report import Kind, kind_of_outcome
from cv_quality.error_analysis.slices import Slice, is_missing
from cv_quality.errors import SliceError, near
from cv_quality.metrics.bootstrap_kernels import Codes, Floats

if TYPE_CHECKING:
    import polars as pl

NAMES = ("before", "after")


def read_rows(
    before: "pl.DataFrame", after: "pl.DataFrame", *, outcome: str, subject: str | None, slices: Sequence[Slice]
) -> tuple[Rows, Kind]:
    """Read the rows of both tables, those of `before` first, and whether the outcome is a failure or a loss.

    A row belongs to the first slice that holds, or to the part after the last. Subjects are numbered in the order in
    which they appear, so that their names do not matter; without a subject column every row is one of its own.

    Args:
        before, after, outcome, subject, slices: as of `cv_quality.error_analysis.attribution.attribute_change`.

    Raises:
        SliceError: see `cv_quality.error_analysis.attribution.attribute_change`.
    """
    tables = (before, after)
    outcomes = require_tables(before, after, outcome=outcome, subject=subject)
    values, kinds = np.concatenate(outcomes), [kind_of_outcome(item, name=outcome) for item in outcomes]
    for name in dict.fromkeys(name for found in slices for name in found.columns):
        _require(tables, name, needed_by="a slice")
    kind: Kind = "loss" if "loss" in kinds else "rate"
    rows = Rows(
        subject=_subjects(tables, subject) if subject else np.arange(len(values)),
        is_after=np.arange(len(values)) >= before.height,
        part=np.concatenate([_parts(table, slices) for table in tables]),
        outcome=values,
    )
    return rows, kind


def require_tables(
    before: "pl.DataFrame", after: "pl.DataFrame", *, outcome: str, subject: str | None
) -> tuple[Floats, Floats]:
    """Read the outcomes of both tables; each must have rows, finite outcomes, and subjects if they are named.

    Args:
        before, after, outcome, subject: as of `cv_quality.error_analysis.attribution.attribute_change`.

    Raises:
        SliceError: one of these is not so.
    """
    import polars as pl

    tables = (before, after)
    for table, name in zip(tables, NAMES, strict=True):
        if table.is_empty():
            raise SliceError(f"the table '{name}' has no rows: nothing can be compared with it")
    _require(tables, outcome, needed_by="the outcome", one_type=False)
    if subject is not None:
        _require(tables, subject, needed_by="the subject", one_type=False)
        for table, name in zip(tables, NAMES, strict=True):
            if count := int(table.select(is_missing(pl.col(subject)).sum()).item()):
                raise SliceError(
                    f"the subject column {subject!r} is empty in {count} of {table.height} rows of the table '{name}': "
                    "leave these rows out, or name their subjects"
                )
    return _outcome(before, outcome, NAMES[0]), _outcome(after, outcome, NAMES[1])


def shared_columns(before: "pl.DataFrame", after: "pl.DataFrame") -> list[str]:
    """List the columns that can be compared: those of both tables, of one family of types."""
    unlike = unlike_columns(before, after)
    return [name for name in after.columns if name not in unlike]


def unlike_columns(before: "pl.DataFrame", after: "pl.DataFrame") -> dict[str, str]:
    """List the columns that cannot be compared, with the reason."""
    found = {}
    for name in dict.fromkeys((*after.columns, *before.columns)):
        held = [table for table in (before, after) if name in table.columns]
        if len(held) < len(NAMES):
            found[name] = f"only in the table '{NAMES[int(name in after.columns)]}'"
        elif len(_families(held, name)) > 1:
            types = " and ".join(f"{table.schema[name]} in '{one}'" for table, one in zip(held, NAMES, strict=True))
            found[name] = f"of different types: {types}"
    return found


def _require(tables: "Sequence[pl.DataFrame]", column: str, *, needed_by: str, one_type: bool = True) -> None:
    for table, name in zip(tables, NAMES, strict=True):
        if column not in table.columns:
            raise SliceError(
                f"the table '{name}' has no column {column!r}, which {needed_by} needs: {near(column, table.columns)}"
            )
    if one_type and len(_families(tables, column)) > 1:
        types = " and ".join(f"{table.schema[column]} in '{name}'" for table, name in zip(tables, NAMES, strict=True))
        raise SliceError(f"expected one type of {column!r}, which {needed_by} needs, found {types}: make them the same")


def _families(tables: "Sequence[pl.DataFrame]", column: str) -> set[str]:
    """What kinds of values a column has; none where it is empty throughout."""
    import polars as pl

    kinds = {table.schema[column] for table in tables} - {pl.Null()}
    text = (pl.String, pl.Categorical, pl.Enum)
    return {"numbers" if kind.is_numeric() else "text" if kind in text else str(kind) for kind in kinds}


def _outcome(table: "pl.DataFrame", column: str, name: str) -> Floats:
    import polars as pl

    kind = table.schema[column]
    if not (kind == pl.Boolean or kind.is_numeric()):
        raise SliceError(
            f"expected the outcome {column!r} as true and false, 0 and 1, or a number, found {kind} in '{name}'"
        )
    values = table[column].cast(pl.Float64)
    missing, endless = values.null_count() + int(values.is_nan().sum()), int(values.is_infinite().sum())
    if missing or endless:
        raise SliceError(
            f"the outcome {column!r} is missing in {missing} and infinite in {endless} of {table.height} rows of the "
            f"table '{name}': leave these rows out, or say what they are"
        )
    return values.to_numpy()


def _subjects(tables: "Sequence[pl.DataFrame]", column: str) -> Codes:
    import polars as pl

    is_text = len(_families(tables, column)) > 1 or "text" in _families(tables, column)
    names = [table.select(subject=_id_text(table, column) if is_text else pl.col(column)) for table in tables]
    both = pl.concat(names, how="vertical_relaxed")
    known = both.unique(maintain_order=True).with_row_index("code")
    codes = both.join(known, on="subject", how="left", maintain_order="left", nulls_equal=True)["code"]
    return codes.cast(pl.Int64).to_numpy()


def _id_text(table: "pl.DataFrame", column: str) -> "pl.Expr":
    """The ids as text; a whole number has no decimals, whatever its type."""
    import polars as pl

    ids = pl.col(column)
    is_whole = table.schema[column].is_float() and bool((table[column].drop_nulls() % 1 == 0).all())
    return (ids.cast(pl.Int64) if is_whole else ids).cast(pl.String)


def _parts(table: "pl.DataFrame", slices: Sequence[Slice]) -> Codes:
    """The number of the first slice that holds for each row, or of the part after the last."""
    import polars as pl

    part = pl.lit(len(slices), dtype=pl.Int64)
    for index in reversed(range(len(slices))):
        part = pl.when(slices[index].expression()).then(pl.lit(index, dtype=pl.Int64)).otherwise(part)
    try:
        codes = table.select(part.alias("part"))["part"]
    except pl.exceptions.PolarsError as error:
        raise SliceError(f"a slice compares a column with values of another type: {error}") from error
    return np.broadcast_to(codes.to_numpy(), table.height).astype(np.int64)
