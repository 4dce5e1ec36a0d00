"""Simulated scenes: speeds as they are said, masks and boxes from one outline, planted irregularities by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cv_quality.simulation.fleet import FLEET
from cv_quality.simulation.load import load_any_scenario
from cv_quality.simulation.video.compositing import DrawnFrame, draw_frames, frame_size
from cv_quality.simulation.video.filming import N_DROPPED, N_FROZEN, Irregularity, delivered, expose_color, plant
from cv_quality.simulation.video.scenario import VideoScenario
from cv_quality.simulation.video.scenes import ASPECT, CLASSES, SPEEDS, Scene, draw_scenes

HEIGHT = 72


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    demo = load_any_scenario("video-demo")
    assert isinstance(demo, VideoScenario)
    return draw_scenes(replace(demo, frames=60), replace(demo.sites[0], clips=24), seed=3)


def drawn(scene: Scene, *numbers: int) -> list[DrawnFrame]:
    width, height = frame_size(HEIGHT)
    frames = list(draw_frames(scene, width=width, height=height))
    return [frames[number] for number in numbers]


def steps(scene: Scene) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Way of each object from frame to frame, of the diagonal, but at a wall, where it turns."""
    centres = np.stack([item.centres for item in scene.objects])
    way = np.hypot(*np.moveaxis(np.diff(centres, axis=1), -1, 0)) / np.hypot(ASPECT, 1)
    return np.asarray(np.median(way, axis=1))


def test_objects_move_as_fast_as_the_scene_says(scenes: list[Scene]) -> None:
    for scene in scenes:
        if scene.speed in SPEEDS:
            low, high = SPEEDS[scene.speed]
            assert (low * 0.999 <= steps(scene)).all()
            assert (steps(scene) <= high * 1.001).all()
    assert {scene.speed for scene in scenes} == {*SPEEDS, "burst"}


def test_site_gets_the_shares_of_its_scenario(scenes: list[Scene]) -> None:
    assert sum(scene.speed in ("fast", "burst") for scene in scenes) == round(0.43 * 24)
    assert sum(scene.illuminance_lux.min() < 10 for scene in scenes) == round(0.25 * 24)
    assert sum(scene.camera_move == "pan" for scene in scenes) == round(0.25 * 24)


def test_boxes_hold_just_the_objects_that_masks_show(scenes: list[Scene]) -> None:
    for scene in scenes[:6]:
        alone = replace(scene, objects=scene.objects[:1], post=None)
        (frame,) = drawn(alone, 40)
        (box,) = frame.boxes
        rows, columns = np.nonzero(frame.labels == CLASSES.index(box.class_name) + 1)
        assert [box.left_px, box.top_px] == [float(columns.min()), float(rows.min())]
        assert [box.width_px, box.height_px] == [float(np.ptp(columns)) + 1, float(np.ptp(rows)) + 1]
        assert not box.is_hidden


def test_object_behind_another_is_hidden_and_keeps_its_box(scenes: list[Scene]) -> None:
    scene = scenes[0]
    front = replace(scene.objects[0], class_name="crate", radius=0.4, centres=np.full((len(scene), 2), 0.5))
    behind = replace(front, class_name="ball", radius=0.1)
    (frame,) = drawn(replace(scene, objects=(behind, front), post=None), 0)
    assert [(box.class_name, box.is_hidden) for box in frame.boxes] == [("ball", True), ("crate", False)]
    assert set(np.unique(frame.labels)) == {0, CLASSES.index("crate") + 1}


def test_post_hides_what_is_behind_it(scenes: list[Scene]) -> None:
    scene = replace(scenes[0], shake=np.zeros((len(scenes[0]), 2)))
    open_, barred = (drawn(replace(scene, post=post), 0)[0] for post in (None, (0.5, 0.1)))
    columns = slice(round(0.45 * HEIGHT), round(0.55 * HEIGHT))
    assert not barred.labels[:, columns].any()
    rest = np.delete(barred.labels, np.r_[columns], axis=1)
    np.testing.assert_array_equal(rest, np.delete(open_.labels, np.r_[columns], axis=1))


def test_light_decides_how_bright_and_how_noisy_a_frame_is(scenes: list[Scene]) -> None:
    (frame,) = drawn(scenes[0], 0)

    def film(lux: float, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        rng = np.random.default_rng(seed)
        return expose_color(frame.radiance, lux=lux, camera=FLEET[0].camera, rng=rng).astype(float)

    assert film(300, 1).mean() > 2 * film(4, 1).mean()
    signal_to_noise = [film(lux, 1).mean() / np.std(film(lux, 1) - film(lux, 2)) for lux in (300, 4)]
    assert signal_to_noise[0] > 2 * signal_to_noise[1]


def test_planted_frames_are_lost_repeated_or_frozen() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        dropped, repeated, frozen = (
            plant(kind, first=0, end=60, rng=rng) for kind in ("dropped", "repeated", "frozen")
        )
        assert len(set(dropped.frames)) == N_DROPPED
        assert len(delivered(60, dropped)) == 60 - N_DROPPED
        pictures = delivered(60, repeated)
        assert [period for _, period in pictures] == list(range(60))
        assert [period for shown, period in pictures if shown != period] == list(repeated.frames)
        stood = [shown for shown, period in delivered(60, frozen) if period in frozen.frames]
        assert stood == [frozen.frames[0] - 1] * N_FROZEN
        assert max(np.diff([-9, *repeated.frames])) > 1
        late = plant("repeated", first=30, end=60, rng=rng)
        assert min(late.frames) > 30
        assert max(late.frames) < 60
    assert delivered(3, None) == [(0, 0), (1, 1), (2, 2)]
    assert delivered(4, Irregularity("repeated", (2,)))[2] == (1, 2)
