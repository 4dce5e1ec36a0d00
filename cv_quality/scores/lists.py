"""Lists of scores of one class, as pyeer reads them: one score a line, a histogram, or named pairs with their truth.

The class of a list comes from its name or from the caller (`cv_quality.scores.grouping`). In pyeer's histogram line i,
from 0, is the number of impostor comparisons with score i; the genuine scores beside it stay a plain list.
"""

from typing import TYPE_CHECKING

import numpy as np

from cv_quality.scores.lines import read_lines, split_fields, with_scores
from cv_quality.scores.missing import refuse_nan
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, TEXT, apart, joined
from cv_quality.scores.source import Draft, Options, Source, plural

if TYPE_CHECKING:
    import polars as pl

MAX_EXPANDED = 200_000_000
"""Comparisons that a histogram may stand for: 1.6 GB of scores."""
NEEDS_ROLE = (
    "one score a line, and nothing says whether they are genuine or impostor; put that word (or true and false) into "
    "the name of the file, or name it as genuine or impostor"
)


def read_list(source: Source, options: Options) -> Draft:
    """Read one score a line. With several columns the score is the last, and the format must be declared.

    Raises:
        ScoreFileError: a line is broken, or nothing tells the class of the scores.
    """
    if source.role is None:
        raise source.error(NEEDS_ROLE)
    if _is_histogram(source, options):
        return read_histogram(source, options)
    lines = read_lines(source)
    texts = lines.rows[TEXT]
    if source.separator != " ":
        texts = texts.str.split(source.separator).list.last()
    elif texts.str.contains(r"[ \t]").any():
        texts = texts.str.extract(r"(\S+)$")
    scored, unreadable = with_scores(lines.rows.with_columns(texts), source, options, column=TEXT)
    found = refuse_nan(_with_role(scored, source), source, options)
    excluded = joined([unreadable, found.excluded])
    return Draft(found.rows, "list", excluded, lines.notes, _looks_like_histogram(found.rows, source))


def read_histogram(source: Source, options: Options) -> Draft:
    """Read a histogram: line i, from 0, is how many comparisons have score i, which is repeated as often.

    Raises:
        ScoreFileError: a count is no whole number (a normalised histogram does not say how many comparisons it stands
            for), is negative, or all together are more than `MAX_EXPANDED`.
    """
    import polars as pl

    if source.role is None:
        raise source.error(NEEDS_ROLE)
    if not _is_histogram(source, options):
        return read_list(source, options)
    lines = read_lines(source, has_comments=False)
    scored, _ = with_scores(lines.rows, source, Options(), column=TEXT)
    counts, numbers = scored[SCORE].to_numpy(), scored[LINE].to_numpy()
    _check_counts(counts, numbers, source)
    repeats = counts.astype(np.int64)
    rows = pl.DataFrame({SCORE: np.repeat(numbers.astype(np.float64) - 1, repeats), LINE: np.repeat(numbers, repeats)})
    note = f"{source}: a histogram: {plural(len(counts), 'line')} stand for {plural(len(rows), 'comparison')}"
    return Draft(_with_role(rows, source), "histogram", apart(), (*lines.notes, note))


def read_pairs(source: Source, options: Options) -> Draft:
    """Read query, template and score; the companion lists the pairs that are genuine.

    Raises:
        ScoreFileError: there is no companion, a line is broken, or a true pair was never compared.
    """
    import polars as pl

    if source.companion is None:
        raise source.error(
            "three columns (query, template, score), and nothing says which pairs are genuine; give the list of true "
            'pairs with it, under the same name with "tp" for "scores"'
        )
    names = ("sample_a", "sample_b")
    lines = read_lines(source)
    fields, broken = split_fields(lines, source, options, names=(*names, TEXT), expected="query, template, score")
    scored, unreadable = with_scores(fields, source, options, column=TEXT)
    found = refuse_nan(scored, source, options)
    truth = Source(source.companion, separator=source.separator)
    true_lines = read_lines(truth)
    pairs, _ = split_fields(true_lines, truth, Options(), names=names, expected="query, template")
    pairs = pairs.select(names).unique().with_columns(pl.lit(True).alias(IS_GENUINE))
    _check_compared(pairs, found.rows, truth, source)
    rows = found.rows.join(pairs, on=names, how="left", maintain_order="left")
    rows = rows.with_columns(pl.col(IS_GENUINE).fill_null(False))
    excluded = joined([broken, unreadable, found.excluded])
    return Draft(rows, "pairs", excluded, (*lines.notes, *true_lines.notes))


def _is_histogram(source: Source, options: Options) -> bool:
    """pyeer's rule: only impostor scores are ever a histogram."""
    return (options.format == "histogram" or (source.is_histogram and options.format is None)) and (
        source.role == "impostor"
    )


def _with_role(rows: "pl.DataFrame", source: Source) -> "pl.DataFrame":
    import polars as pl

    return rows.with_columns(pl.lit(source.role == "genuine").alias(IS_GENUINE))


def _looks_like_histogram(rows: "pl.DataFrame", source: Source) -> tuple[str, ...]:
    """A warning when an impostor list could be the counts of a histogram: whole numbers that end in a run of zeros."""
    scores = rows[SCORE].to_numpy()
    if source.role != "impostor" or len(scores) < 20:
        return ()
    end = scores[-len(scores) // 20 :]
    is_suspect = not end.any() and bool(scores.any()) and bool(np.all((scores >= 0) & (scores == np.rint(scores))))
    if not is_suspect:
        return ()
    return (f'{source}: whole numbers that end in zeros: if they are counts by score, declare format="histogram"',)


def _check_counts(counts: np.ndarray, lines: np.ndarray, source: Source) -> None:
    bad = np.flatnonzero(~(np.isfinite(counts) & (counts >= 0) & (counts == np.rint(counts))))
    if bad.size:
        raise source.error(
            f"a count is a whole number, found {counts[bad[0]]:g}; a normalised histogram does not say how many "
            "comparisons it stands for: give the counts",
            line=int(lines[bad[0]]),
        )
    total = float(counts.sum())
    if total > MAX_EXPANDED:
        raise source.error(f"stands for {total:.3g} comparisons, at most {MAX_EXPANDED:,} are expanded")


def _check_compared(pairs: "pl.DataFrame", rows: "pl.DataFrame", truth: Source, source: Source) -> None:
    missing = pairs.join(rows, on=("sample_a", "sample_b"), how="anti")
    if len(missing):
        a, b, *_ = missing.sort("sample_a", "sample_b").row(0)
        raise truth.error(
            f"{plural(len(missing), 'true pair')} without a score in {source}, as {a} {b}; give matching files"
        )
