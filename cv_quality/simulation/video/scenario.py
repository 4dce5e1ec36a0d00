"""A simulation scenario of video: which clips are filmed at which sites, by which builds, with what planted.

What a clip shows is drawn from it in `scenes.py`; how drops come out of it is in `simulate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from cv_quality.errors import ScenarioError
from cv_quality.simulation.scenario_files import parse_study
from cv_quality.simulation.studies import BuildPlan, Defect, StudyDrop


@dataclass(frozen=True, slots=True)
class VideoSite:
    """One site: its clips, what they show, and the weights of the device models that film them.

    `fast_share` of the clips show objects that move fast, in half of them only from their middle on; `dim_share` are
    below 10 lux, in half of them only from their middle on; `pan_share` are filmed by a camera that turns.
    `ambient_c` is the temperature of the air in degrees Celsius, which devices get warm above.
    """

    name: str
    clips: int
    fast_share: float
    dim_share: float
    pan_share: float
    ambient_c: float
    device_weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class VideoBuild(BuildPlan):
    """One build, and its processing time by that of the device model, before heat."""

    latency_factor: float


@dataclass(frozen=True, slots=True)
class VideoScenario:
    """A whole study: every build is run on the same scenes at every site, `rounds` times.

    Attributes:
        frames: of a clip at 30 a second, before any is lost.
        consent_share: of the clips, those whose pictures a report may show.
        dropped_clips, repeated_clips, frozen_clips: of each drop, clips whose camera loses pictures, sends some twice,
            or stands still for a while.
    """

    name: str
    description: str
    seed: int
    rounds: int
    frames: int
    consent_share: float
    dropped_clips: int
    repeated_clips: int
    frozen_clips: int
    sites: tuple[VideoSite, ...]
    builds: tuple[VideoBuild, ...]
    defects: tuple[Defect, ...]


VideoDrop: TypeAlias = StudyDrop[VideoSite, VideoBuild]
MIN_FRAMES = 40
"""Below, a clip has no room for what is planted in it."""
_PARTS = {"sites": VideoSite, "builds": VideoBuild, "defects": Defect}


def parse_video_scenario(text: str, *, where: str) -> VideoScenario:
    """Parse the scenario of video in a YAML text, whose key `modality` says so; `where` names it in errors.

    Raises:
        ScenarioError: names the key, what was expected and what was found.
    """
    scenario = parse_study(VideoScenario, text, parts=_PARTS, where=where)
    _check(scenario, where=where)
    return scenario


def _check(scenario: VideoScenario, *, where: str) -> None:
    """What no single key shows: counts that leave something to simulate."""
    planted = scenario.dropped_clips, scenario.repeated_clips, scenario.frozen_clips
    if scenario.seed < 0 or scenario.rounds < 1 or min(planted) < 0:
        raise ScenarioError(f"{where}: expected seed and planted clips >= 0 and at least one round")
    if scenario.frames < MIN_FRAMES:
        raise ScenarioError(f"{where}: frames: expected at least {MIN_FRAMES}, found {scenario.frames}")
    for site in scenario.sites:
        if site.clips < max(1, sum(planted)):
            raise ScenarioError(f"{where}: {site.name}: clips: expected at least {max(1, sum(planted))}, those planted")
    for build in scenario.builds:
        if not 0.1 <= build.latency_factor <= 10:
            raise ScenarioError(f"{where}: {build.build_id}: latency_factor: expected 0.1 to 10")
