"""Simulate a study: render every capture, let each build's own model decide on the pixels, and write the drops.
The planted truth is written beside the drops, never inside one; what to simulate is in `scenario.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.writer import DropWriter
from cv_quality.inference.embedder import Embedder, load_embedder
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.store import Store
from cv_quality.modality import Modality
from cv_quality.simulation.fleet import CAMERAS, THERMAL_SLOWDOWN
from cv_quality.simulation.population import (
    Capture,
    Device,
    Participants,
    Subject,
    Transaction,
    build_population,
    enrolment,
    to_conditions,
    transactions,
)
from cv_quality.simulation.rendering import encode_png, render
from cv_quality.simulation.scenario import DropPlan, Scenario
from cv_quality.simulation.streams import stream_events
from cv_quality.simulation.studies import BuildT, SiteT, StudyDrop, drop_plans, drop_writer, write_truth

if TYPE_CHECKING:
    from cv_quality.drops.writer import Scalar

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called after each drop with its id, the number of drops done and the number of all."""

REFERENCE_MODELS: Final = Path(__file__).parent / "reference_models"
"""The registry of the builds face-1.0, face-1.1 and face-1.2 that comes with the package."""

LATENCY_SPREAD: Final = 0.18
TIMEOUT_MS: Final = 1200.0
# Measured on rendered frames: half of those below 10 lux have 8 or more, all above 14 lux more than 4.5.
_LEAST_CONTRAST: Final = 4.0
_BLOCK_PX: Final = 4


@dataclass(frozen=True, slots=True)
class Decision:
    """What the device made of one attempt: the stage that decided, its score if it came to one, its time."""

    stage: str
    score: float | None
    is_accepted: bool
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a transaction, its frame uint8[96, 96], and the decision."""

    transaction: Transaction
    number: int
    frame: NDArray[np.uint8]
    decision: Decision

    @property
    def frame_name(self) -> str:
        return f"frames/attempt/{self.transaction.transaction_id}-{self.number}.png"


def simulate(
    scenario: Scenario,
    *,
    landing: Store,
    registry: ModelRegistry,
    seed: int | None = None,
    plans: Sequence[DropPlan] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write drops of a scenario and its truth; the same scenario, seed and models give the same bytes.

    Args:
        scenario: what to simulate.
        landing: where the drops go, each in its own folder; the truth goes to `truth-<scenario>.json` beside them.
        registry: must know every build of the scenario.
        seed: in place of the scenario's own.
        plans: the drops to write; by default all of the scenario.
        progress: called after each drop.

    Returns:
        The ids of the drops, in the order in which they were written.

    Raises:
        RegistryError: the registry lacks a build.
        ModelError: a build's model cannot be loaded.
    """
    chosen_seed = scenario.seed if seed is None else seed
    population = build_population(scenario, seed=chosen_seed)
    plans = drop_plans(scenario) if plans is None else plans
    entries = [registry.model_entry(build_id) for build_id in dict.fromkeys(plan.build.build_id for plan in plans)]
    embedders = {entry.build_id: load_embedder(entry, registry=registry) for entry in entries}
    for done, plan in enumerate(plans, start=1):
        embedder = embedders[plan.build.build_id]
        _simulate_drop(
            scenario,
            population,
            plan,
            embedder=embedder,
            landing=landing,
            modality=registry.modalities[embedder.entry.modality],
            seed=chosen_seed,
        )
        if progress is not None:
            progress(plan.drop_id, done, len(plans))
    write_truth(landing, scenario, seed=chosen_seed)
    return [plan.drop_id for plan in plans]


def _simulate_drop(
    scenario: Scenario,
    population: Participants,
    plan: DropPlan,
    *,
    embedder: Embedder,
    landing: Store,
    modality: Modality,
    seed: int,
) -> None:
    people = population.at(plan.site.name)
    with drop_writer(landing, plan, modality=modality, protocol="enrolled") as writer:
        devices = {subject.device.device_id: subject.device for subject in people}
        write_registers(writer, people, devices, plan)
        references = _enrol(writer, scenario, population, people, embedder=embedder, seed=seed)
        planned = transactions(scenario, population, plan=plan, seed=seed)
        attempts = _play(planned, population, references=references, embedder=embedder)
        for attempt in attempts:
            writer.add_frame(attempt.frame_name, encode_png(attempt.frame))
            writer.add_event("attempt", **_attempt_fields(attempt))
        for device in devices.values():
            for fields in stream_events(device, plan=plan, frames=scenario.stream_frames, seed=seed):
                writer.add_event("stream_frame", **fields)
    logger.info("simulated drop %s: %d subjects, %d attempts", plan.drop_id, len(people), len(attempts))


def write_registers(
    writer: DropWriter, people: Sequence[Subject], devices: dict[str, Device], plan: StudyDrop[SiteT, BuildT]
) -> None:
    """Write the subjects and the devices of a drop.

    Args:
        writer: of the drop.
        people, devices: who takes part, and with what, by id.
        plan: of the drop.
    """
    logged = ("subject_id", "age_band", "sex", "skin_tone", "has_image_consent")
    for subject in people:
        writer.add_event(
            "subject",
            event_id=f"subject-{subject.subject_id}",
            occurred_at=plan.captured_from,
            **{name: getattr(subject, name) for name in logged},
        )
    for device in devices.values():
        writer.add_event(
            "device",
            event_id=f"device-{device.device_id}",
            occurred_at=plan.captured_from,
            device_id=device.device_id,
            device_model=device.model.name,
            os_version=device.os_version,
            camera_supplier=device.camera_supplier,
        )


