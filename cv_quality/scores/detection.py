"""Which format a file has, told from its first bytes and lines; never from its extension.

Reading itself is in the modules of the formats. A caller that names the format still has its separator detected. What
the columns of a text without a header mean is proven on all of its lines, in `cv_quality.scores.layouts`.
"""

import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from cv_quality.errors import ScoreFileError, TableError, near
from cv_quality.scores.headers import MAX_COLUMNS, names_scores
from cv_quality.scores.labels import truth_of
from cv_quality.scores.lines import BLANK, csv_fields, told_separator
from cv_quality.scores.source import SHOWN, Format, Options, Separator, Source, quoted
from cv_quality.tables.plain_text import plain_text, unpacked, wide_encoding

HEAD_LINES = 20
TITLE_LINES = 10
"""Among the first so many lines the header of a table is looked for."""
JSON_BLANK = b"\xef\xbb\xbf \t\r\n"
MAX_HEADER_BYTES = 64 << 20
"""Enough for the header of a matrix with a million identities."""
SEPARATORS: tuple[Separator, ...] = (",", ";", "\t", "|", " ")
WIDTHS: dict[Format, int] = {"list": 1, "two-column": 2, "pairs": 3, "bob4": 4, "bob5": 5}
KNOWN = (
    "known: a table whose header names a score and a label, columns of ids, a label and a score, bob's 4 or 5 columns, "
    "one score a line, a matrix of scores"
)
MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"PAR1", "parquet"),
    (b"\x93NUMPY", "numpy"),
    (b"\xd0\xcf\x11\xe0", "workbook"),
)
ZIP = b"PK\x03\x04"
WORKBOOK_PARTS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")
FOREIGN = (
    (b"\x89HDF", "an HDF5 file", "export its arrays as .npz, .csv or text"),
    (b"%PDF", "a PDF", "name a file of scores"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
)
_OPEN_QUOTE = re.compile(r'(?:^|[,;|\t])\s*"')
_QUOTED = re.compile(r'"[^"]*"')
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)", re.I)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of one file, and for text what stands between its fields.

    Attributes:
        format: "columns" for text of several columns without a header, whose meaning is yet to be proven.
    """

    format: Format | Literal["columns"]
    separator: Separator = " "


def detect(source: Source, options: Options) -> Dialect:
    """Detect the format of a file by its content, and its separator; `options.format` overrules the format.

    Raises:
        ScoreFileError: the file is missing, a folder, empty, binary of no known kind, or text that holds no scores.
    """
    declared = options.format
    if declared is not None and declared not in get_args(Format):
        raise source.error(f"no format {declared!r}; {near(declared, get_args(Format))}")
    start = first_bytes(source)
    binary = binary_format(source, start)
    if binary is not None:
        if declared not in (None, binary):
            raise source.error(f"is {binary}, not {declared}; leave the format out or name it so")
        return Dialect(binary)
    if declared == "json" or (declared is None and start.lstrip(JSON_BLANK).startswith((b"{", b"["))):
        return Dialect("json")
    head = head_of(source)
    return _declared_text(head, declared) if declared is not None else _text(source, head, options)


def plain(source: Source, folder: Path) -> Source:
    """Unpack and decode a file, whatever it holds.

    Args:
        source: the file.
        folder: where what it holds may lie.

    Raises:
        ScoreFileError: it is missing, empty, damaged, or binary of a kind that is not read.
    """
    first_bytes(source)
    own, path = Path(tempfile.mkdtemp(dir=folder)), source.path
    try:
        path, undone = unpacked(source.path, folder=own)
        inner = replace(source, content=path)
        if binary_format(inner, first_bytes(inner)) is None:
            text = plain_text(path, folder=own)
            path, undone = text.path, (*undone, *text.notes)
    except TableError as error:
        raise ScoreFileError(str(error).replace(str(path), str(source.path)), file=str(source)) from error
    return replace(source, content=path, notes=tuple(f"{source}: {note}" for note in undone))


def table_kind(source: Source) -> Format | None:
    """Tell the format of a file that is no text of lines; None for such a text.

    Raises:
        ScoreFileError: it is binary of a kind that is not read.
    """
    start = first_bytes(source)
    return "json" if start.lstrip(JSON_BLANK).startswith((b"{", b"[")) else binary_format(source, start)


def cells(line: str, separator: Separator) -> list[str]:
    """Split one line into fields, without white space and quotes around them.

    >>> cells('"a" , 0.5', ","), cells('"a, b",0.5', ",")
    (['a', '0.5'], ['a, b', '0.5'])
    """
    if separator == " ":
        parts = line.split()
    else:
        parts = (csv_fields(line, separator) if '"' in line else []) or line.split(separator)
    return [part.strip(' \t\r\ufeff"') for part in parts]


def header_at(lines: Sequence[str], separator: Separator, options: Options) -> int | None:
    """Find the line whose cells name scores, below titles of fewer cells; None where there is none."""
    rows = [cells(line, separator) for line in lines[:TITLE_LINES]]
    for at, row in enumerate(rows):
        if names_scores(row, options) and not any(map(is_number, row)):
            is_below_titles = all(sum(map(bool, above)) < len(row) for above in rows[:at])
            return at if is_below_titles else None
    return None


def is_number(text: str) -> bool:
    """Tell whether a cell is a number, with a decimal point or comma."""
    return _NUMBER.fullmatch(text) is not None


def first_bytes(source: Source) -> bytes:
    """Read the beginning of a file.

    Raises:
        ScoreFileError: it is missing, empty, a folder or a pipe.
    """
    if source.path.is_dir():
        raise source.error("is a folder; name the files in it")
    if source.path.exists() and not source.path.is_file():
        raise source.error("is no regular file; files are read more than once, so save what comes from a pipe")
    try:
        with source.open() as stream:
            start = stream.read(8192)
    except FileNotFoundError:
        raise source.error("there is no such file") from None
    except OSError as error:
        raise source.error(f"cannot be read: {error.strerror}") from error
    if not start:
        raise source.error("is empty; name a file with scores")
    return start


def binary_format(source: Source, start: bytes) -> Format | None:
    """Tell the format of a file that is no text by its first bytes; None for text.

    Raises:
        ScoreFileError: it is of a kind that is not read.
    """
    for magic, kind in MAGIC:
        if start.startswith(magic):
            return kind
    if start.startswith(ZIP):
        return _zip_format(source)
    for magic, name, advice in FOREIGN:
        if start.startswith(magic):
            raise source.error(f"is {name}, which is not read; {advice}")
    lines = start.split(b"\n", 4)
    if len(lines) > 3 and lines[0] in (b"S2", b"D2") and lines[3].startswith((b"MF ", b"MB ")):
        return "bee"
    if b"\x00" in start and wide_encoding(start) is None:
        raise source.error("holds binary data of no known kind; export the scores as CSV, Parquet or .npz")
    return None


def _zip_format(source: Source) -> Format:
    try:
        with source.open() as stream, zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "numpy"  # whose reader says what is damaged
    if any(part in names for part in WORKBOOK_PARTS):
        return "workbook"
    if names and not any(name.endswith(".npy") for name in names):
        raise source.error(
            f"is a zip archive with {', '.join(map(quoted, names[:SHOWN]))}; unpack it and name a file in it"
        )
    return "numpy"


def head_of(source: Source) -> list[str]:
    """Read the first lines that say something.

    Raises:
        ScoreFileError: there is none, or one is no line of scores by its length.
    """
    found: list[str] = []
    with source.open() as stream:
        for _ in range(10_000):
            raw = stream.readline(MAX_HEADER_BYTES + 1)
            if not raw or len(found) == HEAD_LINES:
                break
            if len(raw) > MAX_HEADER_BYTES:
                raise source.error(f"a line of more than {MAX_HEADER_BYTES:,} bytes: is this a file of scores?")
            text = raw.decode("utf-8", errors="replace").strip("\r\n\ufeff")
            if _OPEN_QUOTE.search(text) and text.count('"') % 2:
                text = _closed(text, stream)
            if text.strip(BLANK) and not text.lstrip(BLANK).startswith("#"):
                found.append(text)
    if not found:
        raise source.error("holds no score: every line is empty or a comment; name a file with scores")
    return found


def _closed(text: str, stream: BinaryIO) -> str:
    """A line with those up to the one that closes its quote; by itself where none of the next ones does."""
    begun, more = stream.tell(), text
    for _ in range(HEAD_LINES):
        more += "\n" + stream.readline(MAX_HEADER_BYTES).decode("utf-8", errors="replace").rstrip("\r\n")
        if more.count('"') % 2 == 0:
            return more
    stream.seek(begun)
    return text


def _text(source: Source, head: Sequence[str], options: Options) -> Dialect:
    separators = SEPARATORS
    if len(head) > 1 and (told := told_separator(head[0])) is not None:
        separators, head = tuple(one for one in SEPARATORS if one == told) or SEPARATORS, head[1:]
    for separator in separators:
        if header_at(head, separator, options) is not None:
            return Dialect("table", separator)
    for separator in separators:
        header, row = (cells(line, separator) for line in (head[0], head[min(1, len(head) - 1)]))
        has_names = len(row) == len(header) > 2 and not is_number(header[-1]) and row[0] in header[1:]
        if separator != " " and len(head) > 1 and len(header) > 1:
            is_matrix = header[0] == "" and len(row) > 1 and all(map(is_number, row[1:]))
            if (is_matrix and not _is_index(head, separator)) or (has_names and is_number(row[1])):
                return Dialect("matrix", separator)
    found = separator_of(head, separators) or _of_trials(head, separators)
    if found is None:
        raise source.error(f"holds no score that could be found; it begins with {quoted(head[0])}; {KNOWN}")
    separator, width = found
    if width > MAX_COLUMNS:
        raise source.error(f"{width} columns without a header that names score; {KNOWN}")
    header = cells(head[0], separator)
    if len(head) > 1 and len(header) == width > 1 and not any(map(is_number, header)) and options.trials is None:
        rows = [cells(line, separator) for line in head[1:]]
        if any(len(row) == width and any(map(is_number, row)) for row in rows) and not _is_row_like(header, rows):
            return Dialect("table", separator)  # whose reader says that it needs a column of scores
    named: dict[int, Format] = {1: "list", 2: "two-column"}
    return Dialect(named.get(width, "columns"), separator)


def _is_index(head: Sequence[str], separator: Separator) -> bool:
    """Whether the first column only numbers the rows from 0, as pandas writes it, and names no column."""
    header, *rows = (cells(line, separator) for line in head)
    first = [row[0] for row in rows]
    return first == [str(number) for number in range(len(rows))] and not set(first) & set(header)


def _is_row_like(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line is no header: one of its cells stands in its column again."""
    return any(header[at] in (row[at] for row in rows if len(row) > at) for at in range(len(header)))


