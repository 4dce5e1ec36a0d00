"""The simulated population: subjects, their devices, their enrolment, and the transactions of each build.
Attributes hang together as in life, so that age, eyewear, device model and supplier look guilty of what low light does.
Rendering is in `rendering.py`; what the device decides about a capture is in `simulate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.simulation.conditions import COVERINGS, EYEWEAR, CaptureConditions
from cv_quality.simulation.fleet import FLEET, MODEL_NAMES, DeviceModel
from cv_quality.simulation.identity import (
    AGE_BANDS,
    IdentitySpace,
    age_in_band,
    build_identities,
    draw_latents,
    masculinity_of,
)
from cv_quality.simulation.scenario import DropPlan, Scenario, SitePlan
from cv_quality.simulation.studies import STUDY_DAYS

SUBJECTS_PER_DEVICE: Final = 2
_SENIOR_BANDS: Final = AGE_BANDS[2:]
_GLASSES_SHARE: Final[Mapping[str, float]] = {"18-29": 0.20, "30-44": 0.30, "45-59": 0.50, "60+": 0.70}
# Older people keep the older phone: its weight is multiplied by this for those of 45 and more.
_OLD_PHONE_FACTOR: Final = 3.0
_THERMAL_STATES: Final = ("nominal", "fair", "serious", "critical")
_THERMAL_SHARES: Final[Mapping[str, tuple[float, ...]]] = {
    "aurora-1": (0.72, 0.20, 0.07, 0.01),
    "aurora-2": (0.85, 0.12, 0.03, 0.00),
    "borealis-s": (0.60, 0.25, 0.12, 0.03),
}
DIM_BELOW_LUX: Final = 10.0
_DIM_DAY_SHARE: Final = 0.02


class _Stream(IntEnum):
    """First part of the key of everything random, so that no two purposes share numbers."""

    SUBJECT = 1
    DEVICE = 2
    ENROL = 3
    TRANSACTION = 4


@dataclass(frozen=True, slots=True)
class Device:
    """One unit of a device model."""

    device_id: str
    model: DeviceModel
    os_version: str
    camera_supplier: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A participant: attributes as logged, the device in hand, and the row of the identity vector."""

    subject_id: str
    site: str
    age_band: str
    sex: str
    skin_tone: int
    has_image_consent: bool
    wears_glasses: bool
    device: Device
    row: int

    @property
    def reference_id(self) -> str:
        return f"ref-{self.subject_id}"


@dataclass(frozen=True, slots=True)
class Participants:
    """Everybody in a scenario; `identities` float32[n, 35] by `Subject.row`."""

    subjects: tuple[Subject, ...]
    identities: NDArray[np.float32]

    def at(self, site: str) -> tuple[Subject, ...]:
        """List the subjects of one site, by id."""
        return tuple(subject for subject in self.subjects if subject.site == site)


@dataclass(frozen=True, slots=True)
class Capture:
    """Conditions of one frame as the device logs them, and the seed of everything random in it."""

    illuminance_lux: float
    distance_cm: float
    yaw_deg: float
    pitch_deg: float
    motion_blur_px: float
    eyewear: str
    covering: str
    thermal_state: str
    condition_label: str
    seed: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """One wish to be let in: captures, and N(0, 1) draws for latency, of as many attempts as may follow."""

    transaction_id: str
    session_id: str
    subject: Subject
    claimed: Subject
    starts_at: datetime
    captures: tuple[Capture, ...]
    latency_draws: tuple[float, ...]

    @property
    def attempts_allowed(self) -> int:
        """An impostor gives up after one attempt."""
        return len(self.captures) if self.claimed is self.subject else 1


def build_population(scenario: Scenario, *, seed: int) -> Participants:
    """Build the people of a scenario; the same for every build and round."""
    subjects: list[Subject] = []
    ages, masculinity = [], []
    for site in scenario.sites:
        subjects += _site_subjects(scenario, site, first_row=len(subjects), seed=seed)
    for subject in subjects:
        rng = _rng(seed, _Stream.SUBJECT, subject.row, 1)
        ages.append(age_in_band(subject.age_band, position=float(rng.random())))
        masculinity.append(masculinity_of(subject.sex, offset=0.15 * float(rng.standard_normal())))
    identities = build_identities(
        draw_latents(IdentitySpace.EVALUATION, seed=seed, indices=range(len(subjects))),
        skin_tones=np.array([subject.skin_tone for subject in subjects]),
        ages=np.array(ages, np.float32),
        masculinity=np.array(masculinity, np.float32),
    )
    return Participants(tuple(subjects), identities)


