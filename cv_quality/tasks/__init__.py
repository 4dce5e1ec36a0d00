"""The tasks: what is measured, each in a folder of its own. This is their only list."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from cv_quality.builds import declared_in, recorded
from cv_quality.drops.conditions import with_conditions
from cv_quality.errors import GateFailed
from cv_quality.freshness import Freshness
from cv_quality.gates.verdicts import is_verdict, judged_keys, require_passed
from cv_quality.lake.lake import Survey, TableKey
from cv_quality.lake.schema import Column, Table
from cv_quality.modality import Modality, of_modality
from cv_quality.settings import Settings, let_waiting_threads_sleep
from cv_quality.stage import StageResult, Task
from cv_quality.tasks.liveness.task import LIVENESS
from cv_quality.tasks.monitoring.tables import MONITOR_TABLES
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.tasks.video.task import VIDEO
from cv_quality.telemetry import Attempt, observed
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from cv_quality.lake.warehouse import WarehouseSource

TASKS: tuple[Task, ...] = (VERIFICATION, LIVENESS, VIDEO)


def open_workspace(settings: Settings, tasks: Sequence[Task] = TASKS) -> Workspace:
    """Open the stores of a deployment, which understand the modalities of all tasks."""
    let_waiting_threads_sleep()
    return Workspace(settings, {modality.name: modality for task in tasks for modality in task.modalities})


def tables_of(tasks: Sequence[Task]) -> dict[str, Table]:
    """List every table by name, in the order of the data; those that no stage writes come last."""
    return {table.name: table for table in (*(table for task in tasks for table in task.tables), *MONITOR_TABLES)}


def publish_marts(workspace: Workspace, tasks: Sequence[Task] = TASKS) -> StageResult:
    """Build the metric tables from the lake, test them, and swap the warehouse file.

    Raises:
        WarehouseError: a test failed, and the old file stays; `failed` names the tables and tests.
    """
    from cv_quality.lake.warehouse import build_warehouse

    def build() -> StageResult:
        summary = build_warehouse(
            warehouse_source(workspace, tasks),
            target=workspace.settings.warehouse,
            memory_limit=workspace.settings.memory_limit,
            storage_version=workspace.settings.storage_version,
        )
        numbers: dict[str, int | float | str] = {"tables": len(summary.models), "tests": len(summary.tests)}
        return StageResult("marts", "warehouse", numbers, summary.seconds)

    return observed(workspace.settings, Attempt("all", "marts", "warehouse"), build)


def is_published(workspace: Workspace, tasks: Sequence[Task] = TASKS, *, survey: Survey | None = None) -> bool:
    """Tell whether the warehouse is there, untouched, and made of what lies in the lake now, if anything does.

    Args:
        workspace, tasks: whose warehouse it is.
        survey: a look at the lake that others share.
    """
    from cv_quality.lake.warehouse import is_current

    identity = warehouse_identity(workspace, tasks, survey=survey)
    return not identity or is_current(workspace.settings.warehouse, identity)


def warehouse_identity(workspace: Workspace, tasks: Sequence[Task], *, survey: Survey | None = None) -> str:
    """Identify all that has passed of what the warehouse reads, and how it is stored; empty when nothing has.

    Looks at watched builds, which no gate judges, count as they lie there.

    Args:
        workspace, tasks: whose warehouse it is.
        survey: a look at the lake that others share.
    """
    from cv_quality.lake.dbt_models import warehouse_tables

    survey, read = survey or Survey(workspace.lake.store), warehouse_tables(tables_of(tasks).values())
    names = {table.name for table in read}
    gates = sorted({stage.name for task in tasks for name, stage in task.writers.items() if name in names})
    keys = [(gate, key) for gate in gates for key in judged_keys(survey, gate)]
    records = ((gate, key, recorded(workspace, survey, gate, key)) for gate, key in keys)
    passed = [(gate, key, record.text) for gate, key, record in records if record and record.passed]
    looks = [info.mark for table in MONITOR_TABLES for _, info in sorted(survey.list(table.name).items())]
    made_of = (passed, workspace.settings.storage_version, *([looks] if looks else []))
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16] if passed else ""


def write_dbt_models(workspace: Workspace) -> None:
    """Write the models that follow from the tables into `dbt_project/`, for work with dbt alone."""
    from cv_quality.lake.dbt_models import DBT_PROJECT
    from cv_quality.lake.warehouse import write_generated

    write_generated(DBT_PROJECT, warehouse_source(workspace))


def warehouse_source(workspace: Workspace, tasks: Sequence[Task] = TASKS) -> "WarehouseSource":
    """Gather what the warehouse is made of: the tables of all tasks, without files that a build's gate refused."""
    from cv_quality.lake.warehouse import WarehouseSource

    # Two tasks may write one table by stages of different names; a key is of one of them.
    gates: dict[str, set[str]] = {}
    for name, stage in (item for task in tasks for item in task.writers.items()):
        gates.setdefault(name, set()).add(stage.name)

    def has_passed(gate: str, table: Table, key: TableKey) -> bool:
        try:
            require_passed(workspace.lake, gate, key, tables=[table])
        except GateFailed:
            return False
        return True

    def may_read(table: Table, key: TableKey) -> bool:
        return table in MONITOR_TABLES or any(has_passed(gate, table, key) for gate in gates[table.name])

    return WarehouseSource(
        workspace.lake,
        tables_with_conditions(workspace, tasks),
        may_read,
        is_verdict=partial(is_verdict, workspace.lake),
        identity=warehouse_identity(workspace, tasks),
    )


def tables_with_conditions(workspace: Workspace, tasks: Sequence[Task]) -> tuple[Table, ...]:
    """Every table with the conditions of each modality, declared ones too, so that SQL may name them early."""
    columns: dict[str, dict[str, Column]] = {}
    for task in tasks:
        for table, modality in product(task.tables, _with_declared(workspace, task)):
            own = {column.name: column for column in of_modality(table, modality)}
            columns[table.name] = own | columns.get(table.name, {})
    tables = tables_of(tasks).values()
    return tuple(
        replace(table, columns=tuple(columns[table.name].values()), conditions=None) if table.name in columns else table
        for table in tables
    )


def _with_declared(workspace: Workspace, task: Task) -> Iterator[Modality]:
    """The task's modalities, each with the conditions that its drops declare, the latest words for one that recurs."""
    about = Freshness(workspace, task)
    for modality in task.modalities:
        said = [about.about(TableKey(drop=drop)) for drop in sorted(about.drops)]
        own = (words for words in said if words["modality"] == modality.name)
        declared = {item.name: item for words in own for item in declared_in(words)}
        yield with_conditions(modality, declared.values())
