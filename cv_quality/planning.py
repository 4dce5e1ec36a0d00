"""What is left to do: drops to take in, cells of the grid to score, builds to report.

Read from the landing area and from recorded verdicts alone, so the answer survives any restart. Sensors turn the work
into runs, `cvq run` does it at once.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cv_quality.drops.manifest import CompletedDrop, awaited_files, files_digest, named_drops
from cv_quality.errors import RegistryError
from cv_quality.freshness import Freshness, State, uncollected
from cv_quality.lake.lake import TableKey
from cv_quality.stage import JOBS, Stage, Task
from cv_quality.tasks import TASKS, is_published, warehouse_identity
from cv_quality.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do: the partition to do it for, and what makes it different from having done it before."""

    key: TableKey
    identity: str


GivenUp = Callable[[Sequence[Work]], Collection[Work]]
"""Which of work that is due will not be done, so that nothing waits for it."""


def none(_work: Sequence[Work]) -> Collection[Work]:
    """Give nothing up."""
    return ()


def all_of(work: Sequence[Work]) -> Collection[Work]:
    """Give up whatever is still due: it was tried just now."""
    return work


def due(workspace: Workspace, task: Task, job: str, *, given_up: GivenUp = none) -> list[Work]:
    """Plan what a job of a task has to do, from a look at the landing area and the lake; see `due_now`.

    Args:
        workspace: whose landing area and lake are looked at.
        task, job: the job, and whose it is.
        given_up: of the jobs before.
    """
    return due_now(Freshness(workspace, task), job, given_up=given_up)


@uncollected()
def due_now(freshness: Freshness, job: str, *, given_up: GivenUp = none) -> list[Work]:
    """Plan what a job of a task has to do, where all that it reads of other jobs has passed and is to stay.

    A key that a gate refused is not due: it waits for a corrected drop.

    Args:
        freshness: a look at the landing area and the lake that others may share.
        job: whose work.
        given_up: of the jobs before.
    """
    stages = freshness.task.planned_with(job)
    planned = _planned(freshness, stages)
    freshness.workspace.records.save(freshness.survey)
    if not planned or stages[0].key != "build":
        return planned
    unsettled = _unsettled(freshness, job, given_up)
    return [
        work for work in planned if unsettled.isdisjoint([str(work.key.build), *_followed(freshness, stages, work.key)])
    ]


def _planned(freshness: Freshness, stages: Sequence[Stage]) -> list[Work]:
    """What stages of one key have to do, whatever else is due."""
    if not stages:
        return []
    if stages[0].key == "drop":
        return _drops_due(freshness, stages)
    return _cells_due(freshness, stages) if stages[0].key == "build_drop" else _builds_due(freshness, stages)


def deliveries_due(workspace: Workspace, task: Task, job: str, drops: Collection[str]) -> list[Work]:
    """Plan the taking in of some drops as `due` would, from a look at them alone: neither store is listed as a whole.

    Args:
        workspace: whose landing area and lake are looked at.
        task, job: the job that takes them in, and whose it is.
        drops: that have perhaps arrived.
    """
    freshness, stages = Freshness(workspace, task), task.planned_with(job)
    deliveries = [drop for drop in named_drops(workspace.landing, drops) if _is_taken_in(freshness, drop)]
    return _deliveries_due(freshness, stages, deliveries) if stages else []


def _drops_due(freshness: Freshness, stages: Sequence[Stage]) -> list[Work]:
    """What has arrived, and what is in the lake no more though it was: without its delivery that is refused."""
    deliveries = arrived(freshness)
    gone = sorted({*freshness.drops} - {drop.drop_id for drop in deliveries})
    keys = [TableKey(drop=drop) for drop in gone]
    return _deliveries_due(freshness, stages, deliveries) + [
        Work(key, f"{key}@without its delivery") for key in keys if freshness.is_due(stages, key)
    ]


def _deliveries_due(freshness: Freshness, stages: Sequence[Stage], deliveries: Sequence[CompletedDrop]) -> list[Work]:
    found = []
    for drop in deliveries:
        if delivery_state(freshness, stages, drop) == "due":
            parsed = freshness.record(stages[0], TableKey(drop=drop.drop_id))
            again = parsed is not None and parsed.delivery == drop.identity
            files = f"+{files_digest(freshness.landing, drop.drop_id)}" if again else ""
            found.append(Work(TableKey(drop=drop.drop_id), f"{drop.identity}{files}"))
    return found


def _cells_due(freshness: Freshness, stages: Sequence[Stage]) -> list[Work]:
    """What a model reads of a drop in the landing area makes other work of it: it fails until that is mended."""
    cells = [
        TableKey(build=model, drop=drop)
        for drop, own in sorted(freshness.drops.items())
        for model in _models(freshness, own)
    ]
    return [
        Work(key, f"{freshness.work_identity(stages, key)}+{files_digest(freshness.landing, str(key.drop))}")
        for key in cells
        if freshness.is_due(stages, key)
    ]


def _builds_due(freshness: Freshness, stages: Sequence[Stage]) -> list[Work]:
    keys = [TableKey(build=build) for build in sorted(freshness.builds) if _models(freshness, build)]
    return [Work(key, freshness.work_identity(stages, key)) for key in keys if freshness.is_due(stages, key)]


