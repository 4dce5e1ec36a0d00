"""Turns logs of devices, as a mapping explains them, into drops: every row is an event of one, or is set aside.

All rows are read and judged before anything is written; those that do not fit are listed beside the drop, with file,
line and reason. Mappings are read in `mapping`, logs in `sources` and `presets`, cells in `values`; `judging` judges
the rows, and `spool` keeps them by drop.
"""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from cv_quality.drops.conditions import DeclaredCondition, with_conditions
from cv_quality.drops.device_scores import DeviceScores, with_device_scores
from cv_quality.drops.importers.judging import RowJudge, first_line
from cv_quality.drops.importers.log_names import LogNames
from cv_quality.drops.importers.log_pictures import PictureSource, open_pictures
from cv_quality.drops.importers.mapping import ContextRule, LogMapping
from cv_quality.drops.importers.pseudonyms import write_key
from cv_quality.drops.importers.queries import LogQuery, queried_log
from cv_quality.drops.importers.sources import LogFile, open_lines, opened_log
from cv_quality.drops.importers.spool import DEFINED, DropSpool, EventSpool
from cv_quality.drops.schema import DropSchema
from cv_quality.drops.tables import RAW_TABLES
from cv_quality.drops.writer import DropWriter
from cv_quality.errors import MappingError, SchemaError, near
from cv_quality.lake.schema import IDENTIFIER, NOT_IN_IDENTIFIER
from cv_quality.lake.store import Store, atomic_path
from cv_quality.modality import Modality

QUARANTINE_ENDING: Final = ".quarantine.jsonl"
"""Of the list of rows set aside."""
_ORDER: Final = (*DEFINED, *(kind for kind in RAW_TABLES if kind not in DEFINED))

LogSource = Path | LogQuery
"""What rows are read from: a file, or a question to a database."""


@dataclass(frozen=True, slots=True)
class ImportedLogs:
    """What became of the rows of some logs.

    Attributes:
        drops: their events by kind, those of subjects and devices that were made or repeated included.
        builds: that the drops are of.
        rows: of the logs; each is an event, context or set aside.
        written: rows that are events.
        context: rows that say under which conditions events happened.
        reasons: rows set aside, by reason.
        quarantine: where their list is; None where there are none.
        notes: what was understood, for people.
    """

    drops: Mapping[str, Mapping[str, int]]
    builds: tuple[str, ...]
    rows: int
    written: int
    context: int
    reasons: Mapping[str, int]
    quarantine: str | None
    notes: tuple[str, ...] = ()


def import_logs(
    sources: Sequence[LogSource],
    *,
    mapping: LogMapping,
    landing: Store,
    modality: Modality,
    builds: Sequence[str] = (),
    kept: Path | None = None,
    has_pseudonyms: bool = False,
) -> ImportedLogs:
    """Write the rows of the logs as one drop, or as one for each build, site and day that the mapping tells apart.

    Args:
        sources: JSON lines, CSV or the like, or Parquet, compressed or not; questions to databases.
        mapping: what their columns are.
        landing, modality: where drops arrive, and whose conditions events have.
        builds: that a column of the log may name; any where there are none.
        kept: folder of what stays with whoever imports; that of the mapping by default.
        has_pseudonyms: whether names get pseudonyms although they would do as ids.

    Raises:
        MappingError: the mapping does not fit the modality or the logs, or no row fits it.
        TableError: a file cannot be read.
        DropError: a drop would break a rule of the contract.
    """
    declared = _declared(modality, mapping)
    names = LogNames((kept or mapping.file.parent) / f"{mapping.file.stem}.pseudonyms.json", is_wanted=has_pseudonyms)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cvq-import-")))
        set_aside = folder / "quarantine.jsonl"
        with set_aside.open("w", encoding="utf-8") as quarantine:
            judge = RowJudge(
                mapping,
                DropSchema(_completed(modality, declared, mapping.device_scores)),
                EventSpool(folder, mapping.build.constant, mapping.site.constant, mapping.has_days),
                names,
                quarantine,
                pictures=stack.enter_context(open_pictures(mapping.frames)) if mapping.frames else None,
                builds=builds,
            )
            logs = _judge_all(judge, sources, stack)
        judge.require_use(first_line(set_aside))
        planned = _planned(judge, declared, landing=landing, modality=modality)
        return _write(judge, planned, set_aside, landing=landing, notes=_notes(logs))


