"""How a deployment stands, counted for a monitoring system: keys by stage and state, ages, rejected rows, alarms.

Counts, times, and names of tasks, stages and watched builds alone. What a single attempt tells is in
`cv_quality.telemetry`; why something stands as it does is asked of `cv_quality.refusals`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cv_quality.drops.tables import QUARANTINE_PARSE, QUARANTINE_VALIDATE
from cv_quality.freshness import Node, uncollected
from cv_quality.gates.verdicts import object_key, read_failure, read_verdict
from cv_quality.lake.kept import Kept
from cv_quality.lake.lake import TableKey
from cv_quality.lake.store import ObjectInfo
from cv_quality.refusals import Overview
from cv_quality.stage import Stage, Task
from cv_quality.tasks import TASKS
from cv_quality.tasks.monitoring.state import declared_builds
from cv_quality.tasks.monitoring.tables import MONITORING
from cv_quality.workspace import Workspace

QUARANTINES = frozenset({QUARANTINE_PARSE.name, QUARANTINE_VALIDATE.name})
STATES = ("due", "failed", "refused", "waiting", "passed")
"""Due is what the next run does; failed is due, and its last attempt at the same input ended in an error."""
_NS = 1e-9


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge.

    Attributes:
        name, about: of it.
        samples: values by label.
    """

    name: str
    about: str
    samples: tuple[tuple[Mapping[str, str], float], ...]


@dataclass(slots=True)
class StageHealth:
    """How a stage stands over all keys; times in nanoseconds since 1970.

    Attributes:
        keys: how many, by state.
        due_since: since when the key is due that has been for longest.
        last_success: when its gate passed a key last.
        n_quarantined: rows that it has set aside.
    """

    keys: Counter[str] = field(default_factory=Counter)
    due_since: int | None = None
    last_success: int | None = None
    n_quarantined: int | None = None


def deployment_health(workspace: Workspace, tasks: Sequence[Task] = TASKS) -> list[Metric]:
    """Count how a deployment stands, from one look at the landing area and the lake.

    Args:
        workspace, tasks: what is looked at.
    """
    started = time.time()
    overviews = [Overview(workspace, task) for task in tasks]
    quarantined = Kept(workspace.settings.cache / "quarantined", int)
    stages = {
        (overview.task.name, name): health
        for overview in overviews
        for name, health in _stages(overview, quarantined).items()
    }
    metrics = [
        _of_states(stages),
        _of_stages("cvq_due_since_timestamp_seconds", _DUE_SINCE, stages, lambda of: of.due_since, _NS),
        _of_stages("cvq_last_success_timestamp_seconds", _SUCCESS, stages, lambda of: of.last_success, _NS),
        _of_stages("cvq_quarantined_rows", "Rejected rows that are kept.", stages, lambda of: of.n_quarantined),
        _of_tasks("cvq_drops", "Completed drops that were seen.", overviews, lambda of: len(of.drops)),
        _of_tasks("cvq_last_drop_timestamp_seconds", "When the last drop was completed.", overviews, _last_drop),
        _of_tasks("cvq_unknown_builds", "Builds with drops, but no usable registry entry.", overviews, _n_unknown),
        _alarms(workspace),
    ]
    looked = Metric("cvq_look_timestamp_seconds", "When all this was counted.", (({}, started),))
    took = Metric("cvq_look_seconds", "How long counting took.", (({}, time.time() - started),))
    return [*metrics, looked, took]


_DUE_SINCE = "When the newest of what it reads was written, of the key that is due for longest."
_SUCCESS = "When a key passed last."


def exposition(metrics: Sequence[Metric]) -> str:
    """Write metrics in Prometheus's text format; one without a sample is left out."""
    return "".join(f"{line}\n" for metric in metrics if metric.samples for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.about}"
    yield f"# TYPE {metric.name} gauge"
    for labels, value in metric.samples:
        named = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{metric.name}{f'{{{named}}}' if named else ''} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@uncollected()
def _stages(overview: Overview, quarantined: Kept[int]) -> dict[str, StageHealth]:
    found = {stage.name: StageHealth() for stage in overview.task.stages}
    for stage, key in _nodes(overview):
        health, state = found[stage.name], _state(overview, stage, key)
        health.keys[state] += 1
        info = _result(overview, stage, key)
        if state in ("due", "failed"):
            health.due_since = min(filter(None, (health.due_since, _due_since(overview, stage, key))), default=None)
        elif state == "passed" and info:
            health.last_success = max(health.last_success or 0, info.modified_ns)
        if QUARANTINES.intersection(table.name for table in stage.writes):
            health.n_quarantined = (health.n_quarantined or 0) + _n_rejected(overview, stage, key, info, quarantined)
    quarantined.save(overview.freshness.survey)
    return found