def _unsettled(freshness: Freshness, job: str, given_up: GivenUp) -> set[str]:
    """Find the builds for which, or for a drop of which, a job before this one has something to do.

    Drops that are given up are not waited for; a page is, since nothing is drawn for one that is not there.
    """
    said = {drop.drop_id: drop.build for drop in arrived(freshness)}
    stages = [freshness.task.planned_with(earlier) for earlier in JOBS[: JOBS.index(job)]]
    before = [work for earlier in stages for work in _planned(freshness, earlier)]
    of_drops = [work for work in before if work.key.drop]
    builds = {str(work.key.build) for work in before if not work.key.drop}
    drops = {str(work.key.drop) for work in {*of_drops}.difference(given_up(of_drops) if of_drops else ())}
    return builds | {str(build) for drop in drops for build in (freshness.drops.get(drop), said.get(drop)) if build}


def _followed(freshness: Freshness, stages: Sequence[Stage], key: TableKey) -> list[str]:
    """List the builds before one whose drops its stages read too."""
    if not any(stage.reads_predecessors for stage in stages):
        return []
    return freshness.predecessors(str(key.build))


def warehouse_due(looks: Sequence[Freshness], *, given_up: GivenUp = none) -> Work | None:
    """Plan to build the warehouse alone: it is gone or not the one that was built, and no work is due that brings it.

    The work is keyed by a build of the first task, whose job can do it.

    Args:
        looks: one at each task.
        given_up: which work that is due will not be done.
    """
    first, tasks = looks[0], [look.task for look in looks]
    if is_published(first.workspace, tasks, survey=first.survey):
        return None
    work = [item for look in looks for job in JOBS for item in due_now(look, job, given_up=given_up)]
    if not {*work} <= {*given_up(work)}:
        return None
    builds, identity = sorted(first.builds), warehouse_identity(first.workspace, tasks, survey=first.survey)
    return Work(TableKey(build=builds[0]), f"warehouse@{identity}") if builds else None


@dataclass(frozen=True, slots=True)
class DropState:
    """Where a completed drop stands.

    Attributes:
        build: the build that it was recorded with; None until it is parsed.
        validated: how far taking it in has come.
        scored: how far scoring it has come, by the build whose model scores it.
        report: the page of its build, where there is one.
    """

    drop: str
    build: str | None
    validated: State
    scored: dict[str, State]
    report: Path | None


def drop_states(freshness: Freshness) -> Iterator[DropState]:
    """Tell where each drop of a task stands: those that have arrived, and those in the lake whose delivery is gone.

    Args:
        freshness: a look at the lake that others may share.
    """
    workspace, task = freshness.workspace, freshness.task
    models_of = dict(_scorable(freshness))
    taken, scored = task.of_phase("ingest"), task.of_phase("score")
    deliveries = {drop.drop_id: drop for drop in arrived(freshness)}
    for drop in sorted({*deliveries, *freshness.drops}):
        key, build = TableKey(drop=drop), freshness.drops.get(drop)
        models = models_of.get(build or "", [])
        report = workspace.report_path(build) if build else None
        yield DropState(
            drop,
            build,
            delivery_state(freshness, taken, deliveries[drop])
            if drop in deliveries
            else freshness.furthest(taken, key),
            {model: freshness.furthest(scored, TableKey(build=model, drop=drop)) for model in models},
            report if report and report.is_file() else None,
        )
    workspace.records.save(freshness.survey)


def _scorable(freshness: Freshness) -> Iterator[tuple[str, list[str]]]:
    """The builds whose entry, and that of the build that they follow, the registry can read, with who scores them."""
    for build in freshness.builds:
        with suppress(RegistryError):
            yield build, freshness.models(build)


def delivery_state(freshness: Freshness, stages: Sequence[Stage], drop: CompletedDrop) -> State:
    """Tell where the delivery of a drop stands; one whose files have not all arrived is waited for.

    A refused delivery is to be done again once one of its files has been delivered again.

    Args:
        stages: that take it in.
        drop: the delivery.
    """
    key, landing = TableKey(drop=drop.drop_id), freshness.workspace.landing
    parsed, state = freshness.record(stages[0], key), freshness.furthest(stages, key)
    is_new = parsed is None or parsed.delivery != drop.identity
    if parsed and not is_new and state == "refused" and parsed.files:
        is_new = parsed.files != files_digest(freshness.landing, drop.drop_id)
    if state != "due" and not is_new:
        return state
    is_parsed = not is_new and freshness.state(stages[0], key) == "passed"
    return (
        "waiting"
        if not is_parsed
        and awaited_files(landing, drop.drop_id, survey=freshness.landing, kept=freshness.workspace.promises)
        else "due"
    )


def arrived(freshness: Freshness) -> list[CompletedDrop]:
    """List the completed drops of a task's modalities; those of no known modality are the first task's to refuse."""
    return [drop for drop in freshness.deliveries.values() if _is_taken_in(freshness, drop)]


def _is_taken_in(freshness: Freshness, drop: CompletedDrop) -> bool:
    task = freshness.task
    is_own = drop.modality in {modality.name for modality in task.modalities}
    return is_own or (task.name == TASKS[0].name and drop.modality not in freshness.workspace.modalities)


def _models(freshness: Freshness, build: str) -> list[str]:
    """Who scores the drops of a build; one that the registry does not know is logged, not fatal to the others."""
    try:
        return freshness.models(build)
    except RegistryError as error:
        logger.warning("%s: its drops cannot be scored", error)
        return []
