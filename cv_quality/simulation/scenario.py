"""A simulation scenario: which sites, builds and people, and which failures are planted, as strict frozen dataclasses.
How people and sessions are drawn from it is in `population.py`; how drops come out of it is in `simulate.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from importlib import resources
from itertools import count, takewhile
from pathlib import Path
from typing import Final, TypeVar, get_type_hints

import yaml

from cv_quality.errors import ScenarioError, near
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.simulation.fleet import MODEL_NAMES

STUDY_DAYS: Final = 5
_Part = TypeVar("_Part")


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
class BuildPlan:
    """One build under test and the first day of its study."""

    build_id: str
    starts_on: date


@dataclass(frozen=True, slots=True)
class Defect:
    """A planted failure: the build that has it, the attempts it strikes, and the sentence that explains it."""

    build_id: str
    predicate: str
    cause: str


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


@dataclass(frozen=True, slots=True)
class DropPlan:
    """One drop to come: one site meets one build for five days; `round_number` counts from 0."""

    site: SitePlan
    build: BuildPlan
    build_number: int
    round_number: int

    @property
    def starts_on(self) -> date:
        return self.build.starts_on + timedelta(days=STUDY_DAYS * self.round_number)

    @property
    def captured_from(self) -> datetime:
        return datetime.combine(self.starts_on, time(0), UTC)

    @property
    def captured_until(self) -> datetime:
        return self.captured_from + timedelta(days=STUDY_DAYS)

    @property
    def drop_id(self) -> str:
        return f"{self.starts_on.isoformat()}_{self.build.build_id}_{self.site.name}"


def drop_plans(scenario: Scenario) -> list[DropPlan]:
    """Plan the drops of a scenario, in order of build, round and site."""
    return [
        DropPlan(site, build, number, round_number)
        for number, build in enumerate(scenario.builds)
        for round_number in range(scenario.rounds)
        for site in scenario.sites
    ]


def next_plan(scenario: Scenario, *, present: Collection[str]) -> DropPlan:
    """Plan the drop after those that are present: the last build once more at the first site.

    Args:
        scenario: whose last round it follows.
        present: names of the drops that are there.
    """
    return _later(scenario, scenario.rounds + len(later_plans(scenario, present=present)))


def later_plans(scenario: Scenario, *, present: Collection[str]) -> list[DropPlan]:
    """List what `next_plan` planned so far: what is present in the rounds after those of the scenario."""
    rounds = (_later(scenario, number) for number in count(scenario.rounds))
    return list(takewhile(lambda plan: plan.drop_id in present, rounds))


def _later(scenario: Scenario, round_number: int) -> DropPlan:
    return DropPlan(scenario.sites[0], scenario.builds[-1], len(scenario.builds) - 1, round_number)


def packaged_scenarios() -> list[str]:
    """List the names of the scenarios that come with the package."""
    folder = resources.files("cv_quality.simulation") / "scenarios"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Load a packaged scenario by name (`demo`, `tiny`), or one from a YAML file.

    Raises:
        ScenarioError: no such scenario, or a key or value that does not fit.
    """
    if str(name_or_path) in packaged_scenarios():
        file = resources.files("cv_quality.simulation") / "scenarios" / f"{name_or_path}.yaml"
        return parse_scenario(file.read_text(encoding="utf-8"), where=f"{name_or_path}.yaml")
    path = Path(name_or_path)
    if not path.is_file():
        raise ScenarioError(
            f"no scenario {str(name_or_path)!r}: expected a YAML file or a packaged name; "
            f"{near(str(name_or_path), packaged_scenarios())}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: expected a scenario as YAML, found no UTF-8 text: {error}") from error
    return parse_scenario(text, where=path.name)


