"""Curves, separation, transfer and identification against the arrays and numbers that bob.measure's tests publish."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from cv_quality.metrics.identification import Searches, cmc, open_set_rates, searches, searches_of_lists
from cv_quality.metrics.separation import auc, cllr, d_prime, min_cllr
from cv_quality.metrics.transfer import expected_performance_curve
from cv_quality.metrics.verification import curve_at, det_curve, eer, fmr_at_fnmr, fnmr_at_fmr

Shared = Callable[[str], Path]
Classes = tuple[NDArray[np.float64], NDArray[np.float64]]

SCORES_AT, CURVE_AT, EPC_AT = 2144, 2048, 2144
"""Offsets of the doubles in bob.measure's small HDF5 files, which hold one uncompressed contiguous array."""
OPEN_SET_DATA = [(2144, 2, 2160), (2168, 2, 2184), (2192, 2, 2208), (2216, 2, 2232), (2240, 2, 2256), (2264, 2, 2280)]
OPEN_SET_DATA += [(2288, 2, 2304)]
"""Of each mated probe in test*-open-set.hdf5: offset and number of its other scores, offset of its own."""
OPEN_SET_STRANGERS = [(2312, 3), (2340, 3)]


def doubles(path: Path, offset: int, count: int) -> NDArray[np.float64]:
    return np.frombuffer(path.read_bytes()[offset:], "<f8", count)


@pytest.fixture
def bob(shared_data: Shared) -> Path:
    return shared_data("scores_bob_measure") / "tests" / "data"


def classes(bob: Path, name: str) -> Classes:
    genuine, impostor = (doubles(bob / f"{name}-{kind}.hdf5", SCORES_AT, 50) for kind in ("positives", "negatives"))
    return genuine, impostor


def pairs(fmr: NDArray[np.float64], fnmr: NDArray[np.float64]) -> set[tuple[float, float]]:
    return set(zip(fmr.round(9).tolist(), fnmr.round(9).tolist(), strict=True))


def test_every_point_of_bobs_roc_is_a_point_of_ours(bob: Path) -> None:
    genuine, impostor = classes(bob, "nonsep")
    roc = doubles(bob / "nonsep-roc.hdf5", CURVE_AT, 200).reshape(2, 100)
    everywhere = curve_at(genuine, impostor, thresholds=np.unique([*genuine, *impostor, math.inf]))
    assert pairs(*roc) <= pairs(everywhere.fmr, everywhere.fnmr)
    assert pairs(*roc) - pairs(*(getattr(det_curve(genuine, impostor), rate) for rate in ("fmr", "fnmr"))) == {
        (1.0, 0.0)
    }


def test_bobs_det_is_ours_on_probit_axes(bob: Path) -> None:
    genuine, impostor = classes(bob, "nonsep")
    det = doubles(bob / "nonsep-det.hdf5", CURVE_AT, 200).reshape(2, 100)
    rates = norm.cdf(det)
    everywhere = curve_at(genuine, impostor, thresholds=np.unique([*genuine, *impostor, math.inf]))
    ours = np.array([everywhere.fmr, everywhere.fnmr])
    distances = np.abs(rates[:, :, None] - ours[:, None, :]).max(axis=0).min(axis=1)
    assert distances.max() < 1e-5


@pytest.mark.parametrize(("target", "fmr", "fnmr"), [(0.01, 0.0, 0.48), (0.1, 0.1, 0.12), (1.0, 1.0, 0.0)])
def test_rates_at_a_requested_fmr_are_bobs_where_enough_trials_show_it(
    bob: Path, target: float, fmr: float, fnmr: float
) -> None:
    genuine, impostor = classes(bob, "nonsep")
    found = fnmr_at_fmr(genuine, impostor, fmr=target)
    if target * len(impostor) < 1:
        assert found.reason == "needs >= 100 trials, has 50"
        found = fnmr_at_fmr(genuine, impostor, fmr=0.0)
    assert found.rates is not None
    assert (found.rates.fmr, found.rates.fnmr) == (fmr, fnmr)


