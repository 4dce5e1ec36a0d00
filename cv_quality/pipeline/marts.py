"""The metric tables in DuckDB as assets. One step builds all; that of another run waits at the warehouse's lock.

Each table's dbt tests are its check. What a table is made of is read from its model.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from cv_quality.errors import WarehouseError
from cv_quality.lake.dbt_models import mart_sources
from cv_quality.lake.warehouse import MartContent, contents
from cv_quality.pipeline.running import Event, retrying_unreachable_stores
from cv_quality.stage import Task, asset_of
from cv_quality.tasks import publish_marts, tables_of
from cv_quality.tasks.monitoring.tables import MONITOR_TABLES, MONITORING
from cv_quality.tasks.monitoring.watched import watched_tasks
from cv_quality.telemetry import run_named
from cv_quality.workspace import Workspace

WAREHOUSE_POOL = "warehouse"
"""Where the instance limits pools, a second writer waits in the queue of the instance and not at the lock."""


def mart_specs(tasks: Sequence[Task], *, owners: Sequence[str] = ()) -> list[dg.AssetSpec]:
    """Specify one asset for each metric table, made of the assets whose tables its model reads.

    Args:
        tasks: whose tables they are.
        owners: mail addresses, or "team:NAME".
    """
    tables = tables_of(tasks)
    return [
        dg.AssetSpec(
            ["marts", model],
            deps=_upstream(sources, tasks),
            group_name="marts",
            description=f"Table `{model}` of the DuckDB warehouse.",
            kinds={"dbt", "duckdb"},
            owners=list(owners),
            metadata={"dagster/relation_identifier": f"main.{model}"},
        )
        for model, sources in mart_sources(tables.values()).items()
    ]


def _upstream(sources: Sequence[str], tasks: Sequence[Task]) -> list[dg.AssetKey]:
    """The assets that show these tables, each once."""
    shown = [(task.name, table, asset_of(table)) for task in tasks for table in task.tables]
    shown += [(task.name, table, MONITORING.name) for task in watched_tasks(tasks) for table in MONITOR_TABLES]
    return [dg.AssetKey(key) for key in dict.fromkeys((task, at) for task, table, at in shown if table.name in sources)]


def marts_asset(tasks: Sequence[Task], *, owners: Sequence[str] = ()) -> dg.AssetsDefinition:
    """Define the step that builds, tests and publishes every metric table.

    Args:
        tasks: whose tables they are.
        owners: mail addresses, or "team:NAME".
    """
    specs = mart_specs(tasks, owners=owners)

    @dg.multi_asset(
        name="marts",
        specs=specs,
        pool=WAREHOUSE_POOL,
        check_specs=[
            dg.AssetCheckSpec("dbt_tests", asset=spec.key, blocking=True, description="The table's dbt tests.")
            for spec in specs
        ],
    )
    def marts(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
        try:
            with retrying_unreachable_stores(context), run_named(context.run.run_id):
                result = publish_marts(workspace, tasks)
        except WarehouseError as error:
            yield from (_failed_check(model, error) for model in sorted({table for table, *_ in error.failed}))
            raise dg.Failure(str(error)) from error
        warehouse = workspace.settings.warehouse
        found = contents(warehouse)
        for spec in specs:
            table = found[spec.key.path[-1]]
            yield dg.MaterializeResult(
                asset_key=spec.key,
                metadata={
                    "dagster/row_count": table.rows,
                    "dagster/uri": warehouse.absolute().as_uri(),
                    "dagster/column_schema": _schema(table),
                    "seconds": round(result.seconds, 2),
                },
            )
            yield dg.AssetCheckResult(passed=True, asset_key=spec.key, check_name="dbt_tests")

    return marts


def _schema(table: MartContent) -> dg.TableSchema:
    return dg.TableSchema(
        [dg.TableColumn(name, kind.lower(), description=meaning) for name, kind, meaning in table.columns]
    )


def _failed_check(model: str, error: WarehouseError) -> dg.AssetCheckResult:
    messages = {test: message for table, test, message in error.failed if table == model}
    return dg.AssetCheckResult(
        passed=False, asset_key=["marts", model], check_name="dbt_tests", metadata={"failed_tests": messages}
    )
