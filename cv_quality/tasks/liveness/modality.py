"""Liveness as a modality: the events of its drops and the conditions of a presentation.

Builds are evaluated as their devices recorded them, scores, decisions and missing responses being in the drop, or by
their models on the frames. What is computed of them is in `cv_quality.metrics.liveness`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from cv_quality.drops.tables import LIVENESS_KINDS
from cv_quality.inference.liveness.entry import SCORE_FAILURES, parse_liveness_entry
from cv_quality.inference.registry import BuildEntry, EntryFields, parse_recorded_entry
from cv_quality.lake.schema import Bounds, Column
from cv_quality.modality import Dimension
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
class LivenessModality:
    """Presentations with what devices log of them; fields as of every modality (`cv_quality.modality.Modality`)."""

    name: str = "liveness"
    conditions: tuple[Dimension, ...] = CONDITIONS
    measured: tuple[Dimension, ...] = ()
    instance: None = None
    failure_statuses: tuple[str, ...] = SCORE_FAILURES
    parse_entry: Callable[[EntryFields], BuildEntry] = parse_liveness_entry
    parse_recorded_entry: Callable[[EntryFields], BuildEntry] = parse_recorded_entry
    event_kinds: tuple[str, ...] = LIVENESS_KINDS
    bounds: Mapping[Bounds, tuple[float | None, float | None]] = field(default_factory=dict)
    task: str = "liveness"

    def of_build(self, entry: BuildEntry) -> Self:  # noqa: ARG002 - as every modality is asked
        """Itself: scores of devices and of models point the same way, and need no comparator."""
        return self


LIVENESS_MODALITY = LivenessModality()
