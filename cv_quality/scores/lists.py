"""Lists of scores of one class, as pyeer reads them: one score a line, a histogram, or named pairs with their truth.

The class of a list comes from its name or from the caller (`cv_quality.scores.grouping`). In pyeer's histogram line i,
from 0, is the number of impostor comparisons with score i; the genuine scores beside it stay a plain list.
"""

import numpy as np

from cv_quality.scores.lines import read_lines, split_fields, with_scores
from cv_quality.scores.missing import refuse_nan
from cv_quality.scores.numerals import in_points
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, TEXT, apart, joined
from cv_quality.scores.source import Draft, Options, Source, plural
from cv_quality.text import figures

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
    import polars as pl

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
    points, told = in_points(texts, source)
    scored, unreadable = with_scores(lines.rows.with_columns(points), source, options, column=TEXT)
    notes = (*lines.notes, *told)
    scored = scored.with_columns(pl.lit(source.role == "genuine").alias(IS_GENUINE))
    found = refuse_nan(scored, source, options)
    excluded, scores = joined([unreadable, found.excluded]), found.rows[SCORE].to_numpy()
    is_whole = bool(np.all((scores >= 0) & (scores == np.rint(scores)))) and bool(scores.any())
    if source.role == "impostor" and len(scores) >= 20 and is_whole and not scores[-len(scores) // 20 :].any():
        note = "whole numbers that end in zeros: if they are counts by score, declare"
        return Draft(found.rows, "list", excluded, notes, (f'{source}: {note} format="histogram"',))
    return Draft(found.rows, "list", excluded, notes)


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
    bad = np.flatnonzero(~(np.isfinite(counts) & (counts >= 0) & (counts == np.rint(counts))))
    if bad.size:
        raise source.error(
            f"a count is a whole number, found {counts[bad[0]]:g}; a normalised histogram does not say how many "
            "comparisons it stands for: give the counts",
            line=int(numbers[bad[0]]),
        )
    if (total := float(counts.sum())) > MAX_EXPANDED:
        raise source.error(f"stands for {figures(total)} comparisons, at most {MAX_EXPANDED:,} are expanded")
    repeats = counts.astype(np.int64)
    rows = pl.DataFrame({SCORE: np.repeat(numbers.astype(np.float64) - 1, repeats), LINE: np.repeat(numbers, repeats)})
    note = f"{source}: a histogram: {plural(len(counts), 'line')} stand for {plural(len(rows), 'comparison')}"
    rows = rows.with_columns(pl.lit(source.role == "genuine").alias(IS_GENUINE))
    return Draft(rows, "histogram", apart(), (*lines.notes, note))


def read_pairs(source: Source, options: Options) -> Draft:
    """Read query, template and score; the companion lists the pairs that are genuine.

    Raises:
        ScoreFileError: there is no companion, a line is broken, or a true pair was never compared.
    """
    import polars as pl

    if source.companion is None:
        raise source.error(
            "three columns (query, template, score), and nothing says which pairs are genuine; give the list of trials "
            'with their labels as trials="FILE", or the list of true pairs under the same name with "tp" for "scores"'
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
    missing = pairs.join(found.rows, on=names, how="anti").sort(names)
    if len(missing):
        what, (a, b, *_) = f"{plural(len(missing), 'true pair')} without a score in {source}", missing.row(0)
        raise truth.error(f"{what}, as {a} {b}; give matching files")
    rows = found.rows.join(pairs, on=names, how="left", maintain_order="left")
    rows = rows.with_columns(pl.col(IS_GENUINE).fill_null(False))
    excluded = joined([broken, unreadable, found.excluded])
    return Draft(rows, "pairs", excluded, (*lines.notes, *true_lines.notes))


def _is_histogram(source: Source, options: Options) -> bool:
    """pyeer's rule: only impostor scores are ever a histogram."""
    return (options.format == "histogram" or (source.is_histogram and options.format is None)) and (
        source.role == "impostor"
    )
