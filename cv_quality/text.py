"""Text and numbers as people read them: characters that steer a terminal made visible, three significant digits.

Everything that prints or draws for people writes through these few functions; machines get exact values as JSON.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import Protocol

SHOWN_DIGITS = 3
MAX_DIGITS = 17
"""Significant digits with which any two doubles differ."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that are not seen, but end lines, reverse what follows, or command a terminal."""


class NumberWords(Protocol):
    """Writes a number for people with at most so many significant digits."""

    def __call__(self, value: float | None, *, digits: int) -> str: ...


def visible(text: str) -> str:
    r"""Write every character that steers instead of being seen as its escape, so that text is shown as it is.

    >>> visible("a\x1b[31m\u202eb")
    'a\\x1b[31m\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSEEN else char for char in text
    )


def visible_lines(text: str) -> str:
    """Write the lines of a message as `visible` does, each on its own line."""
    return "\n".join(map(visible, text.split("\n")))


def figures(value: float | None, *, digits: int = SHOWN_DIGITS) -> str:
    """Write a number with at most three significant digits and no chain of zeros; a count is written whole.

    Args:
        value: a count where it is an integer.
        digits: significant digits of any other number.

    >>> figures(0.000000123), figures(0.05), figures(12345), figures(12345.678), figures(-3.14159e9)
    ('1.23e-07', '0.05', '12,345', '12,300', '-3.14e+09')
    >>> figures(float("inf")), figures(-0.0), figures(None)
    ('∞', '0', 'undefined')
    """
    if value is None:
        return "undefined"
    if hasattr(value, "__index__"):
        text = f"{abs(value):,}"
    elif math.isnan(value):
        return "undefined"
    elif math.isinf(value):
        text = "∞"
    else:
        rounded = float(f"{abs(value):.{digits}g}")
        text = f"{rounded:,.0f}" if 1_000 <= rounded < 1e6 and rounded.is_integer() else f"{rounded:.{digits}g}"
    return f"-{text}" if value < 0 and text != "0" else text


def signed(value: float) -> str:
    """Write a difference with its sign.

    >>> signed(0.05), signed(-12.3456), signed(0.0)
    ('+0.05', '-12.3', '+0')
    """
    return f"{'-' if value < 0 else '+'}{figures(abs(value))}"


def told_apart(values: Sequence[float | None], *, words: NumberWords = figures) -> list[str]:
    """Write numbers with so few digits, but at least three, that any two that differ are written differently.

    Args:
        values: numbers that stand side by side.
        words: how one of them is written.

    >>> told_apart([0.98765, 0.98771, None])
    ['0.98765', '0.98771', 'undefined']
    """
    distinct = len(set(values))
    for digits in range(SHOWN_DIGITS, MAX_DIGITS + 1):
        texts = [words(value, digits=digits) for value in values]
        if len(set(texts)) == distinct:
            break
    return texts


def span(low: float | None, high: float | None, *, words: NumberWords = figures) -> str:
    """Write an interval, of which two bounds that differ look different.

    Args:
        low, high: its bounds.
        words: how one of them is written.

    >>> span(0.1, 0.25), span(0.99871, 0.99872)
    ('0.1 to 0.25', '0.99871 to 0.99872')
    """
    return " to ".join(told_apart([low, high], words=words))


def lines_of(rows: Sequence[Sequence[str]], *, width: int | None) -> list[str]:
    """Lay rows of text out in columns, the first row being their names, without wrapping or cutting anything.

    Columns that do not fit beside the others stand below their row, each under its name.

    Args:
        rows: all of one length.
        width: of a terminal, in cells; None leaves every column beside the others.
    """
    from rich.cells import cell_len

    names, *body = rows
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    beside = 1
    while beside < len(names) and (width is None or sum(widths[: beside + 1]) + 2 * beside <= width):
        beside += 1

    def line(row: Sequence[str]) -> str:
        cells = zip(row[:beside], widths, strict=False)
        return "  ".join(cell + " " * (size - cell_len(cell)) for cell, size in cells).rstrip()

    lines = [line(names), line(["-" * size for size in widths])]
    for row in body:
        lines.append(line(row))
        lines += [f"    {name}: {cell}" for name, cell in zip(names[beside:], row[beside:], strict=True) if cell]
    return lines
