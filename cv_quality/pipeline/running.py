"""How an asset runs a stage: for the one key of its run, result and verdict turned into Dagster's events.

How a stage is run is in `cv_quality.runner`; which assets exist is in `cv_quality.pipeline.assets`.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from cv_quality.errors import CvQualityError, stops_a_run
from cv_quality.freshness import Freshness, StageContext
from cv_quality.gates.verdicts import ExpectationResult, Verdict
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.partitions import table_key
from cv_quality.runner import run_stage
from cv_quality.stage import Stage, StageResult, Task, asset_of
from cv_quality.telemetry import run_named
from cv_quality.text import visible, visible_lines
from cv_quality.workspace import Workspace

STORE_RETRIES = 2
STORE_RETRY_SECONDS = 2.0
"""Before the first retry; twice that before the second."""
ONE_KEY_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
"""A step ends well or not for all keys of its run: alone each stands for itself, in events, checks and retries."""

RATES = "rates."
"""What a summary's rates begin with: a plot over builds is called as the rate is."""

Event = dg.MaterializeResult[None] | dg.AssetCheckResult


@contextmanager
def retrying_unreachable_stores(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Iterator[None]:
    """Ask for the step again when a store cannot be reached, and for no other reason.

    A retry policy would do so after any error, and take a termination for one.
    """
    try:
        yield
    except CvQualityError as error:
        if not stops_a_run(error):
            raise
        seconds = STORE_RETRY_SECONDS * 2**context.retry_number
        raise dg.RetryRequested(max_retries=STORE_RETRIES, seconds_to_wait=seconds) from error


def run_key(context: dg.AssetExecutionContext, workspace: Workspace, task: Task, stage: Stage) -> Iterator[Event]:
    """Run a stage for the key of the run and yield what Dagster should know.

    Only an unreachable store is worth a retry: every other typed error stays an error until somebody acts.

    Args:
        context: of the step.
        workspace: whose lake is read and written.
        task, stage: what is run.
    """
    if len(context.partition_keys) != 1:
        raise dg.Failure(
            f"expected one partition a run, found {len(context.partition_keys)}: a run fails or succeeds as a whole, "
            "so each key has its own; launch a backfill, or `cvq backfill`"
        )
    key = table_key(context.partition_keys[0], task=task, key=stage.key)
    try:
        with run_named(context.run.run_id):
            result = run_stage(workspace, task, stage, key)
    except CvQualityError as error:
        if stops_a_run(error):
            raise
        raise failure(key, error) from error
    context.log.info(f"{result.stage} {key}: {result.numbers}")
    assets = materialized(workspace, task, stage, key, result)
    for asset, metadata in assets.items():
        yield dg.MaterializeResult(asset_key=asset, metadata=metadata)
    if result.verdict:
        yield check_result(result.verdict, asset=next(iter(assets)), name=f"{stage.name}_gate")


Metadata = dict[str, dg.MetadataValue | int | float | str]


def materialized(
    workspace: Workspace, task: Task, stage: Stage, key: TableKey, result: StageResult
) -> dict[dg.AssetKey, Metadata]:
    """Describe what each asset of a stage shows: numbers, seconds, picture, rows and place; the gate's asset first."""
    metadata: Metadata = {
        **{name.removeprefix(RATES): value for name, value in result.numbers.items()},
        "seconds": round(result.seconds, 3),
    }
    if stage.picture:
        png = b64encode(stage.picture(StageContext(Freshness(workspace, task), key))).decode()
        metadata["picture"] = dg.MetadataValue.md(f"![](data:image/png;base64,{png})")
    return {
        dg.AssetKey([task.name, asset]): {**metadata, **_place(workspace, stage, key, asset)} for asset in stage.assets
    }


def _place(workspace: Workspace, stage: Stage, key: TableKey, asset: str) -> dict[str, int | str]:
    """Where what an asset shows lies, and how many rows it has; of several tables the first leads."""
    import polars as pl

    tables = [table for table in stage.writes if asset_of(table) == asset]
    if not tables:
        page = stage.result(workspace, str(key.build)) if stage.result else None
        return {"dagster/uri": page.absolute().as_uri()} if page else {}
    rows = {table.name: workspace.lake.scan(table, [key]).select(pl.len()).collect().item() for table in tables}
    file = workspace.lake.object_key(tables[0], key)
    return {
        "dagster/row_count": sum(rows.values()),
        "dagster/uri": f"{workspace.lake.store.uri.rstrip('/')}/{file}",
        **({f"rows_{name}": count for name, count in rows.items()} if len(rows) > 1 else {}),
    }


def failure(key: TableKey, error: CvQualityError) -> dg.Failure:
    """Fail the step with what the key lacks, and how to ask for more."""
    reason = visible_lines(f"{type(error).__name__}: {error}")
    return dg.Failure(
        f"{key}: {reason}",
        metadata={"reason": dg.MetadataValue.text(reason), "more": asking(str(key))},
    )


def asking(key: str) -> dg.MetadataValue:
    """Name the command that says more of a key."""
    return dg.MetadataValue.text(f"cvq why {key}")


def check_result(verdict: Verdict, *, asset: dg.AssetKey, name: str) -> dg.AssetCheckResult:
    """Turn the gate's verdict into a check: rules, counts and offending keys; never a row of data."""
    rules, broken = verdict.expectations, [item for item in verdict.expectations if not item.passed]
    sentences = (visible(f"{verdict.key}: {item.headline} ({item.n_unexpected:,} rows)") for item in broken)
    return dg.AssetCheckResult(
        passed=verdict.passed,
        asset_key=asset,
        check_name=name,
        description="; ".join(sentences) or f"all {len(rules)} expectations hold",
        metadata={
            "expectations": len(rules),
            "broken": sum(1 for item in broken if not item.is_warning),
            "warnings": sum(1 for item in broken if item.is_warning),
            "table": _table(verdict.key, broken or rules),
            **({"more": asking(verdict.key)} if broken else {}),
        },
    )


def _table(key: str, rules: Sequence[ExpectationResult]) -> dg.MetadataValue:
    records = [
        dg.TableRecord(
            {
                "key": key,
                "table": item.table,
                "expectation": item.name,
                "holds": "yes" if item.passed else "warning" if item.is_warning else "NO",
                "rows": item.n_rows,
                "unexpected": item.n_unexpected,
                "offending_keys": visible(", ".join(item.examples)),
            }
        )
        for item in rules
    ]
    return dg.MetadataValue.table(records)
