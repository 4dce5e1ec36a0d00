"""What starts runs by itself: completed drops, validated drops that lack scores, builds that lack a report.

Each sensor compares the landing area or the lake with what runs exist, so it keeps no list of what it ever saw and a
restart changes nothing. A run key is the identity of the work and the number of the attempt: Dagster never repeats a
key, so the same work is requested once, and again only after a failure, up to a limit.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from cv_quality.drops.manifest import completed_drops
from cv_quality.errors import CvQualityError
from cv_quality.gates.verdicts import is_current, read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.jobs import EVALUATE_BUILD_ON_DROP, INGEST_DROP, REPORT_BUILD
from cv_quality.pipeline.partitions import BUILDS, DROPS, grid_key
from cv_quality.stages import Workspace, drop_builds, own_drops, scoring_builds

IDENTITY_TAG = "cvq/identity"
MAX_ATTEMPTS = 3
INTERVAL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Work:
    """Something that a run should do: what it is, and the partition that does it."""

    identity: str
    partition: str


@dg.sensor(
    job=INGEST_DROP,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests one run for every completed drop; a corrected manifest is a new identity.",
)
def completed_drop_sensor(
    context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.SensorResult:
    drops = completed_drops(workspace.landing)
    requests = list(_requests(context, [Work(drop.identity, drop.drop_id) for drop in drops]))
    partitions = [str(request.partition_key) for request in requests]
    return dg.SensorResult(
        run_requests=requests, dynamic_partitions_requests=[DROPS.build_add_request(partitions)] if partitions else []
    )


@dg.sensor(
    job=EVALUATE_BUILD_ON_DROP,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Scores every validated drop with its own build's model and with the baseline's.",
)
def validated_drop_sensor(
    context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.SensorResult:
    work, builds = [], set[str]()
    for drop, own in drop_builds(workspace).items():
        validated = read_verdict(workspace.lake, "validate", TableKey(drop=drop))
        if validated is None or not validated.passed:
            continue
        for build in _scoring_builds(context, workspace, own):
            if not is_current(workspace.lake, build=build, drop=drop):
                builds.add(build)
                work.append(Work(f"{build}|{drop}@{_digest(validated.judged)}", grid_key(build, drop)))
    requests = list(_requests(context, work))
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[BUILDS.build_add_request(sorted(builds))] if requests else [],
    )


@dg.sensor(
    job=REPORT_BUILD,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports a build once all its drops are scored, and again when they changed.",
)
def measured_build_sensor(
    context: dg.SensorEvaluationContext, workspace: dg.ResourceParam[Workspace]
) -> dg.SensorResult:
    work = []
    for build in sorted(set(drop_builds(workspace).values())):
        models = _scoring_builds(context, workspace, build)
        cells = [(model, drop) for drop in own_drops(workspace, build) for model in models]
        if cells and all(is_current(workspace.lake, build=model, drop=drop) for model, drop in cells):
            work.append(Work(f"{build}@{_measured_digest(workspace, cells)}", build))
    return dg.SensorResult(run_requests=list(_requests(context, work)))


SENSORS = (completed_drop_sensor, validated_drop_sensor, measured_build_sensor)


def _requests(context: dg.SensorEvaluationContext, work: Sequence[Work]) -> Iterator[dg.RunRequest]:
    """A request for every piece of work that is neither done nor under way nor given up."""
    for item in work:
        attempt = _next_attempt(context, item.identity)
        if attempt is not None:
            yield dg.RunRequest(
                run_key=f"{item.identity}:attempt{attempt}",
                partition_key=item.partition,
                tags={IDENTITY_TAG: _tag(item.identity)},
            )


def _next_attempt(context: dg.SensorEvaluationContext, identity: str) -> int | None:
    """The number of the next attempt, or None when no run should start now."""
    records = context.instance.get_run_records(dg.RunsFilter(tags={IDENTITY_TAG: _tag(identity)}))
    statuses = [record.dagster_run.status for record in records]
    if any(status == dg.DagsterRunStatus.SUCCESS or status not in FINISHED for status in statuses):
        return None
    if len(statuses) >= MAX_ATTEMPTS:
        context.log.warning(f"{identity}: given up after {len(statuses)} failed runs; launch it by hand once mended")
        return None
    return len(statuses) + 1


FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def _tag(identity: str) -> str:
    """Tag values are short; the identity itself is in the run key."""
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _scoring_builds(context: dg.SensorEvaluationContext, workspace: Workspace, build: str) -> list[str]:
    """Like `scoring_builds`; a build that the registry does not know is logged, not fatal to the others."""
    try:
        return scoring_builds(workspace, build)
    except CvQualityError as error:
        context.log.warning(str(error))
        return []


def _measured_digest(workspace: Workspace, cells: Sequence[tuple[str, str]]) -> str:
    verdicts = [read_verdict(workspace.lake, "measure", TableKey(build=build, drop=drop)) for build, drop in cells]
    return _digest([verdict.judged if verdict else {} for verdict in verdicts])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
