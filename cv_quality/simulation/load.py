"""Scenarios of any modality: read by name or from a file, and written as drops.

A scenario says with its key `modality` that it is one of video, irises or attacks; without it, it is one of faces.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from cv_quality.errors import ScenarioError
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.store import Store
from cv_quality.simulation.attacks.plan import AttackScenario, parse_attack_scenario
from cv_quality.simulation.attacks.simulate import simulate_attacks
from cv_quality.simulation.iris.scenario import IrisScenario, parse_iris_scenario
from cv_quality.simulation.iris.simulate import simulate_irises
from cv_quality.simulation.scenario import Scenario, parse_scenario
from cv_quality.simulation.scenario_files import read_scenario, scenario_mapping
from cv_quality.simulation.simulate import simulate
from cv_quality.simulation.studies import BuildT, SiteT, Study, StudyDrop, drop_plans, next_plan
from cv_quality.simulation.video.scenario import VideoScenario, parse_video_scenario
from cv_quality.simulation.video.simulate import simulate_video

AnyScenario: TypeAlias = Scenario | VideoScenario | IrisScenario | AttackScenario


def load_any_scenario(name_or_path: str | Path) -> AnyScenario:
    """Load a packaged scenario by name (see `packaged_scenarios`), or one from a YAML file.

    Raises:
        ScenarioError: no such scenario, or a key or value that does not fit.
    """
    text, where = read_scenario(name_or_path)
    modality = scenario_mapping(text, where=where).get("modality", "face")
    if modality == "video":
        return parse_video_scenario(text, where=where)
    if modality == "iris":
        return parse_iris_scenario(text, where=where)
    if modality == "liveness":
        return parse_attack_scenario(text, where=where)
    if modality != "face":
        raise ScenarioError(
            f"{where}: modality: expected video, iris or liveness, or no such key for faces, found {modality!r}"
        )
    return parse_scenario(text, where=where)


def write_drops(
    scenario: AnyScenario,
    *,
    landing: Store,
    registry: ModelRegistry,
    seed: int | None = None,
    is_next: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Write a scenario's drops, or the one after those that are there.

    Args:
        scenario, landing, registry, seed, progress: as of `simulate`.
        is_next: write only the next drop.

    Returns:
        The ids of the drops.

    Raises:
        RegistryError: the registry lacks a build.
        ModelError: a build's model cannot be loaded.
    """
    if isinstance(scenario, VideoScenario):
        plans = _chosen(scenario, landing=landing, is_next=is_next)
        return simulate_video(scenario, landing=landing, registry=registry, seed=seed, plans=plans, progress=progress)
    if isinstance(scenario, IrisScenario):
        looks = _chosen(scenario, landing=landing, is_next=is_next)
        return simulate_irises(scenario, landing=landing, registry=registry, seed=seed, plans=looks, progress=progress)
    if isinstance(scenario, AttackScenario):
        shown = _chosen(scenario, landing=landing, is_next=is_next)
        return simulate_attacks(scenario, landing=landing, registry=registry, seed=seed, plans=shown, progress=progress)
    faces = _chosen(scenario, landing=landing, is_next=is_next)
    return simulate(scenario, landing=landing, registry=registry, seed=seed, plans=faces, progress=progress)


def _chosen(study: Study[SiteT, BuildT], *, landing: Store, is_next: bool) -> list[StudyDrop[SiteT, BuildT]]:
    return [next_plan(study, present=landing.folders())] if is_next else drop_plans(study)
