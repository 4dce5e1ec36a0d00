"""Parse and validate: what a drop says, typed, and what of it makes sense together. Partition: drop."""

from collections.abc import Iterator

import dagster as dg

from cv_quality import stages
from cv_quality.pipeline.partitions import DROPS
from cv_quality.pipeline.running import MANY_KEYS_A_RUN, RETRY_UNREACHABLE_STORES, Event, run_stage
from cv_quality.stages import Workspace

PARSED = ("raw_events", "quarantine")
VALIDATED = ("validated_attempts", "validated_streams", "subjects", "devices")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "raw_events",
            group_name="parse",
            description="Every event of the drop's logs, typed, one Parquet file per kind; the index of its frames.",
            kinds={"parquet"},
        ),
        dg.AssetSpec(
            "quarantine",
            group_name="parse",
            description="Every line and frame that could not be taken in, with file, line, reason and raw text.",
            kinds={"parquet"},
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "parse_gate",
            asset="raw_events",
            partitions_def=DROPS,
            blocking=True,
            description="Rows in = rows valid + rows quarantined = rows declared; few rows quarantined; not empty.",
        )
    ],
    partitions_def=DROPS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def parse(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(context, lambda key: stages.parse(workspace, str(key.drop)), assets=PARSED, check="parse_gate")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "validated_attempts",
            deps=PARSED,
            group_name="validate",
            description="Attempts and enrolments, deduplicated and referentially sound, within range and in time.",
            kinds={"duckdb", "parquet"},
        ),
        dg.AssetSpec(
            "validated_streams",
            deps=PARSED,
            group_name="validate",
            description="Frames of video streams, deduplicated and referentially sound.",
            kinds={"duckdb", "parquet"},
        ),
        dg.AssetSpec(
            "subjects",
            deps=PARSED,
            group_name="validate",
            description="Pseudonymous study participants of the drop, with their image consent.",
            kinds={"duckdb", "parquet"},
        ),
        dg.AssetSpec(
            "devices",
            deps=PARSED,
            group_name="validate",
            description="Units of device models that recorded the drop.",
            kinds={"duckdb", "parquet"},
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "validate_gate",
            asset="validated_attempts",
            partitions_def=DROPS,
            blocking=True,
            description="Schema, ranges, levels, identifiers, uniqueness and references of every validated table.",
        )
    ],
    partitions_def=DROPS,
    backfill_policy=MANY_KEYS_A_RUN,
    retry_policy=RETRY_UNREACHABLE_STORES,
)
def validate(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
    yield from run_stage(
        context, lambda key: stages.validate(workspace, str(key.drop)), assets=VALIDATED, check="validate_gate"
    )
