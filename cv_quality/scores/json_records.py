"""Tables in JSON: a list of records, one record a line, or columns, as pandas and hand-written exporters write them.

Objects of ids and scores, which say nothing of the truth, are in `cv_quality.scores.json_scores`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cv_quality.scores.labels import role_of
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE
from cv_quality.scores.source import Source

if TYPE_CHECKING:
    import polars as pl


IsHeader = Callable[[Sequence[str]], bool]


class Members(list[tuple[str, object]]):
    """The members of a JSON object in order, those that stand twice included."""


def load(source: Source) -> object:
    """Parse one JSON document, or one document a line.

    Raises:
        ScoreFileError: it is neither.
    """
    try:
        with source.open() as stream:
            text = stream.read().decode("utf-8-sig")
        try:
            return json.loads(text, object_pairs_hook=Members)
        except json.JSONDecodeError as error:
            if not error.msg.startswith("Extra data"):
                raise
        return _lines(text, source)
    except (ValueError, RecursionError, OSError) as error:
        raise source.error(f"is no sound JSON ({error}); write it again") from error


def table_of(found: object, source: Source, is_header: IsHeader) -> "pl.DataFrame | None":
    """Make a table of text of records or columns, `line` being the number of the record; None for anything else.

    Args:
        found: the document.
        source: its file.
        is_header: whether names are those of the columns that are needed.

    Raises:
        ScoreFileError: columns differ in length, or a value is a list or an object.
    """
    records = _records(found)
    if isinstance(found, Members):
        columns = _columns(dict(found), is_header)
        if columns is not None:
            return _frame(columns, source)
        # As "results" of a document, or "data" of pandas' tables.
        within = [
            told for _, value in found if isinstance(value, Members) and (told := _columns(dict(value), is_header))
        ]
        if len(within) == 1:
            return _frame(within[0], source)
        lists = [inner for _, value in found if (inner := _records(value))]
        records = lists[0] if len(lists) == 1 else []
    if not records:
        return None
    rows = [dict(record) for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _frame({name: [row.get(name) for row in rows] for name in names}, source)


def _lines(text: str, source: Source) -> list[object]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line, object_pairs_hook=Members))
            except ValueError as error:
                raise source.error(f"expected one JSON record, found {line[:80]!r} ({error})", line=number) from error
    return found


def _records(value: object) -> list[Members]:
    """The records of a list of objects; none of anything else."""
    if not isinstance(value, list) or isinstance(value, Members):
        return []
    records = [item for item in value if isinstance(item, Members)]
    return records if len(records) == len(value) else []


def _columns(members: Mapping[str, object], is_header: IsHeader) -> Mapping[str, Sequence[object]] | None:
    """The columns of an object of lists, of an object of objects by row, or of names and rows."""
    names, rows = members.get("columns"), members.get("data")
    if isinstance(names, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
        return {str(name): [row[at] if at < len(row) else None for row in rows] for at, name in enumerate(names)}
    inner = {name: [item for _, item in value] for name, value in members.items() if isinstance(value, Members)}
    if len(inner) == len(members) and is_header(list(inner)):
        return inner
    rows_by_name = [dict(value) for value in members.values() if isinstance(value, Members)]
    if rows_by_name and len(inner) == len(members) and is_header(list(rows_by_name[0])):
        return {name: [row.get(name) for row in rows_by_name] for name in rows_by_name[0]}
    lists = {
        name: value for name, value in members.items() if isinstance(value, list) and not isinstance(value, Members)
    }
    return lists if is_header(list(lists)) else _classes(lists)


def _classes(lists: Mapping[str, list[object]]) -> Mapping[str, Sequence[object]] | None:
    """Two lists of scores under the names of both classes, as columns."""
    named = [(role == "genuine", values) for name, values in lists.items() if (role := role_of(name)) is not None]
    if {truth for truth, _ in named} != {True, False}:
        return None
    return {
        SCORE: [item for _, values in named for item in values],
        IS_GENUINE: [truth for truth, values in named for _ in values],
    }


def _frame(columns: Mapping[str, Sequence[object]], source: Source) -> "pl.DataFrame":
    import polars as pl

    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise source.error(f"its columns differ in length: {', '.join(f'{name} {n:,}' for name, n in lengths.items())}")
    texts = {_clean(name): [_text(value, name, source) for value in values] for name, values in columns.items()}
    frame = pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String))
    return frame.with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.UInt32))


def _text(value: object, name: str, source: Source) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        raise source.error(f"column {name} holds lists or objects; a table has one value in each cell")
    return repr(value) if isinstance(value, float) else _clean(str(value))


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which no text file can hold."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
