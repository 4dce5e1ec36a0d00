"""NumPy files: `.npy` with the scores of one class, `.npz` with named arrays.

An archive holds `genuine` and `impostor`, or the columns of a table, as `score` and `is_genuine`. Nothing is unpickled.
"""

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.scores.headers import header_of, names_scores
from cv_quality.scores.labels import role_of
from cv_quality.scores.lists import NEEDS_ROLE
from cv_quality.scores.missing import refuse_nan
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE
from cv_quality.scores.source import SHOWN, Draft, Options, Source, quoted
from cv_quality.scores.tables import Table, draft_of

if TYPE_CHECKING:
    import polars as pl

Array = NDArray[np.generic]
PLAIN = "biufUS"
"""Kinds of arrays that hold one plain value for each score."""
DAMAGED = (
    *(ValueError, OSError, EOFError, LookupError, MemoryError, OverflowError, SyntaxError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What numpy raises on files that are cut, garbled, or claim to be larger than they are."""


def read_numpy(source: Source, options: Options) -> Draft:
    """Read one array of scores, or an archive of named arrays; float32 stays float32.

    Raises:
        ScoreFileError: the file is damaged, holds Python objects, or has no array of a known name and shape.
    """
    import polars as pl

    try:
        with source.open() as stream:
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.ndarray) and names_scores(loaded.files, options):
                return _by_column(loaded, source, options)
            arrays = _by_name(loaded, source)
    except DAMAGED as error:
        raise source.error(f"is damaged or holds no plain arrays ({error}); save arrays with numpy.savez") from error
    rows = _by_class(arrays, source).with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.UInt32))
    found = refuse_nan(rows, source, options, unit="entry")
    return Draft(found.rows, "numpy", found.excluded)


def read_vector(source: Source) -> Array:
    """Read one array of scores, whatever their class.

    Raises:
        ScoreFileError: the file is damaged, or holds anything but numbers in one row.
    """
    try:
        with source.open() as stream:
            return _scores(np.load(stream, allow_pickle=False), "of scores", source)
    except DAMAGED as error:
        raise source.error(f"is damaged or holds no plain array ({error}); save it with numpy.save") from error


def _by_name(loaded: "Array | np.lib.npyio.NpzFile", source: Source) -> Mapping[str, Array]:
    """The arrays that are named by a class; others are not even unpacked."""
    if isinstance(loaded, np.ndarray):
        return {source.role or "": loaded}
    names = sorted(loaded.files)
    arrays = {name: loaded[name] for name in names if role_of(name) is not None}
    if not arrays:
        found = ", ".join(map(quoted, names[:SHOWN])) or "none"
        raise source.error(f"expected arrays genuine and impostor, or score and is_genuine; found {found}")
    return arrays


def _by_class(arrays: Mapping[str, Array], source: Source) -> "pl.DataFrame":
    import polars as pl

    if "" in arrays:
        raise source.error(NEEDS_ROLE.replace("one score a line", "one array of scores"))
    parts = [
        pl.DataFrame({SCORE: _scores(arrays[name], name, source)}).with_columns(pl.lit(truth).alias(IS_GENUINE))
        for role, truth in (("genuine", True), ("impostor", False))
        for name in arrays
        if role_of(name) == role
    ]
    return pl.concat(parts, how="vertical_relaxed")


def _by_column(archive: "np.lib.npyio.NpzFile", source: Source, options: Options) -> Draft:
    """The arrays as columns of a table; those without a meaning are not unpacked."""
    import polars as pl

    names = list(archive.files)
    header = header_of(names, lambda at: _texts(archive[names[at]], names[at], None, source), source, options)
    known = {name: column for column, name in zip(names, header.names, strict=True) if name}
    scores = _scores(archive[known[SCORE]], known[SCORE], source)
    texts = {
        name: _texts(archive[column], column, len(scores), source) for name, column in known.items() if name != SCORE
    }
    rows = pl.DataFrame({SCORE: pl.Series(scores), **texts}).with_row_index(LINE, offset=1)
    rows = rows.with_columns(pl.col(LINE).cast(pl.UInt32))
    return draft_of(Table(rows, header, names, "numpy", "entry"), source, options)


def _texts(array: Array, name: str, n: int | None, source: Source) -> "pl.Series":
    import polars as pl

    values = array.ravel()
    if array.dtype.kind not in PLAIN or n not in (None, values.size):
        raise source.error(f"array {name} must have one plain value for each of the scores")
    return pl.Series(values.astype(values.dtype.newbyteorder("="))).cast(pl.String)


def _scores(array: Array, name: str, source: Source) -> Array:
    array = array.ravel() if array.ndim == 2 and 1 in array.shape else array  # a row or a column
    if array.ndim != 1 or array.dtype.kind not in "fiu" or not array.size:
        raise source.error(f"array {name} has shape {array.shape} and type {array.dtype}; expected numbers in one row")
    return array if array.dtype == np.float32 else array.astype(np.float64)
