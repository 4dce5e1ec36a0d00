"""A monitor of a build in the lake: what it claims, which drops it has counted, and what follows from them.

What is claimed is declared once, before the first look, and cannot be changed after it; what was declared wrongly
begins again, and what was is kept. The state is made of the declaration, of the order in which drops arrived, and of
their counts alone: made again, it has the same bytes. How claims are bet on is in `cv_quality.studies.monitoring`, what
of each task is counted in `cv_quality.tasks.monitoring.watched`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import MonitorError, ObjectNotFound, near
from cv_quality.freshness import Freshness
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.studies.monitoring import WHOLE, Arrival, Monitored, MonitorPlan, watch, with_arrivals
from cv_quality.studies.records import decoded, moment, sha256_of, written
from cv_quality.tasks.monitoring.tables import MONITOR_ARRIVALS, MONITORING
from cv_quality.tasks.monitoring.watched import COUNTED, WATCHED, WatchedTask
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

FOLDER, ENDED = "monitors", "ended_monitors"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")


class EndedMonitor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A monitor in whose place another was put.

    Attributes:
        plan: what was claimed.
        reason: why that ended.
        ended_at: when, as ISO 8601.
        arrivals, rates: rows of the tables as they were, without the build.
    """

    plan: MonitorPlan
    reason: str
    ended_at: str
    arrivals: list[dict[str, object]]
    rates: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Restart:
    """Why a monitor begins again, and when."""

    reason: str
    now: datetime

    def __post_init__(self) -> None:
        """Ask for a reason.

        Raises:
            MonitorError: there is none.
        """
        if not self.reason.strip():
            raise MonitorError("say why the monitor begins again; it is kept with what was claimed before")


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


def declared_builds(lake: Lake, task: str | None = None) -> list[str]:
    """List the builds that are watched, sorted: all, or those of a task."""
    names = (item.key.removeprefix(f"{FOLDER}/") for item in lake.store.list(FOLDER))
    builds = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
    return [build for build in builds if task is None or _task_of(lake, build) == task]


def watched_task(workspace: Workspace, build: str) -> WatchedTask:
    """Find the task of a build that has drops.

    Raises:
        MonitorError: no drop of it has been taken in.
    """
    known: set[str] = set()
    for watched in WATCHED.values():
        builds = Freshness(workspace, watched.task).builds
        if build in builds:
            return watched
        known.update(builds)
    raise MonitorError(f"no drop of {build} has been taken in; {near(build, known)}")


def update_monitor(
    workspace: Workspace, build: str, plan: MonitorPlan | None = None, *, restart: Restart | None = None
) -> Monitored:
    """Count the drops that came since the last look, and write what is known after each look.

    Args:
        workspace: whose lake.
        build: that is watched.
        plan: what is claimed; None: as declared before.
        restart: why the monitor begins again with another plan; None: it goes on.

    Raises:
        MonitorError: nothing was declared, something else was, or there is nothing to look at.
    """
    lake = workspace.lake
    if plan is None:
        plan = agreed_plan(lake, build)
    watched = WATCHED[plan.task]
    if restart is None:
        plan = agreed_plan(lake, build, plan)
    else:
        _require_watchable(plan)
    freshness = Freshness(workspace, watched.task)
    drops = freshness.own_drops(build)
    if not drops:
        raise MonitorError(f"no drop of {build} has been taken in; {near(build, freshness.builds)}")
    ready = [drop for drop in drops if _is_measured(freshness, plan, drop)]
    if restart is not None:
        return begin_again(lake, plan, restart, drops=drops, ready=ready)
    return follow(lake, plan, drops=drops, ready=ready)


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
    if undone := [item.drop_id for item in known if item.drop_id in drops and item.drop_id not in ready]:
        raise MonitorError(
            f"{', '.join(undone)}: counted before, and not measured as it lies there now; `cvq run`, then look again"
        )
    found = _looked(lake, plan, known, drops=drops, ready=ready)
    if not lake.store.write_new(_key(build), written(plan)) and declared(lake, build) != plan:
        raise MonitorError(f"{build}: somebody else declared a monitor of it just now; look again")
    _write(lake, found)
    return found


