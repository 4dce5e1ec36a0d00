"""The groups that score files name, for rates by group and pair of groups.

A group belongs to a subject; what a comparison says of its two sides has to agree over all of them. The rates are those
of `cv_quality.metrics.differentials`.
"""

from dataclasses import replace

from cv_quality.metrics.differentials import Differentials, differentials
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.sureness import BySubject, Sureness

NO_SUBJECTS = "the files name groups but no subjects: rates by group are not given, as their intervals need subjects"


def group_differentials(
    scores: ScoreSet, sure: Sureness, *, threshold: float | None
) -> tuple[Differentials | None, tuple[str, ...]]:
    """Rates by group at a threshold in units of the files, and warnings; None where there is nothing to say."""
    if not {"group_a", "group_b"} & set(scores.rows.columns) or threshold is None:
        return None, ()
    if not isinstance(sure, BySubject):
        return None, (NO_SUBJECTS,)
    groups, torn = _group_of_subjects(scores)
    named = {group for group in groups if group}
    if torn:
        return None, (f"{len(torn)} of {len(groups)} subjects are in several groups: no rates by group",)
    if not 1 < len(named) < len(groups):
        return None, (f"{len(named)} groups of {len(groups)} subjects: no rates by group",)
    found = differentials(
        groups=groups,
        threshold=scores.in_file_units(threshold),
        genuine=(sure.genuine_scores, sure.genuine_subjects),
        impostor=(sure.tail, sure.one, sure.other),
        trials=sure.trials,
    )
    return replace(found, threshold=threshold), ()


def _group_of_subjects(scores: ScoreSet) -> tuple[list[str | None], list[str]]:
    """The group of each subject in the order of the codes, and the subjects that are in several."""
    import polars as pl

    sides = [
        scores.rows.select(subject=f"subject_{side}", group=f"group_{side}").unique()
        for side in ("a", "b")
        if f"group_{side}" in scores.rows.columns
    ]
    known = pl.concat(sides).drop_nulls().unique()
    torn = known.filter(pl.col("subject").is_duplicated())["subject"].unique().sort().to_list()
    group = dict(known.iter_rows())
    return [group.get(name) for name in scores.subject_codes().names], torn
