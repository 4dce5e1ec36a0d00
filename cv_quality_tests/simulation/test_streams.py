"""Streams: a late frame is dropped, a dropped frame has no latency, and a hot device is slower."""

from __future__ import annotations

import numpy as np

from cv_quality.simulation.population import Device, build_population
from cv_quality.simulation.scenario import load_scenario
from cv_quality.simulation.streams import DEADLINE_MS, stream_events
from cv_quality.simulation.studies import drop_plans

DEMO = load_scenario("demo")
PLAN = drop_plans(DEMO)[0]


def devices() -> list[Device]:
    population = build_population(DEMO, seed=1)
    return list({subject.device.device_id: subject.device for subject in population.at("site-a")}.values())


def test_a_dropped_frame_has_no_latency_and_others_do() -> None:
    for device in devices():
        for event in stream_events(device, plan=PLAN, frames=60, seed=1):
            assert (event["latency_ms"] is None) == event["is_dropped"]


def test_some_frames_are_late_and_few_are_dropped() -> None:
    events = [event for device in devices() for event in stream_events(device, plan=PLAN, frames=60, seed=1)]
    late = np.mean([isinstance(e["latency_ms"], float) and e["latency_ms"] > DEADLINE_MS for e in events])
    dropped = np.mean([bool(event["is_dropped"]) for event in events])
    assert 0.02 < late < 0.4
    assert 0.002 < dropped < 0.1


def test_runs_repeat_and_have_unique_events() -> None:
    first = [event for device in devices() for event in stream_events(device, plan=PLAN, frames=10, seed=1)]
    again = [event for device in devices() for event in stream_events(device, plan=PLAN, frames=10, seed=1)]
    assert first == again
    assert len({event["event_id"] for event in first}) == len(first)
