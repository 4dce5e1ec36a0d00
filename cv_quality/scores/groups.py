"""Rates by group and pair of groups, for the groups that score files name.

A group belongs to a subject: all comparisons have to agree. The rates are those of `cv_quality.metrics.differentials`.
"""

from dataclasses import replace

from cv_quality.metrics.differentials import Differentials, differentials
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.uncertainty import BySubject, Uncertainty

NO_SUBJECTS = "the files name groups but no subjects: rates by group are not given, as their intervals need subjects"


def group_differentials(
    scores: ScoreSet, uncertainty: Uncertainty, *, threshold: float | None
) -> tuple[Differentials | None, tuple[str, ...]]:
    """Compare the rates of groups at one threshold.

    Args:
        scores: the score set.
        uncertainty: by subject; other intervals give no rates by group.
        threshold: in units of the files.

    Returns:
        The differentials, None without groups or threshold; and warnings.
    """
    if not {"group_a", "group_b"} & set(scores.rows.columns) or threshold is None:
        return None, ()
    if not isinstance(uncertainty, BySubject):
        return None, (NO_SUBJECTS,)
    groups, torn = scores.of_subjects("group")
    named = {group for group in groups if group}
    if torn:
        return None, (f"{len(torn)} of {len(groups)} subjects are in several groups: no rates by group",)
    if not 1 < len(named) < len(groups):
        return None, (f"{len(named)} groups of {len(groups)} subjects: no rates by group",)
    found = differentials(
        groups=groups,
        threshold=scores.in_file_units(threshold),
        genuine=(uncertainty.scores.genuine, uncertainty.scores.people),
        impostor=(uncertainty.scores.impostor, uncertainty.scores.one, uncertainty.scores.other),
        trials=uncertainty.scores.trials,
    )
    return replace(found, threshold=threshold), ()
