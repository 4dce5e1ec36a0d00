"""What changed since the baseline, read from the lake: what other data and what another algorithm add to the FRR.

How a change is split is in `cv_quality.error_analysis.attribution`; its chart is in `cv_quality.tasks.verification.report.root_cause_charts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.root_causes.tables import CHANGE_ATTRIBUTION
from cv_quality.tasks.verification.report import queries
from cv_quality.tasks.verification.report.facts import Scope
from cv_quality.tasks.verification.report.queries import Query

ALL, REST = "all attempts", "the rest"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a change with its 95 % interval."""

    value: float
    low: float | None
    high: float | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True)
class ChangePart:
    """What one slice, the rest or (part 0) all attempts add to a change of the FRR."""

    part: int
    condition: str
    failures_before: int
    attempts_before: int
    failures_after: int
    attempts_after: int
    mix: Part
    rate: Part
    change: Part
    reason: str | None

    @property
    def before(self) -> float | None:
        return self.failures_before / self.attempts_before if self.attempts_before else None

    @property
    def after(self) -> float | None:
        return self.failures_after / self.attempts_after if self.attempts_after else None


@dataclass(frozen=True, slots=True)
class Change:
    """From the baseline's FRR to the build's: first by other data, then by another algorithm on the same data.

    Attributes:
        data: the baseline's model on its own drops and on the build's, by slice; empty where it was not compared.
        algorithm: both models on the build's drops, by slice.
        n_paired: subjects met before and after, by comparison.
    """

    baseline: str
    data: tuple[ChangePart, ...]
    algorithm: tuple[ChangePart, ...]
    methods: tuple[str, ...]
    n_subjects: Mapping[str, int]
    n_paired: Mapping[str, int]
    query: Query


def read_change(lake: Lake, *, scope: Scope) -> Change | None:
    """The change against the scope's baseline; None without one. Without a slice there is no part but the whole.

    Raises:
        MissingTable: the change has not been attributed yet.
    """
    if scope.baseline is None:
        return None
    rows = lake.read(CHANGE_ATTRIBUTION, TableKey(build=scope.build)).sort("comparison", "part").to_dicts()
    own = [row for row in rows if row["baseline_build_id"] == scope.baseline]
    whole = {row["comparison"]: row for row in own if row["part"] == 0}
    has_slices = any(row["part"] > 0 and row["where_json"] is not None for row in own)
    if "algorithm" not in whole:
        return None
    return Change(
        baseline=scope.baseline,
        data=tuple(_part(row) for row in own if row["comparison"] == "data" and (has_slices or row["part"] == 0)),
        algorithm=tuple(
            _part(row) for row in own if row["comparison"] == "algorithm" and (has_slices or row["part"] == 0)
        ),
        methods=tuple(sorted({row["method"] for row in own if row["method"]})),
        n_subjects={name: row["n_subjects"] for name, row in whole.items()},
        n_paired={name: row["n_paired"] for name, row in whole.items()},
        query=queries.attribution_query(scope.build),
    )


def _part(row: Mapping[str, Any]) -> ChangePart:
    is_rest = row["part"] > 0 and row["where_json"] is None
    return ChangePart(
        part=row["part"],
        condition=REST if is_rest else ALL if row["part"] == 0 else row["condition"],
        failures_before=row["failures_before"],
        attempts_before=row["attempts_before"],
        failures_after=row["failures_after"],
        attempts_after=row["attempts_after"],
        mix=_interval(row, "mix"),
        rate=_interval(row, "rate"),
        change=_interval(row, "change"),
        reason=row["reason"],
    )


def _interval(row: Mapping[str, Any], name: str) -> Part:
    return Part(row[name], row[f"{name}_low"], row[f"{name}_high"])
