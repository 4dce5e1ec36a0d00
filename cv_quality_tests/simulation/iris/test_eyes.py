"""Rendered eyes: the same bytes for the same state, textures of their own, and what each condition does to an image."""

from dataclasses import replace

import numpy as np
import pytest

from cv_quality.inference.iris.entry import Acquisition
from cv_quality.inference.iris.geometry import IRIS as SEEN
from cv_quality.inference.iris.geometry import Ellipse, EyeShape
from cv_quality.inference.iris.quality import periodicity_of
from cv_quality.inference.iris.rubber_sheet import sample_grey, sample_labels, sheet_points
from cv_quality.simulation.iris.eyes import (
    ANGULAR,
    BACKGROUND,
    HEIGHT,
    IRIS,
    IRIS_PX,
    PUPIL,
    RADIAL,
    WIDTH,
    EyeState,
    draw_texture,
    render_eye,
)

PLAIN = EyeState(lash_px=0.0, opening=1.1, noise=0.0)


def area(state: EyeState, label: int) -> int:
    return int((render_eye(draw_texture(1), state)[1] == label).sum())


def test_an_eye_is_the_same_bytes_again_and_another_eye_is_not() -> None:
    image, labels = render_eye(draw_texture(1), EyeState(seed=5))
    again, _ = render_eye(draw_texture(1), EyeState(seed=5))
    other, _ = render_eye(draw_texture(2), EyeState(seed=5))
    assert image.shape == labels.shape == (HEIGHT, WIDTH)
    assert np.array_equal(image, again)
    assert np.abs(image[labels == IRIS].astype(int) - other[labels == IRIS]).mean() > 10


def test_textures_are_independent_and_closed_around_the_angle() -> None:
    textures = [draw_texture(seed) for seed in range(6)]
    assert textures[0].shape == (RADIAL, ANGULAR)
    correlations = np.corrcoef([texture.ravel() for texture in textures])[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 0.25
    seam = np.abs(textures[0][:, 0] - textures[0][:, -1]).mean()
    inside = np.abs(np.diff(textures[0], axis=1)).mean()
    assert seam < 3 * inside


def test_light_closes_the_pupil() -> None:
    dark, bright = (replace(PLAIN, illuminance_lux=lux) for lux in (2.0, 2_000.0))
    assert area(dark, PUPIL) > 3 * area(bright, PUPIL)
    for state in (dark, bright):
        assert area(state, PUPIL) == pytest.approx(np.pi * (state.pupil_ratio * IRIS_PX) ** 2, rel=0.03)


def test_gaze_narrows_the_iris_and_lids_cover_it() -> None:
    whole = area(PLAIN, IRIS) + area(PLAIN, PUPIL)
    aside = replace(PLAIN, gaze_deg=40.0)
    assert (area(aside, IRIS) + area(aside, PUPIL)) / whole == pytest.approx(np.cos(np.deg2rad(40)), abs=0.04)
    covered = replace(PLAIN, opening=0.5)
    assert area(covered, IRIS) < 0.8 * area(PLAIN, IRIS)
    assert area(replace(PLAIN, lash_px=25.0, opening=0.7), BACKGROUND) > area(replace(PLAIN, opening=0.7), BACKGROUND)


def test_what_is_worn_is_seen() -> None:
    texture = draw_texture(1)
    plain, labels = render_eye(texture, PLAIN)
    tinted, _ = render_eye(texture, replace(PLAIN, spectacles="tinted"))
    patterned, _ = render_eye(texture, replace(PLAIN, contact_lens="patterned"))
    assert np.median(tinted) < 0.95 * np.median(plain)
    assert np.abs(patterned[labels == IRIS].astype(int) - plain[labels == IRIS]).mean() > 10
    assert np.array_equal(patterned[labels == PUPIL], plain[labels == PUPIL])


def test_printed_lenses_repeat_around_the_eye_and_irises_do_not() -> None:
    found = {}
    for worn in ("none", "soft", "patterned"):
        states = [EyeState(contact_lens=worn, opening=0.95, seed=seed) for seed in range(30)]
        found[worn] = np.array([periodicity_seen(state) for state in states])
    above = {worn: float((values > Acquisition().max_periodicity).mean()) for worn, values in found.items()}
    assert above["none"] == above["soft"] == 0.0
    assert above["patterned"] > 0.9


def periodicity_seen(state: EyeState) -> float:
    """Of an eye that looks at the camera, unrolled where it was drawn."""
    image, labels = render_eye(draw_texture(state.seed), state)
    pupil, iris = (
        Ellipse(WIDTH / 2, HEIGHT / 2, radius, radius, 0.0) for radius in (state.pupil_ratio * IRIS_PX, IRIS_PX)
    )
    points = sheet_points(EyeShape(pupil, iris), height=48, width=432)
    strip = sample_grey(image.astype(np.float32), points)
    return periodicity_of(strip, (sample_labels(labels, points) == SEEN) & (strip < 240))
