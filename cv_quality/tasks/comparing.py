"""Any two builds of a task against each other, and the verdicts of a build, as the command line asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.errors import StageError
from cv_quality.freshness import Freshness, StageContext
from cv_quality.gates.verdicts import require_passed
from cv_quality.lake.lake import TableKey
from cv_quality.stage import Task
from cv_quality.tasks.release.stage import Measured
from cv_quality.tasks.release.tables import OVERALL, RELEASE_VERDICTS
from cv_quality.tasks.verification.tables import DIFFERENCES
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.tasks.video.tables import VIDEO_CHANGES
from cv_quality.tasks.video.task import VIDEO
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

SAME, OWN = "on the same data", "each on its own drops"


@dataclass(frozen=True, slots=True)
class ComparedBuilds:
    """Two builds against each other.

    Attributes:
        reference, candidate: differences are of the second, less the first.
        on: whether both scored the same data.
        measured: every metric with its difference.
    """

    reference: str
    candidate: str
    task: str
    on: str
    measured: Measured


def compare_builds(workspace: Workspace, task: Task, reference: str, candidate: str) -> ComparedBuilds:
    """Compare two builds: on the same data where the candidate follows the reference, else each on its own drops.

    Args:
        workspace: with both builds measured.
        task: of both.
        reference, candidate: the builds.

    Raises:
        GateFailed: one of them is not measured, or was refused.
        StageError: builds of this task can only be compared with the one that they follow.
    """
    freshness = Freshness(workspace, task)
    context = StageContext(freshness, TableKey(build=candidate))
    if task is VERIFICATION:
        from cv_quality.tasks.verification.differences import read_evidence

        _require(workspace, "measure_build", candidate)
        table = workspace.lake.read(DIFFERENCES, TableKey(build=candidate))
        if reference in table["baseline_build_id"] and reference in context.models:
            found = Measured(reference, read_evidence(workspace.lake, candidate))
            return ComparedBuilds(reference, candidate, task.name, SAME, found)
        return _apart(context, StageContext(freshness, TableKey(build=reference)))
    if task is not VIDEO:
        raise StageError(
            f"builds of {task.name} are not compared: hold each against what is required, cvq release BUILD"
        )
    from cv_quality.tasks.video.build_metrics import read_evidence as read_video

    _require(workspace, "measure_video", candidate)
    if reference not in workspace.lake.read(VIDEO_CHANGES, TableKey(build=candidate))["baseline_build_id"]:
        raise StageError(f"{candidate} does not follow {reference}: clips are paired with those of the build followed")
    return ComparedBuilds(reference, candidate, task.name, SAME, read_video(workspace.lake, candidate))


def read_release(workspace: Workspace, build: str) -> "tuple[dict[str, object], Sequence[dict[str, object]]]":
    """Read the release verdict of a build and those of its requirements.

    Raises:
        GateFailed: the build is not judged.
    """
    require_passed(workspace.lake, "release", TableKey(build=build), tables=[RELEASE_VERDICTS])
    rows: pl.DataFrame = workspace.lake.read(RELEASE_VERDICTS, TableKey(build=build))
    (whole,) = rows.filter(requirement=OVERALL).to_dicts()
    return whole, [row for row in rows.to_dicts() if row["requirement"] != OVERALL]


def _apart(candidate: StageContext, reference: StageContext) -> ComparedBuilds:
    from cv_quality.tasks.verification.differences import Side, compare_sides, evidence_of, latency_evidence
    from cv_quality.tasks.verification.evaluation import evaluation_of
    from cv_quality.tasks.verification.modality import biometric

    for context in (reference, candidate):
        _require(context.workspace, "measure_build", context.build)
    sides = [
        Side(
            context.build,
            context.build,
            context.drops,
            biometric(context.modality).comparator,
            context.entry.decision_threshold,
        )
        for context in (reference, candidate)
    ]
    no_pairs = evaluation_of(candidate.entry).no_pairs or evaluation_of(reference.entry).no_pairs
    lake = candidate.lake
    rates = compare_sides(lake, sides[0], sides[1], no_pairs=no_pairs)
    evidence = [*evidence_of(rates), *latency_evidence(lake, sides[0], sides[1])]
    name = candidate.freshness.task.name
    return ComparedBuilds(reference.build, candidate.build, name, OWN, Measured(reference.build, evidence))


def _require(workspace: Workspace, gate: str, build: str) -> None:
    require_passed(workspace.lake, gate, TableKey(build=build), tables=[])