def _site_subjects(scenario: Scenario, site: SitePlan, *, first_row: int, seed: int) -> list[Subject]:
    counts = dict.fromkeys(MODEL_NAMES, 0)
    subjects = []
    for row in range(first_row, first_row + site.subjects):
        rng = _rng(seed, _Stream.SUBJECT, row, 0)
        is_senior = rng.random() < site.senior_share
        age_band = str(rng.choice(_SENIOR_BANDS if is_senior else AGE_BANDS[:2]))
        weights = np.array([site.device_weights.get(model.name, 0.0) for model in FLEET])
        weights[0] *= _OLD_PHONE_FACTOR if is_senior else 1.0
        model = FLEET[int(rng.choice(len(FLEET), p=weights / weights.sum()))]
        unit = counts[model.name] // SUBJECTS_PER_DEVICE
        counts[model.name] += 1
        subjects.append(
            Subject(
                subject_id=f"{scenario.name}-{row + 1:04d}",
                site=site.name,
                age_band=age_band,
                sex=str(rng.choice(["female", "male", "other"], p=[0.49, 0.49, 0.02])),
                skin_tone=int(rng.integers(1, 11)),
                has_image_consent=bool(rng.random() < scenario.consent_share),
                wears_glasses=bool(rng.random() < _GLASSES_SHARE[age_band]),
                device=_device(model, site=site.name, unit=unit, key=(scenario.sites.index(site), unit), seed=seed),
                row=row,
            )
        )
    return subjects


def _device(model: DeviceModel, *, site: str, unit: int, key: tuple[int, ...], seed: int) -> Device:
    rng = _rng(seed, _Stream.DEVICE, MODEL_NAMES.index(model.name), *key)
    suppliers = sorted(model.suppliers)
    return Device(
        device_id=f"{model.name}-{site}-{unit + 1:03d}",
        model=model,
        os_version=str(rng.choice(model.os_versions)),
        camera_supplier=str(rng.choice(suppliers, p=[model.suppliers[name] for name in suppliers])),
    )


def enrolment(scenario: Scenario, subject: Subject, *, seed: int) -> tuple[datetime, list[Capture]]:
    """Plan a subject's enrolment a week before the first build: its time and cooperative captures.

    Args:
        scenario, seed: number of frames and the builds, and the seed of the simulation.
        subject: who enrols.
    """
    rng = _rng(seed, _Stream.ENROL, subject.row)
    day = min(build.starts_on for build in scenario.builds) - timedelta(days=7)
    starts_at = datetime.combine(day, time(9), UTC) + timedelta(minutes=5 * subject.row)
    eyewear = "glasses" if subject.wears_glasses and rng.random() < 0.5 else "none"
    captures = [
        Capture(
            illuminance_lux=round(float(np.exp(rng.uniform(np.log(150.0), np.log(600.0)))), 1),
            distance_cm=round(float(rng.uniform(32.0, 46.0)), 1),
            yaw_deg=round(float(np.clip(rng.normal(0, 4), -8, 8)), 1),
            pitch_deg=round(float(np.clip(rng.normal(0, 4), -8, 8)), 1),
            motion_blur_px=round(float(np.clip(rng.exponential(0.2), 0, 0.8)), 2),
            eyewear=eyewear,
            covering="none",
            thermal_state="nominal",
            condition_label="enrolment",
            seed=int(rng.integers(0, 2**63)),
        )
        for _ in range(scenario.enrol_frames)
    ]
    return starts_at, captures


