"""Runs of the live preview on each device: how long a frame took and which frames were dropped.
Only time is simulated; what a frame shows is the business of the attempts in `simulate.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from cv_quality.simulation.fleet import MODEL_NAMES, THERMAL_SLOWDOWN
from cv_quality.simulation.population import Device
from cv_quality.simulation.scenario import DropPlan

if TYPE_CHECKING:
    from cv_quality.drops.writer import Scalar

DEADLINE_MS: Final = 33.333
# A preview frame costs about a tenth of a verification; the device heats up halfway through every third run.
_SHARE_OF_LATENCY: Final = 0.095
_SPREAD: Final = 0.22
_HOT_RUNS: Final = 3


def stream_events(device: Device, *, plan: DropPlan, frames: int, seed: int) -> Iterator[dict[str, Scalar]]:
    """Simulate the `stream_frame` events of one run at 30 frames a second; a dropped frame has no latency.

    Args:
        device, plan: what runs it, and the drop.
        frames, seed: their number, and the seed of the simulation.
    """
    unit = int(device.device_id.rsplit("-", 1)[1])
    key = (9, plan.build_number, plan.round_number, MODEL_NAMES.index(device.model.name), unit)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, *plan.site.name.encode())))
    stream_id = f"{plan.build.build_id}-{plan.round_number + 1}-{device.device_id}"
    starts_at = plan.captured_from + timedelta(hours=8, minutes=unit)
    for number, draw in enumerate(rng.standard_normal(frames)):
        is_hot = unit % _HOT_RUNS == 0 and number >= frames // 2
        slowness = THERMAL_SLOWDOWN["serious" if is_hot else "nominal"] * float(np.exp(_SPREAD * draw))
        latency_ms = round(_SHARE_OF_LATENCY * device.model.latency_ms * slowness, 3)
        is_dropped = latency_ms > 1.5 * DEADLINE_MS
        yield {
            "event_id": f"stream-{stream_id}-{number}",
            "occurred_at": starts_at + timedelta(milliseconds=DEADLINE_MS * number),
            "stream_id": stream_id,
            "device_id": device.device_id,
            "frame_number": number,
            "latency_ms": None if is_dropped else latency_ms,
            "deadline_ms": DEADLINE_MS,
            "is_dropped": is_dropped,
        }
