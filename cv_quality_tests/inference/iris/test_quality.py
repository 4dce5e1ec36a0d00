"""Figures of an iris's quality: a printed contact lens shows by its dots, which repeat around the eye."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.inference.iris.entry import Acquisition
from cv_quality.inference.iris.quality import periodicity_of
from cv_quality_tests.inference.iris.test_log_gabor import iitd

HEIGHT, WIDTH = 48, 432
EVERYWHERE = np.ones((HEIGHT, WIDTH), np.bool_)


def noise(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(120, 20, (HEIGHT, WIDTH)).astype(np.float32)


def dots(cycles: int, amplitude: float) -> NDArray[np.float32]:
    wave: NDArray[np.float32] = (amplitude * np.sin(np.arange(WIDTH) * (2 * np.pi * cycles / WIDTH))).astype(np.float32)
    return wave


def test_periodicity_of_a_sine_in_white_noise_is_its_power_over_the_noise() -> None:
    found = np.mean([periodicity_of(noise(seed) + dots(40, 20), EVERYWHERE) for seed in range(20)])
    power_of_sine, power_of_noise = (20 * WIDTH / 2) ** 2, 20**2 * WIDTH
    mean_level = (power_of_noise * 105 + power_of_sine) / 105
    assert found == pytest.approx((power_of_sine + power_of_noise) / max(power_of_noise, mean_level / 2), rel=0.05)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_noise_has_no_line_however_much_of_it_is_masked(share: float) -> None:
    valid = EVERYWHERE.copy()
    valid[:, : round(share * WIDTH)] = False
    figures = [periodicity_of(noise(seed), valid) for seed in range(50)]
    assert max(figures) < 4


def test_dots_of_the_inner_half_are_no_lens() -> None:
    strip = noise()
    strip[: HEIGHT // 2] += dots(40, 40)
    assert periodicity_of(strip, EVERYWHERE) < 4


def test_strips_too_narrow_or_covered_or_flat_have_no_periodicity() -> None:
    covered = EVERYWHERE.copy()
    covered[HEIGHT // 2 + 3 :] = False
    assert math.isnan(periodicity_of(noise()[:, :256], EVERYWHERE[:, :256]))
    assert math.isnan(periodicity_of(noise(), covered))
    assert math.isnan(periodicity_of(np.full((HEIGHT, WIDTH), 90, np.float32), EVERYWHERE))


def test_no_real_iris_is_taken_for_a_printed_lens(shared_data: Callable[[str], Path]) -> None:
    pictures, _ = iitd(shared_data("iris_iitd_normalized"))
    figures = [periodicity_of(picture, picture < 250) for picture in pictures]
    assert np.nanmax(figures) < Acquisition().max_periodicity / 2
