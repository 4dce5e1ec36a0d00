"""How often nominal 95 % intervals hold the truth, in simulated designs where subjects differ; every design is printed.

    python -m benchmarks.interval_coverage [--scale 1.0] [SECTION ...]

Sections: attempts, pairs, frames, fnmr, eer, percentiles; small laboratories are in `benchmarks.laboratories`. Each
design has its own seed, printed with the table, so the numbers do not depend on how many processes share the work. The
sampling error of a coverage near .95 is .007 with 1,000 replicates and .010 with 500. A star marks a coverage outside
.93 to .97.
"""

import argparse
import itertools
import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from cv_quality.metrics.dyadic import pair_rate, pair_rate_upper
from cv_quality.metrics.equal_error import eer_interval
from cv_quality.metrics.fixed_fmr import fnmr_at_fmr_interval
from cv_quality.metrics.percentiles import Method, cluster_percentiles
from cv_quality.metrics.rates import clustered_rate
from cv_quality.metrics.trials import CrossTrials

SEED = 20260901
LEVEL = 0.95
BAND = (0.93, 0.97)
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Design:
    """One simulated design: a section's name, its parameters in words and numbers, and how many data sets are drawn."""

    section: str
    kinds: tuple[str, ...]
    numbers: tuple[float, ...]
    replicates: int
    seed: int


class Tally:
    """Counts, by method, of intervals below and above the truth; a missing bound misses."""

    def __init__(self) -> None:
        self.cases: dict[str, list[tuple[bool, bool, float]]] = {}

    def add(self, method: str, bounds: Bounds, truth: float) -> None:
        low, high = bounds
        if low is None or high is None:
            self.cases.setdefault(method, []).append((True, False, math.nan))
            return
        self.cases.setdefault(method, []).append((low > truth, high < truth, high - low))

    def text(self) -> str:
        """Coverage of each method, and the share of data sets in which the truth lay below and above."""
        cells = []
        for method, cases in self.cases.items():
            above, below, _ = (np.array(part, float) for part in zip(*cases, strict=True))
            coverage = 1 - above.mean() - below.mean()
            star = " " if BAND[0] <= round(coverage, 3) <= BAND[1] else "*"
            cells.append(f"{method} {coverage:.3f}{star} ({above.mean():.3f} {below.mean():.3f})")
        return "  ".join(cells)

    def coverages(self) -> dict[str, float]:
        return {
            method: 1 - sum(above + below for above, below, _ in cases) / len(cases)
            for method, cases in self.cases.items()
        }


def clopper_pearson(errors: int, trials: int) -> Bounds:
    low = special.betaincinv(errors, trials - errors + 1, (1 - LEVEL) / 2) if errors else 0.0
    high = special.betaincinv(errors + 1, trials - errors, (1 + LEVEL) / 2) if errors < trials else 1.0
    return float(low), float(high)


# Attempts of subjects ------------------------------------------------------------------------------------------------


def attempts(design: Design) -> Tally:
    """Error probabilities of subjects are beta with a given ICC; a Poisson number of attempts of each."""
    subjects, mean, rate, icc = design.numbers
    rng, tally, n = np.random.default_rng(design.seed), Tally(), int(subjects)
    strength = (1 - icc) / icc if icc else math.inf
    for _ in range(design.replicates):
        trials = 1 + rng.poisson(mean - 1, n)
        own = rng.beta(rate * strength, (1 - rate) * strength, n) if icc else np.full(n, rate)
        errors = rng.binomial(trials, own)
        found = clustered_rate(errors, trials)
        tally.add("clustered", (found.low, found.high), rate)
        tally.add("Clopper-Pearson", clopper_pearson(int(errors.sum()), int(trials.sum())), rate)
    return tally


# Pairs of subjects, one comparison each ------------------------------------------------------------------------------


def effects(rng: np.random.Generator, kind: str, cv: float, size: int) -> Floats:
    """Propensities of subjects with mean 1 and a given coefficient of variation."""
    if cv == 0:
        return np.ones(size)
    if kind == "gamma":
        return rng.gamma(1 / cv**2, cv**2, size)
    variance = math.log1p(cv**2)
    return rng.lognormal(-variance / 2, math.sqrt(variance), size)


def own_cv(form: str, cv: float) -> float:
    """CV of the propensities that gives the subjects' own FMR a CV of `cv`: a sum halves it."""
    return cv if form == "product" else 2 * cv


