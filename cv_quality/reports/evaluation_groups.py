"""Groups of people as a page shows them: one row a group and a pair, the checks, and the measures of spread in words.

The numbers are those of `cv_quality.metrics.differentials`; the charts are in `cv_quality.reports.evaluation_charts`.
"""

from dataclasses import dataclass

from cv_quality.metrics.differentials import ALLOWED_RATIO, CheckResult, Differentials, RatioCheck
from cv_quality.metrics.inequity import Measure
from cv_quality.metrics.rates import Rate
from cv_quality.text import figures

VERDICTS = {
    "pass": "No group is more than 25 % worse than all together, in FMR or FNMR.",
    "fail": "At least one group is more than 25 % worse than all together.",
    "insufficient": "The data do not suffice to say that no group is more than 25 % worse than all together.",
}


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group; `checks` are those of FMR and FNMR, where the group has them."""

    name: str
    n_subjects: int
    fmr: Rate | None
    fnmr: Rate
    checks: tuple[RatioCheck, ...]


@dataclass(frozen=True, slots=True)
class SpreadRow:
    """How much one rate differs over the ranked groups, in words."""

    rate: str
    worst: str
    worst_over_geometric_mean: str
    max_over_min: str
    gini: str


@dataclass(frozen=True, slots=True)
class GroupsView:
    """The groups of one score set; `pairs` holds two names and their FMR."""

    verdict: CheckResult
    sentence: str
    rows: tuple[GroupRow, ...]
    overall: GroupRow
    pairs: tuple[tuple[str, str, Rate], ...]
    spreads: tuple[SpreadRow, ...]
    garbe: str
    fdr: str
    alpha: float
    allowed_ratio: float = ALLOWED_RATIO


def groups_view(found: Differentials) -> GroupsView:
    """Put together everything about groups that the page shows."""
    n_subjects = sum(group.n_subjects for group in found.groups)
    return GroupsView(
        verdict=found.verdict,
        sentence=VERDICTS[found.verdict],
        rows=tuple(
            GroupRow(
                group.group,
                group.n_subjects,
                group.fmr,
                group.fnmr,
                tuple(check for check in found.checks if check.group == group.group),
            )
            for group in found.groups
        ),
        overall=GroupRow("all together", n_subjects, found.overall.fmr_within, found.overall.fnmr, ()),
        pairs=tuple((pair.group_a, pair.group_b, pair.fmr) for pair in found.pairs),
        spreads=tuple(
            SpreadRow(
                spread.rate.upper(),
                spread.worst or "none ranked",
                *(_measure(item) for item in (spread.worst_over_geometric_mean, spread.max_over_min, spread.gini)),
            )
            for spread in found.spreads
        ),
        garbe=_measure(found.garbe),
        fdr=_measure(found.fdr),
        alpha=found.alpha,
    )


def _measure(measure: Measure) -> str:
    if measure.value is not None:
        return figures(measure.value)
    least = f"at least {figures(measure.at_least)}; " if measure.at_least is not None else ""
    return f"undefined ({least}{measure.reason})"
