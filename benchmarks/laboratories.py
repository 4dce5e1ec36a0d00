"""How often nominal 95 % intervals of small laboratories hold the truth: few subjects, many probes, look-alikes, ties.

    python -m benchmarks.laboratories [--data-sets 1000] [--processes 2] [DESIGN ...]

Scores are Gaussian with effects of subjects (wolves and goats, correlated), of pairs of subjects (look-alikes), of
probes and, where subjects come in families, of families; the true rates are known. Each subject has one reference and a
number of probes, every probe meets every reference. Printed are the coverage, the shares of data sets with the truth
below and above the interval, and the mean width on the logit scale; the standard error of a coverage of .95 is .007
with 1,000 data sets. A star marks a coverage outside .94 to .985.
"""

import argparse
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from cv_quality.metrics.trials import CrossTrials

SEED = 20261126
BAND = (0.94, 0.985)
FNMR = 0.03
GOAT_SD, SHARED, PROBE_SD = 0.5, 0.3, 0.3
"""Spread of the subjects' genuine means, its correlation with what makes them wolves, spread of probes."""
FAMILY_SHARE = 0.7
"""Part of the variance of subject and pair effects that a family shares."""
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Laboratory:
    """A design and its model of scores.

    Attributes:
        fmr: at which the FNMR is asked for, where it is 3 %.
        wolf_sd, pair_sd: spread of the effects of subjects, and of pairs of subjects.
        family: subjects of a family.
        is_clustered: whether the families are known.
        grid: scores are rounded down to multiples of it; 0 keeps them.
    """

    name: str
    subjects: int
    probes: int
    fmr: float
    wolf_sd: float
    pair_sd: float
    family: int = 1
    is_clustered: bool = False
    grid: float = 0.0
    seed: int = SEED

    @property
    def families(self) -> Codes:
        return np.arange(self.subjects) // self.family

    @property
    def trials(self) -> CrossTrials:
        return CrossTrials.enrolled(np.ones(self.subjects, np.int64), np.full(self.subjects, self.probes))

    @property
    def genuine_sd(self) -> float:
        return math.sqrt(1 + GOAT_SD**2)

    def false_match_rate(self, threshold: float) -> float:
        """The true FMR: relatives share part of their effects, so that the sum of two of them spreads wider."""
        within = (self.family - 1) / (self.subjects - 1)
        rest = 1 + PROBE_SD**2 + self.pair_sd**2
        shared = FAMILY_SHARE if self.family > 1 else 0.0
        spreads = [math.sqrt(rest + 2 * self.wolf_sd**2 * (1 + part)) for part in (0.0, shared)]
        apart, related = (float(special.ndtr(-threshold / spread)) for spread in spreads)
        return (1 - within) * apart + within * related

    def truth(self) -> "Truth":
        exact = float(optimize.brentq(lambda at: self.false_match_rate(at) - self.fmr, -20, 20))
        threshold = math.ceil(exact / self.grid) * self.grid if self.grid else exact
        mean = exact - float(special.ndtri(FNMR)) * self.genuine_sd

        def miss_rate(at: float) -> float:
            return float(special.ndtr((at - mean) / self.genuine_sd))

        crossing = float(optimize.brentq(lambda at: self.false_match_rate(at) - miss_rate(at), -20, 20))
        sides = [crossing]
        if self.grid:
            sides = [math.floor(crossing / self.grid) * self.grid, math.ceil(crossing / self.grid) * self.grid]
        equal = min((self.false_match_rate(at) + miss_rate(at)) / 2 for at in sides)
        fixed = threshold, self.false_match_rate(threshold)
        return Truth(mean, threshold, fixed[1], miss_rate(threshold), equal)

    def draw(self, rng: np.random.Generator, mean: float) -> "Drawn":
        n, families = self.subjects, self.families
        wolf, goat = self._effects(rng, 2, families)
        goat = SHARED * wolf + math.sqrt(1 - SHARED**2) * goat
        pairs = self._pair_effects(rng, families)
        probe = PROBE_SD * rng.normal(size=(n, self.probes))
        one, other = (side.ravel() for side in np.nonzero(~np.eye(n, dtype=bool)))
        scores = self.wolf_sd * (wolf[one] + wolf[other]) + self.pair_sd * pairs[one, other]
        scores = (scores[:, None] + probe[other] + rng.normal(size=(len(one), self.probes))).ravel()
        people = np.repeat(np.arange(n), self.probes)
        genuine = mean + GOAT_SD * goat[people] + rng.normal(size=len(people))
        one, other = np.repeat(one, self.probes), np.repeat(other, self.probes)
        if self.grid:
            scores, genuine = (np.floor(side / self.grid) * self.grid for side in (scores, genuine))
        return Drawn(genuine, people, one, other, scores)

    def _effects(self, rng: np.random.Generator, count: int, families: Codes) -> Floats:
        own = rng.normal(size=(count, self.subjects))
        if self.family == 1:
            return own
        return math.sqrt(FAMILY_SHARE) * rng.normal(size=(count, self.subjects))[:, families] + (
            math.sqrt(1 - FAMILY_SHARE) * own
        )

    def _pair_effects(self, rng: np.random.Generator, families: Codes) -> Floats:
        own = _symmetric(rng, self.subjects)
        if self.family == 1:
            return own
        shared = _symmetric(rng, int(families.max()) + 1)[np.ix_(families, families)]
        return math.sqrt(FAMILY_SHARE) * shared + math.sqrt(1 - FAMILY_SHARE) * own


