"""Studies as they are analysed, over simulated subjects: looks, and subjects who leave.

    python -m benchmarks.studies [--runs N] [--seed S]

Looks: 600 subjects with 10 attempts, error rate .03 with a coefficient of variation of 1, builds alike in an attempt at
correlation .5, margin .01, three looks by Lan and DeMets at .5, .75 and 1 of the subjects. `wrong` passes where the
truth lies at the margin, `right` where builds do not differ.

Top-up: 300 of the same subjects planned, up to 900 where those do not suffice, as the analysis budgets it.

Attrition: of 300 subjects 20 % leave, at random, or those who failed more often under the candidate, which is worse by
twice the margin. `covered` is the share of 95 % intervals of those who stay that hold the truth. Those who stay alone
may pass; both sets, those who came and those who stayed, must.
"""

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cv_quality.studies.comparison import compare_rates
from cv_quality.studies.decisions import Judgement, Verdict, judge
from cv_quality.studies.sequential import spending_bounds

RATE, MARGIN, ATTEMPTS, ALIKE = 0.03, 0.01, 10, 0.5
TIMES = (0.5, 0.75, 1.0)
PLANNED, MOST = 300, 900
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
        print(f"\n{'difference':>10} {'passes':>7} {'settled':>8}   with a top-up")
        for difference in (0.0, MARGIN / 4, MARGIN):
            verdicts = list(pool.map(partial(topped_up, difference), seeds, chunksize=50))
            shares = [np.mean([verdict in wanted for verdict in verdicts]) for wanted in (("pass",), ("pass", "fail"))]
            print(f"{difference:10.4f} {shares[0]:7.4f} {shares[1]:8.4f}", flush=True)
        print(f"\n{'who leaves':>10} {'covered':>8} {'those who stay pass':>20} {'both sets pass':>15}")
        for level in LEVELS:
            kept = list(pool.map(partial(left, level), seeds, chunksize=50))
            covered, alone, both = np.mean(kept, axis=0)
            print(f"{level:>10} {covered:8.3f} {alone:20.3f} {both:15.3f}", flush=True)


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


def topped_up(difference: float, seed: tuple[int, int]) -> Verdict:
    """The verdict of a study of 300 subjects, and up to 900 where they do not suffice."""
    before, after = drawn(np.random.default_rng(seed), MOST, difference)
    bounds = spending_bounds((PLANNED / MOST, 1.0), alpha=0.05, spending="pocock")
    first, last = (math.erfc(bound / math.sqrt(2)) / 2 for bound in bounds)

    def judged(n: int, alpha: float) -> Judgement:
        trials = np.full(n, ATTEMPTS)
        return judge(compare_rates("frr", (before[:n], trials), (after[:n], trials)), margin=MARGIN, alpha=alpha)

    found = judged(PLANNED, first)
    if found.verdict != "insufficient":
        return found.verdict
    return judged(min(max(found.subjects_needed or 0, PLANNED + 1), MOST), last).verdict


def left(level: str, seed: tuple[int, int]) -> tuple[bool, bool, bool]:
    """Whether the interval of those who stay holds the truth; whether they alone pass; whether both sets pass."""
    rng, difference = np.random.default_rng(seed), 2 * MARGIN
    before, after = drawn(rng, 300, difference)
    order = rng.permutation(300) if level == "random" else np.argsort(before - after + rng.random(300) * 0.5)
    gone = np.zeros(300, bool)
    gone[order[:60]] = True
    trials = np.full(300, ATTEMPTS)
    stayed = compare_rates("frr", (before[~gone], trials[~gone]), (after[~gone], trials[~gone]))
    assert stayed.low is not None
    assert stayed.high is not None
    whole = compare_rates("frr", (before, trials), (after, trials))
    passes = [judge(item, margin=MARGIN).verdict == "pass" for item in (stayed, whole)]
    return stayed.low <= difference <= stayed.high, passes[0], all(passes)


if __name__ == "__main__":
    main()
