"""JSON: tables, and objects of sample id and score, as liveness systems write them (gradgpad).

An object of ids does not say which samples are bona fide: a pattern over the ids must. Patterns are matched by Rust's
regex engine, which knows no look-around and cannot be made to run for ever.
"""

import json
from functools import partial
from typing import TYPE_CHECKING

from cv_quality.scores.headers import names_scores
from cv_quality.scores.json_records import Members, load, table_of
from cv_quality.scores.missing import refuse_nan
from cv_quality.scores.patterns import matches
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, TEXT, joined, refuse
from cv_quality.scores.source import Draft, Options, Source, quoted
from cv_quality.scores.tables import read_records

if TYPE_CHECKING:
    import polars as pl

SHOWN = 3


def read_json(source: Source, options: Options) -> Draft:
    """Read records or columns as a table, or an object `{id: score, ...}`.

    Of an object, ids that match `genuine_pattern` are bona fide, the others attacks.

    Raises:
        ScoreFileError: the JSON is malformed or of another shape, an id stands twice, a value is no number, or no
            pattern tells bona fide from attack.
    """
    found = load(source)
    table = table_of(found, source, partial(names_scores, options=options))
    if table is not None:
        return read_records(table, source, options, kind="json", unit="entry")
    entries, broken = _entries(found, source, options)
    if options.genuine_pattern is None:
        shown = ", ".join(quoted(name) for name in entries["sample_b"].head(SHOWN))
        raise source.error(
            f"ids and scores ({shown}), and nothing says which are bona fide; give a pattern that the ids of bona fide "
            'samples match, such as genuine_pattern="/(real|live)/"'
        )
    is_genuine = matches(entries["sample_b"], options.genuine_pattern, source)
    if not is_genuine.any():
        shown = ", ".join(quoted(name) for name in entries["sample_b"].head(SHOWN))
        raise source.error(f"no id matches {options.genuine_pattern!r}; the ids look like {shown}")
    rows = entries.with_columns(is_genuine.alias(IS_GENUINE))
    scored = refuse_nan(rows, source, options, unit="entry")
    n_genuine = int(rows[IS_GENUINE].sum())
    note = f"{source}: by the pattern {n_genuine:,} samples are bona fide and {len(rows) - n_genuine:,} attacks"
    return Draft(scored.rows, "json", joined([broken, scored.excluded]), (note,), is_liveness=True)


def _entries(document: object, source: Source, options: Options) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """`sample_b`, `score` and `line` (the position in the object, from 1)."""
    import polars as pl

    if not isinstance(document, Members) or not document:
        raise source.error("JSON of another shape; expected records, columns, or one object of ids and scores")
    pairs = document
    # Halves of surrogate pairs, which no text file can hold, are replaced.
    names = [name.encode("utf-8", errors="replace").decode("utf-8") for name, _ in pairs]
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise source.error(f"the id {quoted(twice)} stands twice; keep one score for each")
    numbers = [_number(value) for _, value in pairs]
    frame = pl.DataFrame(
        {"sample_b": names, SCORE: pl.Series(numbers, dtype=pl.Float64)}, schema_overrides={"sample_b": pl.String}
    ).with_row_index(LINE, offset=1)
    frame = frame.with_columns(pl.col(LINE).cast(pl.UInt32))
    bad = [index for index, number in enumerate(numbers) if number is None]
    texts = [f"{json.dumps(pairs[index][1])[:100]} under {names[index]}" for index in bad]
    broken = frame[bad].with_columns(pl.Series(TEXT, texts, dtype=pl.String))
    refused = refuse(broken, source, options, expected="a number under every id", unit="entry")
    return frame.filter(pl.col(SCORE).is_not_null()), refused


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
