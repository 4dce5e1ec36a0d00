"""Serialisation of results: plain values for JSON, under the names that they declare, and rates for people.

Results themselves live beside the functions that make them; a rate with its interval is in `cv_quality.metrics.rates`.
"""

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeAlias

import numpy as np

from cv_quality.text import SHOWN_DIGITS, figures

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Result:
    """Base of the typed results."""

    def to_dict(self) -> dict[str, JsonValue]:
        """Convert the result to plain values for JSON: one key per attribute, in the order of the class.

        Arrays become lists, results within a result become dictionaries, an undefined value stays None. As JSON has no
        infinity, +inf and -inf, legal scores and thresholds, become "inf" and "-inf", which `float` reads back.
        """
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


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
