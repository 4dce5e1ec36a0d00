"""Parts of every subject bootstrap: seeded weights of the subjects, and checks of what is resampled.

The estimates that are resampled are in `cv_quality.metrics.extremes`, `cv_quality.metrics.percentiles` and
`cv_quality.error_analysis.decomposition`; error rates and their thresholds need no resampling.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from cv_quality.errors import MetricError
from cv_quality.metrics.bootstrap_kernels import Codes, Floats

REPLICATES = 1_000
REPLICATES_NEEDED = 100
STREAM = 0x5EED
WEIGHTS_AT_ONCE = 4_000_000
"""Weights held in one step: 32 MB."""


def subject_weights(active: Codes, n_subjects: int, *, replicates: int, seed: int) -> Iterator[Floats]:
    """Draw multinomial weights of the active subjects, some replicates at a time: shape (some, n_subjects).

    The same seed gives the same weights, so a second walk over them sees what the first one saw.

    Args:
        active: codes of the subjects that are drawn; the others weigh 0.
        n_subjects: number of codes.
        replicates: in all.
        seed: of the draws.
    """
    rng = seeded(seed)
    step = max(1, WEIGHTS_AT_ONCE // max(n_subjects, 1))
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = active[rng.integers(0, len(active), (rows, len(active)))]
        drawn += n_subjects * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n_subjects)
        yield counts.reshape(rows, n_subjects).astype(np.float64)


def seeded(seed: int) -> np.random.Generator:
    """Make the generator of a bootstrap: unrelated to `default_rng(seed)`, which may have drawn the very data.

    Weights from the stream that also drew the scores are not independent of them, and bias every spread.

    Raises:
        MetricError: the seed is negative.
    """
    if seed < 0:
        raise MetricError(f"expected a seed of at least 0, found {seed}")
    return np.random.default_rng([STREAM, seed])


def expanded_tail(n_clusters: int, level: float) -> float:
    """Compute the share of replicates beyond each bound, widened for few clusters.

    The normal quantile z becomes t sqrt(C / (C - 1)) with C - 1 degrees of freedom (Hesterberg, The American
    Statistician 69, 2015).

    >>> round(expanded_tail(10, 0.95), 4), round(expanded_tail(10_000, 0.95), 4)
    (0.0086, 0.025)
    """
    from scipy import special

    t = special.stdtrit(n_clusters - 1, (1 + level) / 2)
    return float(special.ndtr(-t * math.sqrt(n_clusters / (n_clusters - 1))))


def scores_array(values: ArrayLike, name: str) -> Floats:
    """Convert scores to float64, in the order given.

    Raises:
        MetricError: they are no numbers, one is NaN, or the shape is not (n,).
    """
    try:
        scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MetricError(f"expected {name} scores as numbers, found {error}") from error
    if scores.ndim != 1 or np.any(np.isnan(scores)):
        raise MetricError(
            f"expected {name} scores of shape (n,) without NaN, found shape {scores.shape}, "
            f"{np.count_nonzero(np.isnan(scores))} NaN: leave out what has no score"
        )
    return scores


def require_replicates(replicates: int) -> None:
    """Refuse so few replicates that a standard deviation is mostly noise.

    Raises:
        MetricError: fewer than 100.
    """
    if replicates < REPLICATES_NEEDED:
        raise MetricError(f"a bootstrap needs at least {REPLICATES_NEEDED} replicates, found {replicates}")
