"""Tables of any origin, CSV or Parquet, as lazy frames that can be read a column at a time.

Which columns a search takes from them is decided in `cv_quality.error_analysis.encoding`.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cv_quality.errors import SliceError

if TYPE_CHECKING:
    import polars as pl

PARQUET_MAGIC: Final = b"PAR1"
INFERRED_ROWS: Final = 10_000
MISSING: Final = ["nan", "NA", "NULL", "null"]
"""What other programs write for a missing value, where Polars does not know it; empty is missing too."""


@contextmanager
def opened_table(path: Path) -> "Iterator[pl.LazyFrame]":
    """Open the table in a CSV (also gzip or zstd, also with tabs or semicolons) or Parquet file, told apart by content.

    A CSV is rewritten as Parquet in a temporary folder first, in bounded memory, so that columns can be read alone.

    Raises:
        SliceError: no such file, an empty one, or a line that does not fit the others.
    """
    import polars as pl

    if not path.is_file():
        raise SliceError(f"{path}: is a folder; name a file in it" if path.is_dir() else f"{path}: no such file")
    with path.open("rb") as file:
        header = file.readline(1 << 16)
    if not header:
        raise SliceError(f"{path}: the file is empty")
    if header.startswith(PARQUET_MAGIC):
        try:
            yield pl.scan_parquet(path, glob=False)
        except (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError, OSError) as error:
            raise SliceError(f"{path}: not a readable Parquet file: {error}") from error
        except (
            pl.exceptions.PanicException
        ) as error:  # Polars asserts what a sound file holds; no subclass of Exception
            raise SliceError(f"{path}: not a readable Parquet file: its pages do not fit its columns") from error
        return
    # A sink that failed may still be closing its file when the folder goes.
    with tempfile.TemporaryDirectory(prefix="cvq-table-", ignore_cleanup_errors=True) as folder:
        target = Path(folder) / "table.parquet"
        # Compressed files are taken for commas.
        _as_parquet(path, target, separator=max(",;\t", key=lambda mark: header.count(mark.encode())))
        yield pl.scan_parquet(target)


def _as_parquet(path: Path, target: Path, *, separator: str) -> None:
    """Types are inferred from the first rows; where later ones do not fit, from all of them."""
    import polars as pl

    for inferred in (INFERRED_ROWS, None):
        try:
            lines = pl.scan_csv(
                path,
                separator=separator,
                infer_schema_length=inferred,
                raise_if_empty=True,
                null_values=MISSING,
                glob=False,
            )
            lines.sink_parquet(target, compression="uncompressed", maintain_order=True)
            return
        except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pl.exceptions.NoDataError, OSError) as error:
            if inferred is None or isinstance(error, pl.exceptions.NoDataError | OSError):
                raise SliceError(f"{path}: expected a CSV table with a header, or Parquet: {error}") from error
