"""Which drops and which models belong to a build: its own drops, who scores them, and the builds that it follows."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from cv_quality.drops.conditions import DeclaredCondition, decode_conditions, union_of, with_conditions
from cv_quality.drops.device_scores import DeviceScores, decode_device_scores, one_scale, with_device_scores
from cv_quality.drops.tables import DROP_FILES
from cv_quality.errors import DamagedTable, MissingTable, RegistryError
from cv_quality.gates.verdicts import Record, judged_keys, object_key, read_record
from cv_quality.lake.lake import Survey, TableKey
from cv_quality.modality import Modality
from cv_quality.workspace import Workspace

PARSE_GATE = "parse"
"""The gate through which every task takes drops in; its verdicts say which drops there are."""

MAX_PREDECESSORS = 5
"""Builds back that a trend reaches; each costs a few small reads whenever it is asked what is due."""

logger = logging.getLogger(__name__)


def drop_builds(
    workspace: Workspace, *, modalities: Sequence[str] | None = None, survey: Survey | None = None
) -> dict[str, str]:
    """Read each parsed drop's own build from the verdicts on it, so that no drop is forgotten with a table of it.

    Args:
        workspace: whose lake is looked at.
        modalities: of the drops; all of them by default.
        survey: a look at the lake that others share.
    """
    survey, found = survey or Survey(workspace.lake.store), {}
    for drop in judged_keys(survey, PARSE_GATE):
        key = TableKey(drop=drop)
        judged = recorded(workspace, survey, PARSE_GATE, key)
        about = judged.about if judged and judged.about else drop_description(workspace, key)
        if about and (modalities is None or about["modality"] in modalities):
            found[drop] = about["build_id"]
    return found


def recorded(workspace: Workspace, survey: Survey, gate: str, key: TableKey | str) -> Record | None:
    """Read what freshness needs of a verdict; once, for as long as it is not written again.

    Args:
        workspace, survey: whose lake is read, and what lies there.
        gate, key: whose verdict.
    """
    info = survey.info(object_key(gate, key))
    known = workspace.records.get(info) if info else None
    if info is None or known is not None:
        return known
    read = read_record(workspace.lake, gate, key)
    if read:
        workspace.records.keep({info: read})
    return read


def drop_description(workspace: Workspace, key: TableKey) -> dict[str, str]:
    """Read the build, the modality and what is declared of a drop from its tables; nothing where they do not say."""
    columns = ("drop_id", "build_id", "modality", "conditions", "device_scores")
    try:
        first = workspace.lake.first(DROP_FILES, TableKey(drop=key.drop), columns=columns) or {}
    except (MissingTable, DamagedTable):
        return {}
    is_its_own = first.get("drop_id") == key.drop
    return {name: str(first[name]) for name in columns[1:] if first[name] is not None} if is_its_own else {}


def own_drops(workspace: Workspace, build: str, *, survey: Survey | None = None) -> list[str]:
    """List the drops in the lake that were recorded with `build`, sorted."""
    return sorted(drop for drop, own in drop_builds(workspace, survey=survey).items() if own == build)


def predecessors(baseline: Callable[[str], str | None], build: str) -> Iterator[str]:
    """Follow a build to those before it, up to the first that the registry cannot read, or to the limit.

    Args:
        baseline: gives the build that one follows, as the registry does.
        build: where to begin.
    """
    before, seen = baseline(build), {build}
    while before is not None and before not in seen and len(seen) <= MAX_PREDECESSORS:
        yield before
        seen.add(before)
        try:
            before = baseline(before)
        except RegistryError as error:
            logger.warning("%s: the history of %s ends before it", error, build)
            return


def modality_of(workspace: Workspace, key: TableKey) -> Modality:
    """Find the modality of a parsed drop, or of a build, with what the drop or its drops declare.

    That of a build compares as its entry says; evaluated as recorded, it has the scores of its devices for its own.

    Raises:
        SettingsError: no task has it.
        MissingTable: the drop has not been parsed.
        RegistryError: no such build, or it is of another modality than the drop.
        DropError: two drops of the build contradict each other.
    """
    names, declared = set(), dict[str, tuple[DeclaredCondition, ...]]()
    scales, entry = dict[str, DeviceScores | None](), None
    if key.drop is not None:
        columns = ["modality", "conditions", "device_scores"]
        first = workspace.lake.first(DROP_FILES, TableKey(drop=key.drop), columns=columns)
        if first:
            names.add(str(first["modality"]))
            declared[key.drop] = decode_conditions(first["conditions"])
            scales[key.drop] = decode_device_scores(first["device_scores"])
    if key.build is not None:
        entry = workspace.registry.entry(key.build)
        names.add(entry.modality)
    if len(names) != 1:
        raise RegistryError(f"{key}: build and drop are of modalities {sorted(names)}; score a drop with its own kind")
    if key.drop is None:
        survey = Survey(workspace.lake.store)
        for drop in own_drops(workspace, str(key.build), survey=survey):
            record = recorded(workspace, survey, PARSE_GATE, TableKey(drop=drop))
            declared[drop] = declared_in(record.about if record else {})
            scales[drop] = device_scores_in(record.about if record else {})
    modality = with_conditions(workspace.modality(names.pop()), union_of(declared))
    modality = with_device_scores(modality, one_scale(scales))
    return modality.of_build(entry) if entry else modality


def declared_in(about: Mapping[str, str]) -> tuple[DeclaredCondition, ...]:
    """Read which conditions a parsed drop declares from what a verdict says about it."""
    return decode_conditions(about.get("conditions"))


def device_scores_in(about: Mapping[str, str]) -> DeviceScores | None:
    """Read on which scale the devices of a parsed drop score from what a verdict says about it."""
    return decode_device_scores(about.get("device_scores"))
