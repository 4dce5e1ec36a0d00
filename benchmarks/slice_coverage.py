"""How often the interval of a found slice holds its true rate, and how often something is found where nothing is.

    python -m benchmarks.slice_coverage [--scale 1.0] [--processes 2] [DESIGN ...]

Tables are those of `benchmarks.planted`. The true rate of a slice, whether it was planted or not, is the mean of the
rows' true failure rates over its rows in a second draw of the same population, `TRUTH_ROWS` large and independent of
the table that was searched. Each design prints its seeds. A star marks a coverage outside .93 to .97, and a share of
null tables with any report above .05.
"""

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.planted import Kind, generate, similar
from cv_quality.error_analysis.discovery import find_slices

BAND = (0.93, 0.97)
MOST_NULL = 0.05
TRUTH_ROWS = 400_000
FIRST_SEED = 1_000


@dataclass(frozen=True, slots=True)
class Design:
    kind: Kind
    rows: int
    tables: int
    rows_per_subject: int | None = None

    @property
    def name(self) -> str:
        per_subject = f", {self.rows_per_subject} a subject" if self.rows_per_subject else ""
        return f"{self.kind}, {self.rows:,} rows{per_subject}"


@dataclass(frozen=True, slots=True)
class Held:
    """One finding: whether the true rate lies in, below or above its interval, and whether it was planted."""

    place: int
    width: float
    is_planted: bool


COVERED = {
    "plain": Design("planted", 100_000, 100),
    "small": Design("planted", 20_000, 150),
    "subjects": Design("planted_subjects", 100_000, 100, 50),
    "many_rows": Design("planted_subjects", 100_000, 120, 200),
    "weak": Design("weak", 100_000, 150),
    "overlap": Design("overlap", 100_000, 80),
}
NULL = {
    "null": Design("null", 100_000, 150),
    "null_small": Design("null", 10_000, 150),
    "null_subjects": Design("null_subjects", 100_000, 200, 200),
    "null_small_subjects": Design("null_subjects", 20_000, 200, 200),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of tables")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("designs", nargs="*", metavar="DESIGN", help=", ".join([*COVERED, *NULL]))
    options = parser.parse_args()
    for name in options.designs or [*COVERED, *NULL]:
        design = (COVERED | NULL)[name]
        seeds = range(FIRST_SEED, FIRST_SEED + max(1, round(options.scale * design.tables)))
        with ProcessPoolExecutor(options.processes) as pool:
            tables = list(pool.map(partial(search, design), seeds))
        line = coverage_line(tables) if name in COVERED else null_line(tables, seeds)
        print(f"{design.name}, seeds {seeds.start} to {seeds.stop - 1}: {line}", flush=True)


def search(design: Design, seed: int) -> list[Held]:
    """What is found in one table, each held against the truth."""
    planted = generate(design.kind, rows=design.rows, seed=seed, rows_per_subject=design.rows_per_subject)
    found = find_slices(planted.frame, outcome=planted.outcome, subject=planted.subject, seed=seed, threads=1).slices
    if not found:
        return []
    is_planted = np.logical_or.reduce(similar(planted, [item.where for item in found])).tolist()
    truth = generate(design.kind, rows=TRUTH_ROWS, seed=seed, rows_per_subject=design.rows_per_subject, draw=1)
    held = []
    for item, planted_too in zip(found, is_planted, strict=True):
        inside = truth.frame.select(item.where.expression()).to_series().to_numpy()
        rate = float(truth.chances[inside].mean())
        held.append(Held((rate > item.high) - (rate < item.low), item.high - item.low, planted_too))
    return held


def coverage_line(tables: Sequence[Sequence[Held]]) -> str:
    held = [item for table in tables for item in table]
    if not held:
        return f"{len(tables)} tables, nothing found"
    covered = sum(item.place == 0 for item in held) / len(held)
    error = math.sqrt(max(covered * (1 - covered), 0.0) / len(held))
    below, above = (sum(item.place == place for item in held) / len(held) for place in (-1, 1))
    star = "" if BAND[0] <= covered <= BAND[1] else " *"
    width = sum(item.width for item in held) / len(held)
    return (
        f"{len(tables)} tables, {len(held)} found ({sum(not item.is_planted for item in held)} not planted), coverage "
        f"{covered:.3f} +- {error:.3f}{star}; true rate below {below:.3f}, above {above:.3f}; mean width {width:.4f}"
    )


def null_line(tables: Sequence[Sequence[Held]], seeds: range) -> str:
    reporting = [seed for seed, table in zip(seeds, tables, strict=True) if table]
    share = len(reporting) / len(tables)
    star = " *" if share > MOST_NULL else ""
    which = f" ({', '.join(map(str, reporting))})" if reporting else ""
    return f"{len(tables)} tables, {len(reporting)} with any report{which}, share {share:.3f}{star}"


if __name__ == "__main__":
    main()
