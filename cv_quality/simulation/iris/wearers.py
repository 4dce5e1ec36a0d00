"""Who wears the devices, and the moments in which they look into them: everything that is drawn, by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal, cast

import numpy as np

from cv_quality.simulation.iris.eyes import ContactLens, EyeState, Spectacles
from cv_quality.simulation.iris.scenario import IrisDrop, IrisScenario, IrisSite

Eye = Literal["left", "right"]
EYES: tuple[Eye, ...] = ("left", "right")
VISORS: Final = {"visor-1": ("north-optics", "east-optics"), "visor-2": ("east-optics",)}
"""Models of head-mounted devices, with the makers of their cameras."""
AGE_BANDS: Final = ("18-29", "30-44", "45-59", "60+")
ENROLLED_LUX: Final = 150.0
DAY_FROM_H, DAY_HOURS = 9, 9
OPENING_ASIDE: Final = 0.62
"""Of lids, by the iris's diameter, when eyes look 15 degrees aside or more: lids fall then."""
_ENROL, _MOMENT, _WEARER = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Wearer:
    """A subject: attributes as logged, the device, and how the own eyes are.

    Attributes:
        number: at the site, from 0.
        opening: of the lids, by the iris's diameter.
        eye_seeds: of the texture of the left and the right iris.
    """

    site: str
    number: int
    age_band: str
    sex: str
    skin_tone: int
    has_image_consent: bool
    device_model: str
    camera_supplier: str
    spectacles: Spectacles
    contact_lens: ContactLens
    opening: float
    lash_px: float
    eye_seeds: tuple[int, int]

    @property
    def subject_id(self) -> str:
        return f"{self.site}-{self.number:03d}"

    @property
    def device_id(self) -> str:
        return f"device-{self.subject_id}"

    def reference_id(self, eye: Eye) -> str:
        return f"ref-{self.subject_id}-{eye}"


@dataclass(frozen=True, slots=True)
class Moment:
    """One look into a device, of both eyes.

    Attributes:
        wearer, claimed: who looks, and whose references are claimed.
        number: of the moment, from 1; 0 is the enrolment.
        states: of the left and the right eye.
    """

    wearer: Wearer
    claimed: Wearer
    number: int
    starts_at: datetime
    distance_cm: float
    days_since_enrol: float
    latency_ms: float
    states: tuple[EyeState, EyeState]

    @property
    def transaction_id(self) -> str:
        return f"{self.wearer.subject_id}-{self.number}"

    def sample_id(self, eye: Eye) -> str:
        """The name of what one eye shows."""
        return f"{self.transaction_id}-{eye}"


def draw_wearers(scenario: IrisScenario, site: IrisSite, *, seed: int) -> list[Wearer]:
    """Draw the subjects of a site; the same for every build."""
    return [_wearer(scenario, site, number, seed=seed) for number in range(site.subjects)]


def draw_enrolments(wearers: Sequence[Wearer], plan: IrisDrop, *, seed: int) -> Iterator[Moment]:
    """Draw the enrolments of a site's subjects: on axis, in ordinary light, the same for every drop."""
    for wearer in wearers:
        rng = np.random.default_rng([seed, _ENROL, _number_of(wearer.site), wearer.number])
        state = _state(wearer, rng, lux=ENROLLED_LUX, gaze_deg=abs(float(rng.normal(0, 2))), is_tired=False)
        at = plan.captured_from + timedelta(minutes=wearer.number)
        yield Moment(wearer, wearer, 0, at, _distance(rng), 0.0, 0.0, _both(state, rng))


