"""What the ids of presentations say by patterns that the caller gives: PAI species, artefact and subject.

Patterns are matched by Rust's regex engine, which knows no look-around and cannot be made to run for ever.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cv_quality.scores.rows import IS_GENUINE, LINE
from cv_quality.scores.source import Options, Source, quoted

if TYPE_CHECKING:
    import polars as pl

SAMPLE = "sample_b"
UNKNOWN = "unknown"
"""The species of an attack that no pattern names."""


def with_patterns(rows: "pl.DataFrame", source: Source, options: Options) -> "pl.DataFrame":
    """Add the columns `species`, `subject` and `artefact` for which there is a pattern.

    Args:
        rows: `is_genuine`, `line`, and the ids as `sample_b`.
        source: their file.
        options: `species_pattern` is one whose first group is the species, or a pattern for each species by name; the
            first group of the others is the subject and the artefact.

    Raises:
        ScoreFileError: there are no ids, a pattern is none or has no group, an id has no subject or no artefact, or
            patterns of two species match one attack.
    """
    import polars as pl

    given = (options.species_pattern, options.subject_pattern, options.artefact_pattern)
    if all(pattern is None for pattern in given) or rows.is_empty():
        return rows
    if SAMPLE not in rows.columns:
        raise source.error("holds no ids of presentations, so a pattern has nothing to match; leave the pattern out")
    ids, is_attack = rows[SAMPLE], ~rows[IS_GENUINE]
    if options.species_pattern is not None:
        species = _species(rows, options.species_pattern, source).fill_null(UNKNOWN)
        rows = rows.with_columns(pl.when(is_attack).then(species).alias("species"))
    if options.subject_pattern is not None:
        rows = rows.with_columns(_group(ids, options.subject_pattern, "subject", source).alias("subject"))
        _require(rows, "subject", options.subject_pattern, source)
    if options.artefact_pattern is not None:
        artefact = _group(ids, options.artefact_pattern, "artefact", source)
        rows = rows.with_columns(pl.when(is_attack).then(artefact).alias("artefact"))
        _require(rows.filter(is_attack), "artefact", options.artefact_pattern, source)
    return rows


def matches(names: "pl.Series", pattern: str, source: Source) -> "pl.Series":
    """Tell which ids a pattern matches.

    Raises:
        ScoreFileError: it is no regular expression.
    """
    import polars as pl

    try:
        return names.str.contains(pattern)
    except pl.exceptions.PolarsError as error:
        raise source.error(f"the pattern {pattern!r} is no regular expression: {error}") from error


def _species(rows: "pl.DataFrame", pattern: str | Mapping[str, str], source: Source) -> "pl.Series":
    import polars as pl

    ids = rows[SAMPLE]
    if isinstance(pattern, str):
        return _group(ids, pattern, "PAI species", source)
    found = pl.Series(None, [None] * len(ids), dtype=pl.String)
    for name, one in pattern.items():
        is_it = matches(ids, one, source) & ~rows[IS_GENUINE]
        twice = rows.filter(is_it & found.is_not_null())
        if not twice.is_empty():
            at, others = int(twice[LINE][0]), found.filter(is_it).drop_nulls()
            raise source.error(
                f"{quoted(twice[SAMPLE][0])} matches the patterns of {others[0]} and {name}; give patterns of which "
                "one matches",
                line=at,
                unit="entry",
            )
        found = pl.DataFrame({"found": found, "is_it": is_it}).select(
            pl.when("is_it").then(pl.lit(name)).otherwise("found")
        )[:, 0]
    return found


def _group(ids: "pl.Series", pattern: str, what: str, source: Source) -> "pl.Series":
    import polars as pl

    try:
        return ids.str.extract(pattern, 1)
    except pl.exceptions.PolarsError as error:
        raise source.error(f"{pattern!r} is no regular expression with a group for the {what}: {error}") from error


def _require(rows: "pl.DataFrame", name: str, pattern: str, source: Source) -> None:
    missing = rows.filter(rows[name].is_null())
    if not missing.is_empty():
        found = f"{quoted(missing[SAMPLE][0])} ({len(missing):,} such)"
        raise source.error(f"the pattern {pattern!r} finds no {name} in the id {found}")
