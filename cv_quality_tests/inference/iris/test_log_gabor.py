"""Codes of strips equal a plain computation, turn as the eye turns, and hold what real irises promise."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cv_quality.inference.iris.log_gabor import LogGabor, Plane
from cv_quality.metrics.iris.codes import pack
from cv_quality.metrics.iris.hamming import compare
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality_tests.metrics.iris.plain import rotate

WHOLE = LogGabor(planes=("real", "imaginary", "magnitude"))


def strips(n: int = 3, *, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 240, (n, 48, 432)).astype(np.float32)


def everywhere(some: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones(some.shape, np.bool_)


def test_codes_are_those_of_a_sum_over_the_row() -> None:
    some, filters = strips(1), LogGabor(rows=24, columns=108, sigma_on_f=0.5, planes=("real", "imaginary", "magnitude"))
    codes, masks = filters.encode(some, everywhere(some))
    width = some.shape[2]
    kernel = np.zeros(width, complex)
    for k in range(1, (width + 1) // 2):
        gain = np.exp(-(np.log(k / width * 32) ** 2) / (2 * np.log(0.5) ** 2))
        kernel += gain * np.exp(2j * np.pi * k * np.arange(width) / width) / width
    found = np.empty((24, 108), complex)
    for row in range(24):
        band = (some[0, 2 * row].astype(float) + some[0, 2 * row + 1]) / 2
        for column in range(108):
            found[row, column] = sum(band[j] * kernel[(4 * column - j) % width] for j in range(width))
    magnitude = np.abs(found)
    assert masks.all()
    assert np.array_equal(codes[0, :, :, 0], found.real > 0)
    assert np.array_equal(codes[0, :, :, 1], found.imag > 0)
    assert np.array_equal(codes[0, :, :, 2], magnitude > np.median(magnitude))


@pytest.mark.parametrize("columns", [1, -5, 60])
def test_a_strip_that_is_turned_gives_the_code_turned(columns: int) -> None:
    some = strips()
    rule = HammingRule(bits=WHOLE.bits, step=WHOLE.step)
    straight = pack(*WHOLE.encode(some, everywhere(some)))
    turned_some = np.roll(some, 4 * columns, axis=2)
    turned = pack(*WHOLE.encode(turned_some, everywhere(some)))
    assert np.array_equal(turned, rotate(straight, rule=rule, shift=columns))


def test_contrast_and_brightness_change_no_bit() -> None:
    some = strips()
    plain, brighter = (WHOLE.encode(levels, everywhere(some)) for levels in (some, 2 * some + 8))
    assert np.array_equal(plain[0], brighter[0])


def test_what_lies_under_the_mask_changes_no_bit() -> None:
    some = strips()
    valid = everywhere(some)
    valid[:, :20, 100:180] = False
    covered = np.where(valid, some, 255.0).astype(np.float32)
    (codes, masks), (other, _) = (WHOLE.encode(levels, valid) for levels in (some, covered))
    assert np.array_equal(codes, other)
    assert not masks[:, :5, 25:45].any()
    assert masks[:, 5:].all()
    assert masks[:, :, 46:].all()
    assert not codes[~masks].any()


def test_a_strip_without_valid_pixels_has_no_valid_bit() -> None:
    some = strips(1)
    _, masks = LogGabor(fragile_share=0.2).encode(some, ~everywhere(some))
    assert not masks.any()


def test_fragile_bits_are_the_weakest_share_of_each_plane() -> None:
    some = strips()
    _, masks = LogGabor(rows=24, planes=("real", "imaginary"), fragile_share=0.25).encode(some, everywhere(some))
    assert masks.mean(axis=(1, 2)) == pytest.approx(np.full((3, 2), 0.75), abs=0.001)


def iitd(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    files = sorted(folder.glob("*.png"))
    identities = {name: code for code, name in enumerate(sorted({file.stem.split("_")[0] for file in files}))}
    pictures = np.stack([np.asarray(Image.open(file).convert("L"), np.float32) for file in files])
    return pictures, np.array([identities[file.stem.split("_")[0]] for file in files])


@pytest.mark.parametrize(
    ("filters", "bright_from", "half", "rates"),
    [
        (LogGabor(rows=24, sigma_on_f=0.5, planes=("real", "imaginary")), 256, 1, (0.0259, 0.0312, 0.0429, 0.2366)),
        (LogGabor(), 250, 0, (0.0187, 0.0241, 0.0348, 0.0536)),
        (LogGabor(), 250, 1, (0.0152, 0.0152, 0.0321, 0.1848)),
    ],
)
def test_real_irises_are_told_apart_as_the_card_says(
    shared_data: Callable[[str], Path],
    filters: LogGabor,
    bright_from: int,
    half: int,
    rates: tuple[float, ...],
) -> None:
    pictures, identities = iitd(shared_data("iris_iitd_normalized"))
    chosen = identities % 2 == half
    some, own = pictures[chosen], identities[chosen]
    templates = pack(*filters.encode(some, some < bright_from))
    rows = np.triu_indices(len(some), 1)
    rule = HammingRule(bits=filters.bits, step=filters.step, shifts=15, minimum_bits=filters.bits // 10)
    scores = compare(templates, templates, rows, rule).hd_norm
    is_genuine = own[rows[0]] == own[rows[1]]
    genuine, impostor = np.sort(scores[is_genuine]), np.sort(scores[~is_genuine])
    assert (len(genuine), len(impostor)) == (1_120, 155_400)
    thresholds = np.unique(scores)
    fmr = np.searchsorted(impostor, thresholds, "right") / len(impostor)
    fnmr = 1 - np.searchsorted(genuine, thresholds, "right") / len(genuine)
    nearest = int(np.argmin(np.abs(fmr - fnmr)))
    at_fmr = [fnmr[fmr <= target][-1] for target in (1e-2, 1e-3, 1e-4)]
    assert ((fmr + fnmr)[nearest] / 2, *at_fmr) == pytest.approx(rates, abs=6e-5)


def test_planes_are_those_asked_for_in_their_order() -> None:
    some = strips(1)
    single: tuple[Plane, ...] = ("magnitude", "real")
    codes, _ = LogGabor(planes=single).encode(some, everywhere(some))
    whole, _ = WHOLE.encode(some, everywhere(some))
    assert np.array_equal(codes, whole[..., [2, 0]])
