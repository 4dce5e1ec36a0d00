"""All pairs of iris codes against NumPy's count of bits and a plain loop: pairs a processor second of one thread.

    python -m benchmarks.iris

Every way compares the same templates with masks over all rotations, and gives the same distances bit for bit. The best
of several rounds, taken in turn, counts: other work shares the machine. Processors without AVX-512 VPOPCNTDQ run the
same code, slower; see it with NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES= set.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.pairs import of_this_process
from cv_quality.metrics.iris.codes import Codes
from cv_quality.metrics.iris.counting import count_codes
from cv_quality.metrics.iris.hamming import rotations
from cv_quality.metrics.iris.popcount import compiled_bits, count_ones
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.pairs import Side

ROUNDS = 4
COMPACT = HammingRule(bits=2_048, step=16, shifts=15)
FULL = HammingRule(bits=16_384, step=64, shifts=31, norm="linear")
COMPACT_SIZE, PLAIN_SIZE, NUMPY_SIZE, LARGE_SIZE = 5_000, 600, 160, 10_000
SEED = 0


def templates(n: int, rule: HammingRule) -> Codes:
    """Random codes of which three quarters of the bits are valid."""
    rng = np.random.default_rng(SEED)
    found = rng.integers(0, 2**64 - 1, (n, 2, rule.words), np.uint64, endpoint=True)
    found[:, 1] |= rng.integers(0, 2**64 - 1, (n, rule.words), np.uint64, endpoint=True)
    found[:, 0] &= found[:, 1]
    return found


def side(codes: Codes) -> Side:
    return Side(codes, np.arange(len(codes)).astype(str), np.arange(len(codes)))


def by_numpy(codes: Codes, rule: HammingRule) -> NDArray[np.float64]:
    """All ordered pairs, a reference with all probes at once."""
    turned = rotations(codes, rule)
    found = np.empty((len(codes), len(codes)))
    for row, reference in enumerate(codes):
        both = turned[:, :, 1] & reference[1]
        differing = np.bitwise_count((turned[:, :, 0] ^ reference[0]) & both).sum(axis=-1, dtype=np.int64)
        compared = np.bitwise_count(both).sum(axis=-1, dtype=np.int64)
        found[row] = rule.normalised(differing, compared).min(axis=0)
    return found


def by_plain_loop(codes: Codes, rule: HammingRule) -> NDArray[np.float64]:
    """All ordered pairs, one after the other."""
    found = np.empty((len(codes), len(codes)))
    compiled_bits(plain_loop)(codes, rotations(codes, rule), found)
    return found


def plain_loop(references: Codes, turned: Codes, found: NDArray[np.float64]) -> None:
    """Compare by the loop that one would write first, with the processor's count of bits."""
    for i in range(references.shape[0]):
        for j in range(turned.shape[1]):
            best = np.inf
            for s in range(turned.shape[0]):
                differing = compared = 0
                for w in range(turned.shape[3]):
                    both = references[i, 1, w] & turned[s, j, 1, w]
                    differing += count_ones((references[i, 0, w] ^ turned[s, j, 0, w]) & both)
                    compared += count_ones(both)
                if compared:
                    best = min(best, differing / compared)
            found[i, j] = best


def rates(ways: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Million pairs a processor second, the best of the rounds of each."""
    best = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for name, (run, pairs) in ways.items():
            started = time.process_time()
            run()
            best[name] = max(best[name], pairs / (time.process_time() - started) / 1e6)
    return best


def compare() -> None:
    """Check that all ways agree, and print their rates."""
    rule, codes = COMPACT, templates(COMPACT_SIZE, COMPACT)
    few, some, every = codes[:NUMPY_SIZE], codes[:PLAIN_SIZE], side(codes)
    later, earlier = np.tril_indices(NUMPY_SIZE, -1)
    expected = np.sort(0.0 - by_numpy(few, rule)[earlier, later])
    counted = count_codes(side(few), side(few), rule=rule, threads=1).tail["score"].sort().to_numpy()
    looped = np.sort(0.0 - by_plain_loop(few, rule)[earlier, later])
    if not (np.array_equal(counted, expected) and np.array_equal(looped, expected)):
        raise AssertionError("the three ways give other distances")
    found = rates(
        {
            "numpy.bitwise_count": (lambda: by_numpy(few, rule), len(few) ** 2),
            "plain loop in Numba": (lambda: by_plain_loop(some, rule), len(some) ** 2),
            "count_codes": (
                lambda: count_codes(every, every, rule=rule, threads=1),
                COMPACT_SIZE * (COMPACT_SIZE - 1) // 2,
            ),
        }
    )
    print(f"{rule.bits:,} bits x {rule.shifts} shifts with masks: million pairs a processor second, one thread")
    for name, rate in found.items():
        print(f"  {name:20} {rate:6.2f}, count_codes at {found['count_codes'] / rate:.1f} times its rate")


def large() -> None:
    """Count all pairs of many long codes on all threads; run in a process of its own, for its memory."""
    codes, rule = templates(LARGE_SIZE, FULL), FULL
    count_codes(side(codes[:64]), side(codes[:64]), rule=rule)
    wall, processor = time.perf_counter(), time.process_time()
    counts = count_codes(side(codes), side(codes), rule=rule)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"{counts.n:,} pairs of {rule.bits:,} bits x {rule.shifts} shifts ({codes.nbytes / 2**20:.0f} MB of codes): "
        f"{wall:.0f} s, {processor:.0f} s of processors, {counts.n / processor / 1e6:.2f} million pairs a processor "
        f"second; {of_this_process('VmHWM'):.0f} MB in all"
    )


def main(arguments: Sequence[str]) -> None:
    if arguments == ["large"]:
        large()
        return
    compare()
    subprocess.run([sys.executable, "-m", "benchmarks.iris", "large"], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
