"""Paths in SQL: whatever letters a folder has in its name, DuckDB reads the files meant and no others.

Only text is made here; who reads which files is decided by `cv_quality.lake.warehouse`, the gates and the drops.
"""

from collections.abc import Iterable
from pathlib import Path


def escaped_glob(path: Path) -> str:
    """Write a path as a pattern that matches it alone.

    >>> escaped_glob(Path("study [2026]/*.parquet"))
    'study [[]2026]/[*].parquet'
    """
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def text(value: str) -> str:
    """Write a text as an SQL literal.

    >>> text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def read_parquet(patterns: Iterable[str]) -> str:
    """Write the reading of Parquet files, columns matched by name."""
    return f"read_parquet([{', '.join(map(text, patterns))}], union_by_name = true)"
