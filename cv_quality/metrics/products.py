"""Matrix products of tiles in float32: which library multiplies, and proof that a score depends on two vectors only.

The blocks of a build are added up over drops, so the score of a pair must have the same bits wherever the pair stands.
Libraries keep that only for some shapes; those used here are probed before the first product. Eight-bit products are in
`cv_quality.metrics.quantised`, counting is in `cv_quality.metrics.pair_counters`.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

Tile = tuple[int, int]
Float32s = NDArray[np.float32]
Onto = Callable[[Float32s], Callable[[Float32s], Float32s]]
"""Prepares the right-hand rows of a product, (n, d), for any number of left-hand ones: (m, d) to (m, n) each."""

TILE: Tile = (1_024, 1_024)
"""Rows and columns multiplied at once: the 4 MiB of scores are still near the processor when they are counted."""
STEP = 64
"""Rows and columns of a product are padded with zeros to a multiple of this. For other shapes every library has loops
that add in another order: for a single row or column, MKL and OpenBLAS also for edges and small products. In multiples
of 64 oneDNN (AVX2, AVX-512), MKL and OpenBLAS (SkylakeX kernels) give a pair the same bits everywhere, for dimensions
from 2 to 4,096. The Haswell and Zen kernels of OpenBLAS do so in no shape, nor does oneDNN with AVX only."""
NORM_TOLERANCE = 1e-5
"""How far from 1 the norm of a vector may lie: far above what float32 leaves, and part of every bound."""
ROUNDOFF = 2.0**-24
_one_count_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Product:
    """A way to multiply float32 rows that are C-contiguous, in multiples of STEP."""

    name: str
    onto: Onto


def float32_error(dimension: int) -> float:
    """Bound on |float32 score - exact dot product| of two unit vectors; higher is worse.

    |fl(x.y) - x.y| <= gamma_k |x|.|y| <= gamma_k ||x|| ||y||, gamma_k = k u / (1 - k u), u = 2^-24, whatever the order
    of the sum (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 3.1), with k = dimension for the
    products and sums, and 2 for casting both vectors to float32. Norms may be 1 + NORM_TOLERANCE.

    >>> float32_error(256) < 2.0**-15
    True
    """
    rounded = (dimension + 2) * ROUNDOFF
    return float(rounded / (1 - rounded) * (1 + NORM_TOLERANCE) ** 2) + ROUNDOFF


def _onednn(right: Float32s) -> Callable[[Float32s], Float32s]:
    """oneDNN through PyTorch's fused linear layer: no public function reaches its float32 product on x86."""
    import torch

    weights = torch.ops.mkldnn._reorder_linear_weight(torch.from_numpy(right), TILE[0])

    def multiply(left: Float32s) -> Float32s:
        scores = torch.ops.mkldnn._linear_pointwise(torch.from_numpy(left), weights, None, "none", [], "")
        return cast(Float32s, scores.numpy())

    return multiply


def _torch(right: Float32s) -> Callable[[Float32s], Float32s]:
    """MKL on x86."""
    import torch

    columns = torch.from_numpy(right).T
    return lambda left: cast(Float32s, torch.mm(torch.from_numpy(left), columns).numpy())


def _numpy(right: Float32s) -> Callable[[Float32s], Float32s]:
    """The BLAS that NumPy was built with; the copy keeps NumPy from another routine where both sides are one array."""
    columns = np.ascontiguousarray(right.T)
    return lambda left: left @ columns


def _einsum(right: Float32s) -> Callable[[Float32s], Float32s]:
    """No BLAS at all: one dot product after the other, several times slower, in the same order for every pair."""
    return lambda left: cast(Float32s, np.einsum("ik,jk->ij", left, right))


PRODUCTS = (Product("onednn", _onednn), Product("torch", _torch), Product("numpy", _numpy), Product("einsum", _einsum))
"""In the order of preference. At d = 256, one thread with AVX-512, in million pairs a second: oneDNN 490, torch (MKL)
220, NumPy (OpenBLAS) 460 with its SkylakeX kernels and 250 with those for Haswell and Zen, einsum 47."""


@lru_cache(maxsize=64)
def product_for(dimension: int) -> Product:
    """The first product that is there and gives each pair the same bits everywhere; to be asked in `full_precision`.

    Raises:
        MetricError: none does.
    """
    shapes = ((STEP, STEP), (STEP, TILE[1]), (TILE[0], STEP), TILE)
    for product in PRODUCTS:
        if is_faithful(product.onto, dimension, shapes=shapes):
            return product
    raise MetricError(
        f"no matrix product of dimension {dimension} gives a pair the same score in every place; tried "
        f"{', '.join(product.name for product in PRODUCTS)}: update NumPy or PyTorch"
    )


def is_faithful(onto: Onto, dimension: int, *, shapes: tuple[Tile, ...]) -> bool:
    """Whether a pair's score is the same bits in every place, shape and role, and within `float32_error`.

    One vector meets many others, in every row of one probe and in every column of the other: all rows of the first must
    be equal, and equal to all columns of the second.
    """
    vectors = np.random.default_rng(dimension).normal(size=(max(map(max, shapes)) + 1, dimension))
    units: Float32s = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    one, others = units[0], units[1:]
    found: Float32s | None = None
    for rows, columns in sorted(shapes, key=max, reverse=True):
        try:
            across = onto(others[:columns])(np.tile(one, (rows, 1)))
            down = onto(np.tile(one, (columns, 1)))(others[:rows])
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
        if found is None:
            found = across[0] if columns >= rows else down[:, 0]
        if not ((across == found[:columns]).all() and (down == found[:rows, None]).all()):
            return False
    exact = others.astype(np.float64) @ one.astype(np.float64)
    return found is not None and bool((np.abs(found - exact) <= float32_error(dimension)).all())


@contextmanager
def full_precision() -> Iterator[None]:
    """Torch multiplies float32 in float32, and one thread per product; what was set is set again afterwards.

    Both are settings of the process, so counts wait for each other. Each worker also calls `one_thread`.
    """
    import torch

    products = (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    with _one_count_at_a_time, _blas().limit(limits=1, user_api="blas"):
        threads, precisions = torch.get_num_threads(), [product.fp32_precision for product in products]
        try:
            torch.set_num_threads(1)
            for product in products:
                product.fp32_precision = "ieee"
            yield
        finally:
            torch.set_num_threads(threads)
            for product, precision in zip(products, precisions, strict=True):
                product.fp32_precision = precision


@lru_cache(maxsize=1)
def _blas() -> "ThreadpoolController":
    """The libraries that are loaded; looking for them takes 10 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> None:
    """OpenMP keeps the number of threads for each calling thread by itself: every worker sets its own.

    Where torch is not loaded, nothing multiplies by it: to load it for this takes 200 MB.
    """
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
