"""Coverage of 95 % intervals for attempt rates when attempts of one subject are alike: which method to trust.

Subjects draw their own error probability from a beta distribution with the given intraclass correlation (ICC), and
make a Poisson number of attempts. Run `python benchmarks/rate_coverage.py`; the choice in `cv_quality.metrics.rates`
rests on its table.
"""

import itertools
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

Counts = NDArray[np.float64]
Bounds = tuple[Counts, Counts]
REPLICATES = 4_000
ASSUMED_ICC = 0.1
CELLS = list(itertools.product((20, 50, 200), (5, 20), (0.01, 0.05, 0.2), (0.0, 0.1, 0.3)))


def simulate(rng: np.random.Generator, subjects: int, attempts: int, rate: float, icc: float) -> tuple[Counts, Counts]:
    """Errors and trials, each of shape (REPLICATES, subjects)."""
    shape = (REPLICATES, subjects)
    trials = 1 + rng.poisson(attempts - 1, shape)
    strength = (1 - icc) / icc if icc else None
    own = np.full(shape, rate) if strength is None else rng.beta(rate * strength, (1 - rate) * strength, shape)
    return rng.binomial(trials, own).astype(float), trials.astype(float)


def variance(errors: Counts, trials: Counts) -> tuple[Counts, Counts, Counts, int]:
    """Rate, its linearised variance over subjects, all trials, and the number of subjects."""
    subjects, n = errors.shape[1], trials.sum(1)
    p = errors.sum(1) / n
    residual = errors - p[:, None] * trials
    return p, subjects / (subjects - 1) * (residual**2).sum(1) / n**2, n, subjects


def effective(errors: Counts, trials: Counts, *, floor_below: float) -> tuple[Counts, Counts, int]:
    """Rate, effective number of trials (Korn and Graubard), subjects; few erring subjects: at least the assumed ICC."""
    p, v, n, subjects = variance(errors, trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        deff = np.nan_to_num(v / (p * (1 - p) / n), nan=1.0, posinf=1.0)
    mean_size = (trials**2).sum(1) / n
    floor = np.where((errors > 0).sum(1) < floor_below, 1 + (mean_size - 1) * ASSUMED_ICC, 1.0)
    deff = np.maximum(deff, floor)
    return p, n / deff, subjects


def logit_t(errors: Counts, trials: Counts) -> Bounds:
    p, v, _, subjects = variance(errors, trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = special.stdtrit(subjects - 1, 0.975) * np.sqrt(v) / (p * (1 - p))
        return special.expit(special.logit(p) - half), special.expit(special.logit(p) + half)


def wilson(errors: Counts, trials: Counts, *, floor_below: float) -> Bounds:
    p, n, subjects = effective(errors, trials, floor_below=floor_below)
    z = special.stdtrit(subjects - 1, 0.975)
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)


def korn_graubard(errors: Counts, trials: Counts, *, floor_below: float) -> Bounds:
    p, n, subjects = effective(errors, trials, floor_below=floor_below)
    n = n * (special.ndtri(0.975) / special.stdtrit(subjects - 1, 0.975)) ** 2
    x = p * n
    low = np.where(x > 0, special.betaincinv(np.maximum(x, 1e-12), n - x + 1, 0.025), 0.0)
    return low, special.betaincinv(x + 1, np.maximum(n - x, 1e-12), 0.975)


METHODS: dict[str, Callable[[Counts, Counts], Bounds]] = {
    "logit-t": logit_t,
    "wilson": lambda d, n: wilson(d, n, floor_below=0),
    "wilson+icc": lambda d, n: wilson(d, n, floor_below=10),
    "kg": lambda d, n: korn_graubard(d, n, floor_below=0),
    "kg+icc": lambda d, n: korn_graubard(d, n, floor_below=10),
}


def main() -> None:
    rng = np.random.default_rng(20260901)
    print(f"{'subjects':>8} {'attempts':>8} {'rate':>5} {'icc':>4} |", *(f"{name:>17}" for name in METHODS))
    covered: dict[str, list[float]] = {name: [] for name in METHODS}
    for subjects, attempts, rate, icc in CELLS:
        errors, trials = simulate(rng, subjects, attempts, rate, icc)
        cells = []
        for name, method in METHODS.items():
            low, high = method(errors, trials)
            inside = np.nan_to_num((low <= rate) & (rate <= high)).mean()
            covered[name].append(float(inside))
            cells.append(f"{inside:.3f} width {np.nanmean(high - low):.3f}".rjust(17))
        print(f"{subjects:8d} {attempts:8d} {rate:5.2f} {icc:4.1f} |", *cells)
    for name, values in covered.items():
        print(f"{name}: worst {min(values):.3f}, mean {np.mean(values):.3f}, best {max(values):.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
