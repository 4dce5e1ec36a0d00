"""A small study of irises: two eyes of a few people as strips, whose attempts are turned and noisy."""

import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.inference.iris.encoder import CodeEncoder
from cv_quality.inference.iris.entry import Acquisition, IrisMask, StripSize
from cv_quality.inference.iris.log_gabor import LogGabor
from cv_quality.inference.iris.strips import StripReader
from cv_quality.lake.store import Store
from cv_quality.metrics.iris.codes import Codes
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.tasks.verification.modalities.iris import IRIS

DROP, STRIPS, READY = "2026-10-01_iris-2_lab", "iris-1", "iris-2"
SIZE, GABOR = StripSize(16, 96), LogGabor(rows=8, columns=48, wavelength_px=12.0, planes=("real", "imaginary"))
MASK = IrisMask(bright_from=256.0)
RULE = HammingRule(bits=GABOR.bits, step=GABOR.step, shifts=5, minimum_bits=100)
THRESHOLD = 0.3
START = datetime(2026, 10, 1, 12, tzinfo=UTC)
SUBJECTS, ATTEMPTS, EYES = 10, 3, ("left", "right")
NO_OVERLAP, WRONG_EYE = "p03-left-1", "p05-right-wrong"
"""The attempt whose ready template shares no bit with its reference, and the one that claims the other eye."""


@dataclass(frozen=True, slots=True)
class Strip:
    """One sample."""

    name: str
    subject: str
    eye: str
    number: int
    pixels: NDArray[np.uint8]

    @property
    def frame(self) -> str:
        return f"frames/{self.name}.png"


def draw_strips(seed: int = 3) -> list[Strip]:
    """Draw each eye once for its reference (number 0), then turned and with noise."""
    rng = np.random.default_rng(seed)
    return [
        Strip(f"p{person:02d}-{eye}-{number}", f"p{person:02d}", eye, number, pixels)
        for person in range(SUBJECTS)
        for eye in EYES
        for number, pixels in enumerate(_eye(rng))
    ]


def _eye(rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    coarse = rng.normal(size=(8, 24))
    texture = np.asarray(Image.fromarray(coarse).resize((SIZE.width, SIZE.height), Image.Resampling.BICUBIC))
    shown = [texture]
    for _ in range(ATTEMPTS):
        turned = np.roll(texture, 2 * int(rng.integers(-2, 3)), axis=1)
        shown.append(turned + rng.normal(0, 2.0, texture.shape))
    return [np.clip(128 + 40 * strip, 0, 255).astype(np.uint8) for strip in shown]


def encode(strips: list[Strip]) -> Codes:
    """The templates of strips, as the build of strips makes them."""
    encoder = CodeEncoder(GABOR, Acquisition(), StripReader(SIZE, MASK, Acquisition()))
    found = encoder.encode([strip.pixels for strip in strips], [{}] * len(strips), [strip.frame for strip in strips])
    assert set(found.statuses) == {"ok"}
    templates: Codes = found.templates  # type: ignore[assignment]
    return templates


def import_irises(strips: list[Strip], *, landing: Store) -> None:
    """Write the drop; one more attempt claims the reference of the person's other eye."""
    with DropWriter(
        landing,
        modality=IRIS,
        drop_id=DROP,
        build_id=READY,
        site="lab",
        protocol="enrolled",
        captured_from=START,
        captured_until=START + timedelta(hours=1),
    ) as writer:
        at: dict[str, Scalar] = {"occurred_at": START}
        writer.add_event("device", event_id="device-1", device_id="d1", device_model="visor-a", **at)
        for subject in dict.fromkeys(strip.subject for strip in strips):
            facts: dict[str, Scalar] = {"subject_id": subject, "has_image_consent": True}
            writer.add_event("subject", event_id=f"subject-{subject}", **facts, **at)
        for strip in strips:
            writer.add_frame(strip.frame, _png(strip.pixels))
            if strip.number == 0:
                writer.add_event("enrol", is_enrolled=True, **_common(strip, strip.name, strip.eye))
        attempts = [(strip, strip.name, strip.eye) for strip in strips if strip.number]
        wrong = next(strip for strip in strips if strip.name == "p05-right-2")
        for strip, name, claimed in [*attempts, (wrong, WRONG_EYE, "left")]:
            writer.add_event(
                "attempt",
                claimed_subject_id=strip.subject,
                transaction_id=f"{strip.subject}-{strip.number}",
                attempt_number=1,
                presentation="bona_fide",
                device_stage="matching",
                device_score=None,
                **_common(strip, name, claimed),
            )


def write_entries(registry: Path, strips: list[Strip]) -> None:
    """Register the build of strips, and one that has the same templates ready, one of which shares no bit."""
    shared = f"modality: iris\ndecision_threshold: {THRESHOLD}\n"
    rule = f"comparison: {{shifts: {RULE.shifts}, minimum_bits: {RULE.minimum_bits}}}\n"
    planes = ", ".join(GABOR.planes)
    made = f"{{rows: {GABOR.rows}, columns: {GABOR.columns}, wavelength_px: {GABOR.wavelength_px}, planes: [{planes}]}}"
    (registry / f"{STRIPS}.yaml").write_text(
        f"build_id: {STRIPS}\nfollows: null\n{shared}{rule}input: strip\nencoder: {made}\n"
        f"strip: {{height: {SIZE.height}, width: {SIZE.width}}}\nmask: {{bright_from: {MASK.bright_from}}}\n"
    )
    table = ready_table(strips)
    (registry / "ready.parquet").write_bytes(table)
    (registry / f"{READY}.yaml").write_text(
        f"build_id: {READY}\nfollows: {STRIPS}\n{shared}{rule}templates: ready.parquet\n"
        f"sha256: {hashlib.sha256(table).hexdigest()}\n"
        f"code: {{rows: {GABOR.rows}, columns: {GABOR.columns}, planes: 2}}\n"
    )


def ready_table(strips: list[Strip]) -> bytes:
    """The templates of `encode` as a table; the left eye of p03 is seen in one half, and in the other once."""
    templates = encode(strips).copy()
    half = RULE.words // 2
    for place, strip in enumerate(strips):
        if strip.name == NO_OVERLAP:
            templates[place, :, : half + 4] = 0
        elif strip.name == "p03-left-0":
            templates[place, :, half - 4 :] = 0
    columns = {name: [row[side].tobytes() for row in templates] for side, name in enumerate(("code", "mask"))}
    rows = pl.DataFrame({"frame": [strip.frame for strip in strips], **columns})
    file = io.BytesIO()
    rows.write_parquet(file, metadata={"rows": str(GABOR.rows), "columns": str(GABOR.columns), "planes": "2"})
    return file.getvalue()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _common(strip: Strip, name: str, claimed: str) -> dict[str, Scalar]:
    return {
        "event_id": name,
        "occurred_at": START,
        "subject_id": strip.subject,
        "device_id": "d1",
        "session_id": strip.subject,
        "reference_id": f"{strip.subject}-{claimed}",
        "frame": strip.frame,
        "eye": strip.eye,
    }
