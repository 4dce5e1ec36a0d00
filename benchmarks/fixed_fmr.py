"""How long the interval of FNMR at a fixed FMR takes on the sparse tail, against 1,000 times resampling the scores.

    python -m benchmarks.fixed_fmr [--subjects 10000]

Each subject has one impostor sample, all pairs are compared, and the tail reaches down to 50 times the target FMR;
it is drawn directly, as the scores of 50 million pairs are not needed. Resampling the scores takes all pairs of the
drawn subjects and partitions them; it is timed on fewer subjects and extrapolated by the number of pairs.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from cv_quality.metrics.fixed_fmr import FnmrAtFmrInterval, fnmr_at_fmr_interval
from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.trials import CrossTrials

SEED = 20260901
TARGETS = (1e-6, 1e-4)
FNMR, ATTEMPTS, GOAT_SD = 0.03, 10, 0.5
ROUNDS, REPLICATES = 3, 1_000
NAIVE_SUBJECTS, NAIVE_REPLICATES = 1_000, 10
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def tail_of(trials: CrossTrials, fmr: float, rng: np.random.Generator) -> tuple[Codes, Codes, Floats]:
    """The pairs above an FMR of 50 times the target, standard normal scores."""
    count, n = int(50 * fmr * trials.n), trials.n_subjects
    one = rng.integers(0, n, count)
    other = (one + rng.integers(1, n, count)) % n
    return one, other, -special.ndtri(rng.random(count) * 50 * fmr)


def genuine_of(subjects: int, fmr: float, rng: np.random.Generator) -> tuple[Floats, Codes]:
    """Genuine scores with an FNMR of 3 % at the threshold of that FMR."""
    people = np.repeat(np.arange(subjects), ATTEMPTS)
    mean = -special.ndtri(fmr) - special.ndtri(FNMR) * np.hypot(GOAT_SD, 1)
    return mean + GOAT_SD * rng.normal(size=subjects)[people] + rng.normal(size=len(people)), people


def naive_replicate(scores: NDArray[np.float32], genuine: Floats, *, fmr: float, rng: np.random.Generator) -> float:
    """FNMR of one resampled set of subjects, from all scores of its pairs."""
    n = len(scores)
    drawn = rng.integers(0, n, n)
    pairs = scores[np.ix_(drawn, drawn)][np.triu_indices(n, 1)]
    allowed = max(int(fmr * len(pairs)), 1)
    threshold = np.partition(pairs, len(pairs) - allowed)[len(pairs) - allowed]
    return float((genuine.reshape(n, -1)[drawn] < threshold).mean())


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def naive_seconds(pairs: int) -> float:
    """Seconds of REPLICATES replicates of resampling that many scores, from a smaller case."""
    rng = np.random.default_rng(SEED)
    scores = rng.normal(size=(NAIVE_SUBJECTS, NAIVE_SUBJECTS)).astype(np.float32)
    genuine, _ = genuine_of(NAIVE_SUBJECTS, 1e-4, rng)
    times = [seconds(lambda: naive_replicate(scores, genuine, fmr=1e-4, rng=rng)) for _ in range(NAIVE_REPLICATES)]
    per_pair = statistics.median(times) / (NAIVE_SUBJECTS * (NAIVE_SUBJECTS - 1) / 2)
    return per_pair * pairs * REPLICATES


def sd_of(low: float | None, high: float | None) -> float:
    assert low is not None
    assert high is not None
    return (high - low) / (2 * 1.96)


def measure(trials: CrossTrials, fmr: float) -> tuple[float, FnmrAtFmrInterval, float]:
    """Median seconds, the interval, and the deviation of FNMR had the threshold been known."""
    rng = np.random.default_rng(SEED)
    tail = tail_of(trials, fmr, rng)
    genuine, people = genuine_of(trials.n_subjects, fmr, rng)
    found: list[FnmrAtFmrInterval] = []

    def run() -> None:
        found.append(fnmr_at_fmr_interval(genuine, people, tail, trials, fmr=fmr))

    run()
    took = statistics.median(seconds(run) for _ in range(ROUNDS))
    assert found[0].threshold is not None
    missed = np.bincount(people[genuine < found[0].threshold], minlength=trials.n_subjects)
    fixed = clustered_rate(missed, np.full(trials.n_subjects, ATTEMPTS))
    return took, found[0], sd_of(fixed.low, fixed.high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=10_000)
    options = parser.parse_args()
    trials = CrossTrials.all_pairs(np.ones(options.subjects, np.int64))
    naive = naive_seconds(trials.n)
    print(f"{options.subjects:,} subjects, {trials.n:,} pairs, one thread")
    print(
        f"resampling the scores {REPLICATES:,} times: {naive:,.0f} s, "
        f"extrapolated from {NAIVE_SUBJECTS:,} subjects by pairs"
    )
    for fmr in TARGETS:
        took, found, fixed_sd = measure(trials, fmr)
        print(
            f"FMR {fmr:g}, tail of {int(50 * fmr * trials.n):,} pairs: {took:.2f} s, ratio {naive / took:,.0f}; "
            f"FNMR {found.value:.4f}, sd {sd_of(found.low, found.high):.5f} against {fixed_sd:.5f} at a known threshold"
        )


if __name__ == "__main__":
    main()
