"""The rules that a single event must keep, as SQL generated from the columns' own declarations.

What a column may hold is said once, in the drop's schema; here that becomes a condition that is true for a
row to reject, and a text that names the column, what was expected and what was found. They are run in
`cv_quality.drops.validation`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cv_quality.drops.tables import FACE_BOX
from cv_quality.lake.schema import Column, quoted


@dataclass(frozen=True, slots=True)
class RowRule:
    """One rule.

    Attributes:
        reason: machine-readable code of the rejection.
        condition: SQL that is true for a row that breaks the rule; null counts as kept.
        detail: SQL of the text for people.
    """

    reason: str
    condition: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Reference:
    reason: str
    known: str
    of: str


_SUBJECT = _Reference("unknown_subject", "SELECT name FROM known_subjects", "a subject event of the drop")
_REFERENCES = {
    "subject_id": _SUBJECT,
    "claimed_subject_id": _SUBJECT,
    "target_subject_id": _SUBJECT,
    "device_id": _Reference("unknown_device", "SELECT name FROM known_devices", "a device event of the drop"),
    "reference_id": _Reference("unknown_reference", "SELECT name FROM known_references", "an enrolment of the drop"),
    "frame": _Reference("missing_frame", "SELECT frame FROM frame_index", "an image of the drop"),
    "clip": _Reference(
        "missing_clip", "SELECT member FROM media_index WHERE content = 'clips'", "a video file of the drop"
    ),
    "stream_id": _Reference("unknown_stream", "SELECT name FROM known_streams", "a clip event of the drop"),
}
_DEFINES = {"subject": "subject_id", "device": "device_id", "enrol": "reference_id", "clip": "stream_id"}
_NEEDS_CLIP = frozenset({"box", "landmarks"})
"""Kinds whose stream must have a clip event: the others may be logs alone."""
_RECORDED = ("attempt", "stream_frame", "presentation")
"""Kinds that happen within the recording; the others are repeated from earlier ones, so that only the end binds."""


def rules_of(kind: str, columns: Sequence[Column], *, protocol: str, has_repeats: bool) -> list[RowRule]:
    """The rules for events of one kind, in the order in which they are asked.

    Values come first (identifiers, levels, ranges, in the order of the columns), then the recording window, then
    `duplicate_event`, then references. The form of an id that refers is not asked: a sound event defined it. The
    SQL expects the views `frame_index` and `drop_files` and the tables `repeated`, `known_subjects`,
    `known_devices` and `known_references`.

    Args:
        columns: what an event of that kind carries.
        protocol: "enrolled" drops refer to enrolments, others need not.
        has_repeats: whether any event_id of the drop occurs twice; without, the rule is left out.
    """
    referring = [column for column in columns if _refers(kind, column, protocol=protocol)]
    rules = [rule for column in columns if column not in referring for rule in value_rules(column)]
    rules.append(_window_rule(is_recorded=kind in _RECORDED))
    if has_repeats:
        rules.append(_REPEAT_RULE)
    if kind == "presentation":
        rules += _PRESENTATION_RULES
    return rules + [_reference_rule(column) for column in referring]


def value_rules(column: Column) -> Iterator[RowRule]:
    """What the column's declaration says about one value: pattern, levels, range.

    >>> [rule.condition for rule in value_rules(Column("yaw_deg", "real", "head yaw", low=-90, high=90))]
    ['("yaw_deg" < -90 OR "yaw_deg" > 90)']
    """
    name = quoted(column.name)
    if column.pattern is not None:
        condition = f"NOT regexp_full_match({name}, {_text(column.pattern)})"
        yield RowRule("bad_identifier", condition, _found(column, f"text that matches {column.pattern}"))
    if column.levels:
        levels = ", ".join(_text(level) for level in column.levels)
        yield RowRule(
            "unknown_level", f"{name} NOT IN ({levels})", _found(column, f"one of {', '.join(column.levels)}")
        )
    bounds = [f"{name} {sign} {bound}" for sign, bound in (("<", column.low), (">", column.high)) if bound is not None]
    if bounds:
        low, high = ("unbounded" if bound is None else f"{bound:g}" for bound in (column.low, column.high))
        yield RowRule("out_of_range", f"({' OR '.join(bounds)})", _found(column, f"a number from {low} to {high}"))
    if column.kind == "reals":
        yield RowRule(
            "odd_numbers",
            f"len({name}) % 2 = 1",
            f"{_text(f'{column.name}: expected x and y of every point, found ')} || len({name}) || ' numbers'",
        )


def _window_rule(*, is_recorded: bool) -> RowRule:
    since, until = (f"(SELECT any_value({name}) FROM drop_files)" for name in ("captured_from", "captured_until"))
    late = f"occurred_at > {until}"
    expected = f"'occurred_at: expected at most ' || {until}"
    if is_recorded:
        late = f"(occurred_at < {since} OR {late})"
        expected = f"'occurred_at: expected ' || {since} || ' to ' || {until}"
    return RowRule("outside_window", late, f"{expected} || ', found ' || occurred_at")


_REPEAT_RULE = RowRule(
    "duplicate_event",
    "(source_file, source_line) IN (SELECT (source_file, source_line) FROM repeated)",
    "'event_id: expected each event once in a drop, found ' || event_id || ' again'",
)


_FACE_BOX_VALUES = " + ".join(f"({item.name} IS NOT NULL)::INTEGER" for item in FACE_BOX)
_PRESENTATION_RULES = (
    RowRule(
        "bona_fide_artefact",
        "presented = 'bona_fide' AND coalesce(pai_species, pai_series, artefact_id) IS NOT NULL",
        "'presented: expected no species, series or artefact of a bona fide presentation, found ' "
        "|| coalesce(pai_species, pai_series, artefact_id)",
    ),
    RowRule(
        "attack_without_species",
        "presented = 'attack' AND pai_species IS NULL",
        "'pai_species: expected that of an attack, found null'",
    ),
    RowRule(
        "decision_without_response",
        "response <> 'ok' AND (is_device_live OR is_device_match)",
        "'response: expected ok of what was taken for bona fide, found ' || response",
    ),
    RowRule(
        "match_without_liveness",
        "NOT is_device_live AND is_device_match",
        "'is_device_match: expected false of what liveness rejected, as it is the whole system that it tells of, found "
        "true'",
    ),
    RowRule(
        "partial_face_box",
        f"({_FACE_BOX_VALUES}) NOT IN (0, {len(FACE_BOX)})",
        f"'face box: expected all of {', '.join(item.name for item in FACE_BOX)}, or none, found ' "
        f"|| ({_FACE_BOX_VALUES})",
    ),
)
"""What is bona fide has no artefact, what attacks a species; only an answer can be a yes, what liveness rejects does
not pass the whole system; a box has four sides."""


def _refers(kind: str, column: Column, *, protocol: str) -> bool:
    if column.name not in _REFERENCES or _DEFINES.get(kind) == column.name:
        return False
    if column.name == "stream_id":
        return kind in _NEEDS_CLIP
    return column.name != "reference_id" or protocol == "enrolled"


def _reference_rule(column: Column) -> RowRule:
    reference = _REFERENCES[column.name]
    # Null is NOT IN an empty set, so that null has to be let pass by name.
    given = f"{column.name} IS NOT NULL AND " if column.nullable else ""
    condition = f"({given}{column.name} NOT IN ({reference.known}))"
    return RowRule(reference.reason, condition, _found(column, reference.of))


def _found(column: Column, expected: str) -> str:
    return f"{_text(f'{column.name}: expected {expected}, found ')} || {quoted(column.name)}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
