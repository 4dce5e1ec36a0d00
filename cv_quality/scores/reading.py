"""Reading score files, whatever format each has, into one `ScoreSet`.

Each file goes to the reader of its format; here the rows are joined, sentinels and polarity are decided on all of them
together, and what was done is noted. Which files belong together is decided in `cv_quality.scores.grouping`.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cv_quality.errors import ScoreFileError
from cv_quality.scores import polarity as polarities
from cv_quality.scores import sentinels
from cv_quality.scores.arrays import read_numpy
from cv_quality.scores.bee import read_bee
from cv_quality.scores.bob import read_five, read_four, read_two
from cv_quality.scores.detection import detect, plain
from cv_quality.scores.grouping import says_histogram, sources_of
from cv_quality.scores.headers import parsed_columns
from cv_quality.scores.json_scores import read_json
from cv_quality.scores.labelled import read_columns, read_labelled, read_lfw
from cv_quality.scores.lists import read_histogram, read_list, read_pairs
from cv_quality.scores.matrices import read_matrix
from cv_quality.scores.patterns import with_patterns
from cv_quality.scores.rows import (
    FILE,
    IS_GENUINE,
    LINE,
    NUMBERS,
    OPTIONAL,
    SCORE,
    SECOND_SCORE,
    SUBJECTS,
    apart,
    joined,
)
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.source import (
    Draft,
    Format,
    Kind,
    OnError,
    Options,
    Polarity,
    Role,
    Sentinel,
    Source,
    Taken,
    plural,
)
from cv_quality.scores.tables import read_csv, read_parquet
from cv_quality.scores.trial_scores import read_scores_of_trials
from cv_quality.scores.workbooks import read_workbook

if TYPE_CHECKING:
    import polars as pl

Paths = Path | str | Iterable[Path | str]
READERS: dict[Format, Callable[[Source, Options], Draft]] = {
    "table": read_csv,
    "parquet": read_parquet,
    "workbook": read_workbook,
    "labelled": read_labelled,
    "lfw": read_lfw,
    "bob4": read_four,
    "bob5": read_five,
    "two-column": read_two,
    "list": read_list,
    "histogram": read_histogram,
    "pairs": read_pairs,
    "matrix": read_matrix,
    "bee": read_bee,
    "json": read_json,
    "numpy": read_numpy,
}
ONE_ROW_A_PAIR: tuple[Taken, ...] = (
    *("table", "parquet", "workbook", "labelled", "lfw", "bob4", "bob5", "pairs", "numpy", "scores of trials"),
)
"""Formats in which a pair that stands twice is a mistake rather than a second sample."""
SURPRISING = 3.0
"""Equal scores of one pair of subjects, against those expected by chance, that are called duplicates."""


def read_scores(
    paths: Paths = (),
    *,
    genuine: Paths = (),
    impostor: Paths = (),
    format: Format | None = None,
    polarity: Polarity | None = None,
    sentinel: Sentinel | None = "detect",
    on_error: OnError = "raise",
    genuine_pattern: str | None = None,
    species_pattern: str | Mapping[str, str] | None = None,
    subject_pattern: str | None = None,
    artefact_pattern: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    trials: Path | str | None = None,
) -> ScoreSet:
    r"""Read score files as one set; higher scores are more alike in the result, always.

    Several files are joined: a list of genuine and one of impostor scores complete each other, complete files are
    pooled. To evaluate files one by one, read each group of `group_files` by itself. A set may lack a class.

    Args:
        paths: files whose class, where they are lists of one class, is told by their names (`group_files`).
        genuine: files of genuine scores only, whatever their names.
        impostor: files of impostor scores only, whatever their names.
        format: the format of every file; None detects it from the content of each.
        polarity: "similarity" (higher is more alike), "distance" or "attack" (higher is more surely an attack); None
            takes what the file declares, else tells it from the area under the ROC, and says so.
        sentinel: a value that stands for "no score"; "detect" finds it and sets it apart as failed enrolments; "keep",
            or None, leaves every value in.
        on_error: "raise" names the first broken line; "skip" sets broken lines apart, counted.
        genuine_pattern: regular expression that the ids of bona fide samples match; needed for JSON.
        species_pattern: regular expression whose first group is the PAI species in the id of an attack, or a mapping
            from species to expressions that match their ids.
        subject_pattern, artefact_pattern: regular expressions whose first group is the subject in every id, and the
            artefact in that of an attack.
        columns: what columns mean that are called otherwise, by name or, without a header, by number from 1; a mapping,
            or text such as "score=sim,is_genuine=same".
        trials: a list of trials with their labels; the files then hold the scores, in the same order or with the ids.

    Raises:
        ScoreFileError: a file is missing, of no known format, broken, or unclear; the message says what to do.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "dev.txt")
    ...     _ = path.write_text("ann ann p1 0.9\nann bob p2 0.1\nann cyd p3 nan\n")
    ...     found = read_scores(path)
    >>> found.format, found.n_genuine, found.n_impostor, found.excluded_by_reason()
    ('bob4', 1, 1, {'failure_to_acquire': 1})
    """
    asked: Sentinel = "keep" if sentinel is None else sentinel
    names = _columns(columns)
    patterns = (genuine_pattern, species_pattern, subject_pattern, artefact_pattern)
    options = _checked_options(Options(format, asked, on_error, *patterns, names))
    if polarity not in (None, *polarities.MEANING):
        raise ScoreFileError(f"polarity is one of {', '.join(polarities.MEANING)}, found {polarity!r}")
    sources = _sources(_listed(paths), _listed(genuine), _listed(impostor))
    # What is unpacked or decoded lies here until its rows are in memory.
    with tempfile.TemporaryDirectory(prefix="cvq-scores-") as folder:
        if trials is not None:
            options = replace(options, trials=plain(Source(Path(trials)), Path(folder)))
        drafts = [_read(plain(source, Path(folder)), options) for source in sources]
    return _joined(sources, drafts, options, declared=polarity)


def _checked_options(options: Options) -> Options:
    asked = options.sentinel
    if options.on_error not in ("raise", "skip"):
        raise ScoreFileError(f'on_error is "raise" or "skip", found {options.on_error!r}')
    if asked not in ("detect", "keep") and (isinstance(asked, str) or not math.isfinite(asked)):
        raise ScoreFileError(f'sentinel is "detect", "keep" or a finite number, found {asked!r}')
    return options


def _columns(columns: Mapping[str, str] | str | None) -> Mapping[str, str]:
    try:
        return parsed_columns(columns) if isinstance(columns, str) else columns or {}
    except ValueError as error:
        raise ScoreFileError(f"columns: {error}") from error


def _listed(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _sources(paths: list[Path], genuine: list[Path], impostor: list[Path]) -> list[Source]:
    every = [*paths, *genuine, *impostor]
    if not every:
        raise ScoreFileError("no file of scores is named")
    seen: set[Path] = set()
    for path in every:
        if path.absolute() in seen:
            raise ScoreFileError(f"{path}: named twice; every comparison would count double", file=str(path))
        seen.add(path.absolute())
    named: tuple[tuple[Role, list[Path]], ...] = (("genuine", genuine), ("impostor", impostor))
    given = [
        Source(path, role, is_histogram=says_histogram(path), is_told=True) for role, files in named for path in files
    ]
    return [*sources_of(paths), *given]


def _read(source: Source, options: Options) -> Draft:
    taken = "scores of trials"
    if options.trials is None:
        dialect = detect(source, options)
        source, taken = replace(source, separator=dialect.separator), dialect.format
    try:
        if options.trials is not None:
            draft = read_scores_of_trials(source, options)
        else:
            draft = (read_columns if dialect.format == "columns" else READERS[dialect.format])(source, options)
        rows = with_patterns(draft.rows, source, options)
        return _checked(replace(draft, rows=rows, notes=(*source.notes, *draft.notes)), source)
    except ScoreFileError as error:
        if "(taken for " in str(error):
            raise
        other = "as declared" if options.format else 'format="NAME" declares another'
        taken = f"{taken} without a header" if taken == "columns" else taken
        raise ScoreFileError(f"{error} (taken for {taken}, {other})", file=error.file, line=error.line) from error


def _checked(draft: Draft, source: Source) -> Draft:
    if draft.rows.is_empty() and draft.excluded.is_empty():
        raise source.error("holds no comparison; name a file with scores")
    if source.is_told and (draft.rows[IS_GENUINE] != (source.role == "genuine")).any():
        raise source.error(f"is named as {source.role}, but holds both classes; name it without a class")
    return draft


def _joined(sources: list[Source], drafts: list[Draft], options: Options, *, declared: Polarity | None) -> ScoreSet:
    """All files as one set: attacks apart, sentinels apart, one polarity, duplicates counted."""
    if len({draft.is_liveness for draft in drafts}) > 1:
        raise ScoreFileError("some files hold liveness scores and others comparisons; read them apart")
    said = {draft.polarity: source for source, draft in zip(sources, drafts, strict=True) if draft.polarity}
    if len(said) > 1:
        raise ScoreFileError(f"{' and '.join(map(str, said.values()))} declare different polarities; read them apart")
    pooled = _pooled(drafts)
    pooled, attacks = (pooled, pooled.clear()) if drafts[0].is_liveness else _attacks_apart(pooled)
    is_liveness = "species" in pooled.columns or drafts[0].is_liveness
    ends = sentinels.extremes(pooled[SCORE])
    told = sentinels.without(pooled, ends) if options.sentinel == "detect" else pooled
    decision = polarities.decide_polarity(
        *(told[SCORE].filter(mask).to_numpy() for mask in (told[IS_GENUINE], ~told[IS_GENUINE])),
        declared=declared or next(iter(said), None),
        is_liveness=is_liveness,
    )
    kept, set_apart = _sentinel_apart(pooled, ends, sources, options, polarity=decision.polarity)
    rows, attacks = (frame.drop(LINE, FILE) for frame in (kept, attacks))
    if decision.polarity != "similarity":
        turned = [name for name in (SCORE, SECOND_SCORE) if name in rows.columns]
        rows, attacks = (frame.with_columns(-frame[name] for name in turned) for frame in (rows, attacks))
    excluded = joined([*(draft.excluded for draft in drafts), set_apart.excluded])
    n_broken = int(excluded["reason"].is_in(["broken_line", "not_a_number"]).sum())
    n_infinite = int((rows[SCORE] == float("inf")).sum())
    warnings = (
        *(warning for draft in drafts for warning in draft.warnings),
        *set_apart.warnings,
        *decision.warnings,
        *([f"{plural(n_broken, 'broken line')} skipped"] if n_broken else []),
        *_duplicates(rows, drafts),
        *([f"{plural(n_infinite, 'score')} of infinite likeness: accepted at every threshold"] if n_infinite else []),
    )
    notes = (*(note for draft in drafts for note in draft.notes), *decision.notes, *_attack_notes(attacks))
    by_file = [*(draft.failed_subjects for draft in drafts), set_apart.failed_subjects]
    failed = [names for names in by_file if names is not None]
    kind: Kind = "liveness" if is_liveness else "verification"
    return ScoreSet(
        rows=rows,
        excluded=excluded,
        attacks=attacks,
        sources=tuple(str(path) for source in sources for path in (source.path, source.companion) if path is not None),
        format=" + ".join(dict.fromkeys(draft.format for draft in drafts)),
        kind=kind,
        polarity=decision.polarity,
        polarity_source=decision.source,
        failed_subjects=tuple(sorted(set().union(*failed))) if failed else None,
        notes=notes,
        warnings=warnings,
    )


def _pooled(drafts: list[Draft]) -> "pl.DataFrame":
    """All rows, with the number of their file; columns that no file has are absent."""
    import polars as pl

    frames = [
        draft.rows.select(
            *(name for name in (SCORE, IS_GENUINE, *OPTIONAL, *NUMBERS, LINE) if name in draft.rows.columns),
            pl.lit(index, dtype=pl.UInt32).alias(FILE),
        )
        for index, draft in enumerate(drafts)
    ]
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")


def _attacks_apart(rows: "pl.DataFrame") -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Attacks leave a verification set; where every row that is not genuine is an attack, they are its second class."""
    if "species" not in rows.columns:
        return rows, rows.clear()
    is_attack = rows["species"].is_not_null()
    if not (~is_attack & ~rows[IS_GENUINE]).any():
        return rows, rows.clear()
    return rows.filter(~is_attack).drop("species"), rows.filter(is_attack)


