"""A modality of its own: four numbers in a tiny image, compared by distance, with two conditions; and its importer.

Smaller is more alike, a distance has no upper end, and attempts at a wet surface lie far off: what a build's root
causes must find.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.inference.encoded import Encoded
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import BuildEntry, EntryFields, ModelRegistry
from cv_quality.lake.schema import Column
from cv_quality.lake.store import Store
from cv_quality.metrics.pairs import Rows, TemplateArray
from cv_quality.modality import Bands, Dimension
from cv_quality.simulation.rendering import encode_png
from cv_quality.tasks.verification.modality import BiometricModality, Comparator, Conditions, vectors_of
from cv_quality.tasks.verification.rules import ONE_DIMENSION

BUILD, GAIN, THRESHOLD = "toy-1", 0.5, 9.0
DROPS = ("2026-09-01_toy-1_lab", "2026-09-02_toy-1_lab")
START = datetime(2026, 9, 1, 12, tzinfo=UTC)
SUBJECTS, ATTEMPTS = 40, 8
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ToyEntry:
    """A build that is no file: what it multiplies brightness by."""

    build_id: str
    task: str
    modality: str
    follows: str | None
    gain: float
    decision_threshold: float

    @property
    def sha256(self) -> str:
        return hashlib.sha256(repr(self.gain).encode()).hexdigest()


def parse_toy_entry(fields: EntryFields) -> ToyEntry:
    fields.check(required={"gain", "decision_threshold"})
    return ToyEntry(
        build_id=fields.build_id,
        task=fields.task,
        modality=fields.modality.name,
        follows=fields.follows,
        gain=fields.number("gain", "a positive number", lambda value: value > 0),
        decision_threshold=fields.score("decision_threshold"),
    )


@dataclass(frozen=True, slots=True)
class ToyEncoder:
    gain: float

    def encode(self, frames: Sequence[Frame], conditions: Sequence[Conditions], names: Sequence[str]) -> Encoded:
        assert all(set(row) == {"tilt_deg", "surface"} for row in conditions)
        vectors = np.array([frame.ravel() * self.gain for frame in frames], np.float32).reshape(len(frames), -1)
        assert all(name.startswith("frames/") for name in names)
        return Encoded(["ok" if vector.any() else "all_black" for vector in vectors], vectors)


def load_toy_encoder(entry: BuildEntry, _registry: ModelRegistry, _threads: int) -> ToyEncoder:
    assert isinstance(entry, ToyEntry)
    return ToyEncoder(entry.gain)


def mean_of_samples(samples: TemplateArray, starts: NDArray[np.int64]) -> tuple[Vector, NDArray[np.bool_]]:
    sizes = np.diff([*starts, len(samples)])
    return np.add.reduceat(samples, starts, axis=0) / sizes[:, None], np.ones(len(starts), bool)


def distance(references: TemplateArray, probes: TemplateArray, rows: Rows) -> Vector:
    return np.asarray(np.linalg.norm(references[rows[0]] - probes[rows[1]], axis=1))


EUCLIDEAN = Comparator(
    name="Euclidean distance",
    algorithm="toy-1",
    direction="dissimilarity",
    score_range=(0.0, np.inf),
    accepts_none=-1.0,
    accepts_all=1e9,
    parity_tolerance=0.25,
    read=vectors_of,
    fuse=mean_of_samples,
    score=distance,
)
TOY = BiometricModality(
    name="toy",
    conditions=(
        Dimension(
            Column("tilt_deg", "real", "tilt of the plate", nullable=True, low=0, high=90),
            "tilt in degrees",
            bands=Bands("tilt_band", (20.0,), ("<20", ">=20"), "plate tilt in degrees"),
            is_counted=True,
        ),
        Dimension(
            Column("surface", "text", "state of the surface", nullable=True, levels=("dry", "wet")),
            "plate surface",
            is_counted=True,
        ),
    ),
    encoder=load_toy_encoder,
    comparator=EUCLIDEAN,
    failure_statuses=("all_black",),
    template_rules=(ONE_DIMENSION,),
    parse_entry=parse_toy_entry,
)


def write_toy_entry(registry: Path, **changes: object) -> None:
    """Register the build, with keys changed; None takes one away."""
    fields = {"build_id": BUILD, "modality": "toy", "follows": "null", "gain": GAIN, "decision_threshold": THRESHOLD}
    kept = {key: value for key, value in (fields | changes).items() if value is not None}
    (registry / f"{BUILD}.yaml").write_text("".join(f"{key}: {value}\n" for key, value in kept.items()))


@dataclass(frozen=True, slots=True)
class ToySample:
    """One image, and what its log says of it; the reference has two samples, an attempt one."""

    drop: str
    subject: str
    name: str
    is_enrolment: bool
    pixels: NDArray[np.uint8]
    tilt_deg: float
    surface: str

    @property
    def vector(self) -> Vector:
        """What the build makes of it."""
        return self.pixels.ravel().astype(np.float64) * GAIN


def draw_toy_samples(seed: int = 7) -> list[ToySample]:
    """Subjects a few units apart; a wet surface moves an attempt off by much more than the threshold."""
    rng = np.random.default_rng(seed)
    return [sample for index in range(SUBJECTS) for sample in _samples(rng, f"s{index:02d}", DROPS[index % 2])]


def _samples(rng: np.random.Generator, subject: str, drop: str) -> Iterator[ToySample]:
    own = rng.uniform(60, 190, 4)
    for index in range(2 + ATTEMPTS):
        surface = "wet" if index >= 2 and rng.random() < 0.25 else "dry"
        off = rng.normal(0, 25 if surface == "wet" else 4, 4)
        pixels = np.clip(own + off, 1, 255).astype(np.uint8).reshape(2, 2)
        if index == 9 and subject in ("s00", "s01"):
            pixels[:] = 0
        tilt = float(rng.uniform(0, 40))
        yield ToySample(drop, subject, f"{subject}-{index}", index < 2, pixels, tilt, surface)


def import_toy(samples: Sequence[ToySample], *, landing: Store) -> None:
    """Write the samples as drops; one device of each logs a score that its model does not give."""
    for drop in DROPS:
        own = [sample for sample in samples if sample.drop == drop]
        with DropWriter(
            landing,
            modality=TOY,
            drop_id=drop,
            build_id=BUILD,
            site="lab",
            protocol="enrolled",
            captured_from=START,
            captured_until=START + timedelta(hours=1),
        ) as writer:
            at: dict[str, Scalar] = {"occurred_at": START}
            writer.add_event("device", event_id=f"device-{drop}", device_id="d1", device_model="plate-a", **at)
            for subject in dict.fromkeys(sample.subject for sample in own):
                facts: dict[str, Scalar] = {"subject_id": subject, "has_image_consent": True}
                writer.add_event("subject", event_id=f"subject-{subject}", **facts, **at)
            scores = genuine_distances(own)
            scores[0] += 1.0
            for sample in own:
                writer.add_frame(f"frames/{sample.name}.png", encode_png(sample.pixels))
                if sample.is_enrolment:
                    writer.add_event("enrol", is_enrolled=True, **_common(sample))
            for sample, score in zip(attempts_of(own), scores, strict=True):
                writer.add_event(
                    "attempt",
                    claimed_subject_id=sample.subject,
                    transaction_id=sample.name,
                    attempt_number=1,
                    presentation="bona_fide",
                    device_stage="matching",
                    device_score=float(score),
                    **_common(sample),
                )


def _common(sample: ToySample) -> dict[str, Scalar]:
    return {
        "event_id": sample.name,
        "occurred_at": START,
        "subject_id": sample.subject,
        "device_id": "d1",
        "session_id": sample.subject,
        "reference_id": f"r-{sample.subject}",
        "frame": f"frames/{sample.name}.png",
        "tilt_deg": sample.tilt_deg,
        "surface": sample.surface,
    }


def fused_references(samples: Sequence[ToySample]) -> dict[str, Vector]:
    """The mean of each subject's enrolled samples."""
    enrolled: dict[str, list[Vector]] = {}
    for sample in samples:
        if sample.is_enrolment:
            enrolled.setdefault(sample.subject, []).append(sample.vector)
    return {subject: np.mean(found, axis=0) for subject, found in enrolled.items()}


def attempts_of(samples: Sequence[ToySample]) -> list[ToySample]:
    return [sample for sample in samples if not sample.is_enrolment]


def genuine_distances(samples: Sequence[ToySample]) -> Vector:
    """The distance of each attempt to its subject's reference, in the order of the samples."""
    centres = fused_references(samples)
    return np.array([np.linalg.norm(sample.vector - centres[sample.subject]) for sample in attempts_of(samples)])
