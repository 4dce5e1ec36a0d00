"""A simulation scenario of irises: who wears head-mounted devices at which sites, under what, with what planted.

How eyes look is in `eyes.py`; how drops come out of a scenario is in `simulate.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cv_quality.errors import ScenarioError
from cv_quality.simulation.scenario_files import parse_study
from cv_quality.simulation.studies import BuildPlan, Defect, StudyDrop


@dataclass(frozen=True, slots=True)
class IrisSite:
    """One site: its subjects, how they look, and what they wear.

    Of the moments `off_axis_share` look 15 to 35 degrees aside and `dim_share` are below 20 lux; of the subjects
    `heavy_lid_share` have lids that cover a third of the iris, `spectacles_share` and `lens_share` wear them.
    """

    name: str
    subjects: int
    off_axis_share: float
    dim_share: float
    heavy_lid_share: float
    spectacles_share: float
    lens_share: float


@dataclass(frozen=True, slots=True)
class IrisScenario:
    """A whole study: the subjects of every site try every build, `rounds` times.

    Attributes:
        moments: of a subject in a drop; each is an attempt with both eyes.
        consent_share: of the subjects, those whose images a report may show.
        impostor_share: of the moments, those that claim another subject.
    """

    name: str
    description: str
    seed: int
    rounds: int
    moments: int
    consent_share: float
    impostor_share: float
    sites: tuple[IrisSite, ...]
    builds: tuple[BuildPlan, ...]
    defects: tuple[Defect, ...]


IrisDrop: TypeAlias = StudyDrop[IrisSite, BuildPlan]
_PARTS = {"sites": IrisSite, "builds": BuildPlan, "defects": Defect}


def parse_iris_scenario(text: str, *, where: str) -> IrisScenario:
    """Parse the scenario of irises in a YAML text, whose key `modality` says so; `where` names it in errors.

    Raises:
        ScenarioError: names the key, what was expected and what was found.
    """
    scenario = parse_study(IrisScenario, text, parts=_PARTS, where=where)
    if scenario.seed < 0 or min(scenario.rounds, scenario.moments) < 1:
        raise ScenarioError(f"{where}: expected a seed >= 0, and at least one round and one moment")
    for site in scenario.sites:
        if site.subjects < 2:
            raise ScenarioError(f"{where}: {site.name}: subjects: expected at least 2, found {site.subjects}")
    return scenario
