"""The mapping of foreign logs: which column is which field of an event, in what unit, zone and words.

Reading a mapping and checking it against the fields of a drop live here; its rows are read in `sources`, its values in
`values`, and `logs` puts a drop together. Scalars of the file are texts, so that `07`, `yes` and `no` stay as written.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

import msgspec
import yaml

from cv_quality.drops.conditions import DeclaredCondition, check_conditions
from cv_quality.drops.device_scores import DeviceScores, check_device_scores
from cv_quality.drops.importers.field_rules import (
    FIELD_KEYS,
    FieldRule,
    TimeHabits,
    chosen,
    field_rule,
    keyed,
    known_year,
    known_zone,
)
from cv_quality.drops.importers.presets import Preset, known_preset
from cv_quality.drops.importers.units import conversion
from cv_quality.drops.manifest import Protocol
from cv_quality.drops.tables import ATTEMPT_FIELDS, RAW_TABLES
from cv_quality.errors import DropError, MappingError, near
from cv_quality.lake.schema import IDENTIFIER

DROP_ID: Final = "{date}_{build}_{site}"
_TOP: Final = (
    *("build", "site", "modality", "protocol", "drop", "kind", "fields", "conditions", "context", "zone", "year"),
    *("message", "frames", "window", "format", "preset", "device_scores"),
)
_CONTEXT: Final = ("files", "preset", "kind", "by", "time", "within", "conditions", "zone", "year")
Take = Literal["last", "mean", "median", "min", "max", "count"]
_DECLARED: Final = ("type", "label", "unit", "range")


@dataclass(frozen=True, slots=True)
class MessageRule:
    """How a column of text is taken apart: by the named groups of a pattern, or as JSON where there is none."""

    column: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class ContextRule:
    """Rows that are no events, but say under which conditions the attempts near them were made.

    Attributes:
        files: pattern of the names of the files that hold them; None where they stand among the events.
        preset: how those files are taken apart.
        kind: column and word that tell the rows; None for all of the files.
        by: fields in which row and event agree, and what they are in the row.
        time: of the row; None where it is not asked for.
        within_us: how long before the event a row may be, in microseconds; None for any row that agrees.
        conditions, takes: what the columns are, and what is taken of several rows, by condition.
    """

    files: str | None
    preset: Preset | None
    kind: tuple[str, str] | None
    by: Mapping[str, FieldRule]
    time: FieldRule | None
    within_us: int | None
    conditions: Mapping[str, FieldRule]
    takes: Mapping[str, Take]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the log that are asked for, once each."""
        rules = (*self.by.values(), *self.conditions.values(), *([self.time] if self.time else []))
        named = [rule.column for rule in rules if rule.column is not None]
        return tuple(dict.fromkeys([*([self.kind[0]] if self.kind else []), *named]))


@dataclass(frozen=True, slots=True)
class LogMapping:
    """What the file of a mapping says.

    Attributes:
        file: where it stands.
        build, site: of the drop: constants, or columns, and then each pair of them has a drop of its own.
        modality, protocol: of the drops; the modality is the build's by default.
        drop: pattern of a drop's id; `{date}` is that of its first event, and with `{day}` every day has a drop.
        kind: of the event: a constant, or a column with levels.
        fields: by name, of events of every kind that has them; conditions included.
        conditions, device_scores: that the drop declares; conditions of the context included.
        context: rows that are conditions of events.
        preset: how the logs are taken apart.
        message: what is taken apart first.
        frames: folder or archive that the frames are in.
        window: of the recording, by default from the first to the last event.
        is_lines: whether the log is plain text, of one column `line`.
    """

    file: Path
    build: FieldRule
    site: FieldRule
    kind: FieldRule
    fields: Mapping[str, FieldRule]
    modality: str | None = None
    protocol: Protocol = "enrolled"
    drop: str = DROP_ID
    conditions: tuple[DeclaredCondition, ...] = ()
    device_scores: DeviceScores | None = None
    context: tuple[ContextRule, ...] = ()
    preset: Preset | None = None
    message: MessageRule | None = None
    frames: Path | None = None
    window: tuple[str, str] | None = None
    is_lines: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of event that rows may be."""
        rule = self.kind
        return (rule.constant,) if rule.constant else tuple(dict.fromkeys(rule.levels.values() or RAW_TABLES))

    @property
    def has_days(self) -> bool:
        """Whether every day has a drop of its own."""
        return "{day}" in self.drop

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the log that are asked for, once each; those that a message holds included."""
        rules = (self.build, self.site, self.kind, *self.fields.values())
        return tuple(dict.fromkeys(rule.column for rule in rules if rule.column is not None))


