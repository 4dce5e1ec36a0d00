"""How often the attack demo names what was planted, over seeds: the first slice of the bad build, and none of the good.

Run as `python -m benchmarks.planted_attacks --seeds 8`. Each seed draws people, artefacts and presentations anew,
renders them, scores them by both builds, and searches the attacks that pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import polars as pl

from cv_quality.error_analysis.population import search_slices
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.inference.liveness.scorer import load_scorer
from cv_quality.inference.registry import ModelRegistry
from cv_quality.settings import REFERENCE_MODELS
from cv_quality.simulation.attacks.plan import (
    AttackDrop,
    AttackScenario,
    Presentation,
    draw_presentations,
    people_of,
    render_presentations,
)
from cv_quality.simulation.load import load_any_scenario
from cv_quality.simulation.population import Participants
from cv_quality.simulation.studies import drop_plans
from cv_quality.tasks.liveness.build_metrics import liveness_dimensions
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality.tasks.liveness.populations import PASSED, population_of


def judged(
    scenario: AttackScenario, people: Participants, plan: AttackDrop, *, registry: ModelRegistry, seed: int
) -> pl.DataFrame:
    """Present, render and score one drop, as rows of `presentation_outcomes`."""
    entry = registry.entry(plan.build.build_id)
    assert isinstance(entry, LivenessEntry)
    shown = list(draw_presentations(scenario, people, plan, seed=seed))
    frames = list(render_presentations(shown, people))
    lux = [item.capture.illuminance_lux for item in shown]
    scorer = load_scorer(entry, registry=registry)
    scores = scorer.score(frames, boxes=[None] * len(shown), illuminance_lux=lux).scores
    rows = pl.DataFrame([row_of(item) for item in shown], infer_schema_length=None)
    is_live = pl.Series(scores >= entry.decision_threshold)
    absent = {item.name for item in liveness_dimensions(LIVENESS_MODALITY)} - set(rows.columns)
    return rows.with_columns(
        *(pl.lit(None, pl.String).alias(name) for name in sorted(absent)),
        drop_id=pl.lit(plan.drop_id),
        pad_score=pl.Series(scores),
        is_error=is_live == pl.col("is_attack"),
    )


def row_of(item: Presentation) -> dict[str, object]:
    """What is known of a presentation."""
    artefact = item.artefact
    return {
        "presentation_id": item.presentation_id,
        "is_attack": artefact is not None,
        "pai_species": artefact.species if artefact else None,
        "pai_series": artefact.series if artefact else None,
        "artefact_id": artefact.artefact_id if artefact else None,
        "target_subject_id": artefact.target.subject_id if artefact else None,
        "subject_id": item.subject.subject_id,
        "device_model": item.device.model.name,
        "os_version": item.device.os_version,
        "age_band": item.subject.age_band,
        "sex": item.subject.sex,
        "illuminance_lux": item.capture.illuminance_lux,
        "distance_cm": item.capture.distance_cm,
        "thermal_state": item.capture.thermal_state,
        "scene": item.scene,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is found of each build under each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args(arguments)
    scenario = load_any_scenario("attack-demo")
    assert isinstance(scenario, AttackScenario)
    registry = ModelRegistry(REFERENCE_MODELS, modalities={"liveness": LIVENESS_MODALITY})
    for seed in range(scenario.seed, scenario.seed + options.seeds):
        make = partial(judged, scenario, people_of(scenario, seed=seed), registry=registry, seed=seed)
        for build in scenario.builds:
            rows = pl.concat(make(plan) for plan in drop_plans(scenario) if plan.build == build)
            people = rows.filter(~pl.col("is_attack"))["is_error"]
            found = rows.filter("is_attack").group_by("pai_species", "pai_series").agg(pl.col("is_error").mean())
            worst = found.sort("is_error", descending=True).head(3).rows()
            attacks = population_of(rows, modality=LIVENESS_MODALITY, outcome=PASSED, is_attack=True)
            slices = [item.where.sentence() for item in search_slices(attacks).slices]
            print(
                f"{seed} {build.build_id}: BPCER {people.sum()} / {people.len()}; {worst}; slices {slices}", flush=True
            )


if __name__ == "__main__":
    main()
