"""Compilation of Python loops by Numba on first use: importing this module, or the loops, costs nothing.

The loops live beside the functions that call them: in `cv_quality.metrics.pair_kernels` and
`cv_quality.metrics.bootstrap_kernels`.
"""

from collections.abc import Callable
from functools import cache
from threading import RLock
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
COMPILING = RLock()
"""Held while Numba is imported and functions are made known to it: neither may begin in two threads at once."""


def compiled(loop: Callable[P, R], *, has_order: bool = True) -> Callable[P, R]:
    """Compile a loop to machine code that runs without the interpreter's lock, kept on disk where possible.

    Args:
        has_order: whether sums are added up in the order that is written; any order is up to five times faster.
    """
    with COMPILING:
        return cast("Callable[P, R]", _compiled(loop, has_order=has_order))


@cache
def _compiled(loop: Callable[..., object], *, has_order: bool) -> Callable[..., object]:
    from numba import njit

    fastmath = False if has_order else {"reassoc", "contract"}
    try:
        return cast("Callable[..., object]", njit(nogil=True, cache=True, fastmath=fastmath)(loop))
    except RuntimeError:
        # Numba refuses to decorate when neither the package nor the user's cache folder can be written to.
        return cast("Callable[..., object]", njit(nogil=True, fastmath=fastmath)(loop))
