"""The edition of one build: everything that its products print, read once from what has passed."""

from cv_quality.errors import PublishingError
from cv_quality.freshness import Freshness, StageContext
from cv_quality.lake.lake import TableKey
from cv_quality.publishing.product import Edition
from cv_quality.reports.section import read_content
from cv_quality.tasks import TASKS
from cv_quality.tasks.pages import report_source
from cv_quality.workspace import Workspace


def read_edition(workspace: Workspace, build: str) -> Edition:
    """Read what is published of a build.

    Raises:
        ModelError: the registry does not have the build.
        PublishingError: its report has not been written of what lies in the lake now.
        MissingTable: a stage has not been run.
    """
    task_name, key = workspace.registry.entry(build).task, TableKey(build=build)
    (task,) = (task for task in TASKS if task.name == task_name)
    if task.brief is None:
        raise PublishingError(f"{build}: nothing is published of task {task.name!r}")
    freshness = Freshness(workspace, task)
    (report,) = task.of_phase("report")
    if freshness.state(report, key) != "passed":
        raise PublishingError(f"{build}: its report is not that of the lake as it is now; `cvq run` makes what is due")
    source = report_source(StageContext(freshness, key))
    return Edition(task.brief(read_content(task.sections, source), source), source, workspace)