def _judge_all(judge: RowJudge, sources: Sequence[LogSource], stack: ExitStack) -> list[LogFile]:
    """Read all logs: first what is context of events, then the events."""
    mapping = judge.mapping
    opener = open_lines if mapping.is_lines else mapping.preset.opener if mapping.preset else None
    logs, contexts = list[LogFile](), list[tuple[LogFile, list[ContextRule]]]()
    for source in sources:
        if isinstance(source, LogQuery):
            logs.append(stack.enter_context(queried_log(source)))
            continue
        rules = [rule for rule in mapping.context if rule.files is not None and fnmatch(source.name, rule.files)]
        if not rules:
            logs.append(stack.enter_context(opened_log(source, opener)))
            continue
        presets = {rule.preset.name: rule.preset for rule in rules if rule.preset}
        if len(presets) > 1 or (presets and any(rule.preset is None for rule in rules)):
            raise MappingError(f"context: {source.name} is of several presets; give all its rules one")
        contexts.append((stack.enter_context(opened_log(source, *(p.opener for p in presets.values()))), rules))
    if not logs:
        raise MappingError("expected a log of events, found only files that 'context' names")
    mixed = [rule for rule in mapping.context if rule.files is None]
    contexts += [(log, mixed) for log in logs if mixed]
    for log, rules in contexts:
        log.require([name for rule in rules for name in judge.sources_of(rule)])
    for log in logs:
        log.require(judge.sources)
    for log, rules in contexts:
        judge.read_context(log, rules)
    judge.quarantine.flush()
    judge.require_context(first_line(Path(judge.quarantine.name)))
    for number, log in enumerate(logs, 1):
        judge.judge(log, file_number=number)
    return [*logs, *(log for log, rules in contexts if rules is not mixed)]


def _notes(logs: Sequence[LogFile]) -> list[str]:
    return [f"{log.path.name}: {note}" for log in logs for note in log.notes]


def _declared(modality: Modality, mapping: LogMapping) -> tuple[DeclaredCondition, ...]:
    """The conditions that drops declare; those of a context may be the modality's own.

    Raises:
        MappingError: one of the modality is of another type there.
    """
    own = {item.name: item.column for item in modality.conditions}
    in_context = {name for rule in mapping.context for name in rule.conditions}
    for item in mapping.conditions:
        if item.name in in_context & set(own) and own[item.name].kind != item.type:
            raise MappingError(
                f"condition {item.name!r}: {modality.name} has it as {own[item.name].kind}: say the 'type'"
            )
    return tuple(item for item in mapping.conditions if item.name not in in_context & set(own))


def _completed(modality: Modality, declared: Sequence[DeclaredCondition], scores: DeviceScores | None) -> Modality:
    try:
        return with_device_scores(with_conditions(modality, declared), scores)
    except SchemaError as error:
        raise MappingError(f"{error}: move it from 'conditions' to 'fields'") from error


@dataclass(frozen=True, slots=True)
class _PlannedDrop:
    """One drop that is to be written; `absent` are the conditions of the mapping that none of its events has."""

    writer: DropWriter
    spool: DropSpool
    since: datetime
    absent: tuple[str, ...]


def _write(
    judge: RowJudge, planned: "Mapping[str, _PlannedDrop]", set_aside: Path, *, landing: Store, notes: Sequence[str]
) -> ImportedLogs:
    contradictions = Counter(note for drop in planned.values() for note in drop.spool.contradictions())
    names = judge.names
    frames = {
        name: _frame_names(judge.pictures, drop.spool, is_renamed=names.is_used) for name, drop in planned.items()
    }
    if names.is_used:
        names.key.pictures |= {drop: {new: old for old, new in of.items()} for drop, of in frames.items() if of}
        write_key(names.file, names.key)
    events = {name: _write_drop(drop, frames[name], judge.pictures) for name, drop in planned.items()}
    return ImportedLogs(
        events,
        tuple(dict.fromkeys(str(drop.spool.place.build) for drop in planned.values())),
        judge.rows,
        judge.spool.counts.total(),
        judge.context_rows,
        dict(judge.reasons.most_common()),
        _list_set_aside(judge, set_aside, landing=landing, drops=list(planned)),
        (*notes, *names.notes, *contradictions),
    )


