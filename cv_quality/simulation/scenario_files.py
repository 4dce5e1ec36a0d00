"""Scenario files: the packaged ones by name, and the strict reading of a plan from its YAML.

What the keys of a scenario mean is in `scenario.py` for faces and in `video/scenario.py` for video.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml

from cv_quality.errors import ScenarioError, near
from cv_quality.lake.schema import IDENTIFIER
from cv_quality.simulation.fleet import MODEL_NAMES
from cv_quality.simulation.studies import BuildPlan, Defect, NamedSite, PlantedStudy

_Part = TypeVar("_Part")
_Study = TypeVar("_Study", bound=PlantedStudy[NamedSite, BuildPlan])


def packaged_scenarios() -> list[str]:
    """List the names of the scenarios that come with the package."""
    folder = resources.files("cv_quality.simulation") / "scenarios"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_scenario(name_or_path: str | Path) -> tuple[str, str]:
    """Read a packaged scenario by name (see `packaged_scenarios`), or one from a YAML file.

    Returns:
        Its text, and the name of the file for errors.

    Raises:
        ScenarioError: there is none, or it is no text.
    """
    if str(name_or_path) in packaged_scenarios():
        file = resources.files("cv_quality.simulation") / "scenarios" / f"{name_or_path}.yaml"
        return file.read_text(encoding="utf-8"), f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if not path.is_file():
        raise ScenarioError(
            f"no scenario {str(name_or_path)!r}: expected a YAML file or a packaged name; "
            f"{near(str(name_or_path), packaged_scenarios())}"
        )
    try:
        return path.read_text(encoding="utf-8"), path.name
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: expected a scenario as YAML, found no UTF-8 text: {error}") from error


def scenario_mapping(text: str, *, where: str) -> dict[str, object]:
    """Read the keys of a YAML text; `where` names it in errors.

    Raises:
        ScenarioError: it is no YAML, or no mapping.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{where}: not YAML: {error}") from error
    return dict(_mapping(raw, where=where))


def build_scenario(part: type[_Part], mapping: Mapping[str, object], *, parts: Mapping[str, type], where: str) -> _Part:
    """Build a scenario from its keys: none unknown, missing or mistyped.

    Args:
        part: the class of the scenario.
        mapping: its keys.
        parts: classes of the items of its lists, by key.
        where: names it in errors.

    Raises:
        ScenarioError: names the key, what was expected and what was found.
    """
    values = dict(mapping)
    for key, item_part in parts.items():
        if key in values:
            at, value = f"{where}: {key}", values[key]
            if not isinstance(value, list):
                raise ScenarioError(f"{at}: expected a list, found {type(value).__name__}")
            values[key] = tuple(_build(item_part, item, where=f"{at}[{index}]") for index, item in enumerate(value))
    return _build(part, values, where=where)


def parse_study(part: type[_Study], text: str, *, parts: Mapping[str, type], where: str) -> _Study:
    """Parse a study whose key `modality` says which kind it is of, with sound names.

    Args:
        part: the class of the scenario.
        text: YAML.
        parts: classes of the items of its lists, by key.
        where: names it in errors.

    Raises:
        ScenarioError: names the key, what was expected and what was found.
    """
    mapping = scenario_mapping(text, where=where)
    mapping.pop("modality", None)
    study = build_scenario(part, mapping, parts=parts, where=where)
    require_sound_names(study.name, sites=study.sites, builds=study.builds, defects=study.defects, where=where)
    return study


def require_sound_names(
    name: str,
    *,
    sites: Sequence[NamedSite],
    builds: Sequence[BuildPlan],
    defects: Iterable[Defect],
    where: str,
) -> None:
    """Require names that are unique and usable, a site and a build, and defects of builds that are there.

    Args:
        name: of the scenario.
        sites, builds, defects: of it.
        where: names it in errors.

    Raises:
        ScenarioError: names what does not fit.
    """
    names = [name, *(site.name for site in sites), *(build.build_id for build in builds)]
    for each in names:
        if not re.fullmatch(IDENTIFIER, each):
            raise ScenarioError(f"{where}: expected a name of [A-Za-z0-9._-], 1 to 128 long, found {each!r}")
    if len(set(names)) != len(names):
        raise ScenarioError(f"{where}: expected each name once, found {sorted(names)}")
    if not sites or not builds:
        raise ScenarioError(f"{where}: expected at least one site and one build")
    known = [build.build_id for build in builds]
    for defect in defects:
        if defect.build_id not in known:
            raise ScenarioError(f"{where}: defects: no build {defect.build_id!r}; {near(defect.build_id, known)}")


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
            raise ScenarioError(f"{where}: missing key {key!r}; add it (see the packaged scenarios)")
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
