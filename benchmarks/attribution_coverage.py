"""How often nominal 95 % intervals of a change's parts hold the truth, where subjects differ and may be in both tables.

    python -m benchmarks.attribution_coverage [--scale 1.0] [--seed 20260901]

Three parts of about 5, 10 and 85 % of the rows; the first doubles and fails more often in the second table, so that
mix and rate both change. Failures have a subject effect of log-odds SD 1 (0 in "no effect"). The coverage of mix, rate
and change is printed for the slices, the rest and the whole, with the number of intervals; a star marks a coverage
outside .93 to .97 by more than twice its sampling error. "t" is what the product uses; "percentile" are the raw
percentiles of the same replicates; "t of all" takes only the number of subjects in the part for its degrees of freedom.
Intervals of parts with fewer than two subjects in a table are not given by the product, and not counted.
"""

import argparse
import itertools
import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from cv_quality.error_analysis.decomposition import SubjectCounts, contributions, half_widths, replicated, with_whole

SEED = 20260901
LEVEL, BAND, REPLICATES = 0.95, (0.93, 0.97), 200
SHARES = np.array([[0.05, 0.10, 0.85], [0.10, 0.10, 0.80]])
RATES = np.array([[0.15, 0.10, 0.03], [0.25, 0.10, 0.03]])
ROWS_EACH = 20
MEMBERSHIPS = ("no effect", "rows", "leaning", "wholly")
"""How rows come to their parts: at random, without and with a subject effect on failing; at random from a mix of the
subject's own; or all rows of a subject in one part, which few change between the tables."""
PAIRINGS = ("paired", "half paired", "unpaired")
METHODS = ("t", "t of all", "percentile")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Design:
    """Subjects of each table, how many are in both, how rows come to parts, and the data sets drawn."""

    subjects: int
    pairing: str
    membership: str
    data_sets: int

    @property
    def effect_sd(self) -> float:
        return 0.0 if self.membership == "no effect" else 1.0


def drawn(design: Design, rng: np.random.Generator) -> SubjectCounts:
    """One data set of a design."""
    n = design.subjects
    n_paired = {"paired": n, "half paired": n // 2, "unpaired": 0}[design.pairing]
    total = 2 * n - n_paired
    effect, place = rng.normal(0, design.effect_sd, total), rng.random(total)
    leaning = np.exp(rng.normal(0, 2, (total, 3))) if design.membership == "leaning" else np.ones((total, 3))
    rows, failures = np.zeros((total, 2, 3)), np.zeros((total, 2, 3))
    for table, present in enumerate((slice(0, n), slice(total - n, total))):
        made = 1 + rng.poisson(ROWS_EACH - 1, n)
        if design.membership == "wholly":
            counted = made[:, None] * np.eye(3, dtype=int)[np.searchsorted(SHARES[table].cumsum()[:2], place[present])]
        else:
            counted = rng.multinomial(made, own_shares(leaning[present], table))
        odds = special.logit(RATES[table]) + effect[present, None]
        rows[present, table], failures[present, table] = counted, rng.binomial(counted, special.expit(odds))
    return SubjectCounts(rows, failures, total, n_paired)


def own_shares(leaning: Floats, table: int) -> Floats:
    weighted: Floats = SHARES[table] * leaning
    shares: Floats = weighted / weighted.sum(1, keepdims=True)
    return shares


def truth(design: Design) -> Floats:
    """The contributions over all subjects that there could be: shape (3, parts + 1)."""
    rng, n = np.random.default_rng(SEED), 400_000
    effect = special.ndtri((np.arange(20_000) + 0.5) / 20_000) * design.effect_sd
    leaning = np.exp(rng.normal(0, 2, (n, 3))) if design.membership == "leaning" else np.ones((1, 3))
    shares = np.stack([own_shares(leaning, table).mean(0) for table in (0, 1)])
    rates = special.expit(special.logit(RATES)[..., None] + effect).mean(-1)
    return with_whole(contributions(shares, shares * rates))


def covered(design: Design, *, seed: int) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """Whether each interval holds the truth, (data sets, 3, parts + 1) by method; and which of them are given."""
    wanted, is_given = truth(design), []
    hits: dict[str, list[NDArray[np.bool_]]] = {method: [] for method in METHODS}
    for index in range(design.data_sets):
        counts = drawn(design, np.random.default_rng([seed, index]))
        found = with_whole(contributions(counts.rows.sum(0), counts.failures.sum(0)))
        half = half_widths(counts, replicates=REPLICATES, level=LEVEL, seed=index)
        replicates = replicated(counts, replicates=REPLICATES, seed=index)
        low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        of_all = special.stdtrit(np.maximum(counts.per_part.min(0) - 1, 1), (1 + LEVEL) / 2) * replicates.std(0)
        hits["t"].append(np.abs(found - wanted) <= half)
        hits["t of all"].append(np.abs(found - wanted) <= of_all)
        hits["percentile"].append((low <= wanted) & (wanted <= high))
        is_given.append(counts.per_part.min(0) >= 2)
    return {method: np.array(each, float) for method, each in hits.items()}, np.array(is_given)


def lines(design: Design, *, seed: int) -> list[str]:
    """The design's coverage by method, and within it by kind of part."""
    hits, is_given = covered(design, seed=seed)
    texts = []
    for method, each in hits.items():
        cells = []
        for name, columns in (("slices", [0, 1]), ("rest", [2]), ("whole", [3])):
            chosen = is_given[:, columns]
            kinds = [each[:, kind, columns][chosen] for kind in range(3)]
            cells.append(f"{name} {' '.join(marked(kind) for kind in kinds)} ({chosen.sum()})")
        texts.append(f"  {method:<11} {'  '.join(cells)}")
    return texts


def marked(hits: Floats) -> str:
    """A coverage, with a star where it is surely outside of the band."""
    if len(hits) == 0:
        return " none "
    error = math.sqrt(BAND[0] * (1 - BAND[0]) / len(hits))
    is_out = not BAND[0] - 2 * error <= hits.mean() <= BAND[1] + 2 * error
    return f"{hits.mean():.3f}{'*' if is_out else ' '}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="data sets of each design, over 400")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    started = time.perf_counter()
    for subjects, pairing, membership in itertools.product((10, 20, 50, 200), PAIRINGS, MEMBERSHIPS):
        design = Design(subjects, pairing, membership, int(400 * options.scale))
        print(f"{subjects} subjects a table, {pairing}, {membership}: mix rate change (intervals)")
        print("\n".join(lines(design, seed=options.seed)), flush=True)
    print(f"{time.perf_counter() - started:.0f} s, seed {options.seed}")


if __name__ == "__main__":
    main()
