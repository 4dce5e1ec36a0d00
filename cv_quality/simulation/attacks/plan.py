"""Who is presented to the detectors, with which artefacts, and under what: everything that is drawn, by seed.

The same people and artefacts meet every build, each time anew. How they look is in `artefacts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ScenarioError
from cv_quality.modality import Setting
from cv_quality.simulation.attacks.artefacts import SERIES, Shown, render_attacks
from cv_quality.simulation.fleet import CAMERAS
from cv_quality.simulation.population import Capture, Device, Participants, Subject, build_population, to_conditions
from cv_quality.simulation.rendering import render
from cv_quality.simulation.scenario import Scenario, SitePlan
from cv_quality.simulation.scenario_files import parse_study
from cv_quality.simulation.studies import STUDY_DAYS, BuildPlan, Defect, StudyDrop

PRESENTED: Final[Mapping[str, Callable[[np.random.Generator, int], NDArray[np.float64]]]] = {
    "illuminance_lux": lambda rng, n: np.exp(rng.uniform(np.log(40.0), np.log(800.0), n)),
    "distance_cm": lambda rng, n: rng.uniform(28.0, 46.0, n),
    "yaw_deg": lambda rng, n: rng.normal(0, 5, n).clip(-12, 12),
    "pitch_deg": lambda rng, n: rng.normal(0, 4, n).clip(-10, 10),
    "motion_blur_px": lambda rng, n: rng.exponential(0.2, n).clip(0, 0.8),
}
"""How people and attackers hold the device: both want to get in."""
SCENES: Final = ("home", "office", "street")
THERMAL_STATES: Final = ("nominal", "fair", "serious")
CHANGED: Final = ("illuminance_lux", "distance_cm", "pai_series")
"""Conditions that can be changed."""
_RENDER_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class AttackSite:
    """One site: its people, each of whom attackers imitate, and the weights of the device models handed out there."""

    name: str
    subjects: int
    senior_share: float
    device_weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class AttackScenario:
    """A whole study: every build meets the same people and the same artefacts of them at every site.

    Attributes:
        bona_fide: presentations of each subject to each build.
        series: of each species, of how many series every subject's artefacts are made.
        attacks: presentations of each artefact to each build.
        silent_share: of the presentations, those that get no response.
        consent_share: of the subjects, those whose images a report may show.
    """

    name: str
    description: str
    seed: int
    rounds: int
    bona_fide: int
    series: int
    attacks: int
    silent_share: float
    consent_share: float
    sites: tuple[AttackSite, ...]
    builds: tuple[BuildPlan, ...]
    defects: tuple[Defect, ...]


AttackDrop: TypeAlias = StudyDrop[AttackSite, BuildPlan]
_PARTS = {"sites": AttackSite, "builds": BuildPlan, "defects": Defect}


@dataclass(frozen=True, slots=True)
class Artefact:
    """One artefact.

    Attributes:
        species, series: what it is.
        target: whom it imitates.
        seed: of the picture that it shows.
    """

    species: str
    series: str
    target: Subject
    seed: int

    @property
    def artefact_id(self) -> str:
        return f"{self.species}-{self.series}-{self.target.subject_id}"


@dataclass(frozen=True, slots=True)
class Presentation:
    """One presentation to a device.

    Attributes:
        subject: who holds the device.
        artefact: what is presented in place of a face; None of a bona fide presentation.
        capture: its conditions, and the seed of everything random in the frame.
        has_response: whether the detector answers.
    """

    presentation_id: str
    subject: Subject
    artefact: Artefact | None
    starts_at: datetime
    scene: str
    capture: Capture
    has_response: bool

    @property
    def target(self) -> Subject:
        return self.subject if self.artefact is None else self.artefact.target

    @property
    def device(self) -> Device:
        """It is presented to the device of whom it claims to be."""
        return self.target.device

    def changed(self, change: Mapping[str, Setting]) -> Presentation:
        """The presentation with some conditions set; a series that its species does not have changes nothing."""
        captured = {name: value for name, value in change.items() if name != "pai_series"}
        capture, artefact = replace(self.capture, **captured), self.artefact  # type: ignore[arg-type]
        series = str(change.get("pai_series", ""))
        if artefact is not None and series in SERIES[artefact.species]:
            artefact = replace(artefact, series=series)
        return replace(self, capture=capture, artefact=artefact)


def parse_attack_scenario(text: str, *, where: str) -> AttackScenario:
    """Parse the scenario of attacks in a YAML text, whose key `modality` says so; `where` names it in errors.

    Raises:
        ScenarioError: names the key, what was expected and what was found.
    """
    scenario = parse_study(AttackScenario, text, parts=_PARTS, where=where)
    counts = (scenario.rounds, scenario.bona_fide, scenario.series, scenario.attacks)
    if scenario.seed < 0 or min(counts) < 1:
        raise ScenarioError(
            f"{where}: expected a seed >= 0, and at least 1 as rounds, bona_fide, series and attacks, found {counts}"
        )
    for site in scenario.sites:
        if site.subjects < 2:
            raise ScenarioError(f"{where}: {site.name}: subjects: expected at least 2, found {site.subjects}")
    return scenario


def people_of(scenario: AttackScenario, *, seed: int) -> Participants:
    """Build the people of a scenario; the same for every build and round."""
    sites = tuple(
        SitePlan(site.name, site.subjects, 0.0, 0.0, site.senior_share, site.device_weights) for site in scenario.sites
    )
    faces = Scenario(
        name=scenario.name,
        description=scenario.description,
        seed=seed,
        rounds=scenario.rounds,
        enrol_frames=1,
        transactions_per_subject=1,
        max_attempts=1,
        impostor_share=0.0,
        consent_share=scenario.consent_share,
        stream_frames=0,
        sites=sites,
        builds=scenario.builds,
        defects=(),
    )
    return build_population(faces, seed=seed)


def draw_artefacts(scenario: AttackScenario, subject: Subject, *, seed: int) -> Iterator[Artefact]:
    """Draw the artefacts of one target: of each species, of as many series as the scenario says."""
    rng = np.random.default_rng([seed, 1, subject.row])
    for species, known in SERIES.items():
        for series in rng.permutation(list(known))[: scenario.series]:
            yield Artefact(species, str(series), subject, int(rng.integers(0, 2**63)))


def draw_presentations(
    scenario: AttackScenario, people: Participants, plan: AttackDrop, *, seed: int
) -> Iterator[Presentation]:
    """Draw the presentations of a drop, in the order of targets."""
    here = people.at(plan.site.name)
    for subject in here:
        rng = np.random.default_rng([seed, 2, plan.build_number, plan.round_number, subject.row])
        for number in range(1, scenario.bona_fide + 1):
            yield _presentation(scenario, plan, subject, None, number=number, rng=rng)
        for artefact in draw_artefacts(scenario, subject, seed=seed):
            attacker = here[(here.index(subject) + 1 + int(rng.integers(len(here) - 1))) % len(here)]
            for number in range(1, scenario.attacks + 1):
                yield _presentation(scenario, plan, attacker, artefact, number=number, rng=rng)


def render_presentations(shown: Sequence[Presentation], people: Participants) -> NDArray[np.uint8]:
    """Render what devices see of presentations, uint8[n, 96, 96]."""
    conditions = to_conditions([item.capture for item in shown], [item.device for item in shown])
    frames = np.empty((len(shown), 96, 96), np.uint8)
    is_attack = np.array([item.artefact is not None for item in shown], bool)
    live, attacks = np.flatnonzero(~is_attack), np.flatnonzero(is_attack)
    rows = np.array([item.subject.row for item in shown], np.int64)
    frames[live] = render(
        people.identities[rows[live]], conditions.take(live), cameras=CAMERAS, threads=_RENDER_THREADS
    )
    artefacts = [item.artefact for item in shown if item.artefact is not None]
    pixels = [Shown(one.species, one.series, people.identities[one.target.row], one.seed) for one in artefacts]
    frames[attacks] = render_attacks(pixels, conditions.take(attacks), cameras=CAMERAS, threads=_RENDER_THREADS)
    return frames


def _presentation(
    scenario: AttackScenario,
    plan: AttackDrop,
    subject: Subject,
    artefact: Artefact | None,
    *,
    number: int,
    rng: np.random.Generator,
) -> Presentation:
    drawn = {name: round(float(drawing(rng, 1)[0]), 2) for name, drawing in PRESENTED.items()}
    about = f"live-{subject.subject_id}" if artefact is None else artefact.artefact_id
    day = int(rng.integers(0, STUDY_DAYS))
    capture = Capture(
        **drawn,
        eyewear="glasses" if artefact is None and subject.wears_glasses and rng.random() < 0.85 else "none",
        covering="none",
        thermal_state=str(rng.choice(THERMAL_STATES, p=[0.8, 0.15, 0.05])),
        condition_label="presented",
        seed=int(rng.integers(0, 2**63)),
    )
    return Presentation(
        presentation_id=f"{about}-{plan.round_number + 1}{number:02d}",
        subject=subject,
        artefact=artefact,
        starts_at=plan.captured_from + timedelta(days=day, hours=float(rng.uniform(9, 18))),
        scene=str(rng.choice(SCENES)),
        capture=capture,
        has_response=bool(rng.random() >= scenario.silent_share),
    )
