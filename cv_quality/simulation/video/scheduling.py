"""How a device keeps up with a stream: one processor, a queue of one frame, and heat that slows it down.

Only time is simulated. A frame that arrives while the processor is busy waits; a newer one takes its place, and the
older one is dropped without a result. Load heats the device, heat lowers its clock, and a lower clock makes load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cv_quality.simulation.fleet import THERMAL_SLOWDOWN

PERIOD_MS: Final = 1000 / 30
DEADLINE_MS: Final = 1.5 * PERIOD_MS
REFRESH_HZ: Final = 60.0
SPREAD: Final = 0.13
"""Standard deviation of the logarithm of a frame's processing time."""
HICCUP_SHARE: Final = 0.012
HICCUP_FACTORS: Final = (2.0, 4.0)
"""Frames that something else of the device delays, and by what."""
IDLE_MW: Final = 900.0
BUSY_MW: Final = 3_100.0
THERMAL_STATES: Final = tuple(THERMAL_SLOWDOWN)
ENTER_C: Final = (37.5, 40.5, 45.0)
"""Temperatures at which the second, third and fourth state begin; each ends `HYSTERESIS_C` below."""
HYSTERESIS_C: Final = 1.0
KELVIN_PER_WATT: Final = 7.0
TIME_CONSTANT_S: Final = 60.0


@dataclass(slots=True)
class ThermalState:
    """The temperature of a device and the state that it has entered; both move with its load.

    Attributes:
        ambient_c: temperature of the air.
        temperature_c: of the device.
        level: index of the state in `THERMAL_STATES`.
    """

    ambient_c: float
    temperature_c: float
    level: int = 0

    @property
    def name(self) -> str:
        return THERMAL_STATES[self.level]

    @property
    def slowdown(self) -> float:
        return float(THERMAL_SLOWDOWN[self.name])

    def run(self, seconds: float, *, load: float) -> float:
        """Let time pass under a load from 0 to 1; returns the power drawn in mW.

        A device whose clock is lowered draws less while it is busy.
        """
        power_mw: float = IDLE_MW + load * (BUSY_MW - IDLE_MW) / self.slowdown**0.5
        target_c = self.ambient_c + KELVIN_PER_WATT * power_mw / 1000
        self.temperature_c += (target_c - self.temperature_c) * (1 - float(np.exp(-seconds / TIME_CONSTANT_S)))
        while self.level < len(ENTER_C) and self.temperature_c >= ENTER_C[self.level]:
            self.level += 1
        while self.level and self.temperature_c < ENTER_C[self.level - 1] - HYSTERESIS_C:
            self.level -= 1
        return power_mw


@dataclass(frozen=True, slots=True)
class ScheduledFrame:
    """What became of one frame; times in ms by the stream's clock, None where it was dropped."""

    capture_ms: float
    start_ms: float | None
    result_ms: float | None
    display_ms: float | None
    thermal_state: str
    temperature_c: float
    power_mw: float


def schedule(
    capture_ms: Sequence[float], *, median_ms: float, thermal: ThermalState, rng: np.random.Generator
) -> list[ScheduledFrame]:
    """Process the frames of one clip on a device, which gets warmer by it.

    Args:
        capture_ms: when each frame is there, rising.
        median_ms: processing time on a cool device.
        thermal: of the device; moves on.
        rng: of the processing times.
    """
    costs = median_ms * np.exp(SPREAD * rng.standard_normal(len(capture_ms)))
    costs *= np.where(rng.random(len(costs)) < HICCUP_SHARE, rng.uniform(*HICCUP_FACTORS, len(costs)), 1.0)
    starts: dict[int, tuple[float, float]] = {}
    states = []
    free_ms, waiting = 0.0, None
    for number, arrival in enumerate(capture_ms):
        if waiting is not None and free_ms <= arrival:
            starts[waiting] = free_ms, free_ms + costs[waiting] * thermal.slowdown
            free_ms, waiting = starts[waiting][1], None
        if free_ms <= arrival:
            starts[number] = arrival, arrival + costs[number] * thermal.slowdown
            free_ms = starts[number][1]
        else:
            waiting = number
        load = min(1.0, max(0.0, free_ms - arrival) / PERIOD_MS)
        power_mw = thermal.run(PERIOD_MS / 1000, load=load)
        states.append((thermal.name, round(thermal.temperature_c, 2), round(power_mw, 1)))
    if waiting is not None:
        starts[waiting] = free_ms, free_ms + costs[waiting] * thermal.slowdown
    return [
        ScheduledFrame(arrival, *_shown(starts.get(number)), *state)
        for number, (arrival, state) in enumerate(zip(capture_ms, states, strict=True))
    ]


def _shown(span: tuple[float, float] | None) -> tuple[float | None, float | None, float | None]:
    """Start, result, and the refresh of the screen after it."""
    if span is None:
        return None, None, None
    refresh_ms = 1000 / REFRESH_HZ
    start, result = round(span[0], 3), round(span[1], 3)
    return start, result, round(float(np.ceil(result / refresh_ms)) * refresh_ms, 3)