def draw_moments(scenario: IrisScenario, wearers: Sequence[Wearer], plan: IrisDrop, *, seed: int) -> Iterator[Moment]:
    """Draw the moments of a drop, in the order of subjects and time."""
    site = plan.site
    for wearer in wearers:
        key = [seed, _MOMENT, plan.build_number, plan.round_number, _number_of(site.name), wearer.number]
        rng = np.random.default_rng(key)
        days = np.sort(rng.uniform(0, 5, scenario.moments))
        for number, day in enumerate(days.tolist(), start=1):
            is_dim, is_aside = rng.random() < site.dim_share, rng.random() < site.off_axis_share
            lux = float(10 ** (rng.uniform(0.3, 1.3) if is_dim else rng.uniform(1.5, 3.3)))
            gaze = float(rng.uniform(15, 35) if is_aside else abs(rng.normal(0, 4)))
            claimed = wearer
            if rng.random() < scenario.impostor_share:
                claimed = wearers[(wearer.number + int(rng.integers(1, len(wearers)))) % len(wearers)]
            state = _state(wearer, rng, lux=lux, gaze_deg=gaze, is_tired=True)
            hours = DAY_FROM_H + DAY_HOURS * (day % 1)
            at = plan.captured_from + timedelta(days=int(day), hours=hours)
            since = float(10.0 * plan.build_number + day)
            latency = float(210 * np.exp(rng.normal(0, 0.2)))
            yield Moment(wearer, claimed, number, at, _distance(rng), since, latency, _both(state, rng))


def opening_at(wearer: Wearer, gaze_deg: float) -> float:
    """How far lids are open on average, by the iris's diameter: they fall when eyes look aside."""
    aside = min(gaze_deg / 15, 1.0)
    return wearer.opening + aside * (OPENING_ASIDE - wearer.opening)


def _wearer(scenario: IrisScenario, site: IrisSite, number: int, *, seed: int) -> Wearer:
    rng = np.random.default_rng([seed, _WEARER, _number_of(site.name), number])
    model = str(rng.choice(list(VISORS)))
    spectacles = str(rng.choice(["clear", "tinted"])) if rng.random() < site.spectacles_share else "none"
    lens = str(rng.choice(["soft", "patterned"], p=[0.85, 0.15])) if rng.random() < site.lens_share else "none"
    has_heavy_lids = rng.random() < site.heavy_lid_share
    return Wearer(
        site=site.name,
        number=number,
        age_band=str(rng.choice(AGE_BANDS)),
        sex=str(rng.choice(["female", "male"])),
        skin_tone=int(rng.integers(1, 11)),
        has_image_consent=bool(rng.random() < scenario.consent_share),
        device_model=model,
        camera_supplier=str(rng.choice(VISORS[model])),
        spectacles=cast(Spectacles, spectacles),
        contact_lens=cast(ContactLens, lens),
        opening=float(rng.normal(0.74, 0.03) if has_heavy_lids else rng.normal(0.95, 0.05)),
        lash_px=float(rng.uniform(8, 18)),
        eye_seeds=(int(rng.integers(2**31)), int(rng.integers(2**31))),
    )


def _state(wearer: Wearer, rng: np.random.Generator, *, lux: float, gaze_deg: float, is_tired: bool) -> EyeState:
    """Both eyes of a moment, as far as they are alike."""
    opening = opening_at(wearer, gaze_deg)
    return EyeState(
        illuminance_lux=lux,
        pupil_noise=float(rng.normal(0, 0.02)),
        gaze_deg=gaze_deg,
        gaze_direction_deg=float(rng.choice([0.0, 180.0]) + rng.normal(0, 12)),
        torsion_deg=float(rng.normal(0, 3 if is_tired else 1)),
        opening=float(np.clip(opening + rng.normal(0, 0.04 if is_tired else 0.02), 0.38, 1.1)),
        lash_px=wearer.lash_px,
        blur_px=float(rng.uniform(0.6, 1.8 if is_tired else 0.9)),
        spectacles=wearer.spectacles,
        contact_lens=wearer.contact_lens,
    )


def _both(state: EyeState, rng: np.random.Generator) -> tuple[EyeState, EyeState]:
    left, right = (
        replace(state, x_px=float(rng.normal(0, 8)), y_px=float(rng.normal(0, 6)), seed=int(rng.integers(2**31)))
        for _ in EYES
    )
    return left, right


def _distance(rng: np.random.Generator) -> float:
    return round(float(rng.normal(3.0, 0.25)), 2)


def _number_of(name: str) -> int:
    """A site's name as a number, the same on every machine."""
    return int.from_bytes(name.encode()[:8].ljust(8, b"\0"), "big") % 2**31
