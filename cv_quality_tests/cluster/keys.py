"""Deployments of a few small drops whose keys are handed to clusters, and what one process made of the same keys."""

from collections.abc import Callable, Iterator
from pathlib import Path

from cv_quality.lake.lake import TableKey
from cv_quality.runner import Engine, KeyDone
from cv_quality.stage import PHASES
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.deployment import FIRST_DROP, deliver_as, open_workspace

BUILDS = ("face-1.0", "face-1.1")


def small_deployment(home: Path, landing: Path, *, drops: int) -> Workspace:
    """A deployment to which one drop of the tiny scenario was delivered several times, under other names."""
    workspace = open_workspace(home)
    for number in range(drops):
        deliver_as(landing, FIRST_DROP, f"2026-08-{number + 1:02}_face-1.1_site-a", to=workspace)
    return workspace


def take_in_and_score(
    workspace: Workspace, engine: Engine, *, meanwhile: Callable[[int], None] = lambda _: None
) -> list[KeyDone]:
    """Take every drop in and score it by two builds.

    Args:
        workspace: the deployment.
        engine: does it.
        meanwhile: called with the number of keys done so far, each time that one is.
    """
    drops = workspace.landing.folders()
    ingest = [TableKey(drop=drop) for drop in drops]
    score = [TableKey(build=build, drop=drop) for drop in drops for build in BUILDS]

    def done() -> Iterator[KeyDone]:
        yield from engine(VERIFICATION, PHASES["ingest"], ingest)
        yield from engine(VERIFICATION, PHASES["score"], score)

    found: list[KeyDone] = []
    for one in done():
        found.append(one)
        meanwhile(len(found))
    assert sorted(str(one.key) for one in found) == sorted(map(str, (*ingest, *score)))
    return found