def test_bobs_expected_performance_curve_is_ours(bob: Path) -> None:
    genuine, impostor = classes(bob, "nonsep")
    alphas, half_total, thresholds = doubles(bob / "nonsep-epc.hdf5", EPC_AT, 300).reshape(3, 100)
    development, test = (genuine[:25], impostor[:25]), (genuine[25:], impostor[25:])
    curve = expected_performance_curve(development, test, alphas=100)
    np.testing.assert_allclose(curve.alphas, alphas, atol=1e-15)
    np.testing.assert_allclose(curve.half_total_error, half_total, atol=1e-12)
    # bob puts its thresholds midway between two scores: no score of the development set lies between them and ours.
    at_theirs = curve_at(*development, thresholds=thresholds)
    np.testing.assert_array_equal(curve.development.fmr, at_theirs.fmr)
    np.testing.assert_array_equal(curve.development.fnmr, at_theirs.fnmr)


def test_fmr_at_fnmr_gives_the_thresholds_that_bob_tests(bob: Path) -> None:
    genuine, impostor = classes(bob, "nonsep")
    for target in (0.02, 0.1, 0.5, 0.9, 0.999, 1.0):
        found = fmr_at_fnmr(genuine, impostor, fnmr=target).rates
        assert found is not None
        assert target - 0.1 <= found.fnmr <= target
    uncomputable = fmr_at_fnmr([0.0] * 4 + [0.1, 0.2, 0.3, 0.4, 0.5], [0.5], fnmr=0.5).rates
    assert uncomputable is not None
    assert uncomputable.threshold == 0.1


def test_area_under_the_curve_is_that_of_bob_scipy_and_scikit_learn(bob: Path) -> None:
    genuine, impostor = classes(bob, "nonsep")
    assert auc(genuine, impostor) == 0.9326
    labels = np.repeat([1, 0], 50)
    assert auc(genuine, impostor) == pytest.approx(
        roc_auc_score(labels, np.concatenate([genuine, impostor])), abs=1e-12
    )
    assert auc(genuine, impostor) == pytest.approx(mannwhitneyu(genuine, impostor).statistic / 2500, abs=1e-12)


def test_cllr_is_that_of_bob_and_of_a_separable_set_its_minimum_is_zero(bob: Path) -> None:
    assert cllr(*classes(bob, "nonsep")) == pytest.approx(3.61833, abs=1e-5)
    assert cllr(*classes(bob, "linsep")) == pytest.approx(1.2097942129, abs=1e-9)
    assert min_cllr(*classes(bob, "linsep")) == 0.0


def test_min_cllr_is_that_of_the_published_convex_hull_and_bobs_with_split_ties(bob: Path) -> None:
    """The hull is that of the Bosaris toolkit; bob sorts an impostor score before the genuine score it is equal to."""
    genuine, impostor = classes(bob, "nonsep")
    fmr = np.array([1.0, 0.68, 0.28, 0.1, 0.06, 0.0, 0.0])
    fnmr = np.array([0.0, 0.0, 0.08, 0.12, 0.22, 0.48, 1.0])
    of_impostor, of_genuine = -np.diff(fmr), np.diff(fnmr)
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = (
            np.nan_to_num(of_genuine * np.log2(1 + of_impostor / of_genuine)),
            np.nan_to_num(of_impostor * np.log2(1 + of_genuine / of_impostor)),
        )
    assert min_cllr(genuine, impostor) == pytest.approx((costs[0].sum() + costs[1].sum()) / 2)
    assert min_cllr(genuine, impostor - 1e-9) == pytest.approx(0.33736, abs=1e-5)


def test_d_prime_of_separable_scores_is_the_written_formula(bob: Path) -> None:
    genuine, impostor = classes(bob, "linsep")
    expected = (genuine.mean() - impostor.mean()) / math.sqrt((genuine.std() ** 2 + impostor.std() ** 2) / 2)
    assert d_prime(genuine, impostor).value == pytest.approx(expected)


def test_the_match_characteristic_of_one_hundred_faces_is_that_of_bob(shared_data: Shared) -> None:
    path = shared_data("scores_bob_bio_base") / "tests" / "data" / "scores-cmc-4col.txt"
    rows = [line.split() for line in path.read_text().splitlines()]
    models, probes = sorted({row[0] for row in rows}), sorted({row[2] for row in rows})
    matrix = np.full((len(probes), len(models)), np.nan)
    owners = {}
    for model, owner, probe, score in rows:
        matrix[probes.index(probe), models.index(model)] = float(score)
        owners[probe] = owner
    found = cmc(searches(matrix, probe_subject=[owners[probe] for probe in probes], gallery_subject=models))
    assert found.hit_rate.tolist() == [0.76, 0.89, 0.96, 0.98] + [1.0] * 16
    assert found.n_mated == 100