def _nodes(overview: Overview) -> Iterator[Node]:
    """Every stage with every key that it is to be done for, maps too."""
    yield from overview.nodes()
    for build in sorted({*overview.freshness.builds}.difference(overview.unscorable)):
        yield from ((stage, TableKey(build=build)) for stage in overview.task.of_phase("maps"))


def _state(overview: Overview, stage: Stage, key: TableKey) -> str:
    state, freshness = overview.state(stage, key), overview.freshness
    if state != "due":
        return state
    if str(key.build) in overview.unscorable:
        return "waiting"
    if freshness.survey.info(f"failures/{stage.name}/{key}.json"):
        failure = read_failure(overview.workspace.lake, stage.name, key)
        return "failed" if failure and failure.identity == freshness.identity(stage, key) else "due"
    return "due"


def _result(overview: Overview, stage: Stage, key: TableKey) -> ObjectInfo | None:
    """Find what a stage has recorded of a key: its gate's verdict, or what its page was made of."""
    name = object_key(stage.name, key) if stage.writes else f"made/{stage.name}/{key}"
    return overview.freshness.survey.info(name)


def _due_since(overview: Overview, stage: Stage, key: TableKey) -> int | None:
    """Tell since when a stage could have been done: since the newest of what it reads was written."""
    if stage.source:
        manifest = overview.freshness.landing.info(f"{key.drop}/manifest.json")
        return manifest.modified_ns if manifest else None
    found = (_result(overview, *node) for node in overview.freshness.inputs(stage, key))
    return max((info.modified_ns for info in found if info), default=None)


def _n_rejected(
    overview: Overview, stage: Stage, key: TableKey, info: ObjectInfo | None, quarantined: Kept[int]
) -> int:
    def read() -> int:
        verdict = read_verdict(overview.workspace.lake, stage.name, key)
        rules = verdict.expectations if verdict else ()
        return max((rule.n_rows for rule in rules if rule.table in QUARANTINES), default=0)

    return quarantined.value(info, read) if info else 0


def _of_states(stages: Mapping[tuple[str, str], StageHealth]) -> Metric:
    samples = tuple(
        ({"task": task, "stage": stage, "state": state}, float(health.keys[state]))
        for (task, stage), health in stages.items()
        for state in STATES
    )
    return Metric("cvq_keys", "Drops, builds, or builds on drops, by how a stage stands for them.", samples)


def _of_stages(
    name: str,
    about: str,
    stages: Mapping[tuple[str, str], StageHealth],
    value: Callable[[StageHealth], int | None],
    unit: float = 1.0,
) -> Metric:
    values = {labels: value(health) for labels, health in stages.items()}
    samples = tuple(
        ({"task": task, "stage": stage}, found * unit) for (task, stage), found in values.items() if found is not None
    )
    return Metric(name, about, samples)


def _of_tasks(
    name: str, about: str, overviews: Sequence[Overview], value: Callable[[Overview], float | None]
) -> Metric:
    values = [({"task": overview.task.name}, value(overview)) for overview in overviews]
    return Metric(name, about, tuple((labels, float(found)) for labels, found in values if found is not None))


def _last_drop(overview: Overview) -> float | None:
    landing = overview.freshness.landing
    found = (landing.info(f"{drop}/manifest.json") for drop in overview.drops)
    return max((info.modified_ns * _NS for info in found if info), default=None)


def _n_unknown(overview: Overview) -> float:
    return len(overview.unscorable)


def _alarms(workspace: Workspace) -> Metric:
    """Count the claims about each watched build in which an alarm was raised, as of its last look."""
    lake, samples = workspace.lake, []
    for build in declared_builds(lake):
        key = TableKey(build=build)
        if lake.has(MONITORING, key):
            rows = lake.read(MONITORING, key, columns=["look", "is_alarm"])
            n_alarms = int(rows.filter(rows["look"] == rows["look"].max())["is_alarm"].sum())
            samples.append(({"build": build}, float(n_alarms)))
    return Metric("cvq_monitor_alarms", "Claims about a watched build with an alarm.", tuple(samples))
