"""Columns of the rows of score files, and the rows that are set apart: refused by an error, or kept with their reason.

What a file is, and how it is asked for, is in `cv_quality.scores.source`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cv_quality.scores.source import Options, Reason, Source, plural, quoted

if TYPE_CHECKING:
    import polars as pl

SCORE, IS_GENUINE, LINE, FILE, TEXT = "score", "is_genuine", "line", "file", "text"
SUBJECTS = ("subject_a", "subject_b")
FAMILIES = ("family_a", "family_b")
PRESENTED = ("subject", "group", "artefact", "species")
"""Of a presentation to a liveness detector: who presented, or whom the artefact imitates, with a group that rates are
broken down by; and the attack instrument."""
OPTIONAL = (*SUBJECTS, "group_a", "group_b", *FAMILIES, "sample_a", "sample_b", *PRESENTED)
RESPONSE = "response"
"""Whether a presentation got an answer; in tables only, and not among the rows that count."""
QUALITIES = ("quality_a", "quality_b")
"""Of the two samples, higher is better; numbers, in tables only."""
SECOND_SCORE = "second_score"
"""Of a second detector for the same presentation, pointing the way of the first; in tables only."""
NUMBERS = (*QUALITIES, SECOND_SCORE)
KEPT_TEXT = 1_000
"""Characters of a broken line that are kept with the excluded rows."""


def apart(rows: "pl.DataFrame | None" = None, *, file: str = "", reason: Reason = "broken_line") -> "pl.DataFrame":
    """Make excluded rows: known columns kept, the others null.

    Args:
        rows: None gives an empty frame.
        file: where they stand.
        reason: why they do not count.
    """
    import polars as pl

    types: dict[str, type[pl.DataType]] = {
        FILE: pl.String,
        LINE: pl.UInt32,
        "reason": pl.String,
        SCORE: pl.Float64,
        IS_GENUINE: pl.Boolean,
        "subject_a": pl.String,
        "subject_b": pl.String,
        **dict.fromkeys(PRESENTED, pl.String),
        TEXT: pl.String,
    }
    if rows is None:
        return pl.DataFrame(schema=types)
    given = {FILE: pl.lit(file), "reason": pl.lit(reason)}
    columns = [
        given.get(name, pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in types.items()
    ]
    return rows.select(columns).with_columns(pl.col(TEXT).str.head(KEPT_TEXT))


def refuse(
    bad: "pl.DataFrame",
    source: Source,
    options: Options,
    *,
    expected: str,
    reason: Reason = "broken_line",
    unit: str = "line",
) -> "pl.DataFrame":
    """Refuse bad rows by an error that names the first, or exclude them where broken lines are to be skipped.

    Args:
        bad: `line` and `text`.
        source: their file.
        options: `on_error` decides.
        expected: what a sound row holds.
        reason: why they do not count, when skipped.
        unit: what `line` counts.

    Raises:
        ScoreFileError: there is a bad row and `on_error` is "raise".
    """
    if bad.is_empty():
        return apart()
    if options.on_error == "skip":
        return apart(bad, file=str(source), reason=reason)
    first = bad.sort(LINE).row(0, named=True)
    more = f" ({plural(len(bad) - 1, unit)} more)" if len(bad) > 1 else ""
    raise source.error(
        f'expected {expected}, found {quoted(str(first[TEXT]))}{more}; correct it, or skip it with on_error="skip"',
        line=int(first[LINE]),
        unit=unit,
    )


def joined(frames: "Sequence[pl.DataFrame]") -> "pl.DataFrame":
    """Join excluded rows of several kinds, by line."""
    import polars as pl

    return pl.concat(frames).sort(LINE, maintain_order=True)
