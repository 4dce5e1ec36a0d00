"""Tables with named columns: CSV, Parquet and workbooks, with our names, bob's, or those that other tools give.

Canonical columns are `score` and `is_genuine`, optionally `subject_a`, `subject_b`, `group_a`, `group_b`, `family_a`,
`family_b`, `sample_a`, `sample_b`, `quality_a` and `quality_b`; of presentations to a liveness detector `subject`,
`artefact`, `species` (the PAI species of an attack) and `response`. What other names mean is in
`cv_quality.scores.headers`; records of JSON and files without a header become rows here as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cv_quality.scores.detection import HEAD_LINES, cells, header_at
from cv_quality.scores.headers import Header, header_of, plain, refuse_wide
from cv_quality.scores.identities import with_subjects
from cv_quality.scores.labels import ATTACK_WORDS, LABELS_EXPECTED, NO_SPECIES, is_genuine, label_words
from cv_quality.scores.lines import Lines, fields_in, read_lines, split_fields, with_scores
from cv_quality.scores.missing import failures_to_acquire, refuse_nan
from cv_quality.scores.numerals import in_points
from cv_quality.scores.rows import (
    IS_GENUINE,
    LINE,
    NUMBERS,
    OPTIONAL,
    RESPONSE,
    SCORE,
    SUBJECTS,
    TEXT,
    apart,
    joined,
    refuse,
)
from cv_quality.scores.source import Draft, Options, Source, Taken, plural

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

NAMED = 10
"""Columns that are not read and named in the note."""
RESPONDED, SILENT = "ok", ("non_response", "no_response", "capture_fail")
"""What stands in the column of responses."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table, as text, before they mean anything.

    Attributes:
        rows: `line`, and one column per column of the file under its known name; those that are not read left out.
        header: what the columns mean.
        columns: as the file names them.
        kind: what the file was taken for.
        unit: what `line` counts.
        excluded: rows that were refused on the way.
        notes: what was done on the way.
    """

    rows: "pl.DataFrame"
    header: Header
    columns: Sequence[str]
    kind: Taken
    unit: str
    excluded: "list[pl.DataFrame]" = field(default_factory=list)
    notes: tuple[str, ...] = ()


def read_csv(source: Source, options: Options) -> Draft:
    """Read a table in text; commas, semicolons, tabs or spaces between the columns.

    Raises:
        ScoreFileError: a column is missing or named twice, or a line is broken.
    """
    lines = read_lines(source)
    at = header_at(lines.rows[TEXT].head(HEAD_LINES).to_list(), source.separator, options) or 0
    columns = cells(str(lines.rows[TEXT][at]), source.separator)
    titles = (f"{source}: {plural(at, 'line')} above the header passed over",) if at else ()
    body = Lines(lines.rows[at + 1 :], (*lines.notes, *titles))
    if body.rows.is_empty():
        raise source.error("has a header and no rows; name a file with scores")
    refuse_wide(columns, source)
    columns, body = _aligned(columns, _without_blank(body, source), source)
    places = [f"_{index}" for index in range(len(columns))]
    shown = ", ".join(name or "a column without a name" for name in columns[:NAMED])
    fields, broken = split_fields(body, source, options, names=places, expected=shown)
    header = header_of(columns, lambda index: fields[places[index]], source, options)
    rows = fields.select(LINE, **{name: place for name, place in zip(header.names, places, strict=True) if name})
    return draft_of(Table(rows, header, columns, "table", "line", [broken], body.notes), source, options)


def read_parquet(source: Source, options: Options) -> Draft:
    """Read the same table as Parquet; float32 scores stay float32.

    Raises:
        ScoreFileError: the file is damaged, a column is missing or of another type, or a row has no score.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source.plain_path) as file:
            columns = [name for name in file.schema_arrow.names if not plain(name).startswith("__index_level")]
            header = header_of(columns, lambda index: _column(file.read([columns[index]])), source, options)
            read = {column: name for column, name in zip(columns, header.names, strict=True) if name}
            arrow = file.read(list(read)).select(list(read))
            # Polars' own reader stops the process with a panic on some damaged files; Arrow's raises.
            table = pl.DataFrame(pl.from_arrow(arrow.rename_columns(list(read.values()))))
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise source.error(f"is damaged or no Parquet file ({error}); write it again") from error
    rows = _typed(table, source).with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.UInt32))
    if rows.is_empty():
        raise source.error("has no rows; name a file with scores")
    is_empty = rows[SCORE].is_null()
    bad = rows.filter(is_empty).with_columns(pl.lit("null").alias(TEXT))
    empty = refuse(bad, source, options, expected="a number as score", unit="row")
    return draft_of(Table(rows.filter(~is_empty), header, columns, "parquet", "row", [empty]), source, options)


