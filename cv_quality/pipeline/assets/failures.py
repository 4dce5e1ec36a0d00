"""Say why a build fails: slices, what changed since the baseline, clusters, explanations. Partition: build."""

from collections.abc import Iterator

import dagster as dg

from cv_quality import stages
from cv_quality.pipeline.partitions import BUILDS
from cv_quality.pipeline.running import MANY_KEYS_A_RUN, RETRY_UNREACHABLE_STORES, Event, run_stage
from cv_quality.stages import Workspace

EXPLAINED = ("failure_slices", "change_attribution", "failure_clusters", "explanations")


@dg.asset(
    deps=["intervals", "attempt_outcomes"],
    group_name="explain",
    description="What the build's attempts fail at: confirmed slices, what only looks bad, trends, exemplars.",
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "slices_gate",
            asset="failure_slices",
            partitions_def=BUILDS,
            blocking=True,
            description="Confirmed rates within their intervals and above the rest; outcomes that add up to the FRR.",
        )
    ],
    partitions_def=BUILDS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def failure_slices(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.find_slices(workspace, str(key.build)),
        assets=["failure_slices"],
        check="slices_gate",
    )


@dg.asset(
    deps=["failure_slices"],
    group_name="explain",
    description="The change of the FRR against the baseline, slice by slice: more such attempts, or more of them fail.",
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "attribution_gate",
            asset="change_attribution",
            partitions_def=BUILDS,
            blocking=True,
            description="The parts of the slices and the rest add up to the change, and so do their attempts.",
        )
    ],
    partitions_def=BUILDS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def change_attribution(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.attribute_change(workspace, str(key.build)),
        assets=["change_attribution"],
        check="attribution_gate",
    )


@dg.asset(
    deps=["intervals", "attempt_outcomes"],
    group_name="explain",
    description="Failures that lie together in an embedding, with the conditions that they share, if they share any.",
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "clusters_gate",
            asset="failure_clusters",
            partitions_def=BUILDS,
            blocking=True,
            description="Confirmed rates within their intervals and above the rest; no failure in two clusters.",
        )
    ],
    partitions_def=BUILDS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def failure_clusters(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.cluster_failures(workspace, str(key.build)),
        assets=["failure_clusters"],
        check="clusters_gate",
    )


@dg.asset(
    deps=["failure_slices"],
    group_name="explain",
    description="Saliency of each slice's failures against matched passes, and the scores with one condition changed.",
    kinds={"pytorch", "parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "explanations_gate",
            asset="explanations",
            partitions_def=BUILDS,
            blocking=True,
            description="A map is shown only with the numbers of every check; a hidden one says why.",
        )
    ],
    partitions_def=BUILDS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def explanations(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.explain_failures(workspace, str(key.build)),
        assets=["explanations"],
        check="explanations_gate",
    )