def _planned(
    judge: RowJudge, declared: Sequence[DeclaredCondition], *, landing: Store, modality: Modality
) -> dict[str, _PlannedDrop]:
    """The drops by name; a writer that cannot be is refused before anything is written."""
    mapping, found = judge.mapping, dict[str, _PlannedDrop]()
    for drop in judge.spool.drops():
        if drop.first is None or drop.last is None:
            raise MappingError("no event has a time; map 'occurred_at'")
        since, until = judge.window or (drop.first, drop.last + timedelta(seconds=1))
        name = _drop_id(mapping, drop, since)
        if name in found:
            other = found[name].spool.place
            raise MappingError(
                f"drop: {name!r} would be the name of two, build and site {other[:2]} and {drop.place[:2]}; name the "
                "drops by {build}, {site} and {day}, and the sites by 'levels' where only other letters tell them apart"
            )
        writer = DropWriter(
            landing,
            modality=modality,
            drop_id=name,
            build_id=str(drop.place.build),
            site=str(drop.place.site),
            protocol=mapping.protocol,
            captured_from=since,
            captured_until=until,
            conditions=[item for item in declared if item.name in drop.fields_seen],
            device_scores=mapping.device_scores,
        )
        absent = tuple(item.name for item in declared if item.name not in drop.fields_seen)
        found[name] = _PlannedDrop(writer, drop, since, absent)
    return found


def _frame_names(pictures: PictureSource | None, spool: DropSpool, *, is_renamed: bool) -> dict[str, str]:
    """The images of a drop, as they are called there: with pseudonyms by number, because paths may tell names."""
    if pictures is None:
        return {}
    names = sorted(spool.frames())
    return {
        name: f"image-{number:06d}{Path(name).suffix.lower()}" if is_renamed else name
        for number, name in enumerate(names)
    }


def _write_drop(planned: _PlannedDrop, frames: Mapping[str, str], pictures: PictureSource | None) -> dict[str, int]:
    counts = Counter[str]()
    with planned.writer as drop:
        for kind in _ORDER:
            for rows in planned.spool.events(kind, since=planned.since):
                named = rows.with_columns(rows["frame"].replace(frames)) if "frame" in rows.columns else rows
                drop.add_events(kind, named.drop(planned.absent, strict=False))
                counts[kind] += len(rows)
        for old, new in frames.items():
            assert pictures is not None
            drop.add_frame(new, pictures.read(old))
    return dict(counts)


def _list_set_aside(judge: RowJudge, set_aside: Path, *, landing: Store, drops: Sequence[str]) -> str | None:
    """Put the list of rows set aside beside the drop; with whoever imports, where its rows hold names."""
    name = drops[0] if len(drops) == 1 else judge.mapping.file.stem
    key, private = f"{name}{QUARANTINE_ENDING}", judge.names.file.with_name(f"{name}{QUARANTINE_ENDING}")
    private.unlink(missing_ok=True)
    if not judge.reasons or judge.names.is_used:
        if landing.exists(key):
            landing.delete(key)
        if not judge.reasons:
            return None
        with atomic_path(private) as temporary:
            shutil.copyfile(set_aside, temporary)
        return str(private)
    landing.put_file(key, set_aside)
    return f"{landing.uri.rstrip('/')}/{key}"


def _drop_id(mapping: LogMapping, drop: DropSpool, since: datetime) -> str:
    place = drop.place
    parts = {"date": f"{since:%Y-%m-%d}", "day": str(place.day), "build": str(place.build), "site": str(place.site)}
    unknown = [part for part in re.findall(r"\{(.*?)\}", mapping.drop) if part not in parts]
    if unknown:
        raise MappingError(f"drop: {{{unknown[0]}}} is no part of a name; {near(unknown[0], parts)}")
    name = re.sub(NOT_IN_IDENTIFIER, "-", re.sub(r"\{(.*?)\}", lambda found: parts[str(found[1])], mapping.drop))
    if not re.fullmatch(IDENTIFIER, name) or not name.strip("."):
        raise MappingError(f"drop: expected a name that matches {IDENTIFIER} and is no path, found {name!r}")
    return name