def read_records(
    rows: "pl.DataFrame", source: Source, options: Options, *, kind: Taken, unit: str, notes: tuple[str, ...] = ()
) -> Draft:
    """Read a table whose cells are at hand as text.

    Args:
        rows: `line`, and one column of text per column, under its own name.
        source: their file.
        options: how to read.
        kind: what the file was taken for.
        unit: what `line` counts.
        notes: what was done so far.

    Raises:
        ScoreFileError: as `read_csv`.
    """
    columns = [name for name in rows.columns if name != LINE]
    header = header_of(columns, lambda index: rows[columns[index]], source, options)
    known = {name: column for name, column in zip(header.names, columns, strict=True) if name}
    return draft_of(Table(rows.select(LINE, **known), header, columns, kind, unit, [], notes), source, options)


def draft_of(table: Table, source: Source, options: Options) -> Draft:
    """Give the rows of a table their truth, scores and other numbers; what does not count is set apart.

    Raises:
        ScoreFileError: a score is no number, a label is unknown, or a row contradicts itself.
    """
    import polars as pl

    (rows, silent), notes, excluded = _responses(table.rows, source), table.notes, list(table.excluded)
    is_of_attacks = False
    if not silent.is_empty():
        asked, is_of_attacks, refused = _labelled(_with_known(silent), table, source, options)
        excluded += [refused, apart(asked, file=str(source), reason="no_response")]
    if rows.schema[SCORE] == pl.String:
        points, told = in_points(rows[SCORE], source)
        scored, bad = with_scores(rows.with_columns(points), source, options, column=SCORE, unit=table.unit)
        rows, notes, excluded = scored, (*notes, *told), [*excluded, bad]
    labelled, is_liveness, unlabelled = _labelled(_with_known(rows), table, source, options)
    if table.header.is_bob and source.role is None:  # whose NaN are failures to acquire
        found = failures_to_acquire(labelled, source)
    else:
        found = refuse_nan(labelled, source, options, unit=table.unit)
    rows, told = with_subjects(_with_numbers(found.rows, source), source, is_liveness=is_liveness)
    notes = (*notes, *_renamed(table, source), *told, *_unread(table, source))
    rows = rows.drop([name for name in (*OPTIONAL, *NUMBERS) if name in rows.columns and rows[name].is_null().all()])
    return Draft(
        rows,
        table.kind,
        joined([*excluded, unlabelled, found.excluded]),
        notes,
        (*found.warnings, *_contradictions(rows, source)),
        polarity=table.header.polarity,
        is_liveness=is_liveness or is_of_attacks,
    )


def _responses(rows: "pl.DataFrame", source: Source) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """The rows with a response, and those without, which need no score.

    Raises:
        ScoreFileError: a response is in no known word.
    """
    import polars as pl

    if RESPONSE not in rows.columns:
        return rows, rows.clear()
    words = rows[RESPONSE].fill_null("").str.strip_chars().str.to_lowercase()
    unknown = rows.filter(~words.is_in((RESPONDED, *SILENT)))
    if not unknown.is_empty():
        known = ", ".join((RESPONDED, *SILENT))
        raise source.error(
            f"expected a response of {known}, found {unknown[RESPONSE][0]!r}", line=int(unknown[LINE][0])
        )
    rows = rows.drop(RESPONSE)
    silent = rows.filter(words != RESPONDED).with_columns(pl.lit(None, dtype=pl.Float64).alias(SCORE))
    return rows.filter(words == RESPONDED), silent


