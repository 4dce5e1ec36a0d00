"""Pupil and iris are found where they were drawn, whatever lids, gaze and highlights leave of them."""

from typing import Any

import numpy as np
import pytest

from cv_quality.inference.iris.geometry import IRIS, PUPIL, fit_eye
from cv_quality.simulation.iris.eyes import IRIS_PX, EyeState, draw_texture, render_eye
from cv_quality_tests.inference.iris.drawn_eyes import HEIGHT, WIDTH, draw


@pytest.mark.parametrize(
    "drawn",
    [
        {},
        {"opening": 0.8},
        {"opening": 0.5},
        {"opening": 0.36},
        {"pupil": 45, "highlight": 9},
        {"off_axis_deg": 30},
        {"off_axis_deg": 40, "towards": 0.7},
        {"off_axis_deg": 30, "towards": 1.5, "opening": 0.7},
        {"x": 40},
        {"pupil_off": 8},
    ],
)
def test_pupil_and_iris_are_fitted_where_they_were_drawn(drawn: dict[str, Any]) -> None:
    _, parts = draw(**drawn)
    found = fit_eye(parts)
    assert found is not None
    assert found.iris.radius == pytest.approx(70, abs=1.5)
    assert found.pupil.radius == pytest.approx(drawn.get("pupil", 25), abs=1.0)
    assert (found.iris.x, found.iris.y) == pytest.approx((drawn.get("x", 160), 120), abs=1.5)
    assert found.iris.minor == pytest.approx(70 * np.cos(np.radians(drawn.get("off_axis_deg", 0))), abs=2.5)
    assert found.centre_distance * found.iris.radius == pytest.approx(drawn.get("pupil_off", 0), abs=1.0)


@pytest.mark.parametrize(("opening", "gaze_deg"), [(0.6, 0.0), (0.6, 30.0), (0.45, 0.0), (0.3, 0.0)])
def test_lids_with_lashes_leave_the_limbus_where_it_is(opening: float, gaze_deg: float) -> None:
    state = EyeState(opening=opening, gaze_deg=gaze_deg, gaze_direction_deg=20, seed=4)
    _, parts = render_eye(draw_texture(1), state)
    found = fit_eye(parts)
    assert found is not None
    assert found.iris.radius == pytest.approx(IRIS_PX, abs=1.5)
    assert (found.iris.x, found.iris.y) == pytest.approx((160, 120), abs=2)
    assert found.pupil_iris_ratio == pytest.approx(state.pupil_ratio, abs=0.02)


def test_without_sclera_the_sides_of_the_iris_tell_its_size() -> None:
    _, parts = draw(opening=0.6)
    found = fit_eye(np.where(parts >= IRIS, parts, 0).astype(np.uint8))
    assert found is not None
    assert found.iris.radius == pytest.approx(70, abs=1.5)


def test_specks_of_iris_and_pupil_elsewhere_change_nothing() -> None:
    _, parts = draw()
    specked = parts.copy()
    specked[10:16, 10:16], specked[200:204, 300:310] = PUPIL, IRIS
    assert fit_eye(specked) == fit_eye(parts)


def test_a_leak_of_iris_into_the_sclera_moves_the_limbus_little() -> None:
    _, parts = draw()
    parts[112:128, 230:260] = IRIS
    found = fit_eye(parts)
    assert found is not None
    assert found.iris.radius == pytest.approx(70, abs=1.5)


@pytest.mark.parametrize("part", [0, IRIS, PUPIL])
def test_a_map_of_one_part_is_no_eye(part: int) -> None:
    assert fit_eye(np.full((HEIGHT, WIDTH), part, np.uint8)) is None


def test_maps_of_noise_or_of_no_size_are_no_eyes() -> None:
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (2, 400), (60, 80)]:
        assert fit_eye(rng.integers(0, 4, shape, dtype=np.uint8)) is None
