"""Numbers as spreadsheets and people write them: decimal commas, thousands separators, units; turned into plain ones.

One form, of `cv_quality.tables.numbers`, holds for a whole column, and it is said. Where the numbers allow two, nothing
is guessed.
"""

from typing import TYPE_CHECKING

from cv_quality.scores.source import Source
from cv_quality.tables.numbers import MISSING_WORDS, SPACES, choose_form

if TYPE_CHECKING:
    import polars as pl

THOUSANDS_COMMA = r"^[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+$"
POINTS_OR_WHOLE = r"^[+-]?(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]{1,3})$"
NO_WORDS = ("", *MISSING_WORDS)


def in_points(texts: "pl.Series", source: Source) -> tuple["pl.Series", tuple[str, ...]]:
    """Write numbers with a decimal point and nothing else; what is no number in the form of most stays as it is.

    Raises:
        ScoreFileError: commas or points may part thousands as well as decimals.
    """
    import polars as pl

    stripped = texts.str.strip_chars(SPACES)
    is_plain = stripped.cast(pl.Float64, strict=False).is_not_null()
    if is_plain.all():
        _refuse_unclear_points(stripped, source)
        return texts, ()
    cells = stripped.rename("cell").value_counts(name="rows")
    cells = cells.filter(~cells["cell"].str.to_lowercase().is_in(NO_WORDS))
    if cells.is_empty():
        return texts, ()
    if source.separator != ",":
        _refuse_unclear_commas(cells["cell"], source)
    form = choose_form(cells, comma="thousands").form
    read = stripped.to_frame("cell").select(form.parse(pl.col("cell"))).to_series()
    is_read = read.is_not_null()
    plain = read.cast(pl.String).zip_with(is_read, stripped).rename(texts.name)
    return plain, tuple(f"{source}: {note} in the scores" for note in form.notes)


def _refuse_unclear_points(numbers: "pl.Series", source: Source) -> None:
    """Refuse 1.234 beside 961 where no comma parts the cells: decimals of three digits would stand in all of them."""
    is_pointed = numbers.str.contains(".", literal=True)
    if source.separator == "," or is_pointed.all() or not is_pointed.any():
        return
    if numbers.str.contains(POINTS_OR_WHOLE).all():
        shown = numbers.filter(is_pointed)[0]
        raise source.error(f"{shown!r}: thousands or decimals? write numbers with a point and without separators")


def _refuse_unclear_commas(numbers: "pl.Series", source: Source) -> None:
    commas = numbers.filter(numbers.str.contains(",", literal=True))
    others = numbers.filter(~numbers.str.contains(",", literal=True))
    if commas.is_empty() or others.str.contains(r"^[+-]?[0-9]*\.[0-9]+$").any():
        return
    if commas.str.contains(THOUSANDS_COMMA).all():
        raise source.error(f"{commas[0]!r}: thousands or decimals? write numbers with a point and without separators")
