"""The clips of a site as its devices film them: video files, masks and boxes, the same for every build.

A rig plays each scene to the camera again, so builds see one recording; how their devices keep up with it differs and
is in `scheduling.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from cv_quality.simulation.fleet import FLEET, DeviceModel
from cv_quality.simulation.rendering import encode_png
from cv_quality.simulation.video.compositing import VisibleBox, draw_frames, frame_size
from cv_quality.simulation.video.filming import Irregularity, delivered, encode_clip, expose_color, plant
from cv_quality.simulation.video.scenario import VideoScenario, VideoSite
from cv_quality.simulation.video.scenes import Scene, draw_scenes

PICTURE_HEIGHTS: Final = {"aurora-1": 120, "aurora-2": 132, "borealis-s": 120}
"""Pixels, by device model."""
LIT_LUX: Final = 20.0
_THREADS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """One clip of a site.

    Attributes:
        name: of the scene.
        scene: what was before the camera.
        model: of the device that filmed.
        irregularity: planted in it, if any.
        has_image_consent: whether its pictures may be shown.
        video: the file.
        shown: the scene's frame that each picture shows.
        periods: the timestamp of each picture, in periods of the frame rate.
        masks: PNG of labels of each picture.
        boxes: of each picture.
    """

    name: str
    scene: Scene
    model: DeviceModel
    irregularity: Irregularity | None
    has_image_consent: bool
    video: bytes
    shown: tuple[int, ...]
    periods: tuple[int, ...]
    masks: tuple[bytes, ...]
    boxes: tuple[tuple[VisibleBox, ...], ...]


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What is decided of a clip before its scene is filmed; see `Footage`."""

    name: str
    model: DeviceModel
    irregularity: Irregularity | None
    has_image_consent: bool
    noise_seed: np.random.SeedSequence


def plan_clips(scenario: VideoScenario, site: VideoSite, *, scenes: Sequence[Scene], seed: int) -> list[ClipPlan]:
    """Decide which device films each clip of a site, what is planted in it, and whose pictures may be shown.

    Pictures are lost, sent twice or frozen where something moves in good light: a still scene hides it.

    Args:
        scenario, site: of the study.
        scenes: of its clips.
        seed: of the simulation.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(33, *site.name.encode())))
    models = [model for model in FLEET for _ in range(round(site.device_weights.get(model.name, 0.0) * site.clips))]
    commonest = max(FLEET, key=lambda model: site.device_weights.get(model.name, 0.0))
    models = [*models, *(commonest,) * site.clips][: site.clips]
    order, shown = rng.permutation(site.clips), rng.permutation(site.clips)
    eager = sorted(range(site.clips), key=lambda number: (_stillness(scenes[number]), shown[number]))
    kinds = dict(zip(eager, _planted_kinds(scenario), strict=False))
    return [
        ClipPlan(
            name=f"{site.name}-{number:02d}",
            model=models[order[number]],
            irregularity=_planted(kinds[number], scenes[number], rng=rng) if number in kinds else None,
            has_image_consent=bool(shown[number] < round(scenario.consent_share * site.clips)),
            noise_seed=np.random.SeedSequence(seed, spawn_key=(34, number, *site.name.encode())),
        )
        for number in range(site.clips)
    ]


def _planted_kinds(scenario: VideoScenario) -> list[str]:
    """What is planted in so many clips, that which needs motion to be seen first."""
    counts = {
        "frozen": scenario.frozen_clips,
        "repeated": scenario.repeated_clips,
        "dropped": scenario.dropped_clips,
    }
    return [kind for kind, count in counts.items() for _ in range(count)]


def _stillness(scene: Scene) -> int:
    """How much a scene hides that a picture came twice; least where objects move fast in good light."""
    is_dim = float(scene.illuminance_lux.min()) < LIT_LUX
    return ("fast", "burst", "medium", "slow").index(scene.speed) + 4 * is_dim


def _planted(kind: str, scene: Scene, *, rng: np.random.Generator) -> Irregularity:
    """Strike a clip, where it needs motion to be seen in the half that has it."""
    first = len(scene) // 2 if scene.speed == "burst" and kind != "dropped" else 0
    return plant(kind, first=first, end=len(scene), rng=rng)


def film_site(scenario: VideoScenario, site: VideoSite, *, seed: int) -> list[Footage]:
    """Film every clip of a site, in two threads; the same arguments give the same bytes.

    Args:
        scenario, site: of the study.
        seed: of the simulation.
    """
    scenes = draw_scenes(scenario, site, seed=seed)
    plans = plan_clips(scenario, site, scenes=scenes, seed=seed)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_film, plans, scenes))


def _film(plan: ClipPlan, scene: Scene) -> Footage:
    rng = np.random.Generator(np.random.SFC64(plan.noise_seed))
    width, height = frame_size(PICTURE_HEIGHTS[plan.model.name])
    pictures, masks, boxes = [], [], []
    for frame, lux in zip(draw_frames(scene, width=width, height=height), scene.illuminance_lux, strict=True):
        pictures.append(expose_color(frame.radiance, lux=float(lux), camera=plan.model.camera, rng=rng))
        masks.append(encode_png(frame.labels))
        boxes.append(frame.boxes)
    sent = delivered(len(scene), plan.irregularity)
    shown, periods = tuple(frame for frame, _ in sent), tuple(period for _, period in sent)
    return Footage(
        name=plan.name,
        scene=scene,
        model=plan.model,
        irregularity=plan.irregularity,
        has_image_consent=plan.has_image_consent,
        video=encode_clip([pictures[frame] for frame in shown], periods),
        shown=shown,
        periods=periods,
        masks=tuple(masks[frame] for frame in shown),
        boxes=tuple(boxes[frame] for frame in shown),
    )
