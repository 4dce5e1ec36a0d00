"""How often a slice that one seed finds is found again with another, on planted tables and on tables of one's own.

    python -m benchmarks.slice_stability [--seeds 5] [--tables 3] [--rows 50000] [--kinds KIND ...]
    python -m benchmarks.slice_stability --files TABLE.parquet ... [--outcome failed] [--subject subject]

Every table is searched with each seed; every slice of a seed is sought among those of every other. Printed are the
shares found again with equal rows and with 0.8 of the rows in common, in all and by the stability that the search says
of the slice, and the CPU seconds of a search. Of files without the subject's column rows stand for themselves.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.planted import KINDS, SIMILAR, generate
from cv_quality.error_analysis.discovery import find_slices

Rows = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Again:
    """One slice sought among those of another seed: what the search said of it, and the most rows in common."""

    stability: float
    jaccard: float


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", type=int, default=3)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--kinds", nargs="+", default=["planted_subjects", "thresholds", "overlap"], choices=KINDS)
    parser.add_argument("--files", nargs="+", type=Path, default=[])
    parser.add_argument("--outcome", default="failed")
    parser.add_argument("--subject", default="subject")
    options = parser.parse_args()
    every = list[Again]()
    for name, frame, outcome, subject in _tables(options):
        start = time.process_time()
        subject = subject if subject in frame.columns else None
        found = [_searched(frame, outcome, subject, seed) for seed in range(options.seeds)]
        again = list(_again(found))
        seconds = (time.process_time() - start) / options.seeds
        print(
            f"{name}: {_line(again)}; {len(again) // max(options.seeds - 1, 1)} slices, {seconds:.1f} CPU s", flush=True
        )
        every += again
    print(f"all: {_line(every)}")
    for stability in sorted({item.stability for item in every}):
        print(
            f"  said to hold in {stability:.0%} of the splits: {_line([i for i in every if i.stability == stability])}"
        )


def _tables(options: argparse.Namespace) -> Iterator[tuple[str, pl.DataFrame, str, str | None]]:
    for file in options.files:
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, infer_schema_length=None)
        yield file.name, frame, options.outcome, options.subject
    for kind in [] if options.files else options.kinds:
        for seed in range(options.tables):
            planted = generate(kind, rows=options.rows, seed=seed)
            yield f"{kind} {seed}", planted.frame, planted.outcome, planted.subject


def _searched(frame: pl.DataFrame, outcome: str, subject: str | None, seed: int) -> list[tuple[float, Rows]]:
    found = find_slices(frame, outcome=outcome, subject=subject, seed=seed)
    inside = frame.select(item.where.expression().alias(str(place)) for place, item in enumerate(found.slices))
    return [(item.stability, np.packbits(inside[str(place)].to_numpy())) for place, item in enumerate(found.slices)]


def _again(found: Sequence[Sequence[tuple[float, Rows]]]) -> Iterator[Again]:
    for seed, slices in enumerate(found):
        for stability, rows in slices:
            for others in (*found[:seed], *found[seed + 1 :]):
                yield Again(stability, max((_jaccard(rows, other) for _, other in others), default=0.0))


def _jaccard(one: Rows, other: Rows) -> float:
    return float(np.bitwise_count(one & other).sum() / max(int(np.bitwise_count(one | other).sum()), 1))


def _line(again: Sequence[Again]) -> str:
    if not again:
        return "no slice"
    equal = sum(item.jaccard == 1 for item in again) / len(again)
    alike = sum(item.jaccard >= SIMILAR for item in again) / len(again)
    return f"found again with equal rows {equal:.2f}, with {SIMILAR:.1f} in common {alike:.2f}, of {len(again)} pairs"


if __name__ == "__main__":
    main()