def erring_pairs(rng: np.random.Generator, own: Floats, *, form: str, rate: float) -> tuple[Codes, Codes]:
    """Pairs that err: independent with probability 1 - exp(-rate u_i u_j), or rate (u_i + u_j) / 2 in the exponent."""
    n, total = len(own), own.sum()
    draws = rng.poisson(rate / 2 * total * (total if form == "product" else n))
    cumulated = np.cumsum(own)
    one = np.searchsorted(cumulated, rng.random(draws) * total).clip(0, n - 1)
    if form == "product":
        other = np.searchsorted(cumulated, rng.random(draws) * total).clip(0, n - 1)
    else:
        other = rng.integers(0, n, draws)
    kept = one != other
    keys = np.unique(np.minimum(one, other)[kept] * n + np.maximum(one, other)[kept])
    return keys // n, keys % n


def true_rate(kind: str, form: str, cv: float, rate: float) -> float:
    """The mean of 1 - exp(-rate x) over pairs, with the mean of rate x, which is known, taken out of the noise."""
    rng = np.random.default_rng(SEED)
    one, other = (effects(rng, kind, own_cv(form, cv), 300_000) for _ in range(2))
    x = rate * (one * other if form == "product" else (one + other) / 2)
    return rate + float((-np.expm1(-x) - x).mean())


def pairs(design: Design) -> Tally:
    (kind, form), (subjects, expected, cv) = design.kinds, design.numbers
    rng, tally, n = np.random.default_rng(design.seed), Tally(), int(subjects)
    trials = CrossTrials.all_pairs(np.ones(n, np.int64))
    rate = expected / trials.n
    truth = true_rate(kind, form, cv, rate)
    for _ in range(design.replicates):
        own = effects(rng, kind, own_cv(form, cv), n)
        errors = erring_pairs(rng, own, form=form, rate=rate)
        found = pair_rate(errors, trials=trials)
        tally.add("sandwich", (found.low, found.high), truth)
        tally.add("one-sided", (0.0, pair_rate_upper(errors, trials=trials)), truth)
        tally.add("Clopper-Pearson", clopper_pearson(len(errors[0]), trials.n), truth)
    return tally


def frames(design: Design) -> Tally:
    """Several frames of each subject, all compared; subjects and pairs of subjects have propensities of their own."""
    subjects, expected, cv, dyad_cv = design.numbers
    rng, tally, n = np.random.default_rng(design.seed), Tally(), int(subjects)
    i, j = np.triu_indices(n, 1)
    for _ in range(design.replicates):
        counts = rng.integers(1, 6, n)
        trials = CrossTrials.all_pairs(counts)
        own = effects(rng, "gamma", cv, n)
        alike = effects(rng, "gamma", dyad_cv, len(i))
        rate = expected / trials.n
        errors = rng.binomial(counts[i] * counts[j], np.minimum(rate * own[i] * own[j] * alike, 1))
        codes = np.repeat(i, errors), np.repeat(j, errors)
        found = pair_rate(codes, trials=trials)
        tally.add("sandwich", (found.low, found.high), rate)
        tally.add("one-sided", (0.0, pair_rate_upper(codes, trials=trials)), rate)
        tally.add("Clopper-Pearson", clopper_pearson(int(errors.sum()), trials.n), rate)
    return tally


# FNMR at a fixed FMR, and EER, from scores with subject effects ------------------------------------------------------

GOAT_SD, SHARED = 0.5, 0.3
"""Spread of the subjects' genuine means, and its correlation with what makes them wolves."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Gaussian scores: impostor wolf_sd (a_i + a_j) + noise, genuine mean + goat_sd b_i + noise, a and b correlated."""

    subjects: int
    attempts: int
    wolf_sd: float
    mean: float

    def draw(self, rng: np.random.Generator) -> tuple[tuple[Codes, Codes, Floats], Floats, Codes]:
        wolf = rng.normal(size=self.subjects)
        goat = SHARED * wolf + math.sqrt(1 - SHARED**2) * rng.normal(size=self.subjects)
        one, other = np.triu_indices(self.subjects, 1)
        impostor = self.wolf_sd * (wolf[one] + wolf[other]) + rng.normal(size=len(one))
        people = np.repeat(np.arange(self.subjects), self.attempts)
        genuine = self.mean + GOAT_SD * goat[people] + rng.normal(size=len(people))
        return (one, other, impostor), genuine, people

    @property
    def impostor_sd(self) -> float:
        return math.sqrt(1 + 2 * self.wolf_sd**2)

    @property
    def genuine_sd(self) -> float:
        return math.sqrt(1 + GOAT_SD**2)