def _renamed(table: Table, source: Source) -> tuple[str, ...]:
    """Say what columns were taken for that are called otherwise; columns without names are told elsewhere."""
    if table.kind not in ("table", "parquet", "workbook", "json", "numpy"):
        return ()
    pairs = zip(table.columns, table.header.names, strict=True)
    taken = [f"{column} for {name}" for column, name in pairs if name and plain(column) != name]
    return (f"{source}: took {', '.join(taken)}",) if taken else ()


def _unread(table: Table, source: Source) -> tuple[str, ...]:
    """Name the columns that are not read."""
    names = [
        column or "one without a name"
        for column, name in zip(table.columns, table.header.names, strict=True)
        if not name
    ]
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return (f"{source}: {plural(len(names), 'further column')} not read ({shown})",) if names else ()


def _without_blank(lines: Lines, source: Source) -> Lines:
    """Leave out rows of separators only, as spreadsheets append them."""
    is_blank = lines.rows[TEXT].str.strip_chars(source.separator + ' "\t') == ""
    n = int(is_blank.sum())
    note = f"{source}: {plural(n, 'row')} of empty cells passed over"
    return Lines(lines.rows.filter(~is_blank), (*lines.notes, note)) if n else lines


def _aligned(columns: list[str], body: Lines, source: Source) -> tuple[list[str], Lines]:
    """The names and rows where rows have a cell more than the header: an empty last one, or R's name of the row."""
    import polars as pl

    is_longer = fields_in(body.rows[TEXT], source) == len(columns) + 1
    ends = is_longer & body.rows[TEXT].str.ends_with(source.separator)
    if source.separator != " " and ends.any():
        texts = pl.when(ends).then(pl.col(TEXT).str.head(-1)).otherwise(TEXT).alias(TEXT)
        return columns, Lines(body.rows.with_columns(texts), body.notes)
    first = body.rows[TEXT].str.extract(r'^"?([0-9]+)"?[ \t,;|]', 1)
    if is_longer.all() and first.to_list() == [str(number) for number in range(1, len(first) + 1)]:
        return ["", *columns], body
    return columns, body


def _column(table: "pa.Table") -> "pl.Series":
    import polars as pl

    return pl.DataFrame(pl.from_arrow(table)).to_series().cast(pl.String, strict=False)


def _typed(table: "pl.DataFrame", source: Source) -> "pl.DataFrame":
    """Scores as floats, the rest of the known columns as text (truth may stay Boolean)."""
    import polars as pl

    kind = table.schema[SCORE]
    if not kind.is_numeric():
        raise source.error(f"column score is {kind}, not a number; write it as Float64 or Float32")
    kept = kind if kind == pl.Float32 else pl.Float64
    texts = [name for name in table.columns if name in (IS_GENUINE, *OPTIONAL, *NUMBERS, RESPONSE)]
    for name in texts:
        if table.schema[name].is_nested():
            raise source.error(f"column {name} is {table.schema[name]}; write it as text")
    return table.with_columns(pl.col(SCORE).cast(kept), *(pl.col(name).cast(pl.String) for name in texts))