@dataclass(frozen=True, slots=True)
class _Apart:
    """Rows with the sentinel, the warnings about it, and who failed to enrol by it."""

    excluded: "pl.DataFrame"
    warnings: tuple[str, ...] = ()
    failed_subjects: tuple[str, ...] | None = None


def _sentinel_apart(
    rows: "pl.DataFrame", ends: sentinels.Extremes, sources: list[Source], options: Options, *, polarity: Polarity
) -> tuple["pl.DataFrame", _Apart]:
    value = sentinels.sentinel_of(ends, polarity=polarity, asked=options.sentinel)
    suspicion = sentinels.suspicion(ends, polarity=polarity, rows=rows, asked=options.sentinel)
    if value is None:
        return rows, _Apart(apart(), suspicion)
    is_it = rows[SCORE] == value
    failed = rows.filter(is_it)
    frames = [
        apart(failed.filter(failed[FILE] == index), file=str(source), reason="sentinel")
        for index, source in enumerate(sources)
    ]
    warnings = (*sentinels.finding(value, rows, asked=options.sentinel), *suspicion)
    return rows.filter(~is_it), _Apart(joined(frames), warnings, sentinels.failed_subjects(value, rows))


def _duplicates(rows: "pl.DataFrame", drafts: list[Draft]) -> tuple[str, ...]:
    """A warning about pairs that stand twice; with samples unknown, only if the score is the same too."""
    if not all(draft.format in ONE_ROW_A_PAIR for draft in drafts):
        return ()
    pair = [name for name in SUBJECTS if name in rows.columns]
    samples = [name for name in ("sample_a", "sample_b") if name in rows.columns and rows[name].n_unique() > 1]
    if not pair and len(samples) < 2:
        return ()
    n = len(rows) - rows.select([*pair, *samples, *([] if samples else [SCORE])]).n_unique()
    if not n or (not samples and n <= SURPRISING * _expected_ties(rows, pair)):
        return ()
    what = "repeat a pair of samples" if samples else "repeat a pair of subjects with the same score"
    return (f"{plural(n, 'row')} {what}; they are kept: a comparison that stands twice counts twice",)


def _expected_ties(rows: "pl.DataFrame", pair: list[str]) -> float:
    """Equal scores within pairs of subjects to be expected when each row is a comparison of its own.

    That is the number of two rows of one pair, times the share of equal scores among any two rows.
    """
    import polars as pl

    n = pl.len().cast(pl.Float64)
    within, equal, every = (
        float(grouped.agg(n * (n - 1) / 2)["len"].sum())
        for grouped in (rows.group_by(pair), rows.group_by(SCORE), rows.group_by(pl.lit(0)))
    )
    return within * equal / every


def _attack_notes(attacks: "pl.DataFrame") -> tuple[str, ...]:
    if attacks.is_empty():
        return ()
    species = attacks["species"].value_counts(sort=True)
    shown = ", ".join(f"{name} {count:,}" for name, count in species.head(10).iter_rows())
    return (
        f"{plural(len(attacks), 'presentation attack')} ({shown}) are kept apart: they count for IAPAR, not for FMR",
    )
