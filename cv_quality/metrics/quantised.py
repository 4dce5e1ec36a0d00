"""Vectors in eight bits with a proven bound on the error of their products: the filter of the certified grade.

The bound says which pairs cannot reach a floor; what is left is scored in float64 by
`cv_quality.metrics.pair_counters`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.compiled import compiled
from cv_quality.metrics.pair_kernels import Floats, quantise_rows
from cv_quality.metrics.products import STEP, TILE, product_for

LARGEST = 127
FILTER_ROUNDING = 2e-6
"""Taken off the floor: the filter compares in float32, with at most eight roundings of 2**-24 of sums below 2, and the
float64 score that decides is itself rounded (below 1e-12)."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """x_i = s_i q_i + e_i, with q_i whole numbers from -127 to 127.

    For two sides, s_i s_j q_i.q_j differs from x_i.y_j by at most n_i r_j + r_i m_j: x.y - x'.y' = x.(y - y') +
    (x - x').y', where x' = s q, and both terms obey Cauchy-Schwarz. The scale of a row is its largest coordinate / 127.
    A random rotation beforehand left the residuals as they were (0.0063 of real faces, d = 128) and was left out.

    Attributes:
        codes: q, int8, rows and columns padded with zeros to multiples of STEP.
        scales: s, float32, shape (n,).
        norms: n_i >= ||x_i||.
        residuals: r_i >= ||e_i||.
        code_norms: m_i >= ||s_i q_i||.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    norms: NDArray[np.float32]
    residuals: NDArray[np.float32]
    code_norms: NDArray[np.float32]


def quantised(vectors: Floats, order: NDArray[np.int64] | None = None) -> Quantised:
    """Quantise the rows, in that order if one is given; scales and norms are taken in float64.

    >>> quantised(np.array([[0.6, 0.8]])).codes[0, :2].tolist()
    [95, 127]
    """
    count, dimension = vectors.shape
    codes = np.zeros((_padded(count), _padded(dimension)), np.int8)
    scales, squares = np.empty(count, np.float32), np.empty((3, count))
    places = np.arange(count) if order is None else order
    compiled(quantise_rows)(vectors, places, float(LARGEST), codes, scales, squares)
    # Rounded up by more than what float64 and float32 can have rounded down.
    return Quantised(codes, scales, *(np.sqrt(squares) * (1 + 2.0**-22) + 1e-12).astype(np.float32))


def _padded(count: int) -> int:
    return -(-count // STEP) * STEP


def int8_product(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.int32]:
    """Whole-number products of all rows: (m, d) and (n, d) to (m, n)."""
    import torch

    products: NDArray[np.int32] = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right).T).numpy()
    return products


@lru_cache(maxsize=64)
def has_int8(dimension: int) -> bool:
    """Whether `int8_product` is exact here and faster than float32.

    Without the VNNI instructions oneDNN adds pairs of products in 16 bits, which saturates: exactness is tried with the
    largest numbers. Elsewhere PyTorch falls back on a plain loop, which is exact and slow.
    """
    shape = (2 * STEP, _padded(dimension))
    codes = np.random.default_rng(0).integers(-LARGEST, LARGEST + 1, size=shape).astype(np.int8)
    codes[: STEP // 2], codes[STEP // 2 : STEP] = LARGEST, -LARGEST
    exact = codes.astype(np.float64) @ codes.T.astype(np.float64)
    left, right = (np.zeros((count, shape[1]), np.int8) for count in TILE)
    wide_left, wide_right = (np.zeros((count, dimension), np.float32) for count in TILE)
    try:
        if np.abs(exact).max() >= 2**31 or not np.array_equal(int8_product(codes, codes), exact):
            return False
        multiply = product_for(dimension).onto(wide_right)
        return _seconds(lambda: int8_product(left, right)) < _seconds(lambda: multiply(wide_left))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return min(times)
