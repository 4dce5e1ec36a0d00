"""Text of several columns without a header: lists of comparisons or samples, each with its label and its score.

So write VoxCeleb (label, two files, score), IJB (two templates, label, score), wespeaker (two files, score, label),
ASVspoof (file, attack, key, score; attack, key, score) and LFW (a pair of pictures, score). What the columns mean is
proven in `cv_quality.scores.layouts`; where it turns out to be bob's or pyeer's, their readers take over.
"""

from typing import TYPE_CHECKING

from cv_quality.scores import bob, lists
from cv_quality.scores.headers import Header
from cv_quality.scores.layouts import LFW_WIDTHS, Layout, labelled_layout, layout_of, without_counts
from cv_quality.scores.lines import Lines, fields_in, normal_spaces, read_lines, split_fields
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, TEXT, refuse
from cv_quality.scores.source import Draft, Format, Options, Source
from cv_quality.scores.tables import Table, draft_of

if TYPE_CHECKING:
    import polars as pl

LFW_SHORT = ("subject_a", "number_a", "number_b", SCORE)
LFW_LONG = ("subject_a", "number_a", "subject_b", "number_b", SCORE)
MEANINGS = {
    SCORE: "score",
    IS_GENUINE: "label",
    "sample_a": "id",
    "sample_b": "id",
    "subject_a": "subject",
    "subject_b": "subject",
    "species": "attack",
    "": "a column that is not read",
}


def read_columns(source: Source, options: Options) -> Draft:
    """Read columns whose meaning is to be proven.

    Raises:
        ScoreFileError: no reading is proven, or a line is broken.
    """
    lines = read_lines(source)
    layout = layout_of(lines, source, options)
    if layout.format == "lfw":
        return _lfw(lines, source, options)
    if layout.format == "labelled":
        return _draft(lines, layout, source, options)
    readers = {"bob4": bob.read_four, "bob5": bob.read_five, "pairs": lists.read_pairs}
    return readers[layout.format](source, options)


def read_labelled(source: Source, options: Options) -> Draft:
    """Read columns of which one is declared to hold labels.

    Raises:
        ScoreFileError: it is not told which, or a line is broken.
    """
    lines = read_lines(source)
    return _draft(lines, labelled_layout(lines, source, options), source, options)


def read_lfw(source: Source, options: Options) -> Draft:
    """Read pairs as LFW lists them, each with its score: one name for a genuine pair, two for another.

    Raises:
        ScoreFileError: a line has another number of fields.
    """
    return _lfw(read_lines(source), source, options)


def in_words(names: tuple[str, ...]) -> str:
    """Say what the columns hold, in their order.

    >>> in_words(("is_genuine", "sample_a", "sample_b", "score"))
    'label, id, id, score'
    """
    return ", ".join(MEANINGS.get(name, name) for name in names)


def _draft(lines: Lines, layout: Layout, source: Source, options: Options) -> Draft:
    width, expected = len(layout.names), in_words(layout.names)
    places = [f"_{at}" for at in range(width)]
    fields, broken = split_fields(lines, source, options, names=places, expected=expected)
    rows = fields.select(LINE, **{name: place for name, place in zip(layout.names, places, strict=True) if name})
    header = Header(layout.names, is_liveness=layout.is_liveness)
    columns = [str(at + 1) for at in range(width)]
    notes = (*lines.notes, f"{source}: the columns are {expected}")
    return draft_of(Table(rows, header, columns, "labelled", "line", [broken], notes), source, options)


def lfw_rows(lines: Lines, source: Source, options: Options, *, scored: bool) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Read LFW's pairs into the two names and the two pictures, which are named as LFW names their files.

    Args:
        lines: of the file.
        source: the file, its separator known.
        options: whether broken lines are skipped.
        scored: whether a score ends each line.

    Raises:
        ScoreFileError: a line has another number of fields.
    """
    import polars as pl

    last = len(LFW_LONG) if scored else len(LFW_LONG) - 1
    counts = fields_in(normal_spaces(lines.rows[TEXT], source), source)
    is_short, is_long = (counts == width - (not scored) for width in LFW_WIDTHS)
    short, _ = split_fields(
        Lines(lines.rows.filter(is_short), ()), source, options, names=LFW_SHORT[: last - 1], expected="one name"
    )
    long, _ = split_fields(
        Lines(lines.rows.filter(is_long), ()), source, options, names=LFW_LONG[:last], expected="two names"
    )
    bad = lines.rows.filter(~(is_short | is_long))
    broken = refuse(bad, source, options, expected="a name and two numbers, or two names with a number each")
    short = short.with_columns(pl.col("subject_a").alias("subject_b"), pl.lit("1").alias(IS_GENUINE))
    long = long.with_columns(pl.lit("0").alias(IS_GENUINE))
    rows = pl.concat([short, long], how="diagonal").sort(LINE)
    pictures = (
        pl.concat_str(f"subject_{side}", pl.col(f"number_{side}").str.zfill(4), separator="_").alias(f"sample_{side}")
        for side in "ab"
    )
    return rows.with_columns(pictures).drop("number_a", "number_b"), broken


def _lfw(lines: Lines, source: Source, options: Options) -> Draft:
    lines = without_counts(lines)
    rows, broken = lfw_rows(lines, source, options, scored=True)
    names = tuple(name for name in rows.columns if name != LINE)
    taken: Format = "lfw"
    return draft_of(Table(rows, Header(names), names, taken, "line", [broken], lines.notes), source, options)
