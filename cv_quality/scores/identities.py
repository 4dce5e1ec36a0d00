"""Who was compared, where the ids of two samples name the people: proven by the labels, never assumed.

A part of an id is the subject if it is equal in every genuine comparison and differs in every other one; then intervals
can respect that comparisons of one person are alike.
"""

from typing import TYPE_CHECKING

from cv_quality.scores.rows import IS_GENUINE, SUBJECTS
from cv_quality.scores.source import Source

if TYPE_CHECKING:
    import polars as pl

SAMPLES = ("sample_a", "sample_b")
PARTS = (("the whole id", r"^(.*)$"), ("what stands before the first / of an id", r"^([^/]+)/"))


def with_subjects(rows: "pl.DataFrame", source: Source, *, is_liveness: bool) -> tuple["pl.DataFrame", tuple[str, ...]]:
    """Add the subjects where the ids of both samples name them, and say which part of an id does.

    Args:
        rows: `is_genuine`, with the ids of samples where they are known.
        source: their file.
        is_liveness: whether nobody is compared with anybody.
    """

    if is_liveness or not set(SAMPLES) <= set(rows.columns) or set(SUBJECTS) & set(rows.columns):
        return rows, ()
    truth = rows[IS_GENUINE]
    if truth.all() or not truth.any():
        return rows, ()
    for words, pattern in PARTS:
        one, other = (rows[side].str.extract(pattern, 1) for side in SAMPLES)
        is_proven = one.null_count() + other.null_count() == 0 and bool(((one == other) == truth).all())
        if is_proven:
            named = rows.with_columns(one.alias(SUBJECTS[0]), other.alias(SUBJECTS[1]))
            return named, (f"{source}: {words} names the subject: equal in every genuine comparison and in no other",)
    return rows, ()
