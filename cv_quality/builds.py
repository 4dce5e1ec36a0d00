"""Which drops and which models belong to a build: its own drops, who scores them, and the builds that it follows."""

import logging
from collections.abc import Iterator, Sequence

from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import RegistryError
from cv_quality.lake.lake import TableKey
from cv_quality.modality import Modality
from cv_quality.workspace import Workspace

MAX_PREDECESSORS = 5
"""Builds back that a trend reaches; each costs a few small reads whenever it is asked what is due."""

logger = logging.getLogger(__name__)


def drop_builds(workspace: Workspace, *, modalities: Sequence[str] | None = None) -> dict[str, str]:
    """Read each parsed drop's own build, of the drops of these modalities; of all drops by default."""
    lake, found = workspace.lake, {}
    for key in lake.keys(DROP_FILES):
        first = lake.first(DROP_FILES, key, columns=("build_id", "modality"))
        if first and (modalities is None or first["modality"] in modalities):
            found[str(key.drop)] = str(first["build_id"])
    return found


def own_drops(workspace: Workspace, build: str) -> list[str]:
    """List the drops in the lake that were recorded with `build`, sorted."""
    return sorted(drop for drop, own in drop_builds(workspace).items() if own == build)


def scoring_builds(workspace: Workspace, build: str) -> list[str]:
    """List the builds whose models score the drops of `build`: itself, then its baseline.

    Raises:
        RegistryError: the registry does not know the build, or the one that it follows.
    """
    baseline = workspace.registry.baseline(build)
    return [build] if baseline is None else [build, baseline]


def predecessors(workspace: Workspace, build: str) -> Iterator[str]:
    """Follow a build to those before it, up to the first that the registry cannot read, or to the limit."""
    before, seen = workspace.registry.baseline(build), {build}
    while before is not None and before not in seen and len(seen) <= MAX_PREDECESSORS:
        yield before
        seen.add(before)
        try:
            before = workspace.registry.baseline(before)
        except RegistryError as error:
            logger.warning("%s: the history of %s ends before it", error, build)
            return


def modality_of(workspace: Workspace, key: TableKey) -> Modality:
    """Find the modality of a parsed drop, or of a build.

    Raises:
        SettingsError: no task has it.
        MissingTable: the drop has not been parsed.
        RegistryError: no such build, or it is of another modality than the drop.
    """
    names = set()
    if key.drop is not None:
        first = workspace.lake.first(DROP_FILES, TableKey(drop=key.drop), columns=["modality"])
        names |= {str(first["modality"])} if first else set()
    if key.build is not None:
        names |= {workspace.registry.entry(key.build).modality}
    if len(names) != 1:
        raise RegistryError(f"{key}: build and drop are of modalities {sorted(names)}; score a drop with its own kind")
    return workspace.modality(names.pop())
