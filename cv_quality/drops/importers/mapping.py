"""The mapping of foreign logs: which column is which field of an event, in what unit, zone and words.

Reading a mapping and checking it against the fields of a drop live here; its rows are read in `sources`, its values in
`values`, and `logs` puts a drop together. Scalars of the file are texts, so that `07`, `yes` and `no` stay as written.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import yaml

from cv_quality.drops.conditions import DeclaredCondition, check_conditions
from cv_quality.drops.device_scores import DeviceScores, check_device_scores
from cv_quality.drops.importers.units import conversion
from cv_quality.drops.manifest import Protocol
from cv_quality.drops.tables import RAW_TABLES
from cv_quality.errors import DropError, MappingError, near

EPOCHS: Final = {"epoch_s": 10**6, "epoch_ms": 10**3, "epoch_us": 1, "epoch_ns": 10**-3}
"""Formats of times that are numbers, with the microseconds of one."""
DROP_ID: Final = "{date}_{build}_{site}"
_TOP: Final = (
    *("build", "site", "modality", "protocol", "drop", "kind", "fields", "conditions", "zone"),
    *("message", "frames", "window", "format", "device_scores"),
)
_FIELD: Final = ("column", "constant", "from", "to", "format", "zone", "year", "levels", "decimal")
_DECLARED: Final = ("type", "label", "unit", "range")
_UNIT_ENDINGS: Final = {"ms": "ms", "us": "us", "s": "s", "cm": "cm", "deg": "deg", "lux": "lux"}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where the values of one field come from, and how they are written there.

    Attributes:
        column: of the log, a dotted path in JSON; None for a constant.
        constant: the value of every row, as text.
        unit, to: of a number in the log and in the drop.
        format: of a time: `iso`, one of `EPOCHS`, or as strptime writes it.
        zone: of times that are local.
        year: of times that are logged without one.
        levels: what the words of the log are in the drop.
        decimal: the decimal mark of numbers.
    """

    column: str | None = None
    constant: str | None = None
    unit: str | None = None
    to: str | None = None
    format: str = "iso"
    zone: str | None = None
    year: str | None = None
    levels: Mapping[str, str] = field(default_factory=dict)
    decimal: str = "."


@dataclass(frozen=True, slots=True)
class MessageRule:
    """How a column of text is taken apart: by the named groups of a pattern, or as JSON where there is none."""

    column: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class LogMapping:
    """What the file of a mapping says.

    Attributes:
        build, site, modality, protocol: of the drop; the modality is the build's by default.
        drop: pattern of the drop's id; `{date}` is that of its first event.
        kind: of the event: a constant, or a column with levels.
        fields: by name, of events of every kind that has them; conditions included.
        conditions, device_scores: that the drop declares.
        message: what is taken apart first.
        frames: folder or archive that the frames are in.
        window: of the recording, by default from the first to the last event.
        is_lines: whether the log is plain text, of one column `line`.
    """

    build: str
    site: str
    kind: FieldRule
    fields: Mapping[str, FieldRule]
    modality: str | None = None
    protocol: Protocol = "enrolled"
    drop: str = DROP_ID
    conditions: tuple[DeclaredCondition, ...] = ()
    device_scores: DeviceScores | None = None
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
    def columns(self) -> tuple[str, ...]:
        """The columns of the log that are asked for, once each; those that a message holds included."""
        rules = (self.kind, *self.fields.values())
        return tuple(dict.fromkeys(rule.column for rule in rules if rule.column is not None))


