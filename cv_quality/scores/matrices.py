"""Similarity matrices as text with identities in the first row and column, as BSSR1 has them.

Cell (i, j) compares the sample of row i with that of column j; equal identities are genuine. Rows and columns are
different samples as a rule, so both triangles count. A symmetric matrix over one list of samples holds every pair twice
and each sample against itself: one triangle is kept. BEE's binary matrices are in `cv_quality.scores.bee`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.scores.detection import cells
from cv_quality.scores.lines import Lines, read_lines
from cv_quality.scores.missing import refuse_nan
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, TEXT, apart, joined, refuse
from cv_quality.scores.source import Draft, Options, Reason, Sentinel, Source, plural, quoted

if TYPE_CHECKING:
    import polars as pl

MAX_CELLS = 200_000_000
CELLS_AT_ONCE = 4_000_000
FEWEST_TO_FILL = 3
"""Cells that a row or column needs before one value throughout is called a sentinel."""
NAMED = 3
"""Identities that a warning names."""
KEPT, MIRRORED, SELF, FAILED, VOID = range(5)
REASONS: dict[int, Reason] = {MIRRORED: "mirrored", SELF: "self_comparison", FAILED: "failed_enrolment"}


@dataclass(frozen=True, slots=True)
class Matrix:
    """Scores of every row sample against every column sample.

    Attributes:
        values: shape (rows, columns), as in the file.
        verdict: of each cell: KEPT, VOID (no number, refused before) or one of `REASONS`.
        lines: line of the file for each row.
    """

    values: NDArray[np.float64]
    verdict: NDArray[np.uint8]
    rows: Sequence[str]
    columns: Sequence[str]
    lines: NDArray[np.uint32]

    def frame(self, verdict: int) -> "pl.DataFrame":
        """List the cells of one verdict, row by row."""
        import polars as pl

        row, column = np.nonzero(self.verdict == verdict)
        names_a, names_b = pl.Series(self.rows, dtype=pl.String), pl.Series(self.columns, dtype=pl.String)
        codes = {name: code for code, name in enumerate(dict.fromkeys([*self.rows, *self.columns]))}
        code_a, code_b = (np.array([codes[name] for name in side]) for side in (self.rows, self.columns))
        return pl.DataFrame(
            {
                SCORE: self.values[row, column],
                IS_GENUINE: code_a[row] == code_b[column],
                "subject_a": names_a.gather(row),
                "subject_b": names_b.gather(column),
                LINE: self.lines[row],
            }
        )


def read_matrix(source: Source, options: Options) -> Draft:
    """Read a matrix with identity headers; rows are `subject_a`, columns `subject_b`.

    Raises:
        ScoreFileError: a line has another number of cells than the header, or a cell is no number.
    """
    lines = read_lines(source, has_comments=False, max_bytes=None)
    matrix, broken = _parsed(lines, source, options)
    notes = (*lines.notes, *_triangles(matrix, source))
    by_row, by_column = filled(matrix.values, sentinel=options.sentinel)
    is_failed = (by_row[:, None] | by_column[None, :]) & (matrix.verdict == KEPT)
    matrix.verdict[is_failed] = FAILED
    subjects: set[str] = set()
    for names, is_filled in ((matrix.rows, by_row), (matrix.columns, by_column)):
        # All samples of a subject on this side are filled.
        subjects |= set(np.array(names)[is_filled].tolist()) - set(np.array(names)[~is_filled].tolist())
    warnings = _failures(matrix, source, by_row, by_column)
    if (matrix.verdict == MIRRORED).any() and not (matrix.verdict == SELF).any():
        own = "its genuine comparisons, the diagonal, may compare samples with themselves"
        warnings = (*warnings, f"{source}: symmetric: {own}")
    found = refuse_nan(matrix.frame(KEPT), source, options)
    excluded = [apart(matrix.frame(code), file=str(source), reason=reason) for code, reason in REASONS.items()]
    return Draft(
        found.rows,
        "matrix",
        joined([broken, found.excluded, *excluded]),
        notes,
        warnings,
        failed_subjects=None if options.sentinel == "keep" else tuple(sorted(subjects)),
    )


def filled(values: NDArray[np.float64], *, sentinel: Sentinel) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the rows and columns that hold one sentinel throughout.

    A value is one when it lies outside the range of all other cells, when it is NaN, or when it is the declared one.
    An infinite score is never one: it says "non-match" already.

    >>> filled(np.array([[-1, 5.0], [-1, 6.0], [-1, 7.0]]), sentinel="detect")[1].tolist()
    [True, False]
    """
    sides = []
    is_const = [
        ((values == values[:, :1]) | np.isnan(values) & np.isnan(values[:, :1])).all(1),
        ((values == values[:1]) | np.isnan(values) & np.isnan(values[:1])).all(0),
    ]
    others = values[~is_const[0]][:, ~is_const[1]]
    others = others[np.isfinite(others)]
    for is_filled, firsts, length in zip(is_const, (values[:, 0], values[0]), reversed(values.shape), strict=True):
        if sentinel == "detect":
            is_odd = (firsts < others.min()) | (firsts > others.max()) if others.size else np.zeros(len(firsts), bool)
            is_odd = (is_odd & np.isfinite(firsts)) | np.isnan(firsts)
        else:
            is_odd = np.isnan(firsts) if sentinel == "keep" else np.isnan(firsts) | (firsts == sentinel)
        sides.append(is_filled & is_odd & (length >= FEWEST_TO_FILL))
    return sides[0], sides[1]


