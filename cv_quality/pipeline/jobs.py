"""The jobs that sensors, backfills and people launch: one per partition space, in the order of the data."""

import dagster as dg

INGEST_DROP = dg.define_asset_job(
    "ingest_drop",
    selection=dg.AssetSelection.groups("parse", "validate"),
    description="A completed drop to validated tables. One run per drop.",
)
EVALUATE_BUILD_ON_DROP = dg.define_asset_job(
    "evaluate_build_on_drop",
    selection=dg.AssetSelection.assets("embeddings", "comparisons", "attempt_outcomes", "metric_counts"),
    description="One build's model on one validated drop: templates, scores, outcomes, counts.",
)
REPORT_BUILD = dg.define_asset_job(
    "report_build",
    selection=dg.AssetSelection.assets("impostor_counts", "intervals", "failure_report")
    | dg.AssetSelection.groups("explain", "marts"),
    description="Counts to impostor pairs, intervals, causes, metric tables and the build's failure report.",
)
JOBS = (INGEST_DROP, EVALUATE_BUILD_ON_DROP, REPORT_BUILD)
