"""Numbers as spreadsheets write them: decimal commas and thousands separators, turned into points.

One convention holds for a whole column, and it is said. Where the numbers allow both, nothing is guessed.
"""

from typing import TYPE_CHECKING

from cv_quality.scores.source import Source

if TYPE_CHECKING:
    import polars as pl

DECIMAL_COMMA = r"^[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?$"
THOUSANDS_COMMA = r"^[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?$"
THOUSANDS_POINT = r"^[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+$"


def in_points(texts: "pl.Series", source: Source) -> tuple["pl.Series", tuple[str, ...]]:
    """Write numbers with a decimal point and nothing between thousands; others stay as they are.

    Raises:
        ScoreFileError: the commas may part thousands as well as decimals.
    """
    stripped = texts.str.strip_chars()
    commas = stripped.filter(stripped.str.contains(",", literal=True))
    if commas.is_empty():
        return texts, ()
    others = stripped.filter(~stripped.str.contains(",", literal=True))
    is_decimal = commas.str.contains(DECIMAL_COMMA) | commas.str.contains(THOUSANDS_POINT)
    can_be_decimal = bool(is_decimal.all()) and not others.str.contains(r"^[+-]?[0-9]*\.[0-9]+$").any()
    can_be_thousands = bool(commas.str.contains(THOUSANDS_COMMA).all())
    # Within quotes and between commas, as English spreadsheets write them.
    if can_be_thousands and (not can_be_decimal or source.separator == ","):
        return stripped.str.replace_all(",", "", literal=True), (f"{source}: commas between thousands",)
    if can_be_thousands and can_be_decimal:
        raise source.error(f"{commas[0]!r}: thousands or decimals? write numbers with a point and without separators")
    if can_be_decimal:
        points = stripped.str.replace_all(".", "", literal=True) if is_grouped(commas) else stripped
        return points.str.replace(",", ".", literal=True), (f"{source}: decimal commas",)
    return texts, ()


def is_grouped(commas: "pl.Series") -> bool:
    """Tell whether points part thousands in numbers with decimal commas."""
    return bool(commas.str.contains(THOUSANDS_POINT).any())
