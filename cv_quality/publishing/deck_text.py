"""Text that stays on its slide: how large it may be in its box, estimated before any program draws it.

Letters are taken to be as wide as those of Arial, rounded up, so that what fits here fits in every office suite.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cv_quality.publishing.wording import one_line_of, readable, shortened

if TYPE_CHECKING:
    from pptx.text.text import TextFrame

POINTS_PER_INCH = 72
LINE_HEIGHT = 1.22
PARAGRAPH_GAP_PT = 6
SMALLEST_PT = 11
_NARROW, _WIDE = frozenset(" .,:;'|!()[]ijlftrI"), frozenset("mwMW@%—…")


def width_of(text: str) -> float:
    """Estimate how wide a text is, in units of its size.

    >>> width_of("iii") < width_of("aaa") < width_of("WWW")
    True
    """
    return sum(map(_letter_width, text))


def _letter_width(letter: str) -> float:
    if letter in _NARROW:
        return 0.34
    if unicodedata.east_asian_width(letter) in "WF" or letter in _WIDE:
        return 1.02
    return 0.74 if letter.isupper() else 0.58


def count_lines(text: str, *, width_in: float, size: float) -> int:
    """Count the lines that a paragraph takes; a word wider than its line is broken.

    Args:
        width_in: of the box.
        size: of the text, in points.
    """
    room, lines, used = width_in * POINTS_PER_INCH / size, 1, 0.0
    for word in text.split(" "):
        width = width_of(word)
        if used and used + 0.34 + width > room:
            lines, used = lines + 1, 0.0
        elif used:
            used += 0.34
        if width > room:
            lines += math.ceil(width / room) - 1
            width %= room
        used += width
    return lines


def height_of(paragraphs: Iterable[str], *, width_in: float, size: float) -> float:
    """Estimate the height of paragraphs in inches.

    Args:
        width_in: of the box.
        size: of the text, in points.
    """
    lines = [count_lines(text, width_in=width_in, size=size) for text in paragraphs]
    return (sum(lines) * size * LINE_HEIGHT + len(lines) * PARAGRAPH_GAP_PT) / POINTS_PER_INCH


def fit(
    paragraphs: Sequence[str], *, box_in: tuple[float, float], largest: float, smallest: float = SMALLEST_PT
) -> tuple[list[str], float]:
    """Choose the largest size at which paragraphs fit into a box; where none does, cut and leave out.

    Args:
        paragraphs: without line breaks.
        box_in: width and height.
        largest, smallest: sizes in points.
    """
    width, height = box_in
    shown = list(map(one_line_of, paragraphs))
    sizes = [largest - step for step in range(int(largest - smallest) + 1)]
    for size in sizes:
        if height_of(shown, width_in=width, size=size) <= height:
            return shown, size
    most = int(height * POINTS_PER_INCH / (smallest * LINE_HEIGHT + PARAGRAPH_GAP_PT))
    if len(shown) > most:
        shown = [*shown[: most - 1], f"and {len(shown) - most + 1:,} more, in the notes"]
    letters = max(map(len, shown))
    while height_of(shown, width_in=width, size=smallest) > height and letters > 1:
        letters = max(1, int(letters * 0.9))
        shown = [shortened(text, letters) for text in shown]
    return shown, smallest


def write_text(
    frame: "TextFrame", paragraphs: Sequence[str], *, box_in: tuple[float, float], largest: float, **font: Any
) -> None:
    """Write paragraphs into a shape as large as they fit.

    Args:
        paragraphs: one or more.
        box_in: width and height of the shape's room for text.
        largest: size in points.
        font: attributes of the font, such as `bold`.
    """
    from pptx.util import Pt

    shown, size = fit(paragraphs, box_in=box_in, largest=largest)
    frame.word_wrap = True
    for place, text in enumerate(shown):
        paragraph = frame.paragraphs[0] if place == 0 else frame.add_paragraph()
        run = paragraph.add_run()
        run.text, run.font.size = readable(text), Pt(size)
        for name, value in font.items():
            setattr(run.font, name, value)


def one_line(text: str, *, width_in: float, size: float) -> str:
    """Cut a text to one line.

    Args:
        width_in: of the line.
        size: of the text, in points.
    """
    shown = shortened(text, len(text) + 1)
    while len(shown) > 1 and width_of(shown) * size > width_in * POINTS_PER_INCH:
        shown = shortened(shown, min(len(shown) - 1, int(len(shown) * 0.95)))
    return shown
