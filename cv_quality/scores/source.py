"""One score file as it is read: the vocabulary of reading, and its rows before files are joined.

The readers of the formats build on this module and on `cv_quality.scores.rows`; `cv_quality.scores.reading` joins what
they return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from cv_quality.errors import ScoreFileError, near

if TYPE_CHECKING:
    import polars as pl

Role = Literal["genuine", "impostor"]
Polarity = Literal["similarity", "distance", "attack"]
Separator = Literal[",", ";", "\t", "|", " "]
"""What stands between two fields; a space means any run of spaces and tabs."""
PolaritySource = Literal["declared", "detected", "assumed"]
Kind = Literal["verification", "liveness"]
Reason = Literal[
    "broken_line",
    "not_a_number",
    "failure_to_acquire",
    "failed_enrolment",
    "sentinel",
    "self_comparison",
    "mirrored",
    "masked_out",
    "not_comparable",
    "other_eye",
    "no_response",
]
OnError = Literal["raise", "skip"]
Sentinel = Literal["detect", "keep"] | float
LineFormat = Literal["labelled", "lfw", "bob4", "bob5", "two-column", "list", "histogram", "pairs"]
Format = Literal["table", "parquet", "workbook", LineFormat, "matrix", "bee", "json", "numpy"]
Taken = Format | Literal["scores of trials"]
"""What a file was taken for; scores of trials are known by the list of trials that is given with them."""
QUOTED = 80
"""Characters of a broken line that an error repeats."""
SHOWN = 20
"""Columns that an error names."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to read; the fields are the arguments of `read_scores`."""

    format: Format | None = None
    sentinel: Sentinel = "detect"
    on_error: OnError = "raise"
    genuine_pattern: str | None = None
    species_pattern: str | Mapping[str, str] | None = None
    subject_pattern: str | None = None
    artefact_pattern: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    trials: "Source | None" = None


@dataclass(frozen=True, slots=True)
class Source:
    """One file, and what its name or the caller says of it.

    Attributes:
        role: the class of all its scores, where the name or the caller says so.
        companion: the file without which this one cannot be read: the list of true pairs, or the mask.
        is_histogram: whether the name says that the lines are counts.
        is_told: whether the caller, not the name, says the role.
        separator: of the fields of a text file, once detected.
        content: where it lies unpacked and in UTF-8; the file itself where that is plain.
        notes: what was undone to have it.
    """

    path: Path
    role: Role | None = None
    companion: Path | None = None
    is_histogram: bool = False
    is_told: bool = False
    separator: Separator = " "
    content: Path | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.path)

    @property
    def plain_path(self) -> Path:
        """Where the content lies."""
        return self.content or self.path

    def open(self) -> BinaryIO:
        """Open the content, unpacked and decoded where it has to be."""
        return self.plain_path.open("rb")

    def error(self, message: str, *, line: int | None = None, unit: str = "line") -> ScoreFileError:
        """Make the typed error of this file.

        Args:
            message: what was expected, what was found and what to do.
            line: where, counted from 1.
            unit: what is counted.
        """
        where = f"{self.path}: " if line is None else f"{self.path}: {unit} {line}: "
        return ScoreFileError(where + message, file=str(self.path), line=line)


@dataclass(frozen=True, slots=True)
class Draft:
    """What one file holds, in its own units.

    Attributes:
        rows: `score`, `is_genuine`, `line`, and those of `OPTIONAL` that the file has.
        excluded: with the columns of `ScoreSet.excluded`.
        polarity: declared by the file itself; None for most.
        failed_subjects: None where the format cannot tell.
        is_liveness: whether the rows that are not genuine are presentation attacks.
    """

    rows: "pl.DataFrame"
    format: Taken
    excluded: "pl.DataFrame"
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    polarity: Polarity | None = None
    failed_subjects: tuple[str, ...] | None = None
    is_liveness: bool = False


def no_column(name: str, columns: Sequence[str]) -> str:
    """Say that a table lacks a column, with the near name.

    >>> no_column("score", ["scores", "is_genuine"])
    "needs a column score, found 'scores', 'is_genuine' (did you mean scores?); rename that column or add one"
    """
    shown = [column for column in columns if column][:SHOWN]
    found = ", ".join(quoted(column) for column in shown)
    hint = near(name, shown)
    return f"needs a column {name}, found {found}{f' ({hint})' if '?' in hint else ''}; rename that column or add one"


def quoted(text: str) -> str:
    """Quote text as an error repeats it: unprintable characters escaped, cut when long.

    >>> quoted("f_1001 x")
    "'f_1001 x'"
    """
    return repr(text) if len(text) <= QUOTED else f"{text[:QUOTED]!r} and {len(text) - QUOTED:,} characters more"


def plural(n: int, noun: str) -> str:
    """Write a count with its noun.

    >>> plural(1, "line"), plural(1234, "line"), plural(2, "entry")
    ('1 line', '1,234 lines', '2 entries')
    """
    if n == 1:
        return f"{n:,} {noun}"
    return f"{n:,} {noun[:-1]}ies" if noun.endswith("y") else f"{n:,} {noun}s"
