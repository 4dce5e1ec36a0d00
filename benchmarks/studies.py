"""Studies as they are analysed, over simulated subjects: looks, and subjects who leave.

    python -m benchmarks.studies [--runs N] [--seed S]

Looks: 600 subjects with 10 attempts, error rate .03 with a coefficient of variation of 1, builds alike in an attempt at
correlation .5, margin .01, three looks by Lan and DeMets at .5, .75 and 1 of the subjects. `wrong` passes where the
truth lies at the margin, `right` where builds do not differ.

Attrition: of 300 subjects 20 % leave, at random, or those who failed most. `covered` is the share of 95 % intervals of
the difference that hold the truth.
"""

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cv_quality.studies.comparison import compare_rates
from cv_quality.studies.decisions import judge
from cv_quality.studies.sequential import spending_bounds

RATE, MARGIN, ATTEMPTS, ALIKE = 0.03, 0.01, 10, 0.5
TIMES = (0.5, 0.75, 1.0)
LEVELS = ("random", "failures")
Counts = NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    seeds = [(chosen.seed, run) for run in range(chosen.runs)]
    with ProcessPoolExecutor() as pool:
        print(f"{'difference':>10} {'passes':>7} {'median subjects':>15}")
        for difference in (0.0, MARGIN / 2, MARGIN):
            found = list(pool.map(partial(looked, difference), seeds, chunksize=50))
            passes = np.mean([passed for passed, _ in found])
            print(f"{difference:10.3f} {passes:7.4f} {np.median([n for _, n in found]):15.0f}", flush=True)
        print(f"\n{'who leaves':>10} {'covered':>8} {'sets disagree':>13}")
        for level in LEVELS:
            kept = list(pool.map(partial(left, level), seeds, chunksize=50))
            print(f"{level:>10} {np.mean([a for a, _ in kept]):8.3f} {np.mean([b for _, b in kept]):13.3f}", flush=True)


def drawn(rng: np.random.Generator, subjects: int, difference: float) -> tuple[Counts, Counts]:
    """Errors of each subject under the reference and the candidate, on the same attempts."""
    shape = (1 - RATE) / RATE
    own = rng.beta(1, shape, subjects)[:, None]
    common = rng.random((subjects, ATTEMPTS)) < ALIKE
    shared = rng.random((subjects, ATTEMPTS))
    one, other = (np.where(common, shared, rng.random((subjects, ATTEMPTS))) for _ in range(2))
    worse = own * (1 + difference / RATE)
    return (one < own).sum(1), (other < np.minimum(worse, 1)).sum(1)


def looked(difference: float, seed: tuple[int, int]) -> tuple[bool, int]:
    """Whether a study of three looks passes, and after how many subjects it stops."""
    before, after = drawn(np.random.default_rng(seed), 600, difference)
    bounds = spending_bounds(TIMES, alpha=0.05, spending="obrien_fleming")
    for part, bound in zip(TIMES, bounds, strict=True):
        n = round(600 * part)
        trials = np.full(n, ATTEMPTS)
        alpha = math.erfc(bound / math.sqrt(2)) / 2
        found = judge(compare_rates("frr", (before[:n], trials), (after[:n], trials)), margin=MARGIN, alpha=alpha)
        if found.verdict != "insufficient":
            return found.verdict == "pass", n
    return False, 600


def left(level: str, seed: tuple[int, int]) -> tuple[bool, bool]:
    """Whether the interval of those who stay holds the truth, and whether the two analysis sets disagree."""
    rng = np.random.default_rng(seed)
    before, after = drawn(rng, 300, 0.0)
    # Whoever leaves has made half of his attempts by then: they count for intention to treat.
    order = rng.permutation(300) if level == "random" else np.argsort(-after + rng.random(300) * 0.5)
    gone = np.zeros(300, bool)
    gone[order[:60]] = True
    trials = np.full(300, ATTEMPTS)
    stayed = compare_rates("frr", (before[~gone], trials[~gone]), (after[~gone], trials[~gone]))
    assert stayed.low is not None
    assert stayed.high is not None
    whole = compare_rates("frr", (before, trials), (after, trials))
    verdicts = {judge(item, margin=MARGIN).verdict for item in (stayed, whole)}
    return stayed.low <= 0 <= stayed.high, len(verdicts) > 1


if __name__ == "__main__":
    main()
