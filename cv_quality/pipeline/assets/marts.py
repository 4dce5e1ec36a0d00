"""The metric tables in DuckDB and the failure report made of them. Partition: none for the tables, build for the page.

One step builds all tables, in a pool of one, since DuckDB has one writer; each table's dbt tests are its check.
"""

from collections.abc import Iterator

import dagster as dg

from cv_quality import stages
from cv_quality.errors import WarehouseError
from cv_quality.lake.warehouse import DBT_PROJECT
from cv_quality.pipeline.assets.failures import EXPLAINED
from cv_quality.pipeline.partitions import BUILDS
from cv_quality.pipeline.running import MANY_KEYS_A_RUN, RETRY_UNREACHABLE_STORES, Event, run_stage
from cv_quality.stages import Workspace

WAREHOUSE_POOL = "warehouse"
MODELS = sorted(path.stem for path in (DBT_PROJECT / "models" / "marts").glob("*.sql"))
UPSTREAM = ("intervals", "attempt_outcomes", "metric_counts", "comparisons", "quarantine", "devices")
EXPLAINED_IN = {
    "fct_change_attribution": "change_attribution",
    "fct_counterfactuals": "explanations",
    "fct_failure_clusters": "failure_clusters",
    "fct_failure_slices": "failure_slices",
    "fct_slice_searches": "failure_slices",
    "fct_slice_trends": "failure_slices",
}
"""The tables that hold one asset's rows as they are; the others are made of several, and all in one step."""


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            ["marts", model],
            deps=[EXPLAINED_IN[model]] if model in EXPLAINED_IN else UPSTREAM,
            group_name="marts",
            description=f"Table `{model}` of the DuckDB warehouse.",
            kinds={"dbt", "duckdb"},
        )
        for model in MODELS
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "dbt_tests", asset=["marts", model], blocking=True, description=f"The dbt tests of `{model}`."
        )
        for model in MODELS
    ],
    pool=WAREHOUSE_POOL,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def marts(workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    try:
        result = stages.publish_marts(workspace)
    except WarehouseError as error:
        yield from (_failed_check(model, error) for model in sorted({table for table, *_ in error.failed}))
        raise dg.Failure(str(error), allow_retries=False) from error
    for model in MODELS:
        yield dg.MaterializeResult(asset_key=["marts", model], metadata={"seconds": round(result.seconds, 2)})
        yield dg.AssetCheckResult(passed=True, asset_key=["marts", model], check_name="dbt_tests")


def _failed_check(model: str, error: WarehouseError) -> dg.AssetCheckResult:
    messages = {test: message for table, test, message in error.failed if table == model}
    return dg.AssetCheckResult(
        passed=False, asset_key=["marts", model], check_name="dbt_tests", metadata={"failed_tests": messages}
    )


@dg.asset(
    deps=["intervals", "impostor_counts", *EXPLAINED, *(["marts", model] for model in MODELS)],
    group_name="report",
    description="One self-contained page: the build against its baseline, curves, why it fails, data quality.",
    kinds={"altair", "html"},
    partitions_def=BUILDS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def failure_report(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(context, lambda key: stages.report(workspace, str(key.build)), assets=["failure_report"])