def _enrol(
    writer: DropWriter,
    scenario: Scenario,
    population: Participants,
    people: Sequence[Subject],
    *,
    embedder: Embedder,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Write the enrolments of a drop; returns the fused unit reference [d] of each subject as this build sees it."""
    visits = [(subject, *enrolment(scenario, subject, seed=seed)) for subject in people]
    captures = [(subject, capture) for subject, _, taken in visits for capture in taken]
    frames = render_captures(captures, population)
    embedded = embedder.embed(list(frames), illuminance_lux=[capture.illuminance_lux for _, capture in captures])
    images = iter(frames)
    for subject, starts_at, taken in visits:
        for number, capture in enumerate(taken, start=1):
            name = f"frames/enrol/{subject.reference_id}-{number}.png"
            writer.add_frame(name, encode_png(next(images)))
            writer.add_event(
                "enrol",
                event_id=f"enrol-{subject.subject_id}-{number}",
                occurred_at=starts_at + timedelta(seconds=4 * number),
                subject_id=subject.subject_id,
                device_id=subject.device.device_id,
                session_id=f"enrol-{subject.subject_id}",
                reference_id=subject.reference_id,
                frame=name,
                is_enrolled=True,
                **_condition_fields(capture),
            )
    fused = embedded.embeddings.astype(np.float64).reshape(len(people), scenario.enrol_frames, -1).mean(axis=1)
    fused /= np.linalg.norm(fused, axis=1, keepdims=True)
    return {subject.subject_id: row for subject, row in zip(people, fused, strict=True)}


def _play(
    planned: Sequence[Transaction],
    population: Participants,
    *,
    references: dict[str, NDArray[np.float64]],
    embedder: Embedder,
) -> list[Attempt]:
    """Play all transactions attempt by attempt until each is accepted or gives up; sorted by time and id."""
    attempts: list[Attempt] = []
    waiting = list(planned)
    number = 1
    while waiting:
        captures = [(transaction.subject, transaction.captures[number - 1]) for transaction in waiting]
        frames = render_captures(captures, population)
        lux = [capture.illuminance_lux for _, capture in captures]
        embeddings = embedder.embed(list(frames), illuminance_lux=lux).embeddings
        can_use = is_usable(frames)
        played = []
        for row, transaction in enumerate(waiting):
            reference = references[transaction.claimed.subject_id]
            score = round(float(embeddings[row].astype(np.float64) @ reference), 6)
            decision = _decide(transaction, number, is_usable=bool(can_use[row]), score=score, embedder=embedder)
            played.append(Attempt(transaction, number, frames[row], decision))
        attempts += played
        refused = [attempt.transaction for attempt in played if not attempt.decision.is_accepted]
        waiting = [transaction for transaction in refused if number < transaction.attempts_allowed]
        number += 1
    return sorted(attempts, key=lambda attempt: (attempt.transaction.starts_at, attempt.frame_name))


def render_captures(captures: Sequence[tuple[Subject, Capture]], population: Participants) -> NDArray[np.uint8]:
    """Render captures of subjects as their devices' cameras take them."""
    identities = population.identities[[subject.row for subject, _ in captures]]
    conditions = to_conditions([capture for _, capture in captures], [subject.device for subject, _ in captures])
    return render(identities, conditions, cameras=CAMERAS, threads=2)


def is_usable(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Check whether each frame of uint8[n, h, w] passes the device's own check of contrast in the middle of the frame.

    Contrast is the standard deviation, in grey levels, of means of 4 x 4 pixels, which sensor noise hardly reaches.
    """
    count, height, width = frames.shape
    blocks = frames.reshape(count, height // _BLOCK_PX, _BLOCK_PX, width // _BLOCK_PX, _BLOCK_PX).mean(axis=(2, 4))
    return np.asarray(blocks[:, 2:-2, 4:-4].std(axis=(1, 2)) >= _LEAST_CONTRAST)


def _decide(transaction: Transaction, number: int, *, is_usable: bool, score: float, embedder: Embedder) -> Decision:
    capture, model = transaction.captures[number - 1], transaction.subject.device.model
    slowness = THERMAL_SLOWDOWN[capture.thermal_state] * np.exp(LATENCY_SPREAD * transaction.latency_draws[number - 1])
    latency_ms = round(float(model.latency_ms * slowness), 3)
    if not is_usable:
        return Decision("acquisition", None, is_accepted=False, latency_ms=round(0.4 * latency_ms, 3))
    if latency_ms > TIMEOUT_MS:
        return Decision("timeout", None, is_accepted=False, latency_ms=TIMEOUT_MS)
    is_accepted = score >= embedder.entry.decision_threshold
    return Decision("matching", score, is_accepted=is_accepted, latency_ms=latency_ms)


def _attempt_fields(attempt: Attempt) -> dict[str, Scalar]:
    transaction, decision = attempt.transaction, attempt.decision
    return {
        "event_id": f"attempt-{transaction.transaction_id}-{attempt.number}",
        "occurred_at": transaction.starts_at + timedelta(seconds=6 * attempt.number),
        "subject_id": transaction.subject.subject_id,
        "claimed_subject_id": transaction.claimed.subject_id,
        "device_id": transaction.subject.device.device_id,
        "session_id": transaction.session_id,
        "transaction_id": transaction.transaction_id,
        "attempt_number": attempt.number,
        "presentation": "bona_fide",
        "reference_id": transaction.claimed.reference_id,
        "frame": attempt.frame_name,
        "device_stage": decision.stage,
        "device_score": decision.score,
        "is_device_accepted": decision.is_accepted,
        "device_latency_ms": decision.latency_ms,
        **_condition_fields(transaction.captures[attempt.number - 1]),
    }


def _condition_fields(capture: Capture) -> dict[str, Scalar]:
    return {name: value for name, value in asdict(capture).items() if name != "seed"}
