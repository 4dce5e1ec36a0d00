"""A monitor of a build in the lake: what it claims, which drops it has counted, and what follows from them.

What is claimed is declared once, before the first look, and cannot be changed after it. The state is made of the
declaration, of the order in which drops arrived, and of their counts alone: made again, it has the same bytes. How
claims are bet on is in `cv_quality.studies.monitoring`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import MonitorError, ObjectNotFound, near
from cv_quality.freshness import Freshness
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.studies.monitoring import WHOLE, Arrival, Monitored, MonitorPlan, watch, with_arrivals
from cv_quality.studies.records import decoded, sha256_of, written
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.build_metrics import BETWEEN_SUBJECTS
from cv_quality.tasks.verification.stages import MEASURE
from cv_quality.tasks.verification.tables import METRIC_COUNTS, METRICS, MONITOR_ARRIVALS, MONITORING
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

WATCHABLE = tuple(metric for metric in METRICS if metric not in BETWEEN_SUBJECTS)
FOLDER = "monitors"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")


def declared(lake: Lake, build: str) -> MonitorPlan | None:
    """Read what is claimed of a build; None where nothing is yet.

    Raises:
        MonitorError: the declaration was changed.
    """
    key = _key(build)
    try:
        return decoded(lake.store.read_bytes(key), MonitorPlan, key=key, error=MonitorError)
    except ObjectNotFound:
        return None


def declared_builds(lake: Lake) -> list[str]:
    """List the builds that are watched, sorted."""
    names = (item.key.removeprefix(f"{FOLDER}/") for item in lake.store.list(FOLDER))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def update_monitor(workspace: Workspace, build: str, plan: MonitorPlan | None = None) -> Monitored:
    """Count the drops that came since the last look, and write what is known after each look.

    Args:
        workspace: whose lake.
        build: that is watched.
        plan: what is claimed; None: as declared before.

    Raises:
        MonitorError: nothing was declared, something else was, or there is nothing to look at.
    """
    plan = agreed_plan(workspace.lake, build, plan)
    freshness = Freshness(workspace, VERIFICATION)
    drops = freshness.own_drops(build)
    if not drops:
        raise MonitorError(f"no drop of {build} has been taken in; {near(build, freshness.builds)}")
    return follow(
        workspace.lake, plan, drops=drops, ready=[drop for drop in drops if _is_measured(freshness, plan, drop)]
    )


def follow(lake: Lake, plan: MonitorPlan, *, drops: Sequence[str], ready: Sequence[str]) -> Monitored:
    """Append the drops that are ready to those that were counted, bet on all that is claimed, and write the state.

    Args:
        lake: read and written.
        plan: what is claimed.
        drops: of the build.
        ready: those that are measured, by the build and by its baseline.

    Raises:
        MonitorError: no drop is ready, or one that was counted is no longer.
    """
    build, known = plan.build, _known(lake, plan.build)
    if not ready and not known:
        raise MonitorError(f"no drop of {build} is measured by {plan.against or build} yet: `cvq run`, then look")
    if undone := [item.drop_id for item in known if item.drop_id in drops and item.drop_id not in ready]:
        raise MonitorError(
            f"{', '.join(undone)}: counted before, and not measured as it lies there now; `cvq run`, then look again"
        )
    arrivals = with_arrivals(known, {drop: _day(lake, drop) for drop in ready})
    rates = watch(_counts(lake, plan, [item for item in arrivals if item.drop_id in ready]), plan)
    if not lake.store.write_new(_key(build), written(plan)) and declared(lake, build) != plan:
        raise MonitorError(f"{build}: somebody else declared a monitor of it just now; look again")
    found = Monitored(plan, tuple(arrivals), tuple(rates), tuple(drop for drop in drops if drop not in ready))
    write_rows(lake, MONITOR_ARRIVALS, build, [asdict(item) for item in arrivals])
    write_rows(lake, MONITORING, build, [{**asdict(rate), "day": found.days[rate.look]} for rate in rates])
    return found


def pending_identity(workspace: Workspace, build: str) -> str:
    """Identify the drops that a declared monitor has not counted and could; empty when there are none.

    Raises:
        MonitorError: nothing was declared.
    """
    plan = agreed_plan(workspace.lake, build)
    freshness = Freshness(workspace, VERIFICATION)
    counted = {item.drop_id for item in _known(workspace.lake, build)}
    ready = {drop for drop in freshness.own_drops(build) if _is_measured(freshness, plan, drop)}
    if not ready - counted or not counted.intersection(freshness.own_drops(build)) <= ready:
        return ""
    return f"{build}@{sha256_of(chr(10).join(sorted(ready)).encode())[:16]}"


def agreed_plan(lake: Lake, build: str, plan: MonitorPlan | None = None) -> MonitorPlan:
    """Give what is claimed of a build, which the first look declares and no later one changes.

    Args:
        lake: in which it is declared.
        build: that is watched.
        plan: what is claimed now; None: as declared before.

    Raises:
        MonitorError: nothing was declared, something else was, or a rate is no subject's own.
    """
    before = declared(lake, build)
    if plan is None:
        if before is None:
            raise MonitorError(
                f"{build} is not watched yet; say what is claimed of it: --target RATE, or --against BUILD"
            )
        return before
    if unknown := [metric for metric in plan.metrics if metric not in WATCHABLE]:
        between = ", ".join(metric for metric in unknown if metric in BETWEEN_SUBJECTS)
        why = (
            f"{between}: a rate between two people is no one subject's own" if between else near(unknown[0], WATCHABLE)
        )
        raise MonitorError(f"{', '.join(unknown)} cannot be watched; {why}; one of {', '.join(WATCHABLE)}")
    if before is not None and before != plan:
        one, other = msgspec.to_builtins(before), msgspec.to_builtins(plan)
        changed = "; ".join(f"{name}: {one[name]} to {other[name]}" for name in one if one[name] != other[name])
        raise MonitorError(
            f"{build} is watched as it was declared before its first look, and a claim that is changed after it is no "
            f"claim: {changed}; give no options to go on as declared"
        )
    return plan


def _key(build: str) -> str:
    return f"{FOLDER}/{build}.json"


def _is_measured(freshness: Freshness, plan: MonitorPlan, drop: str) -> bool:
    models = [plan.build, *([plan.against] if plan.against else [])]
    return all(freshness.state(MEASURE, TableKey(build=model, drop=drop)) == "passed" for model in models)


def _known(lake: Lake, build: str) -> list[Arrival]:
    key = TableKey(build=build)
    if not lake.has(MONITOR_ARRIVALS, key):
        return []
    rows = lake.read(MONITOR_ARRIVALS, key, columns=[name for name in MONITOR_ARRIVALS.names if name != "build_id"])
    return [Arrival(**row) for row in rows.iter_rows(named=True)]


def _day(lake: Lake, drop: str) -> str:
    """The date that a drop bears in its name, or else that of the end of its recording window."""
    named = _DATE.match(drop)
    if named:
        return named[0]
    found: Any = lake.first(DROP_FILES, TableKey(drop=drop), columns=["captured_until"])
    return str(found["captured_until"].date())


def _counts(lake: Lake, plan: MonitorPlan, arrivals: Sequence[Arrival]) -> "pl.DataFrame":
    """Errors and trials of each subject at each look, and those of the baseline beside them."""
    import polars as pl

    own = pl.concat(_of_looks(lake, plan, plan.build, arrivals)).rename(
        {"numerator": "errors", "denominator": "trials"}
    )
    if plan.against is None:
        return own.with_columns(pl.lit(None, pl.Int64).alias(name) for name in ("baseline_errors", "baseline_trials"))
    names = {"numerator": "baseline_errors", "denominator": "baseline_trials"}
    other = pl.concat(_of_looks(lake, plan, plan.against, arrivals)).rename(names)
    return own.join(other, on=["look", "metric", "dimension", "level", "subject_id"], how="left")


def _of_looks(lake: Lake, plan: MonitorPlan, model: str, arrivals: Sequence[Arrival]) -> "Iterator[pl.DataFrame]":
    import polars as pl

    group = ["look", "metric", "dimension", "level", "subject_id"]
    for look, items in groupby(arrivals, key=lambda item: item.look):
        rows = lake.scan(METRIC_COUNTS, [TableKey(build=model, drop=item.drop_id) for item in items])
        rows = rows.filter(pl.col("metric").is_in(plan.metrics), pl.col("dimension").is_in([WHOLE, *plan.slices]))
        counted = rows.with_columns(look=pl.lit(look, pl.Int64)).group_by(group)
        yield counted.agg(pl.col("numerator", "denominator").sum()).sort(group).collect()