def wolf_sd_of(cv: float, fmr: float) -> float:
    """The spread of wolves that gives the subjects' FMR a coefficient of variation of `cv` at that threshold."""
    wolf = special.ndtri((np.arange(20_000) + 0.5) / 20_000)

    def excess(sd: float) -> float:
        own = special.ndtr((sd * wolf - special.ndtri(1 - fmr) * math.sqrt(1 + 2 * sd**2)) / math.sqrt(1 + sd**2))
        return float(own.std() / own.mean()) - cv

    return float(optimize.brentq(excess, 1e-4, 3)) if cv else 0.0


def fnmr(design: Design) -> Tally:
    subjects, fmr, miss, each, cv = design.numbers
    n, attempts_each = int(subjects), int(each)
    scores = Scores(n, attempts_each, wolf_sd_of(cv, fmr), 0.0)
    threshold = -float(special.ndtri(fmr)) * scores.impostor_sd
    scores = Scores(n, attempts_each, scores.wolf_sd, threshold - float(special.ndtri(miss)) * scores.genuine_sd)
    rng, tally, trials = np.random.default_rng(design.seed), Tally(), CrossTrials.all_pairs(np.ones(n, np.int64))
    keep = min(trials.n, int(50 * fmr * trials.n) + 1)
    for _ in range(design.replicates):
        (one, other, impostor), genuine, people = scores.draw(rng)
        top = np.argpartition(impostor, len(impostor) - keep)[len(impostor) - keep :]
        tail = one[top], other[top], impostor[top]
        found = fnmr_at_fmr_interval(genuine, people, tail, trials, fmr=fmr)
        assert found.threshold is not None
        tally.add("threshold estimated", (found.low, found.high), miss)
        tally.add("its threshold", (found.threshold_low, found.threshold_high), threshold)
        missed = np.bincount(people[genuine < found.threshold], minlength=n)
        fixed = clustered_rate(missed, np.full(n, attempts_each))
        tally.add("fixed threshold", (fixed.low, fixed.high), miss)
        tally.add("Clopper-Pearson", clopper_pearson(int(missed.sum()), len(genuine)), miss)
    return tally


def equal(design: Design) -> Tally:
    subjects, rate, each, wolf_sd = design.numbers
    n, attempts_each = int(subjects), int(each)
    rng, tally = np.random.default_rng(design.seed), Tally()
    scores = Scores(n, attempts_each, wolf_sd, 0.0)
    distance = -float(special.ndtri(rate)) * (scores.impostor_sd + scores.genuine_sd)
    scores = Scores(n, attempts_each, scores.wolf_sd, distance)
    trials = CrossTrials.all_pairs(np.ones(n, np.int64))
    for _ in range(design.replicates):
        (one, other, impostor), genuine, people = scores.draw(rng)
        found = eer_interval(
            genuine,
            impostor,
            genuine_subjects=people,
            impostor_subjects=(one, other),
            trials=trials,
        )
        tally.add("subjects", (found.low, found.high), rate)
        alone = eer_interval(genuine, impostor)
        tally.add("independence assumed", (alone.low, alone.high), rate)
    return tally


METHODS: tuple[Method, ...] = ("inverted", "bootstrap")


def percentiles(design: Design) -> Tally:
    """Lognormal latencies with a device effect; a bound beyond the data counts as infinite."""
    devices, each, device_sd = design.numbers
    rng, tally, own_sd = np.random.default_rng(design.seed), Tally(), 0.3
    codes = np.repeat(np.arange(int(devices)), int(each))
    total_sd = math.hypot(device_sd, own_sd)
    for index in range(design.replicates):
        effect = rng.normal(0, device_sd, int(devices))
        values = np.exp(effect[codes] + rng.normal(0, own_sd, len(codes)))
        for method in METHODS:
            for found in cluster_percentiles(values, codes, method=method, seed=index, replicates=400):
                truth = math.exp(total_sd * float(special.ndtri(found.quantile)))
                low, high = (-math.inf if found.low is None else found.low), (found.high or math.inf)
                tally.add(f"p{100 * found.quantile:g} {method}", (low, high), truth)
    return tally