def read_mapping(path: Path, *, preset: str | None = None) -> LogMapping:
    """Read a mapping; whether its fields are those of the modality is asked in `check_fields`.

    Args:
        path: of the mapping.
        preset: how the logs are taken apart, where the mapping does not say.

    Raises:
        MappingError: the file is no YAML, or says what no mapping can.
    """
    try:
        value = yaml.load(path.read_bytes(), Loader=_TextLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise MappingError(f"{path}: not YAML: {error}") from error
    try:
        return _mapping(value, file=path, preset=preset)
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from error


def check_fields(mapping: LogMapping, known: Mapping[str, object]) -> None:
    """Refuse a field that no event of the mapping's kinds has.

    Args:
        known: the fields, by name.

    Raises:
        MappingError: with the near names.
    """
    for name in mapping.fields:
        if name not in known:
            raise MappingError(
                f"field {name!r} is none of a drop; {near(name, known)}. What is no field may be declared "
                "under 'conditions'"
            )


class _TextLoader(yaml.BaseLoader):
    """Reads every scalar as text, and refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        keys = [cast(str, self.construct_object(key)) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            line = node.start_mark.line + 1
            raise MappingError(f"{twice[0]!r} is given twice from line {line} on: one column or value for each")
        return super().construct_mapping(node, deep=deep)


def _mapping(value: object, *, file: Path, preset: str | None) -> LogMapping:
    top = keyed(value, _TOP, where="mapping")
    if preset is not None and top.setdefault("preset", preset) != preset:
        raise MappingError(f"preset: the mapping says {top['preset']!r} and the command {preset!r}; keep one")
    taken = known_preset(top.get("preset"))
    habits = _habits(top, taken)
    kind = _kind(top.get("kind", "attempt"))
    fields = {
        name: field_rule(rule, name=name, habits=habits)
        for name, rule in keyed(top.get("fields", {}), None, where="fields").items()
    }
    if habits.moment and "occurred_at" not in fields:
        fields["occurred_at"] = field_rule({}, name="occurred_at", habits=habits)
    _require_zero(fields.get("occurred_at"), taken)
    declared, rules, _ = _conditions(top.get("conditions", {}), habits=habits)
    contexts = _contexts(top.get("context", []), kind=kind, habits=habits)
    conditions = (*declared, *(item for _, more in contexts for item in more))
    _check_once(conditions, fields)
    frames = _frames(top, fields)
    return LogMapping(
        file=file,
        build=_name(top, "build"),
        site=_name(top, "site"),
        kind=kind,
        fields=fields | rules,
        modality=cast("str | None", top.get("modality")),
        protocol=cast(Protocol, chosen(top.get("protocol", "enrolled"), ("enrolled", "all_pairs"), where="protocol")),
        drop=str(top.get("drop", DROP_ID)),
        conditions=conditions,
        device_scores=_device_scores(top["device_scores"]) if "device_scores" in top else None,
        context=tuple(rule for rule, _ in contexts),
        preset=taken,
        message=_message(top["message"], taken) if "message" in top else None,
        frames=file.parent / frames if frames else None,
        window=_window(top),
        is_lines=chosen(top.get("format", "table"), ("table", "lines"), where="format") == "lines",
    )


def _habits(top: Mapping[str, object], preset: Preset | None, *, otherwise: TimeHabits | None = None) -> TimeHabits:
    """The zone and year that a mapping or a context says, and what its preset knows of times."""
    zone, year = known_zone(top.get("zone"), where="zone"), known_year(top.get("year"), where="year")
    if otherwise is not None:
        zone, year = zone or otherwise.zone, year or otherwise.year
    return TimeHabits(zone, year, preset.moment if preset else {})


def _require_zero(rule: FieldRule | None, preset: Preset | None) -> None:
    if preset and preset.is_relative and rule and rule.column == preset.moment["column"] and rule.zero is None:
        raise MappingError(
            f"field 'occurred_at': times of {preset.name} count from the start of the recording; say when that was, "
            "as in occurred_at: {zero: 2026-09-01T12:00:00Z}"
        )


def _name(top: Mapping[str, object], name: str) -> FieldRule:
    """The build or the site: a constant as text, or a table that names its column."""
    value = top.get(name)
    if isinstance(value, dict):
        return field_rule(value, name=name)
    if not isinstance(value, str) or not value:
        raise MappingError(f"expected {name!r}, the {name} of the drop, or {{column: NAME}}, found none")
    return FieldRule(constant=value)


def _window(top: Mapping[str, object]) -> tuple[str, str] | None:
    if "window" not in top:
        return None
    window = keyed(top["window"], ("from", "until"), where="window")
    if len(window) != 2:
        raise MappingError("window: expected 'from' and 'until'")
    return str(window["from"]), str(window["until"])


def _frames(top: Mapping[str, object], fields: Mapping[str, FieldRule]) -> str | None:
    frames = keyed(top["frames"], ("folder", "archive"), where="frames") if "frames" in top else {}
    if "frames" in top and len(frames) != 1:
        raise MappingError("frames: expected either a 'folder' or an 'archive'")
    place = next(iter(frames.values()), None)
    if "frame" in fields and place is None:
        raise MappingError("a field 'frame' needs 'frames' with the folder or archive that the images are in")
    return str(place) if place else None


def _check_once(conditions: tuple[DeclaredCondition, ...], fields: Mapping[str, FieldRule]) -> None:
    for item in conditions:
        if item.name in fields:
            raise MappingError(f"{item.name!r} is a field and a condition: two columns for one; keep one of them")
    try:
        check_conditions(conditions, where="conditions")
    except DropError as error:
        raise MappingError(str(error)) from error


def _kind(value: object) -> FieldRule:
    rule = FieldRule(constant=value) if isinstance(value, str) else field_rule(value, name="kind")
    for kind in [rule.constant] if rule.constant else rule.levels.values():
        chosen(kind, tuple(RAW_TABLES), where="kind")
    return rule


def _contexts(
    value: object, *, kind: FieldRule, habits: TimeHabits
) -> list[tuple[ContextRule, tuple[DeclaredCondition, ...]]]:
    if not isinstance(value, list):
        raise MappingError(f"context: expected a list, found {value!r}")
    return [_context(item, number=number, kind=kind, habits=habits) for number, item in enumerate(value, 1)]


def _context(
    value: object, *, number: int, kind: FieldRule, habits: TimeHabits
) -> tuple[ContextRule, tuple[DeclaredCondition, ...]]:
    where = f"context {number}"
    said = keyed(value, _CONTEXT, where=where)
    preset = known_preset(said.get("preset"))
    if preset is not None and "files" not in said:
        raise MappingError(f"{where}: a 'preset' of its own needs 'files', the names of those that it is for")
    own = _habits(said, preset, otherwise=habits)
    own = own if preset or "files" in said else TimeHabits(own.zone, own.year, habits.moment)
    by = {
        name: field_rule(rule, name=name)
        for name, rule in keyed(said.get("by", {}), _agreeing(), where=f"{where}, by").items()
    }
    time = field_rule(said.get("time", {}), name="occurred_at", habits=own) if "time" in said or own.moment else None
    _require_zero(time, preset)
    within = _within(said.get("within"), where=where)
    declared, rules, takes = _conditions(said.get("conditions", {}), habits=own, where=where)
    if not rules:
        raise MappingError(f"{where}: expected 'conditions' that its rows give")
    if not by and within is None:
        raise MappingError(f"{where}: say which rows belong to an event: 'by' (fields that agree), 'within' or both")
    if time is None and (within is not None or "last" in takes.values()):
        raise MappingError(f"{where}: expected the 'time' of its rows, which 'within' and 'take: last' ask for")
    rows = _context_kind(said.get("kind"), preset=preset, kind=kind, where=where)
    if rows is None and "files" not in said:
        raise MappingError(f"{where}: expected the 'kind' of its rows, or the 'files' that hold them")
    files = cast("str | None", said.get("files"))
    if files is None and rows and rows[0] == kind.column and rows[1] in (kind.levels or RAW_TABLES):
        raise MappingError(f"{where}: rows of kind {rows[1]!r} are events; a context is of rows that are none")
    return ContextRule(files, preset, rows, by, time, within, rules, takes), declared


def _agreeing() -> tuple[str, ...]:
    """The fields of attempts that name something."""
    return tuple(column.name for column in ATTEMPT_FIELDS if column.pattern == IDENTIFIER)


def _context_kind(value: object, *, preset: Preset | None, kind: FieldRule, where: str) -> tuple[str, str] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        said = keyed(value, ("column", "is"), where=f"{where}, kind")
        if len(said) != 2:
            raise MappingError(f"{where}, kind: expected a 'column' and the word that it 'is'")
        return str(said["column"]), str(said["is"])
    column = preset.kind if preset and preset.kind else kind.column
    if column is None:
        raise MappingError(f"{where}: expected 'kind' as {{column: NAME, is: {value}}}; the mapping has no such column")
    return column, str(value)


def _within(value: object, *, where: str) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([^\d\s.]\S*)", str(value))
    if found is None:
        raise MappingError(f"{where}: expected 'within' as a number with its unit, such as 10 s, found {value!r}")
    return round(float(found[1]) * conversion(found[2], "us", where=f"{where}, within").factor)


def _conditions(
    value: object, *, habits: TimeHabits, where: str = ""
) -> tuple[tuple[DeclaredCondition, ...], dict[str, FieldRule], dict[str, Take]]:
    """The conditions that are declared, what their columns are, and in a context what is taken of several rows."""
    declared, rules, takes = [], {}, dict[str, Take]()
    known = (*FIELD_KEYS, *_DECLARED, *(["take"] if where else []))
    for name, item in keyed(value, None, where="conditions").items():
        said = keyed(item, known, where=f"condition {name!r}")
        rules[name] = field_rule(_written(said), name=name, habits=TimeHabits(habits.zone, habits.year))
        declared.append(_declaration(name, said))
        if where:
            takes[name] = _take(said, declared[-1])
    return tuple(declared), rules, takes


def _written(said: Mapping[str, object]) -> dict[str, object]:
    """What a condition says of its column."""
    levels = said.get("levels")
    rule = {key: item for key, item in said.items() if key in FIELD_KEYS and key != "levels"}
    if said.get("from") and not said.get("to") and said.get("unit"):
        rule["to"] = said["unit"]
    return {**rule, "levels": levels} if isinstance(levels, dict) else rule


def _declaration(name: str, said: Mapping[str, object]) -> DeclaredCondition:
    kept = {"type": "text", **{key: item for key, item in said.items() if key in _DECLARED}}
    levels = said.get("levels", [])
    if isinstance(said.get("range"), list):
        kept["range"] = [None if end in ("null", "~", "") else end for end in cast("list[str]", said["range"])]
    if kept["type"] == "text":
        kept["levels"] = list(dict.fromkeys(levels.values())) if isinstance(levels, dict) else levels
    try:
        return msgspec.convert({**kept, "name": name}, DeclaredCondition, strict=False)
    except msgspec.ValidationError as error:
        raise MappingError(f"condition {name!r}: {error}") from error


def _take(said: Mapping[str, object], declared: DeclaredCondition) -> Take:
    take = cast(Take, chosen(said.get("take", "last"), get_args(Take), where=f"condition {declared.name!r}, take"))
    wanted = {"mean": ("real",), "median": ("real",), "min": ("real", "integer"), "max": ("real", "integer")}
    wanted["count"] = ("integer",)
    if declared.type not in wanted.get(take, (declared.type,)):
        types = " or ".join(wanted[take])
        raise MappingError(f"condition {declared.name!r}: the {take} of rows is {types}, not {declared.type}")
    return take


def _device_scores(value: object) -> DeviceScores:
    try:
        scores = msgspec.convert(value, DeviceScores, strict=False)
        check_device_scores(scores, where="mapping")
    except (msgspec.ValidationError, DropError) as error:
        raise MappingError(f"device_scores: {error}") from error
    return scores


def _message(value: object, preset: Preset | None) -> MessageRule:
    table = keyed(value, ("column", "pattern", "json"), where="message")
    if preset is not None and preset.message is not None:
        table = {"column": preset.message, **table}
    pattern = cast("str | None", table.get("pattern"))
    if "column" not in table or (pattern is None) == ("json" not in table):
        raise MappingError("message: expected a 'column', and either a 'pattern' or 'json: true'")
    if pattern is not None:
        try:
            names = re.compile(pattern).groupindex
        except re.error as error:
            raise MappingError(f"message: the pattern cannot be read: {error}") from error
        if not names:
            raise MappingError("message: expected a pattern with names of columns, as in (?P<score>[0-9.]+)")
    return MessageRule(str(table["column"]), pattern)
