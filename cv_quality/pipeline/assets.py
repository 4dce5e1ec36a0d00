"""The assets of a task, made from its declared stages: one asset a table or group of tables, one check a gate."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence

import dagster as dg

from cv_quality.lake.schema import Column
from cv_quality.pipeline.marts import mart_specs
from cv_quality.pipeline.partitions import partitions_of
from cv_quality.pipeline.running import ONE_KEY_A_RUN, Event, retrying_unreachable_stores, run_key
from cv_quality.stage import PHASES, Stage, Task, asset_of
from cv_quality.workspace import Workspace


def task_assets(task: Task, tasks: Sequence[Task], *, owners: Sequence[str] = ()) -> list[dg.AssetsDefinition]:
    """Define the assets of each stage, in the order of the data; reports are made after the warehouse's tables.

    Args:
        task: whose stages they are.
        tasks: those that share the warehouse.
        owners: mail addresses, or "team:NAME".
    """
    marts = [spec.key for spec in mart_specs(tasks)]
    return [
        _stage_assets(task, stage, marts=marts if PHASES[stage.phase].reads_warehouse else (), owners=owners)
        for stage in task.stages
    ]


def _stage_assets(
    task: Task, stage: Stage, *, marts: Sequence[dg.AssetKey], owners: Sequence[str]
) -> dg.AssetsDefinition:
    partitions = partitions_of(task, stage.key)
    gate = dg.AssetCheckSpec(
        f"{stage.name}_gate",
        asset=[task.name, stage.assets[0]],
        partitions_def=partitions,
        blocking=True,
        description=stage.gate,
    )

    @dg.multi_asset(
        name=f"{task.name}_{stage.name}",
        specs=list(_specs(task, stage, marts=marts, owners=owners)),
        check_specs=[gate] if stage.writes else [],
        partitions_def=partitions,
        backfill_policy=ONE_KEY_A_RUN,
    )
    def run(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
        with retrying_unreachable_stores(context):
            yield from run_key(context, workspace, task, stage)

    return run


def _specs(task: Task, stage: Stage, *, marts: Sequence[dg.AssetKey], owners: Sequence[str]) -> Iterator[dg.AssetSpec]:
    upstream = [
        [task.name, name] for name in dict.fromkeys(asset_of(table) for table in (*stage.reads, *stage.reads_if_there))
    ]
    for asset in stage.assets:
        tables = [table for table in stage.writes if asset_of(table) == asset]
        grains = "".join(f"\n\n`{table.name}`: one row, one {table.grain}." for table in tables)
        yield dg.AssetSpec(
            [task.name, asset],
            deps=[*upstream, *marts],
            group_name=f"{task.name}_{stage.phase}",
            description=f"{stage.description}{grains}",
            kinds=set(stage.kinds),
            owners=list(owners),
            tags={"task": task.name, "phase": stage.phase},
            metadata={
                "dagster/code_references": code_reference(stage.run),
                **({"dagster/column_schema": column_schema(tables[0])} if len(tables) == 1 else {}),
            },
        )


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Show the columns of a table with their types and meanings."""
    return dg.TableSchema([dg.TableColumn(column.name, column.kind, description=column.meaning) for column in columns])


def code_reference(function: Callable[..., object]) -> dg.CodeReferencesMetadataValue:
    """Point to the line at which a function begins, that of a partial being the one that it calls."""
    code = inspect.unwrap(getattr(function, "func", function)).__code__
    return dg.CodeReferencesMetadataValue(
        code_references=[dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno)]
    )
