"""Simulated attempts photographed again with one condition changed: same person, same device, same noise.

What is read of the truth file beside the drops is the scenario's name and seed, never what was planted. Only packaged
scenarios can be rebuilt, since only their plan is at hand. What is changed is decided in `cv_quality.error_analysis`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cv_quality.error_analysis.explanations.counterfactuals import Rerendered
from cv_quality.errors import ScenarioError, near
from cv_quality.inference.preprocessing import Frame
from cv_quality.lake.store import Store
from cv_quality.modality import Setting
from cv_quality.simulation.attacks.plan import AttackScenario, people_of
from cv_quality.simulation.attacks.rerender import SimulatedAttacks
from cv_quality.simulation.iris.rerender import SimulatedEyes
from cv_quality.simulation.iris.scenario import IrisScenario
from cv_quality.simulation.load import load_any_scenario
from cv_quality.simulation.population import Capture, Participants, Subject, build_population, transactions
from cv_quality.simulation.scenario import DropPlan, Scenario
from cv_quality.simulation.scenario_files import packaged_scenarios
from cv_quality.simulation.simulate import render_captures
from cv_quality.simulation.studies import drop_plans

if TYPE_CHECKING:
    from cv_quality.error_analysis.explanations.counterfactuals import Rerender


@dataclass(frozen=True, slots=True)
class SimulatedDrops:
    """The drops of one scenario and seed, rebuilt as far as they are asked for.

    Attributes:
        plans: how each drop was simulated, by its id.
    """

    scenario: Scenario
    seed: int
    population: Participants
    plans: Mapping[str, DropPlan]
    _captures: dict[str, dict[str, tuple[Subject, Capture]]] = field(default_factory=dict)

    def __call__(self, drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered:
        """Attempts of one drop with some conditions set to other values; no change gives the drop's own pixels.

        A frame is None where the scenario has no such drop or attempt.

        Raises:
            ScenarioError: there is no such condition.
        """
        names = [name for name in Capture.__dataclass_fields__ if name != "seed"]
        for name in change:
            if name not in names:
                raise ScenarioError(f"no condition {name!r} to change; {near(name, names)}")
        known = self._of_drop(drop) if drop in self.plans else {}
        rows = [row for row, attempt in enumerate(attempts) if attempt in known]
        captures = [(known[attempts[row]][0], replace(known[attempts[row]][1], **change)) for row in rows]  # type: ignore[arg-type]
        frames: list[Frame | None] = [None] * len(attempts)
        lux: list[float | None] = [None] * len(attempts)
        for row, frame, (_, capture) in zip(rows, render_captures(captures, self.population), captures, strict=True):
            frames[row], lux[row] = frame, capture.illuminance_lux
        return Rerendered(tuple(frames), {"illuminance_lux": tuple(lux)})

    def _of_drop(self, drop: str) -> dict[str, tuple[Subject, Capture]]:
        """Who was captured under which conditions in each attempt of a drop, played or not, by its id."""
        if drop not in self._captures:
            self._captures[drop] = {
                f"attempt-{item.transaction_id}-{number}": (item.subject, capture)
                for item in transactions(self.scenario, self.population, plan=self.plans[drop], seed=self.seed)
                for number, capture in enumerate(item.captures, start=1)
            }
        return self._captures[drop]


def rerenderer(landing: Store) -> Rerender | None:
    """Make the re-rendering of a landing area's drops; None where they are not those of a packaged scenario.

    Where several scenarios were simulated into one landing area, each drop is rendered by its own.
    """
    found = [drops for name in packaged_scenarios() if (drops := _simulated(landing, name)) is not None]
    if not found:
        return None
    by_drop = {drop: drops for drops in found for drop in drops.plans}

    def rerender(drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered:
        return by_drop.get(drop, found[0])(drop, attempts, change=change)

    return rerender


def _simulated(landing: Store, name: str) -> SimulatedDrops | SimulatedEyes | SimulatedAttacks | None:
    """The packaged scenario of this name, where its truth in the landing area names just what it plans."""
    key = f"truth-{name}.json"
    if not landing.exists(key):
        return None
    try:
        truth = json.loads(landing.read_bytes(key))
    except ValueError:
        return None
    if not isinstance(truth, dict) or not isinstance(seed := truth.get("seed"), int):
        return None
    scenario = load_any_scenario(name)
    found: SimulatedDrops | SimulatedEyes | SimulatedAttacks
    if isinstance(scenario, Scenario):
        plans = {plan.drop_id: plan for plan in drop_plans(scenario)}
        found = SimulatedDrops(scenario, seed, build_population(scenario, seed=seed), plans)
    elif isinstance(scenario, IrisScenario):
        found = SimulatedEyes(scenario, seed, {plan.drop_id: plan for plan in drop_plans(scenario)})
    elif isinstance(scenario, AttackScenario):
        shown = {plan.drop_id: plan for plan in drop_plans(scenario)}
        found = SimulatedAttacks(scenario, seed, people_of(scenario, seed=seed), shown)
    else:
        return None
    # A file of one's own may carry a packaged name: its drops would be rebuilt from another plan.
    return found if truth.get("drops") == list(found.plans) else None
