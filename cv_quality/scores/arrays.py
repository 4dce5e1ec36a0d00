"""NumPy files: `.npy` with the scores of one class, `.npz` with named arrays.

An archive holds `genuine` and `impostor`, or `score` and `is_genuine` with optional columns. Nothing is unpickled.
"""

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.scores.labels import GENUINE_NAMES, IMPOSTOR_NAMES, LABELS_EXPECTED, is_genuine
from cv_quality.scores.lists import NEEDS_ROLE
from cv_quality.scores.missing import refuse_nan
from cv_quality.scores.rows import IS_GENUINE, LINE, OPTIONAL, SCORE, TEXT, joined, refuse
from cv_quality.scores.source import SHOWN, Draft, Options, Source, quoted

if TYPE_CHECKING:
    import polars as pl

Array = NDArray[np.generic]
KNOWN = (SCORE, IS_GENUINE, *OPTIONAL)
CLASSES = GENUINE_NAMES | IMPOSTOR_NAMES
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

    arrays = _load(source)
    frame = _by_class(arrays, source) if SCORE not in arrays else _by_column(arrays, source)
    rows = frame.with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.UInt32))
    truth = is_genuine(rows[IS_GENUINE])
    bad = rows.filter(truth.is_null()).select(LINE, pl.col(IS_GENUINE).fill_null("").alias(TEXT))
    refused = refuse(bad, source, options, expected=LABELS_EXPECTED, unit="entry")
    found = refuse_nan(
        rows.with_columns(truth.alias(IS_GENUINE)).filter(~truth.is_null()), source, options, unit="entry"
    )
    return Draft(found.rows, "numpy", joined([refused, found.excluded]))


def _load(source: Source) -> Mapping[str, Array]:
    """The arrays whose names are known; others are not even unpacked."""
    try:
        with source.path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {source.role or "": loaded}
            names = sorted(loaded.files)
            arrays = {name: loaded[name] for name in names if name in KNOWN or name.lower() in CLASSES}
    except DAMAGED as error:
        raise source.error(f"is damaged or holds no plain arrays ({error}); save arrays with numpy.savez") from error
    if SCORE not in arrays and not any(name.lower() in CLASSES for name in arrays):
        found = ", ".join(map(quoted, names[:SHOWN])) or "none"
        raise source.error(f"expected arrays genuine and impostor, or score and is_genuine; found {found}")
    return arrays


def _by_class(arrays: Mapping[str, Array], source: Source) -> "pl.DataFrame":
    import polars as pl

    if "" in arrays:
        raise source.error(NEEDS_ROLE.replace("one score a line", "one array of scores"))
    parts = [
        pl.DataFrame({SCORE: _scores(arrays[name], name, source)}).with_columns(pl.lit(truth).alias(IS_GENUINE))
        for names, truth in ((GENUINE_NAMES, "true"), (IMPOSTOR_NAMES, "false"))
        for name in arrays
        if name.lower() in names
    ]
    return pl.concat(parts, how="vertical_relaxed")


def _by_column(arrays: Mapping[str, Array], source: Source) -> "pl.DataFrame":
    import polars as pl

    scores = _scores(arrays[SCORE], SCORE, source)
    if IS_GENUINE not in arrays:
        raise source.error(f"needs an array is_genuine beside score; found {', '.join(sorted(arrays)[:10])}")
    columns = {SCORE: pl.Series(scores)}
    for name in (IS_GENUINE, *OPTIONAL):
        if name not in arrays:
            continue
        if arrays[name].shape != scores.shape or arrays[name].dtype.kind not in "biufUS":
            raise source.error(f"array {name} must have one plain value for each of the {len(scores):,} scores")
        columns[name] = pl.Series(arrays[name]).cast(pl.String)
    return pl.DataFrame(columns)


def _scores(array: Array, name: str, source: Source) -> Array:
    if array.ndim != 1 or array.dtype.kind not in "fiu" or not array.size:
        raise source.error(f"array {name} has shape {array.shape} and type {array.dtype}; expected numbers in one row")
    return array if array.dtype == np.float32 else array.astype(np.float64)
