"""Counts of subjects as a monitor reads them."""

from collections.abc import Iterable

import polars as pl

SCHEMA = {
    "look": pl.Int64,
    "metric": pl.String,
    "dimension": pl.String,
    "level": pl.String,
    "subject_id": pl.String,
    "errors": pl.Int64,
    "trials": pl.Int64,
    "baseline_errors": pl.Int64,
    "baseline_trials": pl.Int64,
}


def counts(rows: Iterable[tuple[int, str, int, int]], *, level: str = "", baseline: int | None = None) -> pl.DataFrame:
    """Rows of `frr` by look, subject, errors and trials.

    Args:
        level: of `light`; the whole without one.
        baseline: errors of the baseline on the same attempts.
    """
    dimension = ("light", level) if level else ("all", "all")
    found = [
        (look, "frr", *dimension, who, errors, trials, baseline, None if baseline is None else trials)
        for look, who, errors, trials in rows
    ]
    return pl.DataFrame(found, schema=SCHEMA, orient="row")
