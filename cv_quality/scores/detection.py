"""Which format a file has, told from its first bytes and lines; never from its extension.

Reading itself is in the modules of the formats. A caller that names the format still has its separator detected.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from cv_quality.errors import near
from cv_quality.scores.labels import truth_of
from cv_quality.scores.lines import BLANK
from cv_quality.scores.source import Format, Separator, Source, no_column, quoted

HEAD_LINES = 20
MAX_HEADER_BYTES = 64 << 20
"""Enough for the header of a matrix with a million identities."""
SEPARATORS: tuple[Separator, ...] = (",", ";", "\t", " ")
BY_WIDTH: dict[int, Format] = {1: "list", 2: "two-column", 3: "pairs", 4: "bob4", 5: "bob5"}
WIDTHS = {kind: width for width, kind in BY_WIDTH.items()}
KNOWN = (
    "known: a table with a header (score, is_genuine), bob's 2, 4 or 5 columns, one score a line, a matrix of scores"
)
MAGIC: tuple[tuple[bytes, Format], ...] = ((b"PAR1", "parquet"), (b"\x93NUMPY", "numpy"), (b"PK\x03\x04", "numpy"))
FOREIGN = (
    (b"\x89HDF", "an HDF5 file", "export its arrays as .npz, .csv or text"),
    (b"\x1f\x8b", "gzip-compressed", "decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "decompress it first"),
    (b"BZh", "bzip2-compressed", "decompress it first"),
    (b"\xfd7zXZ", "xz-compressed", "decompress it first"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    (b"%PDF", "a PDF", "name a file of scores"),
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The format of one file, and for text what stands between its fields."""

    format: Format
    separator: Separator = " "


def detect(source: Source, *, declared: Format | None = None) -> Dialect:
    """Detect the format of a file by its content, and its separator; `declared` overrules the format.

    Raises:
        ScoreFileError: the file is missing, a folder, empty, binary of no known kind, or text that holds no scores.
    """
    if declared is not None and declared not in get_args(Format):
        raise source.error(f"no format {declared!r}; {near(declared, get_args(Format))}")
    start = _first_bytes(source)
    binary = _binary_format(source, start)
    if binary is not None:
        if declared not in (None, binary):
            raise source.error(f"is {binary}, not {declared}; leave the format out or name it so")
        return Dialect(binary)
    if declared == "json" or (declared is None and start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")):
        return Dialect("json")
    head = _head(source)
    return _declared_text(head, declared) if declared is not None else _text(source, head)


def cells(line: str, separator: Separator) -> list[str]:
    """Split one line into fields, without white space and quotes around them.

    >>> cells('"a" , 0.5', ",")
    ['a', '0.5']
    """
    parts = line.split() if separator == " " else line.split(separator)
    return [part.strip(' \t\r\ufeff"') for part in parts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _first_bytes(source: Source) -> bytes:
    if source.path.is_dir():
        raise source.error("is a folder; name the files in it")
    if source.path.exists() and not source.path.is_file():
        raise source.error("is no regular file; files are read more than once, so save what comes from a pipe")
    try:
        with source.path.open("rb") as stream:
            start = stream.read(8192)
    except FileNotFoundError:
        raise source.error("there is no such file") from None
    except OSError as error:
        raise source.error(f"cannot be read: {error.strerror}") from error
    if not start:
        raise source.error("is empty; name a file with scores")
    return start


def _binary_format(source: Source, start: bytes) -> Format | None:
    for magic, kind in MAGIC:
        if start.startswith(magic):
            return kind
    for magic, name, advice in FOREIGN:
        if start.startswith(magic):
            raise source.error(f"is {name}, which is not read; {advice}")
    lines = start.split(b"\n", 4)
    if len(lines) > 3 and lines[0] in (b"S2", b"D2") and lines[3].startswith((b"MF ", b"MB ")):
        return "bee"
    if b"\x00" in start:
        raise source.error("holds binary data of no known kind; export the scores as CSV, Parquet or .npz")
    return None


def _head(source: Source) -> list[str]:
    found: list[str] = []
    with source.path.open("rb") as stream:
        for _ in range(10_000):
            raw = stream.readline(MAX_HEADER_BYTES + 1)
            if not raw or len(found) == HEAD_LINES:
                break
            if len(raw) > MAX_HEADER_BYTES:
                raise source.error(f"a line of more than {MAX_HEADER_BYTES:,} bytes: is this a file of scores?")
            text = raw.decode("utf-8", errors="replace").strip("\r\n\ufeff")
            if text.strip(BLANK) and not text.lstrip(BLANK).startswith("#"):
                found.append(text)
    if not found:
        raise source.error("holds no score: every line is empty or a comment; name a file with scores")
    return found


def _text(source: Source, head: Sequence[str]) -> Dialect:
    for separator in SEPARATORS:
        if "score" in [name.lower() for name in cells(head[0], separator)]:
            return Dialect("table", separator)
    for separator in SEPARATORS[:-1]:
        header, row = (cells(line, separator) for line in (head[0], head[min(1, len(head) - 1)]))
        has_names = len(row) == len(header) > 2 and not _is_number(header[-1]) and row[0] in header[1:]
        if len(head) > 1 and len(header) > 1 and (header[0] == "" or (has_names and _is_number(row[1]))):
            return Dialect("matrix", separator)
    widths = Counter(found for line in head if (found := _width(line)) is not None)
    if not widths:
        raise source.error(f"holds no score that could be found; it begins with {quoted(head[0])}; {KNOWN}")
    (separator, width), _ = widths.most_common(1)[0]
    if _width(head[0]) is None and len(head) > 1 and len(cells(head[0], separator)) == width:
        raise source.error(f"{no_column('score', cells(head[0], separator))}; {KNOWN}")
    if width not in BY_WIDTH:
        raise source.error(f"{width} columns without a header that names score; {KNOWN}")
    return Dialect(BY_WIDTH[width], separator)


def _declared_text(head: Sequence[str], declared: Format) -> Dialect:
    """The separator with which the first lines look most like what was declared."""
    if declared in ("list", "histogram"):
        return Dialect(declared, (_width(head[0]) or (" ", 1))[0])
    wanted = WIDTHS.get(declared)
    for separator in SEPARATORS:
        fields = [cells(line, separator) for line in head]
        if wanted is None and len(fields[0]) > 1:
            return Dialect(declared, separator)
        if wanted is not None and sum(len(found) == wanted for found in fields) * 2 > len(fields):
            return Dialect(declared, separator)
    return Dialect(declared)


def _width(line: str) -> tuple[Separator, int] | None:
    """How a line that ends in a score, or is a score and a label, is to be split; None for any other."""
    for separator in SEPARATORS:
        fields = cells(line, separator)
        if fields and _is_number(fields[-1]) and (len(fields) > 1 or separator == " "):
            return separator, len(fields)
        if len(fields) == 2 and _is_number(fields[0]) and truth_of(fields[1]) is not None:
            return separator, 2
    return None
