"""What charts show agrees with brute force over the scores themselves."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.reports.curves import BINS, Latency, Scores, _supported, det_curve, histograms


def _scores(seed: int = 0, *, genuine: int = 500, impostor: int = 20_000) -> tuple[Scores, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    bins = np.clip(((rng.normal(0, 0.15, impostor) + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
    lower_edges = bins / (BINS / 2) - 1
    counts = np.bincount(bins, minlength=BINS).astype(np.int64)
    return Scores(genuine=np.sort(np.clip(rng.normal(0.5, 0.15, genuine), -1, 1)), impostor=counts), lower_edges


def test_every_det_point_is_exact_at_its_threshold() -> None:
    scores, impostor = _scores()
    points = det_curve(scores)
    assert 20 < len(points) <= 240
    for point in points:
        assert point.fmr == pytest.approx((impostor >= point.threshold).mean(), abs=1e-12)
        assert point.fnmr == pytest.approx((scores.genuine < point.threshold).mean(), abs=1e-12)


def test_fmr_falls_and_fnmr_rises_along_the_curve() -> None:
    points = det_curve(_scores(1)[0])
    assert all(a.fmr >= b.fmr and a.fnmr <= b.fnmr for a, b in pairwise(points))


def test_a_class_without_scores_has_no_curve() -> None:
    scores, _ = _scores()
    assert det_curve(Scores(genuine=scores.genuine, impostor=np.zeros(BINS, dtype=np.int64))) == ()
    assert det_curve(Scores(genuine=np.empty(0), impostor=scores.impostor)) == ()


def test_histograms_lose_no_comparison() -> None:
    scores, impostor = _scores(2)
    bins = histograms(scores)
    assert sum(item.count for item in bins["genuine"]) == scores.genuine.size
    assert sum(item.count for item in bins["impostor"]) == impostor.size
    assert sum(item.share for item in bins["impostor"]) == pytest.approx(1.0)


def test_a_percentile_needs_five_attempts_beyond_it() -> None:
    assert _supported(9.0, n=100, quantile=0.95) == 9.0
    assert _supported(9.0, n=99, quantile=0.95) is None
    assert _supported(9.0, n=499, quantile=0.99) is None
    assert Latency("device_model", "a", 3, None, None, None).p50_ms is None
