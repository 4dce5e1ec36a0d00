"""A simulation scenario of faces: which sites, builds and people, and which failures are planted.

How people and sessions are drawn from it is in `population.py`; how drops come out of it is in `simulate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from cv_quality.errors import ScenarioError
from cv_quality.simulation.scenario_files import build_scenario, read_scenario, require_sound_names, scenario_mapping
from cv_quality.simulation.studies import BuildPlan, Defect, StudyDrop


@dataclass(frozen=True, slots=True)
class SitePlan:
    """One site: its people, its light, and the weights of the device models handed out there.

    `evening_share` of the sessions are in the evening, of which `dim_evening_share` are below 10 lux;
    `senior_share` of the people are 45 or older.
    """

    name: str
    subjects: int
    evening_share: float
    dim_evening_share: float
    senior_share: float
    device_weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole study: every build meets the same people at every site, `rounds` times."""

    name: str
    description: str
    seed: int
    rounds: int
    enrol_frames: int
    transactions_per_subject: int
    max_attempts: int
    impostor_share: float
    consent_share: float
    stream_frames: int
    sites: tuple[SitePlan, ...]
    builds: tuple[BuildPlan, ...]
    defects: tuple[Defect, ...]


DropPlan: TypeAlias = StudyDrop[SitePlan, BuildPlan]
_PARTS = {"sites": SitePlan, "builds": BuildPlan, "defects": Defect}


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Load a packaged scenario of faces by name (`demo`, `tiny`), or one from a YAML file.

    Raises:
        ScenarioError: no such scenario, or a key or value that does not fit.
    """
    text, where = read_scenario(name_or_path)
    return parse_scenario(text, where=where)


def parse_scenario(text: str, *, where: str) -> Scenario:
    """Parse the scenario in a YAML text; `where` names it in errors.

    Raises:
        ScenarioError: names the key, what was expected and what was found.
    """
    scenario = build_scenario(Scenario, scenario_mapping(text, where=where), parts=_PARTS, where=where)
    _check(scenario, where=where)
    return scenario


def _check(scenario: Scenario, *, where: str) -> None:
    """What no single key shows: names that are unique and usable, counts that leave something to simulate."""
    require_sound_names(
        scenario.name, sites=scenario.sites, builds=scenario.builds, defects=scenario.defects, where=where
    )
    for field in fields(scenario):
        value = getattr(scenario, field.name)
        if field.type == "int" and field.name not in {"seed", "stream_frames"} and value < 1:
            raise ScenarioError(f"{where}: {field.name}: expected at least 1, found {value}")
    if scenario.seed < 0 or scenario.stream_frames < 0 or min(site.subjects for site in scenario.sites) < 2:
        raise ScenarioError(f"{where}: expected seed and stream_frames >= 0 and at least 2 subjects a site")
