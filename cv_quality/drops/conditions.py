"""Declares what devices log of a sample beyond the conditions of its modality: the further columns of a drop.

A manifest of schema version 2 lists them. From there on a declared condition is one of the modality's: it has a typed
column, rules of its own, and is searched, shown and named with its label and unit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

import msgspec

from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX, RAW_TABLES
from cv_quality.errors import DropError, SchemaError
from cv_quality.lake.schema import Column
from cv_quality.modality import Dimension, Modality

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_CONDITIONS = 100
MAX_LEVELS = 100
COUNTED_LEVELS = 20
"""The most levels by which rates are broken down."""

AnyModality = TypeVar("AnyModality", bound=Modality)
ConditionType = Literal["text", "real", "integer", "flag"]

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+\Z"
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=_PRINTABLE)]
_ADDED_BY_SEARCHES = ("kind", "is_failure", "image_height_px")
_RESERVED = frozenset(
    {
        *_ADDED_BY_SEARCHES,
        *(column.name for table in (*RAW_TABLES.values(), DROP_FILES, FRAME_INDEX) for column in table),
    }
)


class DeclaredCondition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One condition that a drop declares.

    Attributes:
        name: of the field in enrolment and attempt events and of the column: lower case, digits, underscores.
        type: of the values.
        label: for people, without the unit; the name by default.
        unit: of a number.
        range: the closed range of a number; null is unbounded.
        levels: the closed set of values of a text; open without.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]
    type: ConditionType
    label: _Text | None = None
    unit: Annotated[str, msgspec.Meta(max_length=20, pattern=_PRINTABLE)] | None = None
    range: tuple[float | None, float | None] | None = None
    levels: tuple[_Text, ...] = ()

    @property
    def words(self) -> str:
        """The label with its unit."""
        label = self.label or self.name.replace("_", " ")
        return f"{label} in {self.unit}" if self.unit else label

    @property
    def dimension(self) -> Dimension:
        """The dimension of a sample that it is."""
        low, high = self.range or (None, None)
        label = (self.label or self.name.replace("_", " ")).replace("{", "{{").replace("}", "}}")
        unit = (self.unit if self.unit == "°" else f" {self.unit}") if self.unit else ""
        return Dimension(
            Column(self.name, self.type, self.words, nullable=True, low=low, high=high, levels=self.levels),
            self.words,
            phrase=f"{label} {{}}{unit}",
            level_phrase=f"{label} {{}}",
            is_counted=self.type == "text" and 0 < len(self.levels) <= COUNTED_LEVELS,
            is_declared=True,
        )


def check_conditions(conditions: Sequence[DeclaredCondition], *, where: str) -> None:
    """Check what a drop declares, as far as that can be told without other drops.

    Args:
        conditions: declared.
        where: what declares them, for the error.

    Raises:
        DropError: there are too many, one is declared twice or named like a column of every drop, or its range or
            levels do not go with its type.
    """
    if len(conditions) > MAX_CONDITIONS:
        raise DropError(f"{where}: expected at most {MAX_CONDITIONS} conditions, found {len(conditions)}")
    seen: set[str] = set()
    for item in conditions:
        problem = "declared twice" if item.name in seen else _problem(item)
        if problem:
            raise DropError(f"{where}: condition {item.name!r} is {problem}")
        seen.add(item.name)


def _problem(item: DeclaredCondition) -> str | None:
    if item.name in _RESERVED:
        return "named like a column that every drop has; name it otherwise"
    is_number = item.type in ("real", "integer")
    if (item.range or item.unit) and not is_number:
        return f"of type {item.type} and has a range or unit, which only numbers have"
    low, high = item.range or (None, None)
    if low is not None and high is not None and not low < high:
        return f"declared with the range {low:g} to {high:g}; the first bound is the lower one"
    if item.levels and item.type != "text":
        return f"of type {item.type} and has levels, which only texts have"
    if len(item.levels) > MAX_LEVELS:
        return f"declared with {len(item.levels):,} levels, at most {MAX_LEVELS} are taken; leave the levels open"
    if len(set(item.levels)) < len(item.levels):
        return f"declared with the level {next(x for x in item.levels if item.levels.count(x) > 1)!r} twice"
    return None


def encode_conditions(conditions: Sequence[DeclaredCondition]) -> str | None:
    """Write declarations as JSON; None for none."""
    return msgspec.json.encode(conditions).decode() if conditions else None


def decode_conditions(text: object) -> tuple[DeclaredCondition, ...]:
    """Read declarations that `encode_conditions` wrote."""
    return msgspec.json.decode(str(text), type=tuple[DeclaredCondition, ...]) if text else ()


def with_conditions(modality: AnyModality, conditions: Iterable[DeclaredCondition]) -> AnyModality:
    """Complete a modality by what a drop declares.

    Raises:
        SchemaError: the modality has a condition of one of the names itself, or measures it.
    """
    added = tuple(item.dimension for item in conditions)
    if not added:
        return modality
    own = {name for item in (*modality.conditions, *modality.measured) for name in (item.name, item.level_column)}
    for item in added:
        if item.name in {measured.name for measured in modality.measured}:
            raise SchemaError(f"modality {modality.name} measures {item.name!r} itself; name what is logged otherwise")
        if item.name in own:
            raise SchemaError(f"modality {modality.name} has a condition {item.name!r} of its own; log it as that")
    dataclass = cast("DataclassInstance", modality)
    return cast("AnyModality", replace(cast("Any", dataclass), conditions=(*modality.conditions, *added)))


def check_agreement(
    conditions: Sequence[DeclaredCondition],
    others: Sequence[DeclaredCondition],
    *,
    of: str,
    other: str,
    is_one_build: bool,
) -> None:
    """Check that two drops mean the same by a condition that both declare.

    Drops of one build declare it alike. Those of two builds share its column, so they agree in type and unit; a later
    build may have another range, other levels, a better label.

    Args:
        conditions, others: declared by the two drops.
        of, other: names of the drops, for the error.
        is_one_build: whether both were recorded with one build.

    Raises:
        DropError: they do not; both declarations are in its words.
    """
    known: Mapping[str, DeclaredCondition] = {item.name: item for item in others}
    for item in conditions:
        before = known.get(item.name, item)
        agrees = before == item if is_one_build else (before.type, before.unit) == (item.type, item.unit)
        if not agrees:
            raise DropError(
                f"drop {of} declares {_shown(item)}, drop {other}{' of the same build' if is_one_build else ''} "
                f"declared {_shown(before)}; give both one declaration, and deliver those to be corrected together"
            )


def _shown(item: DeclaredCondition) -> str:
    return msgspec.json.encode(item).decode()


def union_of(declared: Mapping[str, Sequence[DeclaredCondition]]) -> tuple[DeclaredCondition, ...]:
    """Put together what the drops of a build declare, in the order in which it is declared first.

    Args:
        declared: by drop.

    Raises:
        DropError: two of them contradict each other.
    """
    found: dict[str, tuple[str, DeclaredCondition]] = {}
    for drop, conditions in declared.items():
        for item in conditions:
            first, before = found.setdefault(item.name, (drop, item))
            check_agreement([item], [before], of=drop, other=first, is_one_build=True)
    return tuple(item for _, item in found.values())
