"""Serialisation of results: plain values for JSON, under the names that they declare, and rates for people.

Results themselves live beside the functions that make them; a rate with its interval is in `cv_quality.metrics.rates`.
"""

import math
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from typing import TypeAlias

import numpy as np

from cv_quality.text import SHOWN_DIGITS, figures, visible

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
NOTEBOOK_ROWS = 20
"""Rows that a notebook shows of a list of results; the document has all."""
_SENTENCE = "sentence"
"""What a result says of itself, too long for a cell."""
_CELL = 'style="text-align: left; vertical-align: top"'


@dataclass(frozen=True, slots=True)
class Result:
    """Base of the typed results."""

    def to_dict(self) -> dict[str, JsonValue]:
        """Convert the result to plain values for JSON: one key per attribute, in the order of the class.

        Arrays become lists, results within a result become dictionaries, an undefined value stays None. As JSON has no
        infinity, +inf and -inf, legal scores and thresholds, become "inf" and "-inf", which `float` reads back.
        """
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def _repr_html_(self) -> str:
        """Show the document in a notebook: its values, then a table of each list of results and what they say."""
        document = self.to_dict()
        lists = {name: rows for name, value in document.items() if (rows := _rows(value))}
        others = (
            (name, value) for name, value in document.items() if name not in lists and value not in (None, [], {})
        )
        shown = [_table("", [["", "value"], *([name, _words(value)] for name, value in others)])]
        for name, rows in lists.items():
            more = f", the first {NOTEBOOK_ROWS} of {len(rows):,}" if len(rows) > NOTEBOOK_ROWS else ""
            keys = [key for key in rows[0] if key != _SENTENCE]
            lines = [[_words(row[key]) for key in keys] for row in rows[:NOTEBOOK_ROWS]]
            said = [_words(row[_SENTENCE]) for row in rows[:NOTEBOOK_ROWS] if row.get(_SENTENCE)]
            shown.append(_table(name + more, [keys, *lines]) + "".join(f"<p>{escape(text)}</p>" for text in said))
        return "".join(shown)


def _rows(value: JsonValue) -> list[dict[str, JsonValue]]:
    """The results of a list that holds nothing else."""
    items = value if isinstance(value, list) else []
    rows = [item for item in items if isinstance(item, dict)]
    return rows if len(rows) == len(items) else []


def _table(caption: str, lines: list[list[str]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td {_CELL}>{escape(text)}</td>' for text in line)}</tr>" for line in lines)
    return f"<table><caption {_CELL}>{escape(caption)}</caption>{cells}</table>"


def _words(value: JsonValue) -> str:
    if isinstance(value, dict):
        if value.keys() >= {"value", "numerator", "denominator"}:
            return _rate(value)
        if _is_condition(value):
            return _condition(value)
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items() if item is not None)
    if isinstance(value, list):
        return (" and " if all(map(_is_condition, value)) else "; ").join(map(_words, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return figures(value)
    return "" if value is None else visible(str(value))


def _rate(rate: dict[str, JsonValue]) -> str:
    """A rate as people read it: its interval and counts; the document says how they came about."""
    value, low, high = (
        percent(item) if isinstance(item, float) else None for item in map(rate.get, ("value", "low", "high"))
    )
    interval = f" ({low} to {high})" if low and high else ""
    return f"{value}{interval}, {_words(rate['numerator'])} / {_words(rate['denominator'])}"


def _is_condition(value: JsonValue) -> bool:
    return isinstance(value, dict) and value.keys() == {"column", "op", "value"}


def _condition(condition: dict[str, JsonValue]) -> str:
    """A condition of a slice, as its sentence has it."""
    value, op = condition["value"], condition["op"]
    values = value if isinstance(value, list) else [value]
    words = ["missing" if item is None else _words(item) for item in values]
    return f"{condition['column']} {op if op in ('<=', '>') else 'is'} {' or '.join(words)}"


def percent(value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
    """Write a rate as people read it: three significant digits.

    Args:
        digits: significant digits, where three are too few.

    >>> percent(0.0625), percent(0.000000123456), percent(None)
    ('6.25 %', '1.23e-05 %', 'undefined')
    """
    return "undefined" if value is None else f"{figures(100.0 * value, digits=digits)} %"


def area_words(value: float) -> str:
    """Write an area under a curve; one that is less than 1 is not written as 1.

    >>> area_words(0.98765), area_words(0.99996), area_words(1.0)
    ('0.988', '>0.999', '1')
    """
    return ">0.999" if 0.9995 <= value < 1 else figures(value)


def _plain(value: object) -> JsonValue:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"a result holds numbers, text, arrays, dictionaries and results, found {type(value).__name__}")
