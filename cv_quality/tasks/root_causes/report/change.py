"""What changed since the baseline, read from the lake: what other data and what another algorithm add to the FRR.

How a change is split is in `cv_quality.error_analysis.attribution`; its chart is in
`cv_quality.tasks.verification.report.root_cause_charts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import TableKey
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.section import ReportSource
from cv_quality.reports.slice_charts import Estimate
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION

REST = "the rest"


@dataclass(frozen=True, slots=True)
class ChangedPart:
    """What one slice, the rest or (part 0) all attempts add to a change of the FRR."""

    part: int
    condition: str
    failures_before: int
    attempts_before: int
    failures_after: int
    attempts_after: int
    mix: Estimate
    rate: Estimate
    change: Estimate
    reason: str | None

    @property
    def before(self) -> float | None:
        return self.failures_before / self.attempts_before if self.attempts_before else None

    @property
    def after(self) -> float | None:
        return self.failures_after / self.attempts_after if self.attempts_after else None


@dataclass(frozen=True, slots=True)
class BuildChange:
    """From the baseline's FRR to the build's: first by other data, then by another algorithm on the same data.

    Of builds that are evaluated as recorded both come in one step.

    Attributes:
        data: the baseline's model on its own drops and on the build's, by slice; empty where it was not compared.
        algorithm: both models on the build's drops, by slice; empty of builds as recorded.
        recorded: each build on its own drops, by slice; empty of builds with models.
        n_paired: subjects met before and after, by comparison.
    """

    baseline: str
    data: tuple[ChangedPart, ...]
    algorithm: tuple[ChangedPart, ...]
    recorded: tuple[ChangedPart, ...]
    methods: tuple[str, ...]
    n_subjects: Mapping[str, int]
    n_paired: Mapping[str, int]
    query: Query


def read_change(source: ReportSource, *, trial: str = "attempt") -> BuildChange | None:
    """Read the change against the baseline; None without one. Without a slice there is no part but the whole.

    Args:
        source: what the page is made from.
        trial: what a row is called.

    Raises:
        MissingTable: the change has not been attributed yet.
    """
    scope = source.scope
    build, baseline = scope.build, source.entry.follows if scope.is_recorded else scope.baseline
    if baseline is None:
        return None
    rows = source.lake.read(CHANGE_ATTRIBUTION, TableKey(build=build)).sort("comparison", "part").to_dicts()
    own = [row for row in rows if row["baseline_build_id"] == baseline]
    whole = {row["comparison"]: row for row in own if row["part"] == 0}
    if not whole.keys() & {"algorithm", "recorded"}:
        return None
    has_slices = any(row["part"] > 0 and row["where_json"] is not None for row in own)
    parts = {
        name: tuple(_part(row, trial) for row in own if row["comparison"] == name and (has_slices or row["part"] == 0))
        for name in ("data", "algorithm", "recorded")
    }
    return BuildChange(
        baseline=baseline,
        **parts,
        methods=tuple(sorted({row["method"] for row in own if row["method"]})),
        n_subjects={name: row["n_subjects"] for name, row in whole.items()},
        n_paired={name: row["n_paired"] for name, row in whole.items()},
        query=rows_query(
            CHANGE_ATTRIBUTION,
            build=build,
            where={"baseline_build_id": baseline},
            order=("comparison", "part"),
            expressions=(
                "failures_before / attempts_before AS before",
                "failures_after / attempts_after AS after",
            ),
        ),
    )


def _part(row: Mapping[str, Any], trial: str) -> ChangedPart:
    is_rest = row["part"] > 0 and row["where_json"] is None
    copied = ("part", "failures_before", "attempts_before", "failures_after", "attempts_after", "reason")
    values: dict[str, Any] = {name: row[name] for name in copied}
    values |= {name: Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("mix", "rate", "change")}
    return ChangedPart(
        condition=REST if is_rest else f"all {trial}s" if row["part"] == 0 else row["condition"], **values
    )
