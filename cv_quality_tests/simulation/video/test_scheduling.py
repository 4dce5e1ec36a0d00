"""One processor, a queue of one, and heat: times against a simulation by hand, heat against its closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from cv_quality.simulation.video import scheduling
from cv_quality.simulation.video.scheduling import (
    BUSY_MW,
    ENTER_C,
    HYSTERESIS_C,
    KELVIN_PER_WATT,
    PERIOD_MS,
    TIME_CONSTANT_S,
    ScheduledFrame,
    ThermalState,
    schedule,
)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "SPREAD", 0.0)
    monkeypatch.setattr(scheduling, "HICCUP_SHARE", 0.0)


def run(arrivals: list[float], *, median_ms: float, thermal: ThermalState | None = None) -> list[ScheduledFrame]:
    cool = thermal or ThermalState(20.0, 20.0)
    return schedule(arrivals, median_ms=median_ms, thermal=cool, rng=np.random.default_rng(0))


@pytest.mark.usefixtures("steady")
def test_newest_frame_waits_and_the_older_one_is_dropped() -> None:
    frames = run([0.0, 10.0, 20.0, 30.0, 100.0], median_ms=25.0)
    assert [frame.start_ms for frame in frames] == [0.0, None, 25.0, 50.0, 100.0]
    assert [frame.result_ms for frame in frames] == [25.0, None, 50.0, 75.0, 125.0]


@pytest.mark.usefixtures("steady")
def test_results_are_shown_at_the_next_refresh() -> None:
    frames = run([0.0, 40.0], median_ms=20.0)
    assert [frame.display_ms for frame in frames] == pytest.approx([2000 / 60, 4000 / 60], abs=1e-3)


def test_no_two_frames_are_processed_at_once_and_none_before_it_is_there() -> None:
    frames = run([PERIOD_MS * at for at in range(300)], median_ms=45.0)
    done = [frame for frame in frames if frame.start_ms is not None and frame.result_ms is not None]
    assert 0.1 < 1 - len(done) / 300 < 0.5
    spans = [(frame.capture_ms, frame.start_ms or 0.0, frame.result_ms or 0.0) for frame in done]
    assert all(capture <= start < result for capture, start, result in spans)
    assert all(result <= start for (_, _, result), (_, start, _) in pairwise(spans))
    assert all(frame.display_ms is not None and frame.display_ms >= frame.result_ms for frame in done)  # type: ignore[operator]


def test_temperature_rises_as_the_differential_equation_says() -> None:
    device = ThermalState(20.0, 20.0)
    for _ in range(300):
        device.run(0.1, load=1.0)
    target = 20.0 + KELVIN_PER_WATT * BUSY_MW / 1000
    assert device.level == 0
    assert device.temperature_c == pytest.approx(target - (target - 20) * math.exp(-30 / TIME_CONSTANT_S))


def test_states_are_entered_and_left_with_hysteresis() -> None:
    device = ThermalState(20.0, ENTER_C[1] + 0.1)
    device.run(1e-6, load=0.0)
    assert device.name == "serious"
    device.temperature_c = ENTER_C[1] - HYSTERESIS_C / 2
    device.run(1e-6, load=0.0)
    assert device.name == "serious"
    device.temperature_c = ENTER_C[1] - 1.5 * HYSTERESIS_C
    device.run(1e-6, load=0.0)
    assert device.name == "fair"


def test_hot_devices_take_longer_and_draw_less() -> None:
    arrivals = [PERIOD_MS * at for at in range(120)]
    cool, hot = ThermalState(10.0, 10.0), ThermalState(30.0, 42.0)
    fresh, warm = (run(arrivals, median_ms=30.0, thermal=device) for device in (cool, hot))

    def processing(frames: list[ScheduledFrame]) -> float:
        return float(np.median([(f.result_ms or 0) - (f.start_ms or 0) for f in frames if f.result_ms is not None]))

    assert processing(warm) == pytest.approx(1.5 * processing(fresh), rel=0.06)
    assert {frame.thermal_state for frame in warm} == {"serious"}
    assert max(frame.power_mw for frame in warm) < max(frame.power_mw for frame in fresh)
    assert sum(frame.result_ms is None for frame in warm) > sum(frame.result_ms is None for frame in fresh)
