"""What the stage of every task that writes a build's page asks and reads; the pages are in each task's `report`."""

from typing import TYPE_CHECKING

from cv_quality.freshness import Freshness, StageContext
from cv_quality.lake.lake import TableKey
from cv_quality.settings import LEADING_RATE

if TYPE_CHECKING:
    from cv_quality.reports.section import ReportSource


def page_identity(freshness: Freshness, key: TableKey) -> str:
    """Identify who must not be pictured, and what a page leads with: either of them makes it due.

    A no counts in any drop, also of another build.
    """
    refused = freshness.refusals.identity(freshness.own_drops(str(key.build)))
    leading = freshness.workspace.settings.leading_rate
    return refused if leading == LEADING_RATE else f"{refused} {leading}"


def report_source(context: StageContext) -> "ReportSource":
    """Gather what the page of a build is made from."""
    from cv_quality.reports.scope import Scope
    from cv_quality.reports.section import ReportSource

    workspace, (_, *baselines) = context.workspace, context.models
    task, key = context.freshness.task, context.key
    is_explained = all(context.freshness.state(stage, key) == "passed" for stage in task.of_phase("maps"))
    return ReportSource(
        lake=context.lake,
        landing=workspace.landing,
        scope=Scope(
            context.build,
            next(iter(baselines), None),
            tuple(context.drops),
            is_recorded=workspace.registry.is_recorded(context.build),
        ),
        entry=context.entry,
        modality=context.modality,
        entry_files={build: workspace.registry.entry_file(build) for build in context.models},
        gates=tuple(stage.name for stage in context.freshness.task.stages),
        warehouse=workspace.settings.warehouse,
        explained_pairs=workspace.settings.explained_pairs if is_explained else None,
        leading=workspace.settings.leading_rate,
    )