def read_mapping(path: Path) -> LogMapping:
    """Read a mapping; whether its fields are those of the modality is asked in `check_fields`.

    Raises:
        MappingError: the file is no YAML, or says what no mapping can.
    """
    try:
        value = yaml.load(path.read_bytes(), Loader=_TextLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise MappingError(f"{path}: not YAML: {error}") from error
    try:
        return _mapping(value, folder=path.parent)
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


def _mapping(value: object, *, folder: Path) -> LogMapping:
    top = _table(value, _TOP, where="mapping")
    for name in ("build", "site"):
        if not isinstance(top.get(name), str) or not top[name]:
            raise MappingError(f"expected {name!r}, the {name} of the drop, found none")
    zone = _zone(top.get("zone"), where="zone")
    fields = {
        name: _rule(rule, name=name, zone=zone)
        for name, rule in _table(top.get("fields", {}), None, where="fields").items()
    }
    conditions, rules = _conditions(top.get("conditions", {}))
    for name in rules:
        if name in fields:
            raise MappingError(f"{name!r} is a field and a condition: two columns for one; keep one of them")
    window = _table(top["window"], ("from", "until"), where="window") if "window" in top else None
    if window is not None and len(window) != 2:
        raise MappingError("window: expected 'from' and 'until'")
    frames = _table(top["frames"], ("folder", "archive"), where="frames") if "frames" in top else {}
    if "frames" in top and len(frames) != 1:
        raise MappingError("frames: expected either a 'folder' or an 'archive'")
    place = next(iter(frames.values()), None)
    if "frame" in fields and place is None:
        raise MappingError("a field 'frame' needs 'frames' with the folder or archive that the images are in")
    return LogMapping(
        build=str(top["build"]),
        site=str(top["site"]),
        kind=_kind(top.get("kind", "attempt")),
        fields=fields | rules,
        modality=cast("str | None", top.get("modality")),
        protocol=cast(Protocol, _choice(top.get("protocol", "enrolled"), ("enrolled", "all_pairs"), where="protocol")),
        drop=str(top.get("drop", DROP_ID)),
        conditions=conditions,
        device_scores=_device_scores(top["device_scores"]) if "device_scores" in top else None,
        message=_message(top["message"]) if "message" in top else None,
        frames=folder / str(place) if place else None,
        window=(str(window["from"]), str(window["until"])) if window else None,
        is_lines=_choice(top.get("format", "table"), ("table", "lines"), where="format") == "lines",
    )


def _table(value: object, known: tuple[str, ...] | None, *, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise MappingError(f"{where}: expected a mapping of names to values, found {value!r}")
    for key in value:
        if known is not None and key not in known:
            raise MappingError(f"{where}: unknown key {key!r}; {near(str(key), known)}")
    return value


def _choice(value: object, known: tuple[str, ...], *, where: str) -> str:
    if value not in known:
        raise MappingError(f"{where}: expected {' or '.join(known)}, found {value!r}; {near(str(value), known)}")
    return str(value)


def _rule(value: object, *, name: str, zone: str | None) -> FieldRule:
    if isinstance(value, str):
        value = {"column": value}
    if isinstance(value, list):
        raise MappingError(f"field {name!r}: expected one column, found {len(value)}: {', '.join(map(str, value))}")
    table = _table(value, _FIELD, where=f"field {name!r}")
    if ("column" in table) == ("constant" in table):
        raise MappingError(f"field {name!r}: expected either a 'column' or a 'constant'")
    unit, to = cast("str | None", table.get("from")), cast("str | None", table.get("to"))
    if unit is None and to is not None:
        raise MappingError(f"field {name!r}: converted 'to' {to}, but 'from' which unit?")
    if unit is not None:
        own = _UNIT_ENDINGS.get(name.rsplit("_", 1)[-1])
        to = to or own
        if to is None:
            raise MappingError(f"field {name!r}: converted 'from' {unit}, but 'to' which unit?")
        conversion(unit, to, where=f"field {name!r}")
        if own is not None and conversion(to, own, where=f"field {name!r}").factor != 1:
            raise MappingError(f"field {name!r} is in {own}, as its name says: convert to that, not to {to}")
    levels = _table(table.get("levels", {}), None, where=f"field {name!r}, levels")
    return FieldRule(
        column=cast("str | None", table.get("column")),
        constant=cast("str | None", table.get("constant")),
        unit=unit,
        to=to,
        format=_time_format(str(table.get("format", "iso")), where=f"field {name!r}"),
        zone=_zone(table.get("zone"), where=f"field {name!r}") or zone,
        year=_year(table.get("year"), where=f"field {name!r}"),
        levels={word: str(level) for word, level in levels.items()},
        decimal=_choice(table.get("decimal", "."), (".", ","), where=f"field {name!r}, decimal"),
    )


def _kind(value: object) -> FieldRule:
    rule = FieldRule(constant=value) if isinstance(value, str) else _rule(value, name="kind", zone=None)
    for kind in [rule.constant] if rule.constant else rule.levels.values():
        _choice(kind, tuple(RAW_TABLES), where="kind")
    return rule


def _zone(value: object, *, where: str) -> str | None:
    if value is None:
        return None
    try:
        ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):
        raise MappingError(f"{where}: no time zone {value!r}; {_near_zone(str(value))}") from None
    return str(value)


def _near_zone(name: str) -> str:
    told = near(name, available_timezones())
    return told if told.startswith("did") else "write it as in Europe/Berlin or UTC"


def _year(value: object, *, where: str) -> str | None:
    if value is not None and not re.fullmatch(r"(19|20|21)\d\d", str(value)):
        raise MappingError(f"{where}: expected a year such as 2026, found {value!r}")
    return None if value is None else str(value)


def _time_format(text: str, *, where: str) -> str:
    """As Polars reads it: a fraction of a second takes its point with it."""
    if text != "iso" and text not in EPOCHS and "%" not in text:
        known = ("iso", *EPOCHS)
        raise MappingError(f"{where}: format {text!r} is none of times; {near(text, known)}, or %Y-%m-%d %H:%M:%S")
    found = text.replace(".%f", "%.f").replace(",%f", "%.f")
    if "%f" in found:
        raise MappingError(f"{where}: format {text!r}: %f is read behind a point or comma only, as in %S.%f")
    return found


def _conditions(value: object) -> tuple[tuple[DeclaredCondition, ...], dict[str, FieldRule]]:
    declared, rules = [], {}
    for name, said in _table(value, None, where="conditions").items():
        known = _table(said, (*_FIELD, *_DECLARED), where=f"condition {name!r}")
        levels = known.get("levels", [])
        words = levels if isinstance(levels, dict) else {}
        rule = {key: item for key, item in known.items() if key in _FIELD and key != "levels"} | {"levels": words}
        kept = {key: item for key, item in known.items() if key in _DECLARED}
        closed = list(dict.fromkeys(levels.values())) if isinstance(levels, dict) else levels
        if isinstance(known.get("range"), list):
            kept["range"] = [None if end in ("null", "~", "") else end for end in cast("list[str]", known["range"])]
        if known.get("from") and not known.get("to") and known.get("unit"):
            rule["to"] = known["unit"]
        try:
            declared.append(
                msgspec.convert(
                    {
                        "type": "text",
                        **kept,
                        "name": name,
                        "levels": closed if kept.get("type", "text") == "text" else [],
                    },
                    DeclaredCondition,
                    strict=False,
                )
            )
        except msgspec.ValidationError as error:
            raise MappingError(f"condition {name!r}: {error}") from error
        rules[name] = _rule(rule, name=name, zone=None)
    try:
        check_conditions(declared, where="conditions")
    except DropError as error:
        raise MappingError(str(error)) from error
    return tuple(declared), rules


def _device_scores(value: object) -> DeviceScores:
    try:
        scores = msgspec.convert(value, DeviceScores, strict=False)
        check_device_scores(scores, where="mapping")
    except (msgspec.ValidationError, DropError) as error:
        raise MappingError(f"device_scores: {error}") from error
    return scores


def _message(value: object) -> MessageRule:
    table = _table(value, ("column", "pattern", "json"), where="message")
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