def begin_again(
    lake: Lake, plan: MonitorPlan, restart: Restart, *, drops: Sequence[str], ready: Sequence[str]
) -> Monitored:
    """Put another plan in the place of one that was declared wrongly, and keep what was, with its state.

    Every drop is counted again. What is kept is named by its digest, which the new plan bears.

    Args:
        lake: read and written.
        plan: what is claimed from now on.
        restart: why, and when.
        drops, ready: as for `follow`.

    Raises:
        MonitorError: nothing was declared, or the same; there is nothing to look at, and the old plan stays.
    """
    build, before = plan.build, declared(lake, plan.build)
    if before is None:
        raise MonitorError(f"{build} is not watched yet: there is nothing to begin again; leave --restart out")
    if before == msgspec.structs.replace(plan, follows=before.follows):
        raise MonitorError(f"{build} is watched as these options say: there is nothing to begin again")
    columns = [name for name in MONITORING.names if name != "build_id"]
    key = TableKey(build=build)
    rates = lake.read(MONITORING, key, columns=columns).to_dicts() if lake.has(MONITORING, key) else []
    ended = EndedMonitor(
        plan=before,
        reason=restart.reason,
        ended_at=moment(restart.now, after=None, error=MonitorError, what="restart"),
        arrivals=[asdict(item) for item in _known(lake, build)],
        rates=rates,
    )
    plan = msgspec.structs.replace(plan, follows=sha256_of(written(ended)))
    found = _looked(lake, plan, [], drops=drops, ready=ready, ended=[ended])
    lake.store.write_new(_ended_key(build, str(plan.follows)), written(ended))
    lake.store.write_bytes(_key(build), written(plan))
    _write(lake, found)
    return found


def _looked(
    lake: Lake,
    plan: MonitorPlan,
    known: Sequence[Arrival],
    *,
    drops: Sequence[str],
    ready: Sequence[str],
    ended: Sequence[EndedMonitor] = (),
) -> Monitored:
    """Bet on all that is claimed, with the drops that were counted and those that are ready."""
    if not ready and not known:
        raise MonitorError(
            f"no drop of {plan.build} is measured by {plan.against or plan.build} yet: `cvq run`, then look"
        )
    arrivals = with_arrivals(known, {drop: _day(lake, drop) for drop in ready})
    rates = watch(_counts(lake, plan, [item for item in arrivals if item.drop_id in ready]), plan)
    first = ended or read_ended(lake, plan)
    return Monitored(
        plan,
        tuple(arrivals),
        tuple(rates),
        tuple(drop for drop in drops if drop not in ready),
        units=WATCHED[plan.task].units,
        restarts=tuple(_restart_words(item) for item in [*first, *(read_ended(lake, first[0].plan) if ended else ())]),
    )


def _write(lake: Lake, found: Monitored) -> None:
    build = found.plan.build
    write_rows(lake, MONITOR_ARRIVALS, build, [asdict(item) for item in found.arrivals])
    write_rows(lake, MONITORING, build, [{**asdict(rate), "day": found.days[rate.look]} for rate in found.rates])


def read_ended(lake: Lake, plan: MonitorPlan) -> list[EndedMonitor]:
    """Read the monitors of a build in whose place a plan was put, the latest first.

    Raises:
        MonitorError: one was changed, or is gone.
    """
    found, digest = list[EndedMonitor](), plan.follows
    while digest is not None:
        key = _ended_key(plan.build, digest)
        try:
            data = lake.store.read_bytes(key)
        except ObjectNotFound:
            raise MonitorError(f"{key}: gone, and the monitor of {plan.build} follows it; restore it") from None
        if sha256_of(data) != digest:
            raise MonitorError(f"{key}: not as it was written; restore it from a backup")
        found.append(decoded(data, EndedMonitor, key=key, error=MonitorError))
        digest = found[-1].plan.follows
    return found


