"""Simulate a study of presentation attacks: render every presentation, let the build's own model decide, write drops.

The planted truth is written beside the drops, never inside one. Who presents what is in `plan.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from cv_quality.drops.writer import DropWriter
from cv_quality.errors import ScenarioError
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.inference.liveness.scorer import LivenessScorer, load_scorer
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.store import Store
from cv_quality.simulation.attacks.plan import (
    AttackDrop,
    AttackScenario,
    Presentation,
    draw_presentations,
    people_of,
    render_presentations,
)
from cv_quality.simulation.population import Participants
from cv_quality.simulation.rendering import encode_png
from cv_quality.simulation.simulate import write_registers
from cv_quality.simulation.studies import drop_plans, drop_writer, write_truth

if TYPE_CHECKING:
    from cv_quality.drops.writer import Scalar

logger = logging.getLogger(__name__)

SCORE_STEP: Final = 1 / 256
"""Devices compute in eight bits."""


def simulate_attacks(
    scenario: AttackScenario,
    *,
    landing: Store,
    registry: ModelRegistry,
    seed: int | None = None,
    plans: Sequence[AttackDrop] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Write drops of a scenario and its truth; the same scenario, seed and models give the same bytes.

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
        ScenarioError: a build has no models.
        ModelError: a build's model cannot be loaded.
    """
    chosen = scenario.seed if seed is None else seed
    people, plans = people_of(scenario, seed=chosen), drop_plans(scenario) if plans is None else plans
    scorers = {build: _scorer(registry, build) for build in dict.fromkeys(plan.build.build_id for plan in plans)}
    for done, plan in enumerate(plans, start=1):
        scorer = scorers[plan.build.build_id]
        with drop_writer(
            landing, plan, modality=registry.modalities[scorer.entry.modality], protocol="presentations"
        ) as writer:
            _write(writer, scenario, people, plan, scorer=scorer, seed=chosen)
        if progress is not None:
            progress(plan.drop_id, done, len(plans))
    write_truth(landing, scenario, seed=chosen)
    return [plan.drop_id for plan in plans]


def _scorer(registry: ModelRegistry, build: str) -> LivenessScorer:
    entry = registry.entry(build)
    if not isinstance(entry, LivenessEntry):
        raise ScenarioError(f"builds: expected liveness builds with models, found {build}, which has none")
    return load_scorer(entry, registry=registry, threads=2)


def _write(
    writer: DropWriter,
    scenario: AttackScenario,
    people: Participants,
    plan: AttackDrop,
    *,
    scorer: LivenessScorer,
    seed: int,
) -> None:
    here = people.at(plan.site.name)
    write_registers(writer, here, {subject.device.device_id: subject.device for subject in here}, plan)
    shown = list(draw_presentations(scenario, people, plan, seed=seed))
    frames = render_presentations(shown, people)
    lux = [item.capture.illuminance_lux for item in shown]
    scores = scorer.score(list(frames), boxes=[None] * len(shown), illuminance_lux=lux).scores
    on_device = np.round(scores / SCORE_STEP) * SCORE_STEP
    for item, frame, score in zip(shown, frames, on_device.tolist(), strict=True):
        name = f"frames/{item.presentation_id}.png"
        writer.add_frame(name, encode_png(frame))
        is_live = score >= scorer.entry.decision_threshold
        answer: dict[str, Scalar] = {"pad_score": score, "is_device_live": is_live} if item.has_response else {}
        writer.add_event("presentation", frame=name, **_fields(item), **answer)
    logger.info("simulated drop %s: %d presentations", plan.drop_id, len(shown))


def _fields(item: Presentation) -> dict[str, Scalar]:
    artefact = item.artefact
    attack: dict[str, Scalar] = {}
    if artefact is not None:
        attack = {
            "pai_species": artefact.species,
            "pai_series": artefact.series,
            "artefact_id": artefact.artefact_id,
            "target_subject_id": artefact.target.subject_id,
        }
    return attack | {
        "event_id": item.presentation_id,
        "occurred_at": item.starts_at,
        "subject_id": item.subject.subject_id,
        "device_id": item.device.device_id,
        "session_id": f"session-{item.presentation_id}",
        "presented": "bona_fide" if artefact is None else "attack",
        "response": "ok" if item.has_response else "non_response",
        "illuminance_lux": item.capture.illuminance_lux,
        "distance_cm": item.capture.distance_cm,
        "thermal_state": item.capture.thermal_state,
        "scene": item.scene,
    }
