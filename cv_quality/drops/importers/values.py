"""Turns the cells of foreign logs into the values of a field: numbers, flags, words and times, a column at a time.

What does not fit is told as a `Doubt`, with the rows that it holds for; who reads rows decides what becomes of them.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cv_quality.drops.doubts import Doubt, broken_rules
from cv_quality.drops.importers.field_rules import EPOCHS, FieldRule
from cv_quality.drops.importers.units import conversion
from cv_quality.lake.schema import Column
from cv_quality.tables.numbers import MISSING_WORDS
from cv_quality.tables.outcomes import NO, YES

if TYPE_CHECKING:
    import polars as pl

_NUMBER: Final = {".": "a number (one as 0,5 with 'decimal: \",\"')", ",": "a number with a decimal comma"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO_SECONDS: Final = 19
_ISO_END: Final = r"^(?:[.,](\d{1,9}))?\s?(Z|z|UTC|[+-]\d{2}(?::?\d{2})?)?$"
_ISO_NO_YEAR: Final = r"^(\d\d-\d\d[ T])"


def read_values(cells: "pl.Series", column: Column, rule: FieldRule) -> "tuple[pl.Series, list[Doubt]]":
    """Read the values of one field; a cell that does not fit is null.

    Args:
        cells: of the log, of any type.
        column: the field.
        rule: how the log writes it.
    """
    cells = _levelled(cells, rule) if rule.levels else cells
    unknown = _unknown_level(cells, rule)
    if column.kind == "instant":
        values, doubts = _instants(cells, rule)
    elif column.kind in ("real", "integer"):
        values, doubts = _numbers(cells, column, rule)
    elif column.kind == "flag":
        values, doubts = _flags(cells)
    else:
        values, doubts = _texts(cells, column), []
    found = [*unknown, *doubts]
    if not column.nullable and values.null_count():
        found.append(Doubt("missing_field", "a value", values.is_null()))
    return values, [*found, *broken_rules(values, column)]


def texts_of(cells: "pl.Series") -> "pl.Series":
    """Write cells as text, without white space around them; empty ones are null."""
    import polars as pl

    if cells.dtype.is_temporal():
        return cells.cast(pl.String)
    if cells.dtype.is_nested():
        return pl.Series(cells.name, [None if cell is None else str(cell) for cell in cells.to_list()], pl.String)
    text = cells.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def _levelled(cells: "pl.Series", rule: FieldRule) -> "pl.Series":
    """The words of the log as those of the drop; others stay, and are doubted by their column."""
    text = texts_of(cells)
    return text.replace(dict(rule.levels))


def _unknown_level(cells: "pl.Series", rule: FieldRule) -> list[Doubt]:
    if not rule.levels:
        return []
    known = list(dict.fromkeys(rule.levels.values()))
    is_other = (~cells.is_in(known) & cells.is_not_null()).fill_null(False)
    words = ", ".join(rule.levels)
    return [Doubt("unknown_level", f"one of the words {words} that the mapping has levels for", is_other)]


def without_missing(text: "pl.Series") -> "pl.Series":
    """Null where a word says that there is no value."""
    return text.set(text.str.to_lowercase().is_in(list(MISSING_WORDS)).fill_null(False), None)


def _texts(cells: "pl.Series", column: Column) -> "pl.Series":
    text = texts_of(cells)
    return without_missing(text) if column.pattern and column.nullable else text


def _numbers(cells: "pl.Series", column: Column, rule: FieldRule) -> "tuple[pl.Series, list[Doubt]]":
    import polars as pl

    doubts = []
    if cells.dtype.is_numeric():
        values = cells.cast(pl.Float64)
    else:
        text = texts_of(cells)
        text = text.str.replace(",", ".", literal=True) if rule.decimal == "," else text
        values = text.cast(pl.Float64, strict=False)
        if values.null_count() > text.null_count():
            doubts.append(
                Doubt("wrong_type", _NUMBER[rule.decimal], without_missing(text).is_not_null() & values.is_null())
            )
            values = values.set(without_missing(text).is_null(), None)
        named = values.is_nan() & text.str.to_lowercase().is_in(list(MISSING_WORDS))
        values = values.set(named.fill_null(False), None)
    is_endless = (~values.is_finite()).fill_null(False)
    if is_endless.any():
        doubts.append(Doubt("not_finite", "a finite number", is_endless))
        values = values.set(is_endless, None)
    if rule.unit is not None and rule.to is not None:
        found = conversion(rule.unit, rule.to, where=column.name)
        values = values * found.factor + found.offset
    if column.kind == "real":
        return values, doubts
    whole = values.cast(pl.Int64, strict=False)
    is_odd = (values.is_not_null() & (whole.is_null() | (whole.cast(pl.Float64) != values))).fill_null(False)
    return whole.set(is_odd, None), [*doubts, Doubt("wrong_type", "a whole number", is_odd)]


def _flags(cells: "pl.Series") -> "tuple[pl.Series, list[Doubt]]":
    import polars as pl

    if cells.dtype == pl.Boolean:
        return cells, []
    text = without_missing(texts_of(cells)).str.to_lowercase()
    values = text.replace_strict(
        {**dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}, default=None, return_dtype=pl.Boolean
    )
    is_odd = text.is_not_null() & values.is_null()
    return values, [Doubt("wrong_type", "true or false, yes or no, 1 or 0; 'levels' say others", is_odd)]


def _instants(cells: "pl.Series", rule: FieldRule) -> "tuple[pl.Series, list[Doubt]]":
    import polars as pl

    if isinstance(cells.dtype, pl.Datetime):
        moments = cells.cast(pl.Datetime("us", cells.dtype.time_zone))
        return (moments.dt.convert_time_zone("UTC"), []) if cells.dtype.time_zone else _zoned(moments, rule)
    if rule.format in EPOCHS:
        whole = cells if cells.dtype.is_numeric() else texts_of(cells).cast(pl.Float64, strict=False)
        if not cells.dtype.is_numeric():
            exact = texts_of(cells).cast(pl.Int64, strict=False)
            return _epochs(whole, exact, rule, is_given=texts_of(cells).is_not_null())
        return _epochs(whole.cast(pl.Float64), whole.cast(pl.Int64, strict=False), rule, is_given=whole.is_not_null())
    text = texts_of(cells)
    if rule.format == "iso":
        return _iso(text.str.replace(_ISO_NO_YEAR, f"{rule.year}-$1") if rule.year else text, rule)
    lacks_year = rule.year is not None and "%y" not in rule.format.lower()
    form = f"%Y {rule.format}" if lacks_year else rule.format
    dated = f"{rule.year} " + text if lacks_year else text
    moments = dated.str.to_datetime(form, strict=False, time_unit="us")
    is_odd = text.is_not_null() & moments.is_null()
    wrong = [Doubt("bad_time", f"a time written as {rule.format}", is_odd)] if is_odd.any() else []
    if "%z" in rule.format or moments.dtype.time_zone is not None:  # type: ignore[attr-defined]
        return moments.dt.convert_time_zone("UTC"), wrong
    zoned, doubts = _zoned(moments, rule)
    return zoned, [*wrong, *doubts]


def _epochs(
    number: "pl.Series", exact: "pl.Series", rule: FieldRule, *, is_given: "pl.Series"
) -> "tuple[pl.Series, list[Doubt]]":
    import polars as pl

    factor = EPOCHS[rule.format]
    floats = (number * factor).round().cast(pl.Int64, strict=False)
    whole = exact * int(factor) if factor >= 1 else exact // round(1 / factor)
    moments = whole.zip_with((exact.is_not_null() & (exact == number)).fill_null(False), floats)
    if rule.zero is not None:
        moments = moments + (rule.zero - _EPOCH) // timedelta(microseconds=1)
    values = moments.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return values, [Doubt("bad_time", f"a number, {rule.format}", is_given & values.is_null())]


def _iso(text: "pl.Series", rule: FieldRule) -> "tuple[pl.Series, list[Doubt]]":
    """Read `2026-09-01T12:30:00.123+02:00` and its likes; most logs write one form throughout."""
    import polars as pl

    head = text.str.slice(0, _ISO_SECONDS).str.replace("T", " ", literal=True)
    local = head.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    rest = text.str.slice(_ISO_SECONDS)
    parts = rest.str.extract_groups(_ISO_END).struct.unnest()
    fraction, offset = parts["1"], parts["2"]
    is_odd = (
        text.is_not_null() & (local.is_null() | head.str.ends_with(":60") | ~rest.str.contains(_ISO_END))
    ).fill_null(False)
    local = local.set(is_odd, None)
    if fraction.null_count() < len(fraction):
        micros = fraction.str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64, strict=False).fill_null(0)
        local = (local.cast(pl.Int64) + micros).cast(pl.Datetime("us"))
    expected = "a time such as 2026-09-01T12:30:00.123+02:00 ('year' says one that is missing)"
    wrong = [Doubt("bad_time", expected, is_odd)] if is_odd.any() else []
    has_offset = (offset.is_not_null() & local.is_not_null()).fill_null(False)
    if has_offset.all() or not (local.is_not_null() & ~has_offset).any():
        return _moved(local, offset), wrong
    zoned, doubts = _zoned(local.set(has_offset, None), rule)
    return _moved(local, offset).zip_with(has_offset, zoned), [*wrong, *doubts]


def _moved(local: "pl.Series", offset: "pl.Series") -> "pl.Series":
    """Local times less their offset from UTC."""
    import polars as pl

    signs = offset.str.slice(0, 1)
    if signs.is_in(["+", "-"]).any():
        digits = offset.str.replace(":", "", literal=True)
        minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
            pl.Int64, strict=False
        ).fill_null(0)
        moved = (minutes * (1 - 2 * (signs == "-").cast(pl.Int64))).fill_null(0)
        local = (local.cast(pl.Int64) - moved * 60_000_000).cast(pl.Datetime("us"))
    return local.dt.replace_time_zone("UTC")


def _zoned(local: "pl.Series", rule: FieldRule) -> "tuple[pl.Series, list[Doubt]]":
    """Local times of a zone in UTC; one that happens twice or never is doubted."""
    if rule.zone is None:
        values = local.dt.replace_time_zone("UTC")
        expected = "a time with an offset, or 'zone' in the mapping"
        return values.clear(len(values)), [Doubt("no_time_zone", expected, local.is_not_null())]
    values = local.dt.replace_time_zone(rule.zone, ambiguous="null", non_existent="null")
    is_odd = local.is_not_null() & values.is_null()
    doubts = []
    if is_odd.any():
        first = local.dt.replace_time_zone(rule.zone, ambiguous="earliest", non_existent="null")
        twice = f"a time that happens once in {rule.zone}; log UTC or an offset"
        doubts.append(Doubt("ambiguous_time", twice, is_odd & first.is_not_null()))
        doubts.append(Doubt("nonexistent_time", f"a time that {rule.zone} has", is_odd & first.is_null()))
    return values.dt.convert_time_zone("UTC"), doubts
