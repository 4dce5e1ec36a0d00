"""Simulated presentations photographed again with one condition changed: same artefact, same hold, same noise.

Which drops these are is found out in `cv_quality.simulation.rerender`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cv_quality.error_analysis.explanations.counterfactuals import Rerendered
from cv_quality.errors import ScenarioError, near
from cv_quality.inference.preprocessing import Frame
from cv_quality.modality import Setting
from cv_quality.simulation.attacks.plan import (
    CHANGED,
    AttackDrop,
    AttackScenario,
    Presentation,
    draw_presentations,
    render_presentations,
)
from cv_quality.simulation.population import Participants


@dataclass(frozen=True, slots=True)
class SimulatedAttacks:
    """The drops of one scenario of attacks and seed, rebuilt as far as they are asked for.

    Attributes:
        plans: how each drop was simulated, by its id.
    """

    scenario: AttackScenario
    seed: int
    people: Participants
    plans: Mapping[str, AttackDrop]
    _known: dict[str, dict[str, Presentation]] = field(default_factory=dict)

    def __call__(self, drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered:
        """Presentations of one drop with some conditions set; no change gives the drop's own pixels.

        A frame is None where the scenario has no such drop or presentation.

        Raises:
            ScenarioError: there is no such condition.
        """
        for name in change:
            if name not in CHANGED:
                raise ScenarioError(f"no condition {name!r} to change; {near(name, CHANGED)}")
        known = self.presentations(drop) if drop in self.plans else {}
        rows = [row for row, attempt in enumerate(attempts) if attempt in known]
        shown = [known[attempts[row]].changed(change) for row in rows]
        frames: list[Frame | None] = [None] * len(attempts)
        lux: list[float | None] = [None] * len(attempts)
        for row, frame, item in zip(rows, render_presentations(shown, self.people), shown, strict=True):
            frames[row], lux[row] = frame, item.capture.illuminance_lux
        return Rerendered(tuple(frames), {"illuminance_lux": tuple(lux)})

    def presentations(self, drop: str) -> dict[str, Presentation]:
        """The presentations of a drop by their id."""
        if drop not in self._known:
            drawn = draw_presentations(self.scenario, self.people, self.plans[drop], seed=self.seed)
            self._known[drop] = {item.presentation_id: item for item in drawn}
        return self._known[drop]
