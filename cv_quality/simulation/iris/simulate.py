"""Simulate a study of irises: render both eyes of every moment, and write the drops.

No encoder runs here: what eyes give no template, and which are rejected, comes out of running a build's own encoder on
the images later. The planted truth is written beside the drops, never inside one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from cv_quality.drops.writer import DropWriter
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.store import Store
from cv_quality.modality import Modality
from cv_quality.simulation.iris.eyes import render_iris
from cv_quality.simulation.iris.scenario import IrisDrop, IrisScenario
from cv_quality.simulation.iris.wearers import EYES, Eye, Moment, Wearer, draw_enrolments, draw_moments, draw_wearers
from cv_quality.simulation.rendering import encode_png
from cv_quality.simulation.studies import drop_plans, drop_writer, write_truth

if TYPE_CHECKING:
    from cv_quality.drops.writer import Scalar

logger = logging.getLogger(__name__)

OS_VERSION: Final = "3.2"
_AT_ONCE: Final = 64
_THREADS: Final = 2


def simulate_irises(
    scenario: IrisScenario,
    *,
    landing: Store,
    registry: ModelRegistry,
    seed: int | None = None,
    plans: Sequence[IrisDrop] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Write drops of a scenario and its truth; the same scenario and seed give the same bytes.

    Args:
        scenario: what to simulate.
        landing: where the drops go, each in its own folder; the truth goes to `truth-<scenario>.json` beside them.
        registry: must know every build of the scenario.
        seed: in place of the scenario's own.
        plans: the drops to write; by default all of the scenario.
        progress: called after each drop with its id, the number of drops done and the number of all.

    Returns:
        The ids of the drops, in the order in which they were written.

    Raises:
        RegistryError: the registry lacks a build.
    """
    chosen = scenario.seed if seed is None else seed
    plans = drop_plans(scenario) if plans is None else plans
    for done, plan in enumerate(plans, start=1):
        modality = registry.modalities[registry.entry(plan.build.build_id).modality]
        _write_drop(scenario, plan, landing=landing, modality=modality, seed=chosen)
        if progress is not None:
            progress(plan.drop_id, done, len(plans))
    write_truth(landing, scenario, seed=chosen)
    return [plan.drop_id for plan in plans]


def _write_drop(scenario: IrisScenario, plan: IrisDrop, *, landing: Store, modality: Modality, seed: int) -> None:
    wearers = draw_wearers(scenario, plan.site, seed=seed)
    with drop_writer(landing, plan, modality=modality, protocol="enrolled") as writer:
        for wearer in wearers:
            _write_wearer(writer, wearer, at=plan.captured_from)
        moments = [*draw_enrolments(wearers, plan, seed=seed), *draw_moments(scenario, wearers, plan, seed=seed)]
        for moment, eye, image in _rendered(moments):
            _write_sample(writer, moment, eye, image)
    logger.info("simulated drop %s: %d subjects, %d moments", plan.drop_id, len(wearers), len(moments))


def _rendered(moments: Sequence[Moment]) -> Iterator[tuple[Moment, Eye, bytes]]:
    """Every eye of every moment as PNG, some rendered at a time."""
    looks = ((moment, side) for moment in moments for side in range(len(EYES)))
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(islice(looks, _AT_ONCE)):
            for (moment, side), image in zip(chunk, pool.map(_png, chunk), strict=True):
                yield moment, EYES[side], image


def _png(look: tuple[Moment, int]) -> bytes:
    moment, side = look
    return encode_png(render_iris(moment.wearer.eye_seeds[side], moment.states[side]))


def _write_wearer(writer: DropWriter, wearer: Wearer, *, at: datetime) -> None:
    logged = ("subject_id", "age_band", "sex", "skin_tone", "has_image_consent")
    writer.add_event(
        "subject",
        event_id=f"subject-{wearer.subject_id}",
        occurred_at=at,
        **{name: getattr(wearer, name) for name in logged},
    )
    writer.add_event(
        "device",
        event_id=wearer.device_id,
        occurred_at=at,
        device_id=wearer.device_id,
        device_model=wearer.device_model,
        os_version=OS_VERSION,
        camera_supplier=wearer.camera_supplier,
    )


def _write_sample(writer: DropWriter, moment: Moment, eye: Eye, image: bytes) -> None:
    wearer, state = moment.wearer, moment.states[EYES.index(eye)]
    name = moment.sample_id(eye)
    frame = f"frames/{name}.png"
    writer.add_frame(frame, image)
    shared: dict[str, Scalar] = {
        "occurred_at": moment.starts_at,
        "subject_id": wearer.subject_id,
        "device_id": wearer.device_id,
        "session_id": f"session-{moment.transaction_id}",
        "reference_id": moment.claimed.reference_id(eye),
        "frame": frame,
        "eye": eye,
        "illuminance_lux": round(state.illuminance_lux, 2),
        "distance_cm": moment.distance_cm,
        "gaze_deg": round(state.gaze_deg, 2),
        "spectacles": state.spectacles,
        "contact_lens": state.contact_lens,
        "days_since_enrol": round(moment.days_since_enrol, 3),
    }
    if moment.number == 0:
        writer.add_event("enrol", event_id=f"enrol-{name}", is_enrolled=True, **shared)
        return
    writer.add_event(
        "attempt",
        event_id=f"attempt-{name}",
        claimed_subject_id=moment.claimed.subject_id,
        transaction_id=moment.transaction_id,
        attempt_number=1,
        presentation="bona_fide",
        device_stage="matching",
        device_latency_ms=round(moment.latency_ms, 3),
        **shared,
    )