def transactions(scenario: Scenario, population: Participants, *, plan: DropPlan, seed: int) -> list[Transaction]:
    """Plan all transactions of one drop, two a session, in order of subject.

    Args:
        scenario, seed: how many of each subject, and the seed of the simulation.
        population, plan: the people, and the drop.
    """
    people = population.at(plan.site.name)
    planned = []
    for subject in people:
        for session in range(-(-scenario.transactions_per_subject // 2)):
            rng = _rng(seed, _Stream.TRANSACTION, plan.build_number, plan.round_number, subject.row, session)
            setting = _setting(subject, plan, session=session, rng=rng)
            planned += [
                _transaction(scenario, people, subject, setting=setting, number=number, rng=rng)
                for number in range(min(2, scenario.transactions_per_subject - 2 * session))
            ]
    return planned


@dataclass(frozen=True, slots=True)
class _Setting:
    """What stays the same within a session."""

    session_id: str
    starts_at: datetime
    is_evening: bool
    lux: float
    eyewear: str
    covering: str
    thermal_state: str


def _transaction(
    scenario: Scenario,
    people: Sequence[Subject],
    subject: Subject,
    *,
    setting: _Setting,
    number: int,
    rng: np.random.Generator,
) -> Transaction:
    others = [other for other in people if other is not subject]
    is_impostor = rng.random() < scenario.impostor_share
    other = others[int(rng.integers(0, len(others)))]
    return Transaction(
        transaction_id=f"{setting.session_id}-{number + 1}",
        session_id=setting.session_id,
        subject=subject,
        claimed=other if is_impostor else subject,
        starts_at=setting.starts_at + timedelta(minutes=3 * number),
        captures=tuple(_capture(setting, attempt=number + 1, rng=rng) for number in range(scenario.max_attempts)),
        latency_draws=tuple(float(value) for value in rng.standard_normal(scenario.max_attempts)),
    )


def _setting(subject: Subject, plan: DropPlan, *, session: int, rng: np.random.Generator) -> _Setting:
    is_evening = bool(rng.random() < plan.site.evening_share)
    is_dim = bool(rng.random() < (plan.site.dim_evening_share if is_evening else _DIM_DAY_SHARE))
    low, high = (1.5, 9.0) if is_dim else (14.0, 90.0) if is_evening else (80.0, 900.0)
    is_shaded = not is_evening and rng.random() < 0.03
    has_glasses = subject.wears_glasses and rng.random() < 0.85
    hour = rng.uniform(19.0, 22.5) if is_evening else rng.uniform(9.0, 17.0)
    day = plan.captured_from + timedelta(days=int(rng.integers(0, STUDY_DAYS)))
    return _Setting(
        session_id=f"{plan.build.build_id}-{subject.subject_id}-{plan.round_number + 1}{session + 1:02d}",
        starts_at=day + timedelta(seconds=int(3600 * hour)),
        is_evening=is_evening,
        lux=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        eyewear="sunglasses" if is_shaded else "glasses" if has_glasses else "none",
        covering=str(rng.choice(COVERINGS, p=[0.96, 0.03, 0.01])),
        thermal_state=str(rng.choice(_THERMAL_STATES, p=_THERMAL_SHARES[subject.device.model.name])),
    )


def _capture(setting: _Setting, *, attempt: int, rng: np.random.Generator) -> Capture:
    """One attempt's capture; light drifts by a tenth within a session but stays on its side of 10 lux.

    After a refusal people take off what hides the face, so sunglasses and coverings are met at first attempts only.
    """
    is_retry = attempt > 1
    lux = setting.lux * float(np.exp(0.1 * rng.standard_normal()))
    lux = min(lux, DIM_BELOW_LUX - 0.1) if setting.lux < DIM_BELOW_LUX else max(lux, DIM_BELOW_LUX + 0.5)
    return Capture(
        illuminance_lux=round(lux, 2),
        distance_cm=round(float(np.clip(40.0 * np.exp(0.22 * rng.standard_normal()), 24.0, 100.0)), 1),
        yaw_deg=round(float(np.clip(rng.normal(0, 10), -38, 38)), 1),
        pitch_deg=round(float(np.clip(rng.normal(0, 7), -24, 24)), 1),
        motion_blur_px=round(float(np.clip(rng.exponential(0.6), 0, 7)), 2),
        eyewear="none" if is_retry and setting.eyewear == "sunglasses" else setting.eyewear,
        covering="none" if is_retry else setting.covering,
        thermal_state=setting.thermal_state,
        condition_label="evening" if setting.is_evening else "day",
        seed=int(rng.integers(0, 2**63)),
    )


def to_conditions(captures: Sequence[Capture], devices: Sequence[Device]) -> CaptureConditions:
    """Convert captures on these devices to the renderer's struct of arrays."""
    measures = ("illuminance_lux", "distance_cm", "yaw_deg", "pitch_deg", "motion_blur_px")
    return CaptureConditions(
        **{name: np.array([getattr(capture, name) for capture in captures], np.float32) for name in measures},
        eyewear=np.array([EYEWEAR.index(capture.eyewear) for capture in captures], np.int64),
        covering=np.array([COVERINGS.index(capture.covering) for capture in captures], np.int64),
        camera=np.array([MODEL_NAMES.index(device.model.name) for device in devices], np.int64),
        seeds=np.array([capture.seed for capture in captures], np.uint64),
    )


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(int(part) for part in key)))