def _with_known(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Empty text as null, and PAI species only where there is an attack."""
    import polars as pl

    known = [name for name in rows.columns if name in (*OPTIONAL, *NUMBERS)]
    rows = rows.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in known)
    if "species" not in known:
        return rows
    is_bona_fide = pl.col("species").str.to_lowercase().is_in(NO_SPECIES)
    return rows.with_columns(pl.when(~is_bona_fide).then(pl.col("species")).alias("species"))


def _labelled(
    rows: "pl.DataFrame", table: Table, source: Source, options: Options
) -> tuple["pl.DataFrame", bool, "pl.DataFrame"]:
    """`is_genuine` as Boolean: as written, by equal identities, or by the name of the file.

    Also whether the rows that are not genuine are presentation attacks, and the rows that are refused.
    """
    import polars as pl

    if IS_GENUINE not in rows.columns and source.role is not None:
        return rows.with_columns(pl.lit(source.role == "genuine").alias(IS_GENUINE)), False, apart()
    if IS_GENUINE not in rows.columns:
        is_known = rows[SUBJECTS[0]].is_not_null() & rows[SUBJECTS[1]].is_not_null()
        bad = rows.filter(~is_known).select(LINE, pl.lit("an empty identity").alias(TEXT))
        refused = refuse(bad, source, options, expected="both identities", unit=table.unit)
        is_same = pl.col(SUBJECTS[0]) == pl.col(SUBJECTS[1])
        is_same = is_same & pl.col("species").is_null() if "species" in rows.columns else is_same
        return rows.filter(is_known).with_columns(is_same.alias(IS_GENUINE)), False, refused
    words = label_words(rows[IS_GENUINE])
    truth = is_genuine(rows[IS_GENUINE])
    if table.header.is_reversed and words.are_answers:
        truth = ~truth
    bad = rows.filter(truth.is_null()).select(LINE, pl.col(IS_GENUINE).fill_null("").alias(TEXT))
    refused = refuse(bad, source, options, expected=LABELS_EXPECTED, unit=table.unit)
    if words.has_attacks:
        rows = _with_attacks(rows)
    rows = rows.with_columns(truth.alias(IS_GENUINE)).filter(~truth.is_null())
    is_liveness = words.is_liveness or table.header.is_liveness
    if "species" not in rows.columns:
        return rows, is_liveness, refused
    is_torn = rows[IS_GENUINE] & rows["species"].is_not_null()
    torn = rows.filter(is_torn).select(LINE, pl.col("species").alias(TEXT))
    both = refuse(torn, source, options, expected="no attack species in a genuine row", unit=table.unit)
    return rows.filter(~is_torn), is_liveness, joined([refused, both])


def _with_attacks(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Rows that are labelled as attacks beside genuine and impostor comparisons get a species, the others none."""
    import polars as pl

    is_attack = pl.col(IS_GENUINE).str.strip_chars().str.to_lowercase().is_in(ATTACK_WORDS)
    species = pl.col("species").fill_null("unknown") if "species" in rows.columns else pl.lit("unknown")
    return rows.with_columns(pl.when(is_attack).then(species).alias("species"))


def _contradictions(rows: "pl.DataFrame", source: Source) -> tuple[str, ...]:
    if not set(SUBJECTS) <= set(rows.columns):
        return ()
    is_torn = (rows[SUBJECTS[0]] == rows[SUBJECTS[1]]) != rows[IS_GENUINE]
    n = int((is_torn & rows["species"].is_null() if "species" in rows.columns else is_torn).sum())
    said = f"{source}: in {plural(n, 'row')} is_genuine contradicts subject_a and subject_b; is_genuine counts"
    return (said,) if n else ()


def _with_numbers(rows: "pl.DataFrame", source: Source) -> "pl.DataFrame":
    """Qualities and second scores as numbers; an empty one is unknown.

    Raises:
        ScoreFileError: one is text or NaN.
    """
    import polars as pl

    for name in (name for name in NUMBERS if name in rows.columns):
        values = rows[name].cast(pl.Float64, strict=False)
        bad = rows.filter((values.is_null() | values.is_nan()) & rows[name].is_not_null())
        if not bad.is_empty():
            raise source.error(f"expected a number as {name}, found {bad[name][0]!r}", line=int(bad[LINE][0]))
        rows = rows.with_columns(values.alias(name))
    return rows
