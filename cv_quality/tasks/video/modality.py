"""Video as a modality: the events and conditions of its drops, and what is measured of their pictures.

Conditions are logged by devices frame by frame; what pictures and ground truth say of themselves is measured once a
drop (`cv_quality.tasks.video.clips`) and searched like a condition.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from cv_quality.drops.tables import VIDEO_KINDS
from cv_quality.inference.registry import BuildEntry, EntryFields
from cv_quality.inference.video.entry import parse_recorded_video_entry, parse_video_entry
from cv_quality.lake.schema import Bounds, Column
from cv_quality.modality import Bands, Dimension
from cv_quality.tasks.conditions import CONDITION_LABEL, ILLUMINANCE, THERMAL_STATE

CONDITIONS = (
    ILLUMINANCE,
    Dimension(
        Column("rotation_deg_s", "real", "turn of the device by its gyroscope", nullable=True, low=0, high=4_000),
        "rotation of the device in degrees/s",
        phrase="rotation {} °/s",
    ),
    replace(THERMAL_STATE, phrase="{}", level_phrase="thermal state {}", is_counted=True),
    CONDITION_LABEL,
)
"""What devices log of a frame."""

MEASURED = (
    Dimension(
        Column("brightness", "real", "mean grey level, 0 to 255", nullable=True, low=0, high=255),
        "brightness in grey levels",
        phrase="brightness {}",
        bands=Bands("brightness_band", (40.0, 90.0, 170.0), ("<40", "40-90", "90-170", ">=170"), "brightness"),
        is_counted=True,
    ),
    Dimension(
        Column("contrast", "real", "standard deviation of the grey levels", nullable=True, low=0, high=128),
        "contrast in grey levels",
        phrase="contrast {}",
    ),
    Dimension(
        Column("sharpness", "real", "variance of the Laplacian of the grey levels", nullable=True, low=0),
        "sharpness",
        phrase="sharpness {}",
        is_logarithmic=True,
    ),
    Dimension(
        Column(
            "motion_share", "real", "mean optical flow from the frame before, by the diagonal", nullable=True, low=0
        ),
        "motion, of the diagonal a frame",
        phrase="motion {} of the diagonal a frame",
        bands=Bands("motion_band", (0.002, 0.01, 0.03), ("<0.002", "0.002-0.01", "0.01-0.03", ">=0.03"), "motion"),
        is_counted=True,
    ),
    Dimension(
        Column(
            "object_motion_share",
            "real",
            "optical flow within the objects of the truth, by the diagonal",
            nullable=True,
            low=0,
        ),
        "motion of objects, of the diagonal a frame",
        phrase="objects move {} of the diagonal a frame",
        bands=Bands(
            "object_motion_band",
            (0.002, 0.01, 0.03),
            ("<0.002", "0.002-0.01", "0.01-0.03", ">=0.03"),
            "motion of objects",
        ),
        is_counted=True,
    ),
    Dimension(
        Column(
            "object_share", "real", "part of the picture that objects of the truth fill", nullable=True, low=0, high=1
        ),
        "size of objects, of the picture",
        phrase="objects fill {} of the picture",
        bands=Bands("object_band", (0.01, 0.05, 0.2), ("<0.01", "0.01-0.05", "0.05-0.2", ">=0.2"), "size of objects"),
        is_counted=True,
        is_logarithmic=True,
    ),
    Dimension(
        Column("n_objects", "integer", "objects, or classes, of the truth", nullable=True, low=0),
        "number of objects",
        phrase="{} objects",
    ),
    Dimension(
        Column("is_at_border", "flag", "whether an object of the truth touches the border", nullable=True),
        "object at the border",
        phrase="object at the border: {}",
    ),
    Dimension(
        Column("overlap_share", "real", "part of the objects' boxes that others cover", nullable=True, low=0, high=1),
        "overlap of objects",
        phrase="objects overlap by {}",
    ),
)
"""What is measured of a frame's picture and of its ground truth."""


@dataclass(frozen=True, slots=True)
class VideoModality:
    """Streams of frames with what devices log of them.

    Attributes:
        name: as manifests and registry entries write it.
        conditions: what devices log of a frame.
        measured: of its picture and of its ground truth.
        instance: none, as nobody is told apart.
        failure_statuses: why a frame gives no output.
        parse_entry: reads a build's registry file.
        parse_recorded_entry: reads that of one evaluated as its devices recorded it.
        event_kinds: of its drops.
        bounds: none, as outputs have no score.
        task: what is measured of it.
    """

    name: str = "video"
    conditions: tuple[Dimension, ...] = CONDITIONS
    measured: tuple[Dimension, ...] = MEASURED
    instance: None = None
    failure_statuses: tuple[str, ...] = (
        "missing_frame",
        "damaged_frame",
        "dropped_frame",
        "no_prompt",
        "non_finite",
    )
    parse_entry: Callable[[EntryFields], BuildEntry] = parse_video_entry
    parse_recorded_entry: Callable[[EntryFields], BuildEntry] = parse_recorded_video_entry
    event_kinds: tuple[str, ...] = VIDEO_KINDS
    bounds: Mapping[Bounds, tuple[float | None, float | None]] = field(default_factory=dict)
    task: str = "video"

    def of_build(self, entry: BuildEntry) -> Self:  # noqa: ARG002 - as every modality is asked
        """Itself: what a device recorded of a frame is judged as a model's output is."""
        return self


VIDEO_MODALITY = VideoModality()
