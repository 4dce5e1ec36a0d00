"""What the events of one drop carry and become: the fixed fields and its modality's conditions, in every form needed.

Which of these are asked of a line is decided in `cv_quality.drops.parsing` and `events`; the fixed fields are declared
in `cv_quality.drops.tables`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from typing import Annotated

import msgspec
import pyarrow as pa

from cv_quality.drops.conditions import DeclaredCondition, with_conditions
from cv_quality.drops.device_scores import DeviceScores, with_device_scores
from cv_quality.drops.tables import PROVENANCE, RAW_TABLES, VALIDATED_TABLES
from cv_quality.errors import DropError, SchemaError, near
from cv_quality.lake.schema import Column, Table
from cv_quality.modality import Modality, of_modality

MAX_NUMBERS = 20_000
"""In a field that holds several."""
INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"


@dataclass(frozen=True, eq=False)
class DropSchema:
    """The contract of one drop's events, by kind; what is derived from it is derived once.

    Attributes:
        modality: whose conditions and range of scores the fields have.
    """

    modality: Modality

    @cached_property
    def raw(self) -> dict[str, Table]:
        """The tables of typed rows."""
        return {kind: of_modality(RAW_TABLES[kind], self.modality) for kind in self.modality.event_kinds}

    @cached_property
    def validated(self) -> dict[str, Table]:
        """The tables of sound rows, with the columns of the typed ones."""
        return {kind: of_modality(VALIDATED_TABLES[kind], self.modality) for kind in self.modality.event_kinds}

    @cached_property
    def fields(self) -> dict[str, tuple[Column, ...]]:
        """What an event carries."""
        return {kind: table.columns[: -len(PROVENANCE)] for kind, table in self.raw.items()}

    @property
    def has_media(self) -> bool:
        """Whether drops hold video files, ground truth and results beside the images that events name."""
        return "clip" in self.raw

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[msgspec.Struct]:
        """A strict decoder that knows the kinds apart; fields that the contract does not name are passed over."""
        kinds = [
            msgspec.defstruct(kind, [_strict(column) for column in columns], kw_only=True, tag_field="kind", tag=kind)
            for kind, columns in self.fields.items()
        ]
        return msgspec.json.Decoder(reduce(or_, kinds))

    @cached_property
    def wire(self) -> dict[str, pa.Schema]:
        """The columns of a log with events of one kind."""
        return {kind: _wire(columns) for kind, columns in self.fields.items()}

    @cached_property
    def wide_wire(self) -> pa.Schema:
        """The columns of a log with events of every kind.

        Raises:
            SchemaError: two kinds have a field of one name and of different types.
        """
        known: dict[str, Column] = {}
        for column in (column for columns in self.fields.values() for column in columns):
            if known.setdefault(column.name, column).kind != column.kind:
                raise SchemaError(
                    f"modality {self.modality.name}: field {column.name!r} is of type {column.kind} in one kind of "
                    f"event and {known[column.name].kind} in another; name the condition otherwise"
                )
        return _wire(known.values())

    @cached_property
    def arrow(self) -> dict[str, pa.Schema]:
        """The schemas of the typed rows."""
        return {kind: table.arrow_schema for kind, table in self.raw.items()}


def schema_of(
    modality: str,
    modalities: Mapping[str, Modality],
    *,
    conditions: Sequence[DeclaredCondition],
    device_scores: DeviceScores | None = None,
    where: str,
) -> DropSchema:
    """The schema of a drop of this modality.

    Args:
        modalities: those known, by name.
        conditions, device_scores: that the drop declares.
        where: what names the modality, for the error.

    Raises:
        DropError: it is not among those known, the near ones are named; or it has a condition itself that is declared.
    """
    if modality not in modalities:
        raise DropError(f"{where}: no task evaluates modality {modality!r}; {near(modality, modalities)}")
    try:
        return DropSchema(with_device_scores(with_conditions(modalities[modality], conditions), device_scores))
    except SchemaError as error:
        raise DropError(f"{where}: {error}") from error


def _strict(column: Column) -> tuple[str, object] | tuple[str, object, object]:
    types: dict[str, object] = {
        "text": str,
        "integer": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
        "real": float,
        "flag": bool,
        "reals": Annotated[list[float], msgspec.Meta(max_length=MAX_NUMBERS)],
        "instant": Annotated[str, msgspec.Meta(pattern=rf"^{INSTANT}\Z")],
    }
    wanted = types[column.kind]
    return (column.name, wanted | None, None) if column.nullable else (column.name, wanted)  # type: ignore[operator]


def _wire(columns: Iterable[Column]) -> pa.Schema:
    """Times are read as text: Arrow's own reading would let a blank pass for the T."""
    types = ((column.name, pa.string() if column.kind == "instant" else column.arrow_type) for column in columns)
    return pa.schema([("kind", pa.string()), *types])