def test_the_match_characteristic_of_bobs_example_is_ours() -> None:
    example = [((0.7,), (0.3, 1.1, 0.5)), ((0.2,), (1.4, -1.3, 0.6)), ((-0.8, 1.8), (0.8, 0.0, 1.5))]
    found = cmc(searches_of_lists([*example, ((2.4,), (2.0, 1.3, 1.6, 0.9))]))
    assert found.hit_rate.tolist() == [0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("number", "dir_", "fpir"), [(0, 1.0, 0.0), (1, 6 / 7, 0.0), (2, 6 / 7, 0.5)])
def test_open_set_rates_are_those_of_bob(bob: Path, number: int, dir_: float, fpir: float) -> None:
    path = bob / f"test{number}-open-set.hdf5"
    mated = [(doubles(path, own, 1), doubles(path, at, count)) for at, count, own in OPEN_SET_DATA]
    strangers = [(None, doubles(path, at, count)) for at, count in OPEN_SET_STRANGERS]
    found = open_set_rates(searches_of_lists([*mated, *strangers]), threshold=0.5)
    assert (found.dir, found.fpir) == (dir_, fpir)
    assert (found.n_mated, found.n_unmated) == (7, 2)


@pytest.mark.parametrize(
    ("name", "dir_", "fpir"), [("", 1.0, 0.0), ("-one-error", 6 / 7, 0.0), ("-two-errors", 6 / 7, 0.5)]
)
def test_open_set_rates_of_score_files_are_those_of_bob(
    shared_data: Shared, name: str, dir_: float, fpir: float
) -> None:
    path = shared_data("scores_bob_bio_base") / "tests" / "data" / f"scores-cmc-4col-open-set{name}.txt"
    found = open_set_rates(four_columns(path), threshold=0.5)
    assert (found.dir, found.fpir) == (dir_, fpir)


def four_columns(path: Path) -> Searches:
    """Claimed model, owner of the probe, probe, score: one search per probe."""
    lists: dict[str, tuple[list[float], list[float]]] = {}
    for model, owner, probe, score in (line.split() for line in path.read_text().splitlines()):
        lists.setdefault(probe, ([], []))[0 if model == owner else 1].append(float(score))
    return searches_of_lists(lists.values())


@pytest.mark.parametrize(
    ("name", "published"), [("face-C", 0.0445), ("face-G", 0.0580), ("finger-left", 0.0851), ("finger-right", 0.0504)]
)
def test_nist_scores_cross_at_most_where_the_rates_are_closest(
    shared_data: Shared, name: str, published: float
) -> None:
    """Published are the means where |FMR - FNMR| is smallest; ours is the better of the two sides of the jump."""
    genuine, impostor, _ = nist_scores(shared_data, name)
    curve = curve_at(genuine, impostor, thresholds=np.unique([*genuine, *impostor]))
    closest = int(np.argmin(np.abs(curve.fmr - curve.fnmr)))
    assert (curve.fmr[closest] + curve.fnmr[closest]) / 2 == pytest.approx(published, abs=5e-5)
    nearby = (curve.fmr + curve.fnmr)[closest - 1 : closest + 2] / 2
    assert eer(genuine, impostor).value in (nearby.min(), pytest.approx(published, abs=5e-5))


def test_a_sentinel_column_counted_as_scores_raises_the_eer_of_face_c(shared_data: Shared) -> None:
    counted = nist_scores(shared_data, "face-C")
    dropped = nist_scores(shared_data, "face-C", sentinel=-1.0)
    assert (counted[2], dropped[2]) == (517, 516)
    assert eer(*dropped[:2]).value < eer(*counted[:2]).value - 5e-4
    for name in ("face-G", "finger-left", "finger-right"):
        assert nist_scores(shared_data, name, sentinel=-1.0)[2] == 517


def nist_scores(
    shared_data: Shared, name: str, *, sentinel: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Genuine and impostor scores, and the number of columns: those that hold only the sentinel are left out."""
    path = shared_data("scores_nist_bssr1_set1") / f"{name}.csv"
    matrix = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 518))
    is_own, is_kept = np.eye(517, dtype=bool), ~(matrix == sentinel).all(axis=0)
    return matrix[is_own & is_kept], matrix[~is_own & is_kept], int(is_kept.sum())
