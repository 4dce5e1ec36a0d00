"""Weights of a subject bootstrap."""

import numpy as np
import pytest

from cv_quality.errors import MetricError
from cv_quality.metrics.resampling import seeded, subject_weights


def test_weights_draw_each_active_subject_once_on_average_and_repeat() -> None:
    active = np.array([1, 2, 5, 6])
    first, again = (np.concatenate(list(subject_weights(active, 8, replicates=3_000, seed=2))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3_000, 8)
    assert set(first.sum(axis=1)) == {4.0}
    assert not first[:, [0, 3, 4, 7]].any()
    np.testing.assert_allclose(first[:, active].mean(axis=0), 1, atol=0.1)


def test_weights_do_not_repeat_the_stream_that_drew_the_data() -> None:
    assert np.abs(np.corrcoef(seeded(1).random(2_000), np.random.default_rng(1).random(2_000))[0, 1]) < 0.1
    with pytest.raises(MetricError, match="seed of at least 0"):
        seeded(-1)
