"""What verification needs to know of a modality: how samples become templates, and how two templates are compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cv_quality.inference.registry import BuildEntry, EntryFields
from cv_quality.lake.schema import Bounds
from cv_quality.modality import Dimension


@dataclass(frozen=True, slots=True)
class BiometricModality:
    """A biometric characteristic.

    Attributes:
        name: as manifests and registry entries write it.
        conditions: what devices log of the circumstances of a sample.
        bounds: the closed range of scores and of thresholds.
        parse_entry: reads a build's registry file.
        task: what is measured of it.
    """

    name: str
    conditions: tuple[Dimension, ...]
    bounds: Mapping[Bounds, tuple[float | None, float | None]]
    parse_entry: Callable[[EntryFields], BuildEntry]
    task: str = "verification"
