"""How often 95 % intervals of extrapolated FMR and thresholds hold the truth, and how fast a bootstrap is.

Scores are drawn from distributions whose tail is known, independently or over all pairs of subjects that have an effect
of their own. Each column is one way to an interval; `cv_quality.metrics.extremes` uses the last. Run
`python -m benchmarks.extremes [REPLICATES]`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cv_quality.metrics import pareto
from cv_quality.metrics.extremes import Extrapolation, TailFit, fit_tail
from cv_quality.metrics.tail_checks import goodness_of_fit, judge, stability
from cv_quality.metrics.trials import CrossTrials

Floats = NDArray[np.float64]
Threshold = Callable[[Floats], Floats]
"""The score that each share of impostor comparisons reaches."""
SEED = 20260901
BEYOND = (10, 100)
LISTED = 2_001
INDEPENDENT: dict[str, tuple[Threshold, float | None]] = {
    "Pareto, shape -0.1": (lambda share: stats.genpareto.isf(share, -0.1), None),
    "exponential": (stats.expon.isf, None),
    "normal": (stats.norm.isf, None),
    "cosine in 32 dimensions": (lambda share: 2 * stats.beta.isf(share, 15.5, 15.5) - 1, 1.0),
    "Beta(2, 8)": (lambda share: stats.beta.isf(share, 2, 8), 1.0),
    "Beta(5, 3)": (lambda share: stats.beta.isf(share, 5, 3), 1.0),
    "Beta(5, 2)": (lambda share: stats.beta.isf(share, 5, 2), 1.0),
}
SUBJECTS = (300, 1_000)
COMMON = (0.0, 0.3, 0.5)
"""Shares of the variance of a score that its two subjects bring along."""


class Tally(NamedTuple):
    """What came out of one replicate: for each target whether each way held the truth, and the width of the last."""

    held: list[bool]
    widths: list[float]


def highest(rng: np.random.Generator, threshold: Threshold, n: int) -> Floats:
    """The highest of `n` independent scores, by their order statistics."""
    return threshold(np.cumsum(rng.exponential(size=LISTED)) / n)


def tally(tail: TailFit, threshold: Threshold) -> Tally:
    held: list[bool] = []
    widths: list[float] = []
    for times in BEYOND:
        rate = 1 / (times * tail.n)
        truth = float(threshold(np.array(rate)))
        at, measured = tail.threshold_at(rate), tail.fmr(truth)
        held += [*simpler_ways(tail, rate, truth), within(at, truth), within(measured, rate)]
        widths += [(at.high or np.inf) - (at.low or -np.inf), (measured.high or np.nan) / rate]
    return Tally(held, widths)


def within(answer: Extrapolation, truth: float) -> bool:
    """Whether the interval holds the truth; a bound that is not given is no bound."""
    return answer.low is not None and answer.low <= truth <= (np.inf if answer.high is None else answer.high)


def simpler_ways(tail: TailFit, rate: float, truth: float) -> tuple[bool, bool]:
    """Whether the middle 95 % of the replicates hold the threshold, and the profile of independent comparisons."""
    if tail.bootstraps is None:
        return False, False
    drawn = tail.bootstraps.by_subject
    excesses = pareto.excess_at(np.log(rate) - drawn.log_share, shape=drawn.shape, scale=drawn.scale)
    low, high = np.quantile(excesses, (0.025, 0.975))
    plain = replace(tail, bootstraps=None, freedom=None)
    return bool(low <= truth - tail.threshold <= high), within(plain.threshold_at(rate), truth)


def independent(replicates: int) -> None:
    print(f"\nIndependent comparisons, {replicates} replicates: share of intervals that hold the truth")
    header = "".join(f" | {times:4d}x: threshold   FMR  width" for times in BEYOND)
    print(f"{'scores':>24} {'N':>8} {'refused':>7}{header}")
    for number, (name, (threshold, limit)) in enumerate(INDEPENDENT.items()):
        for n in (100_000, 10_000_000):
            rng = np.random.default_rng((SEED, number, n))
            tails = [fit_tail(highest(rng, threshold, n), trials=n, limit=limit) for _ in range(replicates)]
            kept = [tally(tail, threshold) for tail in tails if tail.reason is None]
            held = np.mean([one.held for one in kept], axis=0)
            widths = np.median([one.widths for one in kept], axis=0)
            cells = (f" |       {held[4 * i + 2]:9.3f} {held[4 * i + 3]:5.3f} {widths[2 * i]:6.3g}" for i in (0, 1))
            print(f"{name:>24} {n:8.0e} {replicates - len(kept):7d}{''.join(cells)}", flush=True)


def tails_of_pairs(
    rng: np.random.Generator, subjects: int, common: float, frames: int, replicates: int
) -> Iterator[TailFit]:
    """Normal scores of all pairs of subjects' frames, with an effect of each subject and half of the rest per dyad."""
    one, other = (np.repeat(codes, frames) for codes in np.triu_indices(subjects, 1))
    trials = CrossTrials.enrolled(np.ones(subjects, int), np.full(subjects, frames))
    if frames == 1:
        trials = CrossTrials.all_pairs(np.ones(subjects, int))
    else:
        one, other = np.concatenate([one, other]), np.concatenate([other, one])
    own = 0.0 if frames == 1 else 0.5
    for number in range(replicates):
        effect = rng.standard_normal(subjects) * np.sqrt(common / 2)
        dyads = rng.standard_normal(subjects * subjects)[np.minimum(one, other) * subjects + np.maximum(one, other)]
        rest = np.sqrt(own) * dyads + np.sqrt(1 - own) * rng.standard_normal(one.size)
        scores = effect[one] + effect[other] + np.sqrt(1 - common) * rest
        top = np.argpartition(scores, -LISTED)[-LISTED:]
        yield fit_tail(scores[top], trials=trials, subjects=(one[top], other[top]), replicates=400, seed=number)


