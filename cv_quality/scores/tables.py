"""Tables with named columns: our canonical CSV or Parquet, and the CSV that bob.bio.base writes.

Canonical columns are `score` and `is_genuine`, optionally `subject_a`, `subject_b`, `group_a`, `group_b`, `family_a`,
`family_b`, `sample_a`, `sample_b`, `species` (the PAI species of an attack), `quality_a` and `quality_b`. bob's names
of identities are understood; equal ones are genuine.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cv_quality.scores.detection import cells
from cv_quality.scores.labels import LABELS_EXPECTED, is_genuine
from cv_quality.scores.lines import Lines, read_lines, split_fields, with_scores
from cv_quality.scores.missing import failures_to_acquire, refuse_nan
from cv_quality.scores.rows import IS_GENUINE, LINE, OPTIONAL, QUALITIES, SCORE, SUBJECTS, TEXT, apart, joined, refuse
from cv_quality.scores.source import Draft, Options, Source, no_column, plural

if TYPE_CHECKING:
    import polars as pl

MAX_COLUMNS = 1_000
BOB_NAMES = {
    "bio_ref_subject_id": "subject_a",
    "probe_subject_id": "subject_b",
    "bio_ref_reference_id": "sample_a",
    "bio_ref_template_id": "sample_a",
    "probe_reference_id": "sample_b",
    "probe_template_id": "sample_b",
    "probe_key": "sample_b",
    "probe_attack_type": "species",
}
NO_SPECIES = ("", "none", "null", "na", "bona_fide", "bonafide", "bona fide", "live", "real")


def read_csv(source: Source, options: Options) -> Draft:
    """Read a table in text; commas, semicolons, tabs or spaces between the columns.

    Raises:
        ScoreFileError: a column is missing or named twice, or a line is broken.
    """
    lines = read_lines(source)
    columns = _named(cells(str(lines.rows[TEXT][0]), source.separator), source)
    body = Lines(lines.rows[1:], lines.notes)
    if body.rows.is_empty():
        raise source.error("has a header and no rows; name a file with scores")
    names = [name or f"_{index}" for index, name in enumerate(columns)]
    expected = ", ".join(name or "a column that is not read" for name in columns[:10])
    fields, broken = split_fields(body, source, options, names=names, expected=expected)
    fields = fields.select(LINE, *(name for name in columns if name))
    scored, unreadable = with_scores(fields, source, options, column=SCORE)
    rows, unlabelled = _labelled(_with_known(scored), source, options, unit="line")
    excluded = [broken, unreadable, unlabelled]
    return _draft(rows, source, options, columns=columns, excluded=excluded, notes=lines.notes, kind="table")


def read_parquet(source: Source, options: Options) -> Draft:
    """Read the same table as Parquet; float32 scores stay float32.

    Raises:
        ScoreFileError: the file is damaged, a column is missing or of another type, or a row has no score.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source.path) as file:
            header = list(file.schema_arrow.names)
            columns = _named(header, source)
            arrow = file.read([name for name, known in zip(header, columns, strict=True) if known])
            # Polars' own reader stops the process with a panic on some damaged files; Arrow's raises.
            table = pl.DataFrame(pl.from_arrow(arrow.rename_columns([known for known in columns if known])))
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise source.error(f"is damaged or no Parquet file ({error}); write it again") from error
    rows = _typed(table, source).with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.UInt32))
    if rows.is_empty():
        raise source.error("has no rows; name a file with scores")
    known = _with_known(rows)
    is_empty = known[SCORE].is_null()
    bad = known.filter(is_empty).with_columns(pl.lit("null").alias(TEXT))
    empty = refuse(bad, source, options, expected="a number as score", unit="row")
    labelled, unlabelled = _labelled(known.filter(~is_empty), source, options, unit="row")
    return _draft(labelled, source, options, columns=columns, excluded=[empty, unlabelled], notes=(), kind="parquet")


def _named(header: Sequence[str], source: Source) -> list[str]:
    """The known name of each column of the file, "" for those that are not read.

    Raises:
        ScoreFileError: two columns have one name, there are too many, or one that is needed is missing.
    """
    if len(header) > MAX_COLUMNS:
        raise source.error(f"{len(header):,} columns; a table of scores has at most {MAX_COLUMNS:,}")
    lowered = [name.strip().lower() for name in header]
    is_bob = "is_genuine" not in lowered and {"bio_ref_subject_id", "probe_subject_id"} <= set(lowered)
    named = [BOB_NAMES.get(name, name) if is_bob else name for name in lowered]
    wanted = {SCORE, IS_GENUINE, *OPTIONAL, *QUALITIES}
    known = [name if name in wanted else "" for name in named]
    twice = sorted({name for name in known if name and known.count(name) > 1})
    if twice:
        places = [header[index] for index, name in enumerate(known) if name == twice[0]]
        raise source.error(f"two columns mean {twice[0]}: {' and '.join(places)}; keep one")
    needed = [SCORE] if is_bob or source.role is not None else [SCORE, IS_GENUINE]
    for name in needed:
        if name not in known:
            raise source.error(no_column(name, lowered))
    return known


