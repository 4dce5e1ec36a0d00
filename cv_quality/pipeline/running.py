"""How an asset runs a stage: one call per partition key, results and verdicts turned into Dagster's events.

How a stage is run is in `cv_quality.runner`; which assets exist is in `cv_quality.pipeline.assets`.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg

from cv_quality.errors import CvQualityError, stops_a_run
from cv_quality.freshness import Freshness, StageContext
from cv_quality.gates.verdicts import ExpectationResult, Verdict
from cv_quality.pipeline.partitions import table_key
from cv_quality.runner import run_stage
from cv_quality.stage import Stage, StageResult, Task
from cv_quality.text import visible, visible_lines
from cv_quality.workspace import Workspace

STORE_RETRIES = 2
STORE_RETRY_SECONDS = 2.0
"""Before the first retry; twice that before the second."""
MANY_KEYS_A_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=4)

Event = dg.MaterializeResult[None] | dg.AssetCheckResult


@contextmanager
def retrying_unreachable_stores(context: dg.AssetExecutionContext) -> Iterator[None]:
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


def run_keys(context: dg.AssetExecutionContext, workspace: Workspace, task: Task, stage: Stage) -> Iterator[Event]:
    """Run a stage for every key of the run and yield what Dagster should know.

    A key that cannot be done does not keep the others from being done; the step fails at its end, naming it.

    Args:
        context: of the step.
        workspace: whose lake is read and written.
        task, stage: what is run.
    """
    keys = [table_key(partition, task=task, key=stage.key) for partition in context.partition_keys]
    results: list[StageResult] = []
    refused: dict[str, CvQualityError] = {}
    for key in keys:
        try:
            results.append(run_stage(workspace, task, stage, key))
            context.log.info(f"{results[-1].stage} {key}: {results[-1].numbers}")
        except CvQualityError as error:
            if stops_a_run(error):
                raise
            refused[str(key)] = error
    if refused:
        raise _failure(refused)
    metadata = _metadata(results)
    if stage.picture:
        png = b64encode(stage.picture(StageContext(Freshness(workspace, task), keys[-1]))).decode()
        metadata["picture"] = dg.MetadataValue.md(f"![](data:image/png;base64,{png})")
    assets = [dg.AssetKey([task.name, asset]) for asset in stage.assets]
    for asset in assets:
        yield dg.MaterializeResult(asset_key=asset, metadata=metadata)
    if verdicts := [result.verdict for result in results if result.verdict]:
        yield _check_result(verdicts, asset=assets[0], name=f"{stage.name}_gate")


def _failure(refused: Mapping[str, CvQualityError]) -> dg.Failure:
    """Fail the step with what every key lacks, and how to ask for more."""
    reasons = {key: visible_lines(f"{type(error).__name__}: {error}") for key, error in refused.items()}
    return dg.Failure(
        "\n".join(f"{key}: {reason}" for key, reason in reasons.items()),
        metadata={"reason": dg.MetadataValue.text("\n".join(reasons.values())), "more": _asking(reasons)},
    )


def _asking(keys: Iterable[str]) -> dg.MetadataValue:
    return dg.MetadataValue.text("; ".join(f"cvq why {key}" for key in dict.fromkeys(keys)))


def _check_result(verdicts: Sequence[Verdict], *, asset: dg.AssetKey, name: str) -> dg.AssetCheckResult:
    """Turn the gate's verdicts into one check: rules, counts and offending keys; never a row of data."""
    rows = [(verdict.key, item) for verdict in verdicts for item in verdict.expectations]
    broken = [(key, item) for key, item in rows if not item.passed]
    sentences = (visible(f"{key}: {item.headline} ({item.n_unexpected:,} rows)") for key, item in broken)
    return dg.AssetCheckResult(
        passed=all(verdict.passed for verdict in verdicts),
        asset_key=asset,
        check_name=name,
        description="; ".join(sentences) or f"all {len(rows)} expectations hold",
        metadata={
            "expectations": len(rows),
            "broken": sum(1 for _, item in broken if not item.is_warning),
            "warnings": sum(1 for _, item in broken if item.is_warning),
            "table": _table(broken or rows),
            **({"more": _asking(key for key, _ in broken)} if broken else {}),
        },
    )


def _table(rows: Sequence[tuple[str, ExpectationResult]]) -> dg.MetadataValue:
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
        for key, item in rows
    ]
    return dg.MetadataValue.table(records)


def _metadata(results: Sequence[StageResult]) -> dict[str, dg.MetadataValue | int | float | str]:
    """Numbers of one key as they are; of several, their sums and one row a key."""
    seconds = round(sum(result.seconds for result in results), 3)
    if len(results) == 1:
        return {**results[0].numbers, "seconds": seconds}
    names = list(dict.fromkeys(name for result in results for name in result.numbers))
    records = [
        dg.TableRecord({"key": result.key, **{name: result.numbers.get(name, "") for name in names}})
        for result in results
    ]
    return {"keys": len(results), "seconds": seconds, "by_key": dg.MetadataValue.table(records)}
