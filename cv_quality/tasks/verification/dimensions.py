"""What attempts are told apart by beside the dimensions of their modality: their device and who was presented.

The conditions are declared in `cv_quality.tasks.verification.modalities`, one modality a file.
"""

from cv_quality.drops.tables import DEVICES, SUBJECTS
from cv_quality.modality import Bands, Dimension, Modality

DEVICE = (
    Dimension(DEVICES.column("device_model"), "device model", is_counted=True),
    Dimension(DEVICES.column("camera_supplier"), "camera supplier", is_counted=True),
)
SUBJECT = (
    Dimension(SUBJECTS.column("age_band"), "age group", is_counted=True),
    Dimension(SUBJECTS.column("sex"), "sex", is_counted=True),
    Dimension(
        SUBJECTS.column("skin_tone"),
        "skin tone (Monk)",
        level_phrase="Monk skin tone {}",
        bands=Bands("skin_tone_band", (4, 7), ("1-3", "4-6", "7-10"), "skin tone (Monk)"),
        is_counted=True,
    ),
)


def dimensions_of(modality: Modality) -> tuple[Dimension, ...]:
    """Every dimension of an attempt: its conditions, what was measured of it, its device, its subject."""
    return (*modality.conditions, *modality.measured, *DEVICE, *SUBJECT)


def searched_columns(modality: Modality) -> tuple[str, ...]:
    """The columns of `attempt_outcomes` that failures are searched by: as logged or measured, else levels."""
    own = (item.name for item in (*modality.conditions, *modality.measured) if item.is_searched)
    return (*own, *(item.level_column for item in (*DEVICE, *SUBJECT)))


def counted_dimensions(modality: Modality) -> tuple[Dimension, ...]:
    """The dimensions that rates are broken down by, in the order of a report: free labels of conditions come last."""
    counted = [item for item in dimensions_of(modality) if item.is_counted]
    return tuple(sorted(counted, key=lambda item: item in modality.conditions and not item.levels))
