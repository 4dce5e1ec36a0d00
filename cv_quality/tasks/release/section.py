"""The section of a page that says whether the build may ship, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import TableKey
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.section import ReportSource, Section
from cv_quality.tasks.release.tables import OVERALL, RELEASE_VERDICTS


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """The verdicts of one build.

    Attributes:
        verdict, reason: of the whole.
        policy: its name.
        requirements: rows of the table, in the order of the policy.
    """

    verdict: str
    reason: str
    policy: str
    requirements: Sequence[Mapping[str, Any]]
    query: Query


def read_release(source: ReportSource) -> ReleaseView:
    """Read the verdicts of the build."""
    build = source.scope.build
    rows = source.lake.read(RELEASE_VERDICTS, TableKey(build=build)).to_dicts()
    (whole,) = [row for row in rows if row["requirement"] == OVERALL]
    return ReleaseView(
        verdict=whole["verdict"],
        reason=whole["reason"],
        policy=whole["policy"],
        requirements=[row for row in rows if row is not whole],
        query=rows_query(RELEASE_VERDICTS, build=build, where={}),
    )


RELEASE = Section("release", "May it ship", read_release, "tasks/release/templates/release.html", link="Release")
