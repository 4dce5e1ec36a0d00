"""What charts show agrees with brute force over the scores themselves."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cv_quality.tasks.verification.report.curves import BINS, Latency, Scores, _supported, histograms


def _scores(seed: int = 0, *, genuine: int = 500, impostor: int = 20_000) -> tuple[Scores, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    bins = np.clip(((rng.normal(0, 0.15, impostor) + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
    lower_edges = bins / (BINS / 2) - 1
    counts = np.bincount(bins, minlength=BINS).astype(np.int64)
    return Scores(genuine=np.sort(np.clip(rng.normal(0.5, 0.15, genuine), -1, 1)), impostor=counts), lower_edges


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
