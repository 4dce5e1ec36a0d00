"""What every subject bootstrap shares: seeded weights of the subjects, and bounds from what the replicates show.

The estimates that are resampled are in `cv_quality.metrics.bootstrap`, `equal_error` and `percentiles`.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.errors import MetricError

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

REPLICATES = 1_000
REPLICATES_NEEDED = 100
STREAM = 0x5EED
WEIGHTS_AT_ONCE = 4_000_000
"""Weights held in one step: 32 MB."""


def subject_weights(active: Codes, n_subjects: int, *, replicates: int, seed: int) -> Iterator[Floats]:
    """Multinomial weights of the active subjects, some replicates at a time: shape (some, n_subjects), 0 elsewhere.

    The same seed gives the same weights, so a second walk over them sees what the first one saw.
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
    """The generator of a bootstrap: unrelated to `default_rng(seed)`, which may have drawn the very data.

    Weights from the stream that also drew the scores are not independent of them, and bias every spread.

    Raises:
        MetricError: the seed is negative.
    """
    if seed < 0:
        raise MetricError(f"expected a seed of at least 0, found {seed}")
    return np.random.default_rng([STREAM, seed])


def logit_bounds(
    value: float, drawn: Floats, n: int, subjects: int | None, level: float
) -> tuple[tuple[float, float], float]:
    """logit(value) +- t sd(logit drawn) as rates, with half a trial added to both sides of each; and the deviation.

    Args:
        value: the rate of the sample.
        drawn: the rate of each replicate.
        n: trials, which set what half a trial is.
        subjects: of which t has one degree of freedom less; None for a normal quantile.
    """
    from scipy import special

    sd = float(special.logit((drawn * n + 0.5) / (n + 1)).std())
    upper = (1 + level) / 2
    t = special.ndtri(upper) if subjects is None else special.stdtrit(subjects - 1, upper)
    centre, half = special.logit((value * n + 0.5) / (n + 1)), t * sd
    low = float(special.expit(centre - half)) if value > 0 else 0.0
    high = float(special.expit(centre + half)) if value < 1 else 1.0
    return (min(low, value), max(high, value)), sd if 0 < value < 1 else 0.0


def scores_array(values: ArrayLike, name: str) -> Floats:
    """Scores in the order given, as float64.

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
