"""Simulate a study of video: film the scenes of every site, let each build's devices keep up, and write the drops.

No model runs here: what a build's masks are worth comes out of running its own model on the clips later. The planted
truth is written beside the drops, never inside one; what to simulate is in `scenario.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from cv_quality.drops.writer import DropWriter
from cv_quality.inference.registry import ModelRegistry
from cv_quality.lake.store import Store
from cv_quality.modality import Modality
from cv_quality.simulation.fleet import DeviceModel
from cv_quality.simulation.studies import drop_plans, drop_writer, write_truth
from cv_quality.simulation.video.footage import Footage, film_site, plan_clips
from cv_quality.simulation.video.scenario import VideoDrop, VideoScenario
from cv_quality.simulation.video.scenes import CLASSES, FRAME_RATE_HZ, draw_scenes
from cv_quality.simulation.video.scheduling import (
    DEADLINE_MS,
    PERIOD_MS,
    REFRESH_HZ,
    ScheduledFrame,
    ThermalState,
    schedule,
)

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

LATENCY_SHARE: Final = 0.095
"""Of the device model's time for a verification, that a build with latency factor 1 takes for a frame."""
WARM_UP_C: Final = 6.0
"""Above the air, at the first clip of a device."""
GAP_S: Final = 30
"""Between two clips of a device, in which its app runs on."""
_EXPOSURE_MS: Final = 8.0
_CAPTURE_JITTER_MS: Final = 0.3


