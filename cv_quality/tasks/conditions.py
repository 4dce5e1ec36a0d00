"""Conditions that more than one modality logs, declared once; what a modality says of one of them is replaced there."""

from cv_quality.lake.schema import Column
from cv_quality.modality import Bands, Dimension

ILLUMINANCE = Dimension(
    Column("illuminance_lux", "real", "illuminance at the device", nullable=True, low=0, high=200_000),
    "illuminance in lux",
    phrase="{} lux",
    level_phrase="illuminance {} lux",
    bands=Bands(
        "illuminance_band", (10.0, 100.0, 1_000.0), ("<10", "10-100", "100-1000", ">=1000"), "illuminance in lux"
    ),
    is_counted=True,
    is_logarithmic=True,
)
THERMAL_STATE = Dimension(
    Column(
        "thermal_state",
        "text",
        "thermal pressure of the device",
        nullable=True,
        levels=("nominal", "fair", "serious", "critical"),
    ),
    "thermal state",
    phrase="thermal state {}",
    ordinary="nominal",
)
CONDITION_LABEL = Dimension(
    Column("condition_label", "text", "free label of the capture condition", nullable=True),
    "condition label",
    level_phrase="condition {}",
    is_counted=True,
)
