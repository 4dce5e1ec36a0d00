"""Simulated eyes rendered again with one condition changed: same iris, same lids and lashes, same noise.

What one condition does to another is kept: light moves the pupil, and lids that fell as an eye looked aside open again.
Which drops these are is found out in `cv_quality.simulation.rerender`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from cv_quality.error_analysis.explanations.counterfactuals import Rerendered
from cv_quality.errors import ScenarioError, near
from cv_quality.modality import Setting
from cv_quality.simulation.iris.eyes import ContactLens, EyeState, Spectacles, render_iris
from cv_quality.simulation.iris.scenario import IrisDrop, IrisScenario
from cv_quality.simulation.iris.wearers import (
    EYES,
    Moment,
    draw_enrolments,
    draw_moments,
    draw_wearers,
    opening_at,
)

DILATION: Final = "dilation_delta"
"""How far the pupil is from that of the reference: no state of an eye by itself."""
CHANGED: Final = ("illuminance_lux", "gaze_deg", "spectacles", "contact_lens", DILATION)
"""Conditions that can be changed."""


@dataclass(frozen=True, slots=True)
class EyeLook:
    """One eye of a moment, which is an attempt, and how that eye was when it was enrolled."""

    moment: Moment
    side: int
    enrolled: EyeState

    def changed(self, change: Mapping[str, Setting]) -> EyeState:
        """The state of the eye with some conditions set."""
        state = self.moment.states[self.side]
        if "illuminance_lux" in change:
            state = replace(state, illuminance_lux=float(change["illuminance_lux"]))
        if "gaze_deg" in change:
            state = self._looking(state, float(change["gaze_deg"]))
        if "spectacles" in change:
            state = replace(state, spectacles=cast(Spectacles, change["spectacles"]))
        if "contact_lens" in change:
            state = replace(state, contact_lens=cast(ContactLens, change["contact_lens"]))
        if DILATION in change:
            wider = float(change[DILATION]) + self.enrolled.pupil_ratio - state.pupil_ratio
            state = replace(state, pupil_noise=state.pupil_noise + wider)
        return state

    def _looking(self, state: EyeState, gaze_deg: float) -> EyeState:
        was, is_now = (opening_at(self.moment.wearer, gaze) for gaze in (state.gaze_deg, gaze_deg))
        return replace(state, gaze_deg=gaze_deg, opening=state.opening + is_now - was)


@dataclass(frozen=True, slots=True)
class SimulatedEyes:
    """The drops of one scenario of irises and seed, rebuilt as far as they are asked for.

    Attributes:
        plans: how each drop was simulated, by its id.
    """

    scenario: IrisScenario
    seed: int
    plans: Mapping[str, IrisDrop]
    _known: dict[str, dict[str, EyeLook]] = field(default_factory=dict)

    def __call__(self, drop: str, attempts: Sequence[str], *, change: Mapping[str, Setting]) -> Rerendered:
        """Attempts of one drop with some conditions set to other values; no change gives the drop's own pixels.

        A frame is None where the scenario has no such drop or attempt. Encoders of irises are told no condition, so
        that none is given.

        Raises:
            ScenarioError: there is no such condition.
        """
        for name in change:
            if name not in CHANGED:
                raise ScenarioError(f"no condition {name!r} to change; {near(name, CHANGED)}")
        known = self.looks(drop) if drop in self.plans else {}
        wanted = [known.get(attempt) for attempt in attempts]
        frames = tuple(
            None if look is None else render_iris(look.moment.wearer.eye_seeds[look.side], look.changed(change))
            for look in wanted
        )
        return Rerendered(frames, {})

    def looks(self, drop: str) -> dict[str, EyeLook]:
        """The looks of a drop by the id of the attempt."""
        if drop not in self._known:
            plan = self.plans[drop]
            wearers = draw_wearers(self.scenario, plan.site, seed=self.seed)
            enrolled = {
                moment.wearer.subject_id: moment.states for moment in draw_enrolments(wearers, plan, seed=self.seed)
            }
            self._known[drop] = {
                f"attempt-{moment.sample_id(eye)}": EyeLook(moment, side, enrolled[moment.claimed.subject_id][side])
                for moment in draw_moments(self.scenario, wearers, plan, seed=self.seed)
                for side, eye in enumerate(EYES)
            }
        return self._known[drop]