def _typed(table: "pl.DataFrame", source: Source) -> "pl.DataFrame":
    """Scores as floats, the rest of the known columns as text (truth may stay Boolean)."""
    import polars as pl

    kind = table.schema[SCORE]
    if not kind.is_numeric():
        raise source.error(f"column score is {kind}, not a number; write it as Float64 or Float32")
    kept = kind if kind == pl.Float32 else pl.Float64
    texts = [name for name in table.columns if name in (IS_GENUINE, *OPTIONAL, *QUALITIES)]
    for name in texts:
        if table.schema[name].is_nested():
            raise source.error(f"column {name} is {table.schema[name]}; write it as text")
    return table.with_columns(pl.col(SCORE).cast(kept), *(pl.col(name).cast(pl.String) for name in texts))


def _with_known(rows: "pl.DataFrame") -> "pl.DataFrame":
    """Empty text as null, and PAI species only where there is an attack."""
    import polars as pl

    known = [name for name in rows.columns if name in (*OPTIONAL, *QUALITIES)]
    rows = rows.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in known)
    if "species" not in known:
        return rows
    is_bona_fide = pl.col("species").str.to_lowercase().is_in(NO_SPECIES)
    return rows.with_columns(pl.when(~is_bona_fide).then(pl.col("species")).alias("species"))


def _labelled(
    rows: "pl.DataFrame", source: Source, options: Options, *, unit: str
) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """`is_genuine` as Boolean: as written, by equal identities (bob), or by the name of the file."""
    import polars as pl

    if IS_GENUINE not in rows.columns and source.role is not None:
        return rows.with_columns(pl.lit(source.role == "genuine").alias(IS_GENUINE)), apart()
    if IS_GENUINE not in rows.columns:
        is_known = rows[SUBJECTS[0]].is_not_null() & rows[SUBJECTS[1]].is_not_null()
        bad = rows.filter(~is_known).select(LINE, pl.lit("an empty identity").alias(TEXT))
        refused = refuse(bad, source, options, expected="both identities", unit=unit)
        is_same = pl.col(SUBJECTS[0]) == pl.col(SUBJECTS[1])
        is_same = is_same & pl.col("species").is_null() if "species" in rows.columns else is_same
        return rows.filter(is_known).with_columns(is_same.alias(IS_GENUINE)), refused
    truth = is_genuine(rows[IS_GENUINE])
    bad = rows.filter(truth.is_null()).select(LINE, pl.col(IS_GENUINE).fill_null("").alias(TEXT))
    refused = refuse(bad, source, options, expected=LABELS_EXPECTED, unit=unit)
    rows = rows.with_columns(truth.alias(IS_GENUINE)).filter(~truth.is_null())
    if "species" not in rows.columns:
        return rows, refused
    is_torn = rows[IS_GENUINE] & rows["species"].is_not_null()
    torn = rows.filter(is_torn).select(LINE, pl.col("species").alias(TEXT))
    both = refuse(torn, source, options, expected="no attack species in a genuine row", unit=unit)
    return rows.filter(~is_torn), joined([refused, both])


def _draft(
    rows: "pl.DataFrame",
    source: Source,
    options: Options,
    *,
    columns: Sequence[str],
    excluded: list["pl.DataFrame"],
    notes: tuple[str, ...],
    kind: Literal["table", "parquet"],
) -> Draft:
    if IS_GENUINE not in columns and source.role is None:  # a table of bob's, which follows bob's convention
        found = failures_to_acquire(rows, source)
    else:
        found = refuse_nan(rows, source, options, unit="line" if kind == "table" else "row")
    n_unread = sum(not name for name in columns)
    if n_unread:
        notes = (*notes, f"{source}: {plural(n_unread, 'further column')} not read")
    rows = _with_qualities(found.rows, source)
    rows = rows.drop([name for name in (*OPTIONAL, *QUALITIES) if name in rows.columns and rows[name].is_null().all()])
    warnings = found.warnings
    if set(SUBJECTS) <= set(rows.columns):
        is_torn = (rows[SUBJECTS[0]] == rows[SUBJECTS[1]]) != rows[IS_GENUINE]
        n = int((is_torn & rows["species"].is_null() if "species" in rows.columns else is_torn).sum())
        said = f"{source}: in {plural(n, 'row')} is_genuine contradicts subject_a and subject_b; is_genuine counts"
        warnings = (*warnings, said) if n else warnings
    return Draft(rows, kind, joined([*excluded, found.excluded]), notes, warnings)


def _with_qualities(rows: "pl.DataFrame", source: Source) -> "pl.DataFrame":
    """Qualities as numbers; an empty one is unknown.

    Raises:
        ScoreFileError: one is text or NaN.
    """
    import polars as pl

    for name in (name for name in QUALITIES if name in rows.columns):
        values = rows[name].cast(pl.Float64, strict=False)
        bad = rows.filter((values.is_null() | values.is_nan()) & rows[name].is_not_null())
        if not bad.is_empty():
            raise source.error(f"expected a number as {name}, found {bad[name][0]!r}", line=int(bad[LINE][0]))
        rows = rows.with_columns(values.alias(name))
    return rows