def simulate_video(
    scenario: VideoScenario,
    *,
    landing: Store,
    registry: ModelRegistry,
    seed: int | None = None,
    plans: Sequence[VideoDrop] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Write drops of a scenario and its truth; the same scenario and seed give the same bytes.

    Args:
        scenario: what to simulate.
        landing: where the drops go, each in its own folder; the truth goes to `truth-<scenario>.json` beside them.
        registry: must know every build of the scenario.
        seed: in place of the scenario's own.
        plans: the drops to write; by default all of the scenario.
        progress: called after each drop with its id, the number of drops done and the number of all.

    Returns:
        The ids of the drops, in the order in which they were written.

    Raises:
        RegistryError: the registry lacks a build.
    """
    chosen_seed = scenario.seed if seed is None else seed
    plans = drop_plans(scenario) if plans is None else plans
    modalities = {
        plan.build.build_id: registry.modalities[registry.entry(plan.build.build_id).modality] for plan in plans
    }
    filmed = {
        name: film_site(scenario, site, seed=chosen_seed)
        for name, site in {plan.site.name: plan.site for plan in plans}.items()
    }
    for done, plan in enumerate(plans, start=1):
        _write_drop(
            plan,
            filmed[plan.site.name],
            landing=landing,
            modality=modalities[plan.build.build_id],
            seed=chosen_seed,
        )
        if progress is not None:
            progress(plan.drop_id, done, len(plans))
    write_truth(
        landing, scenario, seed=chosen_seed, irregular_scenes=dict(_irregular_scenes(scenario, seed=chosen_seed))
    )
    return [plan.drop_id for plan in plans]


def _write_drop(plan: VideoDrop, clips: Sequence[Footage], *, landing: Store, modality: Modality, seed: int) -> None:
    with drop_writer(landing, plan, modality=modality, protocol="streams") as writer:
        models = {clip.model.name: clip.model for clip in clips}
        for model in models.values():
            _write_device(writer, plan, model)
        for label, name in enumerate((None, *CLASSES)):
            _write_mask_class(writer, plan, label=label, name=name)
        thermals = {name: ThermalState(plan.site.ambient_c, plan.site.ambient_c + WARM_UP_C) for name in models}
        for number, clip in enumerate(clips):
            _write_clip(writer, plan, clip, number=number, thermal=thermals[clip.model.name], seed=seed)
    logger.info("simulated drop %s: %d clips", plan.drop_id, len(clips))


def _write_device(writer: DropWriter, plan: VideoDrop, model: DeviceModel) -> None:
    device = _device_id(plan, model)
    writer.add_event(
        "device",
        event_id=f"device-{device}",
        occurred_at=plan.captured_from,
        device_id=device,
        device_model=model.name,
        os_version=model.os_versions[-1],
        camera_supplier=next(iter(model.suppliers)),
    )


def _device_id(plan: VideoDrop, model: DeviceModel) -> str:
    return f"{plan.site.name}-{model.name}"


def _write_mask_class(writer: DropWriter, plan: VideoDrop, *, label: int, name: str | None) -> None:
    writer.add_event(
        "mask_class",
        event_id=f"mask-class-{label}",
        occurred_at=plan.captured_from,
        label=label,
        class_name=name,
        is_ignored=False,
    )


def _write_clip(
    writer: DropWriter, plan: VideoDrop, clip: Footage, *, number: int, thermal: ThermalState, seed: int
) -> None:
    """Write one clip with its truth, and what its device logged of every frame.

    Args:
        writer, plan: the drop.
        clip: filmed before.
        number: of the clip in the drop.
        thermal: of its device; moves on.
        seed: of the simulation.
    """
    stream_id = f"{plan.build.build_id}-{plan.round_number + 1}-{clip.name}"
    starts_at = plan.captured_from + timedelta(hours=8, seconds=number * GAP_S)
    member = f"{stream_id}.mp4"
    writer.add_media("clips", member, clip.video)
    for frame, mask in enumerate(clip.masks):
        writer.add_media("masks", f"{stream_id}/{frame:06d}.png", mask)
    writer.add_event(
        "clip",
        event_id=f"clip-{stream_id}",
        occurred_at=starts_at,
        stream_id=stream_id,
        device_id=_device_id(plan, clip.model),
        clip=member,
        scene=clip.name,
        frame_rate_hz=float(FRAME_RATE_HZ),
        refresh_hz=REFRESH_HZ,
        mask_kind="classes",
        has_image_consent=clip.has_image_consent,
    )
    key = (35, plan.build_number, plan.round_number, number, *plan.site.name.encode())
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    median_ms = LATENCY_SHARE * clip.model.latency_ms * plan.build.latency_factor
    jitter = np.clip(rng.standard_normal(len(clip.shown)), -3, 3) * _CAPTURE_JITTER_MS + _EXPOSURE_MS
    capture_ms = [
        round(PERIOD_MS * period + late, 3) for period, late in zip(clip.periods, jitter.tolist(), strict=True)
    ]
    frames = schedule(capture_ms, median_ms=median_ms, thermal=thermal, rng=rng)
    thermal.run(GAP_S, load=min(1.0, median_ms * thermal.slowdown / PERIOD_MS))
    device_id = _device_id(plan, clip.model)
    writer.add_events(
        "stream_frame", _stream_frames(clip, frames, stream_id=stream_id, device_id=device_id, at=starts_at)
    )
    writer.add_events("box", _boxes(clip, frames, stream_id=stream_id, at=starts_at))


def _stream_frames(
    clip: Footage, frames: Sequence[ScheduledFrame], *, stream_id: str, device_id: str, at: datetime
) -> pl.DataFrame:
    """The `stream_frame` events of a clip.

    Args:
        clip, frames: what each frame shows, and what became of it.
        stream_id, device_id: of the clip.
        at: its start.
    """
    import polars as pl

    n, scene = len(frames), clip.scene
    return pl.DataFrame(
        {
            "event_id": [f"frame-{stream_id}-{number}" for number in range(n)],
            "occurred_at": _instants(frames, at),
            "stream_id": [stream_id] * n,
            "device_id": [device_id] * n,
            "frame_number": list(range(n)),
            "latency_ms": [
                None if item.start_ms is None or item.result_ms is None else round(item.result_ms - item.start_ms, 3)
                for item in frames
            ],
            "deadline_ms": [DEADLINE_MS] * n,
            "is_dropped": [item.result_ms is None for item in frames],
            "clip_time_ms": [round(PERIOD_MS * period, 3) for period in clip.periods],
            **{
                name: [getattr(item, name) for item in frames]
                for name in ("capture_ms", "start_ms", "result_ms", "display_ms", "temperature_c", "power_mw")
            },
            "illuminance_lux": [round(float(scene.illuminance_lux[period]), 2) for period in clip.periods],
            "rotation_deg_s": [round(float(scene.rotation_deg_s[period]), 2) for period in clip.periods],
            "thermal_state": [item.thermal_state for item in frames],
            "condition_label": [scene.camera_move] * n,
        }
    )


def _boxes(clip: Footage, frames: Sequence[ScheduledFrame], *, stream_id: str, at: datetime) -> pl.DataFrame:
    """The `box` events of a clip's truth; those that are all but hidden are ignored.

    Args:
        clip, frames: its pictures, and when each was taken.
        stream_id: of the clip.
        at: its start.
    """
    import polars as pl

    rows = [(number, box) for number, boxes in enumerate(clip.boxes) for box in boxes]
    instants = _instants(frames, at)
    return pl.DataFrame(
        {
            "event_id": [f"box-{stream_id}-{number}-{box.track}" for number, box in rows],
            "occurred_at": [instants[number] for number, _ in rows],
            "stream_id": [stream_id] * len(rows),
            "frame_number": [number for number, _ in rows],
            "source": ["truth"] * len(rows),
            "track_id": [f"{box.class_name}-{box.track}" for _, box in rows],
            **{
                name: [getattr(box, name) for _, box in rows]
                for name in ("class_name", "left_px", "top_px", "width_px", "height_px")
            },
            "is_ignored": [box.is_hidden for _, box in rows],
        }
    )


def _instants(frames: Sequence[ScheduledFrame], at: datetime) -> list[datetime]:
    return [at + timedelta(milliseconds=item.capture_ms) for item in frames]


def _irregular_scenes(scenario: VideoScenario, *, seed: int) -> Iterator[tuple[str, dict[str, object]]]:
    for site in scenario.sites:
        for plan in plan_clips(scenario, site, scenes=draw_scenes(scenario, site, seed=seed), seed=seed):
            if plan.irregularity is not None:
                yield plan.name, asdict(plan.irregularity)
