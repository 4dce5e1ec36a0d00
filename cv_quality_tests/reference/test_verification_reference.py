"""Error rates against published numbers of other tools, and against scikit-learn."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from sklearn.metrics import det_curve as sklearn_det_curve

from cv_quality.metrics.verification import curve_at, det_curve, eer, fnmr_at_fmr, rates_at

Shared = Callable[[str], Path]
TARGETS = (0.1, 0.05, 0.01, 0.001, 0.0)
PYEER = {
    "exp1": (0.080862, (0.07483, 0.09667, 0.128894, 0.291443, 0.319012)),
    "exp2": (0.04419, (0.016667, 0.044444, 0.088889, 0.188889, 0.194444)),
    "exp3": (0.114169, (0.119167, 0.133525, 0.163317, 0.213568, 0.276741)),
}
CONTIGUOUS_DATA = 2144
"""Offset of the 50 doubles in bob.measure's small HDF5 files, which hold one uncompressed contiguous array."""


def pyeer_scores(shared_data: Shared, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    folder = shared_data("scores_pyeer") / "pyeer" / "example_files" / "non_hist"
    genuine, impostor = (np.loadtxt(folder / f"{name}_{kind}.txt") for kind in ("true", "false"))
    return genuine, impostor


def bob_scores(shared_data: Shared, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    folder = shared_data("scores_bob_measure") / "tests" / "data"
    genuine, impostor = (
        np.frombuffer((folder / f"{name}-{kind}.hdf5").read_bytes()[CONTIGUOUS_DATA:], "<f8", 50)
        for kind in ("positives", "negatives")
    )
    return genuine, impostor


@pytest.mark.parametrize("name", sorted(PYEER))
def test_eer_equals_that_of_pyeer(shared_data: Shared, name: str) -> None:
    genuine, impostor = pyeer_scores(shared_data, name)
    assert eer(genuine, impostor).value == pytest.approx(PYEER[name][0], abs=1e-6)


@pytest.mark.parametrize("name", sorted(PYEER))
def test_fnmr_at_fmr_equals_the_strict_answer_and_never_exceeds_its_target(shared_data: Shared, name: str) -> None:
    genuine, impostor = pyeer_scores(shared_data, name)
    for target, expected in zip(TARGETS, PYEER[name][1], strict=True):
        found = fnmr_at_fmr(genuine, impostor, fmr=target).rates
        assert found is not None
        assert found.fnmr == pytest.approx(expected, abs=1e-6)
        assert found.fmr <= target


def test_bob_nonseparable_scores_cross_at_the_published_threshold(shared_data: Shared) -> None:
    found = eer(*bob_scores(shared_data, "nonsep"))
    assert (found.rates.fmr, found.rates.fnmr) == (0.10, 0.12)
    assert found.value == pytest.approx(0.11)
    assert (found.threshold_above + found.rates.threshold) / 2 == pytest.approx(5.45)


def test_bob_separable_scores_have_no_error_around_the_published_threshold(shared_data: Shared) -> None:
    genuine, impostor = bob_scores(shared_data, "linsep")
    found = eer(genuine, impostor)
    assert found.value == 0.0
    assert (found.threshold_above + found.rates.threshold) / 2 == pytest.approx(3.2)
    assert rates_at(genuine, impostor, threshold=3.2).fmr == 0.0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rates_equal_scikit_learns_at_every_threshold_of_continuous_scores(dtype: DTypeLike) -> None:
    rng = np.random.default_rng(11)
    genuine, impostor = rng.normal(1.5, 1.0, 400).astype(dtype), rng.normal(0.0, 1.0, 700).astype(dtype)
    fmr, fnmr, thresholds = scikit_learn_curve(genuine, impostor)
    ours = curve_at(genuine, impostor, thresholds=thresholds)
    np.testing.assert_array_equal(ours.fmr, fmr)
    np.testing.assert_array_equal(ours.fnmr, fnmr)


@pytest.mark.parametrize("name", sorted(PYEER))
def test_rates_equal_those_of_scikit_learn_on_real_scores_with_ties(shared_data: Shared, name: str) -> None:
    genuine, impostor = pyeer_scores(shared_data, name)
    fmr, fnmr, thresholds = scikit_learn_curve(genuine, impostor)
    ours = curve_at(genuine, impostor, thresholds=thresholds)
    np.testing.assert_allclose(ours.fmr, fmr, atol=1e-15)
    np.testing.assert_allclose(ours.fnmr, fnmr, atol=1e-15)


def test_corners_are_the_points_of_scikit_learn_that_no_other_beats() -> None:
    rng = np.random.default_rng(12)
    genuine, impostor = rng.normal(1.5, 1.0, 300), rng.normal(0.0, 1.0, 500)
    fmr, fnmr, _ = scikit_learn_curve(genuine, impostor)
    curve = det_curve(genuine, impostor)
    beaten = [np.any((fmr <= x) & (fnmr <= y) & ((fmr < x) | (fnmr < y))) for x, y in zip(fmr, fnmr, strict=True)]
    kept = {(x, y) for x, y, is_beaten in zip(fmr, fnmr, beaten, strict=True) if not is_beaten}
    ours = set(zip(curve.fmr, curve.fnmr, strict=True))
    assert kept - {(0.0, 1.0)} <= ours
    assert max(fmr[fnmr == 0]) >= curve.fmr[0]


def scikit_learn_curve(
    genuine: NDArray[np.floating], impostor: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """FMR, FNMR and thresholds at every score."""
    labels = np.repeat([1, 0], [len(genuine), len(impostor)])
    fmr, fnmr, thresholds = sklearn_det_curve(labels, np.concatenate([genuine, impostor]), drop_intermediate=False)
    return fmr, fnmr, thresholds
