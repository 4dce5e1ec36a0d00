"""How often 95 % bounds of a PAI species hold its APCER, where presentations of one artefact are alike.

    python -m benchmarks.artefact_coverage [--data-sets 2000] [--processes 2]

The APCER of each artefact is drawn from a beta distribution with the design's mean and intraclass correlation.
Printed are, for one-sided upper bounds, the coverage and the mean bound: of ours, of Korn and Graubard's as it is
published, and of Clopper and Pearson's, which takes presentations for independent; then the two-sided coverage of ours.
The standard error of a coverage of .95 is .005 with 2,000 data sets. A star marks a coverage below .94.
"""

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.liveness.artefacts import artefact_rate
from cv_quality.metrics.rates import ASSUMED_ICC, checked_counts, exact_bounds, observed_design_effect

SEED = 20261127
LEAST = 0.94
SIZES = ((5, 20), (10, 15), (10, 50), (15, 10), (20, 15), (30, 10), (50, 10), (100, 10))
ICCS, RATES = (0.0, 0.1, 0.3), (0.02, 0.07, 0.2)
METHODS = ("ours", "Korn-Graubard", "Clopper-Pearson")


@dataclass(frozen=True, slots=True)
class Design:
    """One species: artefacts, presentations of each, its APCER and how alike the presentations of one artefact are."""

    artefacts: int
    presentations: int
    rate: float
    icc: float

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.icc == 0:
            return rng.binomial(self.presentations, self.rate, self.artefacts)
        size = (1 - self.icc) / self.icc
        own = rng.beta(self.rate * size, (1 - self.rate) * size, self.artefacts)
        return rng.binomial(self.presentations, own)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of each method the share of one-sided bounds that hold the rate and their mean; of ours the two-sided share."""

    upper: NDArray[np.float64]
    mean: NDArray[np.float64]
    both: float


def coverage(design: Design, *, data_sets: int) -> Coverage:
    """Count over data sets how often the bounds hold the rate."""
    rng = np.random.default_rng(SEED)
    shown = np.full(design.artefacts, design.presentations)
    bounds, within = np.empty((data_sets, len(METHODS))), 0
    for at in range(data_sets):
        errors = design.draw(rng)
        bounds[at] = (
            artefact_rate(errors, shown, side="upper").high,
            published(errors, shown),
            independent(errors, shown),
        )
        two_sided = artefact_rate(errors, shown)
        assert two_sided.low is not None
        assert two_sided.high is not None
        within += two_sided.low <= design.rate <= two_sided.high
    return Coverage((bounds >= design.rate).mean(axis=0), bounds.mean(axis=0), within / data_sets)


def published(errors: NDArray[np.int64], shown: NDArray[np.int64]) -> float:
    """The bound at the effective number of presentations, the design effect taken as it is seen."""
    x, n = checked_counts(errors, shown)
    effective = n.sum() / observed_design_effect(x, n, 0.0)[0]
    return exact_bounds(x.sum() / n.sum() * effective, effective, 0.05)[1]


def independent(errors: NDArray[np.int64], shown: NDArray[np.int64]) -> float:
    """The exact binomial bound."""
    return exact_bounds(float(errors.sum()), float(shown.sum()), 0.05)[1]


def _line(design: Design, found: Coverage) -> str:
    name = f"{design.artefacts} x {design.presentations}, APCER {design.rate:g}, ICC {design.icc:g}"
    cells = [
        f"{share:.3f}{'*' if share < LEAST else ' '} {mean:.3f}"
        for share, mean in zip(found.upper, found.mean, strict=True)
    ]
    return f"{name:32s} | {' | '.join(cells)} | {found.both:.3f}{'*' if found.both < LEAST else ''}"


def _covered(case: tuple[Design, int]) -> Coverage:
    return coverage(case[0], data_sets=case[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=2_000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    designs = [Design(*size, rate, icc) for size, icc, rate in itertools.product(SIZES, ICCS, RATES)]
    print(f"seed {SEED}, {options.data_sets:,} data sets; few errors: ICC at least {ASSUMED_ICC:g}")
    print(f"{'artefacts x presentations':32s} | {' | '.join(METHODS)} | two-sided, ours")
    with ProcessPoolExecutor(options.processes) as pool:
        cases = [(design, options.data_sets) for design in designs]
        for design, found in zip(designs, pool.map(_covered, cases), strict=True):
            print(_line(design, found), flush=True)


if __name__ == "__main__":
    main()
