"""Rendering: the same seed gives the same pixels, identities differ, and every condition acts in its own direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.simulation.camera import blur
from cv_quality.simulation.conditions import COVERINGS, EYEWEAR, CameraModel, CaptureConditions, benign_conditions
from cv_quality.simulation.drawing import NUISANCES, head_planes
from cv_quality.simulation.geometry import face_measures
from cv_quality.simulation.identity import SKIN_TONE_COLUMN, IdentitySpace, draw_people
from cv_quality.simulation.rendering import encode_png, render

COUNT = 24


@pytest.fixture(scope="module")
def people() -> NDArray[np.float32]:
    return draw_people(IdentitySpace.VALIDATION, seed=5, count=COUNT)


@pytest.fixture(scope="module")
def calm() -> CaptureConditions:
    """Frontal captures at arm's length in good light, each frame with a seed of its own."""
    still = np.zeros(COUNT, np.float32)
    return replace(
        benign_conditions(COUNT, seed=6),
        illuminance_lux=still + 400,
        distance_cm=still + 40,
        yaw_deg=still,
        pitch_deg=still,
        motion_blur_px=still,
    )


def rendered(people: NDArray[np.float32], calm: CaptureConditions, **changes: float) -> NDArray[np.float64]:
    """Frames as float64 under calm conditions in which some columns hold another constant."""
    columns = {name: np.full(COUNT, value, getattr(calm, name).dtype) for name, value in changes.items()}
    return render(people, replace(calm, **columns)).astype(np.float64)