def parse_scenario(text: str, *, where: str) -> Scenario:
    """Parse the scenario in a YAML text; `where` names it in errors.

    Raises:
        ScenarioError: names the key, what was expected and what was found.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{where}: not YAML: {error}") from error
    mapping = dict(_mapping(raw, where=where))
    for key, part in (("sites", SitePlan), ("builds", BuildPlan), ("defects", Defect)):
        if key in mapping:
            at, value = f"{where}: {key}", mapping[key]
            if not isinstance(value, list):
                raise ScenarioError(f"{at}: expected a list, found {type(value).__name__}")
            mapping[key] = tuple(_build(part, item, where=f"{at}[{index}]") for index, item in enumerate(value))
    scenario = _build(Scenario, mapping, where=where)
    _check(scenario, where=where)
    return scenario


def _mapping(value: object, *, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ScenarioError(f"{where}: expected a mapping, found {type(value).__name__}")
    return value


def _build(part: type[_Part], value: object, *, where: str) -> _Part:
    """An instance of a plan from its mapping: no unknown, missing or mistyped key."""
    mapping, types = _mapping(value, where=where), get_type_hints(part)
    for key in mapping:
        if key not in types:
            raise ScenarioError(f"{where}: unknown key {key!r}; {near(key, types)}")
    for key in types:
        if key not in mapping:
            raise ScenarioError(f"{where}: missing key {key!r}; add it (see the packaged scenario 'tiny')")
    values = {key: _typed(found, types[key], where=f"{where}: {key}") for key, found in mapping.items()}
    for key, found in values.items():
        if key.endswith("_share") and not 0.0 <= float(found) <= 1.0:  # type: ignore[arg-type]
            raise ScenarioError(f"{where}: {key}: expected a share from 0 to 1, found {found!r}")
    return part(**values)


def _typed(value: object, expected: object, *, where: str) -> object:
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected in (int, float, str, date):
        if type(value) is not expected:
            raise ScenarioError(f"{where}: expected {getattr(expected, '__name__', expected)}, found {value!r}")
        return value
    return _weights(value, where=where) if expected == Mapping[str, float] else value


def _weights(value: object, *, where: str) -> Mapping[str, float]:
    weights = _mapping(value, where=where)
    for name, weight in weights.items():
        if name not in MODEL_NAMES:
            raise ScenarioError(f"{where}: unknown device model {name!r}; {near(name, MODEL_NAMES)}")
        if not isinstance(weight, int | float) or isinstance(weight, bool) or weight < 0:
            raise ScenarioError(f"{where}: {name}: expected a weight >= 0, found {weight!r}")
    total = sum(float(str(weight)) for weight in weights.values())
    if total <= 0:
        raise ScenarioError(f"{where}: expected at least one weight above 0, found {dict(weights)!r}")
    return {name: float(str(weight)) / total for name, weight in weights.items()}


def _check(scenario: Scenario, *, where: str) -> None:
    """What no single key shows: names that are unique and usable, counts that leave something to simulate."""
    names = [scenario.name, *(s.name for s in scenario.sites), *(b.build_id for b in scenario.builds)]
    for name in names:
        if not re.fullmatch(IDENTIFIER, name):
            raise ScenarioError(f"{where}: expected a name of [A-Za-z0-9._-], 1 to 128 long, found {name!r}")
    if len(set(names)) != len(names):
        raise ScenarioError(f"{where}: expected each name once, found {sorted(names)}")
    for field in fields(scenario):
        value = getattr(scenario, field.name)
        if field.type == "int" and field.name not in {"seed", "stream_frames"} and value < 1:
            raise ScenarioError(f"{where}: {field.name}: expected at least 1, found {value}")
    if not scenario.sites or not scenario.builds:
        raise ScenarioError(f"{where}: expected at least one site and one build")
    if scenario.seed < 0 or scenario.stream_frames < 0 or min(site.subjects for site in scenario.sites) < 2:
        raise ScenarioError(f"{where}: expected seed and stream_frames >= 0 and at least 2 subjects a site")
    builds = [build.build_id for build in scenario.builds]
    for defect in scenario.defects:
        if defect.build_id not in builds:
            raise ScenarioError(f"{where}: defects: no build {defect.build_id!r}; {near(defect.build_id, builds)}")
