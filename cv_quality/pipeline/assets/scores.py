"""Infer, compare and measure one build on one drop. Partition: build x drop."""

from collections.abc import Iterator

import dagster as dg

from cv_quality import stages
from cv_quality.pipeline.assets.drops import VALIDATED
from cv_quality.pipeline.partitions import GRID
from cv_quality.pipeline.running import MANY_KEYS_A_RUN, RETRY_UNREACHABLE_STORES, Event, run_stage
from cv_quality.reports.pictures import score_histogram
from cv_quality.stages import Workspace


@dg.asset(
    deps=VALIDATED,
    group_name="infer",
    description="The template of every enrolment and attempt under the build's model, or why there is none.",
    kinds={"pytorch", "parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "infer_gate",
            asset="embeddings",
            partitions_def=GRID,
            blocking=True,
            description="Every sample has one output, of unit norm, one dimension and one model digest.",
        )
    ],
    partitions_def=GRID,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def embeddings(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.infer(workspace, str(key.build), str(key.drop)),
        assets=["embeddings"],
        check="infer_gate",
    )


@dg.asset(
    deps=["embeddings", "validated_attempts"],
    group_name="compare",
    description="Genuine scores, and the impostor attempts that really happened, beside the score in the log.",
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "compare_gate",
            asset="comparisons",
            partitions_def=GRID,
            blocking=True,
            description="Scores in range, every attempt compared, on-device and re-inferred scores agree.",
        )
    ],
    partitions_def=GRID,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def comparisons(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.compare(workspace, str(key.build), str(key.drop)),
        assets=["comparisons"],
        check="compare_gate",
        picture=lambda key: score_histogram(
            workspace.lake,
            build=str(key.build),
            drop=str(key.drop),
            decision_threshold=workspace.registry.entry(str(key.build)).decision_threshold,
        ),
    )


@dg.asset(
    deps=["comparisons", "validated_attempts", "subjects", "devices"],
    group_name="measure",
    description="Every attempt with the one stage that ended it; the stages add up to the false rejects.",
    kinds={"parquet"},
    partitions_def=GRID,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def attempt_outcomes(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context, lambda key: stages.ledger(workspace, str(key.build), str(key.drop)), assets=["attempt_outcomes"]
    )


@dg.asset(
    deps=["attempt_outcomes", "comparisons"],
    group_name="measure",
    description="Errors and trials per subject and condition: counts, not rates, so that drops add up exactly.",
    kinds={"parquet"},
    check_specs=[
        dg.AssetCheckSpec(
            "measure_gate",
            asset="metric_counts",
            partitions_def=GRID,
            blocking=True,
            description="One outcome per attempt, errors within trials, levels that add up to the whole.",
        )
    ],
    partitions_def=GRID,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def metric_counts(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context,
        lambda key: stages.count(workspace, str(key.build), str(key.drop)),
        assets=["metric_counts"],
        check="measure_gate",
    )