def separator_of(
    head: Sequence[str], separators: Sequence[Separator] = SEPARATORS, *, needs_numbers: bool = True
) -> tuple[Separator, int] | None:
    """Find the separator that parts most lines alike, and how many fields it gives; None where no line has a number.

    Of several, the one whose fields hold least of what could be a separator too.

    Args:
        head: the first lines.
        separators: those that are possible.
        needs_numbers: whether most lines must have a number among their fields.
    """
    found: list[tuple[float, int, Separator, int]] = []
    head = [_QUOTED.sub(_without_separators, line) for line in head]
    for order, separator in enumerate(separators):
        rows = [cells(line, separator) for line in head]
        (width, n), *_ = Counter(map(len, rows)).most_common(1)
        alike = [row for row in rows if len(row) == width]
        has_numbers = not needs_numbers or sum(any(map(is_number, row)) for row in alike) * 2 > len(rows)
        if n * 2 > len(rows) and has_numbers and width > (separator != " "):
            doubtful = sum(bool(re.search(r"[,;|\s]", cell)) and not is_number(cell) for row in alike for cell in row)
            found.append((doubtful / (n * width), order, separator, width))
    if not found:
        return None
    return min(found)[2:]


def _without_separators(cell: "re.Match[str]") -> str:
    """A quoted cell, or another one where it holds what could be a separator."""
    return '"quoted"' if re.search(r"[,;|\s]", cell[0]) and not is_number(cell[0].strip('"')) else cell[0]


def _of_trials(head: Sequence[str], separators: Sequence[Separator]) -> tuple[Separator, int] | None:
    """The separator of lines without any number, one of whose fields is always a label: trials without scores."""
    found = separator_of(head, separators, needs_numbers=False)
    if found is None or found[1] < 3:
        return None
    rows = [cells(line, found[0]) for line in head]
    return (
        found
        if any(all(truth_of(cell) is not None for cell in column) for column in zip(*rows, strict=False))
        else None
    )


def _declared_text(head: Sequence[str], declared: Format) -> Dialect:
    """The separator with which the first lines look most like what was declared."""
    if declared in ("list", "histogram", "labelled", "lfw"):
        return Dialect(declared, (separator_of(head) or (" ", 1))[0])
    wanted = WIDTHS.get(declared)
    for separator in SEPARATORS:
        fields = [cells(line, separator) for line in head]
        if wanted is None and len(fields[0]) > 1:
            return Dialect(declared, separator)
        if wanted is not None and sum(len(found) == wanted for found in fields) * 2 > len(fields):
            return Dialect(declared, separator)
    return Dialect(declared)
