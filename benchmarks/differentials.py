"""How often the 95 % interval of a group's rate over the rate of all holds the truth: the bounds of the 25 % rule.

Subjects have a liability of their own, log-normal with a given coefficient of variation (CV); a pair matches by mistake
with the product of both liabilities and its group's rate, a genuine attempt misses with its subject's own. Run
`python -m benchmarks.differentials [REPLICATES]`.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.differentials import differentials
from cv_quality.metrics.trials import CrossTrials

Floats = NDArray[np.float64]
SEED = 20260901
ATTEMPTS = 8
ACROSS = 0.0005
"""FMR of two subjects of different groups."""
DESIGNS: list[tuple[tuple[int, ...], tuple[float, ...]]] = [
    ((80, 80, 80), (0.004, 0.006, 0.005)),
    ((150, 80, 60), (0.004, 0.010, 0.005)),
    ((100, 100), (0.010, 0.010)),
]


def covered(sizes: tuple[int, ...], rates: tuple[float, ...], cv: float, replicates: int) -> Floats:
    """Shares of intervals that hold the true ratio: of FMR and FNMR, for each group."""
    rng = np.random.default_rng((SEED, *sizes, int(10 * cv)))
    group = np.repeat(np.arange(len(sizes)), sizes)
    one, other = np.triu_indices(group.size, 1)
    fmr = np.where(group[one] == group[other], np.array(rates)[group[one]], ACROSS)
    fnmr = 10 * np.array(rates)[group]
    pairs = np.array([size * (size - 1) for size in sizes])
    truths = [rates / np.average(rates, weights=weights) for weights in (pairs, np.array(sizes))]
    trials = CrossTrials.all_pairs(np.ones(group.size, int))
    held = np.zeros((2, len(sizes)))
    for _ in range(replicates):
        liable = rng.lognormal(-np.log1p(cv**2) / 2, np.sqrt(np.log1p(cv**2)), group.size)
        matched = rng.uniform(size=one.size) < fmr * liable[one] * liable[other]
        missed = rng.uniform(size=(ATTEMPTS, group.size)) < fnmr * liable
        found = differentials(
            groups=group,
            threshold=0.5,
            genuine=(np.where(missed, 0.1, 0.9).ravel(), np.tile(np.arange(group.size), ATTEMPTS)),
            impostor=(np.full(matched.sum(), 0.9), one[matched], other[matched]),
            trials=trials,
            floor=0.5,
        )
        for row, (name, truth) in enumerate(zip(("fmr", "fnmr"), truths, strict=True)):
            checks = [check for check in found.checks if check.rate == name]
            held[row] += [
                check.low is not None and check.high is not None and check.low <= ratio <= check.high
                for check, ratio in zip(checks, truth, strict=True)
            ]
    return held / replicates


def main() -> None:
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(f"{replicates} replicates: share of intervals of the ratio that hold the truth, group by group")
    for sizes, rates in DESIGNS:
        for cv in (0.0, 1.0, 2.0):
            cells = ("  ".join(f"{share:.3f}" for share in shares) for shares in covered(sizes, rates, cv, replicates))
            print(f"groups of {sizes!s:>14}, CV {cv:g} | FMR within: {next(cells)} | FNMR: {next(cells)}", flush=True)


if __name__ == "__main__":
    main()