def gradient_energy(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared step between vertical and horizontal neighbours, after 2 x 2 averaging against noise."""
    small = frames.reshape(len(frames), 48, 2, 48, 2).mean(axis=(2, 4))
    return np.asarray((np.diff(small, axis=1) ** 2).mean((1, 2)) + (np.diff(small, axis=2) ** 2).mean((1, 2)))


def test_equal_seeds_give_equal_bytes(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    first, second = render(people, calm), render(people, calm)
    assert first.tobytes() == second.tobytes()
    assert encode_png(first[0]) == encode_png(second[0])


def test_a_frame_does_not_depend_on_its_batch_or_on_threads(
    people: NDArray[np.float32], calm: CaptureConditions
) -> None:
    whole = render(people, calm, threads=2)
    for start, stop in ((0, 1), (1, 6), (6, COUNT)):
        part = render(people[start:stop], calm.take(slice(start, stop)))
        np.testing.assert_array_equal(part, whole[start:stop])


def test_another_seed_gives_another_frame(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    other = replace(calm, seeds=calm.seeds + np.uint64(1))
    assert (render(people, calm) != render(people, other)).mean() > 0.3


def test_two_people_differ_more_than_two_captures_of_one(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    frames = render(people, calm).astype(np.float64)[:, 16:80, 24:72]
    again = render(people, replace(calm, seeds=calm.seeds + np.uint64(99))).astype(np.float64)[:, 16:80, 24:72]
    same = np.abs(frames - again).mean((1, 2))
    different = np.abs(frames - np.roll(again, 1, axis=0)).mean((1, 2))
    assert np.median(different) > 1.5 * np.median(same)


def test_less_light_is_darker_and_noisier(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    levels = [rendered(people, calm, illuminance_lux=lux) for lux in (400, 20, 8, 2)]
    brightness = [frames.mean() for frames in levels]
    assert brightness == sorted(brightness, reverse=True)
    assert brightness[-1] < 0.4 * brightness[0]

    def signal_to_noise(frames: NDArray[np.float64]) -> float:
        corner = frames[:, 2:14, 2:14]
        noise = np.diff(corner, axis=2).std(axis=(1, 2)) / np.sqrt(2)
        return float((corner.mean((1, 2)) / noise).mean())

    ratios = [signal_to_noise(frames) for frames in levels]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 0.35 * ratios[0]


def test_noise_follows_photon_statistics() -> None:
    """On a flat grey scene with a linear camera the variance is (charge + read noise squared) / full scale squared."""
    from cv_quality.simulation.camera import expose

    camera = CameraModel(electrons_per_lux=20, knee_lux=40, read_noise_e=5, encoding_gamma=1.0)
    conditions = replace(benign_conditions(40, seed=1), illuminance_lux=np.full(40, 20, np.float32))
    noise = np.random.default_rng(0).standard_normal((40, 96, 96)).astype(np.float32)
    scene = np.full((40, 96, 96), 0.5, np.float32)
    frames = expose(scene, conditions=conditions, cameras=[camera], noise=noise)
    charge, full_scale = 0.5 * 20 * 20, 20 * 40
    assert frames.mean() / 255 == pytest.approx(charge / full_scale, rel=0.01)
    expected = np.hypot(255 * np.sqrt(charge + 25) / full_scale, np.sqrt(1 / 12))
    assert frames.std() == pytest.approx(expected, rel=0.02)


def test_motion_and_distance_lower_the_gradient_energy(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    sharp = gradient_energy(rendered(people, calm))
    for changes in ({"motion_blur_px": 5.0}, {"distance_cm": 95.0}):
        ratio = gradient_energy(rendered(people, calm, **changes)) / sharp
        assert (ratio < 0.95).all()
        assert ratio.mean() < 0.8


def test_motion_blur_acts_along_its_direction_alone() -> None:
    scene = np.zeros((1, 96, 96), np.float32)
    scene[0, 48, 48] = 1.0
    zero, length = np.zeros(1, np.float32), np.full(1, 7, np.float32)
    smeared = blur(scene, sigma_px=zero + 0.6, motion_px=length, motion_angle=zero)[0]
    assert smeared.sum() == pytest.approx(1.0, abs=1e-3)
    columns, rows = np.abs(smeared).sum(axis=0), np.abs(smeared).sum(axis=1)
    assert (columns > 0.05).sum() >= 7
    assert (rows > 0.05).sum() <= 3


def test_a_mask_changes_the_lower_face_alone(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    change = np.abs(rendered(people, calm, covering=COVERINGS.index("mask")) - rendered(people, calm))
    assert change[:, :36].max() <= 1
    assert change[:, 54:76, 36:60].mean() > 10


def test_a_scarf_covers_the_mouth_and_the_neck(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    change = np.abs(rendered(people, calm, covering=COVERINGS.index("scarf")) - rendered(people, calm))
    assert change[:, :40].max() <= 1
    assert change[:, 70:90, 36:60].mean() > 10


def test_sunglasses_darken_the_eyes_more_than_glasses(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    eyes = (slice(None), slice(38, 50), slice(32, 64))
    bare = rendered(people, calm)[eyes].mean()
    glasses = rendered(people, calm, eyewear=EYEWEAR.index("glasses"))[eyes].mean()
    sunglasses = rendered(people, calm, eyewear=EYEWEAR.index("sunglasses"))[eyes].mean()
    assert sunglasses < 0.75 * bare
    assert sunglasses < glasses
    untouched = rendered(people, calm, eyewear=EYEWEAR.index("sunglasses")) - rendered(people, calm)
    assert np.abs(untouched[:, 64:]).max() <= 1


@pytest.mark.parametrize(("column", "axis"), [("yaw_deg", "u"), ("pitch_deg", "v")])
def test_turning_the_head_moves_the_features(
    people: NDArray[np.float32], calm: CaptureConditions, column: str, axis: str
) -> None:
    """Positive yaw moves the face's centre line right, positive pitch moves the features up."""
    nuisance = {name: np.zeros((COUNT, 1, 1), np.float32) for name in NUISANCES}

    def centre(value: float) -> float:
        angle = np.full(COUNT, value, np.float32)
        turned = replace(calm, yaw_deg=angle) if column == "yaw_deg" else replace(calm, pitch_deg=angle)
        planes = head_planes(face_measures(people), turned, nuisance, size=96)
        plane = planes.u[:, 48, :] if axis == "u" else planes.v[:, :, 48]
        inner = np.abs(plane[:, 24:72])
        return float(np.argmin(inner, axis=1).mean())

    moved = centre(20) - centre(0)
    assert moved > 3 if axis == "u" else moved < -3


def test_darker_skin_reflects_less(people: NDArray[np.float32], calm: CaptureConditions) -> None:
    toned = np.repeat(people[:1], COUNT, axis=0)
    toned[:, SKIN_TONE_COLUMN] = np.linspace(1, 10, COUNT)
    constant = replace(calm, seeds=np.repeat(calm.seeds[:1], COUNT))
    cheeks = render(toned, constant)[:, 50:56, 36:42].mean((1, 2))
    assert (np.diff(cheeks) < 0).all()
