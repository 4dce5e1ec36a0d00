"""All pairs of N templates against the bare matrix product: rates, their ratios, and the memory beyond the templates.

    python -m benchmarks.pairs [DIMENSION]

The bare product is that of NumPy or PyTorch in float32, in the engine's tile or a larger one, on all threads by its own
pool or one product a thread, whichever is fastest: it only multiplies, and keeps nothing. Engine and product run in
turn, many short rounds in one process; the best round of each counts, by wall time, and by processor time where other
work shares the machine. Run it also with OPENBLAS_CORETYPE unset: a setting for other machines halves NumPy's rate.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.pairs import Grade, count_pairs
from cv_quality.metrics.products import PRODUCTS, TILE, Onto, full_precision, one_thread

THREADS = os.cpu_count() or 1
ROUNDS = 5
DIMENSION = 256
SIZES = (25_000, 50_000)
A_SUBJECT = 10
LARGE_TILE = (1_024, 2_048)
BARE_PAIRS = 200_000_000
SEED = 0

Templates = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rate:
    """Million pairs a second of wall time, and of processor time on one thread."""

    wall: float
    processor: float

    def best_of(self, other: "Rate") -> "Rate":
        return Rate(max(self.wall, other.wall), max(self.processor, other.processor))


def templates(count: int, dimension: int, *, is_clustered: bool) -> tuple[Templates, NDArray[np.int64]]:
    """Unit vectors in random directions, or around a direction for each subject, some of which are near each other."""
    rng = np.random.default_rng(SEED)
    subjects = np.arange(count) // A_SUBJECT
    vectors = rng.standard_normal((count, dimension), dtype=np.float32)
    if is_clustered:
        near = rng.standard_normal((50, dimension), dtype=np.float32)[np.arange(subjects.max() + 1) % 50]
        centres = 0.6 * near + rng.standard_normal(near.shape, dtype=np.float32)
        vectors += centres[subjects]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, subjects


def rate(run: Callable[[], object], *, pairs: int) -> Rate:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Rate(pairs / (time.perf_counter() - wall) / 1e6, pairs / (time.process_time() - processor) / 1e6)


def bare(vectors: Templates, onto: Onto, tile: tuple[int, int], *, own_pool: bool) -> Rate:
    """The products of as many tiles as make BARE_PAIRS: blocks of columns, each against several blocks of rows."""
    height, width = tile
    half = len(vectors) // 2
    blocks = [slice(row, row + height) for row in range(0, half - height, height)]
    columns = [slice(half + column, half + column + width) for column in range(0, half - width, width)]
    count = max(1, BARE_PAIRS // (len(blocks) * height * width) // THREADS) * THREADS

    def one(column: slice) -> None:
        multiply = onto(vectors[column])
        for row in blocks:
            multiply(vectors[row])

    pairs = count * len(blocks) * height * width
    if own_pool:
        with all_threads():
            return rate(lambda: list(map(one, columns[:count])), pairs=pairs)
    with full_precision(), ThreadPoolExecutor(THREADS, initializer=one_thread) as pool:
        return rate(lambda: list(pool.map(one, columns[:count])), pairs=pairs)


@contextmanager
def all_threads() -> Iterator[None]:
    import torch

    torch.set_num_threads(THREADS)
    yield


def bare_ways(vectors: Templates, names: Sequence[str]) -> dict[str, Callable[[], Rate]]:
    """Each library, tile and way to use the threads."""
    return {
        f"{product.name} {tile[0]}x{tile[1]} {'own pool' if own_pool else 'one a thread'}": (
            lambda product=product, tile=tile, own_pool=own_pool: bare(vectors, product.onto, tile, own_pool=own_pool)  # type: ignore[misc]
        )
        for product in PRODUCTS
        if product.name in names
        for tile in (TILE, LARGE_TILE)
        for own_pool in (False, True)
    }


def best_rates(ways: dict[str, Callable[[], Rate]]) -> dict[str, Rate]:
    """The best of the rounds of each, taken in turn."""
    best: dict[str, Rate] = {}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            found = run()
            best[name] = found.best_of(best.get(name, found))
    return best


def counted(vectors: Templates, subjects: NDArray[np.int64], grade: Grade) -> Rate:
    pairs = len(vectors) * (len(vectors) - 1) // 2
    return rate(lambda: count_pairs(vectors, subjects, grade=grade), pairs=pairs)


def compare(*, is_clustered: bool, dimension: int) -> None:
    """Both grades at the largest size against the bare products."""
    vectors, subjects = templates(SIZES[-1], dimension, is_clustered=is_clustered)
    bare_names, engine = bare_ways(vectors, ("torch", "numpy")), bare_ways(vectors, ("onednn",))
    grades: dict[str, Callable[[], Rate]] = {
        "fp32": lambda: counted(vectors, subjects, "fp32"),
        "certified": lambda: counted(vectors, subjects, "certified"),
    }
    for grade in ("fp32", "certified"):
        count_pairs(vectors[:2_000], subjects[:2_000], grade=grade)
    found = best_rates({**bare_names, **engine, **grades})
    kind = "clustered" if is_clustered else "random"
    print(f"\n{len(vectors):,} {kind} templates of {dimension}: million pairs a second")
    for name, one in found.items():
        print(f"  {name:34} {one.wall:7.0f} wall {one.processor:7.0f} a processor")
    for label, ways in (("NumPy or torch.mm", bare_names), ("oneDNN float32", engine)):
        reference = Rate(max(found[name].wall for name in ways), max(found[name].processor for name in ways))
        for grade in grades:
            wall, processor = found[grade].wall / reference.wall, found[grade].processor / reference.processor
            print(f"  {grade:9} / {label:17}: {wall:.2f} by wall time, {processor:.2f} by processor time")


def memory(grade: Grade, size: int, dimension: int) -> None:
    """Print how much a count adds to the peak of a process that holds the templates, in MB; run in its own process."""
    vectors, subjects = templates(size, dimension, is_clustered=False)
    count_pairs(vectors[:2_000], subjects[:2_000], grade=grade)
    before = of_this_process("VmRSS")
    count_pairs(vectors, subjects, grade=grade)
    peak = of_this_process("VmHWM")
    given = f"{size:,} templates of {dimension} ({vectors.nbytes / 2**20:.0f} MB)"
    print(f"  {grade:9} {given}: {peak - before:.0f} MB more at the peak")


def of_this_process(name: str) -> float:
    """A line of /proc/self/status, in MB: VmRSS is the memory held now, VmHWM the most that was ever held."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1_024


def libraries() -> str:
    import torch
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    blas = [
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    mkl = "MKL" if torch._C.has_mkl else "no MKL"
    return f"NumPy {np.__version__} on {', '.join(blas)}; torch {torch.__version__}, {mkl}; {THREADS} threads"


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["memory"]:
        memory(arguments[1], int(arguments[2]), int(arguments[3]))  # type: ignore[arg-type]
        return
    dimension = int(arguments[0]) if arguments else DIMENSION
    print(libraries())
    for is_clustered in (False, True):
        compare(is_clustered=is_clustered, dimension=dimension)
    print("\nmemory")
    for grade in ("fp32", "certified"):
        for size in SIZES:
            command = [sys.executable, "-m", "benchmarks.pairs", "memory", grade, str(size), str(dimension)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
