"""What is left to do: drops to take in, cells of the grid to score, builds to report.

Read from the landing area and from recorded verdicts alone, so the answer survives any restart. Sensors turn the work
into runs, `cvq run` does it at once.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cv_quality.drops.manifest import CompletedDrop, completed_drops
from cv_quality.errors import RegistryError
from cv_quality.freshness import Freshness, State
from cv_quality.lake.lake import TableKey
from cv_quality.stage import Stage, Task
from cv_quality.tasks import TASKS
from cv_quality.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do: the partition to do it for, and what makes it different from having done it before."""

    key: TableKey
    identity: str


def due(workspace: Workspace, task: Task, job: str) -> list[Work]:
    """Plan what a job of a task has to do, where all that it reads of other jobs has passed.

    A key that a gate refused is not due: it waits for a corrected drop.

    Args:
        workspace: whose landing area and lake are looked at.
        task, job: the job, and whose it is.
    """
    stages = task.of_job(job)
    if not stages:
        return []
    freshness = Freshness(workspace, task)
    if stages[0].key == "drop":
        return [
            Work(TableKey(drop=drop.drop_id), drop.identity)
            for drop in arrived(workspace, task)
            if _is_new(freshness, stages, drop)
        ]
    if stages[0].key == "build_drop":
        scored = sorted(freshness.drops.items())
        keys = [TableKey(build=model, drop=drop) for drop, own in scored for model in _models(freshness, own)]
    else:
        keys = [TableKey(build=build) for build in sorted(freshness.builds) if _models(freshness, build)]
    return [Work(key, freshness.work_identity(stages, key)) for key in keys if freshness.is_due(stages, key)]


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


def drop_states(workspace: Workspace, task: Task) -> Iterator[DropState]:
    """Tell where each completed drop of a task stands."""
    freshness, known = Freshness(workspace, task), set(workspace.registry.build_ids())
    taken, scored = task.of_phase("ingest"), task.of_phase("score")
    for drop in arrived(workspace, task):
        build = freshness.drops.get(drop.drop_id)
        models = freshness.models(build) if build in known and build else []
        report = workspace.report_path(build) if build else None
        yield DropState(
            drop.drop_id,
            build,
            freshness.furthest(taken, TableKey(drop=drop.drop_id)),
            {model: freshness.furthest(scored, TableKey(build=model, drop=drop.drop_id)) for model in models},
            report if report and report.is_file() else None,
        )


def arrived(workspace: Workspace, task: Task) -> list[CompletedDrop]:
    """List the completed drops of a task's modalities; those of no known modality are the first task's to refuse."""
    own = {modality.name for modality in task.modalities}
    strangers = task.name == TASKS[0].name
    return [
        drop
        for drop in completed_drops(workspace.landing)
        if drop.modality in own or (strangers and drop.modality not in workspace.modalities)
    ]


def _is_new(freshness: Freshness, stages: tuple[Stage, ...], drop: CompletedDrop) -> bool:
    """Whether this delivery has been neither validated nor refused."""
    key = TableKey(drop=drop.drop_id)
    parsed = freshness.record(stages[0], key)
    return parsed is None or parsed.delivery != drop.identity or freshness.is_due(stages, key)


def _models(freshness: Freshness, build: str) -> list[str]:
    """Who scores the drops of a build; one that the registry does not know is logged, not fatal to the others."""
    try:
        return freshness.models(build)
    except RegistryError as error:
        logger.warning("%s: its drops cannot be scored", error)
        return []
