"""How one field of an event is written in foreign logs: its column, unit, zone, time format and words.

Reading such a rule from a mapping lives here; the mapping as a whole in `mapping`, its use in `values`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast
from zoneinfo import ZoneInfo, available_timezones

from cv_quality.drops.importers.units import conversion
from cv_quality.errors import MappingError, near

EPOCHS: Final = {"epoch_s": 10**6, "epoch_ms": 10**3, "epoch_us": 1, "epoch_ns": 10**-3}
"""Formats of times that are numbers, with the microseconds of one."""
FIELD_KEYS: Final = ("column", "constant", "from", "to", "format", "zone", "year", "zero", "levels", "decimal")
"""What a mapping may say of a field."""
_UNIT_ENDINGS: Final = {"ms": "ms", "us": "us", "s": "s", "cm": "cm", "deg": "deg", "lux": "lux"}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where the values of one field come from, and how they are written there.

    Attributes:
        column: of the log, a dotted path in JSON; None for a constant.
        constant: the value of every row, as text.
        unit, to: of a number in the log and in the drop.
        format: of a time: `iso`, one of `EPOCHS`, or as strptime writes it.
        zone: of times that are local.
        year: of times that are logged without one.
        zero: the moment from which a time that is a number counts; None for 1970.
        levels: what the words of the log are in the drop.
        decimal: the decimal mark of numbers.
    """

    column: str | None = None
    constant: str | None = None
    unit: str | None = None
    to: str | None = None
    format: str = "iso"
    zone: str | None = None
    year: str | None = None
    zero: datetime | None = None
    levels: Mapping[str, str] = field(default_factory=dict)
    decimal: str = "."


@dataclass(frozen=True, slots=True)
class TimeHabits:
    """What holds for the times of a mapping unless a field says otherwise.

    Attributes:
        zone, year: of times without an offset, and without a year.
        moment: what a preset knows of the time of its records.
    """

    zone: str | None = None
    year: str | None = None
    moment: Mapping[str, str] = field(default_factory=dict)


_NO_HABITS: Final = TimeHabits()


def field_rule(value: object, *, name: str, habits: TimeHabits = _NO_HABITS) -> FieldRule:
    """Read the rule of one field.

    Args:
        value: the name of a column, or a table of `FIELD_KEYS`.
        name: of the field.
        habits: of the times of the mapping.

    Raises:
        MappingError: it says what no rule can.
    """
    if isinstance(value, str):
        value = {"column": value}
    if isinstance(value, list):
        raise MappingError(f"field {name!r}: expected one column, found {len(value)}: {', '.join(map(str, value))}")
    if name == "occurred_at" and isinstance(value, dict) and not {"column", "constant"} & set(value):
        value = {**habits.moment, **value}
    table = keyed(value, FIELD_KEYS, where=f"field {name!r}")
    if ("column" in table) == ("constant" in table):
        raise MappingError(f"field {name!r}: expected either a 'column' or a 'constant'")
    unit, to = _units(table, name=name)
    form = _time_format(str(table.get("format", "iso")), where=f"field {name!r}")
    levels = keyed(table.get("levels", {}), None, where=f"field {name!r}, levels")
    return FieldRule(
        column=cast("str | None", table.get("column")),
        constant=cast("str | None", table.get("constant")),
        unit=unit,
        to=to,
        format=form,
        zone=known_zone(table.get("zone"), where=f"field {name!r}") or habits.zone,
        year=known_year(table.get("year"), where=f"field {name!r}") or (None if form in EPOCHS else habits.year),
        zero=_zero(table.get("zero"), form=form, where=f"field {name!r}"),
        levels={word: str(level) for word, level in levels.items()},
        decimal=chosen(table.get("decimal", "."), (".", ","), where=f"field {name!r}, decimal"),
    )


def _units(table: Mapping[str, object], *, name: str) -> tuple[str | None, str | None]:
    unit, to = cast("str | None", table.get("from")), cast("str | None", table.get("to"))
    if unit is None and to is not None:
        raise MappingError(f"field {name!r}: converted 'to' {to}, but 'from' which unit?")
    if unit is not None:
        own = _UNIT_ENDINGS.get(name.rsplit("_", 1)[-1])
        to = to or own
        if to is None:
            raise MappingError(f"field {name!r}: converted 'from' {unit}, but 'to' which unit?")
        conversion(unit, to, where=f"field {name!r}")
        if own is not None and conversion(to, own, where=f"field {name!r}").factor != 1:
            raise MappingError(f"field {name!r} is in {own}, as its name says: convert to that, not to {to}")
    return unit, to


def keyed(value: object, known: tuple[str, ...] | None, *, where: str) -> dict[str, object]:
    """Refuse what is no table, or has keys beyond the known ones."""
    if not isinstance(value, dict):
        raise MappingError(f"{where}: expected a mapping of names to values, found {value!r}")
    for key in value:
        if known is not None and key not in known:
            raise MappingError(f"{where}: unknown key {key!r}; {near(str(key), known)}")
    return value


def chosen(value: object, known: tuple[str, ...], *, where: str) -> str:
    """Refuse what is none of the known words."""
    if value not in known:
        raise MappingError(f"{where}: expected {' or '.join(known)}, found {value!r}; {near(str(value), known)}")
    return str(value)


def known_zone(value: object, *, where: str) -> str | None:
    """Refuse a time zone that does not exist."""
    if value is None:
        return None
    try:
        ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):
        raise MappingError(f"{where}: no time zone {value!r}; {_near_zone(str(value))}") from None
    return str(value)


def _near_zone(name: str) -> str:
    told = near(name, available_timezones())
    return told if told.startswith("did") else "write it as in Europe/Berlin or UTC"


def known_year(value: object, *, where: str) -> str | None:
    """Refuse what is no year."""
    if value is not None and not re.fullmatch(r"(19|20|21)\d\d", str(value)):
        raise MappingError(f"{where}: expected a year such as 2026, found {value!r}")
    return None if value is None else str(value)


def _time_format(text: str, *, where: str) -> str:
    """As Polars reads it: a fraction of a second takes its point with it."""
    if text != "iso" and text not in EPOCHS and "%" not in text:
        known = ("iso", *EPOCHS)
        raise MappingError(f"{where}: format {text!r} is none of times; {near(text, known)}, or %Y-%m-%d %H:%M:%S")
    found = text.replace(".%f", "%.f").replace(",%f", "%.f")
    if "%f" in found:
        raise MappingError(f"{where}: format {text!r}: %f is read behind a point or comma only, as in %S.%f")
    return found


def _zero(value: object, *, form: str, where: str) -> datetime | None:
    if value is None:
        return None
    if form not in EPOCHS:
        raise MappingError(f"{where}: 'zero' says from when a number counts; give the 'format' too, as epoch_us")
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise MappingError(f"{where}: expected a 'zero' such as 2026-09-01T12:00:00Z, found {value!r}")
    return moment
