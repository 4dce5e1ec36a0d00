"""Turns what names and tables say of pictures into conditions: those of the modality, and declared ones.

A column called as a condition of the modality is that one and must fit it. Any other is declared in the drop: numbers
as real and texts without levels, so that the next folder for the same build, with other values, declares the same.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cv_quality.drops.conditions import ConditionType, DeclaredCondition, check_conditions, with_conditions
from cv_quality.drops.writer import Scalar, wire_value
from cv_quality.errors import DropError, SchemaError
from cv_quality.lake.schema import Column
from cv_quality.modality import Modality

MAX_LABEL_LENGTH: Final = 80
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?")

Values = Mapping[str, Scalar]
"""Of one condition, by picture."""


@dataclass(frozen=True, slots=True)
class PictureConditions:
    """The conditions of pictures.

    Attributes:
        declared: beyond those of the modality.
        values: by condition, then by picture; a picture without one is not in it.
        words: every condition for people, with its levels or range.
    """

    declared: tuple[DeclaredCondition, ...]
    values: Mapping[str, Values]
    words: tuple[str, ...]


def typed(texts: Mapping[str, str]) -> Values:
    """Read the parts of names as numbers where all of them are; "01" is a name.

    >>> typed({"a.png": "10", "b.png": "-2.5"}), typed({"a.png": "10", "b.png": "02"})
    ({'a.png': 10.0, 'b.png': -2.5}, {'a.png': '10', 'b.png': '02'})
    """
    if not all(map(_NUMBER.fullmatch, texts.values())):
        return dict(texts)
    is_whole = not any("." in text for text in texts.values())
    return {name: int(text) if is_whole else float(text) for name, text in texts.items()}


def declare(columns: Mapping[str, Values], *, modality: Modality, where: str) -> PictureConditions:
    """Find or declare the condition that every column is.

    Args:
        columns: values that are known, by the column's name as written.
        modality: whose conditions there are already.
        where: what has the columns, for errors.

    Raises:
        DropError: two columns are called alike, a name cannot be a condition's, or a value does not fit the modality's.
    """
    own = {item.name: item.column for item in modality.conditions}
    values: dict[str, Values] = {}
    written: dict[str, str] = {}
    declared: list[DeclaredCondition] = []
    for label, column in columns.items():
        name = _name(label, number=len(written) + 1)
        if name in written:
            raise DropError(f"{where}: columns {written[name]!r} and {label!r} would both be condition {name!r}")
        written[name] = label
        if not column:
            continue
        if name in own:
            values[name] = _fitting(own[name], column, where=where)
        else:
            declared.append(_declaration(name, label, column))
            values[name] = _of_type(column, declared[-1].type)
    check_conditions(declared, where=where)
    try:
        with_conditions(modality, declared)
    except SchemaError as error:
        raise DropError(f"{where}: {error}") from error
    return PictureConditions(tuple(declared), values, tuple(_words(name, found) for name, found in values.items()))


def _name(label: str, *, number: int) -> str:
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60]
    return name if name[:1].isalpha() else f"condition_{name or number}"


def _declaration(name: str, label: str, values: Values) -> DeclaredCondition:
    kinds = {type(value) for value in values.values()}
    kind: ConditionType = "flag" if kinds == {bool} else "real" if kinds <= {int, float} else "text"
    shown = " ".join("".join(char if char.isprintable() else " " for char in label).split())[:MAX_LABEL_LENGTH]
    return DeclaredCondition(name=name, type=kind, label=shown if shown != name else None)


def _of_type(values: Values, kind: ConditionType) -> Values:
    return {picture: str(value) for picture, value in values.items()} if kind == "text" else values


def _fitting(column: Column, values: Values, *, where: str) -> Values:
    found: dict[str, Scalar] = {}
    for picture, value in values.items():
        fitting = str(value) if column.kind == "text" else value
        try:
            wire_value("attempt", column, fitting)
        except SchemaError as error:
            raise DropError(f"{where}: {picture}: {error}; correct the value, or call the column otherwise") from error
        found[picture] = fitting
    return found


def _words(name: str, values: Values) -> str:
    different = set(values.values())
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in different) and different:
        numbers = [value for value in different if isinstance(value, int | float)]
        return f"{name} ({min(numbers):g} to {max(numbers):g})"
    levels = sorted(map(str, different))
    return f"{name} ({', '.join(levels)})" if len(levels) <= 8 else f"{name} ({len(levels):,} values)"
