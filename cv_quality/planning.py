"""What is left to do: drops to take in, cells of the grid to score, builds to report.

Read from the landing area and from recorded verdicts alone, so the answer survives any restart. Sensors turn the work
into runs, `cvq run` does it at once; how it is done is in `cv_quality.stages`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from cv_quality.drops.manifest import CompletedDrop, completed_drops
from cv_quality.errors import RegistryError
from cv_quality.gates.verdicts import cell_gates, drop_gates, read_verdict, state_of
from cv_quality.lake.lake import TableKey
from cv_quality.stages import (
    Workspace,
    digest_of,
    drop_builds,
    evidence_identity,
    report_path,
    reported_identity,
    scoring_builds,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do: the partition to do it for, and what makes it different from having done it before."""

    key: TableKey
    identity: str


def drops_to_ingest(workspace: Workspace) -> list[Work]:
    """Completed drops whose delivery (drop id and manifest digest) has been neither validated nor refused."""
    return [
        Work(TableKey(drop=drop.drop_id), drop.identity)
        for drop in completed_drops(workspace.landing)
        if _is_due(workspace, drop)
    ]


def cells_to_score(workspace: Workspace) -> list[Work]:
    """Validated drops with each build, own and baseline, whose scores are missing or stand on older data.

    A cell that a gate refused is not due: it waits for a corrected drop.
    """
    return list(_cells_to_score(workspace))


def builds_to_report(workspace: Workspace) -> list[Work]:
    """Builds whose drops are all scored, unless a report of exactly these scores lies there already.

    The scores of the builds before count too: a report shows how its slices fared in them.
    """
    return [work for work in _measured_builds(workspace) if not _is_reported(workspace, work)]


def _is_due(workspace: Workspace, drop: CompletedDrop) -> bool:
    parsed = read_verdict(workspace.lake, "parse", TableKey(drop=drop.drop_id))
    if parsed is None or parsed.delivery != drop.identity:
        return True
    return state_of(workspace.lake, drop_gates(drop.drop_id)) == "due"


def _cells_to_score(workspace: Workspace) -> Iterator[Work]:
    for drop, own in sorted(drop_builds(workspace).items()):
        validated = read_verdict(workspace.lake, "validate", TableKey(drop=drop))
        if validated is None or state_of(workspace.lake, drop_gates(drop)) != "passed":
            continue
        for build in _scoring_builds(workspace, own):
            if state_of(workspace.lake, cell_gates(build, drop)) == "due":
                yield Work(TableKey(build=build, drop=drop), f"{build}|{drop}@{digest_of(validated.judged)}")


def _measured_builds(workspace: Workspace) -> Iterator[Work]:
    for build in sorted(set(drop_builds(workspace).values())):
        if not _scoring_builds(workspace, build):
            continue
        if identity := evidence_identity(workspace, build):
            yield Work(TableKey(build=build), identity)


def _is_reported(workspace: Workspace, work: Work) -> bool:
    build = str(work.key.build)
    return reported_identity(workspace, build) == work.identity and report_path(workspace, build).is_file()


def _scoring_builds(workspace: Workspace, build: str) -> list[str]:
    """Like `scoring_builds`; a build that the registry does not know is logged, not fatal to the others."""
    try:
        return scoring_builds(workspace, build)
    except RegistryError as error:
        logger.warning("%s: its drops cannot be scored", error)
        return []