# The table -----------------------------------------------------------------------------------------------------------

SECTIONS: dict[str, tuple[str, Callable[[Design], Tally]]] = {
    "attempts": ("attempts: subjects, attempts each, rate, ICC", attempts),
    "pairs": ("pairs: propensity, form, subjects, errors expected, CV of the subjects' FMR", pairs),
    "frames": ("1 to 5 frames each: subjects, errors expected, CV of subjects, CV of pairs of subjects", frames),
    "fnmr": ("FNMR@FMR: subjects, FMR, FNMR, attempts each, CV of the subjects' FMR", fnmr),
    "eer": ("EER: subjects, EER, attempts each, spread of wolves", equal),
    "percentiles": ("percentiles: devices, values each, spread of devices", percentiles),
}
DATA_SETS = {"attempts": 1_000, "pairs": 1_000, "frames": 500, "fnmr": 1_000, "eer": 300, "percentiles": 500}
SUBJECTS, EXPECTED, CVS = (200, 500, 1_000), (10, 30, 100, 1_000), (0.0, 1.0, 2.0, 3.0)
FNMR_SHAPES = (
    (200, 1e-3, 0.03, 5),
    (200, 1e-2, 0.03, 5),
    (500, 1e-4, 0.03, 5),
    (500, 1e-3, 0.03, 5),
    (200, 1e-3, 0.1, 1),
    (500, 1e-3, 0.005, 5),
    (1_000, 1e-4, 0.01, 3),
)


def designs_of(section: str, scale: float) -> list[Design]:
    """Every design of a section, each with a seed of its own."""
    cases: list[tuple[tuple[str, ...], tuple[float, ...]]] = []
    if section == "attempts":
        grid = itertools.product((20, 50, 200), (5, 20), (0.01, 0.05, 0.2), (0, 0.1, 0.3))
        cases = [((), case) for case in grid]
    elif section == "pairs":
        for form, kind in itertools.product(("product", "sum"), ("gamma", "lognormal")):
            spread = CVS if kind == "gamma" else CVS[1:]
            cases += [((kind, form), case) for case in itertools.product(SUBJECTS, EXPECTED, spread)]
        cases += [(("gamma", "product"), (n, 30, cv)) for n, cv in itertools.product((20, 50, 100), (0.0, 1.0))]
    elif section == "frames":
        cases = [((), case) for case in itertools.product((100, 300), (30, 300), (0.0, 1.0, 2.0), (0.0, 2.0))]
    elif section == "fnmr":
        cases = [((), (*shape, cv)) for shape, cv in itertools.product(FNMR_SHAPES, CVS)]
    elif section == "eer":
        cases = [((), (n, rate, 3, sd)) for n, rate, sd in itertools.product((100, 200), (0.05, 0.02), (0, 0.3, 0.7))]
    else:
        cases = [((), case) for case in itertools.product((10, 20, 50), (20, 100), (0.0, 0.2, 0.5))]
    count = max(20, int(scale * DATA_SETS[section]))
    return [Design(section, *case, count, SEED + index) for index, case in enumerate(cases)]


def simulate(design: Design) -> Tally:
    return SECTIONS[design.section][1](design)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the data sets to draw")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        for section in options.sections or SECTIONS:
            designs = designs_of(section, options.scale)
            show(section, designs, list(pool.map(simulate, designs, chunksize=1)))


def show(section: str, designs: list[Design], tallies: list[Tally]) -> None:
    print(f"\n{SECTIONS[section][0]}; coverage (truth below, truth above)")
    for design, tally in zip(designs, tallies, strict=True):
        case = " ".join([*design.kinds, *(f"{value:g}" for value in design.numbers)])
        print(f"  {case:32s} n {design.replicates} seed {design.seed} | {tally.text()}")
    for method in tallies[0].cases:
        found = np.array([tally.coverages()[method] for tally in tallies])
        inside = np.mean((found.round(3) >= BAND[0]) & (found.round(3) <= BAND[1]))
        print(
            f"  = {method}: {found.min():.3f} to {found.max():.3f}, mean {found.mean():.3f}, in the band {inside:.0%}"
        )


if __name__ == "__main__":
    main()
