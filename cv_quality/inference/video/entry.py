"""The registry entry of a video build: its model, the steps before and after it, and what its results must reach."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cv_quality.inference.preprocessing import Step
from cv_quality.inference.registry import BuildEntry, EntryFields, ModelFormat

Output = Literal["mask", "landmarks", "embedding", "depth", "image"]
REQUIRED_QUALITY = 0.5
"""Of a frame: J above it is what the DAVIS benchmark counts as recalled."""


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """One video build as its registry file declares it.

    Attributes:
        build_id, task, modality, follows, format, file, sha256: as of `ModelEntry`.
        output: what the model gives.
        preprocessing: steps before the model, in order.
        postprocessing: steps after it, in order.
        classes: labels of the output by the name of the class that the truth knows; empty where the truth's labels are
            the model's.
        states: outputs that are passed on to inputs at the next frame, by the name of the input.
        requirement: quality of a frame (1 - loss) below which it is a miss.
        decision_threshold: none.
    """

    build_id: str
    task: str
    modality: str
    follows: str | None
    format: ModelFormat
    file: str
    sha256: str
    output: Output
    preprocessing: tuple[Step, ...]
    postprocessing: tuple[object, ...] = ()
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    requirement: float = REQUIRED_QUALITY
    decision_threshold: None = None


@dataclass(frozen=True, slots=True)
class RecordedVideoEntry:
    """One video build that is evaluated as its devices recorded it: results in the drop, no model.

    Attributes:
        output: what the shards `results-*.tar` hold; boxes and landmarks are events.
        build_id, task, modality, follows, classes, requirement, decision_threshold: as of `VideoEntry`.
    """

    build_id: str
    task: str
    modality: str
    follows: str | None
    output: Output
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    requirement: float = REQUIRED_QUALITY
    decision_threshold: None = None
    sha256: None = None


def parse_video_entry(fields: EntryFields) -> BuildEntry:
    """Read the entry of a video build.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    raise NotImplementedError
