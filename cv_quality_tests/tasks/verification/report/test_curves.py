"""What charts show agrees with brute force over the scores themselves."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.metrics.score_bins import BINS, histogram_of
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.report.curves import Scores, histograms, score_axis
from cv_quality.tasks.verification.report.latency import Latency, supported
from cv_quality_tests.tasks.verification.toy_modality import EUCLIDEAN


def _scores(seed: int = 0, *, genuine: int = 500, impostor: int = 20_000) -> tuple[Scores, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    bins = np.clip(((rng.normal(0, 0.15, impostor) + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
    lower_edges = bins / (BINS / 2) - 1
    counts = np.bincount(bins, minlength=BINS).astype(np.int64)
    return Scores(genuine=np.sort(np.clip(rng.normal(0.5, 0.15, genuine), -1, 1)), impostor=counts), lower_edges


def test_histograms_lose_no_comparison() -> None:
    scores, impostor = _scores(2)
    bins = histograms({"model": scores}, FACE.comparator)["model"]
    assert sum(item.count for item in bins["genuine"]) == scores.genuine.size
    assert sum(item.count for item in bins["impostor"]) == impostor.size
    assert sum(item.share for item in bins["impostor"]) == pytest.approx(1.0)


def test_bins_of_counted_pairs_hold_the_scores_that_lie_in_them() -> None:
    scores, impostor = _scores(3)
    bins = histograms({"model": scores}, FACE.comparator)["model"]
    for item in bins["impostor"]:
        assert item.count == ((impostor >= item.low) & (impostor < item.high)).sum()


def test_distances_are_drawn_as_they_are_up_to_the_largest() -> None:
    distances = np.random.default_rng(4).gamma(9.0, 5.0, 20_000)
    counted = histogram_of(EUCLIDEAN.oriented(distances), EUCLIDEAN.scale)
    bins = histograms({"model": Scores(distances[:500] / 4, counted)}, EUCLIDEAN)["model"]
    assert sum(item.count for item in bins["impostor"]) == distances.size
    assert bins["genuine"][0].low >= 0.0
    assert bins["impostor"][-1].high == pytest.approx(distances.max(), rel=0.01)
    below = 0
    for item in bins["impostor"]:
        below += item.count
        assert below == pytest.approx((distances < item.high).sum(), abs=0.005 * distances.size)


def test_an_axis_without_scores_has_a_length() -> None:
    for comparator in (FACE.comparator, EUCLIDEAN):
        low, high = score_axis(comparator, [])
        assert np.isfinite([low, high]).all()
        assert low < high


def test_a_percentile_needs_five_attempts_beyond_it() -> None:
    assert supported(9.0, n=100, quantile=0.95) == 9.0
    assert supported(9.0, n=99, quantile=0.95) is None
    assert supported(9.0, n=499, quantile=0.99) is None
    assert Latency("a", 3, None, None, None).p50_ms is None
