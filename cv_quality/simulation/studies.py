"""What a study of any modality plans: builds with their days, defects, and the drops of every build at every site.

A scenario of faces is in `scenario.py`, one of video in `video/scenario.py`; both are read by `scenario_files.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count, takewhile
from typing import Final, Generic, Protocol, TypeVar

from cv_quality.drops.manifest import Protocol as Pairing
from cv_quality.drops.writer import DropWriter
from cv_quality.lake.store import Store
from cv_quality.modality import Modality

STUDY_DAYS: Final = 5


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """One build under test and the first day of its study."""

    build_id: str
    starts_on: date


@dataclass(frozen=True, slots=True)
class Defect:
    """A planted failure: the build that has it, what it strikes, and the sentence that explains it."""

    build_id: str
    predicate: str
    cause: str


class NamedSite(Protocol):
    """A site of a study."""

    @property
    def name(self) -> str: ...


SiteT = TypeVar("SiteT", bound=NamedSite)
BuildT = TypeVar("BuildT", bound=BuildPlan)
SiteOut = TypeVar("SiteOut", bound=NamedSite, covariant=True)
BuildOut = TypeVar("BuildOut", bound=BuildPlan, covariant=True)


class Study(Protocol[SiteOut, BuildOut]):
    """Every build at every site, `rounds` times."""

    @property
    def rounds(self) -> int: ...
    @property
    def sites(self) -> Sequence[SiteOut]: ...
    @property
    def builds(self) -> Sequence[BuildOut]: ...


class PlantedStudy(Study[SiteOut, BuildOut], Protocol[SiteOut, BuildOut]):
    """A study with a name and with planted failures."""

    @property
    def name(self) -> str: ...
    @property
    def defects(self) -> Sequence[Defect]: ...


@dataclass(frozen=True, slots=True)
class StudyDrop(Generic[SiteT, BuildT]):
    """One drop to come: one site meets one build for five days; `round_number` counts from 0."""

    site: SiteT
    build: BuildT
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


def drop_plans(study: Study[SiteT, BuildT]) -> list[StudyDrop[SiteT, BuildT]]:
    """Plan the drops of a study, in order of build, round and site."""
    return [
        StudyDrop(site, build, number, round_number)
        for number, build in enumerate(study.builds)
        for round_number in range(study.rounds)
        for site in study.sites
    ]


def drop_writer(landing: Store, plan: StudyDrop[SiteT, BuildT], *, modality: Modality, protocol: Pairing) -> DropWriter:
    """Open the writer of a planned drop.

    Args:
        landing: where it goes.
        plan: the drop.
        modality: of its build.
        protocol: how its references and probes are paired.
    """
    return DropWriter(
        landing,
        modality=modality,
        drop_id=plan.drop_id,
        build_id=plan.build.build_id,
        site=plan.site.name,
        protocol=protocol,
        captured_from=plan.captured_from,
        captured_until=plan.captured_until,
    )


def write_truth(landing: Store, study: PlantedStudy[SiteT, BuildT], *, seed: int, **further: object) -> None:
    """Write what was planted in a study as `truth-<name>.json` beside its drops, those written later included.

    Args:
        landing: of the drops.
        study: what was simulated.
        seed: of it.
        further: what else there is to say, by key.
    """
    plans = [*drop_plans(study), *later_plans(study, present=landing.folders())]
    truth = {
        "scenario": study.name,
        "seed": seed,
        "drops": [plan.drop_id for plan in plans],
        "defects": [asdict(defect) for defect in study.defects],
        **further,
    }
    landing.write_bytes(f"truth-{study.name}.json", (json.dumps(truth, indent=2, sort_keys=True) + "\n").encode())


def drop_ids(study: Study[NamedSite, BuildPlan]) -> list[str]:
    """List the drops of a study by their ids."""
    return [plan.drop_id for plan in drop_plans(study)]


def next_plan(study: Study[SiteT, BuildT], *, present: Collection[str]) -> StudyDrop[SiteT, BuildT]:
    """Plan the drop after those that are present: the last build once more at the first site.

    Args:
        study: whose last round it follows.
        present: names of the drops that are there.
    """
    return _later(study, study.rounds + len(later_plans(study, present=present)))


def later_plans(study: Study[SiteT, BuildT], *, present: Collection[str]) -> list[StudyDrop[SiteT, BuildT]]:
    """List what `next_plan` planned so far: what is present in the rounds after those of the study."""
    rounds = (_later(study, number) for number in count(study.rounds))
    return list(takewhile(lambda plan: plan.drop_id in present, rounds))


def _later(study: Study[SiteT, BuildT], round_number: int) -> StudyDrop[SiteT, BuildT]:
    return StudyDrop(study.sites[0], study.builds[-1], len(study.builds) - 1, round_number)
