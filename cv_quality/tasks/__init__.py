"""The tasks: what is measured, each in a folder of its own. This is their only list."""

from collections.abc import Sequence

from cv_quality.errors import SettingsError, near
from cv_quality.lake.schema import Table
from cv_quality.settings import Settings
from cv_quality.stage import StageResult, Task
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace

TASKS: tuple[Task, ...] = (VERIFICATION,)


def open_workspace(settings: Settings, tasks: Sequence[Task] = TASKS) -> Workspace:
    """The stores of a deployment, which understand the modalities of all tasks."""
    return Workspace(settings, {modality.name: modality for task in tasks for modality in task.modalities})


def task_of(modality: str, tasks: Sequence[Task] = TASKS) -> Task:
    """The task that evaluates a modality.

    Raises:
        SettingsError: none does; the near ones are named.
    """
    found = {item.name: task for task in tasks for item in task.modalities}
    if modality not in found:
        raise SettingsError(f"no task evaluates modality {modality!r}; {near(modality, found)}")
    return found[modality]


def tables_of(tasks: Sequence[Task]) -> dict[str, Table]:
    """Every table by name, in the order of the data."""
    return {table.name: table for task in tasks for table in task.tables}


def publish_marts(workspace: Workspace, tasks: Sequence[Task] = TASKS) -> StageResult:
    """Build the metric tables from the lake, test them, and swap the warehouse file.

    Raises:
        WarehouseError: a test failed, and the old file stays; `failed` names the tables and tests.
    """
    from cv_quality.lake.warehouse import build_warehouse

    settings = workspace.settings
    summary = build_warehouse(
        lake=workspace.lake,
        tables=tuple(tables_of(tasks).values()),
        target=settings.warehouse,
        memory_limit=settings.memory_limit,
    )
    numbers: dict[str, int | float | str] = {"tables": len(summary.models), "tests": len(summary.tests)}
    return StageResult("marts", "warehouse", numbers, summary.seconds)
