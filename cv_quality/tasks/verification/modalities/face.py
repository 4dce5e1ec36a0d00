"""Faces: unit vectors under the cosine."""

from cv_quality.inference.registry import parse_model_entry
from cv_quality.lake.schema import Column
from cv_quality.modality import Bands, Dimension
from cv_quality.tasks.verification.modality import BiometricModality

CONDITIONS = (
    Dimension(
        Column("illuminance_lux", "real", "illuminance at the device", nullable=True, low=0, high=200_000),
        "illuminance in lux",
        phrase="{} lux",
        level_phrase="illuminance {} lux",
        bands=Bands(
            "illuminance_band", (10.0, 100.0, 1_000.0), ("<10", "10-100", "100-1000", ">=1000"), "illuminance in lux"
        ),
        is_counted=True,
        is_logarithmic=True,
        benign=("illuminance 200 lux", 200.0),
    ),
    Dimension(
        Column("distance_cm", "real", "distance of the face to the sensor", nullable=True, low=0, high=1_000),
        "distance in cm",
        phrase="{} cm",
        benign=("distance 40 cm", 40.0),
    ),
    Dimension(
        Column("yaw_deg", "real", "head yaw, positive to the subject's left", nullable=True, low=-90, high=90),
        "yaw in degrees",
        phrase="yaw {}°",
        benign=("yaw 0 degrees", 0.0),
    ),
    Dimension(
        Column("pitch_deg", "real", "head pitch, positive up", nullable=True, low=-90, high=90),
        "pitch in degrees",
        phrase="pitch {}°",
        benign=("pitch 0 degrees", 0.0),
    ),
    Dimension(
        Column("motion_blur_px", "real", "length of the motion blur in the frame", nullable=True, low=0, high=500),
        "motion blur in pixels",
        phrase="blur {} px",
        benign=("no motion blur", 0.0),
    ),
    Dimension(
        Column("eyewear", "text", "what the eyes wear", nullable=True, levels=("none", "glasses", "sunglasses")),
        "eyewear",
        is_counted=True,
        benign=("no eyewear", "none"),
        ordinary="none",
    ),
    Dimension(
        Column("covering", "text", "what covers the face", nullable=True, levels=("none", "mask", "scarf")),
        "face covering",
        is_counted=True,
        benign=("nothing covers the face", "none"),
        ordinary="none",
    ),
    Dimension(
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
    ),
    Dimension(
        Column("condition_label", "text", "free label of the capture condition", nullable=True),
        "condition label",
        level_phrase="condition {}",
        is_counted=True,
    ),
)

FACE = BiometricModality(
    name="face",
    conditions=CONDITIONS,
    bounds={"score": (-1.0, 1.0), "threshold": (-1.0, 2.0)},
    parse_entry=parse_model_entry,
)
