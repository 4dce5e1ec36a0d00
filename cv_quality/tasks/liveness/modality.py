"""Liveness as a modality: the events of its drops and the conditions of a presentation.

Builds are evaluated as their devices recorded them, scores, decisions and missing responses being in the drop, or by
their models on the frames. What is computed of them is in `cv_quality.metrics.liveness`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from typing import Self

from cv_quality.drops.tables import LIVENESS_KINDS
from cv_quality.errors import PolicyError, RegistryError
from cv_quality.inference.liveness.entry import SCORE_FAILURES, LivenessEntry, parse_liveness_entry
from cv_quality.inference.registry import BuildEntry, EntryFields, RecordedEntry, parse_recorded_entry
from cv_quality.lake.schema import Bounds, Column
from cv_quality.modality import Dimension
from cv_quality.studies.pad_profiles import load_profile
from cv_quality.tasks.conditions import CONDITION_LABEL, ILLUMINANCE, THERMAL_STATE

CONDITIONS = (
    replace(ILLUMINANCE, benign=("illuminance 200 lux", 200.0)),
    Dimension(
        Column("distance_cm", "real", "from the sensor to what was presented", nullable=True, low=0, high=1_000),
        "distance in cm",
        phrase="{} cm away",
        benign=("distance 40 cm", 40.0),
    ),
    replace(THERMAL_STATE, is_counted=False),
    Dimension(
        Column("scene", "text", "where it was presented", nullable=True), "scene", phrase="scene {}", is_counted=True
    ),
    CONDITION_LABEL,
)
"""What devices log of a presentation."""


@dataclass(frozen=True, slots=True)
class RecordedLiveness(RecordedEntry):
    """A liveness build as its devices recorded it.

    Attributes:
        profiles: that it is held against, by name or file.
    """

    profiles: tuple[str, ...] = ()


def parse_entry(fields: EntryFields) -> LivenessEntry:
    """Read the entry of a liveness build with models.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    return replace(parse_liveness_entry(fields), profiles=parse_profiles(fields))


def parse_recorded(fields: EntryFields) -> RecordedLiveness:
    """Read the entry of a liveness build that is evaluated as recorded.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    recorded = parse_recorded_entry(fields, more=frozenset({"profiles"}))
    own = {item.name: getattr(recorded, item.name) for item in dataclass_fields(recorded) if item.init}
    return RecordedLiveness(**own, profiles=parse_profiles(fields))


def parse_profiles(fields: EntryFields) -> tuple[str, ...]:
    """Read the profiles that a build is held against.

    Raises:
        RegistryError: they are no list, or one of them cannot be read.
    """
    names = fields.value("profiles") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RegistryError(f"{fields.where}: profiles: expected a list of names or files, found {names!r}")
    for name in names:
        try:
            load_profile(name)
        except PolicyError as error:
            raise RegistryError(f"{fields.where}: profiles: {error}") from error
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class LivenessModality:
    """Presentations with what devices log of them; fields as of every modality (`cv_quality.modality.Modality`)."""

    name: str = "liveness"
    conditions: tuple[Dimension, ...] = CONDITIONS
    measured: tuple[Dimension, ...] = ()
    instance: None = None
    failure_statuses: tuple[str, ...] = SCORE_FAILURES
    parse_entry: Callable[[EntryFields], BuildEntry] = parse_entry
    parse_recorded_entry: Callable[[EntryFields], BuildEntry] = parse_recorded
    event_kinds: tuple[str, ...] = LIVENESS_KINDS
    bounds: Mapping[Bounds, tuple[float | None, float | None]] = field(default_factory=dict)
    task: str = "liveness"

    def of_build(self, entry: BuildEntry) -> Self:  # noqa: ARG002 - as every modality is asked
        """Itself: scores of devices and of models point the same way, and need no comparator."""
        return self


LIVENESS_MODALITY = LivenessModality()
