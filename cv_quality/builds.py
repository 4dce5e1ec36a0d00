"""Which drops and which models belong to a build: its own drops, who scores them, and the builds that it follows."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from cv_quality.drops.conditions import DeclaredCondition, decode_conditions, union_of, with_conditions
from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import DamagedTable, MissingTable, RegistryError
from cv_quality.gates.verdicts import Record, judged_keys, read_record
from cv_quality.lake.lake import TableKey
from cv_quality.modality import Modality
from cv_quality.workspace import Workspace

PARSE_GATE = "parse"
"""The gate through which every task takes drops in; its verdicts say which drops there are."""

MAX_PREDECESSORS = 5
"""Builds back that a trend reaches; each costs a few small reads whenever it is asked what is due."""

logger = logging.getLogger(__name__)


def drop_builds(
    workspace: Workspace,
    *,
    modalities: Sequence[str] | None = None,
    record: Callable[[TableKey], Record | None] | None = None,
) -> dict[str, str]:
    """Read each parsed drop's own build from the verdicts on it, so that no drop is forgotten with a table of it.

    Args:
        workspace: whose lake is looked at.
        modalities: of the drops; all of them by default.
        record: reads the verdict of a drop, where somebody has them read already.
    """
    record, found = record or partial(read_record, workspace.lake, PARSE_GATE), {}
    for drop in judged_keys(workspace.lake, PARSE_GATE):
        key = TableKey(drop=drop)
        judged = record(key)
        about = judged.about if judged and judged.about else drop_description(workspace, key)
        if about and (modalities is None or about["modality"] in modalities):
            found[drop] = about["build_id"]
    return found


def drop_description(workspace: Workspace, key: TableKey) -> dict[str, str]:
    """Read the build, the modality and what is declared of a drop from its tables; nothing where they do not say."""
    columns = ("drop_id", "build_id", "modality", "conditions")
    try:
        first = workspace.lake.first(DROP_FILES, TableKey(drop=key.drop), columns=columns) or {}
    except (MissingTable, DamagedTable):
        return {}
    is_its_own = first.get("drop_id") == key.drop
    return {name: str(first[name]) for name in columns[1:] if first[name] is not None} if is_its_own else {}


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
    """Find the modality of a parsed drop, or of a build, with the conditions that the drop or its drops declare.

    Raises:
        SettingsError: no task has it.
        MissingTable: the drop has not been parsed.
        RegistryError: no such build, or it is of another modality than the drop.
        DropError: two drops of the build contradict each other.
    """
    names, declared = set(), dict[str, tuple[DeclaredCondition, ...]]()
    if key.drop is not None:
        columns = ["modality", "conditions"]
        first = workspace.lake.first(DROP_FILES, TableKey(drop=key.drop), columns=columns)
        if first:
            names.add(str(first["modality"]))
            declared[key.drop] = decode_conditions(first["conditions"])
    if key.build is not None:
        names.add(workspace.registry.entry(key.build).modality)
    if len(names) != 1:
        raise RegistryError(f"{key}: build and drop are of modalities {sorted(names)}; score a drop with its own kind")
    if key.drop is None:
        declared = {drop: declared_by(workspace, drop) for drop in own_drops(workspace, str(key.build))}
    return with_conditions(workspace.modality(names.pop()), union_of(declared))


def declared_by(workspace: Workspace, drop: str) -> tuple[DeclaredCondition, ...]:
    """Read which conditions a parsed drop declares."""
    record = read_record(workspace.lake, PARSE_GATE, TableKey(drop=drop))
    return decode_conditions(record.about.get("conditions") if record else None)