def dependent(replicates: int) -> None:
    print(f"\nAll pairs of subjects, normal scores, {replicates} replicates: share of intervals that hold the truth")
    header = "".join(f" | {times:4d}x: percentile independent threshold   FMR  width" for times in BEYOND)
    print(f"{'subjects':>8} {'frames':>6} {'common':>6} {'N':>8} {'refused':>7} {'freedom':>7}{header}")
    for subjects, frames in ((300, 1), (1_000, 1), (200, 3)):
        for common in COMMON:
            rng = np.random.default_rng((SEED, subjects, int(10 * common)))
            tails = list(tails_of_pairs(rng, subjects, common, frames, replicates))
            kept = [tail for tail in tails if tail.reason is None]
            results = [tally(tail, stats.norm.isf) for tail in kept]
            held = np.mean([one.held for one in results], axis=0)
            widths = np.median([one.widths for one in results], axis=0)
            freedom = np.median([tail.freedom or np.nan for tail in kept])
            cells = "".join(
                f" | {held[4 * i]:16.3f} {held[4 * i + 1]:11.3f} {held[4 * i + 2]:9.3f} {held[4 * i + 3]:5.3f} "
                f"{widths[2 * i]:6.3g}"
                for i in (0, 1)
            )
            start = (
                f"{subjects:8d} {frames:6d} {common:6.1f} {tails[0].n:8.0e} {replicates - len(kept):7d} {freedom:7.0f}"
            )
            print(start + cells, flush=True)


def judged(replicates: int) -> None:
    print(f"\nShare of fits called unstable, {replicates} replicates of N = 1e6")
    for name in ("Pareto, shape -0.1", "normal", "Beta(5, 3)"):
        threshold, _ = INDEPENDENT[name]
        for exceedances in (500, 2_000, 20_000):
            rng = np.random.default_rng((SEED, exceedances))
            unstable = 0
            for _ in range(replicates):
                scores = threshold(np.cumsum(rng.exponential(size=exceedances + 1)) / 1e6)
                tail = fit_tail(scores, trials=1_000_000, exceedances=exceedances)
                counts = np.geomspace(100, exceedances, 8).astype(int)
                points = stability(scores, trials=1_000_000, fmr=1e-7, counts=counts)
                unstable += judge(tail, points, goodness=goodness_of_fit(tail, replicates=60)).is_stable is False
            print(f"{name:>24} {exceedances:6d} exceedances: {unstable / replicates:.3f}", flush=True)


def speed() -> None:
    rng = np.random.default_rng(SEED)
    subjects, exceedances = 10_000, 5_000
    one = rng.integers(0, subjects, exceedances + 1)
    other = (one + rng.integers(1, subjects, one.size)) % subjects
    scores, trials = rng.exponential(size=one.size), CrossTrials.all_pairs(np.ones(subjects, int))
    start = time.perf_counter()
    tail = fit_tail(scores, trials=trials, subjects=(one, other), exceedances=exceedances, replicates=1_000)
    fitted = time.perf_counter()
    tail.threshold_at(1e-10)
    asked = time.perf_counter()
    print(f"\n1,000 replicates of {exceedances} exceedances, {subjects} subjects: {fitted - start:.2f} s")
    print(f"one interval from them: {(asked - fitted) * 1e3:.0f} ms")


def main() -> None:
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    speed()
    independent(replicates)
    judged(replicates // 5)
    dependent(replicates)


if __name__ == "__main__":
    main()
