"""Count a build's cross-subject pairs and measure it over all its drops. Partition: build."""

from collections.abc import Iterator

import dagster as dg

from cv_quality import stages
from cv_quality.pipeline.partitions import BUILDS
from cv_quality.pipeline.running import MANY_KEYS_A_RUN, RETRY_UNREACHABLE_STORES, Event, run_stage
from cv_quality.stages import Workspace


@dg.asset(
    deps=["embeddings"],
    group_name="compare",
    description="Every cross-subject pair of the build's drops, once: histogram and exact tail, in addressed blocks.",
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "impostors_gate",
            asset="impostor_counts",
            partitions_def=BUILDS,
            blocking=True,
            description="No pair of one subject, the tail within the histogram, every pair accounted for by samples.",
        )
    ],
    partitions_def=BUILDS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def impostor_counts(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.count_impostors(workspace, str(key.build)),
        assets=["impostor_counts"],
        check="impostors_gate",
    )


@dg.asset(
    deps=["impostor_counts", "metric_counts"],
    group_name="measure",
    description="Rates with intervals clustered by subject, and operating points, for the build and its baseline.",
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "measure_build_gate",
            asset="intervals",
            partitions_def=BUILDS,
            blocking=True,
            description="Rates within their intervals, FMR within its target, every missing number with a reason.",
        )
    ],
    partitions_def=BUILDS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def intervals(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.measure_build(workspace, str(key.build)),
        assets=["intervals"],
        check="measure_build_gate",
    )