def _parsed(lines: Lines, source: Source, options: Options) -> tuple[Matrix, "pl.DataFrame"]:
    import polars as pl

    separator = source.separator
    columns = cells(str(lines.rows[TEXT][0]), separator)[1:]
    if "" in columns:
        raise source.error(f"identity {columns.index('') + 1} of the header is empty", line=int(lines.rows[LINE][0]))
    body = lines.rows[1:]
    n_cells = body[TEXT].str.count_matches(separator, literal=True)
    expected = f"an identity and {plural(len(columns), 'score')}, as many as the header has identities"
    is_sound = (n_cells == len(columns)) & ~body[TEXT].str.starts_with(separator)
    refused = refuse(body.filter(~is_sound), source, options, expected=expected)
    body = body.filter(is_sound)
    if body.is_empty():
        raise source.error("has a header and no rows; name a matrix of scores")
    if len(body) * len(columns) > MAX_CELLS:
        raise source.error(f"{len(body):,} x {len(columns):,} scores, at most {MAX_CELLS:,} are read at once")
    parts = body.select(
        LINE, pl.col(TEXT).str.splitn(separator, 2).struct.rename_fields(["name", TEXT]).struct.unnest()
    )
    values, void = _values(parts, columns, source, options)
    verdict = np.where(np.isin(np.arange(values.size), void["cell"].to_numpy()), VOID, KEPT).astype(np.uint8)
    names = parts["name"].str.strip_chars(' \t"').to_list()
    matrix = Matrix(values, verdict.reshape(values.shape), names, columns, parts[LINE].to_numpy())
    return matrix, joined([refused, apart(void, file=str(source))])


def _values(
    parts: "pl.DataFrame", columns: Sequence[str], source: Source, options: Options
) -> tuple[NDArray[np.float64], "pl.DataFrame"]:
    """The numbers, some rows at a time; and the cells that hold none, as `cell`, `line`, `text`."""
    import polars as pl

    step = max(1, CELLS_AT_ONCE // len(columns))
    values = np.empty((len(parts), len(columns)))
    voids = []
    for start in range(0, len(parts), step):
        block = parts[start : start + step]
        texts = block[TEXT].str.split(source.separator).explode().str.strip_chars(' \t"')
        numbers = texts.cast(pl.Float64, strict=False)
        values[start : start + step] = numbers.fill_null(float("nan")).to_numpy().reshape(len(block), -1)
        void = pl.DataFrame({"cell": numbers.is_null().arg_true().cast(pl.Int64)})
        row, column = void["cell"] // len(columns), void["cell"] % len(columns)
        names = pl.Series(columns, dtype=pl.String).gather(column)
        void = void.with_columns(
            block[LINE].gather(row).alias(LINE), (texts.gather(void["cell"]) + " of column " + names).alias(TEXT)
        )
        refuse(void, source, options, expected="a number in every cell")
        voids.append(void.with_columns(pl.col("cell") + start * len(columns)))
    return values, pl.concat(voids)


def _triangles(matrix: Matrix, source: Source) -> tuple[str, ...]:
    """Marks the second of two equal triangles, and says what the matrix is."""
    values, notes = matrix.values, []
    repeated = len(matrix.columns) - len(set(matrix.columns))
    if repeated:
        notes.append(f"{source}: {plural(repeated, 'column')} repeat an identity: several samples of one subject")
    if list(matrix.rows) != list(matrix.columns) or len(values) < 2:
        return tuple(notes)
    if not np.array_equal(values, values.T, equal_nan=True):
        return (*notes, f"{source}: not symmetric: rows and columns are different samples, both triangles count")
    matrix.verdict[np.tri(len(values), k=-1, dtype=bool)] = MIRRORED
    notes.append(f"{source}: symmetric over one list of samples: each pair stands twice and is counted once")
    own = np.diagonal(values)
    if repeated or bool((own == own[0]).all()):
        np.fill_diagonal(matrix.verdict, SELF)
        notes.append(f"{source}: the diagonal compares each sample with itself and is not counted")
    return tuple(notes)


def _failures(
    matrix: Matrix, source: Source, by_row: NDArray[np.bool_], by_column: NDArray[np.bool_]
) -> tuple[str, ...]:
    """One warning for each side that has filled rows or columns."""
    lost, warnings = plural(int((matrix.verdict == FAILED).sum()), "comparison"), []
    rows, columns = (by_row, matrix.rows, matrix.values[:, 0]), (by_column, matrix.columns, matrix.values[0])
    for word, (is_filled, names, firsts) in (("row", rows), ("column", columns)):
        found = np.flatnonzero(is_filled)
        if not found.size:
            continue
        shown = ", ".join(quoted(names[index]) for index in found[:NAMED]) + (", ..." if found.size > NAMED else "")
        values = " or ".join(f"{value:g}" for value in np.unique(firsts[found])[:NAMED])
        warnings.append(
            f"{source}: {plural(found.size, word)} ({shown}) filled with {values}: failed enrolments; in all "
            f'{lost} set apart (sentinel="keep" counts them as scores)'
        )
    return tuple(warnings)