@dataclass(frozen=True, slots=True)
class Truth:
    """The true numbers of a laboratory: the genuine mean, the threshold of the FMR, both rates there, the EER."""

    mean: float
    threshold: float
    fmr: float
    fnmr: float
    eer: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """One data set: genuine scores with their subjects, impostor scores with both."""

    genuine: Floats
    people: Codes
    one: Codes
    other: Codes
    impostor: Floats


def _symmetric(rng: np.random.Generator, size: int) -> Floats:
    upper = np.triu(rng.normal(size=(size, size)))
    return upper + np.triu(upper, 1).T


def intervals(laboratory: Laboratory, truth: Truth, drawn: Drawn) -> dict[str, tuple[Bounds, float]]:
    """The bounds of every quantity, with its true value."""
    from cv_quality.metrics.clustered_scores import ClusteredScores
    from cv_quality.metrics.equal_error import interval_of_eer
    from cv_quality.metrics.fixed_fmr import interval_at_fmr

    people, one, other, trials = drawn.people, drawn.one, drawn.other, laboratory.trials
    if laboratory.is_clustered:
        people, one, other = (laboratory.families[codes] for codes in (people, one, other))
        trials = trials.clustered(laboratory.families)
    scores = ClusteredScores.of(drawn.genuine, people, (one, other, drawn.impostor), trials)
    fmr, fixed = scores.fmr(scores.count_matches(truth.threshold)), interval_at_fmr(scores, fmr=laboratory.fmr)
    equal = interval_of_eer(scores)
    return {
        "FMR": ((fmr.low, fmr.high), truth.fmr),
        "threshold": ((fixed.threshold_low, fixed.threshold_high), truth.threshold),
        "FNMR@FMR": ((fixed.low, fixed.high), truth.fnmr),
        "EER": ((equal.low, equal.high), truth.eer),
    }


def simulate(
    laboratory: Laboratory, data_sets: int, measure: Callable[..., dict[str, tuple[Bounds, float]]] = intervals
) -> dict[str, Floats]:
    """Of each quantity and data set: whether the truth lies below and above, and the width; shape (data_sets, 3)."""
    rng, truth = np.random.default_rng(laboratory.seed), laboratory.truth()
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(data_sets):
        for name, ((low, high), true) in measure(laboratory, truth, laboratory.draw(rng, truth.mean)).items():
            if low is None or high is None:
                low, high = math.inf, -math.inf
            width = high - low if name == "threshold" else float(special.logit(high) - special.logit(max(low, 1e-9)))
            # A multiple of the grid is rounded.
            found.setdefault(name, []).append((low > true + 1e-9, high < true - 1e-9, width))
    return {name: np.array(cases, np.float64) for name, cases in found.items()}


LABORATORIES = (
    Laboratory("38 x 52, look-alikes", 38, 52, 1e-3, 0.5, 0.7),
    Laboratory("38 x 52, without", 38, 52, 1e-3, 0.5, 0.0),
    Laboratory("38 x 52, no effects", 38, 52, 1e-3, 0.0, 0.0),
    Laboratory("100 x 20, look-alikes", 100, 20, 1e-3, 0.5, 0.7),
    Laboratory("100 x 5, look-alikes", 100, 5, 1e-3, 0.5, 0.7),
    Laboratory("300 x 1", 300, 1, 1e-3, 0.5, 0.0),
    Laboratory("200 x 1, strong wolves", 200, 1, 1e-3, 0.9, 0.0),
    Laboratory("200 x 1, FMR 1e-2", 200, 1, 1e-2, 0.9, 0.0),
    Laboratory("100 x 52, FMR 1e-4", 100, 52, 1e-4, 0.5, 0.7),
    Laboratory("families of 4, unknown", 100, 10, 1e-3, 0.5, 0.7, family=4),
    Laboratory("families of 4, known", 100, 10, 1e-3, 0.5, 0.7, family=4, is_clustered=True),
    Laboratory("38 x 52, ties", 38, 52, 1e-3, 0.5, 0.7, grid=0.5),
    Laboratory("100 x 5, ties", 100, 5, 1e-3, 0.5, 0.7, grid=0.25),
)


def _line(laboratory: Laboratory, found: dict[str, Floats]) -> str:
    cells = []
    for name, cases in found.items():
        below, above, _ = cases.mean(axis=0)
        width = float(np.median(cases[:, 2]))
        star = " " if BAND[0] <= round(1 - below - above, 3) <= BAND[1] else "*"
        cells.append(f"{name} {1 - below - above:.3f}{star} ({below:.3f} {above:.3f}) {width:.2f}")
    return f"{laboratory.name:24s} | " + " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("designs", nargs="*", help="parts of names; default: all")
    parser.add_argument("--data-sets", type=int, default=1_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    chosen = [one for one in LABORATORIES if not options.designs or any(part in one.name for part in options.designs)]
    shares = [replace(one, seed=SEED + part) for one in chosen for part in range(options.processes)]
    each = math.ceil(options.data_sets / options.processes)
    print(f"{each * options.processes} data sets a design; coverage (truth below, truth above) median width")
    with ProcessPoolExecutor(options.processes) as pool:
        parts = pool.map(simulate, shares, [each] * len(shares), chunksize=1)
        for laboratory in chosen:
            halves = [next(parts) for _ in range(options.processes)]
            merged = {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
            print(_line(laboratory, merged), flush=True)


if __name__ == "__main__":
    main()