def _restart_words(ended: EndedMonitor) -> str:
    looks = max((int(str(item["look"])) for item in ended.arrivals), default=0)
    kept = _ended_key(ended.plan.build, sha256_of(written(ended)))
    return (
        f"begun again at {ended.ended_at} after {looks:,} look{'' if looks == 1 else 's'} ({ended.reason}); what was "
        f"claimed before, and what came of it, is kept as {kept}. All drops are counted again: a claim that was chosen "
        "after its data were seen raises false alarms more often than alpha says"
    )


def pending_identity(workspace: Workspace, build: str) -> str:
    """Identify the drops that a declared monitor has not counted and could; empty when there are none.

    Raises:
        MonitorError: nothing was declared.
    """
    plan = agreed_plan(workspace.lake, build)
    freshness = Freshness(workspace, WATCHED[plan.task].task)
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
        MonitorError: nothing was declared, something else was, or a rate cannot be watched.
    """
    before = declared(lake, build)
    if plan is None:
        if before is None:
            raise MonitorError(
                f"{build} is not watched yet; say what is claimed of it: --target RATE, or --against BUILD"
            )
        return before
    _require_watchable(plan)
    if before is None:
        return plan
    plan = msgspec.structs.replace(plan, follows=before.follows)
    if before != plan:
        one, other = msgspec.to_builtins(before), msgspec.to_builtins(plan)
        changed = "; ".join(f"{name}: {one[name]} to {other[name]}" for name in one if one[name] != other[name])
        raise MonitorError(
            f"{build} is watched as it was declared before its first look, and a claim that is changed after it is no "
            f"claim: {changed}; give no options to go on as declared, or --restart REASON if it was declared wrongly"
        )
    return plan


def _require_watchable(plan: MonitorPlan) -> None:
    """Refuse metrics that cannot be watched.

    Raises:
        MonitorError: says why.
    """
    if refusal := WATCHED[plan.task].refusal(plan.metrics, is_change=plan.against is not None):
        raise MonitorError(refusal)


def _task_of(lake: Lake, build: str) -> str | None:
    plan = declared(lake, build)
    return plan.task if plan else None


def _ended_key(build: str, digest: str) -> str:
    return f"{ENDED}/{build}/{digest}.json"


def _key(build: str) -> str:
    return f"{FOLDER}/{build}.json"


def _is_measured(freshness: Freshness, plan: MonitorPlan, drop: str) -> bool:
    models, stage = [plan.build, *([plan.against] if plan.against else [])], WATCHED[plan.task].stage
    return all(freshness.state(stage, TableKey(build=model, drop=drop)) == "passed" for model in models)


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

    own = pl.concat(_of_looks(lake, plan, plan.build, arrivals))
    if plan.against is None:
        return own.with_columns(pl.lit(None, pl.Int64).alias(name) for name in ("baseline_errors", "baseline_trials"))
    names = {"errors": "baseline_errors", "trials": "baseline_trials"}
    other = pl.concat(_of_looks(lake, plan, plan.against, arrivals)).rename(names)
    return own.join(other, on=["look", *COUNTED[:4]], how="left")


def _of_looks(lake: Lake, plan: MonitorPlan, model: str, arrivals: Sequence[Arrival]) -> "Iterator[pl.DataFrame]":
    import polars as pl

    group = ["look", *COUNTED[:4]]
    for look, items in groupby(arrivals, key=lambda item: item.look):
        drops = [item.drop_id for item in items]
        rows = WATCHED[plan.task].counts(lake, model, drops, plan.metrics, [WHOLE, *plan.slices])
        counted = rows.with_columns(look=pl.lit(look, pl.Int64)).group_by(group)
        yield counted.agg(pl.col("errors", "trials").sum()).sort(group)
